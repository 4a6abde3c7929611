"""What a policy can be told beside its observation, so that it can be asked for better than the average."""

from collections.abc import Callable, Mapping

import jax
import numpy as np
from jaxtyping import Float, Int

from regrasp.rl.critic import Critic, CriticConfig

Obs = Float[np.ndarray, "n obs"]
Index = Int[np.ndarray, " n"]


def speeds(obs: Obs, episode: Index, chunk: int) -> Float[np.ndarray, " n"]:
    """How fast the episode of each step was, in multiples of the median."""
    del obs, chunk
    _, which, lengths = np.unique(episode, return_inverse=True, return_counts=True)
    return np.median(lengths) / lengths[which]


def advantages(obs: Obs, episode: Index, chunk: int) -> Float[np.ndarray, " n"]:
    """By how much a chunk brought success nearer than is usual where it began, in standard deviations.

    A critic learns which part of the longest demonstration is still to come; a chunk's advantage is how much
    less of it there is afterwards, less its mean. (Conditioning on advantages: RECAP, Physical Intelligence,
    2025.)
    """
    last = np.searchsorted(episode, episode, side="right") - 1
    left = (last - np.arange(len(episode))).astype(np.float32)
    share = left / max(1.0, left.max())
    norm = {"obs_mean": obs.mean(0), "obs_std": obs.std(0) + 1e-3}
    critic = Critic(obs.shape[1], norm, CriticConfig(passes=20, minibatch=min(1024, len(obs))))
    state = critic.start(jax.random.key(0))
    state = critic.fit(state, obs, share[:, None], np.random.default_rng(0))
    value = critic.values(state, obs)[:, 0]
    after = np.minimum(np.arange(len(episode)) + chunk, last)
    gained = value - value[after]
    # Too little follows the last steps of an episode to compare them: they are as usual.
    full = left >= chunk
    usual, spread = (gained[full].mean(), gained[full].std()) if full.any() else (0.0, 1.0)
    return np.where(full, (gained - usual) / (spread + 1e-9), 0.0)


CONDITIONS: Mapping[str, Callable[[Obs, Index, int], Float[np.ndarray, " n"]]] = {
    "speed": speeds,
    "advantage": advantages,
}
"""Name -> its value at every demonstrated step, from observations, episode numbers and the chunk's length."""
