"""The updater that all improvement shares: a clipped likelihood ratio, whatever the policy and the advantage.

Clipping: Schulman et al., 2017; more room upwards than downwards: DAPO, Yu et al., 2025; and an end to what a
bad choice that has become likely can do: dual clip, Ye et al., 2020. The ratio is clipped for each
independent choice behind a chunk: over a whole chunk of hundreds of choices it would be clipped almost
everywhere.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from regrasp.errors import InputError, check_positive
from regrasp.rl.policies import Noise, Params, Policy, Trace


@dataclass(frozen=True)
class SurrogateConfig:
    """How an iteration's decisions change the policy."""

    learning_rate: float = 1e-4
    """Of Adam, at first; it falls to 0 in a straight line."""
    passes: int = 2
    """Times that an iteration's decisions are used."""
    minibatch: int = 1024
    """Decisions in a gradient step."""
    clip_low: float = 0.2
    """The likelihood ratio counts down to 1 - this."""
    clip_high: float = 0.28
    """The likelihood ratio counts up to 1 + this."""
    clip_far: float = 3.0
    """Of what turned out badly it counts up to this: one decision in a strange state (a thing on its side)
    could outweigh all others."""
    gradient_norm: float = 0.5
    """Longer gradients are shortened to this."""
    average: float = 0.8
    """What the running average of the weights keeps of itself in an iteration; 0: the weights as they are."""

    def __post_init__(self) -> None:
        check_positive(self, ("learning_rate", "passes", "minibatch", "gradient_norm"))
        if not 0 <= self.average < 1:
            raise InputError(f"average {self.average}: choose from 0 up to, not including, 1")
        if not (0 < self.clip_low < 1 and 0 < self.clip_high < self.clip_far - 1):
            raise InputError(
                f"clip_low {self.clip_low}, clip_high {self.clip_high} and clip_far {self.clip_far}: "
                "choose 0 < clip_low < 1, clip_high > 0 and clip_far > 1 + clip_high"
            )


class Decisions(NamedTuple):
    """Choices that were tried, one row for each chunk."""

    obs: Float[np.ndarray, "n obs"]
    trace: Trace
    advantage: Float[np.ndarray, "n arms"]
    """Of what each arm was told; or, one number, of all."""


class Weights(NamedTuple):
    """What an update changes."""

    net: Any
    optimizer: Any
    mean: Any
    """Running average of `net` over iterations: every update wanders, and the average wanders less."""


class Surrogate:
    """Clipped policy-gradient steps for one policy."""

    def __init__(self, policy: Policy, fixed: Params, noise: Noise, config: SurrogateConfig):
        """Compile.

        Args:
            policy: what is updated.
            fixed: parameters that stay, such as the normalisation.
            noise: how the decisions were made.
            config: how.
        """
        self._policy, self._fixed, self._noise, self._config = policy, fixed, noise, config
        self._optimizer = optax.chain(
            optax.clip_by_global_norm(config.gradient_norm), optax.adam(config.learning_rate)
        )
        self._step = jax.jit(self._step_once)
        self._log_prob = jax.jit(self._log_probs)

    def start(self, net: Any) -> Weights:
        """A policy's weights, with nothing learned yet."""
        return Weights(net, self._optimizer.init(net), net)

    def update(
        self, weights: Weights, data: Decisions, rate: float, rng: np.random.Generator
    ) -> tuple[Weights, float]:
        """Take the decisions in, several times over.

        Args:
            weights: that made the decisions.
            data: at least one decision; those without advantage should be left out.
            rate: factor on the learning rate.
            rng: of the order.

        Returns:
            New weights, and how far they moved: the mean squared log-ratio of the last step.

        Raises:
            InputError: the loss or its gradient is not finite.
        """
        size = self._config.minibatch
        batches = max(1, len(data.obs) // size)
        old, shift = self._old(weights.net, data), 0.0
        for turn in range(self._config.passes):
            order = np.resize(rng.permutation(len(data.obs)), batches * size)
            for batch, pick in enumerate(order.reshape(batches, size)):
                part = jax.tree.map(lambda x, pick=pick: x[pick], data)
                weights, shift, sound = self._step(weights, part, old[pick], np.float32(rate))
                if not sound:
                    raise InputError(
                        f"the loss is not finite in minibatch {batch + 1} of {batches}, pass {turn + 1}: "
                        "the last good state is kept; start anew with a lower learning rate"
                    )
        keep = self._config.average
        mean = jax.tree.map(lambda m, w: keep * m + (1 - keep) * w, weights.mean, weights.net)
        return weights._replace(mean=mean), float(shift)

    def _old(self, net: Any, data: Decisions) -> np.ndarray:
        """Log-likelihoods under the weights that made the choices, in calls of one size."""
        size, n = self._config.minibatch, len(data.obs)
        index = np.resize(np.arange(n), -(-n // size) * size).reshape(-1, size)
        parts = [self._log_prob(net, jax.tree.map(lambda x, i=i: x[i], data)) for i in index]
        return np.concatenate([np.asarray(part) for part in parts])[:n]

    def _log_probs(self, net: Any, data: Any) -> Array:
        one = partial(self._policy.log_prob, noise=self._noise)
        return jax.vmap(one, (None, 0, 0))({**self._fixed, "net": net}, data.obs, data.trace)

    def _step_once(
        self, weights: Weights, part: Decisions, old: Array, rate: Array
    ) -> tuple[Weights, Array, Array]:
        config = self._config

        def loss(net: Any) -> tuple[Array, Array]:
            moved = self._log_probs(net, part) - old
            # Before the exponential, whose gradient need not be finite.
            ratio = jnp.exp(jnp.minimum(moved, np.log(config.clip_far)))
            clipped = jnp.clip(ratio, 1 - config.clip_low, 1 + config.clip_high)
            # Choices come with actions fastest, and these arm by arm.
            _, arms = part.advantage.shape
            each = jnp.repeat(part.advantage, self._policy.action_size // arms, axis=1)
            advantage = jnp.tile(each, (1, ratio.shape[1] // each.shape[1]))
            gain = jnp.minimum(ratio * advantage, clipped * advantage)
            shift = jnp.mean(jnp.sum(moved.reshape(len(moved), -1), axis=1) ** 2)
            return -jnp.mean(gain), shift

        (value, shift), gradient = jax.value_and_grad(loss, has_aux=True)(weights.net)
        sound = jnp.isfinite(value) & jnp.isfinite(optax.global_norm(gradient))
        updates, optimizer = self._optimizer.update(gradient, weights.optimizer, weights.net)
        updates = jax.tree.map(lambda update: rate * update, updates)
        net = optax.apply_updates(weights.net, updates)
        return weights._replace(net=net, optimizer=optimizer), shift, sound
