"""The report's drawings: rates, times to success and the course of training, as SVG."""

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import (
    MaxNLocator,
    MultipleLocator,
    NullLocator,
    PercentFormatter,
    StrMethodFormatter,
)

from regrasp.sim2real.plots import GRID, INK
from regrasp.sim2real.report.data import POLICIES, Columns, Evaluation, Run
from regrasp.sim2real.report.words import percent

COLORS = {"demonstrator": "#7a7a7a", "clone": "#DDAA33", "improved": "#004488"}
"""Out of Tol's high-contrast set: told apart by colour-blind readers and in grey."""
LINES = {"demonstrator": (0, (5, 2)), "clone": (0, (4, 1.5, 1, 1.5)), "improved": "solid"}
MARKERS = {"demonstrator": "s", "clone": "D", "improved": "o"}
TITLES = {"table": "randomised physics", "nominal": "nominal physics"}
SECOND, THIRD = "#BB5566", "#228877"
"""Colours that are no policy's."""
BESIDE = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "fontsize": 8}
"""Where a panel's legend stands."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "regrasp",
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#bbbbbb",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": "#bbbbbb",
    "ytick.color": "#bbbbbb",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "lines.solid_capstyle": "round",
}
WIDTH = 8.6


def draw_rates(run: Run) -> bytes:
    """Success rates with their intervals, a panel for each physics."""

    def draw(figure: Figure, panels: list[Axes]) -> None:
        results = [run.result(policy, physics) for policy in POLICIES for physics in TITLES]
        lows = [found.low for found in results if found is not None and found.low >= 0]
        left = max(0.0, np.floor(10 * min(lows, default=0.0) - 0.5) / 10)
        for panel, physics in zip(panels, TITLES, strict=True):
            for row, policy in enumerate(POLICIES):
                found = run.result(policy, physics)
                if found is not None:
                    _rate(panel, row, policy, found)
            panel.set_title(TITLES[physics])
            panel.set_ylim(len(POLICIES) - 0.5, -0.75)
            panel.set_xlim(left, 1.0 + 0.05 * (1.0 - left))
            panel.xaxis.set_major_locator(MultipleLocator(0.1 if left >= 0.4 else 0.2))
            panel.xaxis.set_major_formatter(_percents())
            panel.set_xlabel("episodes that succeed")
            panel.grid(False, axis="y")
            panel.tick_params(axis="y", length=0)
        panels[0].set_yticks(range(len(POLICIES)), POLICIES)

    return _drawn(draw, 1.9, columns=2)


def draw_times(run: Run) -> bytes:
    """The share of all episodes that have succeeded by a time."""

    def draw(figure: Figure, panels: list[Axes]) -> None:
        ends = [1e-9]
        for panel, physics in zip(panels, TITLES, strict=True):
            for policy in POLICIES:
                found = run.result(policy, physics)
                if found is not None and (found.times_s or not found.successes):
                    ends.append(_reached(panel, policy, found))
            panel.set_title(TITLES[physics])
            panel.set_ylim(0, 1.02)
            panel.yaxis.set_major_formatter(_percents())
            panel.set_xlabel("time in the episode (s)")
        for panel in panels:
            panel.set_xlim(0, max(ends))
        panels[0].set_ylabel("episodes that have succeeded")
        _legend(figure, panels)

    return _drawn(draw, 2.9, columns=2)


def draw_improvement(run: Run) -> bytes:
    """Success and starts of improvement against the steps simulated."""
    columns = run.improve
    steps, unit = _in_units(columns["env_steps"])

    def draw(figure: Figure, panels: list[Axes]) -> None:
        top, below = panels
        _success(top, steps, run)
        _walls(top, steps, columns["wall_s"])
        for name, label, color, line in (
            ("phase", "how far into the episode tries start", SECOND, "solid"),
            ("start_fraction", "groups that start where the task does", THIRD, (0, (4, 1.5))),
            ("informative", "groups that teach something", INK, (0, (1, 1.5))),
        ):
            below.plot(steps, columns[name], color=color, ls=line, lw=1.5, label=label)
        for panel in panels:
            panel.set_ylim(0, 1.03)
            panel.set_xlim(0, _end(steps))
            panel.yaxis.set_major_formatter(_percents())
            panel.legend(**BESIDE)
        top.tick_params(labelbottom=False)
        top.set_ylabel("tries that succeed")
        below.set_ylabel("share")
        below.set_xlabel(f"control steps simulated{unit}")

    return _drawn(draw, 4.2, rows=2, height_ratios=(3, 2))


def draw_cloning(columns: Columns) -> bytes:
    """Loss of cloning against updates, on the demonstrations trained on and on those held out."""
    steps, loss, held_out = (columns[name] for name in ("step", "loss", "held_out_loss"))

    def draw(figure: Figure, panels: list[Axes]) -> None:
        (panel,) = panels
        panel.plot(steps, loss, color=COLORS["clone"], lw=1.5, label="trained on")
        known = ~np.isnan(held_out)
        if known.any():
            kept = steps[known], held_out[known]
            panel.plot(*kept, color=INK, lw=1.2, ls="--", label="held out")
        if (loss > 0).all():
            panel.set_yscale("log")
        panel.set_xlim(0, _end(steps))
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        panel.set_xlabel("updates")
        panel.set_ylabel("loss")
        panel.legend(**BESIDE)

    return _drawn(draw, 2.3)


def _drawn(
    draw: Callable[[Figure, list[Axes]], None],
    height: float,
    rows: int = 1,
    columns: int = 1,
    **grid: Any,
) -> bytes:
    """A figure of panels in the report's style; no date, so equal figures make equal files."""
    out = io.BytesIO()
    with rc_context(STYLE):
        layout = ConstrainedLayoutEngine(wspace=0.06)
        figure = Figure(figsize=(WIDTH, height), layout=layout)
        FigureCanvasSVG(figure)
        axes = figure.subplots(rows, columns, sharey=rows == 1, squeeze=False, **grid)
        draw(figure, list(axes.ravel()))
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return out.getvalue()


