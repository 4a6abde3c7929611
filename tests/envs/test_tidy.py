"""tidy: what counts as everything in the tray, from states placed by hand, and what does not."""

from itertools import combinations

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
from regrasp.assets.things import THINGS, Thing
from regrasp.envs import episode_keys
from regrasp.envs.tasks.parts import TABLE_TOP_M
from regrasp.envs.tasks.tidy import PRESS_M, WALL_M, Tidy, canonical
from regrasp.errors import InputError
from regrasp.rl.experts.ik import DOWN as POINTING_DOWN
from regrasp.rl.experts.ik import Reach
from regrasp.rl.experts.script import FLAWLESS, turned
from regrasp.rl.experts.tidy import TidyExpert

TASK = Tidy()
FEW = Tidy(objects=2, touching=0, horizon_s=16.0)
SHUT_M = 0.004
"""A finger position at which the tips touch each other."""
SLOTS = [
    np.array([x, TASK.tray_y_m + y, TASK.floor_m])
    for x in (-0.0525, 0.0525)
    for y in (-0.105, -0.035, 0.035, 0.105)
]
THING = {thing.name: thing for thing in THINGS}
CANONICAL = jax.jit(canonical)
HOLD = round(TASK.hold_s / TASK.control_dt_s)


@pytest.fixture(scope="module")
def env() -> BatchEnv:
    return regrasp.make("tidy", 2, threads=1, autoreset=AutoresetMode.DISABLED)


@pytest.fixture(scope="module")
def few() -> BatchEnv:
    return BatchEnv(FEW, 4, threads=1, autoreset=AutoresetMode.DISABLED)


@pytest.fixture
def scene(env: BatchEnv) -> Scene:
    """Everything lies in the tray, and the arms are away."""
    scene = Scene(env)
    for thing, slot in zip(THINGS, SLOTS, strict=True):
        scene.place(thing.name, slot + [0, 0, thing.rest_m])
    return scene


def beside_the_tray(thing: Thing, out_m: float = 0.06) -> np.ndarray:
    x = TASK.tray_half_m[0] + WALL_M + out_m
    return np.array([x, 0.0, TABLE_TOP_M + thing.rest_m])


def test_everything_at_rest_in_the_tray_is_success(scene: Scene):
    heard = list(scene.play(steps=2 * HOLD))
    assert successes(heard) == 1
    assert heard[-1]["terminated"]
    # From the first or the second step on.
    assert HOLD <= len(heard) <= HOLD + 2
    assert [step["reward"] for step in heard] == [16.0] * (len(heard) - 1) + [17.0]


@pytest.mark.parametrize("name", ["ball", "lid"])
def test_one_beside_the_tray_is_not(env: BatchEnv, scene: Scene, name: str):
    scene.place(name, beside_the_tray(THING[name]))
    heard = list(scene.play(steps=2 * HOLD))
    assert successes(heard) == 0
    assert heard[-1]["reward"] == 14
    info = env.step(env.control.home[None].repeat(2, 0))[-1]
    np.testing.assert_allclose(info["placed"], 7 / 8)


def test_one_leaning_on_the_outside_of_the_tray_is_not(scene: Scene):
    scene.place("matchbox", beside_the_tray(THING["matchbox"], 0.03) + [0, 0, 0.01])
    assert successes(list(scene.play(steps=2 * HOLD))) == 0


def test_one_on_top_of_another_is_not(scene: Scene):
    block = scene.data.joint("block").qpos[:3] + [0, 0, 0.024]
    scene.place("matchbox", block + [0, 0, THING["matchbox"].rest_m])
    heard = list(scene.play(steps=2 * HOLD))
    assert heard[-1]["at"]["matchbox"][2] > 0.05
    assert successes(heard) == 0
    assert heard[-1]["reward"] == 14


def test_held_low_in_the_tray_is_not(scene: Scene):
    scene.reach("left", -0.0525, 0.045, DOWN, 0.0275)
    scene.place("block", scene.tips("left") - [0, 0, 0.015])
    heard = list(scene.play(closing=("left",), steps=2 * HOLD))
    floor_m = TASK.floor_m + THING["block"].rest_m
    assert floor_m - 0.002 < heard[-1]["at"]["block"][2] < TASK.floor_m + TASK.height_m
    assert successes(heard) == 0


