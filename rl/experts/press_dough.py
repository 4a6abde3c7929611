"""A scripted teacher of press_dough: it squeezes a little, looks, and squeezes on."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from regrasp.envs import View
from regrasp.envs.tasks.press_dough import Shape, mark, shape, wanted
from regrasp.rl.experts.figures import Reaching, figures_of
from regrasp.rl.experts.ik import DOWN
from regrasp.rl.experts.script import (
    HUMAN,
    Manner,
    Move,
    Row,
    ScriptedExpert,
    from_angles,
    turned,
)

LATEST_PRESS_S = 7.0
"""Squeezing ends by then: what follows needs the rest of the time."""
LATEST_RETRY_S = 10.0
"""A lump is not taken again later than this."""


@dataclass(frozen=True)
class Figures(Reaching):
    """Where the hand goes, in the ALOHA workcell; the table of another one says what differs there."""

    above_m: float = 0.08
    """How far above the grasp the hand comes down from, and lifts to."""
    grasp_height_m: float = 0.014
    """Height of the gripper site at the grasp."""
    open: float = 1.0
    """Opening that the lump is approached with."""
    gap_m: tuple[float, float] = (-0.0112, 0.0588)
    """Gap between the tips at the openings 0 and 1."""
    quick: float = 0.015
    """By how much the opening shrinks in `look_s`, at most."""
    slow: float = 0.003
    """By how much it shrinks in `look_s`, at least."""
    look_s: float = 0.1
    """Time between looks at the width."""
    lead_s: float = 0.15
    """For how long the lump flows on once it is no longer squeezed harder."""
    held: float = 0.35
    """Share of the force of flow with which it is held afterwards."""
    least: float = 0.05
    """By how much the opening is told to be smaller than it is, at least, to hold something."""
    springs_m: float = 0.0004
    """By how much the lump widens when it is let go."""
    spare_m: float = 0.0005
    """How much the lump may be too wide before it is taken again, short of what the task allows."""


class PressDoughExpert(ScriptedExpert):
    """The right hand squeezes the lump between its tips, carries it to the mark and lets it go."""

    def __init__(self, task: Any, manner: Manner = HUMAN):
        super().__init__(task, manner)
        self.figures = figures_of("press_dough", task, Figures)

    def script(self, row: Row) -> Iterator[Move]:
        first = True
        while True:
            yield from self._press(row, first)
            yield from self._place(row)
            if row.elapsed_s > LATEST_RETRY_S or not self._failed(row):
                break
            first = False
        yield Move(1.0, right=row.home("right"))

    def _press(self, row: Row, first: bool) -> Iterator[Move]:
        f, lump = self.figures, seen(row).lump
        hand = turned(_heading(lump), DOWN["right"])
        at = np.array([*(lump.middle[:2] + row.slip()[:2]), f.grasp_height_m])
        above = row.pose("right", at + [0, 0, f.above_m], hand, near=from_angles(f.over_rad))
        yield Move(1.2 if first else 0.5, right=above, right_grip=f.open)
        yield Move(0.6, right=row.straight("right", at, hand))
        yield Move(0.15 + row.pause())
        opening = self._opening(float(lump.size[1]))
        yield Move(0.3, right_grip=opening)
        wide, before = f.gap_m[1] - f.gap_m[0], float(seen(row).over)
        while row.elapsed_s < LATEST_PRESS_S or not first:
            now = float(seen(row).over)
            flows_m = max(before - now, 0.0) * f.lead_s / f.look_s
            excess, before = now - flows_m + f.springs_m, now
            if excess <= 0 or opening <= 0:
                break
            opening = max(opening - np.clip(0.5 * excess / wide, f.slow, f.quick), 0.0)
            yield Move(f.look_s, right_grip=opening)
        # What the servo presses with is in proportion to how far it is from where it is told to be.
        stands = float(row.view.joint_pos[self._grips["right"]])
        yield Move(0.1, right_grip=stands - max(f.held * (stands - opening), f.least))
        yield Move(0.1 + row.pause())

    def _place(self, row: Row) -> Iterator[Move]:
        f = self.figures
        place, hand = self._hand(row)
        yield Move(0.5, right=row.straight("right", place + [0, 0, f.above_m], hand))
        there, now = DOWN["right"], seen(row)
        place, hand = self._hand(row)
        spot = now.mark + there @ hand.T @ (place - now.lump.middle)
        spot[2] += now.lump.size[2] / 2
        above = row.pose("right", spot + [0, 0, f.above_m], there)
        yield Move(1.2, right=above)
        yield Move(0.2 + row.pause())
        yield Move(0.7, right=row.straight("right", spot, there))
        yield Move(0.3)
        yield Move(0.4, right_grip=f.open)
        yield Move(0.15)
        place, hand = self._hand(row)
        yield Move(0.5, right=row.straight("right", place + [0, 0, f.above_m], hand))

    def _failed(self, row: Row) -> bool:
        """Whether to try again: it is still too wide, or has been lost on the way."""
        now = seen(row)
        miss_m = np.linalg.norm((now.lump.middle - now.mark)[:2])
        too_wide = float(now.over) > self.task.tolerance_m - self.figures.spare_m
        return too_wide or bool(miss_m > self.task.mark_radius_m)

    def _opening(self, gap_m: float) -> float:
        """The opening at which the tips are that far apart."""
        low, high = self.figures.gap_m
        return min((gap_m - low) / (high - low), self.figures.open)

    def _hand(self, row: Row) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]]:
        """Where the gripper site is now (m), and its axes as columns."""
        return self.reach["right"].place(np.asarray(row.view.joint_pos)[self._arms["right"]])


class Seen(NamedTuple):
    """What there is to see, in the world frame (m)."""

    lump: Shape
    mark: Any
    """The middle of the mark."""
    over: Any
    """By how much the lump is wider than is wanted."""


def seen(row: Row) -> Seen:
    """What is seen now, as NumPy arrays."""
    return jax.tree.map(lambda x: np.asarray(x, float), _look(row.view))


@jax.jit
def _look(view: View) -> Seen:
    lump = shape(view)
    return Seen(lump, mark(view), lump.size[1] - wanted(view))


def _heading(lump: Shape) -> float:
    """By how much its width is turned from y, about the vertical (rad)."""
    x, y = lump.rotation[:2, 1]
    return float(np.arctan(-x / y))