def _rate(panel: Axes, row: int, policy: str, found: Evaluation) -> None:
    if math.isnan(found.rate):
        return
    color = COLORS[policy]
    panel.plot([found.low, found.high], [row, row], color=color, lw=3, alpha=0.55)
    panel.plot(found.rate, row, MARKERS[policy], color=color, ms=7, mec="white", mew=0.8)
    place = {"textcoords": "offset points", "ha": "center", "fontsize": 8}
    panel.annotate(percent(found.rate), (found.rate, row), (0, 7), **place)


def _reached(panel: Axes, policy: str, found: Evaluation) -> float:
    """Draw one curve; return the time at which it ends."""
    times = np.sort(found.times_s)
    end = max([found.horizon_s] if found.horizon_s > 0 else [*times, 1.0])
    share = np.arange(len(times) + 1) / max(found.episodes, 1)
    panel.step(
        [0.0, *times, end],
        [*share, share[-1]],
        where="post",
        color=COLORS[policy],
        ls=LINES[policy],
        lw=1.8,
        label=policy,
    )
    return end


def _success(panel: Axes, steps: np.ndarray, run: Run) -> None:
    columns, color = run.improve, COLORS["improved"]
    panel.plot(steps, columns["success"], color=color, lw=0.9, alpha=0.5, label="all tries")
    label = "tries from the task's own start"
    panel.plot(steps, columns["start_rate"], "o", color=color, ms=3, label=label, clip_on=False)
    clone = run.result("clone", "table")
    if clone is not None:
        label = "clone, evaluated"
        panel.axhline(clone.rate, color=COLORS["clone"], ls=LINES["clone"], lw=1.5, label=label)


def _walls(panel: Axes, steps: np.ndarray, wall_s: np.ndarray) -> None:
    """Wall time along the top, where it is known and runs forward as the steps do."""
    if len(steps) < 2 or not all((np.diff(x) > 0).all() for x in (steps, wall_s)):
        return
    last = float(wall_s[-1])
    unit, name = (3600, "h") if last > 3 * 3600 else (60, "min") if last > 180 else (1, "s")
    walls = wall_s / unit
    ticks = [t for t in MaxNLocator(6).tick_values(0, walls[-1]) if 0 <= t <= walls[-1]]
    top = panel.twiny()
    top.set_xlim(0, _end(steps))
    top.set_xticks(np.interp(ticks, [0, *walls], [0, *steps]), [f"{t:g}" for t in ticks])
    top.xaxis.set_minor_locator(NullLocator())
    top.set_xlabel(f"wall time ({name})")
    top.grid(False)


def _percents() -> PercentFormatter:
    return PercentFormatter(1.0, decimals=0, symbol="\u00a0%")


def _end(steps: np.ndarray) -> float:
    return max(1.01 * float(steps.max()), 1e-9)


def _in_units(steps: np.ndarray) -> tuple[np.ndarray, str]:
    if steps.max() >= 2e6:
        return steps / 1e6, " (millions)"
    return (steps / 1e3, " (thousands)") if steps.max() >= 2e3 else (steps, "")


def _legend(figure: Figure, panels: list[Axes]) -> None:
    """One legend for the policies that any panel shows."""
    found = (panel.get_legend_handles_labels() for panel in panels)
    named = {label: handle for pair in found for handle, label in zip(*pair, strict=True)}
    shown = [policy for policy in POLICIES if policy in named]
    place = {"loc": "outside upper center", "ncols": 3, "fontsize": 8.5}
    figure.legend([named[policy] for policy in shown], shown, **place)
