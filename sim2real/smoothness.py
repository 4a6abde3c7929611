"""How smooth a motion is: root mean square jerk, and spectral arc length."""

import numpy as np
from jaxtyping import Float

CUT_HZ = 10.0
"""Arm motions have nothing above it."""
FLOOR = 0.05
"""Of the normalised spectrum: what is smaller at the upper end counts as noise."""
PADDING = 16
"""The spectrum is read at so many places for each of the profile's own."""


def rms_jerk(
    path: Float[np.ndarray, "time joints"], period_s: float
) -> Float[np.ndarray, "joints"]:
    """Root mean square of the third derivative of each joint's path, by its third differences.

    Args:
        path: positions (rad, or opening) at even steps.
        period_s: from one step to the next (s).

    Returns:
        rad/s^3, or opening/s^3; NaN for fewer than four steps.
    """
    if len(path) < 4:
        return np.full(path.shape[1], np.nan)
    third = np.diff(np.asarray(path, float), n=3, axis=0) / period_s**3
    return np.sqrt(np.mean(third**2, axis=0))


def spectral_arc_length(speed: Float[np.ndarray, "time"], period_s: float) -> float:
    """SPARC of a speed profile: less the length of its normalised magnitude spectrum (at most 0).

    The nearer to 0, the smoother. It depends neither on how large nor on how slow a motion is, only on its
    form, and every stop and start makes it more negative. Balasubramanian et al., "On the analysis of
    movement smoothness", 2015, with its settings: up to 10 Hz, and no further than the spectrum last is at
    0.05 of its value at 0.

    Args:
        speed: speeds at even steps, not negative, in any unit.
        period_s: from one step to the next (s).

    Returns:
        The arc length; NaN of a profile that is 0 throughout, or of fewer than two steps.
    """
    if len(speed) < 2 or not np.any(speed):
        return float("nan")
    count = PADDING * 2 ** int(np.ceil(np.log2(len(speed))))
    magnitude = np.abs(np.fft.rfft(speed, count))
    frequency = np.fft.rfftfreq(count, period_s)
    kept = frequency <= CUT_HZ
    magnitude, frequency = magnitude[kept] / magnitude[0], frequency[kept]
    last = int(np.flatnonzero(magnitude >= FLOOR)[-1])
    if last == 0:
        return 0.0
    across = np.diff(frequency[: last + 1]) / frequency[last]
    return -float(np.hypot(across, np.diff(magnitude[: last + 1])).sum())
