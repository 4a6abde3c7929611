"""What can be learned, from how much, and how fast.

    python -m benchmarks.learning --studies one --update

Every experiment is a run of its own under `runs/learning`; started again, each goes on where it stopped.
Judged are 1000 episodes on a seed that nothing else uses, nominal and under the task's table.

- clones: both families on all tasks; on transfer_cube against the delay of the policy, with their drift.
- improved: every task's clone, improved; of some by groups and by a critic.
- deformable: a cable, cloned and improved, and played faster.
- one: from a single demonstration.
- speed: all ways to become faster than the demonstrations.
- identity: groups of identical states beside different ones, no choice of states, physics of its own for
  every try, corrections on top of the clone, and a critic.
- few: the same from a clone of 40 demonstrations.
"""

import json
import shutil
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from gymnasium.vector import AutoresetMode
from rich.console import Console
from rich.table import Table

from benchmarks.common import guarded, note
from benchmarks.learning.draw import draw
from benchmarks.learning.experiments import GENERATE, RETIME, STUDIES, Experiment
from regrasp.envs import BatchEnv, load_task
from regrasp.errors import unknown
from regrasp.files import read_json, whole, write_json
from regrasp.randomization import randomizer_for
from regrasp.record import hardware
from regrasp.rl.bundle import load_bundle
from regrasp.rl.clone import CloneConfig, read_lines
from regrasp.rl.drift import Neighbours, drift
from regrasp.rl.episodes import Episodes
from regrasp.rl.evaluate import PlayConfig, evaluate
from regrasp.rl.experts import MANNERS, load_expert
from regrasp.road import Road

RESULTS = Path(__file__).parent / "results"
SEED = 20_000
"""Of the final episodes."""
ROWS = 250


@dataclass(frozen=True)
class Learning:
    """Run experiments, judge them, and draw what came out."""

    studies: tuple[str, ...] = ()
    """Which; none: all. Choose from clones, improved, deformable, one, speed, identity, few."""
    only: tuple[str, ...] = ()
    """Experiments whose names contain one of these."""
    episodes: int = 1000
    """Of every judgement."""
    folder: Path = Path("runs/learning")
    """Where runs are kept."""
    update: bool = False
    """Keep the results beside this file, as those of this kind of machine."""
    dry: bool = False
    """Only say what would be run."""

    def __post_init__(self) -> None:
        for study in self.studies:
            if study not in STUDIES:
                raise unknown("study", study, STUDIES)
        names = [one.name for study in self.studies or STUDIES for one in STUDIES[study]]
        for part in self.only:
            if not any(part in name for name in names):
                raise unknown("experiment", part, names)


def data_of(one: Experiment, folder: Path) -> Road:
    """The demonstrations of an experiment, collected once for all that share them."""
    road = Road(one.task, 0, folder / one.data, show)
    road.demos(one.demos)
    if one.source == "retimed":
        road.retime(RETIME)
    if one.source == "generated":
        road.generate(GENERATE)
    return road


def run(one: Experiment, config: Learning) -> dict[str, Any]:
    """Train and judge one experiment; what is there is not done again."""
    shown = data_of(one, config.folder).folder / one.source
    base = Road(one.task, one.seed, config.folder / one.cloned, show)
    base.clone(replace(one.clone, seed=one.seed, data=str(shown)))
    bundle = base.export()["clone"]
    plays = (PlayConfig(),) if one.improve else one.plays
    result = {"name": one.name, "task": one.task, "seed": one.seed, "data": one.data}
    found = judgements(one, "clone", bundle, plays, config)
    result |= {"source": one.source, "judged": found}
    result |= {"seconds": base.record.spent(), "demonstrations": times_of(shown)}
    if one.drift:
        result["drift"] = drift_of(one, bundle, shown, base.folder)
    if one.improve:
        road = Road(one.task, one.seed, config.folder / one.name, show)
        start = config.folder / one.start if one.start else None
        if start is None:
            own = road.folder / "clone"
            if not own.exists():
                with whole(own) as temporary:
                    shutil.copytree(base.folder / "clone", temporary)
            # A clone that was copied when experiments were set otherwise is refused.
            road.record.settled("clone", base.record.kept("clone", CloneConfig))
        road.improve(replace(one.improve, seed=one.seed), start)
        bundle = road.export()["improved"]
        result["judged"] += judgements(one, "improved", bundle, one.plays, config)
        result["curve"] = read_lines(road.folder / "improve" / "metrics.jsonl")
        result["improve"] = asdict(one.improve)
        result["seconds"] |= road.record.spent()
    return result


