"""How much better a rollout did than expected: from its group, or from a critic."""

import numpy as np
from jaxtyping import Bool, Float

from regrasp.errors import InputError, unknown

Rewards = Float[np.ndarray, "groups tries"]
SPREAD_FLOOR = 1e-3
"""Smallest standard deviation that a normalised group is divided by."""


def leave_one_out(reward: Rewards) -> Rewards:
    """Each rollout's reward minus the mean of the others of its group (RLOO; Kool et al., 2019)."""
    tries = reward.shape[1]
    return (reward - reward.mean(axis=1, keepdims=True)) * tries / (tries - 1)


def normalised(reward: Rewards) -> Rewards:
    """Each rollout's reward in standard deviations of its group (GRPO; Shao et al., 2024)."""
    spread = reward.std(axis=1, keepdims=True)
    return (reward - reward.mean(axis=1, keepdims=True)) / np.maximum(spread, SPREAD_FLOOR)


GROUP = {"leave_one_out": leave_one_out, "normalised": normalised}
"""Advantages within a group, by name."""


def group_advantage(kind: str, reward: Rewards) -> Rewards:
    """Advantages within groups; those of a group whose rewards are all equal are 0.

    Raises:
        InputError: no such kind.
    """
    if kind not in GROUP:
        raise unknown("group advantage", kind, GROUP)
    return GROUP[kind](reward) * informative(reward)[:, None]


def informative(reward: Rewards) -> Bool[np.ndarray, " groups"]:
    """Groups whose rewards differ: the others teach nothing."""
    return reward.max(axis=1) > reward.min(axis=1)


def gae(
    reward: Float[np.ndarray, "decisions rows"],
    value: Float[np.ndarray, "decisions rows"],
    running: Bool[np.ndarray, "decisions rows"],
    final: Float[np.ndarray, " rows"],
    discount: float,
    trace: float,
) -> Float[np.ndarray, "decisions rows"]:
    """Generalised advantage estimation (Schulman et al., 2016).

    Args:
        reward: of each decision.
        value: the critic's, before each decision.
        running: whether the row still ran when the decision was taken; 0 elsewhere.
        final: the critic's after the last decision; 0 for rows whose episode is over.
        discount: gamma, per decision.
        trace: lambda.

    Raises:
        InputError: a discount or trace that is not within 0 to 1.
    """
    if not (0 <= discount <= 1 and 0 <= trace <= 1):
        raise InputError(f"discount {discount} and trace {trace}: choose 0 to 1")
    advantage = np.zeros_like(reward)
    later, next_value = np.zeros(reward.shape[1]), final
    for t in range(len(reward) - 1, -1, -1):
        error = reward[t] + discount * next_value - value[t]
        later = np.where(running[t], error + discount * trace * later, 0.0)
        advantage[t], next_value = later, np.where(running[t], value[t], 0.0)
    return advantage
