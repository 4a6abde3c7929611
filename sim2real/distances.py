"""Distances between motions that may be warped in time, and between sets of motions."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance


def dtw(
    first: Float[np.ndarray, "time *joints"], second: Float[np.ndarray, "time *joints"], band: int
) -> Float[np.ndarray, "*joints"]:
    """Dynamic time warping: the least mean absolute error over warpings of at most `band` samples.

    The cost of the best path (Sakoe and Chiba, 1978) over the number of samples: never more than
    the mean absolute error, and equal to it with a band of 0. It forgives latency, so a lag belongs
    beside it. Symmetric. Angles are not wrapped.

    Args:
        first: signals at equal intervals.
        second: signals at the same times.
        band: how far two matched samples may be apart.
    """
    count = len(first)
    offsets = np.arange(-band, band + 1)
    padding = ((band, band), *[(0, 0)] * (second.ndim - 1))
    padded = np.pad(second, padding)
    shape = (len(offsets), *second.shape[1:])
    far = np.full((1, *second.shape[1:]), np.inf)
    best = np.full(shape, np.inf)
    best[band] = 0
    for i in range(count):
        cost = np.abs(padded[i : i + len(offsets)] - first[i])
        outside = (i + offsets < 0) | (i + offsets >= count)
        cost[outside] = 0
        # From the row before: straight on (the same offset) or one sample of `first` more.
        enter = np.minimum(best, np.concatenate([best[1:], far])) if i else best
        # Within a row each cell may follow its left neighbour: a running minimum of what is saved.
        spent = np.cumsum(cost, axis=0)
        best = spent + np.minimum.accumulate(enter - spent + cost, axis=0)
        best[outside] = np.inf
    return best[band] / count


def wasserstein(first: Float[np.ndarray, "n"], second: Float[np.ndarray, "m"]) -> float:
    """Wasserstein-1 distance of two samples: the mean difference of their sorted values."""
    return float(wasserstein_distance(first, second))


def mmd2(
    first: Float[np.ndarray, "n dim"], second: Float[np.ndarray, "m dim"], width: float
) -> float:
    """Unbiased squared maximum mean discrepancy with a Gaussian kernel (Gretton et al., 2012).

    Zero on average for samples of one law, and then negative as often as positive.

    Args:
        first: one row per episode, at least two.
        second: likewise.
        width: of the kernel, in the unit of the columns; see `median_distance`.
    """
    n, m = len(first), len(second)
    kernel = lambda a, b: np.exp(-cdist(a, b, "sqeuclidean") / (2 * width**2))  # noqa: E731
    within_first = (kernel(first, first).sum() - n) / (n * (n - 1))
    within_second = (kernel(second, second).sum() - m) / (m * (m - 1))
    return float(within_first + within_second - 2 * kernel(first, second).mean())


def median_distance(rows: Float[np.ndarray, "n dim"]) -> float:
    """Median distance between different rows, the usual width of a kernel; 1 if all are equal."""
    apart = cdist(rows, rows)[np.triu_indices(len(rows), 1)]
    middle = float(np.median(apart)) if len(apart) else 0.0
    return middle if middle > 0 else 1.0


def permutation_p(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    first: Float[np.ndarray, "n dim"],
    second: Float[np.ndarray, "m dim"],
    rng: np.random.Generator,
    draws: int = 500,
    paired: bool = False,
) -> float:
    """Probability of so large a statistic if the rows' labels meant nothing.

    Rows are episodes: steps of one episode are alike and must never be shuffled as if independent.

    Args:
        statistic: of two sets of rows; larger means further apart.
        first: one row per episode.
        second: likewise.
        rng: what shuffles.
        draws: shuffles; the smallest result is 1 / (draws + 1).
        paired: row i of both is the same motion: labels change places within pairs only.
    """
    observed, together = statistic(first, second), np.concatenate([first, second])
    n, count = len(first), 0
    for _ in range(draws):
        if paired:
            swap = rng.random(n) < 0.5
            order = np.arange(2 * n)
            order[:n][swap], order[n:][swap] = order[n:][swap], order[:n][swap].copy()
        else:
            order = rng.permutation(len(together))
        count += statistic(together[order[:n]], together[order[n:]]) >= observed - 1e-15
    return (count + 1) / (draws + 1)
