"""Learning curves of improvement runs, several seeds drawn as one."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from regrasp.errors import InputError
from regrasp.files import read_json
from regrasp.rl.clone import read_lines

# Okabe and Ito's colours, told apart by colour-blind readers; line styles differ as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")
INK, GRID = "#333333", "#dddddd"
BY_RUN = ("seed",)
"""Settings in which the runs of one curve differ."""


@dataclass(frozen=True)
class Run:
    """An improvement run, finished or under way."""

    folder: Path
    settings: dict[str, Any]
    rows: list[dict[str, Any]]
    """One for each iteration."""

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """Of a run's folder, or of its improvement stage.

        Raises:
            InputError: nothing was improved there.
        """
        stage = folder / "improve" if (folder / "improve").is_dir() else folder
        path = stage / "metrics.jsonl"
        rows = read_lines(path) if path.exists() else []
        if not any("judged" in row for row in rows):
            raise InputError(f"{folder} holds no judged iterations: run `regrasp improve` there")
        settings = read_json(stage / "config.json", "settings")
        return cls(stage, settings, rows)

    def judged(self, across: str) -> tuple[list[float], list[dict[str, Any]]]:
        """Where the judgements lie along an axis, and what they found."""
        rows = [row for row in self.rows if "judged" in row]
        return [row[across] for row in rows], [row["judged"] for row in rows]

    def series(self, across: str, what: str) -> tuple[np.ndarray, np.ndarray]:
        """One metric of every iteration along an axis; iterations without it are left out."""
        pairs = [(r[across], r[what]) for r in self.rows if r.get(what) is not None]
        return np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs], float)


def together(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs that differ in their seed alone, by what is special about them."""
    groups: list[tuple[dict[str, Any], list[Run]]] = []
    for run in runs:
        same = {k: v for k, v in run.settings.items() if k not in BY_RUN}
        task = run.folder.parent.name.rsplit("-", 1)[0]
        same["run"] = task
        for settings, members in groups:
            if settings == same:
                members.append(run)
                break
        else:
            groups.append((same, [run]))
    every = [_flat(settings) for settings, _ in groups]
    names = {name for settings in every for name in settings}
    told = [n for n in sorted(names) if len({repr(s.get(n)) for s in every}) > 1]
    told = [n for n in told if n != "run"] or told
    labels = [", ".join(f"{n} {s.get(n)}" for n in told) or s["run"] for s in every]
    if len(set(labels)) < len(labels):
        labels = [f"{s['run']}: {label}" for s, label in zip(every, labels, strict=True)]
    return {
        f"{label} ({len(members)} seeds)" if len(members) > 1 else label: members
        for label, (_, members) in zip(labels, groups, strict=True)
    }


def draw_curves(groups: Mapping[str, Sequence[Run]], form: Literal["svg", "png"] = "png") -> bytes:
    """Success against environment steps and against wall time, and the walk of the curriculum.

    Success is that of judgements without noise on held-out starts. One run is drawn with its 95 % interval,
    several with their mean and range.

    Args:
        groups: label -> runs.
        form: svg or png.
    """
    with rc_context({"svg.hashsalt": "regrasp"}):
        figure = Figure(figsize=(11, 6.6), dpi=130, layout="constrained")
        FigureCanvasAgg(figure)
        top, bottom = figure.subplots(2, 2)
        axes: tuple[tuple[str, str, float], ...] = (
            ("env_steps", "environment steps (millions)", 1e6),
            ("wall_s", "wall time (min)", 60.0),
        )
        for panel, (across, label, unit) in zip(top, axes, strict=True):
            for i, (name, runs) in enumerate(groups.items()):
                _success(panel, runs, (across, unit), i, name)
            panel.set(xlabel=label, ylabel="success, held-out starts", ylim=(0, 1.02))
        walks = (
            ("start_fraction", "share of groups from the task's own starts"),
            ("phase", "phase of groups' states, 0 to 1"),
        )
        for panel, (what, label) in zip(bottom, walks, strict=True):
            for i, runs in enumerate(groups.values()):
                for run in runs:
                    x, y = run.series("env_steps", what)
                    panel.plot(x / 1e6, _smooth(y), **_look(i), lw=1.2, alpha=0.8)
                    x, reach = run.series("env_steps", "reach")
                    if what == "start_fraction" and (reach < 1).any():
                        panel.plot(x / 1e6, reach, color=_look(i)["color"], ls=":", lw=1.0)
                        label = "share of groups from starts (dotted: reach)"
            panel.set(xlabel="environment steps (millions)", ylabel=label, ylim=(0, 1.02))
        for panel in (*top, *bottom):
            panel.grid(color=GRID, lw=0.6)
            panel.set_axisbelow(True)
            panel.set_xlim(left=0)
            panel.spines[["top", "right"]].set_visible(False)
            panel.tick_params(labelsize=8, colors=INK)
            panel.xaxis.label.set(size=9, color=INK)
            panel.yaxis.label.set(size=9, color=INK)
        handles, labels = top[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=9
        )
        buffer = io.BytesIO()
        figure.savefig(buffer, format=form, metadata={"Date": None} if form == "svg" else None)
    return buffer.getvalue()


def _success(
    panel: Axes, runs: Sequence[Run], axis: tuple[str, float], number: int, label: str
) -> None:
    across, unit = axis
    curves = [run.judged(across) for run in runs]
    if len(runs) == 1:
        x, found = np.array(curves[0][0]) / unit, curves[0][1]
        y = np.array([f["rate"] for f in found])
        low, high = np.array([[f["low"], f["high"]] for f in found]).T
    else:
        x = np.unique(np.concatenate([xs for xs, _ in curves]))
        # Only where every run still goes on: a mean over fewer would jump.
        x = x[(x >= max(xs[0] for xs, _ in curves)) & (x <= min(xs[-1] for xs, _ in curves))]
        every = np.stack([np.interp(x, xs, [f["rate"] for f in found]) for xs, found in curves])
        y, low, high, x = every.mean(0), every.min(0), every.max(0), x / unit
    look = _look(number)
    panel.plot(x, y, **look, lw=1.8, marker="o", ms=3, label=label)
    panel.fill_between(x, low, high, color=look["color"], alpha=0.15, lw=0)


def _look(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "ls": STYLES[number // len(COLOURS) % 4]}


def _smooth(y: Float[np.ndarray, " n"], width: int = 5) -> Float[np.ndarray, " n"]:
    """Running mean of what came before."""
    total = np.cumsum(np.concatenate([[0.0], y]))
    first = np.maximum(0, np.arange(1, len(y) + 1) - width)
    return (total[1:] - total[first]) / (np.arange(1, len(y) + 1) - first)


def _flat(settings: dict[str, Any], under: str = "") -> dict[str, Any]:
    found = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{under}{name}.")
        else:
            found[under + name] = value
    return found
