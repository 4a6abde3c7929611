"""route_cable: what counts as a cable in its clips, and what does not; and a cable that behaves like one."""

import dataclasses
import re
from copy import copy
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.envs.conftest import make_env

import regrasp
from regrasp import BatchEnv
from regrasp.assets import SIDES
from regrasp.assets.cable import FOOT_M, JAWS, Cable
from regrasp.envs import View, episode_keys
from regrasp.envs.tasks.parts import TABLE_TOP_M
from regrasp.envs.tasks.route_cable import CLIPS, RouteCable, RouteCableCarry
from regrasp.envs.world import placed
from regrasp.errors import InputError
from regrasp.rl.evaluate import play_episodes
from regrasp.rl.experts import load_expert

TASK = RouteCable()
CABLE, CLIP = TASK.cable, TASK.clip
STRAIGHT_M = CABLE.straight_m
SEATED_M, LIP_M = TABLE_TOP_M + CLIP.seat_m, TABLE_TOP_M + CLIP.lip_m
STEPS = round(TASK.rest_s / TASK.control_dt_s)


def other(**changes: Any) -> RouteCable:
    """The task, or its cable, with other settings."""
    cable = {name: changes.pop(name) for name in list(changes) if hasattr(CABLE, name)}
    return replace(TASK, **changes, cable=replace(CABLE, **cable))


def straight(clip: int, height_m: float) -> np.ndarray:
    """The cable straight along x, through the middle of one clip."""
    return STRAIGHT_M + [0, TASK.clips_m[clip][1], height_m]


# ---- in the engine ----


@pytest.fixture(scope="module")
def env() -> BatchEnv:
    return regrasp.make("route_cable", 1, threads=1, autoreset=AutoresetMode.DISABLED)


def hold_still(env: BatchEnv, steps: int) -> list[dict]:
    """What every step says while the arms stay where they are."""
    action = np.asarray(env.control.home)[None].astype(np.float32)
    heard = []
    for _ in range(steps):
        _, reward, terminated, _, info = env.step(action)
        heard.append({"success": bool(info["success"][0]), "reward": float(reward[0])})
        heard[-1] |= {"terminated": bool(terminated[0]), "clips": float(info["clips"][0])}
        if terminated[0]:
            break
    return heard


def put(env: BatchEnv, points: np.ndarray) -> None:
    """Put the cable somewhere."""
    env.reset(seed=0)
    kept = env.take()
    data = mujoco.MjData(env.model)
    for name, position in env.workcell.home_qpos().items():
        data.joint(name).qpos = position
    mujoco.mj_forward(env.model, data)
    data.qpos[placed(env.model, "cable")] = (points - data.flexvert_xpos).ravel()
    row = np.zeros_like(kept.row[0])
    mujoco.mj_getState(env.model, data, row, int(mujoco.mjtState.mjSTATE_INTEGRATION))
    env.restore(dataclasses.replace(kept, row=row[None]))


def test_in_the_first_clip_is_half_the_way(env: BatchEnv):
    put(env, straight(0, SEATED_M))
    heard = hold_still(env, 20)
    assert [step["reward"] for step in heard] == [2.0] * 20
    assert not any(step["terminated"] for step in heard)


def test_in_the_second_clip_alone_is_failure(env: BatchEnv):
    put(env, straight(1, SEATED_M))
    (heard,) = hold_still(env, 5)
    assert heard == {"success": False, "reward": 0, "terminated": True, "clips": 1}


def test_its_own_weight_does_not_press_it_in(env: BatchEnv):
    """It comes to rest on the lips."""
    put(env, straight(0, LIP_M + CABLE.radius_m))
    heard = hold_still(env, 50)
    assert not any(step["clips"] for step in heard)
    cable = np.asarray(env.view().flex["cable"])[0]
    on_top = np.interp(TASK.clips_m[0][0], cable[:, 0], cable[:, 2])
    assert on_top > LIP_M


