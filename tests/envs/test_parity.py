"""One control step on MJX ends where it ends on the CPU engine, up to a bound."""

from functools import cache

import numpy as np
import pytest
from benchmarks.parity import above, differences, quantiles, working_states
from tests.envs.conftest import CPU_ONLY, QUICK, make_env

from regrasp.envs import TASKS, Snapshot


@cache
def at_work(task: str) -> tuple[Snapshot, np.ndarray]:
    # Of few episodes one thing that rocks throughout would be a tenth of the states.
    return working_states(task, 48, 0, rows=12)


@pytest.mark.parametrize(
    ("task", "backend"),
    [
        *((task, "warp") for task in TASKS if task not in CPU_ONLY),
        *((task, "mjx") for task in QUICK["mjx"]),
    ],
)
def test_one_step_ends_where_the_cpu_engine_ends(task: str, backend: str):
    states, actions = at_work(task)
    found = differences(make_env(task, "cpu"), make_env(task, backend), states, actions)
    assert len(found["arm position"]) > 30
    assert found["arm position"].max() > 0, "these are two engines"
    assert not above(backend, quantiles(found))
