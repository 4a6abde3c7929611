"""The command line: one verb for each arrow of the road, and `run` for all of them."""

import contextlib
import io
import os
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from regrasp.assets import ALOHA
from regrasp.cli_looking import video, view
from regrasp.cli_recordings import coverage, film, fit, gap, identify, logs, open_loop
from regrasp.envs.certify import CertifyConfig
from regrasp.errors import InputError, unknown
from regrasp.rl.clone import CloneConfig
from regrasp.rl.demonstrate import DemonstrateConfig
from regrasp.rl.evaluate import PlayConfig
from regrasp.rl.generate import GenerateConfig
from regrasp.rl.improve_config import ImproveConfig
from regrasp.rl.retime import RetimeConfig
from regrasp.rl.runner import BundleError
from regrasp.road import ExportConfig, JudgeConfig, Road
from regrasp.terminal import STDERR, Flat, answer, bars, hear_interrupts, picture_form

Task = tyro.conf.Positional[str]


def demos(
    task: Task,
    config: Flat[DemonstrateConfig] = DemonstrateConfig(),
    workcell: str = ALOHA,
    folder: Path | None = None,
    json: bool = False,
) -> None:
    """Collect demonstrations of a task from its scripted expert.

    Args:
        task: Name of the task, such as transfer_cube.
        config: How many, and of what.
        workcell: Whose arms do it: aloha, so101, or the file of a table.
        folder: Folder of the run; by default runs/TASK-SEED, or runs/TASK-WORKCELL-SEED.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    with _road(task, config.seed, workcell, folder) as road:
        episodes = road.demos(config)
    found = episodes.meta["demonstrations"]
    # Those that a person recorded have no attempts.
    rate = f"; {_rate(found)}" if "attempts" in found else ""
    answer(json, found, f"{episodes}{rate}")


def retime(
    task: Task,
    config: Flat[RetimeConfig] = RetimeConfig(),
    workcell: str = ALOHA,
    folder: Path | None = None,
    json: bool = False,
) -> None:
    """Make faster copies of a run's demonstrations, each played out from its own start.

    Args:
        task: Name of the task, such as transfer_cube.
        config: How.
        workcell: Whose arms do it: aloha, so101, or the file of a table.
        folder: Folder of the run; by default runs/TASK-SEED, or runs/TASK-WORKCELL-SEED.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    with _road(task, config.seed, workcell, folder) as road:
        before, episodes = road.shown(), road.retime(config)
    shown_s, faster_s = (float(np.median(e.lengths)) / e.fps for e in (before, episodes))
    found = {"episodes": len(episodes), "of": len(before)}
    found |= {"shown_median_time_s": shown_s, "median_time_s": faster_s}
    answer(json, found, f"{episodes}; as shown, median {shown_s:.2f} s")


def generate(
    task: Task,
    config: Flat[GenerateConfig] = GenerateConfig(),
    workcell: str = ALOHA,
    folder: Path | None = None,
    json: bool = False,
) -> None:
    """Make many demonstrations of a run's few: carried over to other starts, kept where they succeed.

    Args:
        task: Name of the task, such as transfer_cube.
        config: How many.
        workcell: Whose arms do it: aloha, so101, or the file of a table.
        folder: Folder of the run; by default runs/TASK-SEED, or runs/TASK-WORKCELL-SEED.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    with _road(task, config.seed, workcell, folder) as road:
        before, episodes = road.shown(), road.generate(config)
    found = episodes.meta["demonstrations"]
    answer(json, {"of": len(before), **found}, f"{episodes}; from {len(before)}, {_rate(found)}")


def clone(
    task: Task,
    config: Flat[CloneConfig] = CloneConfig(),
    workcell: str = ALOHA,
    folder: Path | None = None,
    json: bool = False,
) -> None:
    """Clone the demonstrations of a run.

    Args:
        task: Name of the task, such as transfer_cube.
        config: How.
        workcell: Whose arms do it: aloha, so101, or the file of a table.
        folder: Folder of the run; by default runs/TASK-SEED, or runs/TASK-WORKCELL-SEED.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    with _road(task, config.seed, workcell, folder) as road:
        road.clone(config)
    _tell_path(json, road.folder / "clone" / "params.npz")


