"""The gap in detail: with intervals over episodes, by time, frequency and regime, and with causes."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
from jaxtyping import Float

from regrasp.assets.arm import Arm
from regrasp.sim2real.bootstrap import interval
from regrasp.sim2real.causes import causes_of
from regrasp.sim2real.distances import median_distance, mmd2, permutation_p
from regrasp.sim2real.kinematics import poses, turned_rad
from regrasp.sim2real.log import Log
from regrasp.sim2real.metrics import angle_columns, errors
from regrasp.sim2real.regimes import REGIMES, regimes_of
from regrasp.sim2real.replay import replay_windows, velocities
from regrasp.sim2real.survival import horizon, survival

BANDS_HZ = ((0.0, 0.2), (0.2, 1.0), (1.0, 5.0), (5.0, 25.0))
"""Holding and drift, slow motion, fast motion, and what no command asked for."""
TOLERANCE = 0.02
"""An error above this (rad, or of the opening) is a divergence: about five times the floor."""
WINDOW_S = 1.0
"""How long the simulation runs on from each logged state."""
WINDOW_EVERY_S = 2.0
POSES_EVERY = 5
"""The end effector is compared at every so many samples."""

Pairs = Sequence[tuple[Log, np.ndarray]]
"""A recording, and another run's positions at its stamps."""


def detail_of(
    logs: Sequence[Log], simulated: Sequence[np.ndarray], arm: Arm, pairs: Pairs = ()
) -> dict[str, Any]:
    """Everything about a gap beyond its table, as plain values for JSON; None where undefined.

    Intervals are 95 %, from resampling episodes. Floors come from pairs of real runs: medians,
    divided by sqrt(2) where they are errors (see `Floor`).

    Args:
        logs: the recordings.
        simulated: their replays.
        arm: the arm that was simulated.
        pairs: repeats on the real arm, for the floors.
    """
    regimes = [regimes_of(log, arm) for log in logs]
    off = [_off(log, q) for log, q in zip(logs, simulated, strict=True)]
    noise = [_off(log, q) for log, q in pairs]
    root = np.array([np.sqrt((one**2).mean(axis=0)) for one in off])
    bands = np.array([_bands(log, one) for log, one in zip(logs, off, strict=True)])
    calm = [_bands(log, one) for (log, _), one in zip(pairs, noise, strict=True)]
    causes = causes_of(logs, simulated, regimes, arm)
    growth = _growth(logs, arm)
    masks = [one.masks() for one in regimes]
    joints = {}
    for i, name in enumerate(arm.joint_names):
        known = [cause.to_json() for cause in causes[name]]
        joints[name] = {
            "rmse_interval": _pair(interval(root[:, i])),
            "horizon": _horizon(logs, [one[:, i] for one in off]),
            "horizon_floor_s": _horizon([p[0] for p in pairs], [n[:, i] for n in noise])["median_s"]
            if pairs
            else None,
            "growth": {
                key: _list(values[:, i]) for key, values in growth.items() if key != "time_s"
            }
            | {"time_s": _list(growth["time_s"])},
            "bands": [
                {
                    "low_hz": low,
                    "high_hz": high,
                    "rms": _plain(np.median(bands[:, b, i])),
                    "interval": _pair(interval(bands[:, b, i])),
                    "floor": _plain(np.median(calm, axis=0)[b, i] / np.sqrt(2)) if calm else None,
                    "share": _plain((bands[:, b, i] ** 2).sum() / (bands[:, :, i] ** 2).sum()),
                }
                for b, (low, high) in enumerate(BANDS_HZ)
            ],
            "regimes": {regime: _regime(off, masks, regime, i) for regime in REGIMES},
            "causes": known,
            "unexplained": _plain(1 - sum(cause.share for cause in causes[name])),
        }
    mean = root[:, :-1].mean(axis=1)
    arms = [one[:, :-1] for one in off]
    return {
        "rmse_interval": _pair(_mean_of_medians(root[:, :-1])),
        "rmse_by_recording": _list(mean),
        "tolerance": TOLERANCE,
        "horizon": _horizon(logs, arms),
        "tip": _tip(logs, simulated, arm, pairs),
        "motion": _motion(logs, simulated),
        "joints": joints,
    }


def _off(log: Log, q: np.ndarray) -> Float[np.ndarray, "time joints"]:
    """Real minus other."""
    count = min(len(log.q), len(q))
    return errors(q[:count], log.q[:count], angle_columns(len(log.joints)))