def test_a_clip_holds_it_against_its_weight(env: BatchEnv):
    """Gravity is turned over: a clipped cable stays, one on the table falls away."""
    lifted = {}
    for name, height_m in (("clipped", SEATED_M), ("free", TABLE_TOP_M + CABLE.radius_m)):
        put(env, straight(0, height_m) + [0, 0 if name == "clipped" else -0.1, 0])
        model, data = copy(env.model), env._world.row_data(0)
        model.opt.gravity[2] *= -1
        for _ in range(125):
            mujoco.mj_step(model, data)
        cable = data.flexvert_xpos
        lifted[name] = np.interp(TASK.clips_m[0][0], cable[:, 0], cable[:, 2]) - height_m
    assert lifted["free"] > 0.5
    assert lifted["clipped"] < CABLE.radius_m


@pytest.mark.parametrize("force_n", [-20.0, -5.0, 5.0, 20.0])
@pytest.mark.parametrize("jaw", JAWS)
def test_a_jaw_gives_as_a_spring_does_and_comes_back(env: BatchEnv, jaw: str, force_n: float):
    env.reset(seed=0)
    model, data = env.model, env._world.row_data(0)
    hinge = model.joint(f"first_{jaw}")
    moment_nm = force_n * (CLIP.lip_m - FOOT_M)
    for pushed_nm in (moment_nm, 0.0):
        for _ in range(125):
            data.qfrc_applied[hinge.dofadr] = pushed_nm
            mujoco.mj_step(model, data)
        turned_rad = data.qpos[hinge.qposadr][0]
        # Its weight turns it, too.
        np.testing.assert_allclose(turned_rad, pushed_nm / CLIP.spring_nm, rtol=0.01, atol=1e-4)


def test_beyond_the_table_is_failure(env: BatchEnv):
    put(env, straight(0, SEATED_M) + [0.5, -0.1, 0])
    assert hold_still(env, 2)[-1]["terminated"]


def test_it_does_not_roll_away(env: BatchEnv):
    """On a table that is not quite level, as real cables, which are never quite straight."""
    env.reset(seed=0)
    data = env._world.row_data(0)
    before, model = data.flexvert_xpos.copy(), copy(env.model)
    model.opt.gravity[1] = -9.81 * 0.02
    for _ in range(500):
        mujoco.mj_step(model, data)
    assert np.abs(data.flexvert_xpos - before)[:, :2].max() < 1e-3


def test_only_friction_and_springs_hold_it(env: BatchEnv):
    """No constraint but between the fingers of a hand, and that the cable does not stretch."""
    model = env.model
    kinds = sorted(model.eq_type)
    assert kinds == [int(mujoco.mjtEq.mjEQ_JOINT)] * 2 + [int(mujoco.mjtEq.mjEQ_FLEX)]
    assert model.nu == len(env.workcell.action_names)
    assert model.nplugin == 0
    assert max(model.geom_friction[:, 0].max(), model.flex_friction[0, 0]) <= 1.5
    assert (model.geom_margin == 0).all()
    assert model.flex_vertnum[0] >= 25


def test_a_kept_cable_goes_on_bit_for_bit():
    """What it carries besides positions included: how its edges are turned."""
    env = make_env("route_cable", "cpu")
    env.reset(seed=1)
    rng = np.random.default_rng(0)
    low, high = env.single_action_space.low, env.single_action_space.high
    actions = rng.uniform(low, high, (7, 1, len(low))).repeat(env.num_envs, 1).astype(np.float32)
    for action in actions[:3]:
        env.step(action)
    kept = env.take(0)
    assert env.model.flex_plasticadr[0] >= 0
    futures = []
    for rows in ([0], [1]):
        env.restore(kept, np.array(rows))
        for action in actions[3:]:
            env.step(action)
        futures.append(np.array(env.state_row(rows[0])))
    np.testing.assert_array_equal(*futures)


def test_mjx_is_refused():
    with pytest.raises(InputError, match=r"flex 'cable'.*backend 'cpu'"):
        regrasp.make("route_cable", 1, backend="mjx")