def improve(
    task: Task,
    config: Flat[ImproveConfig] = ImproveConfig(),
    start: Path | None = None,
    workcell: str = ALOHA,
    folder: Path | None = None,
    json: bool = False,
) -> None:
    """Improve a run's clone by trying identical states many times.

    Args:
        task: Name of the task, such as transfer_cube.
        config: How.
        start: Folder of another run, whose improved policy is improved further in this one, as if it had
            been cloned: perhaps at another pace.
        workcell: Whose arms do it: aloha, so101, or the file of a table.
        folder: Folder of the run; by default runs/TASK-SEED, or runs/TASK-WORKCELL-SEED.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    with _road(task, config.seed, workcell, folder) as road:
        road.improve(config, start)
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

    form = picture_form(out)
    groups = together(Run.read(folder) for folder in runs)
    with whole(out) as temporary:
        temporary.write_bytes(draw_curves(groups, form))
    answer(json, {"picture": str(out), "curves": list(groups)}, str(out))


def export(
    task: Task,
    seed: int = 0,
    config: Flat[ExportConfig] = ExportConfig(),
    workcell: str = ALOHA,
    folder: Path | None = None,
    json: bool = False,
) -> None:
    """Write a run's policies as bundles: ONNX and metadata, to be run with numpy and onnxruntime.

    Args:
        task: Name of the task, such as transfer_cube.
        seed: Of the run.
        config: How.
        workcell: Whose arms do it: aloha, so101, or the file of a table.
        folder: Folder of the run; by default runs/TASK-SEED, or runs/TASK-WORKCELL-SEED.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    with _road(task, seed, workcell, folder) as road:
        made = road.export(config)
    answer(
        json,
        {name: str(path) for name, path in made.items()},
        "\n".join(f"{path}" for path in made.values()),
    )


def eval_(
    bundle: tyro.conf.Positional[str],
    task: str | None = None,
    workcell: str | None = None,
    episodes: int = 500,
    seed: int = 0,
    randomize: str = "nominal",
    rows: int = 250,
    noise: float | None = None,
    play: Flat[PlayConfig] = PlayConfig(),
    failures: Path | None = None,
    clips: int = 2,
    figures: tuple[str, ...] = (),
    json: bool = False,
) -> None:
    """Judge a policy on episodes that nothing was trained on.

    Args:
        bundle: Folder of a bundle or of a run, or the name of a shipped bundle.
        task: Name of the task; None: the one that the bundle was made for.
        workcell: Name of the workcell or file of its table; None: the one that the bundle was made for.
        episodes: How many.
        seed: Of the evaluation episodes.
        randomize: nominal, or table (the task's own).
        rows: Episodes at a time.
        noise: Scale of the noise that chunks are made from; 1 samples as it was trained to; None: as it says.
        play: How its chunks are played.
        failures: A folder for clips and pictures of its failures, sorted by how far they got.
        clips: Of each kind of failure, where there is a folder for them.
        figures: Of the task, where they are not the default ones, such as clearance_m=0.002.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    from regrasp.road import judge_bundle

    config, changed = JudgeConfig(episodes, rows, seed, noise), _figures(figures)
    with bars() as progress:
        judged, failed = judge_bundle(
            bundle, task, randomize, config, play, failures, clips, progress, workcell, changed
        )
    if failed is None:
        answer(json, judged.to_json(), str(judged))
    else:
        answer(json, {**judged.to_json(), **failed.to_json()}, f"{judged}\n{failed}\n{failures}")


def randomization(task: Task, workcell: str = ALOHA, json: bool = False) -> None:
    """Print what differs between episodes of a task under randomised physics, and by how much.

    Args:
        task: Name of the task, such as transfer_cube.
        workcell: Whose arms do it: aloha, so101, or the file of a table.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    from regrasp.randomization import table_for

    table = table_for(task, workcell)
    answer(json, {"task": task, "rows": table.to_json()}, str(table))


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
    with contextlib.redirect_stdout(sys.stderr), bars() as progress:
        found = certify(config, partial(make, randomize="table"), progress("certify"))
    answer(json, found.to_json(), found.markdown() if markdown else str(found))
    if not found.passed:
        sys.exit(1)


