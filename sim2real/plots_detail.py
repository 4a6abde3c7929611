"""Drawings of a gap's detail and of a coverage, from the plain values that JSON holds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regrasp.sim2real.plots import GRID, INK, REAL, SIMULATED, Format, dress, plain, rendered

CAUSE_COLORS = {
    "calibration": "#999999",
    "stiffness": "#0072B2",
    "damping or latency": "#E69F00",
    "friction or backlash": "#009E73",
    "inertia": "#CC79A7",
    "unexplained": "#E8E8E8",
}
REGIME_COLORS = {"holding": "#0072B2", "moving": "#E69F00", "reversing": "#CC79A7"}
VERDICT_COLORS = {"right": "#009E73", "too wide": "#56B4E9", "unknown": "#999999"}
"""Anything else is wrong, and drawn in the simulation's colour."""


def draw_causes(joints: Mapping[str, Mapping[str, Any]], form: Format = "svg") -> bytes:
    """What each joint's residual goes with, as shares of its mean square."""
    names = list(joints)
    figure = Figure(figsize=(8.0, 0.42 * len(names) + 1.0), layout="constrained")
    panel = figure.subplots()
    dress(panel)
    left = np.zeros(len(names))
    for cause, color in CAUSE_COLORS.items():
        shares = np.array([_share(joints[name], cause) for name in names])
        panel.barh(np.arange(len(names)), shares, 0.62, left=left, color=color, label=cause)
        for i, share in enumerate(shares):
            if share >= 0.08:
                ink = INK if cause in ("unexplained", "damping or latency") else "white"
                place = (left[i] + share / 2, i)
                panel.annotate(
                    f"{share:.0%}", place, ha="center", va="center", fontsize=7, color=ink
                )
        left += shares
    panel.set_yticks(np.arange(len(names)), [plain(name) for name in names], fontsize=8)
    panel.invert_yaxis()
    panel.set_xlim(0, max(1.0, float(left.max())))
    panel.set_xlabel("share of the mean square residual", fontsize=8, color=INK)
    panel.grid(False, axis="y")
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return rendered(figure, form)


def draw_where(joints: Mapping[str, Mapping[str, Any]], form: Format = "svg") -> bytes:
    """RMSE by regime and by band of frequencies, with the floor of the latter."""
    names = list(joints)
    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    regime, bands = figure.subplots(2, 1)
    places = np.arange(len(names))
    for panel in (regime, bands):
        dress(panel)
        panel.set_xticks(places, [plain(name) for name in names], fontsize=8)
        panel.tick_params(axis="x", length=0)
        panel.grid(False, axis="x")
    for k, (name, color) in enumerate(REGIME_COLORS.items()):
        found = [joints[joint]["regimes"][name] for joint in names]
        _with_ends(regime, places + 0.26 * (k - 1), found, color, name, "rmse")
    count = len(joints[names[0]]["bands"])
    for k in range(count):
        found = [joints[joint]["bands"][k] for joint in names]
        label = f"{found[0]['low_hz']:g} to {found[0]['high_hz']:g} Hz"
        shade = (0.1 + 0.7 * k / count, 0.35 + 0.45 * k / count, 0.6 + 0.3 * k / count)
        at = places + 0.2 * (k - (count - 1) / 2)
        _with_ends(bands, at, found, shade, label, "rms")
        floor = [_nan(one["floor"]) for one in found]
        panel_label = "real arm's own noise" if k == count - 1 else None
        bands.plot(at, floor, "_", color="black", ms=9, mew=1.5, label=panel_label)
    regime.set_ylabel("RMSE (rad, 0..1)", fontsize=8, color=INK)
    bands.set_ylabel("RMS (rad, 0..1)", fontsize=8, color=INK)
    for panel in (regime, bands):
        panel.legend(fontsize=8, frameon=False, ncols=5, loc="lower left", bbox_to_anchor=(0, 1))
    return rendered(figure, form)


