"""The verbs about recordings: what they hold, how far off simulation and policies are, and what fits them."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from regrasp.errors import InputError
from regrasp.sim2real.fit import FitConfig
from regrasp.sim2real.identify.config import IdentifyConfig
from regrasp.sim2real.measure_coverage import CoverageConfig
from regrasp.sim2real.units import ReadConfig
from regrasp.terminal import Flat, answer, bars, picture_form


def logs(
    paths: tyro.conf.Positional[list[Path]],
    arm: str | None = None,
    read: Flat[ReadConfig] = ReadConfig(),
    picture: Path | None = None,
    out: Path | None = None,
    task: str = "",
    workcell: str = "aloha",
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
        workcell: The workcell that they were recorded in.
        demos: Write them as demonstrations into this folder, for `regrasp clone --data`.
        aloha: Write logs of two arms as an ALOHA's HDF5 files into this folder.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    from regrasp.files import whole
    from regrasp.sim2real.demonstrations import to_aloha, to_episodes, to_tables
    from regrasp.sim2real.survey import survey
    from regrasp.sim2real.survey_plot import draw_survey

    form = picture_form(picture)
    if demos and not task:
        raise InputError("demos without a task: give --task, the one that the recordings show")
    with bars() as progress:
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
        written |= {
            "demos": str(demos),
            "lacks": to_episodes(kept, task, demos, workcell).meta["lacks"],
        }
    if aloha:
        written["aloha"] = [str(path) for path in to_aloha(kept, aloha)]
    told = "".join(f"\n{name}: {what}" for name, what in written.items())
    answer(json, {**found.to_json(), "written": written}, f"{found}{told}")
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
        with bars() as progress:
            keep_gap(out, found, logs, read, recording, video, progress("film"))
    answer(json, found.to_json(), str(found))


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
    with bars() as progress:
        found = film_replay(logs[shown], simulated[shown], arm, out, seconds, progress("film"))
    said = f"{found.recording}, {found.seconds:.1f} s from {found.start_s:.1f} s on: {found.rmse_rad:.4f} rad"
    answer(json, {"film": str(out), **asdict(found)}, f"{out}: {said}, {found.tip_mm:.1f} mm off")


def open_loop(
    bundle: tyro.conf.Positional[str],
    logs: tyro.conf.Positional[list[Path]],
    read: Flat[ReadConfig] = ReadConfig(),
    resample: bool = False,
    picture: Path | None = None,
    out: Path | None = None,
    workcell: str | None = None,
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
        out: A folder for the figures and the drawing, from which `regrasp report --folder` makes a page.
        workcell: File of the table of the arms that the bundle commands, where it does not ship.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    from regrasp.files import whole
    from regrasp.sim2real.kept import keep_open_loop
    from regrasp.sim2real.plots_policy import draw_open_loop
    from regrasp.sim2real.policy_on_log import policy_on_logs

    form = picture_form(picture)
    with bars() as progress:
        told = progress("open-loop")
        found, runs = policy_on_logs(bundle, logs, read, resample, told, workcell)
    if picture:
        with whole(picture) as temporary:
            temporary.write_bytes(draw_open_loop(found, runs, form))
    if out is not None:
        keep_open_loop(out, found, runs)
    answer(json, found.to_json(), f"{found}\n{picture}" if picture else str(found))


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
    servos = changed(nominal, model)
    logs = read_logs(recorded.logs, model, recorded.read)
    with bars() as progress:
        found = fit_table(logs, model, config, servos=servos, progress=progress("fit"))
    found.write(out, nominal)
    answer(json, {"table": str(out), **found.to_json()}, f"{found}\n{out}")


def coverage(
    recorded: Flat[Recordings],
    table: Path | None = None,
    config: Flat[CoverageConfig] = CoverageConfig(),
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Ask whether recordings could be draws of a randomisation: too narrow, too wide, biased or right.

    Args:
        recorded: Of what.
        table: A randomisation, such as `regrasp fit` writes; the default one of an arm if not given.
        config: How.
        out: A folder for the figures and drawings, from which `regrasp report --folder` makes a page.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    from regrasp.sim2real.kept import keep_coverage
    from regrasp.sim2real.measure_coverage import measure_coverage

    found, drawn = measure_coverage(
        recorded.logs, recorded.arm, recorded.params, table, config, recorded.read
    )
    if out is not None:
        keep_coverage(out, found, drawn)
    answer(json, found.to_json(), str(found))


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
    `regrasp gap` on those: its intervals are right for what figures explain, and a real arm does more.

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

    with bars() as progress:
        found = identify(logs, arm, out, config, candidates, progress("identify"), read)
    answer(json, {**found.to_json(), "out": str(out)}, f"{found}\n{out}")
