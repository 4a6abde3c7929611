"""Starts between demonstrated ones and the task's own."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import regrasp
from regrasp import BatchEnv
from regrasp.envs import episode_keys
from regrasp.envs.world import placed
from regrasp.errors import InputError
from regrasp.rl.bridge import FREE, Bridge

ROWS = 8
NUMBERS = np.arange(ROWS)


@pytest.fixture(scope="module", params=["transfer_cube", "hand_over", "route_cable"])
def env(request: pytest.FixtureRequest) -> BatchEnv:
    found = regrasp.make(
        request.param, ROWS, randomize="table", threads=1, autoreset=AutoresetMode.DISABLED
    )
    found.begin(np.asarray(episode_keys(1, "train", 0, ROWS)))
    return found


def test_it_leads_from_the_demonstrated_start_to_the_own_one(env: BatchEnv):
    shown, keys = env.take(np.arange(2)), np.asarray(episode_keys(2, "train", 0, ROWS))
    bridge, own = Bridge(env, shown), env.starts(keys)
    ways = [
        bridge.starts(keys, NUMBERS, np.full(ROWS, share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    for name, ends in own.items():
        np.testing.assert_array_equal(ways[-1][name], ends)
        begun = shown.row[np.arange(ROWS) % 2, 1:][:, placed(env.model, name)]
        free = ends.shape[1] == FREE
        np.testing.assert_allclose(ways[0][name][:, :3], begun[:, :3], atol=1e-6)
        away = np.array([np.linalg.norm(way[name][:, :3] - ends[:, :3], axis=1) for way in ways])
        assert (np.diff(away, axis=0) <= 1e-6).all()
        if free:
            turned = np.abs((ways[0][name][:, 3:] * begun[:, 3:]).sum(axis=1))
            np.testing.assert_allclose(turned, 1, atol=1e-6)
            for way in ways:
                np.testing.assert_allclose(np.linalg.norm(way[name][:, 3:], axis=1), 1, atol=1e-6)


def test_a_start_is_the_same_wherever_in_a_batch_it_is_drawn(env: BatchEnv):
    shown, keys = env.take(np.arange(3)), np.asarray(episode_keys(2, "train", 0, ROWS))
    bridge, half, last = Bridge(env, shown), np.full(ROWS, 0.5), slice(ROWS - 2, None)
    whole = bridge.starts(keys, NUMBERS, half)
    alone = bridge.starts(keys[last], NUMBERS[last], half[last])
    for name, values in alone.items():
        np.testing.assert_array_equal(values, whole[name][last])


def test_only_where_things_stand_is_changed(env: BatchEnv):
    keys = np.asarray(episode_keys(2, "train", 0, ROWS))
    env.begin(keys)
    plain = env.take()
    bridge = Bridge(env, plain[np.arange(1)])
    env.begin(keys, qpos=bridge.starts(keys, NUMBERS, np.ones(ROWS)))
    own = env.take()
    np.testing.assert_array_equal(own.row, plain.row)
    env.begin(keys, qpos=bridge.starts(keys, NUMBERS, np.full(ROWS, 0.5)))
    mixed = env.take()
    spans = {name: placed(env.model, name) for name in env.starts(keys)}
    moved = np.concatenate([1 + np.arange(span.start, span.stop) for span in spans.values()])
    differs = (mixed.row != plain.row).any(axis=0)
    assert differs[moved].any()
    assert not np.delete(differs, moved)[: env.model.nq + 1 - len(moved)].any()
    for name, values in plain.fields.items():
        np.testing.assert_array_equal(values, mixed.fields[name])
    # What is seen first is the start as it is, not as the episode had it.
    view, half = env.view(), bridge.starts(keys, NUMBERS, np.full(ROWS, 0.5))
    assert any(name in view.flex or values.shape[1] == FREE for name, values in half.items())
    for name, values in half.items():
        if name in view.flex:
            # Slides count from where the scene puts a vertex, which is the same in every row.
            home = view.flex[name] - values.reshape(ROWS, -1, 3)
            np.testing.assert_allclose(home, np.repeat(home[:1], ROWS, axis=0), atol=1e-4)
        elif values.shape[1] == FREE:
            body = env.model.body(env.model.jnt_bodyid[env.model.joint(name).id]).name
            np.testing.assert_allclose(view.body_pos[body], values[:, :3], atol=1e-4)


def test_physics_timing_and_sensing_lead_from_one_to_the_other(env: BatchEnv):
    keys = np.asarray(episode_keys(2, "train", 0, ROWS))
    env.begin(keys)
    own = env.take()
    shown = own[np.array([3])]
    share = np.linspace(0, 1, ROWS)
    mixed = Bridge(env, shown).physics(own, NUMBERS, share)
    np.testing.assert_array_equal(mixed.row, own.row)
    ways = [(shown.carry["settings"], own.carry["settings"], mixed.carry["settings"])]
    ways += [(shown.fields[name], own.fields[name], mixed.fields[name]) for name in own.fields]
    for first, last, found in ways:
        np.testing.assert_array_equal(found[0], first[0])
        np.testing.assert_array_equal(found[-1], last[-1])
        far = share.reshape(-1, *[1] * (last.ndim - 1))
        np.testing.assert_allclose(found, (1 - far) * first + far * last, rtol=1e-5, atol=1e-7)
    # The engine finds nothing to put right: what derives from the fields fits them.
    env.restore(mixed)
    for name, values in env.take().fields.items():
        np.testing.assert_allclose(values, mixed.fields[name], rtol=1e-12)


@pytest.mark.parametrize(
    ("qpos", "words"),
    [
        ({"wing": np.zeros((ROWS, 7), np.float32)}, "unknown joint 'wing'.*choose one of"),
        ({None: np.zeros((ROWS, 5), np.float32)}, r"has shape \(8, 5\): give \(8, (7|75)\)"),
    ],
)
def test_joints_that_are_none_are_refused_and_nothing_is_lost(
    env: BatchEnv, qpos: dict, words: str
):
    keys = np.asarray(episode_keys(2, "train", 0, ROWS))
    first = next(name for name, at in env.starts(keys).items() if at.shape[1] >= FREE)
    before = env.take()
    with pytest.raises(InputError, match=words):
        env.begin(keys, qpos={name or first: values for name, values in qpos.items()})
    np.testing.assert_array_equal(env.take().row, before.row)
