"""A picture of recordings: a panel for each, with its commands and measurements."""

import io
import textwrap

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from regrasp.sim2real.log import Log
from regrasp.sim2real.survey import Found, Survey

MOST = 24
"""Panels in a picture; logs beyond are counted."""
COLUMNS = 3
COMMAND, INK, GRID, FLAG = "#777777", "#333333", "#dddddd", "#B5442E"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C6D31")
"""Okabe and Ito's, told apart by colour-blind readers; one for each joint of an arm."""
SAMPLES = 1500


def draw_survey(survey: Survey, form: str = "png") -> bytes:
    """Commands (dashed) and measurements of every log, and why others are none.

    Args:
        survey: what was found.
        form: png or svg.
    """
    panels: list[Found | tuple[str, str]] = [*survey.found]
    panels += [(one.name, one.reason) for _, one in survey.refused]
    shown = panels[:MOST]
    rows = -(-len(shown) // COLUMNS)
    columns = min(COLUMNS, len(shown))
    figure = Figure(figsize=(4.4 * columns, 2.3 * rows + 0.7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for axis, panel in zip(axes, shown, strict=False):
        if isinstance(panel, Found):
            _draw_log(axis, panel)
        else:
            _draw_refusal(axis, *panel)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    places = _legend([one.log for one in shown if isinstance(one, Found)])
    lines = [Line2D([], [], color=COLOURS[place % len(COLOURS)]) for place in places]
    lines.append(Line2D([], [], color=COMMAND, lw=0.8, ls="--"))
    labels = [*(" / ".join(names) for names in places.values()), "command"]
    if any(isinstance(one, Found) and "right" in one.log.sides for one in shown):
        lines.append(Line2D([], [], color=INK, lw=1.1, ls=":"))
        labels.append("right arm")
    figure.legend(lines, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=7)
    more = f"; the first {len(shown)} of {len(panels)}" if len(panels) > len(shown) else ""
    figure.supxlabel(f"time (s){more}", fontsize=8, color=INK)
    figure.supylabel("rad; grippers 0 closed to 1 open", fontsize=8, color=INK)
    out = io.BytesIO()
    figure.savefig(out, format=form, dpi=110)
    return out.getvalue()


def _draw_log(axis, found: Found) -> None:
    log = found.log
    every = max(1, len(log.t) // SAMPLES)
    t = (log.t - log.t[0])[::every]
    for i, name in enumerate(log.joints):
        colour = COLOURS[_place(log, i) % len(COLOURS)]
        dotted = name.startswith("right/")
        axis.plot(t, log.q[::every, i], color=colour, lw=1.1, ls=":" if dotted else "-")
        if log.commands == "sent" and name not in log.uncommanded:
            axis.plot(t, log.cmd[::every, i], color=COMMAND, lw=0.6, ls="--", zorder=1)
    lag = "" if found.lag_s is None else f", lag {1e3 * found.lag_s:.0f} ms"
    rate = f"{1 / log.period_s:.3g} Hz" + ("" if log.measured_time else " assumed")
    axis.set_title(f"{_short(log.name)}: {rate}{lag}", fontsize=8, color=INK, loc="left")
    if found.odd or not found.comparable:
        said = found.odd[0] if found.odd else "not every joint has commands"
        said += f" (and {len(found.odd) - 1} more)" if len(found.odd) > 1 else ""
        lines = textwrap.wrap(said, 62)[:2]
        axis.set_xlabel("\n".join(lines), fontsize=7, color=FLAG)
    axis.tick_params(labelsize=7, colors=INK)
    axis.grid(True, color=GRID, lw=0.5)
    axis.set_axisbelow(True)
    for edge in ("top", "right"):
        axis.spines[edge].set_visible(False)


def _draw_refusal(axis, name: str, reason: str) -> None:
    axis.set_axis_off()
    axis.set_title(f"{_short(name)}: refused", fontsize=8, color=FLAG, loc="left")
    text = "\n".join(textwrap.wrap(reason, 60)[:9])
    axis.text(0, 0.97, text, fontsize=7, color=INK, va="top", transform=axis.transAxes)


def _legend(logs: list[Log]) -> dict[int, list[str]]:
    """Place of a joint in its arm -> what it is called; the right arm is dotted."""
    names: dict[int, list[str]] = {}
    for log in logs:
        for i, name in enumerate(log.joints):
            plain, known = name.rpartition("/")[2], names.setdefault(_place(log, i), [])
            if plain not in known and len(known) < 3:
                known.append(plain)
    return dict(sorted(names.items()))


def _place(log: Log, column: int) -> int:
    """A joint's place in its own arm."""
    side = log.joints[column].partition("/")[0]
    return column - next(
        i for i, name in enumerate(log.joints) if name.startswith(side) or "/" not in name
    )


def _short(name: str) -> str:
    return name if len(name) <= 34 else f"...{name[-31:]}"
