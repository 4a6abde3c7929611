"""A drawing of a policy on logs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regrasp.sim2real.open_loop import PHASES, Error, OpenLoop, Run
from regrasp.sim2real.plots import COMMAND, INK, SIMULATED, Format, dress, rendered

GRIPPER = "#009E73"


def draw_open_loop(found: OpenLoop, runs: Sequence[Run], form: Format = "svg") -> bytes:
    """Error over the episode and over a chunk, and the worst joint's commands beside what was chosen.

    Args:
        found: the figures.
        runs: what they were made of; of these the log in which the worst joint is furthest off is drawn.
        form: "svg" or "png".
    """
    figure = Figure(figsize=(8.0, 5.2), layout="constrained")
    grid = figure.add_gridspec(2, 2)
    phase, ahead = (figure.add_subplot(grid[0, i]) for i in range(2))
    joint = figure.add_subplot(grid[1, :])
    for panel in (phase, ahead, joint):
        dress(panel)
    _draw_phases(phase, found)
    _draw_ahead(ahead, found)
    _draw_worst(joint, found, runs)
    for panel in (phase, ahead):
        panel.set_ylim(bottom=0)
        panel.legend(fontsize=7, frameon=False, loc="upper left")
        # Room for the legend above what is drawn.
        panel.set_ylim(top=1.35 * panel.get_ylim()[1])
    joint.legend(fontsize=8, frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    return rendered(figure, form)


def _draw_phases(panel: Axes, found: OpenLoop) -> None:
    edges = np.linspace(0, 100, PHASES + 1)
    for errors, color, style, label in (
        (found.phases, SIMULATED, "-", "joints of the arms (rad)"),
        (found.gripper_phases, GRIPPER, "--", "grippers (opening)"),
    ):
        rmse, low, high = _columns(errors)
        low, high = (np.append(end, end[-1]) for end in (low, high))
        panel.fill_between(edges, low, high, step="post", color=color, alpha=0.18, lw=0)
        panel.stairs(rmse, edges, baseline=None, color=color, ls=style, lw=1.5, label=label)
    panel.set_xlim(0, 100)
    panel.set_xlabel("part of the episode (%)", fontsize=8, color=INK)
    panel.set_ylabel("RMSE of the actions", fontsize=8, color=INK)


def _draw_ahead(panel: Axes, found: OpenLoop) -> None:
    time = 1e3 * np.array([one.time_s for one in found.look_ahead])
    for name, color, style, label in (
        ("holding", COMMAND, "--", "last command held"),
        ("error", SIMULATED, "-", "policy, arms (95 %)"),
    ):
        rmse, low, high = _columns([getattr(one, name) for one in found.look_ahead])
        panel.plot(time, rmse, style, marker="o", ms=3, color=color, lw=1.5, label=label)
        panel.fill_between(time, low, high, color=color, alpha=0.2, lw=0)
    panel.set_xlim(left=0)
    panel.set_xlabel("from the observation to the action (ms)", fontsize=8, color=INK)
    panel.set_ylabel("RMSE (rad)", fontsize=8, color=INK)


def _draw_worst(panel: Axes, found: OpenLoop, runs: Sequence[Run]) -> None:
    column = list(found.joints).index(found.worst_joint)
    run = max(runs, key=lambda one: float(np.mean(one.error[:, column] ** 2)))
    t = run.log.t - run.log.t[0]
    # Angles go on where a turn ends, so that no jump is drawn where none was commanded.
    chosen = run.log.cmd + run.error
    panel.step(t, run.log.cmd[:, column], where="post", color=INK, lw=1.2, label="commanded")
    panel.step(t, chosen[:, column], where="post", color=SIMULATED, lw=1.2, label="chosen")
    panel.set_xlim(t[0], t[-1])
    title = f"{found.worst_joint.replace('_', ' ')} in {run.log.name}"
    panel.set_title(title, fontsize=9, color=INK, loc="left")
    panel.set_xlabel("time in the log (s)", fontsize=8, color=INK)
    panel.set_ylabel("rad", fontsize=8, color=INK)


def _columns(errors: Sequence[Error]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RMSE and the ends of its intervals."""
    rmse = np.array([error.rmse for error in errors])
    low, high = np.array([error.rmse_interval for error in errors]).T
    return rmse, low, high
