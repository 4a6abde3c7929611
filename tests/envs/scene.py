"""States placed by hand, for audits of what counts as success."""

import dataclasses
from collections.abc import Iterator, Mapping

import mujoco
import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares

from regrasp import BatchEnv

OPEN_M, GRASP_M = 0.037, 0.021
"""Finger positions: fully open, and just touching the cube from both sides."""
AWAY = {"shoulder": -1.6, "elbow": 1.5, "wrist_angle": 0.0}
"""An arm folded back, out of reach."""
DOWN, LEVEL = np.pi / 2, 0.0


class Scene:
    """Places arms and objects by hand, then plays that state in an environment."""

    def __init__(self, env: BatchEnv):
        self._env = env
        self.data = mujoco.MjData(env.model)
        self._home = env.workcell.home_qpos()
        for name, position in self._home.items():
            self.data.joint(name).qpos = position
        for side in ("left", "right"):
            self.arm(side, AWAY, OPEN_M)

    def arm(self, side: str, joints: dict[str, float], finger_m: float) -> None:
        for name, value in joints.items():
            self.data.joint(f"{side}/{name}").qpos = value
        for finger in ("left", "right"):
            self.data.joint(f"{side}/{finger}_finger").qpos = finger_m
        mujoco.mj_forward(self._env.model, self.data)

    def tips(self, side: str) -> np.ndarray:
        """The point between the finger tips (m)."""
        return np.mean([self.data.geom(f"{side}/{f}_tip").xpos for f in ("left", "right")], axis=0)

    def reach(
        self, side: str, x: float, z: float, pitch: float, finger_m: float, roll: float = 0.0
    ) -> None:
        """Put the point between a gripper's tips at (x, z), pointing down by `pitch`."""
        names = ("shoulder", "elbow", "wrist_angle")

        def miss(angles: np.ndarray) -> np.ndarray:
            joints = dict(zip(names, angles, strict=True)) | {"wrist_rotate": roll}
            self.arm(side, joints, finger_m)
            at = self.tips(side)
            return np.array([at[0] - x, at[2] - z, 0.1 * (angles.sum() - pitch)])

        limits = np.array([self._env.model.joint(f"{side}/{n}").range for n in names]).T
        start = np.array([-0.5, 0.9, pitch - 0.4]).clip(limits[0] + 0.01, limits[1] - 0.01)
        found = least_squares(miss, start, bounds=limits)
        assert np.abs(found.fun).max() < 1e-4, f"{side} gripper cannot reach {x}, {z}"

    def place(
        self,
        name: str,
        position: Float[np.ndarray, "3"],
        velocity: tuple[float, float, float] = (0, 0, 0),
        quat: tuple[float, float, float, float] = (1, 0, 0, 0),
    ) -> None:
        """Put a free object somewhere (m), turned (w first), moving (m/s)."""
        self.data.joint(name).qpos = [*position, *quat]
        self.data.joint(name).qvel[:3] = velocity
        mujoco.mj_forward(self._env.model, self.data)

    def play(
        self,
        closing: tuple[str, ...] = (),
        steps: int = 30,
        opening: tuple[str, ...] = (),
        carry: Mapping[str, float] | None = None,
    ) -> Iterator[dict]:
        """Hold everything where it is, close or open some grippers; what every step says.

        `carry` sets what the task remembers, by the names of its carry.
        """
        env, model = self._env, self._env.model
        env.reset(seed=0)
        kept = env.take()
        row = np.zeros_like(kept.row[0])
        mujoco.mj_getState(model, self.data, row, int(mujoco.mjtState.mjSTATE_INTEGRATION))
        kept.carry.update(
            {
                f"task.{n}": np.full_like(kept.carry[f"task.{n}"], v)
                for n, v in (carry or {}).items()
            }
        )
        env.restore(dataclasses.replace(kept, row=np.repeat(row[None], env.num_envs, axis=0)))
        hold = np.asarray(env.view().joint_pos)
        bias = np.array([self.data.joint(name).qfrc_bias[0] for name in env.workcell.action_names])
        action = hold + np.where(model.actuator_gainprm[:, 0] < 1000, 1, 0) * (
            bias / model.actuator_gainprm[:, 0]
        ).astype(np.float32)
        for side in closing:
            action[:, env.workcell.gripper_columns[("left", "right").index(side)]] = 0
        for side in opening:
            action[:, env.workcell.gripper_columns[("left", "right").index(side)]] = 1
        for _ in range(steps):
            _, reward, terminated, _, info = env.step(action)
            yield {
                "success": bool(info["success"][0]),
                "reward": float(reward[0]),
                "terminated": bool(terminated[0]),
                "at": {n: np.asarray(p)[0] for n, p in env.view().body_pos.items()},
                "touched": {n for n, v in env.view().sensor.items() if "-" in n and v[0, 0] > 0},
            }
            if terminated[0]:
                return


def successes(heard: list[dict]) -> int:
    """In how many steps success was announced."""
    return sum(step["success"] for step in heard)
