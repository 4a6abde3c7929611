"""The gap: how far a model's replay is from the recordings, beside the floor that none can beat."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regrasp.assets.arm import Arm, load_arm
from regrasp.sim2real.causes import LEAST
from regrasp.sim2real.detail import detail_of
from regrasp.sim2real.distances import dtw, wasserstein
from regrasp.sim2real.floor import Floor, repeat_floor, repeat_pairs
from regrasp.sim2real.log import Log
from regrasp.sim2real.metrics import MAX_LAG_S, angle_columns, errors, lag_s, mae, rmse
from regrasp.sim2real.params import with_params
from regrasp.sim2real.readers import read_logs
from regrasp.sim2real.replay import replay
from regrasp.sim2real.tables import aligned
from regrasp.sim2real.units import ReadConfig

MOVES = 0.05
"""A joint whose commands span less (rad, or 0..1) hardly moves, and its lag says nothing."""
NAN = float("nan")
TABLE_HEAD = (
    *("joint", "unit", "RMSE", "MAE", "floor", "(pair)"),
    *("real lag", "sim lag", "real behind sim"),
)


@dataclass(frozen=True)
class JointGap:
    """One joint's gap: in rad, or for the gripper in units of its normalised opening (0..1).

    Of one recording, or the median over recordings; NaN where undefined.
    """

    rmse_rad: float
    """Root mean square of simulated minus measured position."""
    mae_rad: float
    """Mean absolute value of the same."""
    lag_s: float
    """By how much the real joint trails the simulated one; negative where it leads.

    Stiction makes slow motions trail longest, so lags at the limit of the search occur; a median
    below the limit is not affected by how far beyond it they are.
    """
    lag_real_s: float
    """By how much the real joint trails its commands."""
    lag_sim_s: float
    """By how much the simulated joint trails the same commands."""
    dtw_rad: float = NAN
    """Mean absolute error after the best warping of time by up to the longest lag: what is left
    of the error when any latency is forgiven, and never more than `mae_rad`."""
    bias_rad: float = NAN
    """Mean of real minus simulated position."""
    speed_w1: float = NAN
    """Wasserstein-1 distance of real and simulated velocities (rad/s; opening per s)."""


@dataclass(frozen=True)
class RecordingGap:
    """One recording's gap."""

    name: str
    source: str
    duration_s: float
    joints: dict[str, JointGap]

    @property
    def rmse_rad(self) -> float:
        """Mean over the arm's joints, gripper left out, of the RMSE (rad)."""
        return _arm_mean([joint.rmse_rad for joint in self.joints.values()])


