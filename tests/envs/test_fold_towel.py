"""fold_towel: what counts as a towel folded, from states placed by hand, and what does not."""

import dataclasses
import re
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
from regrasp.assets.cloth import Cloth
from regrasp.envs import View, episode_keys
from regrasp.envs.tasks.fold_towel import FoldTowel, FoldTowelCarry
from regrasp.envs.tasks.parts import TABLE_TOP_M
from regrasp.envs.world import placed
from regrasp.errors import InputError
from regrasp.rl.evaluate import play_episodes
from regrasp.rl.experts import load_expert
from regrasp.rl.experts.figures import Reaching
from regrasp.rl.experts.ik import DOWN

TASK = FoldTowel()
TOWEL = TASK.towel
FLAT_M = TOWEL.flat_m
LYING_M = TABLE_TOP_M + TOWEL.radius_m
STEPS = round(TASK.rest_s / TASK.control_dt_s)


def other(**changes: Any) -> FoldTowel:
    """The task, or its towel, with other settings."""
    cloth = {name: changes.pop(name) for name in list(changes) if hasattr(TOWEL, name)}
    return replace(TASK, **changes, towel=replace(TOWEL, **cloth))


def lying(y_m: float = 0.0) -> np.ndarray:
    """The towel flat on the table."""
    return FLAT_M + [0, y_m, LYING_M]


def folded(short_m: float = 0.0, axis: int = 1) -> np.ndarray:
    """The towel's first half along an axis on its second; the upper edge stops short of the lower one."""
    points = lying()
    upper = FLAT_M[..., axis] < 0
    points[upper, axis] = -FLAT_M[upper][:, axis] * (1 - short_m / FLAT_M[..., axis].max())
    points[upper, 2] += 2.2 * TOWEL.radius_m
    return points


# ---- in the engine ----


@pytest.fixture(scope="module")
def env() -> BatchEnv:
    return regrasp.make("fold_towel", 1, threads=1, autoreset=AutoresetMode.DISABLED)


def play(env: BatchEnv, points: np.ndarray, steps: int, hand_m: float | None = None) -> list[dict]:
    """Put the towel somewhere and hold the arms still; what every step says.

    `hand_m`: the left gripper site is this far above the towel's middle.
    """
    env.reset(seed=0)
    kept = env.take()
    data = mujoco.MjData(env.model)
    for name, position in env.workcell.home_qpos().items():
        data.joint(name).qpos = position
    rest = FLAT_M + [0, 0, TABLE_TOP_M + 2 * TASK.rod_m + TOWEL.radius_m]
    data.qpos[placed(env.model, "towel")] = (points - rest).ravel()
    action = np.asarray(env.control.home)[None].astype(np.float32)
    if hand_m is not None:
        reach = load_expert("fold_towel").reach["left"]
        middle = np.median(points.reshape(-1, 3), axis=0)
        angles, miss = reach.solve(
            middle + [0, 0, hand_m], DOWN["left"], np.array(Reaching().over_rad)
        )
        assert miss < 1e-3
        names = env.workcell.action_names[: len(angles)]
        for name, angle in zip(names, angles, strict=True):
            data.joint(name).qpos = angle
        action[0, : len(angles)] = reach.command(angles)
    row = np.zeros_like(kept.row[0])
    mujoco.mj_getState(env.model, data, row, int(mujoco.mjtState.mjSTATE_INTEGRATION))
    env.restore(dataclasses.replace(kept, row=row[None]))
    heard = []
    for _ in range(steps):
        _, reward, terminated, _, info = env.step(action)
        heard.append(
            {"success": bool(info["success"][0]), "reward": float(reward[0])}
            | {"terminated": bool(terminated[0]), "apart_m": float(info["apart_m"][0])}
        )
        if terminated[0]:
            break
    return heard


def test_a_folded_towel_that_has_lain_for_a_second_is_success(env: BatchEnv):
    heard = play(env, folded(), STEPS + 30)
    assert heard[-1]["success"]
    assert heard[-1]["reward"] == 4
    assert STEPS <= len(heard) <= STEPS + 20
    assert not any(step["success"] for step in heard[:-1])


def test_under_a_hand_it_is_not(env: BatchEnv):
    heard = play(env, folded(), STEPS + 30, hand_m=0.04)
    assert heard[-1]["reward"] == 3
    assert not any(step["success"] for step in heard)