def test_what_is_lifted_counts_before_it_is_placed(scene: Scene):
    rewards = []
    for height_m in (0.02, 0.08):
        scene.place("block", beside_the_tray(THING["block"]))
        scene.reach("right", 0.17, height_m, DOWN, 0.0275)
        scene.place("block", scene.tips("right") - [0, 0, 0.015])
        rewards.append(list(scene.play(closing=("right",), steps=4))[-1]["reward"])
    assert rewards == [14, 15]


def test_between_open_fingers_in_the_tray_is_not(scene: Scene):
    scene.place("block", np.array([-0.0525, -0.019, TASK.floor_m + THING["block"].rest_m]))
    scene.reach("left", -0.0525, 0.04, DOWN, OPEN_M)
    assert successes(list(scene.play(steps=2 * HOLD))) == 0


@pytest.mark.parametrize(("pitch", "height_m"), [(DOWN, 0.06), (LEVEL, 0.09)])
def test_under_a_hand_is_not(scene: Scene, pitch: float, height_m: float):
    """Whether it points down or lies across the tray, the hand must go before anything counts."""
    scene.reach("right", 0.0 if pitch == LEVEL else 0.05, height_m, pitch, SHUT_M)
    assert successes(list(scene.play(steps=2 * HOLD))) == 0


def test_rolling_in_the_tray_is_not_yet(scene: Scene):
    at = np.array([0.0, TASK.tray_y_m - 0.11, TASK.floor_m + 0.02])
    scene.place("ball", at, velocity=(0, 0.25, 0))
    heard = list(scene.play(steps=HOLD + 4))
    assert successes(heard) == 0


def test_thrown_over_the_tray_is_not(scene: Scene):
    scene.place("ball", np.array([-0.25, TASK.tray_y_m, 0.12]), velocity=(1.6, 0, 0.6))
    heard = list(scene.play(steps=2 * HOLD))
    path = np.array([step["at"]["ball"] for step in heard])
    assert path[:, 0].min() < 0 < path[:, 0].max()
    assert successes(heard) == 0


def test_falling_off_the_table_is_failure(scene: Scene):
    scene.place("cup", np.array([0.0, 0.5, 0.0]))
    heard = list(scene.play())
    assert heard[-1]["terminated"]
    assert not heard[-1]["success"]


@pytest.mark.parametrize(("objects", "touching"), [(8, 2), (7, 4), (5, 1), (1, 2)])
def test_starts_lie_free_but_for_those_that_touch(objects: int, touching: int):
    task = Tidy(objects=objects, touching=touching)
    starts = jax.jit(jax.vmap(task.initial))(jax.random.split(jax.random.key(objects), 12))
    model = task.scene().compile()
    data = mujoco.MjData(model)
    geoms = {t.name: [model.geom(name).id for name in t.geoms] for t in task.things}
    for row in range(12):
        for name, pose in starts.qpos.items():
            data.joint(name).qpos = np.asarray(pose[row])
        mujoco.mj_kinematics(model, data)
        gaps = [
            min(
                mujoco.mj_geomDistance(model, data, i, j, 0.02, None)
                for i in geoms[a]
                for j in geoms[b]
            )
            for a, b in combinations(geoms, 2)
        ]
        assert min(gaps, default=1) > -PRESS_M - 2e-5
        assert sum(gap < 0 for gap in gaps) == min(touching, objects // 2)
        at = np.array([starts.qpos[t.name][row, :2] for t in task.things])
        assert (np.abs(at[:, 0]) > TASK.tray_half_m[0] + WALL_M).all()
        # As many for either hand, but for one pair.
        assert abs((at[:, 0] > 0).sum() - objects / 2) <= 1


@pytest.mark.parametrize("side", ["left", "right"])
def test_every_start_is_within_reach_of_its_hand(side: str):
    reach, sign = Reach(TASK.workcell(), side), 1 if side == "right" else -1
    near = reach.home
    for x in np.linspace(TASK.start_x_m[0] + 0.02, TASK.start_x_m[1] - 0.02, 3):
        for y in np.linspace(TASK.start_y_m[0] + 0.02, TASK.start_y_m[1] - 0.02, 3):
            for z in (0.12, 0.006):
                bearing = np.arctan2(-sign * (y + 0.019), 0.469 - x)
                where = np.array([sign * x, y, z])
                near, error_m = reach.solve(where, turned(bearing, POINTING_DOWN[side]), near)
                assert error_m < 0.001


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(THINGS),
    st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1),
    st.floats(-np.pi, np.pi),
)
def test_things_that_look_the_same_are_seen_the_same(thing: Thing, quat: list, angle: float):
    rotation = Rotation.from_quat(quat).as_matrix().astype(np.float32)
    turn = Rotation.from_rotvec([angle if thing.turns else 0, 0, 0]).as_matrix()
    same = np.array(rotation @ turn @ thing.symmetries, np.float32)
    alike = np.array(thing.symmetries[np.arange(4) % len(thing.symmetries)])
    seen = np.array([CANONICAL(jnp.array(r), alike, np.array(thing.turns)) for r in same])
    # Rotations, turned equally little (ties between two are broken either way).
    np.testing.assert_allclose(
        seen @ seen.transpose(0, 2, 1), np.eye(3)[None] + 0 * seen, atol=1e-4
    )
    traces = np.trace(seen, axis1=1, axis2=2)
    np.testing.assert_allclose(traces, traces[0], atol=1e-3)
    assert traces[0] >= np.trace(rotation) - 1e-4


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.name)
def test_things_look_the_same_after_their_symmetries(thing: Thing):
    for symmetry in thing.symmetries:
        for part in thing.parts:
            images = [(np.abs(symmetry @ p.half_m), symmetry @ p.pos_m) for p in thing.parts]
            assert any(
                np.allclose(part.half_m, half) and np.allclose(part.pos_m, pos)
                for half, pos in images
            )


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.name)
def test_things_fit_between_the_fingers_and_in_the_tray(thing: Thing):
    assert any(0.015 <= 2 * (min(p.half_m[:2]) + p.radius_m) <= 0.045 for p in thing.parts)
    assert thing.rest_m < TASK.height_m
    assert 0.01 <= thing.mass_kg <= 0.1


