"""What a policy chose on logged observations beside what was commanded, as figures that print as tables.

See `measure_open_loop` for how they are measured.
"""

from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np
from jaxtyping import Float

from regrasp.files import known
from regrasp.sim2real.log import Log
from regrasp.sim2real.metrics import errors
from regrasp.sim2real.tables import aligned

PHASES = 10
"""An episode is cut into so many equal parts."""


@dataclass(frozen=True, eq=False)
class Run:
    """A policy on one log."""

    log: Log
    """At the policy's control steps."""
    chunks: Float[np.ndarray, "time chunk joints"]
    """What it answered at each step."""
    chosen: Float[np.ndarray, "time joints"]
    """What would have been sent of that: rad, openings."""
    seconds: Float[np.ndarray, "time"]
    """How long each answer took."""
    cpu_seconds: Float[np.ndarray, "time"]
    """How long the processor was busy with it."""

    @property
    def error(self) -> Float[np.ndarray, "time joints"]:
        """Chosen less commanded, angles the short way round."""
        return errors(self.log.cmd, self.chosen, ~self.log.openings)


@dataclass(frozen=True)
class Error:
    """Of actions: rad, or openings. Means over episodes with 95 % intervals; NaN where there is none."""

    rmse: float
    """Root of the mean over episodes of each one's mean square."""
    rmse_interval: tuple[float, float]
    mae: float
    mae_interval: tuple[float, float]


@dataclass(frozen=True)
class JointActions:
    """One joint's actions."""

    unit: str
    error: Error
    bias: float
    """Mean of chosen less commanded."""
    worst: float
    """Largest error."""
    jerk: float
    """Root mean square jerk of what was chosen (per s^3), median over episodes."""
    jerk_logged: float
    """That of the logged commands."""
    beyond_range: int
    """Chosen actions outside the joint's range."""
    beyond_range_logged: int
    furthest: float
    """How far the furthest is outside; 0 where none is."""
    too_fast: int
    """Steps in which the joint is told to move faster than its motor turns without a load."""
    too_fast_logged: int
    fastest: float
    """Largest speed chosen (per s)."""


@dataclass(frozen=True)
class LookAhead:
    """How far off an action of a chunk is that lies ahead."""

    action: int
    """Its place in the chunk, from 1 on."""
    time_s: float
    """How long after the observation it is meant to be sent."""
    error: Error
    """Of the arms' joints (rad)."""
    holding: Error
    """That of the command sent last before the observation: what is gained without a policy."""


@dataclass(frozen=True)
class Latency:
    """How long one chunk takes, one observation at a time, on one thread of this machine."""

    median_ms: float
    p95_ms: float
    p99_ms: float
    period_ms: float
    """Of the control steps."""
    cpu_p99_ms: float
    """p99 of the processor's own time: without what other programs took."""
    late: float
    """Share of the chunks that took longer than a control step."""
    chunks: int


