"""The road: demonstrate, clone, improve, export, judge, compare, report, each a stage of a run's folder.

A stage that has finished is not done again; one that was interrupted goes on. The settings of every stage
are kept beside its results, and other settings in the same folder are refused.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from regrasp.assets import ALOHA
from regrasp.envs import BatchEnv, Executor, Snapshot, Task, load_task, role_key
from regrasp.envs.render import check_rendering
from regrasp.errors import InputError
from regrasp.files import read_json, whole, write_json
from regrasp.progress import Progress
from regrasp.randomization import randomizer_for
from regrasp.record import Record, settings_of
from regrasp.rl.bundle import WEIGHTS, export, load_bundle, workcell_of
from regrasp.rl.clone import SOURCES, CloneConfig, Samples, clone, policy_for, samples
from regrasp.rl.demonstrate import DemonstrateConfig, demonstrate
from regrasp.rl.episodes import Episodes
from regrasp.rl.evaluate import Evaluation, PlayConfig, evaluate
from regrasp.rl.experts import load_expert
from regrasp.rl.failures import Failures, check_place, look_at_failures
from regrasp.rl.generate import GenerateConfig, generate
from regrasp.rl.improve import Improver, finished, improved
from regrasp.rl.improve_config import ImproveConfig
from regrasp.rl.policies import Params, Policy
from regrasp.rl.retime import RetimeConfig, fastest, replays, retime

POLICIES = ("demonstrator", "clone", "improved")
PHYSICS = ("nominal", "table")
KEPT, MOST_KEPT = 256, 20_000
"""States of demonstrations that groups start from, at least and at most: all of 1200 long ones take 13 GB."""
TAKEN = "start.json"
"""In the folder of a clone that another run improved: how that came about."""
TOLD = ("version", "config", "manner", "retimed", "generated", "recorded", "commands", "lacks")
"""What demonstrations say of how they were made, as far as they do."""


def quiet(done: int, total: int, note: str) -> None:
    """No progress shown."""


@dataclass(frozen=True)
class JudgeConfig:
    """How policies are judged."""

    episodes: int = 500
    """Episodes per policy and physics, on seeds that nothing was trained on."""
    rows: int = 250
    """Episodes at a time. A closed loop is reproducible at an equal number."""
    seed: int = 1
    """Of the evaluation episodes: paired between policies, and between runs."""
    noise: float | None = None
    """Scale of the noise that chunks are made from: 0 is the middle of what a policy would do, 1 samples as
    it was trained to; none: as the policy says, which is 0 for most."""

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.rows < 1:
            raise InputError(
                f"episodes {self.episodes} and rows {self.rows}: choose 1 or more of each"
            )


@dataclass(frozen=True)
class ExportConfig:
    """How policies are exported."""

    execute: int = 0
    """Actions of a chunk that are played before the next; 0: as it was learned."""
    half: bool = False
    """Keep large weights as float16: half the size, and all but the same chunks."""


@dataclass(frozen=True)
class Road:
    """One run: a task, a seed and a folder."""

    task: str
    seed: int = 0
    folder: Path = Path("runs")
    """Of the run itself."""
    progress: Callable[[str], Progress] = field(default=lambda title: quiet)
    """Makes the progress display of a stage."""
    workcell: str = ALOHA
    """Whose arms do it: a workcell's name, or the file of its table."""

    def __post_init__(self) -> None:
        self._task()
        role_key(self.seed, "train")

    @property
    def record(self) -> Record:
        """What the folder says of itself."""
        return Record(self.folder)

    # ---- stages ----

    def demos(self, config: DemonstrateConfig) -> Episodes:
        """Collect demonstrations."""
        folder = self.folder / "demos"
        load_expert(self.task, config.manner, self._task())
        randomizer_for(self.task, config.randomize, self.workcell)
        if self.record.settled("demos", config) and (folder / "meta" / "info.json").exists():
            return self._own(folder)
        self.record.keep("demos", config)
        with self.record.clock("demos"):
            result = demonstrate(
                self.task, folder, config, self.progress("demos"), workcell=self.workcell
            )
        write_json(folder / "meta" / "demonstrations.json", result.to_json())
        return Episodes.open(folder)

    def shown(self) -> Episodes:
        """The demonstrations.

        Raises:
            InputError: there are none yet.
        """
        return self._need_demos(CloneConfig())

    def retime(self, config: RetimeConfig) -> Episodes:
        """Make faster copies of the demonstrations."""
        return self._made("retime", "retimed", config, retime)

    def generate(self, config: GenerateConfig) -> Episodes:
        """Make more demonstrations of those that there are."""
        return self._made("generate", "generated", config, generate)

    def clone(self, config: CloneConfig) -> tuple[Policy, Params]:
        """Clone the demonstrations."""
        self.record.settled("clone", config)
        episodes = self._need_demos(config)
        self.record.keep("clone", config)
        with self.record.clock("clone"):
            return self._clone(config, episodes)

    def improve(self, config: ImproveConfig, start: Path | None = None) -> tuple[Policy, Params]:
        """Improve the clone from states of the demonstrations.

        Args:
            config: how.
            start: folder of another run, whose improved policy takes the clone's place in this one.
        """
        self.record.settled("improve", config)
        if start is not None:
            self._take_over(start)
        policy, params = self._cloned()
        policy, params = improved(policy, params, config, self._task().control_dt_s)
        if (done := finished(self.folder / "improve", params)) is not None:
            return policy, done
        demos = self._need_demos(self.record.kept("clone", CloneConfig))
        moments, phases = kept_moments(demos, policy.chunk)
        env = self._env("table", config.rows, policy.executor)
        if moments.fingerprint != env.fingerprint:
            raise InputError(
                f"the demonstrations in {self.folder} are of another model or version: "
                "choose another --folder and collect them again"
            )
        self.record.keep("improve", config)
        with self.record.clock("improve"):
            improver = Improver(env, policy, params, moments, phases, config)
            return policy, improver.run(self.folder / "improve", self.progress("improve"))

    def export(self, config: ExportConfig = ExportConfig()) -> dict[str, Path]:
        """Write the bundles of the clone and, if there is one, of the improved policy."""
        found = {"clone": self._cloned()}
        if (self.folder / "improve" / "params.npz").exists():
            found["improved"] = self.improve(self.record.kept("improve", ImproveConfig))
        return {name: self._export(name, *made, config) for name, made in found.items()}

    def judge(self, config: JudgeConfig, policies: Sequence[str] = POLICIES) -> list[Evaluation]:
        """Judge policies under nominal and randomised physics, each once."""
        self.record.settled("eval", config)
        self.record.keep("eval", config)
        found = []
        with self.record.clock("eval"):
            for policy in policies:
                for physics in PHYSICS:
                    found.append(self._judge_one(policy, physics, config))
        return found

    def videos(self, episodes: int = 2) -> list[Path]:
        """Film the same two randomised evaluation episodes with every policy."""
        from regrasp.rl.video import film

        made = []
        with self.record.clock("video"):
            for policy in POLICIES:
                path = self.folder / "video" / f"{policy}.mp4"
                if not path.exists():
                    actor, executor = self._actor(policy)
                    env = self._env("table", 1, executor)
                    film(env, actor, path, episodes, self.seed, self.progress(f"video of {policy}"))
                made.append(path)
        return made

    def compare(self, video: bool = True) -> list[dict[str, str]]:
        """Measure the gap on recordings of a real arm, where there are some; return what was skipped."""
        from regrasp.sim2real import find_data, measure_gap
        from regrasp.sim2real.kept import FILMED, keep_gap

        if all((self.folder / name).exists() for name in ("gap.json", FILMED)):
            return []
        data = find_data()
        recordings = data / "sage_so101" if data else None
        if recordings is None or not recordings.is_dir():
            return [
                {
                    "what": "the gap to a real arm",
                    "why": "no recordings: set REGRASP_DATA to a folder that holds sage_so101",
                }
            ]
        with self.record.clock("gap"):
            gap = measure_gap([recordings])
            keep_gap(
                self.folder,
                gap,
                [recordings],
                video=video,
                progress=self.progress("film of the gap"),
            )
        return []

    def report(self) -> Path:
        """Write the report of what this folder holds."""
        from regrasp.sim2real.report import write_report

        if not self.folder.is_dir():
            raise InputError(f"no run at {self.folder}: start one with `regrasp run {self.task}`")
        return write_report(self.folder)

    def walk(
        self,
        *,
        demos: DemonstrateConfig,
        retime: RetimeConfig,
        generate: GenerateConfig,
        clone: CloneConfig,
        improve: ImproveConfig,
        judge: JudgeConfig,
        video: bool,
        command: str,
        say: Callable[[str], None],
    ) -> tuple[list[Evaluation], Path]:
        """Every stage, then the report; faster copies and more demonstrations where they are cloned."""
        skipped = []
        if video:
            check_rendering()
        else:
            skipped.append({"what": "the videos", "why": "--no-video was given"})
        self.demos(demos)
        if clone.source == "retimed":
            self.retime(retime)
        if clone.source == "generated":
            self.generate(generate)
        self.clone(clone)
        self.improve(improve)
        self.export()
        found = self.judge(judge)
        if video:
            self.videos()
        skipped += self.compare(video)
        for part in skipped:
            say(f"skipped {part['what']}: {part['why']}")
        self.record.describe(self.task, self.seed, command, skipped, self.workcell)
        return found, self.report()

    # ---- inside ----

    def _made(self, stage: str, name: str, config: Any, make: Callable[..., Episodes]) -> Episodes:
        """Other episodes that are made of the demonstrations, once."""
        folder = self.folder / name
        if self.record.settled(stage, config) and (folder / "meta" / "info.json").exists():
            return self._own(folder)
        shown = self.shown()
        self.record.keep(stage, config)
        with self.record.clock(stage):
            return make(shown, folder, config, self.progress(stage))

    def _env(self, physics: str, rows: int, executor: Executor) -> BatchEnv:
        return BatchEnv(
            self._task(),
            rows,
            randomizer=randomizer_for(self.task, physics, self.workcell),
            autoreset=AutoresetMode.DISABLED,
            executor=executor,
        )

    def _need_demos(self, config: CloneConfig) -> Episodes:
        """What is cloned, checked.

        Raises:
            InputError: there is nothing yet, or demonstrations from elsewhere do not fit or replay.
        """
        if config.data:
            return self._brought(Path(config.data))
        folder = self.folder / config.source
        if not folder.exists():
            raise InputError(
                f"no demonstrations in {folder}: run `regrasp {SOURCES[config.source]} {self.task}` first"
            )
        return self._own(folder)

    def _task(self) -> Task:
        """The task in the run's workcell."""
        return load_task(self.task, self.workcell)

    def _own(self, folder: Path) -> Episodes:
        """The run's own episodes, which must be of its task and workcell."""
        episodes = Episodes.open(folder)
        episodes.header.check(self.task, self._task())
        return episodes

    def _brought(self, path: Path) -> Episodes:
        """Demonstrations from elsewhere."""
        episodes = Episodes.open(path)
        episodes.header.check(self.task, self._task())
        known = (self.folder / "clone" / "params.npz").exists()
        states = (path / "snapshots").is_dir()  # A real robot's have none.
        lost = np.flatnonzero(~replays(episodes)) if states and not known else []
        if len(lost):
            raise InputError(
                f"demonstrations {', '.join(map(str, lost[:8]))} of {path} ({len(lost)} of "
                f"{len(episodes)}) do not succeed when they are replayed: leave them out"
            )
        return episodes

    def _cloned(self) -> tuple[Policy, Params]:
        if not (self.folder / "clone" / "params.npz").exists():
            raise InputError(
                f"no finished clone in {self.folder}: run `regrasp clone {self.task}` first"
            )
        config = self.record.kept("clone", CloneConfig)
        return self._clone(config, self._need_demos(config))

    def _take_over(self, start: Path) -> None:
        """Make another run's improved policy what this one starts from, in its clone's place."""
        folder, other = (
            self.folder / "clone",
            Road(self.task, self.seed, start, workcell=self.workcell),
        )
        params = start / "improve" / "params.npz"
        if (folder / TAKEN).exists():
            if params.exists() and params.read_bytes() != (folder / "params.npz").read_bytes():
                raise InputError(
                    f"{self.folder} goes on from another run than {start}: choose another --folder"
                )
            return
        if folder.exists():
            raise InputError(
                f"{self.folder} has a clone of its own: choose another --folder to go on from {start}"
            )
        if not params.exists():
            raise InputError(
                f"no finished improvement in {start}: give the folder of a run where "
                f"`regrasp improve {self.task}` has ended"
            )
        if other.record.kept("improve", ImproveConfig).residual:
            raise InputError(f"{start} learned corrections, which cannot be improved further")
        config = other.record.kept("clone", CloneConfig)
        data = Path(config.data) if config.data else start / config.source
        Episodes.open(data).header.check(self.task, self._task())
        with whole(folder) as temporary:
            temporary.mkdir()
            for name in ("improve/params.npz", "clone/metrics.jsonl"):
                shutil.copy(start / name, temporary)
            write_json(temporary / TAKEN, other._origin("improved"))
            config = replace(config, data=str(data.resolve()))
            write_json(temporary / "config.json", settings_of(config))

    def _clone(self, config: CloneConfig, episodes: Episodes) -> tuple[Policy, Params]:
        """The clone: trained, trained to its end, or read, as the folder has it."""
        obs, action, index, _ = episodes.arrays()
        policy = policy_for(self._task(), config, episodes.terms)
        data = samples(policy, obs, action, index)
        if config.fastest < 1:
            used = np.isin(index, fastest(episodes, config.fastest))
            data = Samples(*(part[used] for part in data))
        return policy, clone(policy, data, config, self.folder / "clone", self.progress("clone"))

    def _export(self, name: str, policy: Policy, params: Params, config: ExportConfig) -> Path:
        folder = self.folder / "bundle" / name
        if config.execute:
            policy = replace(policy, execute=config.execute)
        wanted = {"execute": policy.executor.execute, "weights": WEIGHTS[config.half]}
        made = folder / "policy.json"
        there = read_json(made, "bundle") if made.exists() else {}
        if not wanted.items() <= there.items():
            with self.record.clock("export"):
                origin = {"policy": name, "seed": self.seed, **self._origin(name)}
                export(policy, params, self._task(), self.task, folder, origin, config.half)
        return folder

    def _origin(self, name: str) -> dict[str, Any]:
        """The settings that a policy came out of, and what the demonstrations say of their own."""
        config = self.record.kept("clone", CloneConfig)
        shown = self._need_demos(config)
        told = {key: shown.meta[key] for key in TOLD if key in shown.meta}
        # Where a folder lies on this machine says nothing elsewhere; its last names may.
        clone = {**settings_of(config), "data": "/".join(Path(config.data).parts[-2:])}
        found = {"demonstrations": {"episodes": len(shown), **told}, "clone": clone}
        taken = self.folder / "clone" / TAKEN
        if taken.exists():
            found["start"] = read_json(taken, "origin")
        if name == "improved":
            found["improve"] = settings_of(self.record.kept("improve", ImproveConfig))
        return found

    def _actor(self, policy: str) -> tuple[Any, Executor]:
        """Who acts under this name, and how its chunks are executed."""
        if policy == "demonstrator":
            return load_expert(self.task, doing=self._task()), Executor(1, 1)
        runner = load_bundle(self.folder / "bundle" / policy)
        return runner, PlayConfig().executor(runner, self._task().control_dt_s)

    def _judge_one(self, policy: str, physics: str, config: JudgeConfig) -> Evaluation:
        path = self.folder / "eval" / f"{policy}-{physics}.json"
        if path.exists():
            return Evaluation.from_json(read_json(path, "evaluation"))
        actor, executor = self._actor(policy)
        env = self._env(physics, min(config.rows, config.episodes), executor)
        result = evaluate(
            env,
            actor,
            episodes=config.episodes,
            seed=config.seed,
            labels=(policy, self.task, physics),
            noise=getattr(actor, "noise", 0.0) if config.noise is None else config.noise,
            progress=self.progress(f"{policy}, {physics}"),
        )
        write_json(path, result.to_json())
        return result


