"""How far one motion is from another: error and lag, per joint."""

import numpy as np
from jaxtyping import Bool, Float

MAX_LAG_S = 0.3
"""Longest lag that is looked for: a small servo trails a fast sweep by up to 0.15 s."""


def angle_columns(joints: int) -> Bool[np.ndarray, "joints"]:
    """Which columns of a log are angles: all but the last, the gripper's opening."""
    return np.arange(joints) < joints - 1


def errors(
    first: Float[np.ndarray, "*shape joints"],
    second: Float[np.ndarray, "*shape joints"],
    hinges: Bool[np.ndarray, "joints"] | bool = True,
) -> Float[np.ndarray, "*shape joints"]:
    """Second minus first, the short way round for hinges.

    Args:
        first: positions (rad, or any unit where not a hinge).
        second: positions of the same shape and units.
        hinges: which joints are angles, to be wrapped to [-pi, pi); one for all, or one each.
    """
    difference = np.asarray(second, float) - np.asarray(first, float)
    # Rounding in the remainder would blur small errors, so only what needs wrapping is wrapped.
    far = hinges & (np.abs(difference) > np.pi)
    return np.where(far, np.mod(difference + np.pi, 2 * np.pi) - np.pi, difference)


def rmse(first: np.ndarray, second: np.ndarray, hinges: np.ndarray | bool = True) -> np.ndarray:
    """Root mean square error per joint; arguments as for `errors`, time along the first axis."""
    difference = errors(first, second, hinges)
    # Scaled by the largest error, so that squares neither vanish nor overflow.
    largest = np.abs(difference).max(axis=0)
    scale = np.where(largest > 0, largest, 1.0)
    return largest * np.sqrt(np.mean((difference / scale) ** 2, axis=0))


def mae(first: np.ndarray, second: np.ndarray, hinges: np.ndarray | bool = True) -> np.ndarray:
    """Mean absolute error per joint; arguments as for `errors`, time along the first axis."""
    return np.mean(np.abs(errors(first, second, hinges)), axis=0)


def lag_s(
    first: Float[np.ndarray, "time"],
    second: Float[np.ndarray, "time"],
    period_s: float,
    max_lag_s: float = MAX_LAG_S,
) -> float:
    """By how much `second` trails `first` (s); negative if it leads.

    The lag is where the demeaned, normalised cross-correlation peaks over |lag| <= max_lag_s, with
    a parabola through the peak and its neighbours for the fraction of a sample. Means and norms
    are those of the samples that overlap at each lag, so the two ends of a record do not bias it.
    Swapping the signals changes the sign; a gain or an offset of either changes nothing.

    Args:
        first: signal at equal intervals.
        second: signal at the same times.
        period_s: time between samples (s).
        max_lag_s: longest lag to consider (s); at most half the record is used.

    Returns:
        The lag (s); NaN if either signal never changes. A peak at the limit is the limit itself.
    """
    count = len(first)
    reach = min(int(np.floor(max_lag_s / period_s + 1e-9)), count // 2)
    if np.ptp(first) == 0 or np.ptp(second) == 0 or reach < 1:
        return float("nan")
    a = (first - np.mean(first)) / np.ptp(first)
    b = (second - np.mean(second)) / np.ptp(second)
    score = np.array([_correlation(a, b, shift) for shift in range(-reach, reach + 1)])
    shifts = np.arange(-reach, reach + 1)
    # Of equal peaks, as a short period makes them, the smallest lag is meant.
    best = np.flatnonzero(score >= score.max() - 1e-12)
    peak = int(best[np.argmin(np.abs(shifts[best]))])
    fraction = 0.0
    if 0 < peak < len(shifts) - 1:
        before, top, after = score[peak - 1 : peak + 2]
        curvature = before - 2 * top + after
        fraction = 0.5 * (before - after) / curvature if curvature < 0 else 0.0
    return float((shifts[peak] + fraction) * period_s)


def _correlation(a: np.ndarray, b: np.ndarray, shift: int) -> float:
    """Pearson correlation of a[i] with b[i + shift] where both exist; -1 where one is constant."""
    x = a[max(0, -shift) : len(a) - max(0, shift)]
    y = b[max(0, shift) : len(b) - max(0, -shift)]
    mean_x, mean_y = x.mean(), y.mean()
    size = len(x)
    variance = (x @ x - size * mean_x**2) * (y @ y - size * mean_y**2)
    if variance <= 1e-24 * size**2:
        return -1.0
    return float((x @ y - size * mean_x * mean_y) / np.sqrt(variance))
