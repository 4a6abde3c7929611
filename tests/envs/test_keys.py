"""Keys: episodes are numbered, and roles never share one."""

import numpy as np
import pytest

from regrasp import BatchEnv
from regrasp.envs import episode_keys, role_key
from regrasp.envs.keys import ROLES
from regrasp.errors import InputError

COUNT = 2000


def test_no_key_is_used_twice():
    """Not between roles, not between seeds, not between episodes."""
    keys = [episode_keys(seed, role, 0, COUNT) for seed in (0, 1, 2**32 - 1) for role in ROLES]
    flat = np.concatenate([np.asarray(k) for k in keys])
    assert len(np.unique(flat, axis=0)) == len(flat) == 3 * len(ROLES) * COUNT


def test_episodes_are_numbered():
    every = np.asarray(episode_keys(5, "evaluate", 0, 20))
    np.testing.assert_array_equal(episode_keys(5, "evaluate", 7, 4), every[7:11])


def test_rows_play_numbered_episodes(randomised: BatchEnv):
    """Row r plays episode r of the environment's seed and role, then every num_envs-th."""
    n = randomised.num_envs
    keys = np.asarray(episode_keys(11, "train", 0, 2 * n))
    randomised.reset(seed=11)
    first = randomised.take()
    randomised.reset()
    second = randomised.take()
    for start, kept in ((0, first), (n, second)):
        randomised.begin(keys[start : start + n])
        np.testing.assert_array_equal(randomised.take().row, kept.row)
        np.testing.assert_array_equal(randomised.take().carry["key"], kept.carry["key"])


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_out_of_range_are_refused(seed: int):
    with pytest.raises(InputError, match=f"seed {seed}"):
        role_key(seed, "train")


def test_unknown_roles_are_refused():
    with pytest.raises(InputError, match=r"unknown role 'test'.*demonstrate, evaluate, train"):
        role_key(0, "test")
