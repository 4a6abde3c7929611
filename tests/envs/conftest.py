"""Environments of every task on every engine, made when first asked for and shared."""

from dataclasses import replace
from functools import cache

import pytest
from gymnasium.vector import AutoresetMode

from regrasp.envs import TASKS, BatchEnv, load_task
from regrasp.envs.world import WORLDS
from regrasp.randomization import randomizer_for

ROWS = 3
QUICK = {"mjx": ("transfer_cube",)}
"""Engines that take a minute to compile a task are tried on these; on the others in the slow tests."""
CPU_ONLY = ("press_dough", "fold_towel", "route_cable")
"""Tasks that the other engines refuse: they know neither plasticity nor cloth."""
EVERYWHERE = [
    pytest.param(
        (task, backend),
        id=f"{task}-{backend}",
        marks=[] if task in QUICK.get(backend, TASKS) else [pytest.mark.slow],
    )
    for backend in WORLDS
    for task in TASKS
    if backend == "cpu" or task not in CPU_ONLY
]
"""Tasks by engine, so that an engine's kernels are compiled once and then used."""


@cache
def make_env(task: str, backend: str) -> BatchEnv:
    """Three rows of short episodes under the task's own table."""
    return BatchEnv(
        replace(load_task(task), horizon_s=0.2),
        ROWS,
        backend=backend,
        threads=1,
        randomizer=randomizer_for(task, "table"),
        autoreset=AutoresetMode.SAME_STEP,
    )


@pytest.fixture(params=EVERYWHERE, scope="session")
def anywhere(request: pytest.FixtureRequest) -> BatchEnv:
    """A task on an engine."""
    return make_env(*request.param)
