"""The command line: one verb for each arrow of the road, and `run` for all of them."""

import contextlib
import io
import json as jsonlib
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from regrasp.envs.certify import CertifyConfig
from regrasp.errors import InputError, unknown
from regrasp.rl.clone import CloneConfig
from regrasp.rl.demonstrate import DemonstrateConfig
from regrasp.rl.evaluate import PlayConfig
from regrasp.rl.generate import GenerateConfig
from regrasp.rl.improve import ImproveConfig
from regrasp.rl.retime import RetimeConfig
from regrasp.rl.runner import BundleError
from regrasp.road import JudgeConfig, Road
from regrasp.sim2real.fit import FitConfig
from regrasp.sim2real.identify.config import IdentifyConfig
from regrasp.sim2real.units import ReadConfig

Task = tyro.conf.Positional[str]
_Config = TypeVar("_Config")
Flat = Annotated[_Config, tyro.conf.arg(name="")]
"""A config whose settings have no prefix; those of configs within it have theirs."""
LINE_EVERY_S = 15.0
STDERR = Console(stderr=True, highlight=False)


def demos(
    task: Task,
    config: Flat[DemonstrateConfig] = DemonstrateConfig(),
    folder: Path | None = None,
    json: bool = False,
) -> None:
    """Collect demonstrations of a task from its scripted expert.

    Args:
        task: Name of the task, such as transfer_cube.
        config: How many, and of what.
        folder: Folder of the run; by default runs/TASK-SEED.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    with _road(task, config.seed, folder) as road:
        episodes = road.demos(config)
    _answer(json, episodes.meta["demonstrations"], str(episodes))


def retime(
    task: Task,
    config: Flat[RetimeConfig] = RetimeConfig(),
    folder: Path | None = None,
    json: bool = False,
) -> None:
    """Make faster copies of a run's demonstrations, each played out from its own start.

    Args:
        task: Name of the task, such as transfer_cube.
        config: How.
        folder: Folder of the run; by default runs/TASK-SEED.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    with _road(task, config.seed, folder) as road:
        before, episodes = road.shown(), road.retime(config)
    shown_s, faster_s = (float(np.median(e.lengths)) / e.fps for e in (before, episodes))
    found = {"episodes": len(episodes), "of": len(before)}
    found |= {"shown_median_time_s": shown_s, "median_time_s": faster_s}
    _answer(json, found, f"{episodes}; as shown, median {shown_s:.2f} s")


def generate(
    task: Task,
    config: Flat[GenerateConfig] = GenerateConfig(),
    folder: Path | None = None,
    json: bool = False,
) -> None:
    """Make many demonstrations of a run's few: carried over to other starts, kept where they succeed.

    Args:
        task: Name of the task, such as transfer_cube.
        config: How many.
        folder: Folder of the run; by default runs/TASK-SEED.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    with _road(task, config.seed, folder) as road:
        before, episodes = road.shown(), road.generate(config)
    found = episodes.meta["demonstrations"]
    rate = f"{found['rate']:.0%} of {found['attempts']} tries succeeded"
    _answer(json, {"of": len(before), **found}, f"{episodes}; from {len(before)}, {rate}")


def clone(
    task: Task,
    config: Flat[CloneConfig] = CloneConfig(),
    folder: Path | None = None,
    json: bool = False,
) -> None:
    """Clone the demonstrations of a run.

    Args:
        task: Name of the task, such as transfer_cube.
        config: How.
        folder: Folder of the run; by default runs/TASK-SEED.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    with _road(task, config.seed, folder) as road:
        road.clone(config)
    _tell_path(json, road.folder / "clone" / "params.npz")


