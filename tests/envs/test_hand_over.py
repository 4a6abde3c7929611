"""hand_over: what counts as a bar passed and put down, from states placed by hand, and what does not."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from tests.envs.scene import DOWN, LEVEL, OPEN_M, Scene, successes

import regrasp
from regrasp import BatchEnv
from regrasp.assets import SIDES
from regrasp.envs import View, episode_keys
from regrasp.envs.tasks.hand_over import (
    LIFTED,
    PASSED,
    SET_DOWN,
    SHARED,
    WAITING,
    HandOver,
    HandOverCarry,
    watched,
)
from regrasp.envs.tasks.parts import BAR_SYMMETRIES, RESTING_M, TABLE_TOP_M, tips
from regrasp.errors import InputError
from regrasp.rl.experts import load_expert
from regrasp.rl.experts.ik import Reach

TASK = HandOver()
HALF_M = TASK.bar_width_m / 2
LYING_M = TABLE_TOP_M + HALF_M
CELL = TASK.workcell()
ROW_M = CELL.stand_m[1]
"""The arms' plane, in y."""
REACH_M = CELL.reach_m
HANDS = {side: watched(CELL, side) for side in SIDES}
GOAL_M = np.array([-0.1, ROW_M])
"""Where the audits put the goal: in front of the left arm."""
GRIP_M, SHUT_M = 0.0165, 0.0077
"""Finger positions: just touching the bar from both sides, and each other."""
STEPS = round(TASK.rest_s / TASK.control_dt_s)
ON_END = (np.sqrt(0.5), 0.0, np.sqrt(0.5), 0.0)


@pytest.fixture(scope="module")
def env() -> BatchEnv:
    return regrasp.make("hand_over", 2, threads=1, autoreset=AutoresetMode.DISABLED)


@pytest.fixture
def scene(env: BatchEnv) -> Scene:
    scene = Scene(env)
    scene.data.joint("goal_x").qpos, scene.data.joint("goal_y").qpos = GOAL_M
    return scene


def at_goal(x_m: float = 0.0, z_m: float = LYING_M, y_m: float = 0.0) -> np.ndarray:
    """A place beside the goal, or above it."""
    return np.array([GOAL_M[0] + x_m, GOAL_M[1] + y_m, z_m])


def stages(heard: list[dict]) -> set[int]:
    """The stages that were reported."""
    return {round(float(step["stage"])) for step in heard}


def play(scene: Scene, env: BatchEnv, stage: int = WAITING, **how) -> list[dict]:
    """Hold on after that stage; what every step says, with the stage that it leads to."""
    heard = []
    for step in scene.play(carry={"stage": stage}, **{"steps": 40, **how}):
        heard.append(step | {"stage": env.take(0).carry["task.stage"]})
    return heard


# ---- lying at the goal ----


@pytest.mark.parametrize("miss", [(0.0, 0.0), (0.018, 0.0), (-0.012, 0.012)])
def test_let_down_at_the_goal_and_let_go_is_success(scene: Scene, env: BatchEnv, miss: tuple):
    scene.place("bar", at_goal(miss[0], y_m=miss[1]))
    heard = play(scene, env, SET_DOWN)
    assert successes(heard) == 1
    assert heard[-1]["terminated"]
    assert STEPS <= len(heard) <= STEPS + 2
    assert heard[-1]["reward"] == 6
    assert {step["reward"] for step in heard[:-1]} == {5}


@pytest.mark.parametrize("miss", [(0.023, 0.0), (-0.016, 0.016), (0.0, -0.1)])
def test_beside_the_goal_is_not(scene: Scene, env: BatchEnv, miss: tuple):
    scene.place("bar", at_goal(miss[0], y_m=miss[1]))
    heard = play(scene, env, SET_DOWN)
    assert successes(heard) == 0
    assert {step["reward"] for step in heard} == {4}


@pytest.mark.parametrize("stage", [WAITING, LIFTED, SHARED, PASSED])
def test_at_the_goal_without_having_been_passed_and_let_down_is_not(
    scene: Scene, env: BatchEnv, stage: int
):
    """However it came there: pushed, slid, thrown, dropped, or laid down by the right hand."""
    scene.place("bar", at_goal())
    heard = play(scene, env, stage)
    assert successes(heard) == 0
    assert heard[-1]["reward"] == 0
    assert stages(heard) == {WAITING}


