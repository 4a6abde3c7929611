"""Pictures of the studies."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.learning.experiments import HALF
from regrasp.files import whole
from regrasp.rl.curves import COLOURS, GRID, INK, Run, draw_curves

Results = list[dict[str, Any]]


def draw(study: str, results: Results, experts: dict[str, Any], folder: Path) -> list[Path]:
    """Draw what a study found into a folder; returns the pictures."""
    pictures = {}
    here = [one["name"] for one in results if "curve" in one and (folder / one["name"]).exists()]
    improved = {name: [Run.read(folder / name)] for name in here}
    if improved:
        pictures[f"{study}-curves.png"] = draw_curves(improved)
    if study == "clones":
        late = [one for one in results if any("delay_ms" in j["play"] for j in one["judged"])]
        if late:
            pictures["delay.png"] = _delays(late)
        pictures["drift.png"] = _drifts(results)
    if study == "speed":
        pictures["speed.png"] = _speeds(results, experts)
    made = []
    for name, data in pictures.items():
        path = folder / name
        with whole(path) as temporary:
            temporary.write_bytes(data)
        made.append(path)
    return made


def _delays(results: Results) -> bytes:
    """Success against the time from an observation to the first action that follows from it."""
    figure, (panel,) = _figure(6.5, 4.2, 1)
    for colour, result in zip(COLOURS, results, strict=False):
        for told, style in ((False, "--"), (True, "-")):
            found = [
                one
                for one in result["judged"]
                if one["physics"] == "table" and one["play"].get("execute") == HALF
            ]
            found = [one for one in found if one["play"].get("continued", False) == told]
            found.sort(key=lambda one: one["play"].get("delay_ms", 0.0))
            x = [one["play"].get("delay_ms", 0.0) for one in found]
            y, low, high = (np.array([one[k] for one in found]) for k in ("rate", "low", "high"))
            family = result["name"].rsplit("-", 1)[1]
            label = f"{family}, {'told what is pending' if told else 'not told'}"
            panel.plot(x, y, style, color=colour, marker="o", ms=4, label=label)
            panel.fill_between(x, low, high, color=colour, alpha=0.1, lw=0)
    panel.set(xlabel="delay (ms)", ylabel="success, randomised", ylim=(0, 1.02))
    panel.legend(frameon=False, fontsize=8)
    return _png(figure)


def _drifts(results: Results) -> bytes:
    """How far states are from the demonstrated ones, and how success depends on it."""
    tasks = sorted({one["task"] for one in results})
    figure, panels = _figure(3.2 * len(tasks) + 0.6, 5.6, len(tasks), rows=2)
    for column, task in enumerate(tasks):
        top, bottom = panels[column], panels[len(tasks) + column]
        for colour, one in zip(COLOURS, (r for r in results if r["task"] == task), strict=False):
            found, family = one["drift"], one["name"].rsplit("-", 1)[1]
            top.plot(found["times_s"], found["median"], color=colour, label=family)
            bins = found["success_by_drift"]
            bottom.plot(
                [b["distance"] for b in bins], [b["success"] for b in bins], "o-", color=colour
            )
        usual = results[0]["drift"]["usual"]
        for one in results:
            if one["task"] == task:
                usual = one["drift"]["usual"]
        top.axhspan(usual[0], usual[2], color="#999999", alpha=0.2, lw=0)
        top.set(title=task, xlabel="time (s)", ylim=(0, None))
        bottom.set(xlabel="mean distance of an episode", ylim=(0, 1.02))
        top.legend(frameon=False, fontsize=8)
    panels[0].set_ylabel("distance from demonstrations (std);\ngrey: half to 99 % of their own")
    panels[len(tasks)].set_ylabel("success")
    return _png(figure)


def _speeds(results: Results, experts: dict[str, Any]) -> bytes:
    """Success against the median time to it; squares are played otherwise than they have learned."""
    figure, (panel,) = _figure(7.5, 5.0, 1)
    lowest = 1.0
    for number, result in enumerate(results):
        label = result["name"].removeprefix("speed-")
        colour = COLOURS[number % len(COLOURS)]
        fill = colour if number < len(COLOURS) else "white"
        for one in result["judged"]:
            if one["physics"] != "table" or (one["policy"] == "clone" and "curve" in result):
                continue
            x, y = one["median_time_s"], one["rate"]
            bar = [[y - one["low"]], [one["high"] - y]]
            lowest = min(lowest, one["low"])
            form = "s" if one["play"] else "o"
            panel.errorbar(
                x, y, bar, fmt=form, color=colour, mfc=fill, ms=6, capsize=2, label=label
            )
            if "speed" in one["play"]:
                pace = f"\N{MULTIPLICATION SIGN}{one['play']['speed']:g}"
                panel.annotate(pace, (x, y), (7, -9), textcoords="offset points", fontsize=8)
            label = None  # A name stands in the legend once.
    shown = results[0]["demonstrations"]
    for label, x in (
        ("demonstrations", shown["median_s"]),
        ("fastest tenth", shown["fastest_tenth_s"]),
    ):
        panel.axvline(x, color="#777777", lw=1, ls="--")
        panel.annotate(
            label,
            (x, 0.02),
            (3, 0),
            xycoords=panel.get_xaxis_transform(),
            textcoords="offset points",
            fontsize=8,
            rotation=90,
        )
    for manner, name in (("human", "expert"), ("flawless", "expert without slips and pauses")):
        if manner in experts:
            x, y = experts[manner]["median_time_s"], experts[manner]["rate"]
            panel.plot(x, y, "*", color="black", ms=11)
            panel.annotate(
                name, (x, y), (-6, -14), textcoords="offset points", fontsize=8, ha="right"
            )
    panel.set(xlabel="median time to success (s); failures count as the horizon")
    panel.set(ylabel="success, randomised", ylim=(max(0.0, lowest - 0.1), 1.01))
    panel.plot([], [], "s", color="#777777", label="at another pace, or a chunk every 2 steps")
    panel.legend(frameon=False, fontsize=8, loc="lower left")
    return _png(figure)


def _figure(width: float, height: float, columns: int, rows: int = 1) -> tuple[Figure, list[Axes]]:
    with rc_context({"svg.hashsalt": "regrasp"}):
        figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
        FigureCanvasAgg(figure)
        panels = list(np.ravel(figure.subplots(rows, columns)))
    for panel in panels:
        panel.grid(color=GRID, lw=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8, colors=INK)
    return figure, panels


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
