"""The coverage of a randomisation over recordings: scores, histograms, verdicts and what to change."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from regrasp.assets.arm import Arm, load_arm
from regrasp.errors import InputError
from regrasp.files import known
from regrasp.randomization import Table, arm_table, read_table
from regrasp.sim2real.bootstrap import interval
from regrasp.sim2real.coverage import RIGHT, UNKNOWN, Verdict, judge, pooled
from regrasp.sim2real.ensemble import Ensemble, Simulate, draw_ensemble, table_replay
from regrasp.sim2real.fields import FieldAdvice, advice
from regrasp.sim2real.log import Log, stretch
from regrasp.sim2real.metrics import angle_columns, mae
from regrasp.sim2real.params import with_params
from regrasp.sim2real.readers import read_logs
from regrasp.sim2real.regimes import REGIMES, Regimes, regimes_of
from regrasp.sim2real.replay import replay
from regrasp.sim2real.scores import (
    energy_score,
    envelope_share,
    fair_crps,
    inside,
    log_likelihood,
    ranks,
)
from regrasp.sim2real.tables import aligned
from regrasp.sim2real.units import ReadConfig

EVERY = 10
"""Scores are taken at every so many samples: neighbours say the same."""
BINS = 10
"""Of the rank histograms."""
NOISE = 0.0015
"""Standard deviation (rad, opening) added in the log-likelihood for what no member models."""
SHARE = 0.9
TIMESTEP_S = 0.004
"""Of the simulations (s): within 0.3 mrad, on average, of those with half of it."""


@dataclass(frozen=True)
class CoverageConfig:
    """How a randomisation is held against recordings."""

    members: int = 32
    """Draws for each recording."""
    seconds: float = 0.0
    """Of each recording, a stretch that begins anywhere; 0: all of it."""
    seed: int = 0
    """Of draws and stretches."""

    def __post_init__(self) -> None:
        if self.members < 3 or not self.seconds >= 0 or not 0 <= self.seed < 2**32:
            raise InputError(
                f"members {self.members}, seconds {self.seconds} and seed {self.seed}: choose at least 3 "
                "members, seconds of 0 (all) or more, and a seed from 0 to 4294967295"
            )


@dataclass(frozen=True)
class JointCoverage:
    """One joint: means over episodes of means over steps; rad, or the gripper's opening."""

    verdict: Verdict
    band_share: float
    """Share of the real samples within the central 90 % band; 0.9 is right."""
    band_interval: tuple[float, float]
    """95 % interval over episodes."""
    envelope_share: float
    """Share within the smallest and the largest member."""
    crps: float
    """Fair CRPS."""
    crps_nominal: float
    """That of the nominal model alone: its mean absolute error."""
    ranks: tuple[float, ...]
    """Share of the steps in each tenth of the ranks, each episode weighing the same."""
    regimes: dict[str, dict[str, Any]]
    """By regime: its share within the band, its ranks, its episodes."""
    fields: tuple[FieldAdvice, ...]
    """Rows of the table that bear on this joint, and how they should change."""


