"""transfer_cube: what counts as a transfer, from states placed by hand, and what does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from tests.envs.scene import DOWN, GRASP_M, LEVEL, OPEN_M, Scene, successes

from regrasp import BatchEnv
from regrasp.envs import View
from regrasp.envs.tasks.parts import _CUBE_SYMMETRIES, RESTING_M, TABLE_TOP_M, nearest_symmetric
from regrasp.envs.tasks.transfer_cube import TransferCube, TransferCubeCarry

TASK = TransferCube()
HALF_M = TASK.half_size_m


@pytest.fixture
def scene(nominal: BatchEnv) -> Scene:
    return Scene(nominal)


def test_held_by_the_left_gripper_alone_in_the_air_is_success(scene: Scene):
    scene.reach("left", 0.0, 0.2, LEVEL, GRASP_M)
    scene.place("cube", scene.tips("left"))
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
    scene.place("cube", np.array([0, -0.019, TABLE_TOP_M + HALF_M]))
    heard = list(scene.play())
    assert len(heard) == 30
    assert successes(heard) == 0
    assert "cube-table" in heard[-1]["touched"]


def test_squeezed_by_the_left_gripper_on_the_table_is_not(scene: Scene):
    scene.reach("left", 0.0, 0.03, DOWN, GRASP_M)
    scene.place("cube", np.array([0, -0.019, TABLE_TOP_M + HALF_M]))
    heard = list(scene.play(closing=("left",)))
    touched = heard[-1]["touched"]
    assert "cube-left/left_tip" in touched
    assert "cube-left/right_tip" in touched
    assert "cube-table" in touched
    assert successes(heard) == 0
    assert heard[-1]["reward"] == 1


def test_held_by_both_grippers_is_not(scene: Scene):
    scene.reach("left", -0.012, 0.2, LEVEL, GRASP_M)
    scene.reach("right", 0.012, 0.2, LEVEL, GRASP_M, roll=np.pi / 2)
    scene.place("cube", np.array([0, -0.019, 0.2]))
    heard = list(scene.play(closing=("left", "right")))
    touched = heard[-1]["touched"]
    assert all(
        f"cube-{side}/{tip}_tip" in touched
        for side in ("left", "right")
        for tip in ("left", "right")
    )
    assert successes(heard) == 0
    assert heard[-1]["reward"] == 3


def test_held_by_the_right_gripper_is_not(scene: Scene):
    scene.reach("right", 0.0, 0.2, LEVEL, GRASP_M)
    scene.place("cube", scene.tips("right"))
    heard = list(scene.play(closing=("right",)))
    assert heard[-1]["at"]["cube"][2] > 0.15
    assert successes(heard) == 0
    assert heard[-1]["reward"] == 2


@pytest.mark.parametrize("side_m", [-0.05, 0.0, 0.05])
def test_falling_past_the_left_gripper_is_not(scene: Scene, side_m: float):
    scene.reach("left", 0.0, 0.2, LEVEL, OPEN_M)
    scene.place("cube", scene.tips("left") + np.array([0, side_m, 0.12]), velocity=(0, 0, -1))
    heard = list(scene.play())
    assert successes(heard) == 0


@pytest.mark.parametrize("aim_m", [-0.03, 0.0, 0.03])
def test_thrown_at_the_left_gripper_is_not(scene: Scene, aim_m: float):
    scene.reach("left", 0.0, 0.2, LEVEL, OPEN_M)
    scene.place("cube", scene.tips("left") + np.array([0.15, aim_m, 0.01]), velocity=(-1.5, 0, 0.4))
    tips, heard = scene.tips("left"), list(scene.play())
    assert min(np.linalg.norm(step["at"]["cube"] - tips) for step in heard) < 0.05
    assert successes(heard) == 0


@pytest.mark.parametrize("finger_m", [0.003, 0.015])
def test_lying_on_top_of_the_left_gripper_is_not(scene: Scene, finger_m: float):
    scene.reach("left", 0.0, 0.2, LEVEL, finger_m)
    scene.place("cube", scene.tips("left") + np.array([0, 0, HALF_M + 0.0095]))
    heard = list(scene.play())
    touched = heard[8]["touched"]
    assert "cube-left/left_tip" in touched
    assert "cube-left/right_tip" in touched
    assert successes(heard) == 0


def test_falling_off_the_table_is_failure(scene: Scene):
    scene.place("cube", np.array([0.0, 0.5, 0.0]))
    heard = list(scene.play())
    assert heard[-1]["terminated"]
    assert not heard[-1]["success"]
    assert heard[-1]["at"]["cube"][2] < TASK.low_m


def test_starts_lie_in_the_square_and_turn_all_ways():
    starts = jax.vmap(TASK.initial)(jax.random.split(jax.random.key(0), 4000))
    pose = np.asarray(starts.qpos["cube"])
    for column, (low, high) in enumerate((TASK.start_x_m, TASK.start_y_m)):
        assert high - low == pytest.approx(0.2)
        assert low <= pose[:, column].min() < low + 0.001
        assert high - 0.001 < pose[:, column].max() <= high
    yaw = 2 * np.arctan2(pose[:, 6], pose[:, 3])
    assert (np.histogram(yaw, 8, (-np.pi, np.pi))[0] > 400).all()
    np.testing.assert_allclose(pose[:, 2], RESTING_M + HALF_M, atol=1e-7)


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
