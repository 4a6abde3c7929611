"""What a run folder holds. Every part of it may be absent."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from regrasp.errors import InputError
from regrasp.sim2real.floor import Floor
from regrasp.sim2real.gap import Gap, JointGap, RecordingGap
from regrasp.sim2real.report.checked import Table, bytes_in, lines_in, table_in

POLICIES = ("demonstrator", "clone", "improved")
PHYSICS = ("table", "nominal")
CLONE_COLUMNS = ("step", "loss", "held_out_loss")
IMPROVE_COLUMNS = (
    *("env_steps", "success", "wall_s", "episodes"),
    *("phase", "start_fraction", "start_rate", "informative"),
)

Columns = dict[str, Float[np.ndarray, "lines"]]


@dataclass(frozen=True)
class Evaluation:
    """How one policy did; NaN for an unknown figure."""

    successes: int
    episodes: int
    rate: float
    low: float
    high: float
    horizon_s: float
    median_time_s: float
    """Median time to success (s); failures count as the horizon."""
    seed: int | None
    times_s: tuple[float, ...]
    """Times to success (s), of the successes alone."""
    success: tuple[bool, ...] = ()
    """Which episodes succeeded, in order; empty where unknown."""
    recorded: bool = False
    """True for the figures of the demonstrations, where no evaluation was made."""


@dataclass(frozen=True)
class Facts:
    """Where a run comes from, out of `run.json`."""

    task: str | None
    seed: int | None
    command: str | None
    started: str | None
    versions: dict[str, Any]
    hardware: dict[str, Any]
    seconds: dict[str, float]
    table: list[dict[str, Any]]
    skipped: list[dict[str, Any]]


@dataclass(frozen=True)
class Run:
    """A run folder. What is absent is None or empty."""

    facts: Facts
    demonstrations: Evaluation | None
    clone: Columns
    improve: Columns
    evaluations: dict[tuple[str, str], Evaluation]
    """By policy and physics."""
    videos: dict[str, bytes]
    gap: Gap | None
    replay: bytes | None
    """Drawing of a replay, SVG."""
    film: bytes | None = None
    """Film of a recording beside its replay, MP4."""
    filmed: Table | None = None
    """What it shows, or why there is none."""
    coverage: dict[str, Any] | None = None
    """What `Coverage.to_json` gave."""
    coverage_replay: bytes | None = None
    """Drawing of a replay with its ensemble, SVG."""
    open_loop: Table | None = None
    """What `OpenLoop.to_json` gave."""
    open_loop_drawing: bytes | None = None
    """Drawing of a policy on logs, SVG."""

    @property
    def about_reality_alone(self) -> bool:
        """Whether the folder holds figures about recordings and nothing of a run."""
        nothing = not (self.evaluations or self.clone or self.improve or self.demonstrations)
        known = any(part is not None for part in (self.gap, self.coverage, self.open_loop))
        return known and nothing and self.facts.task is None

    def result(self, policy: str, physics: str) -> Evaluation | None:
        """The evaluation; for the demonstrator under the table, else the demonstrations."""
        found = self.evaluations.get((policy, physics))
        stands_in = found is None and (policy, physics) == ("demonstrator", "table")
        return self.demonstrations if stands_in else found


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        InputError: no such folder, or a file in it is malformed or too large.
    """
    if not folder.is_dir():
        raise InputError(f"no run folder at {folder}: make one with `regrasp run TASK`")
    evaluations = {
        (policy, physics): _evaluation(path)
        for policy in POLICIES
        for physics in PHYSICS
        if (path := folder / "eval" / f"{policy}-{physics}.json").exists()
    }
    facts, demos = folder / "run.json", folder / "demos" / "meta" / "demonstrations.json"
    gap, replay = folder / "gap.json", folder / "gap_replay.svg"
    coverage, covered = folder / "coverage.json", folder / "coverage_replay.svg"
    film, filmed = folder / "gap_film.mp4", folder / "gap_film.json"
    asked, drawn = folder / "open_loop.json", folder / "open_loop.svg"
    videos = {policy: folder / "video" / f"{policy}.mp4" for policy in POLICIES}
    return Run(
        facts=_facts(table_in(facts, "record of the run") if facts.exists() else Table({}, facts)),
        demonstrations=_demonstrations(demos) if demos.exists() else None,
        clone=_columns(folder / "clone" / "metrics.jsonl", CLONE_COLUMNS),
        improve=_columns(folder / "improve" / "metrics.jsonl", IMPROVE_COLUMNS),
        evaluations=evaluations,
        videos={policy: _video(path) for policy, path in videos.items() if path.exists()},
        gap=_gap(gap) if gap.exists() else None,
        replay=bytes_in(replay) if replay.exists() else None,
        film=_video(film) if film.exists() else None,
        filmed=table_in(filmed, "description of a film") if filmed.exists() else None,
        coverage=table_in(coverage, "coverage").values if coverage.exists() else None,
        coverage_replay=bytes_in(covered) if covered.exists() else None,
        open_loop=table_in(asked, "figures of a policy on logs") if asked.exists() else None,
        open_loop_drawing=bytes_in(drawn) if drawn.exists() else None,
    )