def test_the_teacher_routes_it_and_what_it_leaves_is_success(env: BatchEnv):
    keys, reached, kept = episode_keys(0, "demonstrate", 0, 1), [0.0], []

    def look(step: int) -> None:
        if not kept or reached[-1] < 4:
            kept[:] = [env.take()]
        reached.append(sum(float(values[0]) for values in env.reward_terms().values()))

    expert = load_expert("route_cable", "flawless")
    assert play_episodes(env, expert, keys, 0, 0, on_step=look).success.all()
    assert set(reached) == {0, 1, 2, 3, 4}
    # From the last moment before, it needs no teacher.
    env.restore(kept[0])
    assert hold_still(env, STEPS + 5)[-1]["success"]


# ---- laws ----

AWAY = {
    f"{side}/gripper": jnp.array([x, 0, 0.3]) for side, x in zip(SIDES, (-0.3, 0.3), strict=True)
}
FEET = {
    name: jnp.array([*place, TABLE_TOP_M]) for name, place in zip(CLIPS, TASK.clips_m, strict=True)
}
UPDATE, REWARD, SEATED, FAILURE = map(
    jax.jit, (TASK.update, TASK.reward, TASK.seated, TASK.failure)
)


def touching(left: int = 0, right: int = 0, own: int = 0) -> dict:
    """What the sensors say of arms that touch so much, and so much of it their own parts."""
    found = {"left": left, "right": right, "left-own": own, "right-own": own}
    return {name: jnp.array([float(count)]) for name, count in found.items()}


def seen(points: np.ndarray, hands: dict | None = None) -> View:
    """A view of a cable, the hands away from it."""
    return View(
        joint_pos=jnp.zeros(14),
        joint_vel=jnp.zeros(14),
        target=jnp.zeros(14),
        site_pos=AWAY | (hands or {}),
        body_pos=FEET,
        body_quat={},
        sensor=touching(),
        flex={"cable": jnp.array(points, jnp.float32)},
    )


def routed(first_m: tuple[float, float], second_m: tuple[float, float]) -> np.ndarray:
    """A cable that passes beside and above the middle of both seats by so much."""
    ends = [
        (x, y + off[0], SEATED_M + off[1])
        for (x, y), off in zip(TASK.clips_m, (first_m, second_m), strict=True)
    ]
    (x0, *start), (x1, *end) = ends
    x = STRAIGHT_M[:, 0]
    share = np.clip((x - x0) / (x1 - x0), -0.2, 1.2)[:, None]
    # Before and behind the clips it goes on straight for a while.
    flat = np.where(share < 0, np.array(start), np.where(share > 1, np.array(end), 0.0))
    between = (share >= 0) & (share <= 1)
    return np.concatenate(
        [x[:, None], np.where(between, start + share * np.subtract(end, start), flat)], 1
    )


def lying(points: np.ndarray, rest_s: float, first: bool) -> RouteCableCarry:
    return RouteCableCarry(jnp.array(points, jnp.float32), jnp.float32(rest_s), jnp.array(first))


OFF = st.tuples(st.floats(-0.012, 0.012), st.floats(-0.004, 0.012))
CABLES = st.builds(routed, OFF, OFF)
MOST_M = CLIP.past_m - CLIP.seat_m


@settings(max_examples=60, deadline=None)
@given(OFF, OFF)
def test_seated_is_past_the_lips_and_between_the_jaws(first: tuple, second: tuple):
    found = SEATED(seen(routed(first, second)))
    for is_seated, (y, z) in zip(found, (first, second), strict=True):
        if min(abs(abs(y) - CLIP.for_m), abs(z - MOST_M)) > 1e-3:
            assert bool(is_seated) == (abs(y) < CLIP.for_m and z < MOST_M)


@settings(max_examples=40, deadline=None)
@given(CABLES)
def test_which_end_comes_first_does_not_matter(cable: np.ndarray):
    assert list(map(bool, SEATED(seen(cable)))) == list(map(bool, SEATED(seen(cable[::-1]))))


