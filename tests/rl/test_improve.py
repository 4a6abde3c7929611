"""Improvement: what is learned from success alone, the same to the bit however often it is interrupted."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from regrasp.envs import BatchEnv, Snapshot
from regrasp.errors import InputError
from regrasp.rl.clone import CloneConfig, flow_policy, read_lines
from regrasp.rl.improve import ImproveConfig, Improver, informative, leave_one_out
from regrasp.rl.policies.flow import FlowPolicy, Params

CONFIG = ImproveConfig(
    iterations=2, groups=2, tries=4, start_groups=1, minibatch=16, checkpoint_every=1
)
outcomes = arrays(
    np.float32, st.tuples(st.integers(1, 5), st.integers(2, 9)), elements=st.sampled_from([0, 1])
)


# ---- advantages ----


def test_advantages_by_hand():
    """Three of four succeeded: a success is worth 1 - 2/3, the failure 0 - 1."""
    success = np.array([[1, 1, 0, 1], [0, 0, 1, 0], [1, 1, 1, 1]], np.float32)
    wanted = [[1 / 3, 1 / 3, -1, 1 / 3], [-1 / 3, -1 / 3, 1, -1 / 3], [0, 0, 0, 0]]
    np.testing.assert_allclose(leave_one_out(success), wanted, atol=1e-6)


@given(outcomes)
def test_advantages_are_what_a_rollout_adds_to_the_others(success: np.ndarray):
    found = leave_one_out(success)
    for i in range(success.shape[1]):
        others = np.delete(success, i, axis=1).mean(axis=1)
        np.testing.assert_allclose(found[:, i], success[:, i] - others, atol=1e-5)
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-6)


@given(outcomes)
def test_groups_of_one_outcome_teach_nothing(success: np.ndarray):
    kinds = np.array([len(set(group)) for group in success.tolist()])
    np.testing.assert_array_equal(informative(success), kinds == 2)


# ---- whole runs ----


@dataclass(frozen=True)
class Bench:
    """An easy task, a policy that succeeds at it now and then, and moments to start from."""

    policy: FlowPolicy
    params: Params
    moments: Snapshot
    env: BatchEnv

    def improver(self, config: ImproveConfig = CONFIG, env: BatchEnv | None = None) -> Improver:
        phases = np.linspace(0, 0.9, len(self.moments))
        return Improver(env or self.env, self.policy, self.params, self.moments, phases, config)


@pytest.fixture(scope="module")
def bench(nudge: Callable[..., BatchEnv]) -> Bench:
    config = CloneConfig(chunk=4, knots=2, steps=3, width=16, depth=1)
    env = nudge(8, config.chunk)
    policy = flow_policy(env.task, config)
    env.reset(seed=0)
    obs = np.asarray(policy.flat(jax.tree.map(jnp.asarray, env.observe())))
    spread = 0.1 * np.random.default_rng(0).normal(size=(64, policy.latent_size))
    params = policy.init(jax.random.key(0), obs, spread.astype(np.float32))
    return Bench(policy, params, env.take(), env)


@pytest.fixture(scope="module")
def undisturbed(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Params]:
    folder = tmp_path_factory.mktemp("improve") / "run"
    return folder, bench.improver().run(folder)


def bits(tree: Any) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def without_clock(folder: Path) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in row.items() if k != "wall_s"}
        for row in read_lines(folder / "metrics.jsonl")
    ]


def test_something_was_learned_from(bench: Bench, undisturbed):
    """Else the tests below would compare what never changed."""
    folder, params = undisturbed
    rows = without_clock(folder)
    assert [row["iteration"] for row in rows] == [1, 2]
    assert all(row["informative"] > 0 and row["shift"] > 0 for row in rows)
    assert bits(params["net"]) != bits(bench.params["net"])
    fixed = [name for name in params if name != "net"]
    assert bits([params[n] for n in fixed]) == bits([bench.params[n] for n in fixed])
    assert rows[-1]["episodes"] == 16
    assert 16 <= rows[-1]["env_steps"] <= 16 * bench.env.horizon


def test_the_seed_decides(bench: Bench, undisturbed, tmp_path: Path):
    """What it is that the same seed gives the same, `test_success_is_the_only_reward` shows."""
    other = bench.improver(replace(CONFIG, seed=1)).run(tmp_path)
    assert bits(other) != bits(undisturbed[1])


def test_an_interrupted_run_ends_with_the_same_bits(bench: Bench, undisturbed, tmp_path: Path):
    def stop(done: int, total: int, note: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.improver().run(tmp_path, stop)
    assert not (tmp_path / "params.npz").exists()
    told = []
    params = bench.improver().run(tmp_path, lambda done, total, note: told.append(done))
    assert told == [2]
    assert bits(params) == bits(undisturbed[1])
    assert without_clock(tmp_path) == without_clock(undisturbed[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.jsonl", "params.npz"]


def test_a_finished_folder_is_read_and_not_redone(bench: Bench, undisturbed):
    folder, params = undisturbed
    told = []
    again = bench.improver().run(folder, lambda done, total, note: told.append(done))
    assert not told
    assert bits(again) == bits(params)


@pytest.mark.parametrize("goal_rad", [9.0, -9.0])
def test_nothing_is_learned_where_all_fail_or_all_succeed(
    bench: Bench, nudge: Callable[..., BatchEnv], tmp_path: Path, goal_rad: float
):
    env = nudge(8, bench.policy.chunk, goal_rad=goal_rad)
    params = bench.improver(env=env).run(tmp_path)
    assert [row["success"] for row in read_lines(tmp_path / "metrics.jsonl")] == [goal_rad < 0] * 2
    assert bits(params) == bits(bench.params)


def test_success_is_the_only_reward(
    bench: Bench, undisturbed, nudge: Callable[..., BatchEnv], tmp_path: Path
):
    env = nudge(8, bench.policy.chunk, prize=-100.0)
    assert bits(bench.improver(env=env).run(tmp_path)) == bits(undisturbed[1])
    assert without_clock(tmp_path) == without_clock(undisturbed[0])


def test_success_grows(bench: Bench, nudge: Callable[..., BatchEnv], tmp_path: Path):
    """With tries enough, a policy that succeeds now and then comes to succeed nearly always."""
    config = replace(
        CONFIG,
        iterations=20,
        groups=4,
        tries=16,
        start_groups=4,
        sigma=0.5,
        learning_rate=3e-3,
        minibatch=64,
    )
    env = nudge(64, bench.policy.chunk, goal_rad=0.05)
    bench.improver(config, env).run(tmp_path)
    rates = [row["success"] for row in read_lines(tmp_path / "metrics.jsonl")]
    assert rates[0] < 0.5
    assert np.mean(rates[-3:]) > 0.85


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"iterations": 0}, "iterations 0"),
        ({"tries": 1}, "tries 1"),
        ({"sigma": -0.1}, "sigma -0.1"),
        ({"groups": 4, "start_groups": 5}, "start_groups 5"),
        ({"start_groups": -1}, "start_groups -1"),
        ({"learning_rate": float("nan")}, "learning_rate nan"),
    ],
)
def test_bad_settings_are_refused(changes: dict, says: str):
    with pytest.raises(InputError, match=says):
        ImproveConfig(**changes)
