"""Intervals by resampling episodes. Steps of one episode are alike, so they are never resampled."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

DRAWS = 2000
LEVEL = 0.95


def interval(
    values: Float[np.ndarray, "episodes *figures"],
    statistic: Callable[..., np.ndarray] = np.nanmedian,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """95 % percentile interval of a statistic over episodes; NaN where there are fewer than two.

    Args:
        values: one row per episode; NaN where an episode says nothing.
        statistic: of the first axis, called with `axis`.
        draws: resamples.
        seed: of the resampling.
    """
    values = np.asarray(values, float)
    flat = values.reshape(len(values), -1)
    low, high = np.full(flat.shape[1], np.nan), np.full(flat.shape[1], np.nan)
    rng = np.random.default_rng(seed)
    for column in range(flat.shape[1]):
        known = flat[np.isfinite(flat[:, column]), column]
        if len(known) < 2:
            continue
        picked = known[rng.integers(0, len(known), (len(known), draws))]
        found = statistic(picked, axis=0)
        tail = 50 * (1 - LEVEL)
        low[column], high[column] = np.percentile(found, (tail, 100 - tail))
    return low.reshape(values.shape[1:]), high.reshape(values.shape[1:])