def test_let_go_by_the_left_hand_is_success_once_it_is_open(scene: Scene, env: BatchEnv):
    scene.reach("left", GOAL_M[0], 0.03, DOWN, GRIP_M)
    scene.place("bar", at_goal())
    heard = play(scene, env, PASSED, closing=("left",), steps=20)
    assert stages(heard[5:]) == {SET_DOWN}
    scene.reach("left", GOAL_M[0], 0.03, DOWN, 0.03)
    heard = play(scene, env, SET_DOWN, opening=("left",))
    assert successes(heard) == 1


@pytest.mark.parametrize("x_m", [-0.03, 0.0])
def test_still_held_at_the_goal_is_not(scene: Scene, env: BatchEnv, x_m: float):
    scene.reach("left", GOAL_M[0] + x_m, 0.03, DOWN, GRIP_M)
    scene.place("bar", at_goal())
    heard = play(scene, env, SET_DOWN, closing=("left",))
    assert {f"bar-{tip}" for tip in tips("left")} <= heard[-1]["touched"]
    assert heard[-1]["reward"] == 5
    assert successes(heard) == 0


def test_under_the_closed_left_fingers_is_not(scene: Scene, env: BatchEnv):
    scene.place("bar", at_goal())
    scene.reach("left", GOAL_M[0], LYING_M + HALF_M + 0.019, DOWN, SHUT_M)
    heard = play(scene, env, SET_DOWN)
    assert any(name.startswith("bar-left/") for name in heard[-1]["touched"])
    assert successes(heard) == 0


def test_touched_by_the_right_hand_is_not_and_undoes_the_pass(scene: Scene, env: BatchEnv):
    scene.place("bar", at_goal())
    scene.reach("right", GOAL_M[0] + 0.03, LYING_M + HALF_M + 0.019, DOWN, SHUT_M)
    heard = play(scene, env, SET_DOWN)
    assert any(name.startswith("bar-right/") for name in heard[-1]["touched"])
    assert stages(heard[4:]) == {WAITING}
    assert successes(heard) == 0


def test_lying_on_the_left_gripper_is_not(scene: Scene, env: BatchEnv):
    scene.reach("left", GOAL_M[0], 0.03, LEVEL, 0.012)
    scene.place("bar", scene.tips("left") + [0, 0, HALF_M + 0.0092], quat=(0.7071, 0, 0, 0.7071))
    heard = play(scene, env, SET_DOWN)
    assert {f"bar-{tip}" for tip in tips("left")} <= heard[-1]["touched"]
    assert successes(heard) == 0


def test_leaning_on_the_left_hand_is_not(scene: Scene, env: BatchEnv):
    scene.reach("left", GOAL_M[0] - 0.04, 0.03, DOWN, SHUT_M)
    quat = np.roll(Rotation.from_euler("y", 0.5).as_quat(), 1)
    scene.place("bar", at_goal(0.0, TABLE_TOP_M + 0.045), quat=tuple(quat))
    heard = play(scene, env, SET_DOWN, steps=60)
    assert any(name.startswith("bar-left/") for name in heard[-1]["touched"])
    assert abs(heard[-1]["at"]["bar"][0] - GOAL_M[0]) < 0.05
    assert successes(heard) == 0


def test_standing_on_its_end_is_not(scene: Scene, env: BatchEnv):
    scene.place("bar", at_goal(z_m=TABLE_TOP_M + TASK.bar_length_m / 2), quat=ON_END)
    heard = play(scene, env, SET_DOWN, steps=60)
    assert heard[-1]["at"]["bar"][2] > 0.05
    assert {step["reward"] for step in heard} == {5}


@pytest.mark.parametrize("speed_m_s", [1.1, 1.5])
def test_sliding_through_the_goal_is_not(scene: Scene, env: BatchEnv, speed_m_s: float):
    scene.place("bar", at_goal(-0.03), velocity=(speed_m_s, 0, 0))
    heard = play(scene, env, SET_DOWN)
    miss = [np.linalg.norm(step["at"]["bar"][:2] - GOAL_M) for step in heard]
    assert min(miss) < TASK.goal_radius_m < miss[-1]
    assert successes(heard) == 0


def test_under_the_table_is_not(scene: Scene, env: BatchEnv):
    scene.place("bar", at_goal(z_m=-0.42 - HALF_M))
    heard = play(scene, env, SET_DOWN)
    assert heard[-1]["terminated"]
    assert successes(heard) == 0


def test_leaning_on_the_edge_of_the_table_is_not(scene: Scene, env: BatchEnv):
    """Half over the edge it falls, and while it tips it is not at rest."""
    edge = np.array([GOAL_M[0], -0.37 - 0.002, LYING_M])
    scene.data.joint("goal_y").qpos = edge[1]
    scene.place("bar", edge, quat=(0.7071, 0, 0, 0.7071))
    assert successes(play(scene, env, SET_DOWN, steps=60)) == 0


