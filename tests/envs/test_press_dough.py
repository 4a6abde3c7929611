"""press_dough: what counts as a lump pressed and set down, from states placed by hand, and what does not."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from tests.envs.scene import DOWN, Scene, successes

import regrasp
from regrasp import BatchEnv
from regrasp.assets import SIDES
from regrasp.assets.dough import CORNERS, RIM_M, Dough, add_dough, corner, corner_joints, corner_m
from regrasp.envs import Snapshot, View, episode_keys
from regrasp.envs.certify import CertifyConfig, certify
from regrasp.envs.tasks.parts import BOX_SYMMETRIES, RESTING_M, TABLE_TOP_M, tips
from regrasp.envs.tasks.press_dough import (
    BODIES,
    MARKS,
    NAME,
    PressDough,
    PressDoughCarry,
    mark,
    shape,
    wanted,
)
from regrasp.errors import InputError
from regrasp.randomization import Table, table_for
from regrasp.rl.evaluate import play_episodes
from regrasp.rl.experts import load_expert

TASK = PressDough()
CELL = TASK.workcell()
MARK_M = np.array([0.0, CELL.stand_m[1]])
"""Where the audits put the mark: between the arms."""
WANTED_M = 0.040
STEPS = round(TASK.rest_s / TASK.control_dt_s)
GRIP_M, SHUT_M = 0.0272, 0.0085
"""Finger positions: just touching a lump of the wanted width, and all but closed."""


@pytest.fixture(scope="module")
def env() -> BatchEnv:
    return regrasp.make("press_dough", 2, threads=1, autoreset=AutoresetMode.DISABLED)


@pytest.fixture
def scene(env: BatchEnv) -> Scene:
    scene = Scene(env)
    for name, sign in zip(MARKS, (-1, 1), strict=True):
        scene.data.joint(f"{name}_x").qpos = MARK_M[0]
        scene.data.joint(f"{name}_y").qpos = MARK_M[1] + sign * WANTED_M / 2
    return scene


def pressed(width_m: float) -> tuple[float, float, float]:
    """The size of a lump that has flowed to that width: its corners' box keeps its volume."""
    first = np.array(TASK.size_m) - 2 * RIM_M
    share = (width_m - 2 * RIM_M) / first[1]
    x, y, z = first * [share**-0.5, share, share**-0.5] + 2 * RIM_M
    return float(x), float(y), float(z)


def place(
    scene: Scene,
    width_m: float = WANTED_M,
    offset_m: tuple[float, float] = (0.0, 0.0),
    yaw: float = 0.0,
    lifted_m: float = 0.0,
    velocity_m_s: tuple[float, float, float] = (0, 0, 0),
    flowed: bool = True,
) -> None:
    """Put a lump of some width at the mark, or beside it; as it has flowed, or only squeezed together."""
    size = pressed(width_m)
    middle = np.array([*(MARK_M + offset_m), RESTING_M + size[2] / 2 + lifted_m])
    turn = Rotation.from_euler("z", yaw)
    for at in CORNERS:
        slides = middle + turn.apply(corner_m(size, at)) - corner_m(TASK.size_m, at)
        for joint, value, speed in zip(corner_joints(NAME, at), slides, velocity_m_s, strict=True):
            scene.data.joint(joint).qpos, scene.data.joint(joint).qvel = value, speed
    if flowed:
        scene.data.plastic[:3] = corner_m(size, (1, 1, 1)) / corner_m(TASK.size_m, (1, 1, 1)) - 1
    mujoco.mj_forward(scene._env.model, scene.data)


def play(scene: Scene, env: BatchEnv, **how) -> list[dict]:
    """Hold on; what every step says, with the width that it leads to."""
    heard = []
    for step in scene.play(**{"steps": 40, **how}):
        heard.append(step | {"width_m": float(jax.vmap(shape)(env.view()).size[0, 1])})
    return heard


# ---- lying at the mark ----


@pytest.mark.parametrize(
    ("width_m", "offset_m", "yaw"),
    [
        (0.040, (0.0, 0.0), 0.0),
        (0.0412, (0.012, 0.0), 0.4),
        (0.0388, (-0.009, 0.009), -1.2),
    ],
)
def test_of_the_wanted_width_and_left_at_the_mark_is_success(
    scene: Scene, env: BatchEnv, width_m: float, offset_m: tuple, yaw: float
):
    place(scene, width_m, offset_m, yaw)
    heard = play(scene, env)
    assert successes(heard) == 1
    assert heard[-1]["terminated"]
    assert STEPS <= len(heard) <= STEPS + 2
    assert heard[-1]["reward"] == 4
    assert {step["reward"] for step in heard[:-1]} == {3}


