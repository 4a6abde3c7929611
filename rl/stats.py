"""Intervals of success rates, and of means."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import norm
from scipy.stats import t as student

from regrasp.errors import InputError


class Rate(NamedTuple):
    """A success rate with its 95 % Wilson interval."""

    successes: int
    episodes: int
    rate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.rate:.1%} ({self.low:.1%} to {self.high:.1%}, n={self.episodes})"


def wilson(successes: int, episodes: int, confidence: float = 0.95) -> Rate:
    """Success rate with its Wilson score interval (Wilson, 1927).

    Raises:
        InputError: no episodes, or more successes than episodes.
    """
    if episodes < 1 or not 0 <= successes <= episodes:
        raise InputError(
            f"{successes} successes in {episodes} episodes: give 0 <= successes <= episodes, episodes >= 1"
        )
    z = float(norm.ppf(0.5 + confidence / 2))
    rate = successes / episodes
    middle = (rate + z * z / (2 * episodes)) / (1 + z * z / episodes)
    spread = (
        z
        / (1 + z * z / episodes)
        * (rate * (1 - rate) / episodes + z * z / (4 * episodes**2)) ** 0.5
    )
    # Rounding must not push an end beyond the rate itself, which is 0 or 1 at the extremes.
    low, high = max(0.0, min(rate, middle - spread)), min(1.0, max(rate, middle + spread))
    return Rate(successes, episodes, rate, low, high)


class Mean(NamedTuple):
    """A mean over episodes with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3g} ({self.low:.3g} to {self.high:.3g})"


def mean_of(values: Float[np.ndarray, " n"], confidence: float = 0.95) -> Mean:
    """The mean of finite values, with Student's interval; of a single one the interval has no ends.

    What is not finite, as an unstable simulation may leave it, is left out.
    """
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if not len(values):
        return Mean(np.nan, -np.inf, np.inf)
    middle = float(values.mean())
    if len(values) < 2:
        return Mean(middle, -np.inf, np.inf)
    error = float(values.std(ddof=1)) / len(values) ** 0.5
    spread = float(student.ppf(0.5 + confidence / 2, len(values) - 1)) * error
    return Mean(middle, middle - spread, middle + spread)
