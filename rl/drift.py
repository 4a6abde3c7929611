"""Drift: how far a policy's states are from all demonstrated ones, along its episodes.

The compounding error of cloning, as a number. A state's distance is that to its nearest neighbour among the
demonstrated states, each observation entry in standard deviations of the demonstrations, root mean square
over the entries. What is usual is measured on the demonstrations themselves, each against all others.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from regrasp.envs import BatchEnv, episode_keys
from regrasp.errors import InputError
from regrasp.rl.episodes import Episodes
from regrasp.rl.evaluate import ChunkPolicy, play_episodes
from regrasp.rl.policies.policy import STD_FLOOR

MOST = 300_000
"""Demonstrated states that are compared with: of more, every second, third, ... one."""


@dataclass(frozen=True)
class Drift:
    """Distances of visited states, one column for each decision of a policy."""

    times_s: Float[np.ndarray, " decisions"]
    distance: Float[np.ndarray, "episodes decisions"]
    """NaN once an episode has ended."""
    success: Bool[np.ndarray, " episodes"]
    usual: Float[np.ndarray, " quantiles"]
    """Distances of demonstrated states from the other demonstrations: median, 90 % and 99 %."""

    @property
    def median(self) -> Float[np.ndarray, " decisions"]:
        """Over the episodes that still run."""
        return np.array([np.median(d[~np.isnan(d)]) for d in self.distance.T])

    @property
    def outside(self) -> Float[np.ndarray, " decisions"]:
        """Share of the running episodes that are further off than 99 % of demonstrated states."""
        return np.array([np.mean(d[~np.isnan(d)] > self.usual[2]) for d in self.distance.T])

    def success_by_drift(self, bins: int = 4) -> list[tuple[float, float, int]]:
        """Episodes sorted by their mean distance in bins of equal number: (distance, success, episodes)."""
        mean = np.nanmean(self.distance, axis=1)
        parts = np.array_split(np.argsort(mean), bins)
        return [
            (float(mean[part].mean()), float(self.success[part].mean()), len(part))
            for part in parts
            if len(part)
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the single episodes."""
        return {
            "times_s": self.times_s.round(4).tolist(),
            "median": self.median.round(4).tolist(),
            "outside": self.outside.round(4).tolist(),
            "usual": self.usual.round(4).tolist(),
            "success_by_drift": [
                {"distance": round(d, 4), "success": round(s, 4), "episodes": n}
                for d, s, n in self.success_by_drift()
            ],
        }


class Neighbours:
    """The demonstrated states, and how far others are from them."""

    def __init__(self, episodes: Episodes):
        """Of demonstrations, every observation term side by side.

        Raises:
            InputError: a single demonstration has no others to be compared with.
        """
        obs, _, index, _ = episodes.arrays()
        self._names = list(obs)
        thin = -(-len(index) // MOST)
        self.states = self.flat(obs)[::thin]
        self._episode = np.asarray(index)[::thin]
        if len(np.unique(self._episode)) < 2:
            raise InputError("1 demonstration: drift needs 2 or more")
        self._std = self.states.std(axis=0) + STD_FLOOR
        self._known = jnp.asarray(self.states / self._std)
        self._squares = jnp.sum(self._known**2, axis=1)
        self._nearest = jax.jit(self._nearest_of)

    def flat(self, obs: Any) -> Float[np.ndarray, "n obs"]:
        """Observation terms side by side."""
        return np.concatenate([np.asarray(obs[name]) for name in self._names], axis=-1)

    def distance(
        self, states: Float[np.ndarray, "n obs"], but: Int[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, " n"]:
        """From the nearest demonstrated state.

        Args:
            states: observations, flat.
            but: number of the demonstration that does not count, for each.
        """
        but = np.full(len(states), -1) if but is None else but
        found = [
            self._nearest(jnp.asarray(states[i : i + _BLOCK] / self._std), but[i : i + _BLOCK])
            for i in range(0, len(states), _BLOCK)
        ]
        return np.concatenate([np.asarray(part) for part in found])

    def usual(self, most: int = 2000) -> Float[np.ndarray, "3"]:
        """Median, 90 % and 99 % of demonstrated states' distances from the other demonstrations."""
        pick = np.linspace(0, len(self.states) - 1, min(most, len(self.states))).astype(int)
        return np.quantile(self.distance(self.states[pick], self._episode[pick]), [0.5, 0.9, 0.99])

    def _nearest_of(self, states: Array, but: Array) -> Array:
        squares = jnp.sum(states**2, axis=1)[:, None] + self._squares - 2 * states @ self._known.T
        squares = jnp.where(but[:, None] == self._episode, jnp.inf, squares)
        return jnp.sqrt(jnp.maximum(squares.min(axis=1), 0) / states.shape[1])


_BLOCK = 256
"""States compared in a call."""


def drift(
    env: BatchEnv, policy: ChunkPolicy, known: Neighbours, seed: int, noise: float = 0.0
) -> Drift:
    """Play one evaluation episode in every row, and see how far its states are from the demonstrations.

    Args:
        env: autoreset DISABLED, with the policy's executor.
        policy: who acts.
        known: the demonstrations.
        seed: of the role `evaluate`.
        noise: scale of what chunks are made from.
    """
    watching = _Watching(policy, env, known)
    keys = episode_keys(seed, "evaluate", 0, env.num_envs)
    outcomes = play_episodes(env, watching, keys, seed, 0, noise=noise)
    distance = np.stack(watching.found, axis=1)
    times = np.arange(distance.shape[1]) * env.executor.execute * env.control.dt_s
    return Drift(times, distance, outcomes.success, known.usual())


class _Watching:
    """A policy, and how far off each of its decisions was taken."""

    def __init__(self, policy: ChunkPolicy, env: BatchEnv, known: Neighbours):
        self._policy, self._env, self._known = policy, env, known
        self.noise_size = policy.noise_size
        self.found: list[np.ndarray] = []

    def chunks(self, obs: dict[str, np.ndarray], noise: np.ndarray) -> np.ndarray:
        far = self._known.distance(self._known.flat(obs))
        self.found.append(np.where(self._env.done, np.nan, far))
        return self._policy.chunks(obs, noise)
