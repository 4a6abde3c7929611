"""Gymnasium's own checkers and conventions."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import regrasp
from regrasp import BatchEnv
from regrasp.envs.render import check_rendering
from regrasp.envs.single_env import SingleEnv
from regrasp.envs.tasks.transfer_cube import TransferCube
from regrasp.errors import InputError


def can_render() -> bool:
    try:
        check_rendering()
    except InputError:
        return False
    return True


@pytest.mark.filterwarnings("error:.*:UserWarning:gymnasium")
def test_gymnasium_finds_no_fault_in_the_single_environment():
    mode = "rgb_array" if can_render() else None
    env = gymnasium.make("regrasp/TransferCube-v0", render_mode=mode)
    with np.testing.suppress_warnings() as ignored:
        # Joints and positions have no natural bounds; targets are in rad, not in -1 to 1.
        ignored.filter(UserWarning)
        check_env(env.unwrapped, skip_render_check=mode is None)
    env.reset(seed=0)
    if mode:
        picture = np.asarray(env.render())
        assert picture.shape == (360, 480, 3)
        assert np.ptp(picture) > 100
    env.close()


def test_make_vec_builds_a_batch():
    env = gymnasium.make_vec("regrasp/TransferCube-v0", num_envs=2)
    assert isinstance(env.unwrapped, BatchEnv)
    assert env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    obs, info = env.reset(seed=0)
    assert obs in env.observation_space
    assert info["success"].tolist() == [False, False]
    env.action_space.seed(0)
    obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert obs in env.observation_space
    assert {np.shape(x) for x in (reward, terminated, truncated, info["success"])} == {(2,)}
    assert (reward.dtype, terminated.dtype, truncated.dtype) == (np.float64, bool, bool)


def test_autoreset_speaks_like_gymnasiums_own(short: BatchEnv):
    """The same infos, by name and type, as SyncVectorEnv gives for the same episodes' end."""
    task = TransferCube(horizon_s=short.task.horizon_s)
    rows = [lambda: SingleEnv(BatchEnv(task, 1, threads=1, autoreset=AutoresetMode.DISABLED))]
    theirs = SyncVectorEnv(rows, autoreset_mode=AutoresetMode.SAME_STEP)
    theirs.reset(seed=0)
    short.reset(seed=0)
    ours_home, theirs_home = (np.repeat(short.control.home[None], n, axis=0) for n in (3, 1))
    for _ in range(short.horizon - 1):
        short.step(ours_home)
        theirs.step(theirs_home)
    got, want = short.step(ours_home), theirs.step(theirs_home)
    info, model = got[4], want[4]
    assert got[3].all()
    assert want[3].all()
    assert set(model) - {"_success", "_unstable"} <= set(info)
    assert set(model["final_info"]) <= set(info["final_info"])
    pairs = [(info[n], model[n]) for n in ("final_obs", "_final_obs", "_final_info")]
    pairs += [(info["final_info"][n], value) for n, value in model["final_info"].items()]
    for ours, value in pairs:
        assert ours.dtype == value.dtype
        assert ours.shape == (3, *value.shape[1:])
    for name, space in short.single_observation_space.items():
        assert info["final_obs"][0][name] in space


def test_unknown_names_are_refused():
    for call, message in (
        (lambda: regrasp.make("transfer_cubes"), "did you mean 'transfer_cube'"),
        (lambda: regrasp.make("transfer_cube", backend="gpu"), "unknown backend 'gpu'"),
        (lambda: regrasp.make("transfer_cube", observe="pixels"), "unknown observation 'pixels'"),
        (lambda: regrasp.make("transfer_cube", num_envs=0), "num_envs 0"),
        (lambda: regrasp.make("transfer_cube", role="tester"), "unknown role 'tester'"),
    ):
        with pytest.raises(InputError, match=message):
            call()