# ---- in the air ----


def hold(scene: Scene, *sides: str, height_m: float = 0.2) -> None:
    """Hands at their ends of a bar in the air, about to squeeze."""
    scene.place("bar", np.array([0.0, ROW_M, height_m]))
    for side, x in (("left", -0.04), ("right", 0.04)):
        if side in sides:
            scene.reach(side, x, height_m, LEVEL, GRIP_M)


def test_lifted_by_the_right_then_held_by_both(scene: Scene, env: BatchEnv):
    hold(scene, *SIDES)
    heard = play(scene, env, closing=SIDES)
    assert stages(heard[10:]) == {SHARED}
    assert heard[-1]["reward"] == 3
    assert successes(heard) == 0


def test_held_by_the_right_alone_is_lifted(scene: Scene, env: BatchEnv):
    hold(scene, "right")
    heard = play(scene, env, closing=("right",))
    assert heard[-1]["stage"] == LIFTED
    assert heard[-1]["reward"] == 2


def test_after_both_the_left_alone_has_been_passed(scene: Scene, env: BatchEnv):
    hold(scene, "left")
    heard = play(scene, env, SHARED, closing=("left",))
    assert heard[-1]["stage"] == PASSED
    first = next(i for i, step in enumerate(heard) if step["stage"] == PASSED)
    assert TASK.pass_s / TASK.control_dt_s - 1 <= first <= 8
    assert heard[-1]["reward"] == 4
    assert successes(heard) == 0


@pytest.mark.parametrize("stage", [WAITING, LIFTED])
def test_caught_by_the_left_has_not_been_passed(scene: Scene, env: BatchEnv, stage: int):
    """The hands have never held it together."""
    hold(scene, "left")
    heard = play(scene, env, stage, closing=("left",))
    assert heard[-1]["at"]["bar"][2] > 0.15
    assert max(stages(heard)) <= LIFTED


@pytest.mark.parametrize("stage", [LIFTED, SHARED, PASSED, SET_DOWN])
def test_flying_undoes_everything(scene: Scene, env: BatchEnv, stage: int):
    scene.place("bar", at_goal(0.1, 0.15), velocity=(-0.5, 0, 0.3))
    heard = play(scene, env, stage, steps=60)
    assert stages(heard) == {WAITING}
    assert successes(heard) == 0


def test_falling_off_the_table_is_failure(scene: Scene, env: BatchEnv):
    scene.place("bar", np.array([0.0, 0.5, 0.0]))
    heard = play(scene, env, SET_DOWN)
    assert heard[-1]["terminated"]
    assert not heard[-1]["success"]
    assert heard[-1]["at"]["bar"][2] < TASK.low_m


# ---- laws ----

CONTACTS = tuple(f"bar-{part}" for side in SIDES for part in HANDS[side])
LEVELLED = Rotation.identity()
TOUCH = {
    name: jnp.array([1, 0, -1 if name.endswith("/left_tip") else 1, 0], jnp.float32)[
        : 4 if name.endswith("_tip") else 1
    ]
    for name in CONTACTS
}
"""What a contact sensor says of a geom that presses level."""
EMPTY = View(
    joint_pos=jnp.zeros(14),
    joint_vel=jnp.zeros(14),
    target=jnp.zeros(14),
    site_pos={name: jnp.zeros(3) for name in TASK.watch().sites},
    body_pos={"bar": jnp.zeros(3), "goal": jnp.array([*GOAL_M, TABLE_TOP_M], jnp.float32)},
    body_quat={},
    sensor={name: 0 * value for name, value in TOUCH.items()} | {"bar_turning": jnp.zeros(3)},
)
START = HandOverCarry(jnp.int32(WAITING), jnp.float32(0), jnp.float32(0))
UPDATE, REWARD, OBSERVE, ALOFT = map(jax.jit, (TASK.update, TASK.reward, TASK.observe, TASK._aloft))


def seen(
    turn: Rotation,
    place: np.ndarray,
    touched: dict[str, bool],
    velocity: tuple[float, float, float] = (0, 0, 0),
) -> View:
    """A view of a bar somewhere, touched by some geoms; tips press level from both sides."""
    x, y, z, w = turn.as_quat()
    quat = jnp.array([w, x, y, z], jnp.float32)
    return EMPTY._replace(
        body_pos=EMPTY.body_pos | {"bar": jnp.array(place, jnp.float32)},
        body_quat={"bar": quat, "goal": quat},
        sensor=EMPTY.sensor
        | {name: TOUCH[name] for name, found in touched.items() if found}
        | {"bar_velocity": jnp.array(velocity, jnp.float32)},
    )


