"""peg_insertion: what counts as an insertion, from states placed by hand, and what does not."""

from typing import Any

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
from regrasp.envs.tasks.parts import (
    BAR_SYMMETRIES,
    BOX_SYMMETRIES,
    TABLE_TOP_M,
    nearest_symmetric,
)
from regrasp.envs.tasks.peg_insertion import (
    PIN_RADIUS_M,
    WALLS,
    PegInsertion,
    PegInsertionCarry,
)
from regrasp.errors import InputError
from regrasp.rl.evaluate import play_episodes
from regrasp.rl.experts import load_expert

TASK = PegInsertion()
PEG_M, SOCKET_M = 0.0108, 0.0203
"""Finger positions: just touching the peg, and the socket, from both sides."""
UPRIGHT = (np.sqrt(0.5), 0.0, -np.sqrt(0.5), 0.0)
AXIAL_M = (TASK.socket_length_m + TASK.peg_length_m) / 2
"""Between the centres when the peg stands in the mouth."""
PIN_M = TASK.socket_length_m / 2 - PIN_RADIUS_M
"""How deep the pin is."""
ARM_Y_M = -0.019


@pytest.fixture(scope="module")
def env() -> BatchEnv:
    return regrasp.make("peg_insertion", 2, threads=1, autoreset=AutoresetMode.DISABLED)


@pytest.fixture
def scene(env: BatchEnv) -> Scene:
    return Scene(env)


def stand(
    scene: Scene, depth_m: float, height_m: float = 0.18, hands: tuple[str, ...] = SIDES
) -> None:
    """Socket upright with its middle at a height, the peg this deep in it from above.

    `hands` are those that are level at their object, about to squeeze.
    """
    middle = np.array([0, ARM_Y_M, height_m])
    peg = middle + [0, 0, AXIAL_M - depth_m]
    if "left" in hands:
        scene.reach("left", 0.0, height_m - 0.02, LEVEL, SOCKET_M)
    if "right" in hands:
        scene.reach("right", 0.0, peg[2] + 0.02, LEVEL, PEG_M)
    scene.place("socket", middle, quat=UPRIGHT)
    scene.place("peg", peg, quat=UPRIGHT)


def test_the_pin_touched_in_the_air_by_a_peg_that_met_the_socket_there_is_success(scene: Scene):
    stand(scene, PIN_M + 0.001)
    heard = list(scene.play(closing=SIDES, carry={"met": True}))
    assert successes(heard) == 1
    assert heard[-1]["terminated"]
    assert round(TASK.hold_s / TASK.control_dt_s) <= len(heard) <= 16
    assert heard[-1]["reward"] == 4
    assert {step["reward"] for step in heard[4:-1]} == {3}


def test_a_peg_that_was_put_in_on_the_table_is_not(scene: Scene):
    """The same state, but the two have not been apart in the air."""
    stand(scene, PIN_M + 0.001)
    heard = list(scene.play(closing=SIDES))
    assert "peg-pin" in heard[-1]["touched"]
    assert successes(heard) == 0
    assert heard[-1]["reward"] == 3


def test_held_apart_in_the_air_they_meet_but_are_not_inserted(scene: Scene, env: BatchEnv):
    stand(scene, -0.02)
    heard = list(scene.play(closing=SIDES))
    assert successes(heard) == 0
    assert heard[-1]["reward"] == 2
    assert env.take().carry["task.met"].all()


def test_half_inserted_is_not(scene: Scene):
    stand(scene, PIN_M - 0.01)
    heard = list(scene.play(closing=SIDES, carry={"met": True}))
    assert successes(heard) == 0
    assert max(step["reward"] for step in heard) <= 3


