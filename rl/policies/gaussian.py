"""A Gaussian around one chunk: the simplest family, and small corrections on top of another policy."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from regrasp.rl.policies.policy import Encoder, Held, Net, Noise, Params, Policy, Residual


@dataclass(frozen=True)
class GaussianPolicy(Policy):
    """The mean of what was demonstrated, which averages where there are several ways."""

    @cached_property
    def _net(self) -> "MeanNet":
        return MeanNet(self.width, self.depth, self.latent_size, self.things)

    def _init_net(self, key: Array) -> Any:
        return self._net.init(key, jnp.zeros(self.net_size))

    def mean(self, params: Params, obs: Float[Array, "... obs"]) -> Float[Array, "... latent"]:
        """The normalised latent in the middle."""
        return self._net.apply(params["net"], self._normal(params, obs))  # type: ignore[return-value]

    def loss(
        self, params: Params, obs: Float[Array, " obs"], latent: Float[Array, " latent"], key: Array
    ) -> Float[Array, ""]:
        del key
        return jnp.mean((self.mean(params, obs) - self._target(params, latent)) ** 2)

    def act(
        self,
        params: Params,
        obs: Float[Array, "... obs"],
        noise: Float[Array, "... latent"],
        held: Held | None = None,
    ) -> Float[Array, "... chunk action"]:
        latent = self.mean(params, obs) + Noise().sigma * noise
        return self.decode(params, obs, latent + self._bent(params, obs, latent, held))

    def explore(
        self, params: Params, obs: Float[Array, " obs"], key: Array, noise: Noise
    ) -> tuple[Float[Array, "chunk action"], Float[Array, " latent"]]:
        drawn = jax.random.normal(key, (self.latent_size,))
        latent = self.mean(params, obs) + noise.sigma * drawn
        return self.decode(params, obs, latent), latent

    def log_prob(
        self,
        params: Params,
        obs: Float[Array, " obs"],
        trace: Float[Array, " latent"],
        noise: Noise,
    ) -> Float[Array, " latent"]:
        return -(((trace - self.mean(params, obs)) / noise.sigma) ** 2) / 2


class MeanNet(Net):
    """From an observation to a latent."""

    width: int
    depth: int
    size: int
    things: tuple[tuple[int, ...], ...] = ()
    reads = ("Encoder_0", *Encoder.reads)

    @nn.compact
    def __call__(self, obs: Array) -> Array:
        hidden = Residual(self.width, self.depth)(Encoder(self.width, self.things)(obs))
        return nn.Dense(self.size, kernel_init=nn.initializers.zeros)(nn.silu(hidden))