@pytest.mark.parametrize("width_m", [0.0375, 0.042, TASK.width_m])
def test_of_another_width_is_not(scene: Scene, env: BatchEnv, width_m: float):
    place(scene, width_m)
    heard = play(scene, env)
    assert successes(heard) == 0
    assert {step["reward"] for step in heard} == {0}


@pytest.mark.parametrize("offset_m", [(0.018, 0.0), (-0.013, 0.013), (0.0, 0.1)])
def test_beside_the_mark_is_not(scene: Scene, env: BatchEnv, offset_m: tuple):
    place(scene, offset_m=offset_m)
    heard = play(scene, env)
    assert successes(heard) == 0
    assert {step["reward"] for step in heard} == {2}


def test_what_is_pressed_together_without_flowing_is_not(scene: Scene, env: BatchEnv):
    """It springs back."""
    place(scene, flowed=False)
    heard = play(scene, env)
    assert heard[-1]["width_m"] > TASK.width_m - 0.007
    assert successes(heard) == 0


@pytest.mark.parametrize("finger_m", [GRIP_M, GRIP_M - 0.001])
def test_still_held_at_the_mark_is_not(scene: Scene, env: BatchEnv, finger_m: float):
    scene.reach("right", MARK_M[0], 0.018, DOWN, finger_m)
    place(scene)
    heard = play(scene, env)
    assert successes(heard) == 0
    assert all(env.view().sensor[f"{NAME}-{tip}"][0, 0] > 0 for tip in tips("right"))


def test_under_a_hand_is_not(scene: Scene, env: BatchEnv):
    place(scene)
    scene.reach("left", MARK_M[0], pressed(WANTED_M)[2] + 0.0175, DOWN, SHUT_M)
    heard = play(scene, env)
    assert max(float(env.view().sensor["left"][0, 0]), 0) > 0
    assert successes(heard) == 0


def test_closed_fingers_elsewhere_do_not_matter(scene: Scene, env: BatchEnv):
    """A hand that touches only itself is clear."""
    place(scene)
    heard = play(scene, env, closing=SIDES, steps=60)
    assert float(env.view().sensor["left-own"][0, 0]) > 0
    assert successes(heard) == 1


def test_in_the_air_is_not(scene: Scene, env: BatchEnv):
    place(scene, lifted_m=0.05)
    heard = play(scene, env, steps=4)
    assert {step["reward"] for step in heard} == {2}


@pytest.mark.parametrize("speed_m_s", [0.85, 1.1])
def test_sliding_through_the_mark_is_not(scene: Scene, env: BatchEnv, speed_m_s: float):
    place(scene, offset_m=(-0.02, 0.0), velocity_m_s=(speed_m_s, 0, 0))
    heard = play(scene, env)
    assert any(step["reward"] == 3 for step in heard)
    assert successes(heard) == 0


def test_falling_off_the_table_is_failure(scene: Scene, env: BatchEnv):
    place(scene, offset_m=(0.0, 0.5))
    heard = play(scene, env)
    assert heard[-1]["terminated"]
    assert not heard[-1]["success"]


# ---- in a grip ----


def test_a_firm_grip_presses_it_and_the_shape_stays(scene: Scene, env: BatchEnv):
    """Held by friction alone: the right hand squeezes a whole lump, which narrows, and lets it go."""
    scene.reach("right", MARK_M[0], 0.018, DOWN, 0.033)
    place(scene, TASK.width_m)
    narrowed = play(scene, env, closing=("right",), steps=40)
    assert narrowed[-1]["width_m"] < TASK.width_m - 0.005
    assert any(step["reward"] >= 1 for step in narrowed)
    # In the middle of it, a kept state has the same future, and one without what has flowed another.
    kept = env.take()
    first, again = rest_of(env, kept), rest_of(env, kept)
    np.testing.assert_array_equal(first, again)
    whole = int(mujoco.mjtState.mjSTATE_INTEGRATION)
    without = kept.row.copy()
    for row in without:
        mujoco.mj_setState(env.model, scene.data, row, whole)
        assert np.abs(scene.data.plastic).max() > 0.05
        scene.data.plastic[:] = 0
        mujoco.mj_getState(env.model, scene.data, row, whole)
    assert (rest_of(env, replace(kept, row=without)) != first).any()
    # Let go, it keeps its shape: nearly all of what was pressed.
    env.restore(kept)
    action = np.asarray(env.view().target).copy()
    action[:, env.workcell.gripper_columns[1]] = 1
    before = float(jax.vmap(shape)(env.view()).size[0, 1])
    for _ in range(40):
        env.step(action)
    after = float(jax.vmap(shape)(env.view()).size[0, 1])
    assert abs(after - before) < 0.0015


