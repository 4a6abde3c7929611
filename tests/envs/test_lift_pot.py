"""lift_pot: what counts as a pot lifted by two hands, from states placed by hand, and what does not."""

from dataclasses import replace

import jax
import jax.numpy as jnp
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
from regrasp.envs.tasks.lift_pot import REACH_YAW_RAD, LiftPot, LiftPotCarry
from regrasp.envs.tasks.parts import RESTING_M, TABLE_TOP_M, matrix
from regrasp.errors import InputError
from regrasp.rl.evaluate import play_episodes
from regrasp.rl.experts import load_expert

TASK = LiftPot()
ROW_M = -0.019
"""The arms' plane, in y."""
HANDLE_M = TASK.half_size_m[0] + 0.032
"""Where handles are held, from the pot's middle."""
GRIP_M, SHUT_M = 0.0195, 0.0077
"""Finger positions: just touching a handle from both sides, and each other."""
TIP_M = 0.009
"""Half the width of a finger tip."""
PITCH = DOWN - 0.5
TILT_AXIS = np.array([0.0, 1.0, 0.0])


@pytest.fixture(scope="module")
def env() -> BatchEnv:
    return regrasp.make("lift_pot", 2, threads=1, autoreset=AutoresetMode.DISABLED)


@pytest.fixture
def scene(env: BatchEnv) -> Scene:
    return Scene(env)


def put(
    scene: Scene, height_m: float, tilt_rad: float = 0.0, up_m_s: float = 0.0, y_m: float = ROW_M
) -> Rotation:
    """Place the pot with its balls so that the middle of its bottom is that far above the table."""
    turn = Rotation.from_rotvec(tilt_rad * TILT_AXIS)
    x, y, z, w = turn.as_quat()
    middle = np.array([0, y_m, TABLE_TOP_M + height_m])
    scene.place("pot", middle, (0, 0, up_m_s), (w, x, y, z))
    for i, name in enumerate(TASK.ball_names):
        place = [0.035 * (i - 1), 0.0, TASK.wall_m + TASK.ball_radius_m]
        scene.place(name, middle + turn.apply(place), (0, 0, up_m_s))
    return turn


def take(scene: Scene, side: str, finger_m: float, roll: float = 0.0, pitch: float = PITCH) -> None:
    """Put a gripper at its handle."""
    pot = scene.data.body("pot")
    sign = -1 if side == "left" else 1
    at = pot.xpos + pot.xmat.reshape(3, 3) @ [sign * HANDLE_M, 0, TASK.handle_height_m]
    scene.reach(side, at[0], at[2], pitch, finger_m, roll)


def hold(scene: Scene, height_m: float, tilt_rad: float = 0.0) -> None:
    """Both grippers at the handles of a pot in the air, about to squeeze."""
    put(scene, height_m, tilt_rad)
    for side in SIDES:
        take(scene, side, GRIP_M)


@pytest.mark.parametrize("tilt_rad", [0.0, 0.1, -0.1])
def test_held_level_by_both_handles_at_the_height_is_success(scene: Scene, tilt_rad: float):
    hold(scene, 0.175, tilt_rad)
    heard = list(scene.play(closing=SIDES, steps=40))
    assert successes(heard) == 1
    assert heard[-1]["terminated"]
    # Squeezed within a few steps: success half a second later.
    assert round(TASK.hold_s / TASK.control_dt_s) <= len(heard) <= 32
    assert heard[-1]["reward"] == 5
    assert heard[-2]["reward"] == 4


def test_held_lower_is_not(scene: Scene):
    hold(scene, TASK.lift_m - 0.01)
    heard = list(scene.play(closing=SIDES, steps=40))
    assert len(heard) == 40
    assert heard[-1]["reward"] == 3


@pytest.mark.parametrize("tilt_rad", [-0.25, 0.25])
def test_held_askew_is_not(scene: Scene, tilt_rad: float):
    hold(scene, 0.2, tilt_rad)
    heard = list(scene.play(closing=SIDES, steps=40))
    assert len(heard) == 40
    assert heard[-1]["reward"] == 3


def test_squeezed_by_both_on_the_table_is_not(scene: Scene):
    hold(scene, 0.0)
    heard = list(scene.play(closing=SIDES, steps=40))
    assert len(heard) == 40
    assert heard[-1]["reward"] == 2


@pytest.mark.parametrize("side", SIDES)
def test_hanging_from_one_hand_is_not(scene: Scene, side: str):
    put(scene, 0.2)
    take(scene, side, GRIP_M)
    heard = list(scene.play(closing=(side,), steps=40))
    assert successes(heard) == 0
    assert max(step["reward"] for step in heard) == 1