def report(
    task: Task = "transfer_cube",
    seed: int = 0,
    workcell: str = ALOHA,
    folder: Path | None = None,
    json: bool = False,
) -> None:
    """Write a run's report: one HTML file that needs nothing else.

    Args:
        task: Name of the task, such as transfer_cube.
        seed: Of the run.
        workcell: Whose arms do it: aloha, so101, or the file of a table.
        folder: Folder of the run; by default runs/TASK-SEED, or runs/TASK-WORKCELL-SEED.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    with _road(task, seed, workcell, folder) as road:
        path = road.report()
    answer(json, {"report": str(path)}, str(path))


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
    workcell: str = ALOHA,
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
        workcell: Whose arms do it: aloha, so101, or the file of a table.
        folder: Folder of the run; by default runs/TASK-SEED, or runs/TASK-WORKCELL-SEED.
        video: Film the policies; --no-video where nothing can be drawn.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    with _road(task, seed, workcell, folder) as road:
        found, path = road.walk(
            demos=replace(stages.demos, seed=seed),
            retime=replace(stages.retime, seed=seed),
            generate=replace(stages.generate, seed=seed),
            clone=replace(stages.clone, seed=seed),
            improve=replace(stages.improve, seed=seed),
            judge=stages.judge,
            video=video,
            command=shlex.join(["regrasp", *_ASKED]),
            say=lambda text: STDERR.print(text, soft_wrap=True),
        )
    text = "\n".join(str(one) for one in found) + f"\nreport: {path.resolve()}"
    answer(json, {"evaluations": [one.to_json() for one in found], "report": str(path)}, text)


_ASKED: list[str] = []
"""What the command line said, for the record of a run."""
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
    "view": view,
    "video": video,
}


def main(args: list[str] | None = None) -> None:
    """Run one verb. Exit codes: 0 done, 1 a check failed, 2 bad input, 130 interrupted."""
    args = sys.argv[1:] if args is None else args
    _ASKED[:] = args
    hear_interrupts()
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
            raise InputError(
                f"{_plain(said.getvalue())} (see regrasp {args[0] if args else ''} --help)"
            ) from None
        raise
    ready[0]()


NUMBERS = {
    "INT": "a whole number",
    "FLOAT": "a number",
    "{None}|INT": "None or a whole number",
    "{None}|FLOAT": "None or a number",
}
"""What the parser calls them -> what to choose."""
NO_NUMBER = re.compile(
    r"(?:invalid literal for int\(\) with base 10: |could not convert string to float: |"
    r"no type matching \S+ could be instantiated from \[)('[^']*')(?:\]\. Got errors: .*?)? "
    r"Argument helptext: (\S+) (\S+)"
)


def _plain(said: str) -> str:
    """What the parser says of bad input, in one line: the value, the option and the choice first."""

    def choice(found: re.Match[str]) -> str:
        value, option, kind = found.groups()
        return f"{value} for {option}: choose {NUMBERS.get(kind, kind)}."

    drawn = r"-{3,}|[\u2500-\u257f]+|For full helptext.*|(\bin )?regrasp [\w-]+ --help"
    words = re.sub(rf"{drawn}|Error parsing \S+:|Value error", " ", said)
    words = NO_NUMBER.sub(choice, " ".join(words.split()))
    words = (
        words.replace("Argument helptext:", "for")
        .replace(" Perhaps", "; perhaps")
        .removesuffix(" in")
    )
    # A title says nothing that the message does not.
    return re.sub(r"^(Unrecognized options|Missing argument|Required options) ", "", words)


def _later(verb: Callable[..., None], ready: list[Callable[[], None]]) -> Callable[..., None]:
    """The verb, to be called after parsing."""
    import functools

    @functools.wraps(verb)
    def keep(*args: Any, **kwargs: Any) -> None:
        ready.append(lambda: verb(*args, **kwargs))

    return keep


@contextlib.contextmanager
def _road(task: str, seed: int, workcell: str, folder: Path | None) -> Any:
    """The run of these, with progress shown."""
    own = task if workcell == ALOHA else f"{task}-{Path(workcell).stem}"
    with bars() as progress:
        yield Road(task, seed, folder or Path("runs") / f"{own}-{seed}", progress, workcell)


def _figures(said: tuple[str, ...]) -> dict[str, float]:
    """What `clearance_m=0.002` and the like say."""
    found = {}
    for text in said:
        name, _, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise InputError(
                f"figures {text!r}: choose NAME=NUMBER, such as clearance_m=0.002"
            ) from None
    return found


def _rate(found: dict[str, Any]) -> str:
    """How many of the attempts at demonstrations succeeded."""
    from regrasp.rl.stats import Rate

    return f"attempts that succeed: {Rate(*(found[name] for name in Rate._fields))}"


def _tell_path(json: bool, path: Path) -> None:
    answer(json, {"params": str(path)}, str(path))