def rest_of(env: BatchEnv, kept: Snapshot) -> np.ndarray:
    """Where a kept state leads under its last command."""
    env.restore(kept)
    action = np.asarray(env.view().target)
    for _ in range(8):
        env.step(action)
    return env.take().row


def test_a_gentle_load_leaves_no_trace():
    """Below the stress of flow a lump is elastic; above, it keeps what it is given, and its volume."""
    widths = {}
    for force_n in (2.0, 7.0):
        model, data = vice(force_n)
        for _ in range(300):
            mujoco.mj_step(model, data)
        squeezed_m = size_of(data)
        data.ctrl[:] = 0
        data.joint("low").qpos, data.joint("high").qpos = -0.02, 0.02
        for _ in range(300):
            mujoco.mj_step(model, data)
        widths[force_n] = squeezed_m, size_of(data)
        assert not any(warning.number for warning in data.warning)
    first = np.array(TASK.size_m)
    gentle, firm = widths[2.0], widths[7.0]
    assert gentle[0][1] < first[1] - 1e-4
    np.testing.assert_allclose(gentle[1], first, atol=2e-5)
    assert firm[1][1] < first[1] - 0.004
    assert abs(firm[1][1] - firm[0][1]) < 0.001
    strain = (firm[1] - 2 * RIM_M) / (first - 2 * RIM_M) - 1
    assert strain.sum() == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize(
    ("field", "factor"), [("flex_yield", 1.0), ("flex_yield", 2.0), ("flex_stiffness", 2.0)]
)
def test_it_flows_under_its_stress_of_flow_on_a_face(field: str, factor: float):
    """The force goes with stiffness and with yield strain, as the table's rows change them."""
    force_n = factor * Dough().flow_pa * TASK.length_m * TASK.height_m
    for share, flows in ((0.85, False), (1.3, True)):
        model, data = vice(share * force_n)
        getattr(model, field)[:] *= factor
        for _ in range(150):
            mujoco.mj_step(model, data)
        assert (np.abs(data.plastic).max() > 0.02) == flows


def vice(force_n: float) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """A lump, weightless, between two plates that press across its width."""
    spec = mujoco.MjSpec()
    spec.option.timestep, spec.option.gravity = TASK.timestep_s, (0, 0, 0)
    for name, sign in (("low", -1), ("high", 1)):
        body = spec.worldbody.add_body(name=name, pos=(0, sign * (TASK.width_m / 2 + 0.011), 0))
        slide = body.add_joint(name=name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=(0, 1, 0))
        slide.damping[0] = 40.0
        body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.05, 0.01, 0.05), mass=1.0)
        motor = spec.add_actuator(name=name, trntype=mujoco.mjtTrn.mjTRN_JOINT, target=name)
        motor.gainprm[0] = -sign
    add_dough(spec, NAME, TASK.size_m, TASK.mass_kg, Dough(), ("low", "high"))
    model = spec.compile()
    data = mujoco.MjData(model)
    data.ctrl[:] = force_n
    return model, data


def size_of(data: mujoco.MjData) -> np.ndarray:
    """Length, width and height (m)."""
    return np.asarray(shape(lump({c: data.body(c).xpos for c in BODIES})).size)


# ---- laws ----

EMPTY = View(
    joint_pos=jnp.zeros(14),
    joint_vel=jnp.zeros(14),
    target=jnp.zeros(14),
    site_pos={name: jnp.zeros(3) for name in TASK.watch().sites},
    body_pos={
        name: jnp.array([*MARK_M, TABLE_TOP_M]) + sign * jnp.array([0, WANTED_M / 2, 0])
        for name, sign in zip(MARKS, (-1, 1), strict=True)
    },
    body_quat={},
    sensor={
        **{side: jnp.zeros(1) for side in SIDES},
        **{f"{side}-own": jnp.zeros(1) for side in SIDES},
        **{f"{NAME}-{tip}": jnp.zeros(4) for side in SIDES for tip in tips(side)},
        **{f"{body}_velocity": jnp.zeros(3) for body in BODIES},
    },
)
START = PressDoughCarry(jnp.float32(0))
UPDATE, REWARD, OBSERVE, SHAPE = map(jax.jit, (TASK.update, TASK.reward, TASK.observe, shape))