def test_standing_on_the_rim_is_not(scene: Scene):
    stand(scene, 0.0005)
    peg = scene.data.joint("peg").qpos[:3].copy()
    scene.place("peg", peg + [0, 0.004, 0], quat=UPRIGHT)
    heard = list(scene.play(closing=SIDES, carry={"met": True}))
    assert any(f"peg-{wall}" in heard[-1]["touched"] for wall in WALLS)
    assert successes(heard) == 0
    assert heard[-1]["reward"] == 3


def lie(scene: Scene, depth_m: float) -> None:
    """The socket on the table, the peg this deep in it, both between fingers from above."""
    socket = np.array([-0.05, ARM_Y_M, TABLE_TOP_M + TASK.socket_half_size_m[2]])
    peg = socket + [AXIAL_M - depth_m, 0, 0]
    scene.reach("left", socket[0] - 0.02, 0.035, DOWN - 0.4, SOCKET_M)
    scene.reach("right", peg[0] + 0.04, 0.035, DOWN - 0.4, PEG_M)
    scene.place("socket", socket)
    scene.place("peg", peg)


def test_inserted_while_the_socket_lies_on_the_table_is_not(scene: Scene, env: BatchEnv):
    lie(scene, PIN_M + 0.001)
    heard = list(scene.play(closing=SIDES, carry={"met": True}))
    assert "peg-pin" in heard[-1]["touched"]
    assert successes(heard) == 0
    assert heard[-1]["reward"] == 1
    assert not env.take().carry["task.met"].any()


def test_a_peg_that_stands_in_the_held_socket_is_not(scene: Scene):
    stand(scene, PIN_M + 0.001, hands=("left",))
    heard = list(scene.play(closing=("left",), carry={"met": True}))
    assert "peg-pin" in heard[-1]["touched"]
    assert successes(heard) == 0
    assert max(step["reward"] for step in heard) == 0


@pytest.mark.parametrize("speed_m_s", [0.0, 1.0, 3.0])
def test_dropped_or_thrown_into_the_socket_is_not(scene: Scene, speed_m_s: float):
    stand(scene, -0.05, hands=("left",))
    peg = scene.data.joint("peg").qpos[:3].copy()
    scene.place("peg", peg, velocity=(0, 0, -speed_m_s), quat=UPRIGHT)
    heard = list(scene.play(closing=("left",), carry={"met": True}))
    assert any("peg-pin" in step["touched"] for step in heard)
    assert successes(heard) == 0


def test_dropped_in_between_open_fingers_is_not(scene: Scene):
    stand(scene, -0.03)
    scene.reach("right", 0.0, 0.18 + AXIAL_M + 0.05, LEVEL, OPEN_M)
    heard = list(scene.play(closing=("left",), carry={"met": True}))
    assert any("peg-pin" in step["touched"] for step in heard)
    assert successes(heard) == 0
    assert max(step["reward"] for step in heard) <= 1


def test_a_socket_that_rests_on_the_hand_is_not_held(scene: Scene):
    """It stands on the closed left fingers, the peg is pushed in from above."""
    stand(scene, PIN_M + 0.001, hands=("right",))
    below = TASK.socket_length_m / 2 + 0.009
    scene.reach("left", 0.0, 0.18 - below, LEVEL, 0.006)
    heard = list(scene.play(closing=SIDES, carry={"met": True}))
    on_tips = {f"socket_top-left/{tip}_tip" for tip in SIDES}
    assert heard[-1]["touched"] >= on_tips | {"peg-pin"}
    assert successes(heard) == 0
    assert max(step["reward"] for step in heard) <= 1


@pytest.mark.parametrize("speed_m_s", [1.5, 3.0])
@pytest.mark.parametrize("turned", [False, True])
def test_nothing_gets_to_the_pin_through_a_wall(scene: Scene, speed_m_s: float, turned: bool):
    """The peg is fired at the outside of the socket, end on or broadside."""
    stand(scene, -0.02, hands=("left",))
    quat = UPRIGHT if turned else (1.0, 0.0, 0.0, 0.0)
    away = TASK.socket_half_size_m[2] + (0.01 if turned else TASK.peg_length_m / 2) + 0.01
    scene.place("peg", np.array([away, ARM_Y_M, 0.18]), velocity=(-speed_m_s, 0, 0), quat=quat)
    heard = list(scene.play(closing=("left",), carry={"met": True}))
    touched = set().union(*(step["touched"] for step in heard))
    assert touched & {f"peg-{wall}" for wall in WALLS}
    assert "peg-pin" not in touched


