"""Drawings of a replay and of a gap, as SVG or PNG bytes for the report."""

import io
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from regrasp.sim2real.gap import Gap
from regrasp.sim2real.log import Log
from regrasp.sim2real.scores import band

Format = Literal["svg", "png"]

# Okabe and Ito's colours, told apart by colour-blind readers; line styles differ as well.
COMMAND, REAL, SIMULATED, BAND = "#777777", "#0072B2", "#D55E00", "#F2B990"
INK, GRID = "#333333", "#dddddd"


def draw_replay(
    log: Log,
    simulated: np.ndarray,
    seconds: float = 6.0,
    form: Format = "svg",
    members: np.ndarray | None = None,
) -> bytes:
    """The liveliest seconds of a recording: commands, the real arm and the simulated one.

    Args:
        log: the recording.
        simulated: its replay (samples, joints), as `replay` returns it.
        seconds: how much to show (s).
        form: "svg" or "png".
        members: an ensemble (members, samples, joints), drawn as the band that holds 90 % of it.
    """
    rows = lively(log, seconds)
    ends = None if members is None else band(members[:, rows])
    t = log.t[rows] - log.t[0]
    name_of_model = "simulation" if ends is None else "nominal simulation"
    figure, panels = _figure(8.0, 4.6, 2, -(-len(log.joints) // 2))
    for i, (panel, name) in enumerate(zip(panels, log.joints, strict=False)):
        gripper = i == len(log.joints) - 1
        if ends is not None:
            # With an edge: a band may be as narrow as a line.
            low, high = ends[0][:, i], ends[1][:, i]
            panel.fill_between(t, low, high, color=BAND, lw=0.8, label="randomised, central 90 %")
        panel.step(t, log.cmd[rows, i], where="post", color=COMMAND, lw=1, ls="--", label="command")
        panel.plot(t, log.q[rows, i], color=REAL, lw=1.6, label="real arm")
        panel.plot(t, simulated[rows, i], color=SIMULATED, lw=1.2, ls="-.", label=name_of_model)
        panel.set_title(plain(name), fontsize=9, color=INK, loc="left")
        panel.set_ylabel("opening (0..1)" if gripper else "rad", fontsize=8, color=INK)
        panel.set_xlim(t[0], t[-1])
        _widen(panel, 0.05)
    for panel in panels[len(log.joints) :]:
        panel.set_visible(False)
    for panel in panels[-(-len(log.joints) // 2) :]:
        panel.set_xlabel("time in the recording (s)", fontsize=8, color=INK)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return rendered(figure, form)


def draw_gap(gap: Gap, form: Format = "svg") -> bytes:
    """RMSE of the replay per joint, beside the real arm's own repeatability.

    Args:
        gap: the gap; its gripper gets an axis of its own, in units of its opening.
        form: "svg" or "png".
    """
    names = list(gap.joints)
    real = [gap.joints[name].rmse_rad for name in names]
    floor = gap.floor.single_rmse
    figure = Figure(figsize=(8.0, 3.0), layout="constrained")
    arm, gripper = figure.subplots(1, 2, width_ratios=(len(names) - 1, 1))
    for panel, part in ((arm, slice(0, -1)), (gripper, slice(-1, None))):
        dress(panel)
        places = np.arange(len(names[part]))
        beside = 0.2 if gap.floor.pairs else 0.0
        _bars(panel, places - beside, real[part], SIMULATED, "simulation against real arm")
        if gap.floor.pairs:
            _bars(panel, places + beside, floor[part], REAL, "real arm's own noise")
        panel.set_xticks(places, [plain(name) for name in names[part]], fontsize=8)
        panel.tick_params(axis="x", length=0)
        panel.grid(False, axis="x")
        panel.set_xlim(-0.6, len(places) - 0.4)
        panel.margins(y=0.15)
    arm.set_ylabel("RMSE (rad)", fontsize=8, color=INK)
    gripper.set_ylabel("RMSE (0..1)", fontsize=8, color=INK)
    handles, labels = arm.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return rendered(figure, form)


def lively(log: Log, seconds: float) -> slice:
    """The rows of the stretch of `seconds` in which the commands travel furthest.

    Travel is summed over joints, each in units of its own standard deviation, so that a stretch
    with every joint moving is preferred.
    """
    spread = log.cmd.std(axis=0)
    travel = np.abs(np.diff(log.cmd, axis=0)) / np.where(spread > 1e-3, spread, np.inf)
    # The square root favours many joints moving over one that jumps.
    path = np.concatenate([[0.0], np.cumsum(np.sqrt(travel).sum(axis=1))])
    count = min(len(log.t), max(2, round(seconds / log.period_s) + 1))
    start = int(np.argmax(path[count - 1 :] - path[: len(path) - count + 1]))
    return slice(start, start + count)


def _figure(width: float, height: float, rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = list(np.atleast_1d(figure.subplots(rows, columns, sharex=True)).ravel())
    for panel in panels:
        dress(panel)
    return figure, panels


def _bars(
    panel: Axes, places: np.ndarray, values: Sequence[float] | np.ndarray, color: str, label: str
) -> None:
    bars = panel.bar(places, values, 0.38, color=color, label=label)
    panel.bar_label(bars, fmt="%.4f", fontsize=7, padding=2, color=INK)


def dress(panel: Axes) -> None:
    panel.grid(color=GRID, lw=0.6)
    panel.set_axisbelow(True)
    panel.tick_params(labelsize=7, color=GRID, labelcolor=INK)
    for side, spine in panel.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GRID)


def _widen(panel: Axes, least: float) -> None:
    """At least so much height, lest noise on a still joint looks like motion."""
    low, high = panel.get_ylim()
    if high - low < least:
        middle = (low + high) / 2
        panel.set_ylim(middle - least / 2, middle + least / 2)


def plain(name: str) -> str:
    return name.replace("_", " ")


def rendered(figure: Figure, form: Format) -> bytes:
    FigureCanvasAgg(figure)
    out = io.BytesIO()
    # No date, and ids from a fixed salt: the same figures make the same file. Text stays text.
    metadata = {"Date": None} if form == "svg" else {"Software": None}
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "regrasp"}):
        figure.savefig(out, format=form, dpi=150, metadata=metadata)
    return out.getvalue()