def test_a_flat_towel_is_nothing(env: BatchEnv):
    heard = play(env, lying(0.05), 5)
    assert heard[-1]["reward"] == 0


def test_beyond_the_table_is_failure(env: BatchEnv):
    heard = play(env, lying(0.3), 2)
    assert heard[-1]["terminated"]
    assert not heard[-1]["success"]


def test_only_friction_can_hold_it(env: BatchEnv):
    """No constraint but between the fingers of a hand; no adhesion, no field, no great friction."""
    model = env.model
    couplings = [f"{s}/{env.workcell.arm.gripper.follower}" for s in SIDES]
    followers = {model.joint(name).id for name in couplings}
    assert (model.eq_type == int(mujoco.mjtEq.mjEQ_JOINT)).all()
    assert {int(j) for j in np.r_[model.eq_obj1id, model.eq_obj2id]} & followers == followers
    assert model.neq == len(couplings)
    assert model.nu == len(env.workcell.action_names)
    assert (model.actuator_trntype == int(mujoco.mjtTrn.mjTRN_JOINT)).all()
    assert model.nplugin == 0
    assert model.geom_friction[:, 0].max() <= 1.5
    assert model.flex_friction[0, 0] <= 1.5
    assert (model.geom_margin == 0).all()
    assert (model.body_gravcomp[model.flex_vertbodyid] == 0).all()


def test_what_is_seen_is_where_the_engine_has_it(env: BatchEnv):
    env.reset(seed=3)
    env.step(np.asarray(env.control.home)[None].astype(np.float32))
    seen = np.asarray(env.view().flex["towel"])[0]
    there = env._world.row_data(0).flexvert_xpos
    np.testing.assert_allclose(seen, there, atol=1e-6)
    assert seen.shape == (np.prod(TOWEL.vertices), 3)


def test_a_kept_towel_goes_on_bit_for_bit():
    env = make_env("fold_towel", "cpu")
    env.reset(seed=1)
    action = np.tile(np.asarray(env.control.home), (env.num_envs, 1)).astype(np.float32)
    for _ in range(3):
        env.step(action)
    kept = env.take(0)
    futures = []
    for rows in ([0], [1]):
        env.restore(kept, np.array(rows))
        for _ in range(4):
            env.step(action)
        futures.append(np.array(env.state_row(rows[0])))
    np.testing.assert_array_equal(*futures)


def test_mjx_is_refused():
    with pytest.raises(InputError, match=r"flex 'towel'.*backend 'cpu'"):
        regrasp.make("fold_towel", 1, backend="mjx")


# ---- laws ----

AWAY = {
    f"{side}/gripper": jnp.array([x, 0, 0.3]) for side, x in zip(SIDES, (-0.3, 0.3), strict=True)
}
UPDATE, REWARD, OBSERVE, FOLDED, FOOTPRINT = map(
    jax.jit, (TASK.update, TASK.reward, TASK.observe, TASK._folded, TASK._footprint)
)


ALONE = {f"{side}{of}": jnp.zeros(1) for side in SIDES for of in ("", "-own")}


def seen(points: np.ndarray, hands: dict | None = None, sensors: dict | None = None) -> View:
    """A view of a towel, the hands away from it."""
    return View(
        joint_pos=jnp.zeros(14),
        joint_vel=jnp.zeros(14),
        target=jnp.zeros(14),
        site_pos=AWAY | (hands or {}),
        body_pos={},
        body_quat={},
        sensor=sensors or ALONE,
        flex={"towel": jnp.array(points.reshape(-1, 3), jnp.float32)},
    )


def turned(points: np.ndarray, yaw: float) -> np.ndarray:
    c, s = np.cos(yaw), np.sin(yaw)
    return points @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])


def laid(points: np.ndarray, rest_s: float) -> FoldTowelCarry:
    return FoldTowelCarry(jnp.array(points.reshape(-1, 3), jnp.float32), jnp.float32(rest_s))


TOWELS = st.tuples(
    st.floats(0, 0.08), st.sampled_from([0, 1]), st.floats(-3, 3), st.floats(0, 0.05)
).map(lambda t: turned(folded(t[0], t[1]) + np.array([0, 0, t[3]]) * (FLAT_M[..., :1] > 0.1), t[2]))