def improve(
    task: Task,
    config: Flat[ImproveConfig] = ImproveConfig(),
    folder: Path | None = None,
    json: bool = False,
) -> None:
    """Improve a run's clone by trying identical states many times.

    Args:
        task: Name of the task, such as transfer_cube.
        config: How.
        folder: Folder of the run; by default runs/TASK-SEED.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    with _road(task, config.seed, folder) as road:
        road.improve(config)
    _tell_path(json, road.folder / "improve" / "params.npz")


def plot(
    runs: tyro.conf.Positional[list[Path]], out: Path = Path("curves.png"), json: bool = False
) -> None:
    """Draw learning curves: success against environment steps and wall time, and where groups started.

    Runs that differ in their seed alone are drawn as one, with their range.

    Args:
        runs: Folders of runs, finished or under way.
        out: The picture, .png or .svg.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    from regrasp.files import whole
    from regrasp.rl.curves import Run, draw_curves, together

    form = _form(out)
    groups = together(Run.read(folder) for folder in runs)
    with whole(out) as temporary:
        temporary.write_bytes(draw_curves(groups, form))
    _answer(json, {"picture": str(out), "curves": list(groups)}, str(out))


def export(task: Task, seed: int = 0, folder: Path | None = None, json: bool = False) -> None:
    """Write a run's policies as bundles: ONNX and metadata, to be run with numpy and onnxruntime.

    Args:
        task: Name of the task, such as transfer_cube.
        seed: Of the run.
        folder: Folder of the run; by default runs/TASK-SEED.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    with _road(task, seed, folder) as road:
        made = road.export()
    _answer(
        json,
        {name: str(path) for name, path in made.items()},
        "\n".join(f"{path}" for path in made.values()),
    )


def eval_(
    bundle: tyro.conf.Positional[str],
    task: str = "transfer_cube",
    episodes: int = 500,
    seed: int = 0,
    randomize: str = "nominal",
    rows: int = 250,
    noise: float | None = None,
    play: Flat[PlayConfig] = PlayConfig(),
    json: bool = False,
) -> None:
    """Judge a policy on episodes that nothing was trained on.

    Args:
        bundle: Folder of a bundle or of a run, or the name of a shipped bundle.
        task: Name of the task.
        episodes: How many.
        seed: Of the evaluation episodes.
        randomize: nominal, or table (the task's own).
        rows: Episodes at a time.
        noise: Scale of the noise that chunks are made from; 1 samples as it was trained to; None: as it says.
        play: How its chunks are played.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    from regrasp.road import judge_bundle

    with _bars() as progress:
        found = judge_bundle(
            bundle,
            task,
            randomize,
            JudgeConfig(episodes, rows, seed, noise),
            play,
            progress("eval"),
        )
    _answer(json, found.to_json(), str(found))


def randomization(task: Task, json: bool = False) -> None:
    """Print what differs between episodes of a task under randomised physics, and by how much.

    Args:
        task: Name of the task, such as transfer_cube.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    from regrasp.randomization import table_for

    table = table_for(task)
    _answer(json, {"task": task, "rows": table.to_json()}, str(table))


def logs(
    paths: tyro.conf.Positional[list[Path]],
    arm: str | None = None,
    read: Flat[ReadConfig] = ReadConfig(),
    picture: Path | None = None,
    out: Path | None = None,
    task: str = "",
    demos: Path | None = None,
    aloha: Path | None = None,
    json: bool = False,
) -> None:
    """Say what recordings hold, and what looks wrong with them. Exit code 1 if any is refused.

    Args:
        paths: Recordings: SAGE, LeRobot, ALOHA, ROS bags or MCAP, UMI, tables; or folders of them.
        arm: Name of the arm that was recorded; by default what the recordings say.
        read: What the recordings do not say themselves.
        picture: Draw them into this file, .png or .svg.
        out: Write the logs as tables in rad and openings into this folder, for `regrasp gap`.
        task: The task that logs of two arms are demonstrations of.
        demos: Write them as demonstrations into this folder, for `regrasp clone --data`.
        aloha: Write logs of two arms as an ALOHA's HDF5 files into this folder.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    from regrasp.files import whole
    from regrasp.sim2real.demonstrations import to_aloha, to_episodes, to_tables
    from regrasp.sim2real.survey import survey
    from regrasp.sim2real.survey_plot import draw_survey

    form = _form(picture)
    if demos and not task:
        raise InputError("demos without a task: give --task, the one that the recordings show")
    with _bars() as progress:
        found = survey(paths, arm, read, progress("logs"))
    kept = [one.log for one in found.found]
    written = {}
    if picture:
        with whole(picture) as temporary:
            temporary.write_bytes(draw_survey(found, form))
        written["picture"] = str(picture)
    if out:
        written["out"] = [str(path) for path in to_tables(kept, out)]
    if demos:
        written |= {"demos": str(demos), "lacks": to_episodes(kept, task, demos).meta["lacks"]}
    if aloha:
        written["aloha"] = [str(path) for path in to_aloha(kept, aloha)]
    told = "".join(f"\n{name}: {what}" for name, what in written.items())
    _answer(json, {**found.to_json(), "written": written}, f"{found}{told}")
    if found.refused:
        sys.exit(1)


@dataclass(frozen=True)
class Recordings:
    """Recordings of an arm, how they are read, and the figures that the simulated arm has."""

    logs: tyro.conf.Positional[list[Path]]
    """Recordings, or folders of them."""
    arm: str = "so101"
    """Name of the arm that was recorded."""
    params: str | None = None
    """Fitted parameters, by file or by name; the nominal ones if not given."""
    read: Flat[ReadConfig] = field(default_factory=ReadConfig)
    """What the recordings do not say themselves."""

    def model(self) -> Any:
        """The arm with these figures."""
        from regrasp.assets.arm import load_arm
        from regrasp.sim2real import with_params

        nominal = load_arm(self.arm)
        return nominal if self.params is None else with_params(nominal, self.params)


def gap(
    recorded: Flat[Recordings],
    brief: bool = False,
    out: Path | None = None,
    recording: str | None = None,
    video: bool = True,
    json: bool = False,
) -> None:
    """Measure how far a simulated arm is from recordings of a real one, where, and why.

    Args:
        recorded: Of what.
        brief: Only the table: no intervals, horizons, frequencies, regimes and causes.
        out: A folder for figures, drawings and a film, from which `regrasp report --folder` makes a page.
        recording: Name of the recording to film; by default the one that is furthest off.
        video: Film it; --no-video where nothing can be drawn.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    from regrasp.sim2real import measure_gap
    from regrasp.sim2real.kept import keep_gap

    logs, read = recorded.logs, recorded.read
    found = measure_gap(logs, recorded.arm, recorded.params, detail=not brief, read=read)
    if out is not None:
        with _bars() as progress:
            keep_gap(out, found, logs, read, recording, video, progress("film"))
    _answer(json, found.to_json(), str(found))


def film(
    recorded: Flat[Recordings],
    out: Path,
    recording: str | None = None,
    seconds: float = 10.0,
    json: bool = False,
) -> None:
    """Film a recording beside its replay in simulation, where the two are furthest apart.

    Args:
        recorded: Of what.
        out: The file to write, .mp4.
        recording: Name of the recording; by default the one that is furthest off.
        seconds: Longest stretch to show (s).
        json: Print one JSON document on stdout, everything else on stderr.
    """
    from dataclasses import asdict

    from regrasp.envs.render import check_rendering
    from regrasp.sim2real import read_logs, replay
    from regrasp.sim2real.film import film_replay, off_by, which

    if out.suffix != ".mp4":
        raise InputError(f"out {out}: choose a name that ends in .mp4")
    check_rendering()
    arm = recorded.model()
    logs = read_logs(recorded.logs, arm, recorded.read)
    which(logs, [0.0] * len(logs), recording)
    simulated = replay(logs, arm)
    shown = which(logs, [off_by(*one) for one in zip(logs, simulated, strict=True)], recording)
    with _bars() as progress:
        found = film_replay(logs[shown], simulated[shown], arm, out, seconds, progress("film"))
    said = f"{found.recording}, {found.seconds:.1f} s from {found.start_s:.1f} s on: {found.rmse_rad:.4f} rad"
    _answer(json, {"film": str(out), **asdict(found)}, f"{out}: {said}, {found.tip_mm:.1f} mm off")


def open_loop(
    bundle: tyro.conf.Positional[str],
    logs: tyro.conf.Positional[list[Path]],
    read: Flat[ReadConfig] = ReadConfig(),
    resample: bool = False,
    picture: Path | None = None,
    json: bool = False,
) -> None:
    """Run a policy on logged observations and hold its actions against the logged commands.

    Error by joint, part of the episode, regime and look-ahead; smoothness; limits; latency.

    Args:
        bundle: Folder of a bundle or of a run, or the name of a shipped bundle.
        logs: Logs of both arms, or folders of them; demonstrations too.
        read: What the recordings do not say themselves.
        resample: Take logs of another rate than the policy's: measurements interpolated, commands held.
        picture: Draw it into this file, .png or .svg.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    from regrasp.files import whole
    from regrasp.sim2real.plots_policy import draw_open_loop
    from regrasp.sim2real.policy_on_log import policy_on_logs

    form = _form(picture)
    with _bars() as progress:
        found, runs = policy_on_logs(bundle, logs, read, resample, progress("open-loop"))
    if picture:
        with whole(picture) as temporary:
            temporary.write_bytes(draw_open_loop(found, runs, form))
    _answer(json, found.to_json(), f"{found}\n{picture}" if picture else str(found))


def fit(
    recorded: Flat[Recordings],
    out: Path,
    config: Flat[FitConfig] = FitConfig(),
    json: bool = False,
) -> None:
    """Fit a randomisation to recordings: how an arm's servo figures are distributed.

    Keep some recordings back, and hold the fit against them with `regrasp coverage --table OUT`.

    Args:
        recorded: What it is fitted to; its factors are relative to the arm's parameters.
        out: The file to write, a table.
        config: How.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    from regrasp.assets.arm import load_arm
    from regrasp.sim2real import read_logs
    from regrasp.sim2real.fit import changed, fit_table

    nominal, model = load_arm(recorded.arm), recorded.model()
    logs = read_logs(recorded.logs, model, recorded.read)
    with _bars() as progress:
        found = fit_table(
            logs, model, config, servos=changed(nominal, model), progress=progress("fit")
        )
    found.write(out, nominal)
    _answer(json, {"table": str(out), **found.to_json()}, f"{found}\n{out}")


def coverage(
    recorded: Flat[Recordings],
    table: Path | None = None,
    members: int = 32,
    seed: int = 0,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Ask whether recordings could be draws of a randomisation: too narrow, too wide, biased or right.

    Args:
        recorded: Of what.
        table: A randomisation, such as `regrasp fit` writes; the default one of an arm if not given.
        members: Draws for each recording.
        seed: Of the draws.
        out: A folder for the figures and drawings, from which `regrasp report --folder` makes a page.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    from regrasp.sim2real.kept import keep_coverage
    from regrasp.sim2real.measure_coverage import measure_coverage

    found, drawn = measure_coverage(
        recorded.logs, recorded.arm, recorded.params, table, members, seed, recorded.read
    )
    if out is not None:
        keep_coverage(out, found, drawn)
    _answer(json, found.to_json(), str(found))


def identify(
    logs: tyro.conf.Positional[list[Path]],
    out: Path,
    arm: str = "so101",
    candidates: tuple[Path, ...] = (),
    read: Flat[ReadConfig] = ReadConfig(),
    config: Flat[IdentifyConfig] = IdentifyConfig(),
    json: bool = False,
) -> None:
    """Fit an arm's servos to recordings of it: a parameter file for `regrasp gap --params`.

    Started again, it goes on where it stopped. Keep some recordings back and judge the file by
    `regrasp gap` on those: the intervals that it prints are too narrow.

    Args:
        logs: Recordings, or folders of them.
        out: Parameter file to write.
        arm: Name of the arm that was recorded.
        candidates: Recordings whose motions could be recorded next: ranked by what they would add.
        read: What the recordings do not say themselves.
        config: How.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    from regrasp.sim2real.identify import identify

    with _bars() as progress:
        found = identify(logs, arm, out, config, candidates, progress("identify"), read)
    _answer(json, {**found.to_json(), "out": str(out)}, f"{found}\n{out}")


def certify(
    config: Flat[CertifyConfig] = CertifyConfig(), markdown: bool = False, json: bool = False
) -> None:
    """Try whether kept states have the same future, bit for bit, on every engine.

    Exit code 1 if an engine that promises it fails anywhere.

    Args:
        config: What to certify, and on how much.
        markdown: Print Markdown tables.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    from functools import partial

    from regrasp.envs.certify import certify
    from regrasp.gym import make

    # Another process plays on the same accelerator: neither may take all of its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # Engines print as they please; the progress bars end first.
    with contextlib.redirect_stdout(sys.stderr), _bars() as progress:
        found = certify(config, partial(make, randomize="table"), progress("certify"))
    _answer(json, found.to_json(), found.markdown() if markdown else str(found))
    if not found.passed:
        sys.exit(1)


def report(
    task: Task = "transfer_cube", seed: int = 0, folder: Path | None = None, json: bool = False
) -> None:
    """Write a run's report: one HTML file that needs nothing else.

    Args:
        task: Name of the task, such as transfer_cube.
        seed: Of the run.
        folder: Folder of the run; by default runs/TASK-SEED.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    with _road(task, seed, folder) as road:
        path = road.report()
    _answer(json, {"report": str(path)}, str(path))


@dataclass(frozen=True)
class Stages:
    """Settings of every stage of a run; but for judging, their seeds are the run's. Faster copies of the
    demonstrations are made with `--clone.source retimed`, more of them with `--clone.source generated`."""

    demos: DemonstrateConfig = field(default_factory=DemonstrateConfig)
    retime: RetimeConfig = field(default_factory=RetimeConfig)
    generate: GenerateConfig = field(default_factory=GenerateConfig)
    clone: CloneConfig = field(default_factory=CloneConfig)
    improve: ImproveConfig = field(default_factory=ImproveConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)


def run(
    task: Task,
    stages: Annotated[Stages, tyro.conf.arg(name="")] = Stages(),
    seed: int = 0,
    folder: Path | None = None,
    video: bool = True,
    json: bool = False,
) -> None:
    """Walk the whole road: demonstrate, clone, improve, export, judge, film, compare, report.

    Started again, a run goes on where it stopped.

    Args:
        task: Name of the task, such as transfer_cube.
        stages: Settings of the stages.
        seed: Of everything random.
        folder: Folder of the run; by default runs/TASK-SEED.
        video: Film the policies; --no-video where nothing can be drawn.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    command = f"regrasp run {task} --seed {seed}"
    with _road(task, seed, folder) as road:
        found, path = road.walk(
            demos=replace(stages.demos, seed=seed),
            retime=replace(stages.retime, seed=seed),
            generate=replace(stages.generate, seed=seed),
            clone=replace(stages.clone, seed=seed),
            improve=replace(stages.improve, seed=seed),
            judge=stages.judge,
            video=video,
            command=command,
            say=lambda text: STDERR.print(text, soft_wrap=True),
        )
    text = "\n".join(str(one) for one in found) + f"\nreport: {path.resolve()}"
    _answer(json, {"evaluations": [one.to_json() for one in found], "report": str(path)}, text)


VERBS: dict[str, Callable[..., None]] = {
    "run": run,
    "demos": demos,
    "retime": retime,
    "generate": generate,
    "clone": clone,
    "improve": improve,
    "plot": plot,
    "export": export,
    "eval": eval_,
    "logs": logs,
    "gap": gap,
    "film": film,
    "coverage": coverage,
    "open-loop": open_loop,
    "fit": fit,
    "identify": identify,
    "certify": certify,
    "randomization": randomization,
    "report": report,
}


_interrupted = threading.Event()


def _interrupt(*_: Any) -> None:
    _interrupted.set()
    raise KeyboardInterrupt


def _heed_interrupt() -> None:
    """Ctrl-C that hit code which swallows exceptions is heard at the next sign of progress."""
    if _interrupted.is_set():
        raise KeyboardInterrupt


def _unraisable(unheard: Any) -> None:
    """Ctrl-C within a finaliser or a callback of the collector cannot be raised: it is heard later."""
    if not issubclass(unheard.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unheard)


def main(args: list[str] | None = None) -> None:
    """Run one verb. Exit codes: 0 done, 1 a check failed, 2 bad input, 130 interrupted."""
    args = sys.argv[1:] if args is None else args
    _interrupted.clear()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupt)
        sys.unraisablehook = _unraisable
    try:
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            raise unknown("verb", args[0], VERBS)
        _parsed(args)
    except (InputError, BundleError) as error:
        print(f"regrasp: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno is None or (error.filename is None and error.errno != 28):
            raise
        print(
            f"regrasp: {error.strerror}: {error.filename or 'the disk'}: free it or choose another folder",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        print("regrasp: interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def _parsed(args: list[str]) -> None:
    """Parse and run. What the parser says of bad input becomes one line."""
    said = io.StringIO()
    ready: list[Callable[[], None]] = []
    verbs = {name: _later(verb, ready) for name, verb in VERBS.items()}
    try:
        with contextlib.redirect_stderr(said):
            tyro.extras.subcommand_cli_from_dict(
                verbs,
                prog="regrasp",
                description="The same grasp, again: two-armed robot learning.",
                args=args or ["--help"],
            )
    except SystemExit as stop:
        if stop.code:
            words = re.sub(r"[\u2500-\u257f]+|For full helptext.*", " ", said.getvalue())
            words = re.sub(r"Error parsing \S+:|Value error|regrasp \w+ --help", " ", words)
            words = words.replace("Argument helptext:", "for")
            raise InputError(
                f"{' '.join(words.split())} (see regrasp {args[0] if args else ''} --help)"
            ) from None
        raise
    ready[0]()


def _later(verb: Callable[..., None], ready: list[Callable[[], None]]) -> Callable[..., None]:
    """The verb, to be called after parsing."""
    import functools

    @functools.wraps(verb)
    def keep(*args: Any, **kwargs: Any) -> None:
        ready.append(lambda: verb(*args, **kwargs))

    return keep


@contextlib.contextmanager
def _bars() -> Any:
    """Progress on stderr, as bars or, in a log file, as lines: call with a title, get a callback."""
    if not STDERR.is_terminal:
        yield _lines
        return
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    bars = Progress(*columns, console=STDERR)

    def start(title: str) -> Callable[[int, int, str], None]:
        shown: list[Any] = []

        def progress(done: int, total: int, note: str) -> None:
            _heed_interrupt()
            if not shown:
                bars.start()
                shown.append(bars.add_task(title, total=total, note=note))
            bars.update(shown[0], completed=done, total=total, note=note)

        return progress

    try:
        yield start
    except InputError:
        # A refusal is one line alone.
        bars.live.transient = True
        bars.live.stop()
        raise
    finally:
        if bars.live.is_started:
            bars.stop()


def _lines(title: str) -> Callable[[int, int, str], None]:
    """A line now and then, with the time that is left at the pace so far."""
    started = last = time.monotonic()

    def progress(done: int, total: int, note: str) -> None:
        nonlocal last
        _heed_interrupt()
        now = time.monotonic()
        if done < total and now - last < LINE_EVERY_S:
            return
        last = now
        left = (now - started) / max(done, 1) * (total - done)
        STDERR.print(
            f"{title:<22} {done:>6}/{total:<6} left {left:>5.0f} s  {note}", soft_wrap=True
        )

    return progress


@contextlib.contextmanager
def _road(task: str, seed: int, folder: Path | None) -> Any:
    """The run of these, with progress shown."""
    with _bars() as progress:
        yield Road(task, seed, folder or Path("runs") / f"{task}-{seed}", progress)


def _answer(json: bool, document: Any, text: str) -> None:
    print(jsonlib.dumps(document, allow_nan=False) if json else text)


def _form(picture: Path | None) -> Any:
    """The format that a picture's name asks for."""
    form = picture.suffix.removeprefix(".") if picture else "png"
    if form not in ("png", "svg"):
        raise InputError(f"picture {picture}: choose a name that ends in .png or .svg")
    return form


def _tell_path(json: bool, path: Path) -> None:
    _answer(json, {"params": str(path)}, str(path))