def rotations() -> st.SearchStrategy[Rotation]:
    numbers = st.lists(st.floats(-1, 1), min_size=4, max_size=4).map(np.array)
    return numbers.filter(lambda q: np.linalg.norm(q) > 0.1).map(Rotation.from_quat)


TOUCHES = st.dictionaries(st.sampled_from(CONTACTS), st.booleans())
PLACES = st.tuples(st.floats(-0.04, 0.04), st.floats(-0.04, 0.04), st.floats(0, 0.1)).map(
    lambda p: at_goal(p[0], LYING_M + p[2], p[1])
)
CARRIES = st.tuples(st.integers(0, 4), st.floats(0, 0.3), st.floats(0, 0.5)).map(
    lambda c: HandOverCarry(jnp.int32(c[0]), jnp.float32(c[1]), jnp.float32(c[2]))
)


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.just(LEVELLED), rotations()), PLACES, TOUCHES, CARRIES)
def test_a_hand_over_goes_step_by_step(
    turn: Rotation, place: np.ndarray, touched: dict, before: HandOverCarry
):
    view = seen(turn, place, touched)
    after = UPDATE(view, before)
    old, new = int(before.stage), int(after.stage)
    left, right = ([touched.get(f"bar-{p}", False) for p in HANDS[side]] for side in SIDES)
    squeezed = {s: all(touched.get(f"bar-{t}", False) for t in tips(s)) for s in SIDES}
    assert new <= old + 1
    aloft = bool(ALOFT(view))
    if new > old:
        assert {
            LIFTED: aloft and squeezed["right"],
            SHARED: aloft and squeezed["right"] and squeezed["left"],
            PASSED: aloft and squeezed["left"] and not any(right),
            SET_DOWN: not aloft and squeezed["left"] and not any(right),
        }[new]
    if aloft and not any(left + right):
        assert new == WAITING
    if new >= PASSED:
        assert not any(right)
    if float(after.rest_s) > 0:
        assert new == SET_DOWN
        assert not any(left + right)
        assert not aloft


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.just(LEVELLED), rotations()), PLACES, TOUCHES, CARRIES)
def test_reward_stages_contain_each_other(
    turn: Rotation, place: np.ndarray, touched: dict, before: HandOverCarry
):
    """Each stage implies the one before it, so the reward counts 0 to 6."""
    view = seen(turn, place, touched)
    carry = UPDATE(view, before)
    terms = REWARD(view, carry)
    names = ("touched", "lifted", "shared", "passed", "set_down", "placed")
    reached = [bool(terms[name]) for name in names]
    assert set(terms) == set(names)
    assert reached == sorted(reached, reverse=True)
    assert bool(TASK.success(view, carry)) == reached[-1]


@settings(max_examples=60, deadline=None)
@given(rotations(), st.floats(-0.01, 0.1))
def test_aloft_means_every_corner(turn: Rotation, z_m: float):
    half = np.array([TASK.bar_length_m, TASK.bar_width_m, TASK.bar_width_m]) / 2
    signs = np.stack(np.meshgrid(*[[-1, 1]] * 3), -1).reshape(-1, 3)
    lowest = z_m + turn.apply(signs * half)[:, 2].min() - TABLE_TOP_M
    # Rounding decides at the bound itself.
    if abs(lowest - TASK.aloft_m) > 1e-5:
        assert bool(ALOFT(seen(turn, at_goal(z_m=z_m), {}))) == (lowest > TASK.aloft_m)


@settings(max_examples=40, deadline=None)
@given(rotations())
def test_bars_that_look_the_same_are_seen_the_same(turn: Rotation):
    same = [turn * Rotation.from_matrix(s) for s in BAR_SYMMETRIES]
    looks = [OBSERVE(seen(t, at_goal(), {}), START)["bar_rot"] for t in same]
    traces = np.sort([np.trace(t.as_matrix()) for t in same])
    if traces[-1] - traces[-2] > 1e-4:  # Ties go either way.
        np.testing.assert_allclose(looks, np.repeat(looks[:1], len(looks), axis=0), atol=1e-5)


def test_the_goal_is_seen_where_it_lies():
    view = seen(LEVELLED, at_goal(0.03, y_m=0.04), {})
    np.testing.assert_allclose(OBSERVE(view, START)["goal_pos"], GOAL_M, atol=1e-7)
    assert float(TASK._miss_m(view)) == pytest.approx(0.05, abs=1e-6)


# ---- starts and settings ----