def lump(corners: dict) -> View:
    """A view of a lump with these corners (m)."""
    there = {name: jnp.array(place, jnp.float32) for name, place in corners.items()}
    return EMPTY._replace(body_pos=EMPTY.body_pos | there)


def boxed(size: tuple, middle: np.ndarray, turn: Rotation) -> View:
    """A view of a lump that is a box."""
    return lump({corner(NAME, at): middle + turn.apply(corner_m(size, at)) for at in CORNERS})


def rotations() -> st.SearchStrategy[Rotation]:
    numbers = st.lists(st.floats(-1, 1), min_size=4, max_size=4).map(np.array)
    return numbers.filter(lambda q: np.linalg.norm(q) > 0.1).map(Rotation.from_quat)


SIZES = st.tuples(st.floats(0.05, 0.07), st.floats(0.035, 0.048), st.floats(0.03, 0.045))
PLACES = st.tuples(st.floats(-0.03, 0.03), st.floats(-0.03, 0.03), st.floats(0, 0.06)).map(
    lambda p: np.array([*MARK_M, TABLE_TOP_M + 0.018]) + p
)


@settings(max_examples=60, deadline=None)
@given(SIZES, PLACES, rotations())
def test_a_box_is_seen_as_it_is(size: tuple, middle: np.ndarray, turn: Rotation):
    found = SHAPE(boxed(size, middle, turn))
    np.testing.assert_allclose(found.middle, middle, atol=1e-6)
    np.testing.assert_allclose(found.size, size, atol=1e-6)
    np.testing.assert_allclose(found.rotation, turn.as_matrix(), atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-0.004, 0.004), min_size=24, max_size=24), rotations())