@dataclass(frozen=True)
class OpenLoop:
    """A policy on logs. It prints as tables; `to_json()` is plain."""

    bundle: str
    task: str
    rate_hz: float
    chunk: int
    execute: int
    ensemble: float | None
    steps: int
    arms: Error
    """Of all joints of both arms (rad)."""
    grippers: Error
    """Of both openings."""
    joints: dict[str, JointActions]
    phases: tuple[Error, ...]
    """Of the arms' joints (rad), by tenths of the episode."""
    gripper_phases: tuple[Error, ...]
    regimes: dict[str, Error]
    """Of the arms' joints (rad), by what the logged commands ask of each."""
    look_ahead: tuple[LookAhead, ...]
    arc_length: float
    """Spectral arc length of the arms' speed as chosen, median over episodes: nearer to 0 is smoother."""
    arc_length_logged: float
    latency: Latency
    logs: tuple[dict[str, Any], ...]
    """Per log: name, source, duration_s, rmse_rad and mae_rad of the arms."""

    @property
    def worst_joint(self) -> str:
        """The arm joint with the largest RMSE."""
        arms = [name for name, joint in self.joints.items() if joint.unit == "rad"]
        return max(arms, key=lambda name: self.joints[name].error.rmse)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON; an undefined figure is None. Units are in the docstrings above."""
        return {**known(asdict(self)), "worst_joint": self.worst_joint}

    def __str__(self) -> str:
        mean = "newest alone" if self.ensemble is None else "averaged"
        head = (
            f"{self.bundle} on {len(self.logs)} logs of {self.task}, {self.steps} steps at "
            f"{self.rate_hz:g} Hz; chunks of {self.chunk}, a new one every {self.execute}, {mean}"
        )
        return "\n".join(
            [
                head,
                *self._joint_lines(),
                f"arms {_error(self.arms)} rad; grippers {_error(self.grippers)}",
                "",
                *self._phase_lines(),
                "",
                *self._ahead_lines(),
                "",
                f"smoothness: spectral arc length {_cell(self.arc_length, '.2f')}, logged commands "
                f"{_cell(self.arc_length_logged, '.2f')}",
                self._limit_line(),
                f"latency: median {self.latency.median_ms:.2f} ms, p95 {self.latency.p95_ms:.2f}, p99 "
                f"{self.latency.p99_ms:.2f} (processor alone {self.latency.cpu_p99_ms:.2f}) of a step of "
                f"{self.latency.period_ms:g}; late {self.latency.late:.2%} of {self.latency.chunks}",
            ]
        )

    def _joint_lines(self) -> list[str]:
        rows: list[tuple[str, ...]] = [
            ("joint", "unit", "RMSE", "95 %", "MAE", "bias", "worst", "jerk", "logged")
        ]
        for name, joint in self.joints.items():
            low, high = joint.error.rmse_interval
            figures = (joint.error.mae, joint.bias, joint.worst)
            rows.append(
                (
                    name,
                    joint.unit,
                    _cell(joint.error.rmse, ".4f"),
                    f"{_cell(low, '.4f')}-{_cell(high, '.4f')}",
                    *(_cell(value, ".4f") for value in figures),
                    *(_cell(value, ".0f") for value in (joint.jerk, joint.jerk_logged)),
                )
            )
        return aligned(rows)

    def _phase_lines(self) -> list[str]:
        rows: list[tuple[str, ...]] = [("part of the episode", "RMSE arms", "95 %", "grippers")]
        for i, (arms, grippers) in enumerate(zip(self.phases, self.gripper_phases, strict=True)):
            span = f"{100 * i // PHASES:3d} to {100 * (i + 1) // PHASES} %"
            rows.append((span, *_with_ends(arms), _cell(grippers.rmse, ".4f")))
        rows += [(name, *_with_ends(one), "") for name, one in self.regimes.items()]
        return aligned(rows)

    def _ahead_lines(self) -> list[str]:
        rows: list[tuple[str, ...]] = [("action", "after", "RMSE arms", "95 %", "holding the last")]
        for one in self.look_ahead:
            time = f"{one.time_s:.2f} s"
            rows.append(
                (f"{one.action}", time, *_with_ends(one.error), _cell(one.holding.rmse, ".4f"))
            )
        return aligned(rows)

    def _limit_line(self) -> str:
        many = self.steps * len(self.joints)
        said = []
        for what, name, most in (
            ("beyond the range", "beyond_range", "furthest"),
            ("too fast", "too_fast", "fastest"),
        ):
            own, logged = (
                sum(getattr(joint, key) for joint in self.joints.values())
                for key in (name, f"{name}_logged")
            )
            which = [
                f"{n} ({getattr(joint, most):.2g})"
                for n, joint in self.joints.items()
                if getattr(joint, name)
            ]
            at = f", at most: {', '.join(which)}" if which else ""
            said.append(f"{own} actions {what} ({own / many:.2%}; logged {logged}){at}")
        return f"limits: {'; '.join(said)}"


def _with_ends(error: Error) -> tuple[str, str]:
    low, high = error.rmse_interval
    return _cell(error.rmse, ".4f"), f"{_cell(low, '.4f')}-{_cell(high, '.4f')}"


def _error(error: Error) -> str:
    rmse, ends = _with_ends(error)
    return f"RMSE {rmse} ({ends}), MAE {_cell(error.mae, '.4f')}"


def _cell(value: float, form: str) -> str:
    return f"{value:{form}}" if isfinite(value) else "-"
