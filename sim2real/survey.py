"""What recordings hold: rate and jitter, joints, commands, lag, clocks, and whatever looks wrong."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from regrasp.assets.arm import Arm, load_arm
from regrasp.errors import InputError
from regrasp.sim2real.log import Log, Refused
from regrasp.sim2real.metrics import MAX_LAG_S, lag_s
from regrasp.sim2real.readers import look
from regrasp.sim2real.tables import aligned
from regrasp.sim2real.units import ReadConfig

MOVES = 0.05
"""A joint whose commands span less (rad, or 0..1) hardly moves."""
MAX_LOGS = 10_000
MAX_CORRELATED = 20_000
"""Most samples that lags are looked for in; of longer logs the first ones."""


@dataclass(frozen=True)
class Found:
    """One log, described."""

    format: str
    log: Log
    lags_s: dict[str, float]
    """Joint -> by how much it trails its commands, of those that move."""
    odd: tuple[str, ...]
    """What looks wrong, one sentence each."""

    @property
    def jitter_s(self) -> float:
        """Half the range that holds the middle 98 % of the times between samples."""
        low, high = np.quantile(np.diff(self.log.t), (0.01, 0.99))
        return float(high - low) / 2

    @property
    def lag_s(self) -> float | None:
        """Median over the joints that move."""
        return float(np.median(list(self.lags_s.values()))) if self.lags_s else None

    @property
    def comparable(self) -> bool:
        """Whether it may go into a gap: commands were sent to every joint."""
        return self.log.commands == "sent" and not self.log.uncommanded

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        log = self.log
        return {
            "name": log.name,
            "source": log.source,
            "format": self.format,
            "refused": None,
            "samples": len(log.t),
            "duration_s": log.duration_s,
            "rate_hz": 1 / log.period_s,
            "jitter_s": self.jitter_s,
            "longest_gap_s": float(np.diff(log.t).max()),
            "time": "measured" if log.measured_time else "assumed",
            "clock": log.clock,
            "joints": list(log.joints),
            "grippers": [log.joints[i] for i in log.grippers or ()],
            "units": log.units,
            "commands": log.commands,
            "uncommanded": list(log.uncommanded),
            "comparable": self.comparable,
            "velocities": log.qd is not None,
            "cameras": {name: [len(one), *one.shape] for name, one in log.images.items()},
            "observed": {n: list(v.shape[1:]) for n, v in log.observed.items()},
            "lag_s": self.lag_s,
            "lags_s": self.lags_s,
            "notes": list(log.notes),
            "odd": list(self.odd),
        }


@dataclass(frozen=True)
class Survey:
    """What was found at some paths. It prints as a table."""

    found: tuple[Found, ...]
    refused: tuple[tuple[str, Refused], ...]
    """Format and refusal of what is no log."""

    def to_json(self) -> dict[str, Any]:
        """Plain values: logs and refusals in one list, and counts."""
        refused = [
            {"name": one.name, "source": one.source, "format": kind, "refused": one.reason}
            for kind, one in self.refused
        ]
        return {
            "logs": [one.to_json() for one in self.found] + refused,
            "accepted": len(self.found),
            "comparable": sum(one.comparable for one in self.found),
            "refused": len(self.refused),
        }

    def __str__(self) -> str:
        parts = []
        if self.found:
            parts += aligned([HEAD, *(_row(one) for one in self.found)], left=2)
            parts += _grouped("joints", [_joints(one.log) for one in self.found], self.found)
            objects = [one for one in self.found if one.log.observed]
            parts += _grouped("seen", [", ".join(o.log.observed) for o in objects], objects)
            parts += _grouped("clock", [one.log.clock for one in self.found], self.found)
            for title, pick in (("note", lambda one: one.log.notes), ("odd", lambda one: one.odd)):
                texts = [(text, one) for one in self.found for text in pick(one)]
                parts += _grouped(title, [text for text, _ in texts], [one for _, one in texts])
        groups: dict[str, list[str]] = {}
        for _, one in self.refused:
            groups.setdefault(one.reason, []).append(one.name)
        parts += [f"refused  {_names(names)}: {reason}" for reason, names in groups.items()]
        usable = sum(one.comparable for one in self.found)
        parts.append(
            f"{len(self.found)} logs, {usable} with commands for every joint; {len(self.refused)} refused"
        )
        return "\n".join(parts)


HEAD = ("log", "format", "samples", "s", "Hz", "jitter", "commands", "lag", "cameras", "odd")


def survey(
    paths: Iterable[str | Path],
    arm: str | None = None,
    config: ReadConfig = ReadConfig(),  # noqa: B008
    progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> Survey:
    """Read everything at some paths and describe it.

    Args:
        paths: recordings in any format that a reader knows, or folders of them.
        arm: name of the arm that was recorded; None takes what the recordings say.
        config: what the recordings do not say themselves.
        progress: told of every episode.

    Raises:
        InputError: there is nothing at a path, in any of them, or no such arm.
    """
    given = list(paths)
    model = load_arm(arm) if arm else None
    found: list[Found] = []
    refused: list[tuple[str, Refused]] = []
    for kind, one in islice(look(given, model, config), MAX_LOGS):
        if isinstance(one, Refused):
            refused.append((kind, one))
        else:
            found.append(describe(one, kind, model))
        done = len(found) + len(refused)
        progress(done, done + 1, one.name)  # How many there will be is not known.
    if not found and not refused:
        raise InputError(
            f"no logs in {', '.join(map(str, given))}: give recordings, or a folder of them"
        )
    return Survey(tuple(found), tuple(refused))


def describe(log: Log, kind: str = "", arm: Arm | None = None) -> Found:
    """A log with its lags and what looks wrong.

    Args:
        log: the log.
        kind: its format's name.
        arm: whose ranges commands are held against; None: no ranges.
    """
    lags = _lags(log)
    return Found(kind, log, lags, tuple(_odd(log, lags, arm)))


def _lags(log: Log) -> dict[str, float]:
    if log.commands != "sent":
        return {}
    t = log.t[:MAX_CORRELATED]
    # Correlation needs equal intervals.
    even = np.arange(t[0], t[-1], log.period_s)[:MAX_CORRELATED]
    lags = {}
    for i, name in enumerate(log.joints):
        cmd, q = (values[: len(t), i] for values in (log.cmd, log.q))
        if np.ptp(cmd) >= MOVES and np.ptp(q) > 0:
            # A command is in force until the next; a line between them would anticipate it.
            held = cmd[np.searchsorted(t, even + 1e-9, side="right") - 1]
            lag = lag_s(held, np.interp(even, t, q), log.period_s)
            if np.isfinite(lag):
                lags[name] = lag
    return lags


def _odd(log: Log, lags: dict[str, float], arm: Arm | None) -> Iterable[str]:
    """What looks wrong with a log."""
    steps = np.diff(log.t)
    if steps.max() > 3 * log.period_s:
        row = int(np.argmax(steps))
        yield f"a gap of {steps[row]:.3g} s at {log.t[row] - log.t[0]:.2f} s"
    still = (log.q[1:] == log.q[:-1]).all(axis=1)
    # Slower commands than this move no encoder by a step.
    asked = (np.abs(np.diff(log.cmd, axis=0)) > 5e-3).any(axis=1)
    if asked.sum() > 10 and (share := np.mean(still[asked])) > 0.2:
        yield f"{share:.0%} of measurements repeat the last one while commands change: read more slowly"
    if log.commands == "sent":
        yield from _against_commands(log, lags)
    yield from _velocities(log)
    if arm is not None:
        yield from _beyond(log, arm)


def _against_commands(log: Log, lags: dict[str, float]) -> Iterable[str]:
    for i, name in enumerate(log.joints):
        cmd, q = log.cmd[:, i], log.q[:, i]
        asked, moved = np.ptp(cmd), np.ptp(q)
        if asked > 2 * MOVES and moved < 0.02 * asked:
            yield f"{name} is commanded over {asked:.2f} and does not move"
        elif asked < 1e-6 and moved > 2 * MOVES and name not in log.uncommanded:
            yield f"{name} moves over {moved:.2f} and its command never changes"
        elif asked > 2 * MOVES and np.corrcoef(cmd, q)[0, 1] < -0.5:
            yield f"{name} moves against its commands: another sign?"
        elif not log.openings[i] and asked > MOVES and abs(off := np.median(q - cmd)) > 0.3:
            yield f"{name} stands {off:+.2f} rad from its commands: another zero?"
    early = [name for name, lag in lags.items() if lag < -0.6 * log.period_s]
    if early:
        yield f"{', '.join(early)} lead their commands: commands made of later measurements, or shifted"
    late = [name for name, lag in lags.items() if lag > MAX_LAG_S - 1.5 * log.period_s]
    if late:
        yield f"{MAX_LAG_S:g} s or more behind their commands: {', '.join(late)}"


def _velocities(log: Log) -> Iterable[str]:
    if log.qd is None or len(log.t) < 10:
        return
    slopes = np.gradient(log.q, log.t, axis=0)
    still: list[str] = []
    scaled: dict[str, list[str]] = {}
    for i, name in enumerate(log.joints):
        given, true = log.qd[:, i], slopes[:, i]
        if np.ptp(log.q[:, i]) < 2 * MOVES:
            continue
        if not given.any():
            still.append(name)
            continue
        # Where the two hardly go together, a unit is not what is wrong.
        alike = np.ptp(given) > 0 and np.corrcoef(given, true)[0, 1] > 0.7
        ratio = float(given @ true / max(true @ true, 1e-12))
        if alike and not 0.4 < ratio < 2.5:
            scaled.setdefault(f"{float(f'{ratio:.1g}'):g}", []).append(name)
    if still:
        yield f"the velocity of {', '.join(still)} is always 0"
    for ratio, names in scaled.items():
        told = (
            f"the velocity of {', '.join(names)} is about {ratio} times the slope of its position"
        )
        yield f"{told}: another unit?"


def _beyond(log: Log, arm: Arm) -> Iterable[str]:
    for i, name in enumerate(log.joints):
        joint = next((j for j in arm.joints if j.name == name.rpartition("/")[2]), None)
        if joint is None or log.openings[i]:
            continue
        low, high = log.q[:, i].min() - joint.range[0], log.q[:, i].max() - joint.range[1]
        if low < -0.1 or high > 0.1:
            yield f"{name} is measured up to {max(-low, high):.2f} rad outside of {arm.name}'s range"


def _joints(log: Log) -> str:
    """Joints and units; those of a gripper are its opening."""
    grippers = [log.joints[i] for i in log.grippers or ()]
    unit = f"rad; {', '.join(grippers)} 0..1" if grippers else "rad"
    return f"{', '.join(log.joints)} ({unit})"


def _row(one: Found) -> tuple[str, ...]:
    log = one.log
    commands = (
        log.commands if not log.uncommanded else f"{len(log.joints) - len(log.uncommanded)} joints"
    )
    return (
        log.name,
        one.format,
        str(len(log.t)),
        f"{log.duration_s:.1f}",
        f"{1 / log.period_s:.1f}" + ("" if log.measured_time else "?"),
        f"{1e3 * one.jitter_s:.1f} ms" if log.measured_time else "-",
        commands,
        "-" if one.lag_s is None else f"{1e3 * one.lag_s:.0f} ms",
        str(len(log.images) or "-"),
        str(len(one.odd) or "-"),
    )


def _grouped(title: str, texts: Sequence[str], of: Sequence[Found]) -> list[str]:
    """Each text once, with the logs that it is of."""
    groups: dict[str, list[str]] = {}
    for text, one in zip(texts, of, strict=True):
        groups.setdefault(text, []).append(one.log.name)
    return [f"{title:<7}  {_names(names)}: {text}" for text, names in groups.items()]


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 4 else f"{names[0]} and {len(names) - 1} others"