def test_only_the_peg_can_touch_the_pin(env: BatchEnv):
    """No finger tip, whatever its way in."""
    model = env.model
    pin = model.geom("pin").id
    kinds, minds = model.geom_contype, model.geom_conaffinity
    meets = (kinds & minds[pin]) | (kinds[pin] & minds)
    assert [model.geom(i).name for i in np.flatnonzero(meets)] == ["peg"]


@pytest.mark.parametrize("what", ["peg", "socket"])
def test_falling_off_the_table_is_failure(scene: Scene, what: str):
    lie(scene, -0.1)
    scene.place(what, np.array([0.0, 0.5, 0.0]))
    heard = list(scene.play())
    assert heard[-1]["terminated"]
    assert not heard[-1]["success"]
    assert heard[-1]["at"][what][2] < TASK.low_m


def test_starts_lie_in_their_boxes_turn_and_are_apart(env: BatchEnv):
    starts = jax.vmap(TASK.initial)(jax.random.split(jax.random.key(0), 4000))
    assert not np.asarray(starts.carry.met).any()
    ranges = {"peg": (TASK.peg_x_m, TASK.peg_y_m), "socket": (TASK.socket_x_m, TASK.socket_y_m)}
    for name, sides in ranges.items():
        pose = np.asarray(starts.qpos[name])
        for column, (low, high) in enumerate(sides):
            assert low <= pose[:, column].min() < low + 0.001
            assert high - 0.001 < pose[:, column].max() <= high
        yaw = 2 * np.arctan2(pose[:, 6], pose[:, 3])
        assert (np.histogram(yaw, 8, TASK.start_yaw_rad)[0] > 400).all()
    reach = np.hypot(*TASK.peg_half_size_m[:2]) + np.hypot(*TASK.socket_half_size_m[:2])
    assert TASK.peg_x_m[0] - TASK.socket_x_m[1] > reach
    # Whatever touches at the start is a thing and the table below it.
    env.reset(seed=0)
    for row in range(env.num_envs):
        contacts = env.row_data(row).contact
        names = [{env.model.geom(g).name for g in pair} for pair in contacts.geom]
        assert all(pair <= {"table", "peg", "socket_bottom"} for pair in names)


SIZES = {s.name: 4 if "tip" in s.name else 1 for s in TASK.scene().sensors}


def seen(touched: dict[str, Any], bodies: dict[str, tuple[Any, Rotation]] | None = None) -> View:
    """A view with some sensors touched, tips pressing along y from both sides."""
    bodies = bodies or {
        name: (np.array([x, 0, 0.3]), Rotation.identity())
        for name, x in (("peg", 0.2), ("socket", 0.0))
    }
    sign = {name: -1.0 if name.endswith("/left_tip") else 1.0 for name in SIZES}
    return View(
        joint_pos=jnp.zeros(14),
        joint_vel=jnp.zeros(14),
        target=jnp.zeros(14),
        site_pos={name: jnp.zeros(3) for name in TASK.watch().sites},
        body_pos={name: jnp.array(at, jnp.float32) for name, (at, _) in bodies.items()},
        body_quat={
            name: jnp.array(turn.as_quat(scalar_first=True), jnp.float32)
            for name, (_, turn) in bodies.items()
        },
        sensor={
            name: jnp.array([1, 0, sign[name], 0][:size], jnp.float32) * touched.get(name, False)
            for name, size in SIZES.items()
        },
    )


