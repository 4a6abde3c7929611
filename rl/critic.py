"""A critic: how much reward is still to be expected, learned from how decisions turned out."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from regrasp.errors import InputError, check_positive
from regrasp.rl.policies import Params
from regrasp.rl.policies.policy import FURTHEST_STD, Encoder, Residual


@dataclass(frozen=True)
class CriticConfig:
    """How the critic is trained, and how advantages are made from it."""

    learning_rate: float = 1e-3
    """Of Adam."""
    passes: int = 8
    """Times that an iteration's decisions are used."""
    minibatch: int = 1024
    """Decisions in a gradient step."""
    width: int = 128
    """Units of a hidden layer."""
    depth: int = 2
    """Residual layers."""
    discount: float = 1.0
    """Gamma, per decision."""
    trace: float = 0.95
    """Lambda of generalised advantage estimation."""

    def __post_init__(self) -> None:
        check_positive(self, ("learning_rate", "passes", "minibatch", "width", "depth"))
        if not (0 <= self.discount <= 1 and 0 <= self.trace <= 1):
            raise InputError(f"discount {self.discount} and trace {self.trace}: choose 0 to 1")


class CriticState(NamedTuple):
    """What the critic learns."""

    net: Any
    optimizer: Any


class Critic:
    """Values of observations: chances, from 0 to 1, or sums of rewards of any size."""

    def __init__(
        self,
        obs_size: int,
        norm: Params,
        config: CriticConfig,
        outputs: int = 1,
        chance: bool = True,
    ):
        """Compile.

        Args:
            obs_size: numbers in an observation.
            norm: `obs_mean` and `obs_std`.
            config: how.
            outputs: how many values an observation has, such as one for each arm.
            chance: they are from 0 to 1: successes, less what they cost.
        """
        self._size, self._config, self._chance = obs_size, config, chance
        self._mean, self._std = norm["obs_mean"], norm["obs_std"]
        self._net = ValueNet(config.width, config.depth, outputs)
        self._optimizer = optax.adam(config.learning_rate)
        self._step = jax.jit(self._step_once)
        told = nn.sigmoid if chance else lambda raw: raw
        self._value = jax.jit(lambda net, obs: told(self._raw(net, obs)))

    def start(self, key: Array) -> CriticState:
        """Nothing known: every chance is one half, every other value 0."""
        net = self._net.init(key, jnp.zeros(self._size))
        return CriticState(net, self._optimizer.init(net))

    def values(
        self, state: CriticState, obs: Float[np.ndarray, "... obs"]
    ) -> Float[np.ndarray, "... outputs"]:
        """Of observations."""
        return np.asarray(self._value(state.net, obs))

    def fit(
        self,
        state: CriticState,
        obs: Float[np.ndarray, "n obs"],
        target: Float[np.ndarray, "n outputs"],
        rng: np.random.Generator,
    ) -> CriticState:
        """Move the values of these observations towards their targets."""
        size = self._config.minibatch
        batches = max(1, len(obs) // size)
        for _ in range(self._config.passes):
            order = np.resize(rng.permutation(len(obs)), batches * size)
            for pick in order.reshape(batches, size):
                state = self._step(state, obs[pick], target[pick].astype(np.float32))
        return state

    def _raw(self, net: Any, obs: Array) -> Array:
        seen = (obs - self._mean) / self._std
        if not self._chance:
            # Sums have no bound of their own: far from what was shown they would be any size.
            seen = jnp.clip(seen, -FURTHEST_STD, FURTHEST_STD)
        return self._net.apply(net, seen)  # type: ignore[return-value]

    def _step_once(self, state: CriticState, obs: Array, target: Array) -> CriticState:
        off = optax.sigmoid_binary_cross_entropy if self._chance else optax.l2_loss

        def loss(net: Any) -> Array:
            return jnp.mean(off(self._raw(net, obs), target))

        updates, optimizer = self._optimizer.update(jax.grad(loss)(state.net), state.optimizer)
        return CriticState(optax.apply_updates(state.net, updates), optimizer)


class ValueNet(nn.Module):
    """From a normalised observation to its values, or, of chances, their logits."""

    width: int
    depth: int
    outputs: int

    @nn.compact
    def __call__(self, obs: Array) -> Array:
        hidden = Residual(self.width, self.depth)(Encoder(self.width)(obs))
        return nn.Dense(self.outputs, kernel_init=nn.initializers.zeros)(nn.silu(hidden))