def test_one_hand_squeezing_and_the_other_below_its_handle_is_not(scene: Scene):
    """The second hand carries the pot on closed fingers."""
    put(scene, 0.17)
    take(scene, "left", GRIP_M)
    on_fingers(scene, "right")
    heard = list(scene.play(closing=SIDES, steps=40))
    assert "right_handle-right/left_tip" in heard[12]["touched"]
    assert heard[12]["at"]["pot"][2] > TASK.lift_m
    assert successes(heard) == 0
    assert max(step["reward"] for step in heard) == 1


def on_fingers(scene: Scene, side: str, gap_m: float = 0.0) -> None:
    """A level gripper under its handle, which lies between its two fingers if they are apart."""
    sign = -1 if side == "left" else 1
    middle = scene.data.body("pot").xpos
    below = TIP_M + np.sqrt(TASK.handle_radius_m**2 - gap_m**2 / 4)
    height = middle[2] + TASK.handle_height_m - below
    scene.reach(side, middle[0] + sign * (HANDLE_M + 0.01), height, LEVEL, SHUT_M + gap_m / 2)


@pytest.mark.parametrize("gap_m", [0.0, 0.012, 0.02, 0.021])
def test_lying_on_both_grippers_by_its_handles_is_not(scene: Scene, gap_m: float):
    """On top of the fingers, or in the groove between them: nearly as wide as the handle at last."""
    put(scene, 0.17)
    for side in SIDES:
        on_fingers(scene, side, gap_m)
    heard = list(scene.play(steps=50))
    assert {"left_handle-left/left_tip", "right_handle-right/left_tip"} <= heard[-1]["touched"]
    assert heard[-1]["at"]["pot"][2] > TASK.lift_m
    assert successes(heard) == 0
    assert max(step["reward"] for step in heard) == 1


def test_hanging_by_its_handles_in_open_fingers_is_not(scene: Scene):
    """One finger below each handle and one above it, out of touch."""
    put(scene, 0.18)
    lower_m = OPEN_M - SHUT_M - TASK.handle_radius_m
    for side in SIDES:
        sign = -1 if side == "left" else 1
        z = scene.data.body("pot").xpos[2] + TASK.handle_height_m + lower_m - 0.001
        scene.reach(side, sign * HANDLE_M, z, LEVEL, OPEN_M, roll=np.pi / 2)
    heard = list(scene.play(steps=40))
    touched = heard[20]["touched"]
    assert {name.split("-")[0] for name in touched} == {"left_handle", "right_handle"}
    assert len(touched) == 2
    assert heard[20]["at"]["pot"][2] > TASK.lift_m
    assert successes(heard) == 0
    assert max(step["reward"] for step in heard) == 1


def test_standing_on_the_grippers_is_not(scene: Scene):
    put(scene, 0.2)
    z = scene.data.body("pot").xpos[2] - 0.0095
    for side, x in (("left", -0.03), ("right", 0.03)):
        scene.reach(side, x, z, LEVEL, SHUT_M)
    heard = list(scene.play(closing=SIDES, steps=40))
    assert heard[20]["at"]["pot"][2] > TASK.lift_m
    assert max(step["reward"] for step in heard) == 0


def test_pressed_between_two_fists_is_not(scene: Scene):
    """Against the ends of the handles."""
    put(scene, 0.18)
    z = scene.data.body("pot").xpos[2] + TASK.handle_height_m
    end = TASK.half_size_m[0] + TASK.handle_m + 0.016
    for side, x in (("left", -end), ("right", end)):
        scene.reach(side, x, z, LEVEL, SHUT_M)
    heard = list(scene.play(closing=SIDES, steps=40))
    assert successes(heard) == 0
    assert max(step["reward"] for step in heard) <= 1


@pytest.mark.parametrize("up_m_s", [1.2, 2.0])
def test_thrown_up_between_open_hands_is_not(scene: Scene, up_m_s: float):
    put(scene, 0.1, up_m_s=up_m_s)
    for side in SIDES:
        take(scene, side, OPEN_M)
    heard = list(scene.play(steps=40))
    assert max(step["at"]["pot"][2] for step in heard) > TASK.lift_m
    assert successes(heard) == 0


def test_losing_a_ball_is_failure_however_well_the_pot_is_held(scene: Scene):
    hold(scene, 0.175)
    scene.place("ball_0", np.array([0.0, 0.2, TABLE_TOP_M + TASK.ball_radius_m]))
    heard = list(scene.play(closing=SIDES, steps=40))
    assert len(heard) == 1
    assert heard[-1]["terminated"]
    assert not heard[-1]["success"]


