"""A scripted teacher of lift_pot."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Float

from regrasp.assets import SIDES
from regrasp.envs import Task
from regrasp.envs.tasks.lift_pot import LiftPot
from regrasp.envs.tasks.parts import TABLE_TOP_M
from regrasp.rl.experts.figures import Reaching, figures_of
from regrasp.rl.experts.ik import DOWN
from regrasp.rl.experts.script import (
    HUMAN,
    Manner,
    Move,
    Pose,
    Row,
    ScriptedExpert,
    from_angles,
    turned,
)

LEAN_RAD = 0.5
"""The hands reach in from either side: cameras and forearms stay apart above the pot."""
OUT_M = 0.032
"""How far from the wall a handle is taken."""
BEYOND_M = 0.014
"""How far a gripper site reaches beyond the handle's axis."""
ABOVE_M = 0.065
"""How far back the hands stop before they go down."""
WIDE, GRIP = 0.9, 0.1
"""Openings before the grasp, and what presses on a handle."""
EMPTY = 0.15
"""A gripper that has closed to less than this beyond `GRIP` holds nothing."""
ASKEW_M = 0.006
"""A handle this much too high shows that the pot does not stand on the table."""
START_M = 0.04
"""Lifted this far, the pot is looked at."""
MARGIN_M = 0.02
"""Lifted this much higher than asked."""
CORRECTION = 0.8
"""Share of a seen error in height that is corrected at once."""


class Grasp(NamedTuple):
    """Where a gripper takes hold."""

    position: Float[np.ndarray, "3"]
    """Of the gripper site (m)."""
    rotation: Float[np.ndarray, "3 3"]
    """Its axes as columns."""


class LiftPotExpert(ScriptedExpert):
    """Both hands reach for their handles, close, and lift at equal pace with an eye on the tilt."""

    def __init__(self, task: Task, manner: Manner = HUMAN):
        super().__init__(task, manner)
        self.figures = figures_of("lift_pot", task, Reaching)

    def script(self, row: Row) -> Iterator[Move]:
        seconds = 1.0
        while True:
            slips = {side: row.slip() for side in SIDES}
            grasps = self._look(row, slips)
            above = {side: self._above(row, side, grasps[side]) for side in SIDES}
            yield _together(seconds, above, WIDE)
            yield Move(0.2 + row.pause())
            yield _together(0.85, {side: row.straight(side, *grasps[side]) for side in SIDES})
            yield Move(0.15 + row.pause())
            if self._standing(row):
                yield _together(0.4, {}, GRIP, watched=())
                if self._holding(row):
                    yield from self._lift(row, grasps)
                yield _together(0.25, {}, WIDE, watched=())
            # Step back and look again.
            back = {side: self._above(row, side, grasps[side]) for side in SIDES}
            yield _together(0.4, back, watched=())
            seconds = 0.4

    def _lift(self, row: Row, grasps: dict[str, Grasp]) -> Iterator[Move]:
        """Up, and kept level, for as long as both hands hold."""
        goal = cast(LiftPot, self.task).lift_m + MARGIN_M
        low = {side: self._handle(row, side)[2] for side in SIDES}
        raised = dict.fromkeys(SIDES, 0.0)
        for seconds, height in _stages(goal):
            ways = {}
            for side in SIDES:
                place, rotation = grasps[side]
                ways[side] = row.straight(side, place + [0, 0, height + raised[side]], rotation)
            yield _together(seconds, ways, watched=())
            if not self._holding(row):
                break
            # Joint by joint the two arms would fight through the pot: each side's height is
            # corrected instead.
            for side in SIDES:
                error = low[side] + height - self._handle(row, side)[2]
                raised[side] += CORRECTION * float(np.clip(error, -0.03, 0.03))
        down = {side: row.straight(side, *grasps[side]) for side in SIDES}
        yield _together(0.8, down, watched=())

    def _standing(self, row: Row) -> bool:
        """Whether the pot stands on the table, and not on a finger that went under a handle."""
        heights = [self._handle(row, side)[2] for side in SIDES]
        task = cast(LiftPot, self.task)
        return max(heights) < TABLE_TOP_M + task.handle_height_m + ASKEW_M

    def _holding(self, row: Row) -> bool:
        """Whether both grippers stay open by what is between their fingers."""
        openings = row.view.joint_pos[list(self.task.workcell().gripper_columns)]
        return bool(np.min(openings) > GRIP + EMPTY)

    def _look(self, row: Row, slips: dict[str, Float[np.ndarray, "3"]]) -> dict[str, Grasp]:
        """How to take the handles where they are now."""
        along = row.rotation("pot")[:, 0]
        yaw = float(np.arctan2(along[1], along[0]))
        turns = {side: turned(yaw, leaning(side)) for side in SIDES}
        return {
            side: Grasp(self._handle(row, side) + BEYOND_M * turn[:, 0] + slips[side], turn)
            for side, turn in turns.items()
        }

    def _above(self, row: Row, side: str, grasp: Grasp) -> Pose:
        back = grasp.position - ABOVE_M * grasp.rotation[:, 0]
        return row.pose(side, back, grasp.rotation, near=from_angles(self.figures.over_rad))

    def _handle(self, row: Row, side: str) -> Float[np.ndarray, "3"]:
        """Where a handle is to be taken, as it is seen now (m)."""
        task = cast(LiftPot, self.task)
        sign = -1 if side == "left" else 1
        place = np.array([sign * (task.half_size_m[0] + OUT_M), 0, task.handle_height_m])
        return row.position("pot") + row.rotation("pot") @ place


def leaning(side: str) -> Float[np.ndarray, "3 3"]:
    """A gripper pointing down and towards the other arm, fingers closing along y."""
    c, s = np.cos(LEAN_RAD), np.sin(LEAN_RAD)
    return DOWN[side] @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])


def _together(
    seconds: float,
    ways: Mapping[str, Pose | Sequence[Pose]],
    grip: float | None = None,
    watched: tuple[str, ...] = SIDES,
) -> Move:
    """Both hands do the same at the same time."""
    left, right = ways.get("left"), ways.get("right")
    return Move(seconds, left, right, left_grip=grip, right_grip=grip, watched=watched)


def _stages(goal_m: float) -> Iterator[tuple[float, float]]:
    """Seconds and height of the next move: off the table, up, and then held there."""
    yield 0.5, min(START_M, goal_m)
    yield 1.2, goal_m
    while True:
        yield 0.35, goal_m