def test_what_is_not_there_is_seen_as_placed(few: BatchEnv):
    obs, _ = few.reset(seed=0)
    assert (obs["placed"] == [[0, 0, 1, 1, 1, 1, 1, 1]] * 4).all()
    assert not obs["thing_pos"][:, 6:].any()
    assert obs["thing_rot"].shape == (4, 48)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("objects", 0),
        ("objects", 9),
        ("touching", 5),
        ("tray_half_m", (0.2, 0.15)),
        ("tray_y_m", 0.3),
        ("wall_m", 0.0),
        ("start_x_m", (0.05, 0.3)),
        ("start_x_m", (0.12, 0.2)),
        ("start_x_m", (0.3, 0.12)),
        ("start_y_m", (-0.1, 0.0)),
        ("start_y_m", (-0.5, 0.5)),
        ("height_m", -0.1),
        ("still_m", 0.0),
        ("hold_s", -1.0),
    ],
)
def test_impossible_settings_are_refused(name: str, value: object):
    with pytest.raises(InputError, match=name):
        Tidy(**{name: value})  # pyright: ignore[reportArgumentType]


def test_the_teacher_tidies_up(few: BatchEnv):
    few.begin(np.asarray(episode_keys(3, "evaluate", 0, 4)))
    teacher, tidy = TidyExpert(FEW, FLAWLESS), np.zeros(4, bool)
    teacher.start(few.view(), np.arange(4))
    right = _along_x(few) > 0
    inside = np.full(right.shape, few.horizon)
    for step in range(few.horizon):
        tidy |= few.step(teacher.act(step, few.view()))[-1]["success"]
        there = np.abs(_along_x(few)) < FEW.tray_half_m[0]
        inside = np.where(there, np.minimum(inside, step), inside)
        if few.done.all():
            break
    assert tidy.mean() >= 0.75
    # Each hand takes the largest first, so that its choice can be foreseen.
    size = np.array([thing.reach_m for thing in FEW.things])
    order = np.argsort(inside, axis=1)
    for row in np.flatnonzero(tidy):
        for half in (right[row], ~right[row]):
            assert (np.diff(size[order[row]][half[order[row]]]) <= 0).all()


def _along_x(env: BatchEnv) -> np.ndarray:
    """Where the things are in x (m), per row."""
    view = env.view()
    return np.stack([np.asarray(view.body_pos[t.name])[:, 0] for t in FEW.things], axis=1)