@dataclass(frozen=True)
class Gap:
    """The gap over recordings. It prints as a table; `to_json()` is the documented contract."""

    arm: str
    params: str
    """Where the servo figures come from: a parameter file, or "nominal"."""
    joints: dict[str, JointGap]
    """Medians over the recordings, lags over those that move the joint; the gripper comes last."""
    floor: Floor
    recordings: tuple[RecordingGap, ...]
    detail: dict[str, Any] | None = None
    """Intervals, horizons, growth, frequencies, regimes and causes, as plain values: what
    `regrasp.sim2real.detail.detail_of` returns. None where they were not asked for."""

    @property
    def gripper(self) -> str:
        """Name of the gripper's joint."""
        return list(self.joints)[-1]

    @property
    def rmse_rad(self) -> float:
        """Mean over the arm's joints, gripper left out, of the median RMSE (rad)."""
        return _arm_mean([joint.rmse_rad for joint in self.joints.values()])

    @property
    def floor_rad(self) -> float:
        """Mean over the arm's joints of one run's own noise (rad); NaN without repeats."""
        return _arm_mean(self.floor.single_rmse)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON; an undefined figure is None.

        Lags are `lag_s` real behind simulated, `lag_real_s` real and `lag_sim_s` simulated behind
        the commands. `floor_rad` is one run's noise, `floor_pair_rad` that of a pair of runs,
        sqrt(2) larger. The gripper has the same keys, in units of its opening, 0..1.
        """
        joints = {
            name: {
                **_plain(joint),
                "floor_rad": _number(self.floor.single_rmse[i]),
                "floor_pair_rad": _number(self.floor.pair_rmse[i]),
                "unit": _unit(name == self.gripper),
            }
            for i, (name, joint) in enumerate(self.joints.items())
        }
        recordings = [
            {
                "name": recording.name,
                "source": recording.source,
                "duration_s": recording.duration_s,
                "joints": {name: _plain(joint) for name, joint in recording.joints.items()},
            }
            for recording in self.recordings
        ]
        return {
            "arm": self.arm,
            "params": self.params,
            "rmse_rad": _number(self.rmse_rad),
            "floor_rad": _number(self.floor_rad),
            "repeat_pairs": self.floor.pairs,
            "repeat_pairs_left_out": self.floor.left_out,
            "joints": joints,
            "recordings": recordings,
            **({} if self.detail is None else {"detail": self.detail}),
        }

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [TABLE_HEAD]
        for i, (name, joint) in enumerate(self.joints.items()):
            errors = (joint.rmse_rad, joint.mae_rad)
            floors = (self.floor.single_rmse[i], self.floor.pair_rmse[i])
            lags = (joint.lag_real_s, joint.lag_sim_s, joint.lag_s)
            figures = [_cell(value, ".4f") for value in errors + floors]
            figures += [_cell(1e3 * value, ".0f", " ms") for value in lags]
            rows.append((name, _unit(name == self.gripper), *figures))
        note = f"repeats: {self.floor.pairs} pairs, {self.floor.left_out} left out"
        head = f"{self.arm}, {self.params} servos, {len(self.recordings)} recordings ({note})"
        mean = (
            f"mean over the {len(self.joints) - 1} arm joints: RMSE {self.rmse_rad:.4f} rad, "
            f"floor {_cell(self.floor_rad, '.4f')} rad"
        )
        more = [] if self.detail is None else ["", *_more(self.detail, self.gripper)]
        return "\n".join([head, *aligned(rows), mean, *more])


def measure_gap(
    paths: Iterable[str | Path],
    arm: str = "so101",
    params: str | Path | None = None,
    repeats: str | Path | None = None,
    detail: bool = True,
    read: ReadConfig = ReadConfig(),  # noqa: B008
) -> Gap:
    """Replay recordings in simulation and measure how far it ends up from them.

    Args:
        paths: recordings in any format that a reader knows, or folders of them.
        arm: name of the arm that was recorded.
        params: parameter file, or the name of a fit that ships; None for the nominal figures.
        repeats: more runs of the same motions, for the floor alone. None looks beside a folder
            of recordings for `<folder>_repeats.npz`.
        detail: whether to look for where the gap is and why; about as long again.
        read: what the recordings do not say themselves.

    Raises:
        InputError: an unknown arm, a missing or refused log, a bad parameter file.
    """
    given = [Path(path) for path in paths]
    model = load_arm(arm)
    if params is not None:
        model = with_params(model, params)
    logs = read_logs(given, model, read)
    others = [Path(repeats)] if repeats is not None else _repeats_beside(given)
    more = read_logs(others, model) if others else []
    named = "nominal" if params is None else str(params)
    return gap_of(logs, model, named, more, detail=detail)


def gap_of(
    logs: Sequence[Log],
    arm: Arm,
    params: str = "nominal",
    repeats: Sequence[Log] = (),
    *,
    detail: bool = False,
) -> Gap:
    """The gap of an arm's model over logs that are in memory.

    Args:
        logs: the recordings to replay.
        arm: the arm with the servo figures to judge.
        params: where those come from, in words.
        repeats: further runs, for the floor alone; those of other motions are passed over.
        detail: whether to look for where the gap is and why.
    """
    names = {log.name for log in logs}
    runs = [*logs, *(log for log in repeats if log.name in names)]
    simulated = replay(logs, arm)
    recordings = tuple(
        RecordingGap(log.name, log.source, log.duration_s, _compared(log, q))
        for log, q in zip(logs, simulated, strict=True)
    )
    joints = {
        name: JointGap(
            **{
                figure: _median([getattr(r.joints[name], figure) for r in recordings])
                for figure in JointGap.__dataclass_fields__
            }
        )
        for name in arm.joint_names
    }
    more = None
    if detail:
        pairs = [(first, second.q[:count]) for first, second, count in repeat_pairs(runs)]
        more = detail_of(logs, simulated, arm, pairs)
    return Gap(arm.name, params, joints, repeat_floor(runs), recordings, more)


def _compared(log: Log, simulated: np.ndarray) -> dict[str, JointGap]:
    hinges = angle_columns(len(log.joints))
    root, mean = rmse(log.q, simulated, hinges), mae(log.q, simulated, hinges)
    # Correlation needs equal intervals; a recorder's are equal to about a percent.
    even = np.arange(log.t[0], log.t[-1], log.period_s)
    period = log.period_s
    real_even, own_even = (_evenly(x, log.t, even) for x in (log.q, simulated))
    warped = dtw(real_even, own_even, round(MAX_LAG_S / period))
    bias = errors(simulated, log.q, hinges).mean(axis=0)
    real_speed, own_speed = (np.gradient(x, log.t, axis=0) for x in (log.q, simulated))
    joints = {}
    for i, name in enumerate(log.joints):
        lags: tuple[float, float, float] = (NAN, NAN, NAN)
        if np.ptp(log.cmd[:, i]) >= MOVES:
            cmd, real, sim = (np.interp(even, log.t, x[:, i]) for x in (log.cmd, log.q, simulated))
            lags = (
                lag_s(sim, real, period),
                lag_s(cmd, real, period),
                lag_s(cmd, sim, period),
            )
        joints[name] = JointGap(
            float(root[i]),
            float(mean[i]),
            *lags,
            dtw_rad=float(warped[i]),
            bias_rad=float(bias[i]),
            speed_w1=wasserstein(real_speed[:, i], own_speed[:, i]),
        )
    return joints


def _evenly(values: np.ndarray, t: np.ndarray, even: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(even, t, column) for column in values.T], axis=1)


def _more(detail: dict[str, Any], gripper: str) -> list[str]:
    """The detail's figures as a table and sentences."""
    rows: list[tuple[str, ...]] = [
        ("joint", "RMSE 95 %", "horizon", "after 0.1 s", "1 s", "holding", "moving", "reversing")
    ]
    for name, joint in detail["joints"].items():
        growth = dict(zip(joint["growth"]["time_s"], joint["growth"]["rmse"], strict=True))
        times = list(growth)
        soon = growth[min(times, key=lambda t: abs(t - 0.1))]
        low, high = joint["rmse_interval"]
        rows.append(
            (
                name,
                f"{_maybe(low, '.4f')}-{_maybe(high, '.4f')}",
                _maybe(joint["horizon"]["median_s"], ".1f", " s", "never"),
                _maybe(soon, ".4f"),
                _maybe(growth[times[-1]], ".4f"),
                *(
                    _maybe(joint["regimes"][r]["rmse"], ".4f")
                    for r in ("holding", "moving", "reversing")
                ),
            )
        )
    tip = detail["tip"]
    lines = aligned(rows)
    lines.append(
        f"end effector: {_maybe(tip['position_mm']['rmse'], '.1f', ' mm')} "
        f"(floor {_maybe(tip['position_mm']['floor'], '.1f')}), "
        f"{_maybe(tip['turn_deg']['rmse'], '.2f', ' deg')} "
        f"(floor {_maybe(tip['turn_deg']['floor'], '.2f')})"
    )
    for name, joint in detail["joints"].items():
        if name != gripper and joint["causes"] and joint["causes"][0]["share"] >= LEAST:
            cause = joint["causes"][0]
            lines.append(
                f"{name}: {cause['share']:.0%} goes with {cause['cause']}: {cause['words']}"
            )
    return lines


def _maybe(value: float | None, form: str, unit: str = "", unknown: str = "-") -> str:
    return unknown if value is None else f"{value:{form}}{unit}"


def _repeats_beside(paths: Sequence[Path]) -> list[Path]:
    """Files `<folder>_repeats.npz` beside a folder of recordings, not given as logs themselves."""
    folders = dict.fromkeys(f for p in paths for f in (p.resolve(), p.resolve().parent))
    files = (folder.with_name(f"{folder.name}_repeats.npz") for folder in folders)
    given = {path.resolve() for path in paths}
    return [file for file in files if file.is_file() and file not in given]


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.median(known)) if known else NAN


def _arm_mean(values: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(values[:-1]))


def _plain(joint: JointGap) -> dict[str, float | None]:
    return {name: _number(value) for name, value in vars(joint).items()}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _unit(gripper: bool) -> str:
    return "0..1" if gripper else "rad"


def _cell(value: float, form: str, unit: str = "") -> str:
    return f"{value:{form}}{unit}" if math.isfinite(value) else "-"