def judge_bundle(
    where: str,
    task: str | None,
    physics: str,
    config: JudgeConfig,
    play: PlayConfig | None = None,
    look: Path | None = None,
    clips: int = 2,
    progress: Callable[[str], Progress] = lambda title: quiet,
    workcell: str | None = None,
    figures: Mapping[str, float] | None = None,
) -> tuple[Evaluation, Failures | None]:
    """Judge a bundle, by folder or name, at a task: its own, unless one is named.

    Args:
        where: folder or name of the bundle.
        task: name of the task; None: the bundle's own.
        physics: nominal, or table.
        config: on how many episodes.
        play: how its chunks are played.
        look: a folder for clips of its failures, sorted; None: do not look.
        clips: of each kind of failure.
        progress: makes the progress display of a stage.
        workcell: name of the workcell or file of its table; None: the bundle's own.
        figures: of the task, where they are not the default ones: see `load_task`.

    Returns:
        The evaluation, and the failures if they were looked at.

    Raises:
        InputError: an unknown task, randomisation or bundle, a bundle of another task or workcell, one
            whose chunks cannot be played like this, or failures that could not be kept: see `check_place`.
    """
    runner, play = load_bundle(where), play or PlayConfig()
    own = str(runner.meta.get("task"))
    task = own if task is None else task
    cell = workcell_of(runner, workcell)
    found, randomizer = load_task(task, cell, figures), randomizer_for(task, physics, cell)
    if own != task:
        raise InputError(f"bundle {where} does {own!r}, not {task!r}: leave --task out")
    env = BatchEnv(
        found,
        min(config.rows, config.episodes),
        randomizer=randomizer,
        autoreset=AutoresetMode.DISABLED,
        executor=play.executor(runner, found.control_dt_s),
    )
    if look is not None:
        check_place(look, clips)
    changed = "".join(f" {name}={value:g}" for name, value in (figures or {}).items())
    labels = (Path(where).resolve().name, task + changed, physics)
    how: dict[str, Any] = {
        "seed": config.seed,
        "noise": runner.noise if config.noise is None else config.noise,
        "continued": play.continued,
    }
    judged = evaluate(
        env, runner, episodes=config.episodes, labels=labels, progress=progress("eval"), **how
    )
    if look is None:
        return judged, None
    failures = look_at_failures(
        env, runner, judged.success, look, clips=clips, progress=progress("failures"), **how
    )
    return judged, failures


def kept_moments(episodes: Episodes, every: int) -> tuple[Snapshot, np.ndarray]:
    """The demonstrations' states at every `every`-th step, and their phases (0 start, 1 end).

    Of few demonstrations more are kept, until there are KEPT; of many fewer, about MOST_KEPT.
    """
    steps = int(np.sum(episodes.lengths))
    every = max(min(every, max(1, steps // KEPT)), steps // MOST_KEPT)
    stacks, phases = [], []
    for number in range(len(episodes)):
        stack = episodes.snapshots(number)
        kept = np.arange(0, len(stack), every)
        stacks.append(stack[kept])
        phases.append(kept / len(stack))
    return Snapshot.concatenate(stacks), np.concatenate(phases)