@settings(max_examples=60, deadline=None)
@given(TOWELS, st.floats(0, 1.2), st.floats(0, 0.02), st.floats(0.0, 0.2))
def test_rest_counts_only_what_is_folded_still_and_clear(
    towel: np.ndarray, before_s: float, moved_m: float, clear_m: float
):
    middle = towel.reshape(-1, 3)[len(towel.reshape(-1, 3)) // 2]
    hand = jnp.array(middle + [0, 0, clear_m], jnp.float32)
    view = seen(towel, {"left/gripper": hand})
    after = UPDATE(view, laid(towel + [moved_m, 0, 0], before_s))
    gap = np.linalg.norm(towel.reshape(-1, 3) - np.asarray(hand), axis=1).min()
    counts = bool(FOLDED(view)) and moved_m <= TASK.still_m and gap >= TASK.clear_m
    if min(abs(moved_m - TASK.still_m), abs(gap - TASK.clear_m)) > 1e-5:
        assert (float(after.rest_s) > 0) == counts
        kept = towel + [moved_m, 0, 0] if counts else towel
        np.testing.assert_allclose(after.laid_m, kept.reshape(-1, 3), atol=1e-6)


@pytest.mark.parametrize("touching", ALONE)
def test_what_an_arm_touches_is_not_left_alone(touching: str):
    """However far from it the gripper's site is; what it touches of itself does not count."""
    view = seen(folded(), sensors=ALONE | {touching: jnp.ones(1)})
    counts = float(UPDATE(view, laid(folded(), 0.2)).rest_s) > 0.2
    assert counts == touching.endswith("-own")


@settings(max_examples=60, deadline=None)
@given(TOWELS, st.floats(0, 1.2))
def test_reward_stages_contain_each_other(towel: np.ndarray, before_s: float):
    view = seen(towel)
    carry = UPDATE(view, laid(towel, before_s))
    terms = REWARD(view, carry)
    names = ("lifted", "over", "folded", "placed")
    reached = [bool(terms[name]) for name in names]
    assert set(terms) == set(names)
    assert reached == sorted(reached, reverse=True)
    assert bool(TASK.success(view, carry)) == reached[-1]


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 0.1), st.floats(-3, 3), st.floats(-0.2, 0.2))
def test_folded_does_not_depend_on_where_and_which_way(short_m: float, yaw: float, x_m: float):
    here, there = seen(folded(short_m)), seen(turned(folded(short_m), yaw) + [x_m, 0, 0])
    if abs(short_m - TASK.edge_m) > 1e-4:
        assert bool(FOLDED(here)) == bool(FOLDED(there)) == (short_m < TASK.edge_m)
    # A rectangle of another direction is at most larger by what half of the steps in between cost.
    area = float(FOOTPRINT(there)) / float(FOOTPRINT(here))
    assert 1 - 1e-3 < area < 1.08


def test_the_wrong_edges_do_not_count():
    assert not bool(FOLDED(seen(folded(axis=0))))
    assert bool(FOLDED(seen(folded(axis=1))))


def test_what_stands_up_is_not_flat():
    towel = folded()
    towel[4, 4, 2] = TABLE_TOP_M + TASK.flat_m
    assert not bool(FOLDED(seen(towel)))


def test_the_landmarks_are_seen():
    towel = folded(0.02)
    marks = np.asarray(OBSERVE(seen(towel), laid(towel, 0.0))["towel_pos"]).reshape(3, 3, 3)
    np.testing.assert_allclose(marks, towel[::4, ::4], atol=1e-6)


# ---- starts and settings ----


