"""What only an accelerator can show: MJX-Warp compiled for it, thousands of rows wide."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from benchmarks.parity import above, differences, quantiles, working_states

import regrasp
from regrasp.envs import episode_keys, load_task
from regrasp.envs.mjx_env import MjxEnv
from regrasp.randomization import randomizer_for

pytestmark = pytest.mark.gpu
TASK = "hand_over"
ROWS = 2048


@pytest.fixture(autouse=True)
def _accelerated() -> None:
    if jax.default_backend() == "cpu":
        pytest.fail("JAX finds no accelerator here: leave these tests out with -m 'not gpu'")


def test_one_control_step_is_that_of_the_cpu_engine():
    states, actions = working_states(TASK, 100, seed=0)
    here, there = (regrasp.make(TASK, 20, backend=b, randomize="table") for b in ("cpu", "warp"))
    assert above("warp", quantiles(differences(here, there, states, actions))) == []


def test_thousands_of_random_rows_stay_whole():
    env = MjxEnv(load_task(TASK), impl="warp", randomizer=randomizer_for(TASK, "table"), sims=ROWS)
    state = jax.jit(jax.vmap(env.reset))(jnp.asarray(episode_keys(0, "train", 0, ROWS)))
    low, high = env.control.low, env.control.high

    @jax.jit
    def play(state, key):
        def step(state, key):
            action = jax.random.uniform(key, (ROWS, env.action_size), minval=low, maxval=high)
            state = jax.vmap(env.step)(state, action)
            return state, (state.metrics["unstable"].mean(), jnp.isfinite(state.obs).all())

        return jax.lax.scan(step, state, jax.random.split(key, 100))

    state, (unstable, finite) = play(state, jax.random.key(0))
    assert finite.all()
    assert unstable.sum() == 0
    rows = np.asarray(state.pipeline_state.row)
    assert len(np.unique(rows, axis=0)) == ROWS
