"""Flow matching: noise becomes a chunk of actions along a learned velocity field.

Flow matching: Lipman et al., 2023 (straight paths, x_t = (1 - t) noise + t data). The network tells where the
flow ends rather than its velocity, for which it would have to carry all the noise through itself (Li and He,
2025). Noise injected into the integration has an exact likelihood, given the point where it is injected, so
that policy gradients apply (the idea of Flow-GRPO, Liu et al., 2025, and ReinFlow, Zhang et al., 2025); here
it is injected into the last step alone.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from regrasp.rl.policies.policy import Encoder, Held, Net, Noise, Params, Policy, Residual

Points = Float[Array, "2 latent"]
"""Before the last step of the flow, and what was tried after it: what a likelihood is computed from."""


@dataclass(frozen=True)
class FlowPolicy(Policy):
    """Continuous denoising in a few Euler steps."""

    steps: int = 5
    """Euler steps from noise to chunk."""

    @property
    def noise_size(self) -> int:
        return self.latent_size * (1 if self.acting is None else 2)

    def noisy(self, noise: Noise) -> "FlowPolicy":
        return replace(self, acting=noise)

    @cached_property
    def _net(self) -> "FlowNet":
        return FlowNet(self.width, self.depth, self.latent_size, self.things)

    def _init_net(self, key: Array) -> Any:
        return self._net.init(
            key, jnp.zeros(self.net_size), jnp.zeros(self.latent_size), jnp.zeros(())
        )

    def end(
        self,
        params: Params,
        obs: Float[Array, " obs"],
        latent: Float[Array, " latent"],
        time: Array,
    ) -> Float[Array, " latent"]:
        """Where the flow heads at a point and a time from 0 (noise) to 1 (data): the mean of what may come.

        Its velocity is (end - point) / (1 - time).
        """
        return self._end(params, self._seen(params, obs), latent, time)

    def loss(
        self, params: Params, obs: Float[Array, " obs"], latent: Float[Array, " latent"], key: Array
    ) -> Float[Array, ""]:
        target = self._target(params, latent)
        noise_key, time_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, target.shape)
        time = jax.random.uniform(time_key, ())
        point = (1 - time) * noise + time * target
        return jnp.mean((self.end(params, obs, point, time) - target) ** 2)

    def act(
        self,
        params: Params,
        obs: Float[Array, "... obs"],
        noise: Float[Array, "... noise"],
        held: Held | None = None,
    ) -> Float[Array, "... chunk action"]:
        seen, point, last = self._seen(params, obs), noise, jnp.float32(0)
        if self.acting is not None:
            first, last = jnp.split(noise, 2, axis=-1)
            point, last = self.acting.temperature * first, self.acting.sigma * last
        for step in range(self.steps):
            after, left = self._mean(params, seen, point, jnp.float32(step)), self.steps - step
            # Bent is where the flow would end from here, so what follows can fit in with it.
            bent = self._bent(params, obs, point + left * (after - point), held)
            point = after + bent / left
        return self.decode(params, obs, point + last)

    def explore(
        self, params: Params, obs: Float[Array, " obs"], key: Array, noise: Noise
    ) -> tuple[Float[Array, "chunk action"], Points]:
        """A chunk drawn around where the flow ends, and the flow's last point before.

        Noise at earlier steps would hardly reach the chunk (an eighth of it does), and what does not matter
        makes the gradient noisy.
        """
        first, last = jax.random.split(key)
        seen, end = self._seen(params, obs), self.steps - 1
        point = noise.temperature * jax.random.normal(first, (self.latent_size,))
        for step in range(end):
            point = self._mean(params, seen, point, jnp.float32(step))
        drawn = noise.sigma * jax.random.normal(last, (self.latent_size,))
        tried = self._mean(params, seen, point, jnp.float32(end)) + drawn
        return self.decode(params, obs, tried), jnp.stack([point, tried])

    def log_prob(
        self, params: Params, obs: Float[Array, " obs"], trace: Points, noise: Noise
    ) -> Float[Array, " latent"]:
        """Gaussian, given the point before; one term for each latent entry."""
        point, tried = trace
        mean = self._mean(params, self._seen(params, obs), point, jnp.float32(self.steps - 1))
        return -(((tried - mean) / noise.sigma) ** 2) / 2

    def _seen(self, params: Params, obs: Array) -> Array:
        normal = self._normal(params, obs)
        return self._net.apply(params["net"], normal, method="see")  # type: ignore[return-value]

    def _end(self, params: Params, seen: Array, point: Array, time: Any) -> Array:
        return self._net.apply(params["net"], seen, point, time, method="flow")  # type: ignore[return-value]

    def _mean(self, params: Params, seen: Array, point: Array, step: Any) -> Array:
        end = self._end(params, seen, point, step / self.steps)
        return point + (end - point) / (self.steps - step)


class FlowNet(Net):
    """Where the flow ends: the encoder's features, the point and the time through a residual MLP."""

    width: int
    depth: int
    size: int
    things: tuple[tuple[int, ...], ...] = ()
    reads = ("encoder", *Encoder.reads)

    def setup(self) -> None:
        self.encoder = Encoder(self.width, self.things)
        self.enter = nn.Dense(self.width)
        self.body = Residual(self.width, self.depth)
        self.leave = nn.Dense(self.size, kernel_init=nn.initializers.zeros)

    def __call__(self, obs: Array, point: Array, time: Array) -> Array:
        return self.flow(self.see(obs), point, time)

    def see(self, obs: Array) -> Array:
        """Features of an observation, the same at every time."""
        return self.encoder(obs)

    def flow(self, seen: Array, point: Array, time: Array) -> Array:
        waves = jnp.asarray(2.0 ** np.arange(4) * np.pi, jnp.float32)
        clock = jnp.concatenate([jnp.sin(waves * time), jnp.cos(waves * time)])
        clock = jnp.broadcast_to(clock, (*seen.shape[:-1], len(clock)))
        hidden = seen + self.enter(jnp.concatenate([point, clock], axis=-1))
        return self.leave(nn.silu(self.body(hidden)))