def test_each_arm_reaches_its_own_place_alone():
    starts = jax.vmap(TASK.initial)(jax.random.split(jax.random.key(0), 4000)).qpos
    bar = np.asarray(starts["bar"], float)
    goal = np.concatenate([starts["goal_x"], starts["goal_y"]], axis=1)
    for points, ranges in (
        (bar[:, :2], (TASK.start_x_m, TASK.start_y_m)),
        (goal, (TASK.goal_x_m, TASK.goal_y_m)),
    ):
        for column, (low, high) in zip(points.T, ranges, strict=True):
            assert low <= column.min() < low + 0.001
            assert high - 0.001 < column.max() <= high
    np.testing.assert_allclose(bar[:, 2], RESTING_M + HALF_M, atol=1e-7)
    turns = Rotation.from_quat(bar[:, 3:], scalar_first=True).as_matrix()
    half = np.array([TASK.bar_length_m, TASK.bar_width_m]) / 2
    signs = np.stack(np.meshgrid([-1, 1], [-1, 1]), -1).reshape(-1, 2)
    corners = bar[:, None, :2] + (turns[:, None, :2, :2] @ (signs * half)[..., None])[..., 0]
    # All of the bar is beyond the left arm, and the goal beyond the right one, with 2 cm to spare.
    assert np.linalg.norm(corners - CELL.base_m("left"), axis=-1).min() > REACH_M
    assert np.linalg.norm(goal - CELL.base_m("right"), axis=-1).min() > REACH_M + 0.02
    assert (np.abs(corners) < [0.61, 0.37]).all()


def test_reach_is_how_far_an_arm_gets(env: BatchEnv):
    data = mujoco.MjData(env.model)
    mujoco.mj_forward(env.model, data)
    elbow = np.hypot(0.3, 0.05955)
    straight = elbow + np.linalg.norm(
        data.site("left/gripper").xpos - data.body("left/upper_forearm_link").xpos
    )
    below = data.body("left/upper_arm_link").xpos[2] - 0.02
    assert np.sqrt(straight**2 - below**2) == pytest.approx(REACH_M, abs=0.001)
    reach = Reach(env.workcell, "left")
    out = np.array([-0.469 + 1.05 * REACH_M, ROW_M, 0.02])
    assert reach.solve(out, np.eye(3), reach.home)[1] > 0.03


def test_nothing_moves_the_goal(scene: Scene, env: BatchEnv):
    scene.place("bar", at_goal(z_m=0.05))
    scene.reach("left", GOAL_M[0], 0.03, DOWN, OPEN_M)
    heard = play(scene, env)
    for step in heard:
        np.testing.assert_allclose(step["at"]["goal"][:2], GOAL_M, atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("horizon_s", 0.0),
        ("bar_length_m", 0.05),
        ("bar_length_m", 0.3),
        ("bar_width_m", 0.08),
        ("bar_width_m", float("nan")),
        ("mass_kg", 0.0),
        ("goal_radius_m", -0.01),
        ("aloft_m", 0.0),
        ("pass_s", 0.0),
        ("rest_s", 0.0),
        ("still_m_s", 0.0),
        ("still_rad_s", -1.0),
        ("start_x_m", (0.1, 0.4)),
        ("start_x_m", (0.46, 0.36)),
        ("start_y_m", (-0.5, -0.25)),
        ("start_yaw_rad", (-1.0, 1.0)),
        ("goal_x_m", (0.36, 0.46)),
        ("goal_y_m", (0.0, 0.1)),
    ],
)
def test_what_cannot_be_is_refused(setting: str, value: object):
    with pytest.raises(InputError, match=setting) as refusal:
        replace(TASK, **{setting: value})
    assert str(value) in str(refusal.value)


def test_another_bar_is_built_as_asked():
    other = HandOver(bar_length_m=0.14, bar_width_m=0.04, mass_kg=0.1)
    model = other.scene().compile()
    assert model.body("bar").mass[0] == pytest.approx(0.1)
    np.testing.assert_allclose(model.geom("bar").size, [0.07, 0.02, 0.02])


def test_the_teacher_passes_it_and_puts_it_down(env: BatchEnv):
    env.begin(np.asarray(episode_keys(0, "demonstrate", 0, env.num_envs)))
    expert = load_expert("hand_over")
    expert.start(env.view(), np.arange(env.num_envs))
    won, reached = np.zeros(env.num_envs, bool), []
    for step in range(env.horizon):
        won |= env.step(expert.act(step, env.view()))[4]["success"]
        reached.append(env.take().carry["task.stage"])
        if env.done.all():
            break
    assert won.all()
    # Through all stages, in order, without going back.
    for row in np.array(reached).T:
        assert row.tolist() == sorted(row)
        assert set(row) == {WAITING, LIFTED, SHARED, PASSED, SET_DOWN}