def test_starts_are_where_they_should_be():
    starts = jax.vmap(TASK.initial)(jax.random.split(jax.random.key(0), 2000)).qpos["towel"]
    towels = np.asarray(starts, float).reshape(-1, *FLAT_M.shape) + FLAT_M
    middle = towels[:, 4, 4]
    for column, (low, high) in zip(middle.T[:2], (TASK.start_x_m, TASK.start_y_m), strict=True):
        assert low - 1e-6 <= column.min() < low + 0.001
        assert high - 0.001 < column.max() <= high + 1e-6
    np.testing.assert_allclose(middle[:, 2], 0, atol=1e-7)
    sides = towels[:, -1] - towels[:, 0]
    np.testing.assert_allclose(np.linalg.norm(sides, axis=-1), TOWEL.size_m[0], atol=1e-5)
    # The rod stays under every near edge, with room for a finger in front of it.
    rod = TASK.over_m - TOWEL.size_m[1] / 2
    assert (rod - towels[:, :, 0, 1]).min() > 0.012


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("horizon_s", 0.0),
        ("mass_kg", 0.0),
        ("size_m", (0.1, 0.1)),
        ("radius_m", 0.02),
        ("young_pa", -1.0),
        ("friction", 2.0),
        ("vertices", (5, 5)),
        ("vertices", (10, 9)),
        ("vertices", (31, 31)),
        ("rod_m", 0.0),
        ("over_m", 0.2),
        ("beyond_m", 0.2),
        ("middle_y_m", 0.3),
        ("edge_m", 0.0),
        ("footprint", 0.3),
        ("rest_s", 0.0),
        ("clear_m", 3.0),
        ("clear_m", float("nan")),
        ("start_x_m", (-0.3, 0.3)),
        ("start_yaw_rad", (0.1, -0.1)),
    ],
)
def test_what_cannot_be_is_refused(setting: str, value: object):
    with pytest.raises(InputError, match=setting) as refusal:
        other(**{setting: value})
    assert str(value) in str(refusal.value)


def test_too_coarse_says_how_fine():
    with pytest.raises(InputError, match="too coarse") as refusal:
        other(vertices=(5, 5))
    least = re.search(r"at least (\d+)", str(refusal.value))
    assert least is not None
    assert other(vertices=(int(least[1]) | 1,) * 2)


def test_too_stiff_says_how_stiff():
    with pytest.raises(InputError, match="young_pa") as refusal:
        other(young_pa=1e12)
    most = re.search(r"at most (\S+)", str(refusal.value))
    assert most is not None
    assert other(young_pa=0.99 * float(most[1]))
    # Half the timestep holds four times as much.
    with pytest.raises(InputError) as refusal:
        other(young_pa=1e12, timestep_s=TASK.timestep_s / 2)
    again = re.search(r"at most (\S+)", str(refusal.value))
    assert again is not None
    assert float(again[1]) == pytest.approx(4 * float(most[1]), rel=0.02)


def test_the_stiffest_that_is_allowed_can_be_simulated():
    cloth = Cloth()
    with pytest.raises(InputError) as refusal:
        replace(cloth, young_pa=1e12).check_timestep(TASK.timestep_s)
    most = re.search(r"at most (\S+)", str(refusal.value))
    assert most is not None
    model = other(young_pa=0.99 * float(most[1])).scene().compile()
    data = mujoco.MjData(model)
    data.qvel[-3 * FLAT_M[..., 0].size :] = np.random.default_rng(0).normal(0, 1, FLAT_M.size)
    for _ in range(40):
        mujoco.mj_step(model, data)
    assert sum(warning.number for warning in data.warning) == 0
    assert np.abs(data.qvel).max() < 5


def test_flatter_than_two_layers_is_refused():
    with pytest.raises(InputError, match=r"flat_m 0\.01: choose a number from 0\.021"):
        replace(TASK, flat_m=0.01)


@pytest.mark.parametrize("size_m", [(0.25, 0.3), (0.3, 0.25)])
def test_another_towel_is_built_as_asked(size_m: tuple[float, float]):
    model = other(vertices=(9, 11), size_m=size_m, mass_kg=0.05).scene().compile()
    assert model.flex_vertnum[0] == 99
    assert model.body_mass[model.flex_vertbodyid].sum() == pytest.approx(0.05)
    assert model.flex_radius[0] == TOWEL.radius_m


def test_the_teacher_folds_it(env: BatchEnv):
    keys, reached = episode_keys(0, "demonstrate", 0, 1), [0.0]

    def look(step: int) -> None:
        del step
        reached.append(sum(float(values[0]) for values in env.reward_terms().values()))

    expert = load_expert("fold_towel", "flawless")
    assert play_episodes(env, expert, keys, 0, 0, on_step=look).success.all()
    # Through all stages, in order.
    assert reached == sorted(reached)
    assert set(reached) == {0, 1, 2, 3, 4}