def test_a_ball_that_hops_above_the_brim_is_neither_in_nor_lost(scene: Scene):
    hold(scene, 0.175)
    pot = scene.data.body("pot").xpos
    scene.place("ball_1", pot + [0, 0, TASK.height_m], velocity=(0, 0, 1.0))
    heard = list(scene.play(closing=SIDES, steps=60))
    assert heard[6]["reward"] == 3
    assert successes(heard) == 1


def test_falling_off_the_table_is_failure(scene: Scene):
    put(scene, 0.0, y_m=0.5)
    heard = list(scene.play(steps=40))
    assert heard[-1]["terminated"]
    assert not heard[-1]["success"]
    assert heard[-1]["at"]["pot"][2] < TASK.low_m


def test_starts_lie_in_the_box_with_all_balls_apart_and_inside():
    starts = jax.vmap(TASK.initial)(jax.random.split(jax.random.key(0), 4000)).qpos
    pot = np.asarray(starts["pot"], float)
    for column, (low, high) in enumerate((TASK.start_x_m, TASK.start_y_m)):
        assert high - low == pytest.approx(0.1)
        assert low <= pot[:, column].min() < low + 0.001
        assert high - 0.001 < pot[:, column].max() <= high
    yaw = 2 * np.arctan2(pot[:, 6], pot[:, 3])
    assert (np.histogram(yaw, 8, TASK.start_yaw_rad)[0] > 400).all()
    np.testing.assert_allclose(pot[:, 2], RESTING_M, atol=1e-7)
    # With the largest balls and the smallest pot of the table, too.
    balls = np.stack([np.asarray(starts[name], float)[:, :3] for name in TASK.ball_names])
    turn = Rotation.from_rotvec(-yaw[:, None] * [0, 0, 1])
    local = np.stack([turn.apply(ball - pot[:, :3]) for ball in balls])
    radius = 1.03 * TASK.ball_radius_m
    for i in range(TASK.balls):
        for j in range(i):
            assert np.linalg.norm(local[i] - local[j], axis=1).min() > 2 * radius
    room = 0.97 * (np.array(TASK.half_size_m) - TASK.wall_m) - radius
    assert (np.abs(local[..., :2]) < room).all()
    assert (local[..., 2] > TASK.wall_m + TASK.ball_radius_m).all()


def rotations(most_rad: float = np.pi) -> st.SearchStrategy[Rotation]:
    axes = st.tuples(*[st.floats(-1, 1)] * 3).map(np.array)
    return st.tuples(axes.filter(lambda a: np.linalg.norm(a) > 0.1), st.floats(0, most_rad)).map(
        lambda pair: Rotation.from_rotvec(pair[1] * pair[0] / np.linalg.norm(pair[0]))
    )


SENSORS = TASK.watch().sensors
INSIDE = st.tuples(st.floats(-0.05, 0.05), st.floats(-0.04, 0.04), st.floats(0.02, 0.06))


def seen(
    turn: Rotation,
    place: np.ndarray,
    balls: list[np.ndarray],
    touched: tuple[bool, ...] = (True,) * len(SENSORS),
) -> View:
    """A view with the pot somewhere, balls in it, and tips that press level from both sides."""
    x, y, z, w = turn.as_quat()
    sign = {name: -1 if name.endswith("/left_tip") else 1 for name in SENSORS}
    bodies = {"pot": place} | {
        name: place + turn.apply(ball) for name, ball in zip(TASK.ball_names, balls, strict=True)
    }
    return View(
        joint_pos=jnp.zeros(14),
        joint_vel=jnp.zeros(14),
        target=jnp.zeros(14),
        site_pos={name: jnp.zeros(3) for name in TASK.watch().sites},
        body_pos={name: jnp.array(pos, jnp.float32) for name, pos in bodies.items()},
        body_quat={name: jnp.array([w, x, y, z], jnp.float32) for name in bodies},
        sensor={
            name: jnp.array([1, 0, sign[name], 0], jnp.float32) * found
            for name, found in zip(SENSORS, touched, strict=True)
        },
    )


@settings(max_examples=50, deadline=None)
@given(
    rotations(0.4),
    st.floats(-0.01, 0.3),
    st.lists(INSIDE, min_size=3, max_size=3),
    st.tuples(*[st.booleans()] * len(SENSORS)),
    st.floats(0, 1),
)
def test_reward_stages_contain_each_other(
    turn: Rotation, z: float, balls: list, touched: tuple[bool, ...], held_s: float
):
    """Each stage implies the one before it, so the reward counts 0 to 5."""
    view = seen(turn, np.array([0, 0, z]), list(map(np.array, balls)), touched)
    carry = TASK.update(view, LiftPotCarry(jnp.float32(held_s)))
    terms = TASK.reward(view, carry)
    stages = [bool(terms[n]) for n in ("touched", "gripped", "raised", "lifted", "held")]
    assert stages == sorted(stages, reverse=True)
    assert bool(TASK.success(view, carry)) == stages[-1]
    assert not (stages[-1] and bool(TASK.failure(view, carry)))