def _evaluation(path: Path) -> Evaluation:
    table = table_in(path, "evaluation")
    success = tuple(value is True for value in table.list("success"))
    times = table.numbers("times_s")
    lengths = {len(success), len(times), table.count("episodes")}
    if success and len(lengths) > 1:
        raise InputError(
            f"{path}: success, times_s and episodes are of the lengths {sorted(lengths)}, "
            f"which should be equal; make the file again"
        )
    return Evaluation(
        **_rates(table, "episodes"),
        median_time_s=table.number("median_time_s"),
        seed=_seed(table),
        times_s=tuple(t for t, good in zip(times, success, strict=False) if good),
        success=success,
    )


def _demonstrations(path: Path) -> Evaluation:
    table = table_in(path, "record of demonstrations")
    rates = _rates(table, "attempts")
    times = table.numbers("times_s")
    failures = [rates["horizon_s"]] * (rates["episodes"] - rates["successes"])
    median = float(np.median(times + failures)) if times else float("nan")
    return Evaluation(**rates, median_time_s=median, seed=None, times_s=tuple(times), recorded=True)


def _rates(table: Table, total: str) -> dict[str, Any]:
    successes, episodes = table.count("successes"), table.count(total)
    rate = successes / episodes if episodes else float("nan")
    if successes > episodes or abs(table.number("rate") - rate) > 1e-3:
        raise InputError(
            f"{table.path}: {successes} successes of {episodes} {total} "
            f"at a rate of {table.number('rate')} cannot be; make the file again"
        )
    figures = {key: table.number(key) for key in ("low", "high", "horizon_s")}
    return {"successes": successes, "episodes": episodes, "rate": rate, **figures}


def _facts(table: Table) -> Facts:
    seconds = table.table("seconds")
    return Facts(
        task=table.text("task"),
        seed=_seed(table),
        command=table.text("command"),
        started=table.text("started"),
        versions=table.table("versions").values,
        hardware=table.table("hardware").values,
        seconds={stage: seconds.number(stage) for stage in seconds.values},
        table=[row.values for row in table.tables("table")],
        skipped=[row.values for row in table.tables("skipped")],
    )


def _seed(table: Table) -> int | None:
    return table.count("seed") if table.values.get("seed") is not None else None


def _gap(path: Path) -> Gap:
    """The gap whose `to_json` was written."""
    table = table_in(path, "gap")
    joints = table.table("joints")
    if not joints.values:
        raise InputError(f"{path}: there are no joints; make the file again")
    pairs = [joints.table(name).number("floor_pair_rad") for name in joints.values]
    counts = [table.count(key) for key in ("repeat_pairs", "repeat_pairs_left_out")]
    recordings = [
        RecordingGap(
            name=str(row.text("name")),
            source=str(row.text("source")),
            duration_s=row.number("duration_s"),
            joints=_joints(row.table("joints")),
        )
        for row in table.tables("recordings")
    ]
    return Gap(
        arm=str(table.text("arm")),
        params=str(table.text("params")),
        joints=_joints(joints),
        floor=Floor(np.array(pairs), *counts),
        recordings=tuple(recordings),
        detail=table.table("detail").values or None,
    )


def _joints(table: Table) -> dict[str, JointGap]:
    figures = [field.name for field in fields(JointGap)]
    return {
        joint: JointGap(**{name: table.table(joint).number(name) for name in figures})
        for joint in table.values
    }


def _columns(path: Path, names: Sequence[str]) -> Columns:
    """Columns of a metrics file, the first of which is needed. Empty if there is no file."""
    rows = list(lines_in(path)) if path.exists() else []
    if any(math.isnan(row.number(names[0])) for row in rows):
        raise InputError(f"{path}: a line lacks {names[0]!r}; make the file again")
    return {name: np.array([row.number(name) for row in rows]) for name in names if rows}


def _video(path: Path) -> bytes:
    data = bytes_in(path)
    if data[4:8] != b"ftyp":
        raise InputError(f"{path} is not an MP4 video: make it again, or remove it")
    return data
