"""The experts: known by their task's name, and good at it."""

import numpy as np
import pytest

from regrasp import BatchEnv
from regrasp.envs import TASKS, episode_keys
from regrasp.errors import InputError
from regrasp.rl.demonstrate import DemonstrationResult
from regrasp.rl.experts import EXPERTS, Expert, load_expert


def test_every_task_with_an_expert_exists():
    assert set(EXPERTS) <= set(TASKS)
    for task in EXPERTS:
        assert isinstance(load_expert(task), Expert)


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="unknown expert 'transfer_cub': did you mean"):
        load_expert("transfer_cub")
    with pytest.raises(InputError, match="choose one of flawless, human"):
        load_expert("transfer_cube", "shaky")


def test_the_expert_succeeds_under_the_table(demonstrated: DemonstrationResult):
    assert demonstrated.rate.rate >= 0.7
    assert 5.0 < min(demonstrated.times_s) <= max(demonstrated.times_s) < 8.0


def test_the_flawless_expert_is_faster(nominal: BatchEnv, demonstrated: DemonstrationResult):
    env, expert = nominal, load_expert("transfer_cube", "flawless")
    env.begin(np.asarray(episode_keys(0, "demonstrate", 0, env.num_envs)))
    expert.start(env.view(), np.arange(env.num_envs))
    time_s = np.full(env.num_envs, np.nan)
    for step in range(env.horizon):
        running = ~env.done
        if not running.any():
            break
        _, _, _, _, info = env.step(expert.act(step, env.view()))
        time_s[running & info["success"]] = (step + 1) * env.task.control_dt_s
    assert np.isfinite(time_s).mean() >= 0.7
    assert np.nanmedian(time_s) < np.median(demonstrated.times_s)
