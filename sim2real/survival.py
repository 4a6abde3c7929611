"""How long a replay stays true: divergence horizons, censored where it never leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Horizon(NamedTuple):
    """How long one replay stayed within a tolerance."""

    time_s: float
    """Until the error first exceeded it, or the length of the recording."""
    crossed: bool
    """False: the recording ended before that (right-censored)."""


def horizon(
    t: Float[np.ndarray, "time"],
    error: Float[np.ndarray, "time *joints"],
    tolerance: Float[np.ndarray, "*joints"] | float,
) -> Horizon:
    """When any joint's error first exceeds its tolerance; it never shrinks as tolerances grow.

    Args:
        t: stamps (s).
        error: errors, of either sign.
        tolerance: largest error that counts as staying, one for all or one per joint.
    """
    beyond = (np.abs(error) > tolerance).reshape(len(t), -1).any(axis=1)
    first = int(np.argmax(beyond)) if beyond.any() else len(t) - 1
    return Horizon(float(t[first] - t[0]), bool(beyond.any()))


@dataclass(frozen=True, eq=False)
class Survival:
    """Share of recordings still within tolerance, after Kaplan and Meier (1958)."""

    time_s: Float[np.ndarray, "steps"]
    """Times at which a recording crosses, increasing."""
    share: Float[np.ndarray, "steps"]
    """Share that has not crossed, from that time on."""
    low: Float[np.ndarray, "steps"]
    high: Float[np.ndarray, "steps"]
    """95 % interval (Greenwood's variance of the log of minus the log)."""
    crossed: int
    censored: int

    @property
    def median_s(self) -> float:
        """When half have crossed; infinite if fewer ever do."""
        below = np.flatnonzero(self.share <= 0.5)
        return float(self.time_s[below[0]]) if len(below) else float("inf")

    def to_json(self) -> dict[str, object]:
        """Plain values; an infinite median is None."""
        median = self.median_s
        return {
            "median_s": median if np.isfinite(median) else None,
            "crossed": self.crossed,
            "censored": self.censored,
            "time_s": self.time_s.tolist(),
            "share": self.share.tolist(),
            "low": self.low.tolist(),
            "high": self.high.tolist(),
        }


def survival(horizons: Sequence[Horizon]) -> Survival:
    """Kaplan-Meier estimate over recordings; those that ended uncrossed count while they lasted."""
    times = np.array([one.time_s for one in horizons])
    crossed = np.array([one.crossed for one in horizons], bool)
    steps = np.unique(times[crossed])
    at_risk = np.array([(times >= step).sum() for step in steps], float)
    events = np.array([(times[crossed] == step).sum() for step in steps], float)
    share = np.cumprod(1 - events / at_risk) if len(steps) else np.zeros(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.cumsum(events / (at_risk * (at_risk - events)))
        width = 1.96 * np.sqrt(variance) / np.log(share)
        low, high = share ** np.exp(-width), share ** np.exp(width)
    # At 0 and 1 the logarithms say nothing: the interval is the whole way to where it was known.
    low = np.where(np.isfinite(low), low, 0.0)
    high = np.where(np.isfinite(high), high, np.concatenate([[1.0], share[:-1]])[: len(share)])
    return Survival(
        steps,
        share,
        np.minimum(low, high),
        np.maximum(low, high),
        int(crossed.sum()),
        int((~crossed).sum()),
    )
