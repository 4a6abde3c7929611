"""How a policy's choices on logs are measured: error, smoothness, limits, latency.

Episodes weigh the same and are what is resampled for intervals; the steps of one are alike.
"""

from collections.abc import Iterable, Sequence
from math import isfinite

import numpy as np
from jaxtyping import Bool

from regrasp.assets import Workcell
from regrasp.rl.runner import Runner
from regrasp.sim2real.bootstrap import interval
from regrasp.sim2real.metrics import errors
from regrasp.sim2real.open_loop import (
    PHASES,
    Error,
    JointActions,
    Latency,
    LookAhead,
    OpenLoop,
    Run,
)
from regrasp.sim2real.regimes import regimes_of
from regrasp.sim2real.smoothness import rms_jerk, spectral_arc_length

REGIMES = ("holding", "moving", "reversing")
LOOK_AHEAD = (1, 2, 5, 10, 20, 50, 100, 200, 500)
"""Which actions of a chunk are told of, counted from 1; and its last one."""
ROUNDING = 1e-5
"""So far beyond a limit (rad, opening) may be rounding."""


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
