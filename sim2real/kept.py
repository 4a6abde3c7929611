"""What `gap`, `coverage` and `open-loop` leave in a folder for the report: figures, drawings, a film."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from regrasp.assets.arm import Arm, load_arm
from regrasp.envs.render import check_rendering
from regrasp.errors import InputError
from regrasp.files import whole, write_json
from regrasp.progress import Progress
from regrasp.sim2real import plots
from regrasp.sim2real.film import film_replay, which
from regrasp.sim2real.gap import Gap
from regrasp.sim2real.log import Log
from regrasp.sim2real.measure_coverage import Coverage, Example
from regrasp.sim2real.open_loop import OpenLoop, Run
from regrasp.sim2real.params import with_params
from regrasp.sim2real.plots_policy import draw_open_loop
from regrasp.sim2real.readers import read_logs
from regrasp.sim2real.replay import replay
from regrasp.sim2real.units import ReadConfig

FILM, FILMED = "gap_film.mp4", "gap_film.json"
"""The film, and what it shows or why there is none."""


def keep_gap(
    folder: Path,
    gap: Gap,
    paths: Iterable[str | Path],
    read: ReadConfig = ReadConfig(),  # noqa: B008
    recording: str | None = None,
    video: bool = True,
    progress: Progress = lambda done, total, note: None,
) -> None:
    """Write gap.json, gap_bars.svg, gap_replay.svg and the film, each whole or not at all.

    Where nothing can be drawn by the engine there is no film, and gap_film.json says why.

    Args:
        folder: where; made if it is not there.
        gap: what was measured.
        paths: the recordings: of a typical one curves are drawn, of the worst a film.
        read: what the recordings do not say themselves.
        recording: name of the one to film; None: the one whose replay is furthest off.
        video: whether to film.
        progress: called while it is filmed.

    Raises:
        InputError: no recording of that name.
    """
    nominal = load_arm(gap.arm)
    arm = nominal if gap.params == "nominal" else with_params(nominal, gap.params)
    logs = read_logs(paths, arm, read)
    log = _typical(logs)
    for old in (FILM, FILMED):
        (folder / old).unlink(missing_ok=True)
    _write(folder / "gap_bars.svg", plots.draw_gap(gap))
    _write(folder / "gap_replay.svg", plots.draw_replay(log, replay([log], arm)[0]))
    write_json(folder / "gap.json", gap.to_json())
    # Last: what was measured is on disk if nothing comes of the film.
    write_json(folder / FILMED, _filmed(folder, gap, logs, arm, recording, video, progress))


def _filmed(
    folder: Path,
    gap: Gap,
    logs: list[Log],
    arm: Arm,
    recording: str | None,
    video: bool,
    progress: Progress,
) -> dict[str, object]:
    """Film one of the recordings; what the film shows, or why there is none."""
    if not video:
        return {"skipped": "it was not asked for"}
    off = [r.rmse_rad for r in gap.recordings]
    log = logs[which(logs, off, recording)]
    try:
        check_rendering()
    except InputError as error:
        return {"skipped": str(error)}
    film = film_replay(log, replay([log], arm)[0], arm, folder / FILM, progress=progress)
    return asdict(film)


def keep_coverage(folder: Path, coverage: Coverage, example: Example) -> None:
    """Write coverage.json and coverage_replay.svg, each whole or not at all."""
    drawing = plots.draw_replay(example.log, example.nominal, members=example.members)
    _write(folder / "coverage_replay.svg", drawing)
    write_json(folder / "coverage.json", coverage.to_json())


def keep_open_loop(folder: Path, found: OpenLoop, runs: Sequence[Run]) -> None:
    """Write open_loop.json and open_loop.svg, each whole or not at all."""
    _write(folder / "open_loop.svg", draw_open_loop(found, runs))
    write_json(folder / "open_loop.json", found.to_json())


def _typical(logs: list[Log]) -> Log:
    """One in which every joint moves, at the pace of most."""
    lively = [log for log in logs if (np.ptp(log.cmd, axis=0) > 0.1).all()] or logs
    pace = [np.abs(np.diff(log.cmd[:, :-1], axis=0)).sum() / log.duration_s for log in lively]
    return lively[int(np.argsort(pace)[len(pace) // 2])]


def _write(path: Path, drawing: bytes) -> None:
    with whole(path) as temporary:
        temporary.write_bytes(drawing)
