"""A log: one recorded episode of an arm, checked once, when it is made."""

from dataclasses import dataclass

import numpy as np

from regrasp.assets.arm import Arm
from regrasp.errors import InputError

MIN_DURATION_S = 1.0
MIN_MOTION = 1e-3
"""Commands that span less than this (rad, or 0..1) on every joint are no motion."""
FULL_TURN_RAD = 2 * np.pi
OPENING_BOUNDS = (-0.25, 1.25)
"""What a normalised opening may reach: servos overshoot and calibrations are not perfect."""


@dataclass(frozen=True, eq=False)
class Log:
    """Commands and measurements of one episode, in the arm's joint order.

    Arm joints are in rad; the last column is the gripper's normalised opening, 0 closed to 1 open.

    Raises:
        InputError: times, shapes or values that cannot be a recording of this kind; the message
            names the log and the fault.
    """

    name: str
    """Name of the motion; recordings of one motion share it."""
    joints: tuple[str, ...]
    """Names of the columns: the arm's joints, in its order."""
    # Shapes are in words: what comes from files is checked below, with a message for its owner.
    t: np.ndarray
    """Stamps (s), shape (time,), increasing, any origin."""
    cmd: np.ndarray
    """Commanded positions, shape (time, joints), each in force from its stamp on."""
    q: np.ndarray
    """Measured positions, shape (time, joints)."""
    qd: np.ndarray | None = None
    """Measured velocities per second, shape (time, joints), if the log has them."""
    units: str = "arm joints rad, gripper 0..1 of its range, time s"
    """Units of the fields, after the reader's conversion."""
    clock: str = "unknown"
    """Whose clock made the stamps, and whether they were measured or assumed."""
    source: str = ""
    """Where the log was read from."""

    def __post_init__(self) -> None:
        _check_shapes(self)
        check_times(self.name, self.t)
        for field in ("cmd", "q", "qd"):
            values = getattr(self, field)
            if values is not None:
                _check_finite(self, field, values)
        for field in ("cmd", "q"):
            _check_units(self, field, getattr(self, field))
        _check_motion(self)

    @property
    def duration_s(self) -> float:
        """Time from the first sample to the last (s)."""
        return float(self.t[-1] - self.t[0])

    @property
    def period_s(self) -> float:
        """Median time between samples (s)."""
        return float(np.median(np.diff(self.t)))

    def check_arm(self, arm: Arm) -> None:
        """Refuse an arm whose joints are not this log's.

        Raises:
            InputError: the joint counts or names differ.
        """
        if len(self.joints) != len(arm.joints):
            raise InputError(
                f"log {self.name}: {len(self.joints)} joints, but {arm.name} has "
                f"{len(arm.joints)} ({', '.join(arm.joint_names)}); choose the arm recorded"
            )
        if self.joints != arm.joint_names:
            raise InputError(
                f"log {self.name}: joints {', '.join(self.joints)} are not those of {arm.name} "
                f"({', '.join(arm.joint_names)}); choose the arm that was recorded"
            )


def check_times(name: str, t: np.ndarray) -> None:
    """Refuse stamps that are not finite and increasing.

    Raises:
        InputError: there are fewer than two stamps, or one is NaN or not later than the last.
    """
    if len(t) < 2:
        raise InputError(f"log {name}: {len(t)} samples, needs at least 2; record it again")
    if not np.isfinite(t).all():
        row = int(np.argmin(np.isfinite(t)))
        raise InputError(f"log {name}: stamp {row} is {t[row]}, not a finite time; repair the log")
    if (np.diff(t) <= 0).any():
        row = int(np.argmax(np.diff(t) <= 0)) + 1
        raise InputError(
            f"log {name}: stamp {row} ({t[row]:.6f} s) is not later than the one before "
            f"({t[row - 1]:.6f} s); remove repeated rows or repair the clock"
        )


def _check_shapes(log: Log) -> None:
    wanted = (len(log.t), len(log.joints))
    if log.t.ndim != 1:
        raise InputError(f"log {log.name}: t has shape {log.t.shape}, needs (samples,)")
    for field in ("cmd", "q", "qd"):
        values = getattr(log, field)
        if values is not None and values.shape != wanted:
            raise InputError(
                f"log {log.name}: {field} has shape {values.shape}, needs {wanted} "
                f"(samples, joints); give one value per joint and stamp"
            )


def _check_finite(log: Log, field: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise InputError(
            f"log {log.name}: {field} of {log.joints[column]} is {values[row, column]} at sample "
            f"{row}; cut the log before it or record it again"
        )


def _check_units(log: Log, field: str, values: np.ndarray) -> None:
    arm = np.abs(values[:, :-1]).max(axis=0, initial=0.0)
    if (arm > FULL_TURN_RAD).any():
        column = int(np.argmax(arm))
        raise InputError(
            f"log {log.name}: {field} of {log.joints[column]} reaches {arm[column]:.4g}, more than "
            f"a full turn in rad; convert degrees or ticks to rad"
        )
    low, high = values[:, -1].min(), values[:, -1].max()
    if low < OPENING_BOUNDS[0] or high > OPENING_BOUNDS[1]:
        raise InputError(
            f"log {log.name}: {field} of {log.joints[-1]} spans {low:.4g} to {high:.4g}, "
            f"not a normalised opening; scale it to 0 (closed) .. 1 (open)"
        )


def _check_motion(log: Log) -> None:
    if log.duration_s < MIN_DURATION_S:
        raise InputError(
            f"log {log.name}: {log.duration_s:.3f} s long, needs at least {MIN_DURATION_S:g} s "
            f"of motion; record a longer one"
        )
    if np.ptp(log.cmd, axis=0).max() < MIN_MOTION:
        raise InputError(
            f"log {log.name}: no command changes by {MIN_MOTION:g} or more, so there is no motion "
            f"to compare; record one that moves a joint"
        )
    if np.array_equal(log.cmd[:-1], log.q[1:]):
        raise InputError(
            f"log {log.name}: each command is the next measured position, so the real commands "
            f"were not recorded; log what was sent to the servos"
        )
