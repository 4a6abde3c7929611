"""No row of a task's table is idle, of ALOHA and of the model; sizes and force limits are left out."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from regrasp import BatchEnv
from regrasp.envs import TASKS, episode_keys, load_task
from regrasp.envs.randomizer import apply
from regrasp.randomization import TABLES, randomizer_for
from regrasp.rl.demonstrate import seeds
from regrasp.rl.experts import load_expert

RARE = {"force limit"}
"""Rows that act in some episodes alone: a servo may never come to its limit."""


@pytest.mark.parametrize("task", TASKS)
def test_every_row_of_the_model_changes_what_happens(task: str):
    """Beside a simulation with the least of all numbers one for each row, which has its largest ones."""
    table = TABLES[task]()
    rows = [row for row in table.rows if row.field.setting is None and row.field.grown is None]
    env = BatchEnv(
        load_task(task),
        len(rows) + 1,
        randomizer=randomizer_for(task, "table"),
        autoreset=AutoresetMode.DISABLED,
    )
    keys = np.repeat(np.asarray(episode_keys(0, "evaluate", 0, 1)), env.num_envs, axis=0)
    env.begin(keys)
    fields = {
        row.name: np.full((env.num_envs, row.field.count), row.distribution.low, np.float32)
        for row in table.rows
        if row.field.setting is None
    }
    for number, row in enumerate(rows):
        fields[row.name][number] = row.distribution.high
    env._world.put_fields(np.arange(env.num_envs), apply(env.model, env._writes, fields))
    env._world.refresh(np.arange(env.num_envs))
    teacher = load_expert(task, "flawless")
    teacher.start(env.view(), seeds(keys))
    idle = {row.name for row in rows} - RARE
    for step in range(env.horizon):
        env.step(teacher.act(step, env.view()))
        states = env.take().row
        idle -= {
            row.name
            for row, state in zip(rows, states[:-1], strict=True)
            if (state != states[-1]).any()
        }
        if not idle:
            break
    assert not idle