@dataclass(frozen=True)
class Coverage:
    """How a randomisation covers recordings. It prints as a table; `to_json()` is plain."""

    arm: str
    randomization: str
    """Where the table comes from."""
    members: int
    recordings: int
    joints: dict[str, JointCoverage]
    energy_score: float
    """Of all joints of the arm together (rad)."""
    energy_nominal: float
    log_likelihood: float
    """Mean over steps of the log density of all joints, in nats."""

    @property
    def verdict(self) -> str:
        """right if that is so for every joint that is known; else what is most often found."""
        found = [j.verdict.verdict for j in self.joints.values() if j.verdict.verdict != "unknown"]
        wrong = [one for one in found if one != "right"]
        return max(wrong, key=wrong.count) if wrong else "right" if found else "unknown"

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON; an undefined figure is None."""
        return known(
            {
                "arm": self.arm,
                "randomization": self.randomization,
                "members": self.members,
                "recordings": self.recordings,
                "verdict": self.verdict,
                "energy_score_rad": self.energy_score,
                "energy_score_nominal_rad": self.energy_nominal,
                "log_likelihood": self.log_likelihood,
                "band": SHARE,
                "envelope_expected": envelope_share(self.members),
                "joints": {name: asdict(joint) for name, joint in self.joints.items()},
            }
        )

    def __str__(self) -> str:
        head = ("joint", "verdict", "shift", "spread", "in 90 % band", "CRPS", "nominal")
        rows: list[tuple[str, ...]] = [head]
        for name, joint in self.joints.items():
            verdict = joint.verdict
            rows.append(
                (
                    name,
                    verdict.verdict,
                    f"{verdict.shift:+.1f} sd" if isfinite(verdict.shift) else "-",
                    f"x {verdict.spread:.2f}" if isfinite(verdict.spread) else "-",
                    f"{joint.band_share:.0%}",
                    f"{joint.crps:.4f}",
                    f"{joint.crps_nominal:.4f}",
                )
            )
        lines = aligned(rows, left=2)
        title = (
            f"{self.arm}, randomisation {self.randomization}: {self.members} draws of each of "
            f"{self.recordings} recordings: {self.verdict}"
        )
        total = (
            f"energy score {self.energy_score:.4f} rad (nominal model {self.energy_nominal:.4f}), "
            f"log-likelihood {self.log_likelihood:.2f} per step"
        )
        wrong = [
            field.words
            for joint in self.joints.values()
            for field in joint.fields
            if field.words and joint.verdict.verdict not in (RIGHT, UNKNOWN)
        ]
        return "\n".join([title, *lines, total, *wrong])


@dataclass(frozen=True, eq=False)
class Example:
    """A recording with its ensemble."""

    log: Log
    members: Float[np.ndarray, "members time joints"]
    nominal: Float[np.ndarray, "time joints"]


def measure_coverage(
    paths: Iterable[str | Path],
    arm: str = "so101",
    params: str | Path | None = None,
    table: str | Path | None = None,
    config: CoverageConfig = CoverageConfig(),
    read: ReadConfig = ReadConfig(),  # noqa: B008
) -> tuple[Coverage, Example]:
    """Hold a randomisation against recordings.

    Also returns one recording of a typical pace with its ensemble, to be drawn.

    Args:
        paths: recordings in any format that a reader knows, or folders of them.
        arm: name of the arm that was recorded.
        params: parameter file, or the name of a fit that ships; None for the nominal figures.
        table: file of a randomisation, such as a fitted one; None for `arm_table`.
        config: how.
        read: what the recordings do not say themselves.

    Raises:
        InputError: an unknown arm, a refused log, a bad file.
    """
    model = load_arm(arm)
    if params is not None:
        model = with_params(model, params)
    if table is None:
        used, name = arm_table(model), "default"
    else:
        (model, used), name = read_table(table, model), str(table)
    logs = read_logs(paths, model, read)
    if config.seconds:
        rng = np.random.default_rng(config.seed)
        logs = [stretch(log, config.seconds, rng) for log in logs]
    simulate = table_replay(model, used, TIMESTEP_S)
    ensemble = draw_ensemble(logs, model, used, config.members, config.seed, simulate)
    nominal = replay(logs, model, timestep_s=TIMESTEP_S)
    travel = [np.abs(np.diff(log.cmd[:, :-1], axis=0)).sum() / log.duration_s for log in logs]
    # Not the wildest: one that stands for the others.
    typical = int(np.argsort(travel)[len(logs) // 2])
    example = Example(logs[typical], ensemble.positions[typical], nominal[typical])
    return scored(logs, model, ensemble, nominal, name), example


def coverage_of(
    logs: Sequence[Log],
    arm: Arm,
    table: Table,
    name: str = "a table",
    members: int = 32,
    seed: int = 0,
    simulate: Simulate | None = None,
    timestep_s: float = TIMESTEP_S,
) -> Coverage:
    """The coverage of a table over logs that are in memory.

    Args:
        logs: the recordings.
        arm: the arm that the table's factors are relative to.
        table: the randomisation.
        name: where it comes from, in words.
        members: draws for each log.
        seed: of the draws.
        simulate: what turns draws into positions; None: `table_replay`.
        timestep_s: of the simulations (s).
    """
    simulate = simulate or table_replay(arm, table, timestep_s)
    ensemble = draw_ensemble(logs, arm, table, members, seed, simulate)
    nominal = replay(logs, arm, timestep_s=timestep_s)
    return scored(logs, arm, ensemble, nominal, name)


def scored(
    logs: Sequence[Log],
    arm: Arm,
    ensemble: Ensemble,
    nominal: Sequence[np.ndarray],
    name: str,
) -> Coverage:
    """The coverage by an ensemble, however it was made.

    Args:
        logs: the recordings.
        arm: the arm.
        ensemble: its replays under the randomisation.
        nominal: its replays without.
        name: where the randomisation comes from, in words.
    """
    regimes = [regimes_of(log, arm) for log in logs]
    pool = pooled(logs, ensemble, arm, regimes)
    verdicts = judge(pool)
    rng = np.random.default_rng(0)
    thin = [positions[:, ::EVERY] for positions in ensemble.positions]
    real = [log.q[::EVERY] for log in logs]
    held = [inside(x, y, SHARE) for x, y in zip(thin, real, strict=True)]
    around = [(y > x.min(axis=0)) & (y < x.max(axis=0)) for x, y in zip(thin, real, strict=True)]
    crps = np.array([fair_crps(x, y).mean(axis=0) for x, y in zip(thin, real, strict=True)])
    place = [
        np.minimum((ranks(x, y, rng) + rng.random(y.shape)) / (len(x) + 1) * BINS, BINS - 1e-9)
        for x, y in zip(thin, real, strict=True)
    ]
    hinges = angle_columns(len(arm.joints))
    alone = np.array([mae(log.q, q, hinges) for log, q in zip(logs, nominal, strict=True)])
    fields = advice(pool, ensemble, arm)
    band = np.array([one.mean(axis=0) for one in held])
    low, high = interval(band, np.mean)
    joints = {}
    for i, joint in enumerate(arm.joint_names):
        joints[joint] = JointCoverage(
            verdict=verdicts[i],
            band_share=float(band[:, i].mean()),
            band_interval=(float(low[i]), float(high[i])),
            envelope_share=float(np.mean([one[:, i].mean() for one in around])),
            crps=float(crps[:, i].mean()),
            crps_nominal=float(alone[:, i].mean()),
            ranks=_histogram([one[:, i] for one in place]),
            regimes=_by_regime(regimes, held, place, i),
            fields=fields[joint],
        )
    arms = slice(0, -1)
    energy = [
        energy_score(x[..., arms], y[:, arms]).mean() for x, y in zip(thin, real, strict=True)
    ]
    off = [
        np.linalg.norm((log.q - q)[:, arms], axis=1).mean()
        for log, q in zip(logs, nominal, strict=True)
    ]
    likely = [log_likelihood(x, y, NOISE).mean() for x, y in zip(thin, real, strict=True)]
    return Coverage(
        arm.name,
        name,
        ensemble.members,
        len(logs),
        joints,
        float(np.mean(energy)),
        float(np.mean(off)),
        float(np.mean(likely)),
    )


def _by_regime(
    regimes: Sequence[Regimes], held: Sequence[np.ndarray], place: Sequence[np.ndarray], joint: int
) -> dict[str, dict[str, Any]]:
    masks = [one.masks() for one in regimes]
    found = {}
    for regime in REGIMES:
        here = [mask[regime][::EVERY, joint] for mask in masks]
        enough = [i for i, mask in enumerate(here) if mask.sum() >= 5]
        found[regime] = {
            "episodes": len(enough),
            "band_share": float(np.mean([held[i][here[i], joint].mean() for i in enough]))
            if enough
            else None,
            "ranks": _histogram([place[i][here[i], joint] for i in enough]),
        }
    return found


def _histogram(parts: Sequence[Float[np.ndarray, "steps"]]) -> tuple[float, ...]:
    if not parts:
        return ()
    counts = [np.bincount(part.astype(int), minlength=BINS) / len(part) for part in parts]
    return tuple(np.mean(counts, axis=0).tolist())