def _mean_of_medians(root: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the mean over joints of medians over episodes, all joints of one together."""
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(root), (2000, len(root)))
    found = np.median(root[picks], axis=1).mean(axis=1)
    low, high = np.percentile(found, (2.5, 97.5))
    return (low, high) if len(root) > 1 else (np.array(np.nan), np.array(np.nan))


def _horizon(logs: Sequence[Log], off: Sequence[np.ndarray]) -> dict[str, Any]:
    found = [horizon(log.t[: len(one)], one, TOLERANCE) for log, one in zip(logs, off, strict=True)]
    return survival(found).to_json()


def _bands(log: Log, off: np.ndarray) -> Float[np.ndarray, "bands joints"]:
    """Root mean square of a residual in each band of frequencies; squares add up to its own."""
    t = log.t[: len(off)]
    even = np.arange(t[0], t[-1], log.period_s)
    values = np.stack([np.interp(even, t, column) for column in off.T], axis=1)
    power = np.abs(np.fft.rfft(values, axis=0)) ** 2 / len(values) ** 2
    # Each frequency but the first (and last of an even count) stands for its negative too.
    last = len(power) - (len(values) % 2 == 0)
    power[1:last] *= 2
    frequency = np.fft.rfftfreq(len(values), log.period_s)
    ends = [high for _, high in BANDS_HZ[:-1]]
    place = np.searchsorted(ends, frequency, side="right")
    return np.sqrt([power[place == band].sum(axis=0) for band in range(len(BANDS_HZ))])


def _growth(logs: Sequence[Log], arm: Arm) -> dict[str, np.ndarray]:
    """Error by time since the last reset to a logged state (rows, joints)."""
    period = float(np.median([log.period_s for log in logs]))
    last = round(WINDOW_S / period)
    time_s = period * np.unique(np.round(np.geomspace(1, last, 12)).astype(int))
    by_log = []
    for log in logs:
        # Logs may differ in rate: each has steps of its own.
        steps, every = round(WINDOW_S / log.period_s), round(WINDOW_EVERY_S / log.period_s)
        ((rows, paths),) = replay_windows([log], arm, steps, every)
        if len(rows):
            real = log.q[rows[:, None] + np.arange(steps + 1)]
            off = errors(paths, real, angle_columns(len(log.joints)))
            root = np.sqrt((off**2).mean(axis=0))
            own_s = log.period_s * np.arange(steps + 1)
            by_log.append(np.stack([np.interp(time_s, own_s, one) for one in root.T], axis=1))
    if not by_log:
        none = np.full((len(time_s), len(arm.joints)), np.nan)
        return {"time_s": time_s, "rmse": none, "low": none, "high": none}
    values = np.array(by_log)
    low, high = interval(values, draws=500)
    return {"time_s": time_s, "rmse": np.median(values, axis=0), "low": low, "high": high}


def _regime(
    off: Sequence[np.ndarray], masks: Sequence[dict[str, np.ndarray]], regime: str, joint: int
) -> dict[str, Any]:
    """A joint's error in one regime, over the episodes that have it."""
    parts = [one[mask[regime][:, joint], joint] for one, mask in zip(off, masks, strict=True)]
    steps = sum(len(mask[regime]) for mask in masks)
    known = [part for part in parts if len(part) >= 10]
    if not known:
        return {"share": 0.0, "rmse": None, "interval": [None, None], "bias": None, "episodes": 0}
    root = np.array([np.sqrt((part**2).mean()) for part in known])
    return {
        "share": sum(map(len, parts)) / steps,
        "rmse": _plain(np.median(root)),
        "interval": _pair(interval(root)),
        "bias": _plain(np.median([part.mean() for part in known])),
        "episodes": len(known),
    }


def _tip(
    logs: Sequence[Log], simulated: Sequence[np.ndarray], arm: Arm, pairs: Pairs
) -> dict[str, Any]:
    """How far the end effector is off: root mean squares, medians over episodes."""
    found = np.array([_tip_error(arm, log.q, q) for log, q in zip(logs, simulated, strict=True)])
    floor = [_tip_error(arm, log.q[: len(q)], q) for log, q in pairs]
    low, high = interval(found)
    return {
        name: {
            "rmse": _plain(np.median(found[:, i])),
            "interval": [_plain(low[i]), _plain(high[i])],
            "floor": _plain(np.median(floor, axis=0)[i] / np.sqrt(2)) if floor else None,
        }
        for i, name in enumerate(("position_mm", "turn_deg"))
    }


def _tip_error(arm: Arm, first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    one, other = (poses(arm, q[::POSES_EVERY]) for q in (first, second))
    apart = np.linalg.norm(one.tip_m - other.tip_m, axis=1)
    turned = turned_rad(one.turn, other.turn)
    return (
        1e3 * float(np.sqrt((apart**2).mean())),
        float(np.degrees(np.sqrt((turned**2).mean()))),
    )


def _motion(logs: Sequence[Log], simulated: Sequence[np.ndarray]) -> dict[str, Any]:
    """Whether simulated episodes move like real ones: one row of mean speeds for each episode."""
    real = np.array([_speeds(velocities(log)) for log in logs])
    own = np.array(
        [_speeds(np.gradient(q, log.t, axis=0)) for log, q in zip(logs, simulated, strict=True)]
    )
    if len(real) < 3:
        return {"mmd2": None, "p": None}
    scale = np.concatenate([real, own]).std(axis=0)
    real, own = (rows / np.where(scale > 0, scale, 1) for rows in (real, own))
    width = median_distance(np.concatenate([real, own]))

    def apart(first: np.ndarray, second: np.ndarray) -> float:
        return mmd2(first, second, width)

    rng = np.random.default_rng(0)
    return {
        "mmd2": _plain(apart(real, own)),
        "p": permutation_p(apart, real, own, rng, 300, paired=True),
    }


def _speeds(velocity: np.ndarray) -> np.ndarray:
    return np.abs(velocity).mean(axis=0)


def _plain(value: Any) -> float | None:
    return float(value) if isfinite(value) else None


def _list(values: np.ndarray) -> list[float | None]:
    return [_plain(value) for value in values]


def _pair(ends: tuple[Any, Any]) -> list[float | None]:
    return [_plain(end) for end in ends]
