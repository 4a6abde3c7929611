"""The functional face: the episodes of the vector face, and what trainers in JAX ask of an environment."""

import subprocess
import sys
from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regrasp import BatchEnv
from regrasp.envs import episode_keys, load_task
from regrasp.envs.mjx_env import EnvState, MjxEnv
from regrasp.errors import InputError
from regrasp.randomization import randomizer_for

TASK, ROWS = "transfer_cube", 3


@cache
def functional() -> MjxEnv:
    return MjxEnv(
        load_task(TASK), impl="warp", randomizer=randomizer_for(TASK, "table"), sims=2 * ROWS
    )


@cache
def compiled() -> tuple:
    env = functional()
    return jax.jit(jax.vmap(env.reset)), jax.jit(jax.vmap(env.step))


def start(seed: int) -> EnvState:
    return compiled()[0](jnp.asarray(episode_keys(seed, "train", 0, ROWS)))


def flat(obs: dict, env: MjxEnv) -> np.ndarray:
    return np.concatenate([obs[name] for name in env.task.terms], axis=1)


def test_it_plays_the_episodes_of_the_vector_face():
    env, step = functional(), compiled()[1]
    cpu = BatchEnv(env.task, ROWS, randomizer=randomizer_for(TASK, "table"), threads=1)
    cpu.begin(np.asarray(episode_keys(3, "train", 0, ROWS)))
    state = start(3)
    np.testing.assert_allclose(state.obs, flat(cpu.observe(), env), atol=1e-5)
    assert state.obs.shape == (ROWS, env.observation_size)
    action = np.repeat(cpu.control.home[None], ROWS, axis=0)
    for _ in range(3):
        state = step(state, jnp.asarray(action))
        obs, reward, *_ = cpu.step(action)
        np.testing.assert_allclose(state.obs, flat(obs, env), atol=1e-3)
        np.testing.assert_allclose(state.reward, reward, atol=1e-6)
    assert not np.asarray(state.metrics["unstable"]).any()


def test_wrappers_keep_their_keys_and_may_select_states():
    step = compiled()[1]
    state = start(4)
    state = state.replace(
        info={"first": state.pipeline_state}, metrics={**state.metrics, "extra": state.reward}
    )
    after = step(state, jnp.zeros((ROWS, 14)))
    assert "first" in after.info
    assert set(after.metrics) == {"success", "failure", "unstable", "extra"}
    done = jnp.array([True, False, True])

    def choose(first: jax.Array, now: jax.Array) -> jax.Array:
        return jnp.where(done.reshape(-1, *[1] * (first.ndim - 1)), first, now)

    back = jax.tree.map(choose, after.info["first"], after.pipeline_state)
    again = step(after.replace(pipeline_state=back), jnp.zeros((ROWS, 14)))
    np.testing.assert_array_equal(again.obs[0], after.obs[0])
    assert (again.obs[1] != after.obs[1]).any()


def test_a_broken_simulation_is_done_and_spoils_nothing():
    step = compiled()[1]
    state = start(5)
    sim = state.pipeline_state
    broken = sim._replace(row=sim.row.at[1, 1].set(jnp.nan))
    after = step(state.replace(pipeline_state=broken), jnp.zeros((ROWS, 14)))
    assert after.metrics["unstable"].tolist() == after.done.tolist() == [0, 1, 0]
    assert np.isfinite(after.obs).all()
    assert after.reward[1] == 0


def test_too_many_contacts_are_reported():
    """With room for two contacts, a cube on a table is too much."""
    from dataclasses import replace

    task = replace(load_task(TASK), contacts=2)
    env = MjxEnv(task, impl="warp", sims=1)
    state = jax.jit(jax.vmap(env.reset))(jnp.asarray(episode_keys(0, "train", 0, 1)))
    after = jax.jit(jax.vmap(env.step))(state, jnp.zeros((1, 14)))
    assert after.metrics["unstable"].tolist() == [1]
    assert after.done.tolist() == [1]


def test_a_solver_that_stops_early_lacks_no_room():
    from mujoco.mjx.third_party.mujoco_warp import OverflowType

    def overflows(kind: OverflowType) -> bool:
        impl = SimpleNamespace(overflow=jnp.int32(int(kind)))
        return bool(functional()._physics._overflows(None, SimpleNamespace(_impl=impl)))

    assert not overflows(OverflowType.ITERATIONS | OverflowType.LS_ITERATIONS)
    assert overflows(OverflowType.NARROWPHASE)
    assert overflows(OverflowType.NEFC | OverflowType.ITERATIONS)


def test_without_the_compiler_option_mjx_on_the_cpu_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    with pytest.raises(InputError, match="hangs without an XLA option"):
        MjxEnv(load_task(TASK))


def test_jax_may_be_imported_first():
    program = (
        "import jax, os, regrasp; from regrasp.envs.mjx_world import check_installed; "
        "check_installed('jax')"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.slow
def test_brax_trains_on_it():
    """A few steps of PPO, with what Brax 0.14 expects of an older JAX."""
    from typing import Any

    from brax.training.agents.ppo import train as ppo
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    def replicated(tree, devices):
        sharding = NamedSharding(Mesh(np.array(devices), ("i",)), PartitionSpec("i"))
        return jax.tree.map(lambda x: jax.device_put(jnp.stack([x] * len(devices)), sharding), tree)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "device_put_replicated", replicated, raising=False)
        environment: Any = functional()  # Brax asks for no more than its methods.
        *_, metrics = ppo.train(
            environment=environment,
            num_timesteps=32,
            episode_length=8,
            num_envs=2,
            batch_size=2,
            num_minibatches=1,
            unroll_length=4,
            num_updates_per_batch=1,
            num_evals=2,
            num_eval_envs=2,
        )
    assert metrics["eval/avg_episode_length"] > 0
    assert np.isfinite(metrics["training/total_loss"])