def judgements(
    one: Experiment, policy: str, bundle: Path, plays: tuple[PlayConfig, ...], config: Learning
) -> list[dict[str, Any]]:
    """A policy under both physics, played in these ways; and in further ones under the table."""
    ways = [(play, physics) for play in plays for physics in ("table", "nominal")]
    ways += [(play, "table") for play in one.also]
    return [judged(one, policy, bundle, play, physics, config) for play, physics in ways]


def judged(
    one: Experiment,
    policy: str,
    bundle: Path,
    play: PlayConfig,
    physics: str,
    config: Learning,
) -> dict[str, Any]:
    """One judgement, kept in a file of the run that made the bundle."""
    special = {k: v for k, v in asdict(play).items() if v != getattr(PlayConfig(), k)}
    name = "-".join([policy, physics, *(f"{k}={v}" for k, v in special.items())])
    path = bundle.parents[1] / "final" / f"{name}.json"
    if path.exists():
        found = read_json(path, "judgement")
        if found["episodes"] >= config.episodes and found.get("seed") == SEED:
            return found
    runner = load_bundle(bundle)
    env = environment(one, physics, min(ROWS, config.episodes), play, runner)
    result = evaluate(
        env,
        runner,
        episodes=config.episodes,
        seed=SEED,
        labels=(policy, one.task, physics),
        noise=runner.noise,
        continued=play.continued,
        progress=show(f"{one.name}: {name}"),
    )
    found = {"policy": policy, "physics": physics, "play": special, "seed": SEED}
    found |= result.rate._asdict()
    found["median_time_s"] = round(result.median_time_s, 3)
    found["means"] = result.to_json()["means"]
    found["times_s"] = np.round(result.times_s, 2).tolist()
    found["success"] = result.success.tolist()
    write_json(path, found)
    return found


def environment(
    one: Experiment, physics: str, rows: int, play: PlayConfig, runner: Any
) -> BatchEnv:
    """Where a bundle is judged."""
    task = load_task(one.task)
    return BatchEnv(
        task,
        rows,
        randomizer=randomizer_for(one.task, physics),
        autoreset=AutoresetMode.DISABLED,
        executor=play.executor(runner, task.control_dt_s),
    )


def drift_of(one: Experiment, bundle: Path, shown: Path, folder: Path) -> dict[str, Any]:
    """How far the clone's states are from the demonstrated ones."""
    path = folder / "final" / "drift.json"
    if not path.exists():
        runner = load_bundle(bundle)
        env = environment(one, "table", ROWS, PlayConfig(), runner)
        found = drift(env, runner, Neighbours(Episodes.open(shown)), SEED)
        write_json(path, found.to_json())
    return read_json(path, "drift")


