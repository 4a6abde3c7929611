"""What a policy chose on logged observations beside what was commanded: error, smoothness, limits, latency.

Episodes weigh the same and are what is resampled for intervals; the steps of one are alike.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from regrasp.assets import Workcell
from regrasp.files import known
from regrasp.rl.runner import Runner
from regrasp.sim2real.bootstrap import interval
from regrasp.sim2real.log import Log
from regrasp.sim2real.metrics import errors
from regrasp.sim2real.regimes import regimes_of
from regrasp.sim2real.smoothness import rms_jerk, spectral_arc_length
from regrasp.sim2real.tables import aligned

PHASES = 10
"""An episode is cut into so many equal parts."""
REGIMES = ("holding", "moving", "reversing")
LOOK_AHEAD = (1, 2, 5, 10, 20, 50, 100, 200, 500)
"""Which actions of a chunk are told of, counted from 1; and its last one."""
ROUNDING = 1e-5
"""So far beyond a limit (rad, opening) may be rounding."""


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


def measured(
    runs: Sequence[Run], runner: Runner, workcell: Workcell, period_s: float, bundle: str
) -> OpenLoop:
    """The figures of a policy on logs.

    Args:
        runs: one for each log, at least one.
        runner: the policy.
        workcell: what it commands.
        period_s: of its control steps (s).
        bundle: where it comes from, in words.
    """
    arms = ~runs[0].log.openings
    every = [np.ones(run.error.shape, bool) for run in runs]
    parts = [_phases(len(run.error)) for run in runs]
    regimes = [regimes_of(run.log, None).masks() for run in runs]
    own = [run.error for run in runs]

    def over(
        columns: Bool[np.ndarray, "joints"], masks: Iterable[Bool[np.ndarray, "time joints"]]
    ) -> Error:
        chosen = [error[mask & columns] for error, mask in zip(own, masks, strict=True)]
        return _of(chosen)

    def by_phase(columns: Bool[np.ndarray, "joints"]) -> tuple[Error, ...]:
        return tuple(
            over(columns, [np.repeat((part == i)[:, None], len(arms), 1) for part in parts])
            for i in range(PHASES)
        )

    return OpenLoop(
        bundle=bundle,
        task=str(runner.meta["task"]),
        rate_hz=round(1 / period_s, 6),
        chunk=runner.chunk,
        execute=runner.execute,
        ensemble=runner.ensemble,
        steps=sum(len(error) for error in own),
        arms=over(arms, every),
        grippers=over(~arms, every),
        joints=_joints(runs, workcell, period_s),
        phases=by_phase(arms),
        gripper_phases=by_phase(~arms),
        regimes={name: over(arms, [one[name] for one in regimes]) for name in REGIMES},
        look_ahead=_ahead(runs, runner.chunk, period_s),
        arc_length=_arc_length([run.chosen for run in runs], arms, period_s),
        arc_length_logged=_arc_length([run.log.cmd for run in runs], arms, period_s),
        latency=_latency(runs, period_s),
        logs=tuple(
            {
                "name": run.log.name,
                "source": run.log.source,
                "duration_s": run.log.duration_s,
                "rmse_rad": float(np.sqrt(np.mean(run.error[:, arms] ** 2))),
                "mae_rad": float(np.abs(run.error[:, arms]).mean()),
            }
            for run in runs
        ),
    )


def _of(chosen: Sequence[np.ndarray]) -> Error:
    """The error of what each episode has; one that has none says nothing."""
    some = [values for values in chosen if values.size]
    if not some:
        return Error(np.nan, (np.nan, np.nan), np.nan, (np.nan, np.nan))
    squares = np.array([np.mean(values**2) for values in some])
    sizes = np.array([np.abs(values).mean() for values in some])
    return Error(
        float(_root_mean(squares, axis=0)),
        _ends(interval(squares, _root_mean)),
        float(sizes.mean()),
        _ends(interval(sizes, np.mean)),
    )


def _root_mean(squares: np.ndarray, axis: int) -> np.ndarray:
    return np.sqrt(np.mean(squares, axis=axis))


def _ends(found: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    return float(found[0]), float(found[1])


def _phases(steps: int) -> np.ndarray:
    """The tenth of the episode that each step is in."""
    return np.arange(steps) * PHASES // steps


def _joints(runs: Sequence[Run], workcell: Workcell, period_s: float) -> dict[str, JointActions]:
    arm = workcell.arm
    ranges = [joint.range for joint in arm.joints[:-1]] + [(0.0, 1.0)]
    speeds = [joint.no_load_speed or np.inf for joint in arm.joints[:-1]] + [np.inf]
    low, high = np.array(ranges * 2).T
    most = np.array(speeds * 2)

    def outside(path: np.ndarray) -> np.ndarray:
        """How far each action is outside the range; 0 within."""
        far = np.maximum(np.maximum(low - path, path - high), 0.0)
        return np.where(far > ROUNDING, far, 0.0)

    def speed(path: np.ndarray) -> np.ndarray:
        return np.abs(np.diff(path, axis=0)) / period_s

    sides = {"": [run.chosen for run in runs], "_logged": [run.log.cmd for run in runs]}
    beyond, fast, jerk = {}, {}, {}
    for side, paths in sides.items():
        beyond[side] = np.sum([(outside(path) > 0).sum(axis=0) for path in paths], axis=0)
        fast[side] = np.sum([(speed(path) > most).sum(axis=0) for path in paths], axis=0)
        jerk[side] = np.median([rms_jerk(path, period_s) for path in paths], axis=0)
    furthest = np.max([outside(path).max(axis=0) for path in sides[""]], axis=0)
    fastest = np.max([speed(path).max(axis=0) for path in sides[""]], axis=0)
    grippers = workcell.gripper_columns
    return {
        name: JointActions(
            unit="0..1" if i in grippers else "rad",
            error=_of([run.error[:, i] for run in runs]),
            bias=float(np.mean([run.error[:, i].mean() for run in runs])),
            worst=float(np.max([np.abs(run.error[:, i]).max() for run in runs])),
            jerk=float(jerk[""][i]),
            jerk_logged=float(jerk["_logged"][i]),
            beyond_range=int(beyond[""][i]),
            beyond_range_logged=int(beyond["_logged"][i]),
            furthest=float(furthest[i]),
            too_fast=int(fast[""][i]),
            too_fast_logged=int(fast["_logged"][i]),
            fastest=float(fastest[i]),
        )
        for i, name in enumerate(workcell.action_names)
    }


def _ahead(runs: Sequence[Run], chunk: int, period_s: float) -> tuple[LookAhead, ...]:
    found = []
    for place in sorted({one for one in LOOK_AHEAD if one < chunk} | {chunk}):
        ahead, held = [], []
        for run in runs:
            arms, cmd = ~run.log.openings, run.log.cmd
            later = cmd[place - 1 :, arms]
            # The first observation has no command before it.
            asked = run.chunks[: len(later), place - 1][:, arms]
            before = np.concatenate([run.log.q[:1], cmd[:-1]])[: len(later), arms]
            ahead.append(errors(later, asked))
            held.append(errors(later, before))
        found.append(LookAhead(place, (place - 1) * period_s, _of(ahead), _of(held)))
    return tuple(found)


def _arc_length(paths: Sequence[np.ndarray], arms: np.ndarray, period_s: float) -> float:
    speeds = [np.linalg.norm(np.diff(path[:, arms], axis=0), axis=1) / period_s for path in paths]
    lengths = [spectral_arc_length(speed, period_s) for speed in speeds]
    some = [length for length in lengths if isfinite(length)]
    return float(np.median(some)) if some else float("nan")


def _latency(runs: Sequence[Run], period_s: float) -> Latency:
    seconds, busy = (
        np.concatenate([getattr(run, name) for run in runs]) for name in ("seconds", "cpu_seconds")
    )
    quantiles = (1e3 * float(q) for q in np.percentile(seconds, (50, 95, 99)))
    late = float(np.mean(seconds > period_s))
    return Latency(
        *quantiles,
        period_ms=1e3 * period_s,
        cpu_p99_ms=1e3 * float(np.percentile(busy, 99)),
        late=late,
        chunks=len(seconds),
    )


def _with_ends(error: Error) -> tuple[str, str]:
    low, high = error.rmse_interval
    return _cell(error.rmse, ".4f"), f"{_cell(low, '.4f')}-{_cell(high, '.4f')}"


def _error(error: Error) -> str:
    rmse, ends = _with_ends(error)
    return f"RMSE {rmse} ({ends}), MAE {_cell(error.mae, '.4f')}"


def _cell(value: float, form: str) -> str:
    return f"{value:{form}}" if isfinite(value) else "-"