def test_a_lump_of_any_form_has_a_rotation(bumps: list, turn: Rotation):
    """However its corners are shifted, what is seen of it turns with it."""
    shifts = np.reshape(bumps, (8, 3))
    own = np.array([corner_m(TASK.size_m, at) for at in CORNERS]) + shifts
    plain, turned = (
        SHAPE(lump(dict(zip(BODIES, points, strict=True)))) for points in (own, turn.apply(own))
    )
    np.testing.assert_allclose(plain.rotation.T @ plain.rotation, np.eye(3), atol=1e-5)
    assert float(jnp.linalg.det(plain.rotation)) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(turned.size, plain.size, atol=1e-5)
    np.testing.assert_allclose(turned.rotation, turn.as_matrix() @ plain.rotation, atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(SIZES, rotations(), st.floats(0, 0.02))
def test_placed_is_lying_whichever_way_it_is_turned(size: tuple, turn: Rotation, above_m: float):
    """A box of the wanted width over the mark: its lowest corner on the table, or so far above."""
    size = (size[0], WANTED_M, size[2])
    half_m = np.abs(turn.as_matrix()[2]) @ size / 2
    view = boxed(size, np.array([*MARK_M, TABLE_TOP_M + half_m + above_m]), turn)
    terms = REWARD(view, PressDoughCarry(jnp.float32(0)))
    assert bool(terms["shaped"])
    if abs(above_m - 0.003) > 1e-4:
        assert bool(terms["placed"]) == (above_m < 0.003)


@settings(max_examples=60, deadline=None)
@given(
    SIZES,
    PLACES,
    st.sampled_from([*SIDES, "nothing"]),
    st.integers(0, 2),
    st.floats(0, 0.5),
)
def test_reward_stages_contain_each_other(
    size: tuple, middle: np.ndarray, toucher: str, own: int, rest_s: float
):
    """Each stage implies the one before, so the reward counts 0 to 4; touched by an arm it is never left."""
    view = boxed(size, middle, Rotation.identity())
    contacts = {f"{side}-own": jnp.array([float(own)]) for side in SIDES}
    contacts |= {side: jnp.array([own + float(side == toucher)]) for side in SIDES}
    view = view._replace(sensor=view.sensor | contacts)
    carry = UPDATE(view, PressDoughCarry(jnp.float32(rest_s)))
    terms = REWARD(view, carry)
    names = ("squeezed", "shaped", "placed", "left")
    reached = [bool(terms[name]) for name in names]
    assert set(terms) == set(names)
    assert reached == sorted(reached, reverse=True)
    assert bool(TASK.success(view, carry)) == reached[-1]
    if toucher != "nothing":
        assert float(carry.rest_s) == 0
        assert not reached[-1]


@settings(max_examples=30, deadline=None)
@given(rotations())
def test_lumps_that_look_the_same_are_seen_the_same(turn: Rotation):
    def look(t: Rotation) -> np.ndarray:
        view = boxed(TASK.size_m, np.zeros(3), t)
        return np.asarray(OBSERVE(view, START)["dough_rot"])

    same = [turn * Rotation.from_matrix(s) for s in BOX_SYMMETRIES]
    traces = np.sort([np.trace(t.as_matrix()) for t in same])
    if traces[-1] - traces[-2] > 1e-3:  # Ties go either way.
        looks = [look(t) for t in same]
        np.testing.assert_allclose(looks, np.repeat(looks[:1], len(looks), axis=0), atol=1e-4)


def test_what_is_wanted_is_seen():
    view = boxed(TASK.size_m, np.array([*MARK_M, 0.02]), Rotation.identity())
    seen = OBSERVE(view, START)
    assert float(wanted(view)) == pytest.approx(WANTED_M, abs=1e-6)
    np.testing.assert_allclose(mark(view)[:2], MARK_M, atol=1e-6)
    np.testing.assert_allclose(seen["mark_pos"], MARK_M, atol=1e-6)
    np.testing.assert_allclose(seen["wanted_share"], [WANTED_M / TASK.width_m], atol=1e-5)
    np.testing.assert_allclose(seen["dough_size"], TASK.size_m, atol=1e-6)


# ---- starts and settings ----


def test_starts_fill_their_ranges_and_lie_whole_on_the_table():
    starts = jax.vmap(TASK.initial)(jax.random.split(jax.random.key(0), 2000)).qpos
    corners = {}
    for at in CORNERS:
        slides = np.stack([np.asarray(starts[j])[:, 0] for j in corner_joints(NAME, at)], axis=1)
        corners[corner(NAME, at)] = slides + corner_m(TASK.size_m, at)
    marks = {
        name: np.stack([np.asarray(starts[f"{name}_{a}"])[:, 0] for a in "xy"], 1) for name in MARKS
    }
    middle = np.mean(list(corners.values()), axis=0)
    np.testing.assert_allclose(middle[:, 2], RESTING_M + TASK.height_m / 2, atol=1e-6)
    at = (marks[MARKS[0]] + marks[MARKS[1]]) / 2
    apart = marks[MARKS[1]][:, 1] - marks[MARKS[0]][:, 1]
    for values, (low, high) in (
        (middle[:, 0], TASK.start_x_m),
        (middle[:, 1], TASK.start_y_m),
        (at[:, 0], TASK.mark_x_m),
        (at[:, 1], TASK.mark_y_m),
        (apart, TASK.wanted_m),
    ):
        span = 0.02 * (high - low)
        assert low - 1e-6 <= values.min() < low + span
        assert high - span < values.max() <= high + 1e-6
    # It never starts where it is to go, and edges keep their lengths however it is turned.
    assert np.linalg.norm(middle[:, :2] - at, axis=1).min() > 2 * TASK.mark_radius_m
    edge = corners[corner(NAME, (0, 1, 0))] - corners[corner(NAME, (0, 0, 0))]
    np.testing.assert_allclose(np.linalg.norm(edge, axis=1), TASK.width_m - 2 * RIM_M, atol=1e-6)


def test_nothing_moves_the_mark_and_a_lump_lies_still(env: BatchEnv):
    env.reset(seed=3)
    before = env.view()
    for _ in range(25):
        env.step(np.repeat(env.control.home[None], env.num_envs, axis=0))
    after = env.view()
    for name in MARKS:
        np.testing.assert_allclose(after.body_pos[name], before.body_pos[name], atol=1e-6)
    for name in BODIES:
        np.testing.assert_allclose(after.body_pos[name], before.body_pos[name], atol=2e-4)
        assert np.abs(after.sensor[f"{name}_velocity"]).max() < 1e-3


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("horizon_s", 0.0),
        ("mass_kg", 0.0),
        ("width_m", 0.055),
        ("width_m", float("nan")),
        ("length_m", 0.1),
        ("height_m", 0.01),
        ("wanted_m", (0.030, 0.044)),
        ("wanted_m", (0.037, 0.048)),
        ("wanted_m", (0.044, 0.037)),
        ("tolerance_m", 0.0),
        ("mark_radius_m", -0.01),
        ("start_x_m", (0.0, 0.6)),
        ("mark_y_m", (0.0, 0.4)),
        ("start_yaw_rad", (-3.0, 3.0)),
        ("rest_s", 0.0),
        ("still_m_s", 0.0),
    ],
)
def test_what_cannot_be_is_refused(setting: str, value: object):
    with pytest.raises(InputError, match=setting) as refusal:
        replace(TASK, **{setting: value})
    assert str(value) in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"young_pa": 1e8},
            r"young_pa 1e\+08: .* the largest that steps of 0.00667 s can hold is 4.5e\+06",
        ),
        ({"young_pa": 1e4}, "young_pa 10000: .* choose at least 50000"),
        ({"young_pa": float("nan")}, "young_pa nan"),
        ({"flow_pa": 100.0}, "flow_pa 100.0: choose a number from"),
        ({"flow_pa": 1e5, "young_pa": 1e7}, "flow_pa 100000.0: choose a number from"),
        ({"poisson": 0.5}, "poisson 0.5"),
        ({"damping_s": -0.01}, "damping_s -0.01"),
        ({"friction": 2.0}, "friction 2.0: choose a number from 0.2 to 1.5"),
    ],
)
def test_dough_that_cannot_be_is_refused(changes: dict, message: str):
    with pytest.raises(InputError, match=message):
        replace(TASK, dough=replace(Dough(), **changes))


