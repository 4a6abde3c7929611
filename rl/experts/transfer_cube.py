"""A scripted teacher of transfer_cube."""

from collections.abc import Iterator

import numpy as np

from regrasp.rl.experts.ik import DOWN, LEVEL
from regrasp.rl.experts.script import OVER, Move, Row, ScriptedExpert, turned

GIVING = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]])
"""Right gripper pointing at the left arm, fingers closing along z; the left ones close across them, along
y. An arm errs most in height, which matters least that way."""
BEYOND_M = 0.007
"""How far a gripper site reaches beyond the cube's centre when the arms meet."""
GRASP_HEIGHT_M = 0.012
"""Height of the gripper site at the grasp."""
GRIP = 0.3
"""Opening that presses on the cube."""


class TransferCubeExpert(ScriptedExpert):
    """The right hand picks the cube up and gives it; the left hand takes it."""

    def script(self, row: Row) -> Iterator[Move]:
        cube = row.position("cube")
        down = turned(_yaw(row.rotation("cube")), DOWN["right"])
        slip = row.slip()
        at_cube = np.array([cube[0] + slip[0], cube[1] + slip[1], GRASP_HEIGHT_M])
        spread = row.rng.normal(0, 1, 3) * self.manner.meet_spread_m
        meet = np.array([0.0, -0.019, 0.28]) + spread

        above = row.pose("right", at_cube + [0, 0, 0.10], down, near=OVER)
        grasp = row.pose("right", at_cube, down, near=above)
        yield Move(1.0, right=above, right_grip=1.0, left_grip=0.3)
        yield Move(0.6, right=grasp, left_grip=0.6)
        yield Move(0.2 + row.pause())
        before = row.pose("left", meet + [-0.06, 0, 0], LEVEL["left"])
        yield Move(0.35, right_grip=GRIP, left=before, left_grip=1.0)
        yield Move(0.5, right=above)
        giving = row.pose("right", meet - [BEYOND_M, 0, 0], GIVING, near=row.home("right"))
        yield Move(1.1, right=giving)
        yield Move(0.4 + row.pause())
        # The left hand aims at where the cube is now. The right one keeps still from here on; with both on
        # the cube nobody looks.
        seen = row.position("cube")
        take = row.pose("left", seen + [BEYOND_M, 0, 0], LEVEL["left"])
        yield Move(1.15, left=take, watched=())
        yield Move(0.25 + row.pause(), watched=())
        yield Move(0.35, left_grip=GRIP, watched=())
        yield Move(0.35, right_grip=1.0, watched=())
        leave = row.pose("right", meet + [0.12, 0, 0.02], GIVING, near=giving)
        yield Move(0.6, right=leave, watched=())


def _yaw(rotation: np.ndarray) -> float:
    """Yaw of the cube's nearest equivalent orientation, within 45 degrees (rad)."""
    yaw = np.arctan2(rotation[1, 0], rotation[0, 0])
    return float((yaw + np.pi / 4) % (np.pi / 2) - np.pi / 4)
