"""A chunked flow-matching policy: noise becomes a chunk of actions along a learned velocity field.

Flow matching: Lipman et al., 2023 (straight paths, x_t = (1 - t) noise + t data). Noise injected at every
integration step makes the way random, with an exact likelihood, so that policy gradients apply (the idea of
Flow-GRPO, Liu et al., 2025, and ReinFlow, Zhang et al., 2025).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Params = Mapping[str, Any]
Obs = Mapping[str, Float[Array, " _"]]


class Path(NamedTuple):
    """The way from noise to a chunk: what its likelihood is computed from."""

    points: Float[Array, "steps_plus_1 latent"]


@dataclass(frozen=True)
class FlowPolicy:
    """Maps observations to chunks of absolute joint targets. Pure: parameters are arguments.

    A chunk is piecewise linear through a few knots, so what is learned and explored is smooth in time. Arm
    knots are relative to the measured joints, gripper knots absolute; both are normalised by the data.
    """

    terms: tuple[tuple[str, int], ...]
    """Observation terms in network order, with their sizes."""
    relative_to: tuple[int, ...]
    """For each action entry, which observation entry it is relative to; -1: absolute."""
    chunk: int = 16
    """Actions in a chunk."""
    knots: int = 5
    """Knots of a chunk."""
    steps: int = 5
    """Euler steps from noise to chunk."""
    width: int = 256
    """Units of a hidden layer."""
    depth: int = 3
    """Hidden layers."""

    @property
    def action_size(self) -> int:
        return len(self.relative_to)

    @property
    def latent_size(self) -> int:
        return self.knots * self.action_size

    @property
    def obs_size(self) -> int:
        return sum(size for _, size in self.terms)

    @cached_property
    def basis(self) -> Float[np.ndarray, "chunk knots"]:
        """Piecewise-linear interpolation from knots to actions."""
        place = np.linspace(0, self.knots - 1, self.chunk)
        return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(self.knots))).astype(np.float32)

    @cached_property
    def fade(self) -> Float[np.ndarray, " steps"]:
        """Size of the exploration noise at each step, relative to the first."""
        return 1 - np.arange(self.steps, dtype=np.float32) / self.steps

    @cached_property
    def _net(self) -> "Velocity":
        return Velocity(self.width, self.depth, self.latent_size)

    def flat(self, obs: Obs) -> Float[Array, "... obs"]:
        """The observation terms side by side."""
        return jnp.concatenate([jnp.asarray(obs[name]) for name, _ in self.terms], axis=-1)

    def init(
        self, key: Array, obs: Float[np.ndarray, "n obs"], latent: Float[np.ndarray, "n latent"]
    ) -> Params:
        """New parameters; the normalisation is that of the data given."""
        net = self._net.init(
            key, jnp.zeros(self.obs_size), jnp.zeros(self.latent_size), jnp.zeros(())
        )
        floor = 1e-3
        return {
            "net": net,
            "obs_mean": jnp.asarray(obs.mean(0)),
            "obs_std": jnp.asarray(obs.std(0) + floor),
            "latent_mean": jnp.asarray(latent.mean(0)),
            "latent_std": jnp.asarray(latent.std(0) + floor),
        }

    def encode(
        self, obs: Float[np.ndarray, "n obs"], chunks: Float[np.ndarray, "n chunk action"]
    ) -> Float[np.ndarray, "n latent"]:
        """The knots nearest to chunks of actions, in least squares, before normalisation."""
        knots = np.einsum(
            "kc,nca->nka", np.linalg.pinv(self.basis), chunks - self._origin(obs)[:, None]
        )
        return knots.reshape(len(chunks), -1).astype(np.float32)

    def decode(
        self, params: Params, obs: Float[Array, "... obs"], latent: Float[Array, "... latent"]
    ) -> Float[Array, "... chunk action"]:
        """The chunk of a normalised latent."""
        knots = latent * params["latent_std"] + params["latent_mean"]
        knots = knots.reshape(*latent.shape[:-1], self.knots, self.action_size)
        return self.basis @ knots + self._origin(obs)[..., None, :]

    def velocity(
        self,
        params: Params,
        obs: Float[Array, " obs"],
        latent: Float[Array, " latent"],
        time: Array,
    ) -> Float[Array, " latent"]:
        """Where the flow goes at a point and a time from 0 (noise) to 1 (data)."""
        normal = (obs - params["obs_mean"]) / params["obs_std"]
        return self._net.apply(params["net"], normal, latent, time)  # type: ignore[return-value]

    def loss(
        self, params: Params, obs: Float[Array, " obs"], latent: Float[Array, " latent"], key: Array
    ) -> Float[Array, ""]:
        """Flow-matching loss of one sample; `latent` before normalisation."""
        target = (latent - params["latent_mean"]) / params["latent_std"]
        noise_key, time_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, target.shape)
        time = jax.random.uniform(time_key, ())
        point = (1 - time) * noise + time * target
        return jnp.mean((self.velocity(params, obs, point, time) - (target - noise)) ** 2)

    def act(
        self, params: Params, obs: Float[Array, "... obs"], noise: Float[Array, "... latent"]
    ) -> Float[Array, "... chunk action"]:
        """The chunk that the flow makes of this noise: deterministic, and what is exported."""
        point = noise
        for step in range(self.steps):
            time = jnp.float32(step / self.steps)
            point = point + self.velocity(params, obs, point, time) / self.steps
        return self.decode(params, obs, point)

    def explore(
        self,
        params: Params,
        obs: Float[Array, " obs"],
        key: Array,
        sigma: float,
        temperature: float,
    ) -> tuple[Float[Array, "chunk action"], Path]:
        """A chunk made with noise at every integration step, and the way it took.

        The noise fades from `sigma` to `sigma / steps`: the flow still smooths out what came early.
        """
        keys = jax.random.split(key, self.steps + 1)
        points = [temperature * jax.random.normal(keys[-1], (self.latent_size,))]
        for step in range(self.steps):
            mean = self._mean(params, obs, points[-1], step)
            points.append(
                mean + sigma * self.fade[step] * jax.random.normal(keys[step], (self.latent_size,))
            )
        return self.decode(params, obs, points[-1]), Path(jnp.stack(points))

    def log_prob(
        self, params: Params, obs: Float[Array, " obs"], path: Path, sigma: float
    ) -> Float[Array, "steps latent"]:
        """Log-likelihood of a way, up to a constant: Gaussian, one term per step and latent entry."""
        steps = jnp.arange(self.steps)
        means = jax.vmap(lambda point, step: self._mean(params, obs, point, step))(
            path.points[:-1], steps
        )
        return -(((path.points[1:] - means) / (sigma * self.fade[:, None])) ** 2) / 2

    def _mean(self, params: Params, obs: Array, point: Array, step: Any) -> Array:
        return point + self.velocity(params, obs, point, step / self.steps) / self.steps

    def _origin(self, obs: Any) -> Any:
        """What the actions are relative to: measured joints for the arms, 0 for the grippers."""
        # A matrix rather than an index: it exports to any runtime.
        pick = np.zeros((self.obs_size, self.action_size), np.float32)
        for column, row in enumerate(self.relative_to):
            if row >= 0:
                pick[row, column] = 1
        return obs @ pick


class Velocity(nn.Module):
    """The velocity field: a residual MLP on observation, point and time."""

    width: int
    depth: int
    size: int

    @nn.compact
    def __call__(self, obs: Array, point: Array, time: Array) -> Array:
        waves = jnp.asarray(2.0 ** np.arange(4) * np.pi, jnp.float32)
        clock = jnp.concatenate([jnp.sin(waves * time), jnp.cos(waves * time)])
        clock = jnp.broadcast_to(clock, (*obs.shape[:-1], len(clock)))
        hidden = nn.Dense(self.width)(jnp.concatenate([obs, point, clock], axis=-1))
        for _ in range(self.depth):
            hidden = hidden + nn.Dense(self.width)(nn.silu(nn.LayerNorm()(hidden)))
        return nn.Dense(self.size, kernel_init=nn.initializers.zeros)(nn.silu(hidden))
