"""Inverse kinematics of one arm of a workcell, by mink."""

from typing import Any

import mink
import mujoco
import numpy as np
from jaxtyping import Float

from regrasp.assets import Workcell

_STEP_S = 0.2
_MAX_ITERATIONS = 60
_TURN_RAD = 0.45
"""A larger turn is solved in parts: Newton's steps diverge on it."""


DOWN = {
    "left": np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]),
    "right": np.array([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]]),
}
"""Gripper pointing down, fingers closing along y. Axes as columns: x points out of the hand, the fingers
close along y."""
LEVEL = {"left": np.eye(3), "right": np.diag([-1.0, -1.0, 1.0])}
"""Gripper pointing at the other arm, fingers closing along y."""


class Reach:
    """Finds servo commands that hold a gripper at a pose, for one arm at its place in the workcell."""

    def __init__(self, workcell: Workcell, side: str):
        """Compile the arm alone.

        Args:
            workcell: where the arm stands.
            side: left or right.
        """
        spec = workcell.spec()
        other = "right" if side == "left" else "left"
        spec.delete(spec.body(f"{other}/{spec_root(workcell)}"))
        self._model = spec.compile()
        self._configuration = mink.Configuration(self._model)
        # An arm of fewer than six joints cannot turn its hand every way: there its place matters more.
        turn = 0.2 if len(workcell.arm.joints) > 6 else 0.03
        self._gripper = mink.FrameTask(
            f"{side}/gripper", "site", position_cost=1.0, orientation_cost=turn, lm_damping=1e-4
        )
        self._posture = mink.PostureTask(self._model, cost=1e-4)
        self._limits = [mink.ConfigurationLimit(self._model)]
        joints = [self._model.joint(f"{side}/{name}") for name in workcell.arm.joint_names[:-1]]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dofs = np.array([joint.dofadr[0] for joint in joints])
        self._first = f"{side}/{workcell.arm.joint_names[0]}"
        self._ahead_rad = 0.0 if side == "left" else np.pi
        self._kp = np.array([joint.servo.kp for joint in workcell.arm.joints[:-1]])
        self._home = np.array(self._model.qpos0)
        for name, position in workcell.home_qpos().items():
            if name.startswith(f"{side}/"):
                self._home[self._model.joint(name).qposadr[0]] = position

    @property
    def home(self) -> Float[np.ndarray, " joints"]:
        """Joint angles at home (rad)."""
        return self._home[self._qpos]

    def solve(
        self,
        position: Float[np.ndarray, "3"],
        rotation: Float[np.ndarray, "3 3"],
        near: Float[np.ndarray, " joints"],
    ) -> tuple[Float[np.ndarray, " joints"], float]:
        """Joint angles that put the gripper site at a pose of the world frame.

        Args:
            position: of the site (m).
            rotation: its axes as columns.
            near: joint angles to start from and stay near (rad).

        Returns:
            The angles, and how far the site stays from `position` (m).
        """
        start, turn = self.place(near)
        parts = int(np.ceil(_angle(turn, rotation) / _TURN_RAD)) or 1
        for share in np.arange(1, parts) / parts:
            where = start + share * (position - start)
            near, _ = self._solve(where, between(turn, rotation, share), near)
        return self._solve(position, rotation, near)

    def facing(self, spot: Float[Any, "_"]) -> float:
        """The angle of the arm's first joint at which it faces a spot (m; its height does not matter)."""
        away = self.towards(spot)
        angle = np.arctan2(away[1], away[0]) - self._ahead_rad
        axis = self._configuration.data.joint(self._first).xaxis
        return float(np.sign(axis[2]) * ((angle + np.pi) % (2 * np.pi) - np.pi))

    def towards(self, spot: Float[Any, "_"]) -> Float[np.ndarray, "2"]:
        """The horizontal direction from the arm's first joint to a spot, of length 1."""
        self._configuration.update(self._home)
        away = np.asarray(spot)[:2] - self._configuration.data.joint(self._first).xanchor[:2]
        return np.asarray(away / np.linalg.norm(away))

    def place(
        self, angles: Float[np.ndarray, " joints"]
    ) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]]:
        """Where the gripper site is at these angles: position (m) and axes as columns."""
        q = self._home.copy()
        q[self._qpos] = angles
        self._configuration.update(q)
        pose = self._configuration.get_transform_frame_to_world(self._gripper.frame_name, "site")
        return pose.translation(), pose.rotation().as_matrix()

    def _solve(
        self, position: np.ndarray, rotation: np.ndarray, near: np.ndarray
    ) -> tuple[np.ndarray, float]:
        start = self._home.copy()
        start[self._qpos] = near
        self._configuration.update(start)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, position
        self._gripper.set_target(mink.SE3.from_matrix(pose))
        self._posture.set_target(start)
        for _ in range(_MAX_ITERATIONS):
            velocity = mink.solve_ik(
                self._configuration,
                [self._gripper, self._posture],
                _STEP_S,
                solver="daqp",
                damping=1e-6,
                limits=self._limits,
            )
            self._configuration.integrate_inplace(velocity, _STEP_S)
            if np.abs(velocity).max() * _STEP_S < 1e-3:
                break
        error = float(np.linalg.norm(self._gripper.compute_error(self._configuration)[:3]))
        return self._configuration.q[self._qpos].copy(), error

    def command(self, angles: Float[np.ndarray, " joints"]) -> Float[np.ndarray, " joints"]:
        """The servo targets under which the nominal arm rests at these angles: gravity makes it sag."""
        q = self._home.copy()
        q[self._qpos] = angles
        data = self._configuration.data
        data.qpos[:], data.qvel[:] = q, 0
        mujoco.mj_forward(self._model, data)
        # What the model's own compensation carries is not the servos' to hold.
        return angles + (data.qfrc_bias - data.qfrc_gravcomp)[self._dofs] / self._kp


def between(
    first: Float[np.ndarray, "3 3"], last: Float[np.ndarray, "3 3"], share: float
) -> Float[np.ndarray, "3 3"]:
    """The rotation that lies a share of the way from one to another."""
    start = mink.SO3.from_matrix(first)
    way = (start.inverse() @ mink.SO3.from_matrix(last)).log()
    return (start @ mink.SO3.exp(share * way)).as_matrix()


def _angle(first: np.ndarray, last: np.ndarray) -> float:
    return float(np.arccos(np.clip((np.trace(first.T @ last) - 1) / 2, -1, 1)))


def spec_root(workcell: Workcell) -> str:
    """Name of the arm's root body."""
    return workcell.arm.spec().worldbody.first_body().name
