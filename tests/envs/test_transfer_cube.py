"""transfer_cube: what counts as a transfer, from states placed by hand, and what does not."""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from regrasp import BatchEnv
from regrasp.envs import View
from regrasp.envs.tasks.transfer_cube import (
    _CUBE_SYMMETRIES,
    TABLE_TOP_M,
    TransferCube,
    TransferCubeCarry,
    nearest_symmetric,
)

TASK = TransferCube()
HALF_M = TASK.half_size_m
OPEN_M, GRASP_M = 0.037, 0.021
"""Finger positions: fully open, and just touching the cube from both sides."""
AWAY = {"shoulder": -1.6, "elbow": 1.5, "wrist_angle": 0.0}
"""An arm folded back, out of reach."""
DOWN, LEVEL = np.pi / 2, 0.0
STEPS = 30


class Scene:
    """Places arms and cube by hand, then plays that state in an environment."""

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

    def cube(
        self, position: Float[np.ndarray, "3"], velocity: tuple[float, float, float] = (0, 0, 0)
    ) -> None:
        self.data.joint("cube").qpos = [*position, 1, 0, 0, 0]
        self.data.joint("cube").qvel[:3] = velocity
        mujoco.mj_forward(self._env.model, self.data)

    def play(self, closing: tuple[str, ...] = ()) -> Iterator[dict]:
        """Hold everything where it is, and close some grippers; what every step says."""
        env, model = self._env, self._env.model
        env.reset(seed=0)
        kept = env.take()
        row = np.zeros_like(kept.row[0])
        mujoco.mj_getState(model, self.data, row, int(mujoco.mjtState.mjSTATE_INTEGRATION))
        env.restore(dataclasses.replace(kept, row=np.repeat(row[None], env.num_envs, axis=0)))
        hold = np.asarray(env.view().joint_pos)
        bias = np.array([self.data.joint(name).qfrc_bias[0] for name in env.workcell.action_names])
        action = hold + np.where(model.actuator_gainprm[:, 0] < 1000, 1, 0) * (
            bias / model.actuator_gainprm[:, 0]
        ).astype(np.float32)
        for side in closing:
            action[:, env.workcell.gripper_columns[("left", "right").index(side)]] = 0
        for _ in range(STEPS):
            _, reward, terminated, _, info = env.step(action)
            yield {
                "success": bool(info["success"][0]),
                "reward": float(reward[0]),
                "terminated": bool(terminated[0]),
                "cube": np.asarray(env.view().body_pos["cube"])[0],
                "touched": {
                    name.removeprefix("cube-"): value[0, 0] > 0
                    for name, value in env.view().sensor.items()
                },
            }
            if terminated[0]:
                return


@pytest.fixture
def scene(nominal: BatchEnv) -> Scene:
    return Scene(nominal)


def successes(heard: list[dict]) -> int:
    return sum(step["success"] for step in heard)


def test_held_by_the_left_gripper_alone_in_the_air_is_success(scene: Scene):
    scene.reach("left", 0.0, 0.2, LEVEL, GRASP_M)
    scene.cube(scene.tips("left"))
    heard = list(scene.play(closing=("left",)))
    assert successes(heard) == 1
    assert heard[-1]["success"]
    assert heard[-1]["terminated"]
    # Held from the first step or the second: success after 0.2 s of that.
    assert round(TASK.hold_s / TASK.control_dt_s) <= len(heard) <= 12
    assert heard[-1]["reward"] == 4
    assert {step["reward"] for step in heard[2:-1]} == {3}


def test_between_open_left_fingers_on_the_table_is_not(scene: Scene):
    scene.reach("left", 0.0, 0.03, DOWN, OPEN_M)
    scene.cube(np.array([0, -0.019, TABLE_TOP_M + HALF_M]))
    heard = list(scene.play())
    assert len(heard) == STEPS
    assert successes(heard) == 0
    assert heard[-1]["touched"]["table"]


def test_squeezed_by_the_left_gripper_on_the_table_is_not(scene: Scene):
    scene.reach("left", 0.0, 0.03, DOWN, GRASP_M)
    scene.cube(np.array([0, -0.019, TABLE_TOP_M + HALF_M]))
    heard = list(scene.play(closing=("left",)))
    touched = heard[-1]["touched"]
    assert touched["left/left_tip"]
    assert touched["left/right_tip"]
    assert touched["table"]
    assert successes(heard) == 0
    assert heard[-1]["reward"] == 1


def test_held_by_both_grippers_is_not(scene: Scene):
    scene.reach("left", -0.012, 0.2, LEVEL, GRASP_M)
    scene.reach("right", 0.012, 0.2, LEVEL, GRASP_M, roll=np.pi / 2)
    scene.cube(np.array([0, -0.019, 0.2]))
    heard = list(scene.play(closing=("left", "right")))
    touched = heard[-1]["touched"]
    assert all(
        touched[f"{side}/{tip}_tip"] for side in ("left", "right") for tip in ("left", "right")
    )
    assert successes(heard) == 0
    assert heard[-1]["reward"] == 3


def test_held_by_the_right_gripper_is_not(scene: Scene):
    scene.reach("right", 0.0, 0.2, LEVEL, GRASP_M)
    scene.cube(scene.tips("right"))
    heard = list(scene.play(closing=("right",)))
    assert heard[-1]["cube"][2] > 0.15
    assert successes(heard) == 0
    assert heard[-1]["reward"] == 2