@jax.jit
def judged(
    touched: jax.Array, met: jax.Array, inserted_s: jax.Array, x_m: jax.Array, height_m: jax.Array
) -> tuple[dict, jax.Array]:
    """Reward and success with these sensors touched and the peg there, level like the socket."""
    level = Rotation.identity()
    bodies = {"peg": ([x_m, 0, height_m], level), "socket": ([0, 0, 0.3], level)}
    view = seen(dict(zip(SIZES, touched, strict=True)), bodies)
    carry = TASK.update(view, PegInsertionCarry(met, inserted_s))
    return TASK.reward(view, carry), TASK.success(view, carry)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.booleans(), min_size=len(SIZES), max_size=len(SIZES)),
    st.booleans(),
    *(st.floats(low, high, width=32) for low, high in ((0, 0.25), (-0.125, 0.25), (0, 0.125))),
)
def test_reward_stages_contain_each_other(
    touched: list[bool], met: bool, inserted_s: float, x_m: float, height_m: float
):
    """Each stage implies the one before it, so the reward counts 0 to 4."""
    given = jnp.array([inserted_s, x_m, height_m], jnp.float32)
    terms, success = judged(jnp.array(touched), jnp.bool_(met), *given)
    stages = [bool(terms[name]) for name in ("touched", "held", "met", "inserted")]
    assert stages == sorted(stages, reverse=True)
    assert bool(success) == stages[-1]


def rotations() -> st.SearchStrategy[Rotation]:
    numbers = st.lists(st.floats(-1, 1), min_size=4, max_size=4).map(np.array)
    return numbers.filter(lambda q: np.linalg.norm(q) > 0.1).map(Rotation.from_quat)


@settings(max_examples=60, deadline=None)
@given(rotations(), st.floats(0, 0.1))
def test_in_the_air_means_every_corner(turn: Rotation, height_m: float):
    half = TASK.peg_half_size_m
    corners = np.array(np.meshgrid(*([-1, 1],) * 3)).reshape(3, -1).T * half
    lowest = height_m + turn.apply(corners)[:, 2].min()
    if abs(lowest - TASK.lift_m) > 1e-5:
        bodies = {
            "peg": (np.array([0.2, 0, TABLE_TOP_M + height_m]), turn),
            "socket": (np.array([0, 0, 0.3]), Rotation.identity()),
        }
        assert bool(TASK._in_the_air(seen({}, bodies))) == (lowest > TASK.lift_m)


@settings(max_examples=40, deadline=None)
@given(rotations(), st.floats(-0.05, PIN_M), st.sampled_from(tuple(BAR_SYMMETRIES)))
def test_an_end_is_inside_the_channel_however_both_are_turned(
    turn: Rotation, depth_m: float, symmetry: np.ndarray
):
    along = turn.apply([AXIAL_M - depth_m, 0, 0])
    bodies = {
        "socket": (np.array([0.1, 0, 0.3]), turn),
        "peg": (np.array([0.1, 0, 0.3]) + along, turn * Rotation.from_matrix(symmetry)),
    }
    if abs(depth_m) > 1e-5:
        assert bool(TASK._entered(seen({}, bodies))) == (depth_m > 0)


@pytest.mark.parametrize(("symmetries", "order"), [(BAR_SYMMETRIES, 8), (BOX_SYMMETRIES, 4)])
def test_symmetries_form_a_group_under_which_the_object_stays_as_it_is(
    symmetries: np.ndarray, order: int
):
    half = TASK.peg_half_size_m if order == 8 else TASK.socket_half_size_m
    products = (symmetries[:, None] @ symmetries[None]).reshape(-1, 3, 3)
    assert len(np.unique(products, axis=0)) == len(symmetries) == order
    np.testing.assert_allclose(np.abs(symmetries) @ half, np.tile(half, (order, 1)))
    assert (np.linalg.det(symmetries) > 0).all()