def test_halving_the_timestep_allows_stiffer_dough():
    stiff = replace(Dough(), young_pa=6e6)
    with pytest.raises(InputError, match="young_pa"):
        replace(TASK, dough=stiff)
    assert replace(TASK, dough=stiff, timestep_s=TASK.timestep_s / 4).dough is stiff


@pytest.mark.parametrize("backend", ["mjx", "warp"])
def test_engines_without_plasticity_refuse_it(backend: str):
    with pytest.raises(InputError, match=r"flex 'dough': MJX has no .* use backend 'cpu'"):
        regrasp.make("press_dough", 2, backend=backend)


def test_the_table_changes_what_the_engine_uses():
    """Its own rows reach the model: each field differs between rows, in the row's proportion."""
    env = regrasp.make("press_dough", 8, threads=1, randomize="table")
    env.reset(seed=0)
    fields = env.take().fields
    for name in ("flex_stiffness", "flex_yield", "flex_damping"):
        own = np.asarray(getattr(env.model, name), float)
        share = (fields[name].reshape(8, -1) / np.where(own.ravel() == 0, 1, own.ravel()))[:, 0]
        assert np.ptp(share) > 0.05, name
        assert ((share > 0.45) & (share < 2.1)).all()
    masses = fields["body_mass"][:, [env.model.body(name).id for name in BODIES]]
    np.testing.assert_allclose(masses, np.repeat(masses[:, :1], 8, axis=1))
    assert np.ptp(masses[:, 0]) > 0.05 * TASK.mass_kg / 8


def test_rows_of_what_no_scene_has_are_refused():
    rows = [row for row in table_for("press_dough").rows if row.name == "dough yield strain"]
    with pytest.raises(InputError, match="unknown flex 'dough'"):
        regrasp.make("transfer_cube", 1, randomize=Table(*rows))


def test_kept_states_repeat_to_the_last_bit():
    """Certified: what has flowed travels in snapshots."""
    found = certify(
        CertifyConfig(("press_dough",), ("cpu",), rows=3, steps=6, seconds=0.1),
        partial(regrasp.make, randomize="table"),
    )
    held = found.found[0].checks
    assert {name for name, kept in held.items() if kept is False} == set()


def test_the_teacher_presses_it_and_sets_it_down(env: BatchEnv):
    keys = episode_keys(0, "demonstrate", 0, env.num_envs)
    assert play_episodes(env, load_expert("press_dough"), keys, 0, 0).success.all()
    found = jax.vmap(shape)(env.view())
    assert (np.abs(found.size[:, 1] - jax.vmap(wanted)(env.view())) <= TASK.tolerance_m).all()