def draw_when(
    joints: Mapping[str, Mapping[str, Any]], gripper: str, tolerance: float, form: Format = "svg"
) -> bytes:
    """How the error grows after a reset to a logged state, and how long replays stay true."""
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    growth, stays = figure.subplots(1, 2)
    for panel in (growth, stays):
        dress(panel)
    styles = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
    colors = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#777777")
    arms = [name for name in joints if name != gripper]
    for name, style, color in zip(arms, styles, colors, strict=False):
        joint = joints[name]
        t = [_nan(v) for v in joint["growth"]["time_s"]]
        growth.plot(t, [_nan(v) for v in joint["growth"]["rmse"]], ls=style, color=color, lw=1.5)
        low, high = ([_nan(v) for v in joint["growth"][end]] for end in ("low", "high"))
        growth.fill_between(t, low, high, color=color, alpha=0.12, lw=0)
        curve = joint["horizon"]
        stays.step(
            [0.0, *curve["time_s"]],
            [1.0, *curve["share"]],
            where="post",
            ls=style,
            color=color,
            lw=1.5,
            label=plain(name),
        )
    growth.set_xlabel("time since the reset (s)", fontsize=8, color=INK)
    growth.set_ylabel("RMSE (rad)", fontsize=8, color=INK)
    growth.set_ylim(bottom=0)
    growth.set_xlim(left=0)
    stays.set_xlabel("time in the recording (s)", fontsize=8, color=INK)
    stays.set_ylabel(f"share within {tolerance:g} rad", fontsize=8, color=INK)
    stays.set_ylim(0, 1.02)
    stays.set_xscale("symlog", linthresh=1)
    stays.set_xlim(left=0)
    handles, labels = stays.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False, fontsize=8)
    return rendered(figure, form)


def draw_ranks(joints: Mapping[str, Mapping[str, Any]], form: Format = "svg") -> bytes:
    """Rank histograms per joint: flat is right, a U too narrow, a hill too wide, a slope biased."""
    names = list(joints)
    columns = -(-len(names) // 2)
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    panels: Sequence[Axes] = list(np.ravel(figure.subplots(2, columns, sharex=True)))
    for panel, name in zip(panels, names, strict=False):
        dress(panel)
        joint = joints[name]
        shares = [_nan(value) for value in joint["ranks"]]
        verdict = joint["verdict"]["verdict"]
        places = (np.arange(len(shares)) + 0.5) / max(1, len(shares))
        color = VERDICT_COLORS.get(verdict, SIMULATED)
        panel.bar(places, shares, 0.9 / max(1, len(shares)), color=color)
        panel.axhline(1 / max(1, len(shares)), color=REAL, lw=1, ls="--")
        panel.set_title(f"{plain(name)}: {verdict}", fontsize=9, color=INK, loc="left")
        panel.set_xlim(0, 1)
        panel.set_ylim(bottom=0)
        panel.spines["bottom"].set_color(GRID)
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    for panel in panels[-columns:]:
        panel.set_xlabel("rank of the real arm (0..1)", fontsize=8, color=INK)
    for panel in panels[::columns]:
        panel.set_ylabel("share of steps", fontsize=8, color=INK)
    return rendered(figure, form)


def _with_ends(
    panel: Axes,
    places: np.ndarray,
    found: Sequence[Mapping[str, Any]],
    color: Any,
    label: str,
    figure: str,
) -> None:
    """Bars with their intervals."""
    width = float(places[1] - places[0]) if len(places) > 1 else 1.0
    values = np.array([_nan(one[figure]) for one in found])
    ends = np.array([[_nan(end) for end in one["interval"]] for one in found])
    panel.bar(
        places, values, width * (0.24 if figure == "rmse" else 0.18), color=color, label=label
    )
    whiskers = np.maximum(np.abs(ends.T - values), 0)
    panel.errorbar(places, values, yerr=whiskers, fmt="none", ecolor=INK, elinewidth=0.8)


def _share(joint: Mapping[str, Any], cause: str) -> float:
    if cause == "unexplained":
        return max(0.0, _nan(joint["unexplained"]) if joint["unexplained"] is not None else 1.0)
    found = [one["share"] for one in joint["causes"] if one["cause"] == cause]
    return max(0.0, found[0] or 0.0) if found else 0.0


def _nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)