@settings(max_examples=40, deadline=None)
@given(rotations())
def test_what_looks_the_same_is_seen_the_same(turn: Rotation):
    rotation = turn.as_matrix().astype(np.float32)
    for symmetries in (BAR_SYMMETRIES, BOX_SYMMETRIES):
        alike = jnp.array(rotation @ symmetries)
        canonical = np.asarray(jax.vmap(lambda r, s=symmetries: nearest_symmetric(r, s))(alike))
        traces = np.sort(np.trace(alike, axis1=1, axis2=2))
        if traces[-1] - traces[-2] > 1e-4:
            np.testing.assert_allclose(canonical, canonical[:1].repeat(len(alike), 0), atol=1e-5)


def test_peg_and_socket_are_observed_by_their_own_symmetries():
    quarter = Rotation.from_euler("x", 90, degrees=True)
    bodies = {name: (np.array([0.1, 0, 0.2]), quarter) for name in ("peg", "socket")}
    carry = PegInsertionCarry(jnp.bool_(False), jnp.float32(0))
    observed = TASK.observe(seen({}, bodies), carry)
    np.testing.assert_allclose(observed["peg_rot"], [1, 0, 0, 0, 1, 0], atol=1e-6)
    assert abs(float(observed["socket_rot"][4])) < 1e-6


def test_the_socket_is_as_wide_as_it_says():
    for clearance_m in (0.002, 0.005, 0.012):
        task = PegInsertion(clearance_m=clearance_m)
        model = task.scene().compile()
        size, pos = (
            {wall: array[model.geom(wall).id] for wall in WALLS}
            for array in (model.geom_size, model.geom_pos)
        )
        for first, second, axis in (
            ("socket_top", "socket_bottom", 2),
            ("socket_right", "socket_left", 1),
        ):
            inner = pos[first][axis] - pos[second][axis] - size[first][axis] - size[second][axis]
            gap = inner - 2 * model.geom_size[model.geom("peg").id][axis]
            assert gap == pytest.approx(clearance_m)
            assert 2 * min(size[first][axis], size[second][axis]) >= 0.005 - 1e-9
            outer = inner + 2 * size[first][axis] + 2 * size[second][axis]
            assert outer == pytest.approx(2 * task.socket_half_size_m[axis])
        for body, mass in (("peg", task.peg_mass_kg), ("socket", task.socket_mass_kg)):
            assert model.body(body).mass[0] == pytest.approx(mass)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clearance_m", 0.0),
        ("clearance_m", -0.002),
        ("clearance_m", float("nan")),
        ("clearance_m", 0.03),
        ("peg_width_m", 0.05),
        ("wall_m", 0.002),
        ("peg_length_m", 0.03),
        ("peg_mass_kg", 0.0),
        ("peg_x_m", (-0.1, 0.1)),
        ("peg_x_m", (0.19, 0.09)),
        ("socket_x_m", (-0.5, -0.4)),
        ("socket_y_m", (-0.3, 0.3)),
        ("start_yaw_rad", (-2.0, 2.0)),
        ("hold_s", 0.0),
    ],
)
def test_impossible_settings_are_refused(field: str, value: Any):
    with pytest.raises(InputError, match=field):
        PegInsertion(**{field: value})


def test_a_socket_wider_than_the_gripper_is_refused():
    with pytest.raises(InputError, match=r"clearance_m 0\.015: the socket is 0\.057 m wide"):
        PegInsertion(clearance_m=0.015, peg_width_m=0.028)


def test_the_expert_inserts_under_the_table():
    rows = 5
    env = regrasp.make(
        "peg_insertion", rows, threads=2, randomize="table", autoreset=AutoresetMode.DISABLED
    )
    keys = episode_keys(0, "demonstrate", 0, rows)
    assert play_episodes(env, load_expert("peg_insertion"), keys, 0, 0).success.mean() >= 0.7
