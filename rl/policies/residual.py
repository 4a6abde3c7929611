"""Small corrections on top of a policy that stays as it is."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from regrasp.rl.policies.gaussian import MeanNet
from regrasp.rl.policies.policy import Held, Noise, Params, Policy


@dataclass(frozen=True)
class ResidualPolicy(Policy):
    """A Gaussian correction of the chunk that another policy would play without noise.

    The correction starts at nothing and never exceeds `reach` in any coefficient. Made from a trained policy
    by `on`; its parameters hold those of the other under "base".
    """

    base: Policy | None = None
    reach: float = 1.0
    """Largest correction, in standard deviations of the data."""

    @classmethod
    def on(
        cls, base: Policy, params: Params, key: Array, width: int = 128, depth: int = 2
    ) -> tuple["ResidualPolicy", Params]:
        """The policy that corrects another, and its parameters.

        Args:
            base: whose chunks are corrected.
            params: its parameters, which are kept as they are.
            key: of the new weights.
            width: units of a hidden layer of the correction.
            depth: its residual layers.
        """
        same = {
            name: getattr(base, name)
            for name in (
                *("terms", "relative_to", "chunk", "knots", "execute", "ensemble", "wanted"),
                *("pace", "ahead", "span", "alike", "places", "arms"),
            )
        }
        policy = cls(**same, width=width, depth=depth, base=base)
        norms = {name: value for name, value in params.items() if name != "net"}
        return policy, {**norms, "base": params, "net": policy._init_net(key)}

    @property
    def basis(self) -> Any:  # type: ignore[override]
        return self._below.basis

    @property
    def noise_size(self) -> int:
        return self._below.noise_size

    @property
    def _below(self) -> Policy:
        assert self.base is not None, "made by ResidualPolicy.on"
        return self.base

    @cached_property
    def _net(self) -> MeanNet:
        return MeanNet(self.width, self.depth, self.latent_size, self.things)

    def _init_net(self, key: Array) -> Any:
        return self._net.init(key, jnp.zeros(self.net_size))

    def correction(
        self, params: Params, obs: Float[Array, "... obs"]
    ) -> Float[Array, "... latent"]:
        """The mean of what is added to the coefficients, in standard deviations of the data."""
        raw: Any = self._net.apply(params["net"], self._normal(params, obs))
        return self.reach * jnp.tanh(raw)

    def loss(
        self, params: Params, obs: Float[Array, " obs"], latent: Float[Array, " latent"], key: Array
    ) -> Float[Array, ""]:
        """How far the corrected chunk is from the demonstrated one."""
        del key
        made = self.act(params, obs, jnp.zeros(self.noise_size))
        return jnp.mean((made - self.decode(params, obs, self._target(params, latent))) ** 2)

    def act(
        self,
        params: Params,
        obs: Float[Array, "... obs"],
        noise: Float[Array, "... noise"],
        held: Held | None = None,
    ) -> Float[Array, "... chunk action"]:
        return self._corrected(params, obs, self._below.act(params["base"], obs, noise), held)

    def _corrected(self, params: Params, obs: Array, below: Array, held: Held | None) -> Array:
        latent = self.correction(params, obs)
        chunk = below + self._change(params, latent)
        if held is None:
            return chunk
        bent = (held.gain @ (held.chunk - chunk)).reshape(latent.shape) / params["latent_std"]
        return chunk + self._change(params, bent)

    def explore(
        self, params: Params, obs: Float[Array, " obs"], key: Array, noise: Noise
    ) -> tuple[Float[Array, "chunk action"], Float[Array, " latent"]]:
        drawn = jax.random.normal(key, (self.latent_size,))
        latent = self.correction(params, obs) + noise.sigma * drawn
        still = jnp.zeros(self._below.noise_size)
        below = self._below.act(params["base"], obs, still)
        return below + self._change(params, latent), latent

    def log_prob(
        self,
        params: Params,
        obs: Float[Array, " obs"],
        trace: Float[Array, " latent"],
        noise: Noise,
    ) -> Float[Array, " latent"]:
        return -(((trace - self.correction(params, obs)) / noise.sigma) ** 2) / 2

    def _change(self, params: Params, latent: Array) -> Array:
        """What normalised coefficients add to a chunk."""
        knots = (latent * params["latent_std"]).reshape(*latent.shape[:-1], self.knots, -1)
        return self.basis @ knots