@settings(max_examples=60, deadline=None)
@given(CABLES, st.floats(0, 0.7), st.floats(0, 0.01), st.floats(0.0, 0.2), st.booleans())
def test_rest_counts_only_what_is_in_both_still_and_clear(
    cable: np.ndarray, before_s: float, moved_m: float, clear_m: float, first: bool
):
    hand = jnp.array(cable[12] + [0, 0, clear_m], jnp.float32)
    view = seen(cable, {"left/gripper": hand})
    after = UPDATE(view, lying(cable + [0, moved_m, 0], before_s, first))
    gap = np.linalg.norm(cable - np.asarray(hand), axis=1).min()
    counts = all(map(bool, SEATED(view))) and moved_m <= TASK.still_m and gap >= TASK.clear_m
    if min(abs(moved_m - TASK.still_m), abs(gap - TASK.clear_m)) > 1e-5:
        assert (float(after.rest_s) > 0) == counts


@pytest.mark.parametrize(
    ("sensors", "clear"),
    [
        (touching(), True),
        (touching(1, 1, 1), True),
        (touching(2, 1, 1), False),
        (touching(right=1), False),
    ],
)
def test_what_an_arm_touches_is_not_left_alone(sensors: dict, clear: bool):
    """However far from it the gripper's site is; what it touches of itself does not count."""
    cable = routed((0, 0), (0, 0))
    view = seen(cable)._replace(sensor=sensors)
    assert (float(UPDATE(view, lying(cable, 0.2, True)).rest_s) > 0) == clear


@settings(max_examples=60, deadline=None)
@given(CABLES, st.floats(0, 0.7), st.booleans())
def test_reward_stages_contain_each_other(cable: np.ndarray, before_s: float, first: bool):
    view = seen(cable)
    carry = UPDATE(view, lying(cable, before_s, first))
    terms = REWARD(view, carry)
    reached = [bool(terms[name]) for name in ("lifted", "first", "both", "placed")]
    assert len(terms) == len(reached)
    assert reached == sorted(reached, reverse=True)
    assert bool(TASK.success(view, carry)) == reached[-1]
    assert not (bool(FAILURE(view, carry)) and reached[-1])


@pytest.mark.parametrize("first", [True, False])
def test_the_order_is_remembered(first: bool):
    """In both at once, it depends on where it was before."""
    both = seen(routed((0, 0), (0, 0)))
    carry = UPDATE(both, lying(STRAIGHT_M, 0.0, first))
    assert bool(carry.first) == first
    assert bool(FAILURE(both, carry)) != first
    alone = UPDATE(seen(routed((0, 0), (0.02, 0))), carry)
    assert bool(alone.first)


