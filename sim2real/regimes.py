"""What a joint is doing at each moment of a log, as its commands tell: the regimes of an error."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from regrasp.assets.arm import Arm
from regrasp.sim2real.kinematics import poses
from regrasp.sim2real.log import Log

MOVING = 0.05
"""Commands that change slower than this (rad/s; opening per s) hold a joint."""
REVERSING_S = 0.3
"""So long after its commands turn round, a joint is reversing."""
SMOOTH_S = 0.1
"""Commands come in steps: their speed is the slope over this long, either way."""
LOADED = 0.05
"""Least load (N m) that counts as gravity."""
EVERY = 5
"""Gravity is computed at every so many samples and interpolated: it changes slowly."""
REGIMES = ("holding", "moving", "reversing", "lifting", "lowering")


@dataclass(frozen=True, eq=False)
class Regimes:
    """Motion and load of every joint at every stamp."""

    speed: Float[np.ndarray, "time joints"]
    """Commanded velocity, smoothed (rad/s; opening per s)."""
    direction: Float[np.ndarray, "time joints"]
    """Sign of the latest commanded motion; 0 before the first one."""
    load: Float[np.ndarray, "time joints"]
    """Torque that holds the joint against gravity (N m)."""
    reversing: Bool[np.ndarray, "time joints"]

    @property
    def moving(self) -> Bool[np.ndarray, "time joints"]:
        """Moving, and not just turned round."""
        return (np.abs(self.speed) >= MOVING) & ~self.reversing

    @property
    def holding(self) -> Bool[np.ndarray, "time joints"]:
        return (np.abs(self.speed) < MOVING) & ~self.reversing

    def masks(self) -> dict[str, Bool[np.ndarray, "time joints"]]:
        """Where each regime holds. Lifting and lowering are parts of moving; the rest is disjoint."""
        loaded = np.abs(self.load) >= LOADED
        up = self.speed * self.load > 0
        return {
            "holding": self.holding,
            "moving": self.moving,
            "reversing": self.reversing,
            "lifting": self.moving & loaded & up,
            "lowering": self.moving & loaded & ~up,
        }


def regimes_of(log: Log, arm: Arm | None) -> Regimes:
    """The regimes of a log, from its commands and, for gravity, from its measured positions.

    Args:
        log: of this arm, or of any joints.
        arm: None: nothing is said of gravity, and its load is 0.
    """
    speed = _slope(log.t, log.cmd, SMOOTH_S)
    direction = _latest_sign(np.where(np.abs(speed) >= MOVING, np.sign(speed), 0.0))
    before = np.concatenate([direction[:1], direction[:-1]])
    turned = (direction != before) & (before != 0)
    load = np.zeros(speed.shape)
    if arm is not None:
        rows = np.arange(0, len(log.t), EVERY)
        held = poses(arm, log.q[rows]).load
        load = np.stack([np.interp(log.t, log.t[rows], column) for column in held.T], axis=1)
    return Regimes(speed, direction, load, _lasting(turned, REVERSING_S, log.period_s))


def _slope(t: np.ndarray, values: np.ndarray, reach_s: float) -> np.ndarray:
    """Slope between the samples `reach_s` before and after; shorter at the ends."""
    reach = max(1, round(reach_s / float(np.median(np.diff(t)))))
    rows = np.arange(len(t))
    low, high = np.maximum(rows - reach, 0), np.minimum(rows + reach, len(t) - 1)
    return (values[high] - values[low]) / (t[high] - t[low])[:, None]


def _latest_sign(signs: np.ndarray) -> np.ndarray:
    """Each column's latest value that is not zero."""
    rows = np.where(signs != 0, np.arange(len(signs))[:, None], 0)
    return np.take_along_axis(signs, np.maximum.accumulate(rows, axis=0), axis=0)


def _lasting(events: np.ndarray, for_s: float, period_s: float) -> np.ndarray:
    """True from an event on for a while."""
    count = max(1, round(for_s / period_s))
    total = np.cumsum(events, axis=0)
    before = np.concatenate([np.zeros((count, events.shape[1])), total[:-count]])[: len(events)]
    return total - before > 0
