"""A log: one recorded episode of an arm, checked once, when it is made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool

from regrasp.assets.arm import Arm
from regrasp.assets.workcell import SIDES
from regrasp.errors import InputError
from regrasp.sim2real.images import Images

MIN_DURATION_S = 1.0
MIN_MOTION = 1e-3
"""Commands that span less than this (rad, or 0..1) on every joint are no motion."""
FULL_TURN_RAD = 2 * np.pi
OPENING_BOUNDS = (-0.25, 1.25)
"""What a normalised opening may reach: servos overshoot and calibrations are not perfect."""


@dataclass(frozen=True, eq=False)
class Log:
    """Commands and measurements of one episode, in the arm's joint order.

    Arm joints are in rad; grippers are normalised openings, 0 closed to 1 open. Columns of two arms
    carry their sides, left first: `left/waist`.

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
    effort: np.ndarray | None = None
    """Currents or torques, shape (time, joints), in the recorder's units (an ALOHA's are mA)."""
    units: str = "arm joints rad, gripper 0..1 of its range, time s"
    """Units of the fields, after the reader's conversion."""
    clock: str = "unknown"
    """Whose clock made the stamps, and whether they were measured or assumed."""
    source: str = ""
    """Where the log was read from."""
    grippers: tuple[int, ...] | None = None
    """Columns that are openings; None: the last one."""
    commands: str = "sent"
    """What `cmd` is: what was sent to the servos (sent), or only where the arm was next, because
    nothing else was recorded (next state). The latter can be cloned, but shows no servo's error."""
    uncommanded: tuple[str, ...] = ()
    """Joints that nobody commands; their `cmd` is where they stood first."""
    measured_time: bool = True
    """Whether a clock made the stamps; otherwise they are a number of samples over a rate."""
    notes: tuple[str, ...] = ()
    """What the reader assumed or found odd, one sentence each."""
    images: Mapping[str, Images] = field(default_factory=dict)
    """Camera -> its pictures, one for each stamp, read when asked for."""
    observed: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What else was observed, such as where objects are: observation term -> (time, ...), in the units
    of the task that has it."""

    def __post_init__(self) -> None:
        if self.grippers is None:
            object.__setattr__(self, "grippers", (len(self.joints) - 1,))
        _check_shapes(self)
        check_times(self.name, self.t)
        for name in ("cmd", "q", "qd", "effort"):
            values = getattr(self, name)
            if values is not None:
                _check_finite(self, name, values)
        for name, values in self.observed.items():
            if len(values) != len(self.t) or not np.isfinite(values).all():
                raise InputError(
                    f"log {self.name}: {name} is observed {len(values)} times in {len(self.t)} samples, or "
                    f"is not finite somewhere; give finite numbers for each sample"
                )
        for name in ("cmd", "q"):
            _check_units(self, name, getattr(self, name))
        _check_motion(self)

    @property
    def duration_s(self) -> float:
        """Time from the first sample to the last (s)."""
        return float(self.t[-1] - self.t[0])

    @property
    def period_s(self) -> float:
        """Median time between samples (s)."""
        return float(np.median(np.diff(self.t)))

    @property
    def openings(self) -> Bool[np.ndarray, "joints"]:
        """Which columns are openings; the others are angles."""
        return np.isin(np.arange(len(self.joints)), self.grippers or ())

    @property
    def sides(self) -> tuple[str, ...]:
        """The arms that it is of, left before right; none if its joints carry no sides."""
        return tuple(s for s in SIDES if any(name.startswith(f"{s}/") for name in self.joints))

    def side(self, side: str) -> "Log":
        """One arm of a log of two, its joints named as that arm names them.

        Raises:
            InputError: there is no such side, or this arm alone is no log: it may not have moved.
        """
        columns = [i for i, name in enumerate(self.joints) if name.startswith(f"{side}/")]
        if not columns:
            raise InputError(
                f"log {self.name} has no arm {side!r}: choose one of {', '.join(self.sides) or 'none'}"
            )
        names = tuple(self.joints[i].partition("/")[2] for i in columns)
        return replace(
            self,
            name=f"{self.name}/{side}",
            joints=names,
            cmd=self.cmd[:, columns],
            q=self.q[:, columns],
            qd=None if self.qd is None else self.qd[:, columns],
            effort=None if self.effort is None else self.effort[:, columns],
            source=f"{self.source} ({side} arm)",
            grippers=tuple(k for k, i in enumerate(columns) if i in (self.grippers or ())),
            uncommanded=tuple(n for n in names if f"{side}/{n}" in self.uncommanded),
        )

    def stretch(self, rows: slice) -> "Log":
        """The samples of some rows as a log, without pictures.

        Raises:
            InputError: they are no log: nothing moves there, or they are too short.
        """
        own = {name: getattr(self, name) for name in ("t", "cmd", "q", "qd", "effort")}
        cut = {name: None if values is None else values[rows] for name, values in own.items()}
        seen = {name: values[rows] for name, values in self.observed.items()}
        return replace(self, images={}, observed=seen, **cut)

    def check_commands(self) -> None:
        """Refuse a log that cannot be compared with a simulation of the same commands.

        Raises:
            InputError: what was sent to the servos is not in it, for every joint.
        """
        if self.commands != "sent":
            raise InputError(
                f"log {self.name}: there are no commands in it, only where the arm was next; it can be "
                f"cloned, but for a gap log what was sent to the servos"
            )
        if self.uncommanded:
            raise InputError(
                f"log {self.name}: nobody commands {', '.join(self.uncommanded)}; log what was sent "
                f"to every servo"
            )

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


@dataclass(frozen=True)
class Refused:
    """An episode that is no log, and why."""

    name: str
    source: str
    reason: str
    """One line: the fault and the way out."""


def attempt(name: str, source: str, make: "Callable[[], Log]") -> "Log | Refused":
    """The log that `make` makes, or why it refuses to."""
    try:
        return make()
    except InputError as error:
        return Refused(name, source, str(error))


def _check_shapes(log: Log) -> None:
    wanted = (len(log.t), len(log.joints))
    if log.t.ndim != 1:
        raise InputError(f"log {log.name}: t has shape {log.t.shape}, needs (samples,)")
    for name in ("cmd", "q", "qd", "effort"):
        values = getattr(log, name)
        if values is not None and values.shape != wanted:
            raise InputError(
                f"log {log.name}: {name} has shape {values.shape}, needs {wanted} "
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
    size = np.abs(values).max(axis=0, initial=0.0)
    far = ~log.openings & (size > FULL_TURN_RAD)
    if far.any():
        column = int(np.argmax(np.where(far, size, 0)))
        raise InputError(
            f"log {log.name}: {field} of {log.joints[column]} reaches {size[column]:.4g}, more than "
            f"a full turn in rad; convert degrees or ticks to rad"
        )
    for column in np.flatnonzero(log.openings):
        low, high = values[:, column].min(), values[:, column].max()
        if low < OPENING_BOUNDS[0] or high > OPENING_BOUNDS[1]:
            raise InputError(
                f"log {log.name}: {field} of {log.joints[column]} spans {low:.4g} to {high:.4g}, "
                f"not a normalised opening; scale it to 0 (closed) .. 1 (open)"
            )


def _check_motion(log: Log) -> None:
    if log.duration_s < MIN_DURATION_S:
        raise InputError(
            f"log {log.name}: {log.duration_s:.3f} s long, needs at least {MIN_DURATION_S:g} s "
            f"of motion; record a longer one"
        )
    if np.ptp(log.cmd, axis=0).max(initial=0.0) < MIN_MOTION:
        raise InputError(
            f"log {log.name}: no command changes by {MIN_MOTION:g} or more, so there is no motion "
            f"to compare; record one that moves a joint"
        )
    if log.commands == "sent" and next_state(log.cmd, log.q):
        raise InputError(
            f"log {log.name}: each command is the next measured position, so the real commands "
            f"were not recorded; log what was sent to the servos"
        )


def next_state(cmd: np.ndarray, q: np.ndarray) -> bool:
    """Whether every command (time, joints) is only the next measured position."""
    return np.array_equal(cmd[:-1], q[1:])


def stretch(log: Log, seconds: float, rng: np.random.Generator) -> Log:
    """A stretch of a log that begins anywhere, as a log; all of a shorter one."""
    count = round(seconds / log.period_s) + 1
    start = int(rng.integers(0, max(1, len(log.t) - count)))
    try:
        return log.stretch(slice(start, start + count))
    except InputError:
        # Nothing moves there.
        return log if count >= len(log.t) else stretch(log, min(2 * seconds, log.duration_s), rng)
