"""What the verbs `gap` and `coverage` leave in a folder, for the report."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from regrasp.assets.arm import load_arm
from regrasp.files import whole, write_json
from regrasp.sim2real import plots
from regrasp.sim2real.gap import Gap
from regrasp.sim2real.log import Log
from regrasp.sim2real.measure_coverage import Coverage, Example
from regrasp.sim2real.params import with_params
from regrasp.sim2real.readers import read_logs
from regrasp.sim2real.replay import replay


def keep_gap(folder: Path, gap: Gap, paths: Iterable[str | Path]) -> None:
    """Write gap.json, gap_bars.svg and gap_replay.svg, each whole or not at all.

    Args:
        folder: where; made if it is not there.
        gap: what was measured.
        paths: the recordings, one of which is drawn.
    """
    nominal = load_arm(gap.arm)
    arm = nominal if gap.params == "nominal" else with_params(nominal, gap.params)
    log = _typical(read_logs(paths, arm))
    _write(folder / "gap_bars.svg", plots.draw_gap(gap))
    _write(folder / "gap_replay.svg", plots.draw_replay(log, replay([log], arm)[0]))
    write_json(folder / "gap.json", gap.to_json())


def keep_coverage(folder: Path, coverage: Coverage, example: Example) -> None:
    """Write coverage.json and coverage_replay.svg, each whole or not at all."""
    drawing = plots.draw_replay(example.log, example.nominal, members=example.members)
    _write(folder / "coverage_replay.svg", drawing)
    write_json(folder / "coverage.json", coverage.to_json())


def _typical(logs: list[Log]) -> Log:
    """One in which every joint moves, at the pace of most."""
    lively = [log for log in logs if (np.ptp(log.cmd, axis=0) > 0.1).all()] or logs
    pace = [np.abs(np.diff(log.cmd[:, :-1], axis=0)).sum() / log.duration_s for log in lively]
    return lively[int(np.argsort(pace)[len(pace) // 2])]


def _write(path: Path, drawing: bytes) -> None:
    with whole(path) as temporary:
        temporary.write_bytes(drawing)
