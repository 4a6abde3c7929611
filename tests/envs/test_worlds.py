"""What every task promises on every engine."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from tests.envs.conftest import make_env

import regrasp
from regrasp import BatchEnv
from regrasp.envs import TASKS, episode_keys
from regrasp.errors import InputError
from regrasp.rl.demonstrate import seeds
from regrasp.rl.experts import load_expert

STEPS = {"cpu": 2000, "mjx": 30, "warp": 30}
"""Control steps under random actions; MJX on the CPU is slow."""
CLOTH_STEPS = 200
"""The same with a cloth, which costs a hundred times as much."""


def targets(env: BatchEnv, rng: np.random.Generator) -> np.ndarray:
    low, high = env.control.low, env.control.high
    return rng.uniform(low, high, (env.num_envs, len(low))).astype(np.float32)


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def play(env: BatchEnv, seed: int, steps: int) -> list:
    """What an environment returns over some random steps, and the states it ends in."""
    rng, heard = np.random.default_rng(seed), []
    for _ in range(steps):
        obs, *rest, _ = env.step(targets(env, rng))
        heard += [*obs.values(), *rest]
    return [*heard, env.take().row]


def equal(a: list, b: list) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_observations_and_actions_fit_their_spaces(anywhere: BatchEnv):
    env = anywhere
    obs, info = env.reset(seed=0)
    assert obs in env.observation_space
    assert {name: value.dtype for name, value in obs.items()} == dict.fromkeys(obs, np.float32)
    assert env.single_action_space.shape == (14,)
    env.action_space.seed(0)
    obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert obs in env.observation_space
    assert reward.dtype == np.float64
    flags = (terminated, truncated, info["success"], info["unstable"], info["overflow"])
    assert all(flag.dtype == bool and flag.shape == (env.num_envs,) for flag in flags)


def test_the_seed_decides_everything(anywhere: BatchEnv):
    runs = []
    for seed in (3, 3, 4):
        obs, _ = anywhere.reset(seed=seed)
        runs.append([*obs.values(), *play(anywhere, 0, 4)])
    assert equal(runs[0], runs[1])
    assert not equal(runs[0], runs[2])


def test_the_horizon_truncates_and_the_same_step_starts_again(anywhere: BatchEnv):
    env = anywhere
    obs, info = env.reset(seed=0)
    home = np.repeat(env.control.home[None], env.num_envs, axis=0)
    for step in range(1, env.horizon + 1):
        obs, _, terminated, truncated, info = env.step(home)
        assert not terminated.any()
        assert truncated.all() == truncated.any() == (step == env.horizon)
    assert (env.take().carry["step"] == 0).all()
    assert info["_final_obs"].all()
    assert info["final_info"].keys() >= {"success", "unstable", "overflow"}
    assert same(env.observe(), obs)
    for row, final in enumerate(info["final_obs"]):
        assert any((final[name] != obs[name][row]).any() for name in obs)


def test_a_partial_reset_leaves_the_others_alone(anywhere: BatchEnv):
    env = anywhere
    env.reset(seed=0)
    play(env, 0, 3)
    before, mask = env.take(), np.array([False, True, False])
    seen = env.observe()
    obs, _ = env.reset(options={"reset_mask": mask})
    after = env.take()
    for kept, now in [
        (before.row, after.row),
        *((before.fields[name], after.fields[name]) for name in before.fields),
        *((before.carry[name], after.carry[name]) for name in before.carry),
        *((seen[name], obs[name]) for name in seen),
    ]:
        np.testing.assert_array_equal(kept[~mask], now[~mask])
    assert (after.carry["step"][mask] == 0).all()
    assert (before.row[mask] != after.row[mask]).any()


def test_a_kept_state_plays_the_same_again(anywhere: BatchEnv):
    env = anywhere
    env.reset(seed=1)
    play(env, 1, 3)
    kept, seen = env.take(), env.observe()
    first = play(env, 2, 4)
    env.reset(seed=5)
    assert same(env.restore(kept), seen)
    assert equal(play(env, 2, 4), first)


def test_random_actions_break_nothing(anywhere: BatchEnv):
    env, rng = anywhere, np.random.default_rng(0)
    env.reset(seed=2)
    cloth = (env.model.flex_dim == 2).any()
    for _ in range(CLOTH_STEPS if cloth else STEPS[env.backend]):
        obs, reward, _, _, info = env.step(targets(env, rng))
        assert not info["unstable"].any()
        assert np.isfinite(reward).all()
        assert all(np.isfinite(value).all() for value in obs.values())
    assert np.isfinite(env.take().row).all()


def test_the_same_key_starts_the_same_episode_everywhere(anywhere: BatchEnv):
    """Up to the precision of the engine."""
    env = anywhere
    if env.backend == "cpu":
        pytest.skip("the others are held against it")
    keys = np.asarray(episode_keys(7, "evaluate", 0, env.num_envs))
    cpu = make_env(next(n for n, t in TASKS.items() if isinstance(env.task, t)), "cpu")
    env.begin(keys)
    cpu.begin(keys)
    there, here = env.take(), cpu.take()
    np.testing.assert_allclose(there.row, here.row, atol=1e-5)
    for name, field in here.fields.items():
        np.testing.assert_allclose(there.fields[name], field, rtol=1e-6)
    for name, value in here.carry.items():
        np.testing.assert_allclose(there.carry[name], value, atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_success_can_be_reached(task: str):
    env = regrasp.make(task, 3, randomize="nominal", autoreset=AutoresetMode.DISABLED)
    keys = np.asarray(episode_keys(0, "demonstrate", 0, env.num_envs))
    env.begin(keys)
    expert = load_expert(task, "flawless")
    expert.start(env.view(), seeds(keys))
    rolls = [i for i, name in enumerate(env.workcell.action_names) if "forearm_roll" in name]
    ever = np.zeros(env.num_envs, bool)
    for step in range(env.horizon):
        if env.done.all():
            break
        action = expert.act(step, env.view())
        assert np.abs(action[~env.done][:, rolls]).max() < np.pi / 2, "a wrist has turned over"
        ever |= env.step(action)[-1]["success"]
    assert len(rolls) == 2
    assert ever.any()


def test_an_unknown_engine_is_refused():
    with pytest.raises(InputError, match=r"unknown backend 'gpu'.*choose one of cpu, mjx, warp"):
        regrasp.make("transfer_cube", 1, backend="gpu")