@settings(max_examples=50, deadline=None)
@given(rotations(), st.floats(0, 0.3))
def test_lifted_means_every_corner_of_a_level_pot(turn: Rotation, z: float):
    place = np.array([0.02, -0.03, TABLE_TOP_M + z])
    balls = [np.array([0.02 * i, 0, 0.02]) for i in range(TASK.balls)]
    half = np.array(TASK.half_size_m)
    corners = [turn.apply([*(half * sign), 0]) for sign in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
    lowest = z + min(corner[2] for corner in corners)
    tilt = np.arccos(np.clip(turn.as_matrix()[2, 2], -1, 1))
    # Rounding decides at the bounds themselves.
    if abs(lowest - TASK.lift_m) > 1e-5 and abs(tilt - TASK.tilt_max_rad) > 1e-3:
        lifted = bool(TASK._lifted(seen(turn, place, balls)))
        assert lifted == (lowest > TASK.lift_m and tilt < TASK.tilt_max_rad)


@settings(max_examples=25, deadline=None)
@given(rotations(), st.lists(INSIDE, min_size=3, max_size=3), st.permutations(range(3)))
def test_what_is_seen_of_the_balls_depends_on_neither_their_order_nor_the_pot_s_place(
    turn: Rotation, balls: list, order: list[int]
):
    start = LiftPotCarry(jnp.float32(0))
    local = list(map(np.array, balls))
    here = TASK.observe(seen(Rotation.identity(), np.zeros(3), local), start)
    there = seen(turn, np.array([0.1, -0.2, 0.3]), [local[i] for i in order])
    np.testing.assert_allclose(
        TASK.observe(there, start)["balls_pos"], here["balls_pos"], atol=1e-6
    )
    np.testing.assert_allclose(here["balls_pos"], np.mean(local, axis=0), atol=1e-6)
    np.testing.assert_allclose(matrix(there.body_quat["pot"]), turn.as_matrix(), atol=1e-5)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("lift_m", 0.0),
        ("lift_m", 0.4),
        ("lift_m", float("nan")),
        ("tilt_max_rad", 0.0),
        ("hold_s", -1.0),
        ("balls", 0),
        ("balls", 8),
        ("ball_radius_m", 0.03),
        ("ball_mass_kg", 0.0),
        ("half_size_m", (0.07, 0.01)),
        ("half_size_m", (0.3, 0.06)),
        ("half_size_m", (0.02, 0.06)),
        ("height_m", 0.03),
        ("wall_m", 0.05),
        ("handle_m", 0.01),
        ("handle_radius_m", 0.03),
        ("mass_kg", -0.1),
        ("start_x_m", (0.05, -0.05)),
        ("start_x_m", (-0.3, 0.3)),
        ("start_y_m", (-0.5, 0.0)),
        ("start_yaw_rad", (-REACH_YAW_RAD, np.pi)),
    ],
)
def test_what_cannot_be_is_refused(setting: str, value: object):
    with pytest.raises(InputError, match=setting) as refusal:
        replace(TASK, **{setting: value})
    assert str(value) in str(refusal.value)


@pytest.mark.parametrize(
    "other",
    [
        LiftPot(balls=1),
        LiftPot(balls=6, ball_radius_m=0.01),
        LiftPot(half_size_m=(0.1, 0.08), height_m=0.1, handle_radius_m=0.018),
    ],
)
def test_other_pots_are_built_as_asked(other: LiftPot):
    model = other.scene().compile()
    assert model.body("pot").mass[0] == pytest.approx(other.mass_kg)
    assert sum(model.body(i).name.startswith("ball") for i in range(model.nbody)) == other.balls
    size, low = model.geom("pot_bottom").size, model.geom("pot_bottom").pos[2]
    np.testing.assert_allclose(size, [*other.half_size_m, other.wall_m / 2])
    assert low == pytest.approx(other.wall_m / 2)
    brim = model.geom("pot_left").pos[2] + model.geom("pot_left").size[2]
    assert brim == pytest.approx(other.height_m)


def test_the_teacher_lifts_it(env: BatchEnv):
    keys = episode_keys(0, "demonstrate", 0, env.num_envs)
    assert play_episodes(env, load_expert("lift_pot"), keys, 0, 0).success.all()