def times_of(shown: Path) -> dict[str, float]:
    """Median times of demonstrations, and of the fastest tenth of them."""
    times = np.sort(Episodes.open(shown).lengths) / Episodes.open(shown).fps
    tenth = times[: max(1, len(times) // 10)]
    return {"median_s": float(np.median(times)), "fastest_tenth_s": float(np.median(tenth))}


def experts_of(task: str, config: Learning) -> dict[str, Any]:
    """The scripted expert as it demonstrates, and without slips and pauses, on the same episodes."""
    found = {}
    for manner in MANNERS:
        path = config.folder / f"expert-{task}-{manner}.json"
        if not path.exists() or read_json(path, "judgement")["episodes"] < config.episodes:
            env = BatchEnv(
                load_task(task),
                ROWS,
                randomizer=randomizer_for(task, "table"),
                autoreset=AutoresetMode.DISABLED,
            )
            result = evaluate(
                env,
                load_expert(task, manner),
                episodes=config.episodes,
                seed=SEED,
                labels=(f"expert, {manner}", task, "table"),
                progress=show(f"expert of {task}, {manner}"),
            )
            write_json(path, result.to_json())
        found[manner] = read_json(path, "judgement")
    return found


def paired(one: dict[str, Any], other: dict[str, Any]) -> dict[str, int]:
    """On the same starts: how often only the one succeeds, and only the other."""
    both = min(len(one["success"]), len(other["success"]))
    mine, theirs = (np.array(judged["success"][:both], bool) for judged in (one, other))
    return {"alone": int((mine & ~theirs).sum()), "other_alone": int((theirs & ~mine).sum())}


def show(stage: str) -> Any:
    """Progress as lines, now and then: this runs for hours, with its output in a file."""
    last = [-1]

    def progress(done: int, total: int, text: str) -> None:
        tenth = 20 * done // max(1, total)
        if tenth != last[0]:
            last[0] = tenth
            note(f"{stage}: {done}/{total} {text}")

    return progress


def main() -> int:
    config = tyro.cli(Learning, description=__doc__)
    for study in config.studies or tuple(STUDIES):
        wanted = [
            one
            for one in STUDIES[study]
            if not config.only or any(part in one.name for part in config.only)
        ]
        if not wanted:
            continue
        if config.dry:
            print("\n".join(f"{study}: {one.name}" for one in wanted))
            continue
        results = [run(one, config) for one in wanted]
        experts: dict[str, Any] = {}
        if study == "speed":
            experts = experts_of("transfer_cube", config)
            beside(results, experts)
        told(study, results)
        pictures = draw(study, merged(study, results), experts, config.folder)
        for picture in pictures:
            note(f"drew {picture}")
        if config.update:
            keep(study, results)
    return 0


def beside(results: list[dict[str, Any]], experts: dict[str, Any]) -> None:
    """Add to results how the experts fared, and to judgements how they compare on the same starts."""
    for result in results:
        result["experts"] = {
            manner: {k: v for k, v in found.items() if k not in ("times_s", "success")}
            for manner, found in experts.items()
        }
        for one in result["judged"]:
            if one["physics"] == "table":
                one["paired"] = {manner: paired(one, found) for manner, found in experts.items()}


def told(study: str, results: list[dict[str, Any]]) -> None:
    """Print what was judged."""
    table = Table(title=study)
    for head in ("experiment", "policy", "physics", "played", "success", "median time", "means"):
        table.add_column(head)
    for result in results:
        for one in result["judged"]:
            rate = f"{one['rate']:.1%} ({one['low']:.1%} to {one['high']:.1%})"
            played = ", ".join(f"{k} {v}" for k, v in one["play"].items())
            table.add_row(
                result["name"],
                one["policy"],
                one["physics"],
                played,
                rate,
                f"{one['median_time_s']:.2f} s",
                ", ".join(
                    "{} {} ({} to {})".format(name, *map(_figure, mean.values()))
                    for name, mean in one.get("means", {}).items()
                ),
            )
    Console(width=160).print(table)
    curves = {result["name"]: result["curve"] for result in results if "curve" in result}
    if curves:
        Console(width=160).print(divided(curves))


def _figure(value: float | None) -> str:
    """A number, or that there is none: of a single episode an interval has no ends."""
    return "?" if value is None else f"{value:.3f}"


def divided(curves: dict[str, list[dict[str, Any]]]) -> Table:
    """Where the wall time of improvement went, judgements apart, and how much the cores were idle."""
    table = Table(title="wall time of iterations")
    parts = ("starts", "physics", "control and observation", "policy", "update", "cores idle")
    for head in ("experiment", "an iteration", *parts):
        table.add_column(head)
    cores = hardware()["cores"]
    for name, (_, *rows) in curves.items():
        names = ("start_s", "engine_s", "policy_s", "update_s", "rollout_s", "cpu_s")
        start, engine, policy, update, rollout, cpu = (sum(row[n] for row in rows) for n in names)
        wall = rollout + update
        seen = rollout - start - engine - policy
        shares = (start, engine, seen, policy, update, wall - cpu / cores)
        table.add_row(name, f"{wall / len(rows):.1f} s", *(f"{part / wall:.0%}" for part in shares))
    return table


def merged(study: str, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is kept of a study, with these results in place of older ones, without their single episodes."""
    path = RESULTS / f"{study}.json"
    after = {one["name"]: one for one in (read_json(path, "results") if path.exists() else [])}
    for result in results:
        short = [
            {k: v for k, v in one.items() if k not in ("times_s", "success")}
            for one in result["judged"]
        ]
        after[result["name"]] = {**result, "judged": short}
    order = [one.name for one in STUDIES[study]]
    return sorted(after.values(), key=lambda r: (*order, r["name"]).index(r["name"]))


def keep(study: str, results: list[dict[str, Any]]) -> None:
    """Write the results beside this file."""
    path = RESULTS / f"{study}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(merged(study, results), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    sys.exit(guarded(main))