@pytest.mark.parametrize("vertices", [17, 25, 27, 31])
def test_as_much_is_seen_of_finer_cables(vertices: int):
    task = other(vertices=vertices)
    cable = task.cable.straight_m
    carry = lying(cable, 0.0, False)
    marks = np.asarray(task.observe(seen(cable), carry)["cable_pos"]).reshape(-1, 3)
    assert marks.size == np.prod(task.seen["cable_pos"][1])
    np.testing.assert_allclose(marks[[0, 6, 12]], cable[[0, vertices // 2, -1]], atol=1e-6)


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("seat_m", 0.004),
        ("seat_m", 0.3),
        ("spring_nm", 0.0),
        ("spring_nm", 1e4),
        ("friction", 0.0),
        ("snap_m", 0.0025),
        ("friction", 0.5),
        ("wire_m", 0.02),
    ],
)
def test_a_clip_that_cannot_be_is_refused(figure: str, value: float):
    with pytest.raises(InputError, match=figure):
        replace(CLIP, **{figure: value})


# ---- starts and settings ----


def test_starts_are_where_they_should_be():
    starts = jax.vmap(TASK.initial)(jax.random.split(jax.random.key(0), 2000)).qpos["cable"]
    middle_y = sum(TASK.start_y_m) / 2
    cables = np.asarray(starts, float).reshape(-1, *STRAIGHT_M.shape) + STRAIGHT_M
    middle = cables[:, CABLE.vertices // 2] + [0, middle_y, 0]
    for column, (low, high) in zip(middle.T[:2], (TASK.start_x_m, TASK.start_y_m), strict=True):
        assert low - 1e-6 <= column.min() < low + 0.001
        assert high - 0.001 < column.max() <= high + 1e-6
    edges = np.linalg.norm(np.diff(cables, axis=1), axis=-1)
    np.testing.assert_allclose(edges, CABLE.edge_m, atol=1e-6)
    # It starts before both clips.
    nearest = min(y for _, y in TASK.clips_m) - 0.02
    assert (cables[..., 1] + middle_y).max() < nearest


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("horizon_s", 0.0),
        ("mass_kg", 0.0),
        ("length_m", 0.9),
        ("radius_m", 0.004),
        ("radius_m", 0.02),
        ("mass_kg", 20.0),
        ("young_pa", -1.0),
        ("young_pa", 1e12),
        ("friction", 2.0),
        ("vertices", 11),
        ("vertices", 26),
        ("vertices", 101),
        ("still_m", 0.0),
        ("rest_s", 0.0),
        ("clear_m", 3.0),
        ("clear_m", float("nan")),
        ("start_x_m", (-0.3, 0.3)),
        ("start_yaw_rad", (0.1, -0.1)),
        ("clips_m", ((-0.09, -0.08), (0.09, 0.03))),
        ("clips_m", ((-0.09, 0.0), (0.3, 0.03))),
        ("clips_m", ((-0.09, 0.0), (float("nan"), 0.03))),
        ("clips_m", ((0.0, 0.0), (0.05, 0.03))),
    ],
)
def test_what_cannot_be_is_refused(setting: str, value: object):
    with pytest.raises(InputError, match=setting) as refusal:
        other(**{setting: value})
    assert str(value) in str(refusal.value)


def test_clips_further_apart_than_the_cable_reaches_are_refused():
    with pytest.raises(InputError, match=r"0\.306 m apart: choose 0\.12 to 0\.24 m"):
        other(clips_m=((-0.15, 0.0), (0.15, 0.06)), length_m=0.36)


def test_too_coarse_says_how_fine():
    with pytest.raises(InputError, match="too coarse") as refusal:
        other(vertices=11)
    least = re.search(r"at least (\d+)", str(refusal.value))
    assert least is not None
    assert other(vertices=int(least[1]) | 1)


def test_another_cable_is_built_as_asked():
    model = other(vertices=31, length_m=0.5, mass_kg=0.06).scene().compile()
    assert model.flex_vertnum[0] == 31
    assert model.body_mass[model.flex_vertbodyid].sum() == pytest.approx(0.06)


@pytest.mark.parametrize("young_pa", [2e7, 1e8])
def test_it_bends_as_a_beam_does(young_pa: float):
    """A stretch that is clamped at one end hangs down by the sum of what the moments turn at its vertices."""
    spec = mujoco.MjSpec()
    spec.option.timestep = 0.004
    table = spec.worldbody.add_geom(name="table", type=mujoco.mjtGeom.mjGEOM_BOX)
    table.size = (1, 1, 0.1)
    cable = Cable(length_m=0.2, vertices=11, young_pa=young_pa, mass_kg=0.01)
    cable.add(spec, "cable", (0.0, 0.0, 1.0), (0.0, 0.0, 0.0, 1.0))
    for i in (0, 1):  # Clamped, by their inertia, for a second.
        spec.body(f"cable_{i}").mass, spec.body(f"cable_{i}").gravcomp = 1e6, 1
    model = spec.compile()
    data = mujoco.MjData(model)
    for _ in range(250):
        mujoco.mj_step(model, data)
    x = cable.edge_m * np.arange(cable.vertices)
    weight, inertia = cable.mass_kg / cable.vertices * 9.81, np.pi * cable.radius_m**4 / 4
    moments = weight * np.maximum(x[None] - x[:, None], 0).sum(1)[1:]
    sag = (moments * cable.edge_m / (young_pa * inertia) * (x[-1] - x[1:])).sum()
    assert sag < 0.1 * cable.length_m  # So much for small slopes.
    assert 1.0 - data.flexvert_xpos[-1, 2] == pytest.approx(sag, rel=0.03)
