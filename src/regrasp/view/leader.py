"""You, from the page: two gripper targets that the arms follow, and two openings."""

from copy import copy
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from regrasp.assets import SIDES
from regrasp.envs import BatchEnv
from regrasp.errors import InputError, unknown
from regrasp.rl.experts.ik import Reach
from regrasp.view.actors import ONE, Stepped

JOINT_SPEED = 1.5
"""How fast commands move a joint at most (rad/s): a hand that is dragged jumps, an arm must not."""
GRIP_SPEED = 2.0
"""How fast they open and close a gripper (openings per second)."""
REACHED_M = 0.01
"""A target is out of reach if the arm would stay further away than this."""


class Pose(NamedTuple):
    """Where a gripper is, or should be."""

    position: Float[np.ndarray, "3"]
    """Of the gripper site (m)."""
    rotation: Float[np.ndarray, "3 3"]
    """Its axes as columns."""


class Leader:
    """Holds both arms where they have been sent, and leads them to where you drag their grippers."""

    name, executor = "leader", ONE

    def __init__(self, env: BatchEnv):
        """Nothing is dragged yet.

        Args:
            env: whose arms; the first row's are led, others do the same.
        """
        self._workcell = env.workcell
        self._reach: dict[str, Reach] = {}
        self._columns = columns(env)
        self._goal = np.array(env.control.home, float)
        self._sent = self._goal.copy()

    def hold(self, env: BatchEnv) -> None:
        """Take over from whoever acted: stay with the last command."""
        self._sent = np.asarray(env.view().target, float)[0].copy()
        self._goal = self._sent.copy()

    def aim(self, side: str, pose: Pose) -> float:
        """Lead a gripper to a pose of the world frame.

        Args:
            side: left or right.
            pose: of its site.

        Returns:
            How far from it the gripper will stay (m); more than REACHED_M is out of reach, and the arm goes
            as near as it can.

        Raises:
            InputError: there is no such side, or the pose is not finite.
        """
        if side not in SIDES:
            raise unknown("side", side, SIDES)
        if not all(np.isfinite(part).all() for part in pose):
            raise InputError(f"the target of the {side} gripper is not finite: drag it again")
        reach, angles = self._arm(side), self._columns[side]
        # From where the arm is led now: gravity's share of that command is small enough to start with.
        found, miss = reach.solve(
            np.asarray(pose.position, float), np.asarray(pose.rotation, float), self._goal[angles]
        )
        self._goal[angles] = reach.command(found)
        return miss

    def grip(self, side: str, opening: float) -> None:
        """Open (1) or close (0) a gripper."""
        column = self._workcell.gripper_columns[SIDES.index(side)]
        self._goal[column] = np.clip(opening, 0, 1)

    def opening(self, side: str) -> float:
        """How far a gripper is told to open."""
        return float(self._goal[self._workcell.gripper_columns[SIDES.index(side)]])

    def start(self, env: BatchEnv, keys: np.ndarray) -> None:
        del keys
        self.hold(env)

    def step(self, env: BatchEnv, step: int) -> Stepped:
        del step
        most = np.full(len(self._goal), JOINT_SPEED)
        most[list(self._workcell.gripper_columns)] = GRIP_SPEED
        most *= env.task.control_dt_s
        self._sent = self._sent + np.clip(self._goal - self._sent, -most, most)
        return env.step(np.repeat(self._sent[None].astype(np.float32), env.num_envs, axis=0))

    def memory(self) -> Any:
        return self._goal.copy(), self._sent.copy()

    def recall(self, env: BatchEnv, memory: Any) -> None:
        if memory is None:
            self.hold(env)
        else:
            self._goal, self._sent = (part.copy() for part in memory)

    def another(self, noise: float | None = None) -> "Leader":
        del noise
        other = copy(self)
        other._goal, other._sent = self._goal.copy(), self._sent.copy()
        return other

    def _arm(self, side: str) -> Reach:
        """Inverse kinematics, made when an arm is first dragged."""
        if side not in self._reach:
            self._reach[side] = Reach(self._workcell, side)
        return self._reach[side]


def columns(env: BatchEnv) -> dict[str, slice]:
    """Where the arm joints of each side stand in an action."""
    size = len(env.workcell.arm.joints)
    return {side: slice(i * size, (i + 1) * size - 1) for i, side in enumerate(SIDES)}


def gripper_pose(env: BatchEnv, side: str, row: int = 0) -> Pose:
    """Where a gripper is now."""
    data, site = env.row_data(row), env.model.site(f"{side}/gripper").id
    return Pose(data.site_xpos[site].copy(), data.site_xmat[site].reshape(3, 3).copy())