@pytest.mark.parametrize("side_m", [-0.05, 0.0, 0.05])
def test_falling_past_the_left_gripper_is_not(scene: Scene, side_m: float):
    scene.reach("left", 0.0, 0.2, LEVEL, OPEN_M)
    scene.cube(scene.tips("left") + np.array([0, side_m, 0.12]), velocity=(0, 0, -1))
    heard = list(scene.play())
    assert successes(heard) == 0


@pytest.mark.parametrize("aim_m", [-0.03, 0.0, 0.03])
def test_thrown_at_the_left_gripper_is_not(scene: Scene, aim_m: float):
    scene.reach("left", 0.0, 0.2, LEVEL, OPEN_M)
    scene.cube(scene.tips("left") + np.array([0.15, aim_m, 0.01]), velocity=(-1.5, 0, 0.4))
    tips, heard = scene.tips("left"), list(scene.play())
    assert min(np.linalg.norm(step["cube"] - tips) for step in heard) < 0.05
    assert successes(heard) == 0


@pytest.mark.parametrize("finger_m", [0.003, 0.015])
def test_lying_on_top_of_the_left_gripper_is_not(scene: Scene, finger_m: float):
    scene.reach("left", 0.0, 0.2, LEVEL, finger_m)
    scene.cube(scene.tips("left") + np.array([0, 0, HALF_M + 0.0095]))
    heard = list(scene.play())
    touched = heard[8]["touched"]
    assert touched["left/left_tip"]
    assert touched["left/right_tip"]
    assert successes(heard) == 0


def test_falling_off_the_table_is_failure(scene: Scene):
    scene.cube(np.array([0.0, 0.5, 0.0]))
    heard = list(scene.play())
    assert heard[-1]["terminated"]
    assert not heard[-1]["success"]
    assert heard[-1]["cube"][2] < TASK.low_m


def test_starts_lie_in_the_square_and_turn_all_ways():
    starts = jax.vmap(TASK.initial)(jax.random.split(jax.random.key(0), 4000))
    pose = np.asarray(starts.qpos["cube"])
    for column, (low, high) in enumerate((TASK.start_x_m, TASK.start_y_m)):
        assert high - low == pytest.approx(0.2)
        assert low <= pose[:, column].min() < low + 0.001
        assert high - 0.001 < pose[:, column].max() <= high
    yaw = 2 * np.arctan2(pose[:, 6], pose[:, 3])
    assert (np.histogram(yaw, 8, (-np.pi, np.pi))[0] > 400).all()
    np.testing.assert_allclose(pose[:, 2], TABLE_TOP_M + HALF_M, atol=1e-7)


SENSORS = tuple(TASK.watch().sensors)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=len(SENSORS), max_size=len(SENSORS)), st.floats(0, 0.3))
def test_reward_stages_contain_each_other(touched: list[bool], held_s: float):
    """Each stage implies the one before it, so the reward counts 0 to 4."""
    sizes = [4 if name in ("cube-left/left_tip", "cube-left/right_tip") else 1 for name in SENSORS]
    signs = [-1 if name.endswith("/left_tip") else 1 for name in SENSORS]
    view = View(
        joint_pos=jnp.zeros(14),
        target=jnp.zeros(14),
        joint_vel=jnp.zeros(14),
        site_pos={name: jnp.zeros(3) for name in TASK.watch().sites},
        body_pos={"cube": jnp.zeros(3)},
        body_quat={"cube": jnp.array([1.0, 0, 0, 0])},
        sensor={
            name: jnp.array([1, sign, 0, 0][:size], jnp.float32) * found
            for name, size, sign, found in zip(SENSORS, sizes, signs, touched, strict=True)
        },
    )
    carry = TASK.update(view, TransferCubeCarry(jnp.float32(held_s)))
    terms = TASK.reward(view, carry)
    stages = [bool(terms[name]) for name in ("touched", "lifted", "shared", "transferred")]
    assert stages == sorted(stages, reverse=True)
    assert bool(TASK.success(view, carry)) == stages[-1]


def quaternions() -> st.SearchStrategy[np.ndarray]:
    numbers = st.lists(st.floats(-1, 1), min_size=4, max_size=4)
    return numbers.map(np.array).filter(lambda q: np.linalg.norm(q) > 0.1)


@settings(max_examples=60, deadline=None)
@given(quaternions())
def test_cubes_that_look_the_same_are_seen_the_same(quat: np.ndarray):
    rotation = Rotation.from_quat(quat).as_matrix().astype(np.float32)
    seen = np.array([nearest_symmetric(jnp.array(rotation @ s)) for s in _CUBE_SYMMETRIES])
    # A rotation, of this very cube, ...
    for matrix in seen:
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-5)
        assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-5)
        assert np.abs(rotation @ _CUBE_SYMMETRIES - matrix).max(axis=(1, 2)).min() < 1e-5
    # ... turned least, and the same for all that look alike (but for ties between two).
    traces = np.sort(np.trace(rotation @ _CUBE_SYMMETRIES, axis1=1, axis2=2))
    np.testing.assert_allclose(np.trace(seen, axis1=1, axis2=2), traces[-1], atol=1e-5)
    if traces[-1] - traces[-2] > 1e-4:
        np.testing.assert_allclose(seen, seen[:1].repeat(24, axis=0), atol=1e-5)


def test_the_symmetries_are_the_24_rotations_of_a_cube():
    assert len(np.unique(_CUBE_SYMMETRIES, axis=0)) == len(_CUBE_SYMMETRIES) == 24
    products = _CUBE_SYMMETRIES[:, None] @ _CUBE_SYMMETRIES[None]
    assert len(np.unique(products.reshape(-1, 9), axis=0)) == 24
