"""Improvement: what is learned from success alone, the same to the bit however often it is interrupted."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import regrasp
from regrasp.envs import BatchEnv, Executor, Snapshot, episode_keys, load_task
from regrasp.envs.randomizer import nominal
from regrasp.errors import InputError
from regrasp.rl import improve
from regrasp.rl.clone import CloneConfig, policy_for, read_lines
from regrasp.rl.critic import CriticConfig
from regrasp.rl.improve import Improver, improved
from regrasp.rl.improve_config import ImproveConfig
from regrasp.rl.policies import Noise, Params, Policy
from regrasp.rl.rollout import Outcomes
from regrasp.rl.starts import Starts
from regrasp.rl.stats import wilson
from regrasp.rl.surrogate import Decisions, Surrogate, SurrogateConfig

CONFIG = ImproveConfig(
    iterations=2,
    groups=2,
    tries=3,
    fresh=2,
    places=4,
    noise=Noise(sigma=2.0, temperature=1.0),
    update=SurrogateConfig(minibatch=16),
    judge_every=1,
    judge_episodes=8,
    checkpoint_every=1,
)


# ---- whole runs ----


@dataclass(frozen=True)
class Bench:
    """An easy task, a policy that succeeds at it now and then, and moments to start from."""

    policy: Policy
    params: Params
    moments: Snapshot
    env: BatchEnv

    def improver(self, config: ImproveConfig = CONFIG, env: BatchEnv | None = None) -> Improver:
        phases = np.linspace(0, 0.9, len(self.moments))
        return Improver(env or self.env, self.policy, self.params, self.moments, phases, config)


def bench_of(family: str, nudge: Callable[..., BatchEnv]) -> Bench:
    sizes: dict[str, Any] = {"chunk": 4, "execute": 0, "knots": 2, "width": 16, "depth": 1}
    config = CloneConfig(family=family, steps=3, bins=8, **sizes)
    env = nudge(8, config.chunk)
    policy = policy_for(env.task, config)
    env.reset(seed=0)
    obs = np.asarray(policy.flat(jax.tree.map(jnp.asarray, env.observe())))
    spread = 0.1 * np.random.default_rng(0).normal(size=(64, policy.latent_size))
    params = policy.init(jax.random.key(0), obs, spread.astype(np.float32))
    return Bench(policy, params, env.take(), env)


@pytest.fixture(scope="module")
def bench(nudge: Callable[..., BatchEnv]) -> Bench:
    return bench_of("flow", nudge)


@pytest.fixture(scope="module")
def undisturbed(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Params]:
    folder = tmp_path_factory.mktemp("improve") / "run"
    return folder, bench.improver().run(folder)


def bits(tree: Any) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def without_clock(folder: Path) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in row.items() if not k.endswith("_s")}
        for row in read_lines(folder / "metrics.jsonl")
    ]


def test_something_was_learned_from(bench: Bench, undisturbed):
    """Else the tests below would compare what never changed."""
    folder, params = undisturbed
    first, *rows = without_clock(folder)
    assert first.keys() == {"iteration", "env_steps", "episodes", "judged", "judged_reward"}
    assert [row["iteration"] for row in rows] == [1, 2]
    assert all(row["shift"] > 0 for row in rows)
    assert all(row["judged"]["episodes"] == 8 for row in rows)
    assert bits(params["net"]) != bits(bench.params["net"])
    fixed = [name for name in params if name != "net"]
    assert bits([params[n] for n in fixed]) == bits([bench.params[n] for n in fixed])
    assert rows[-1]["episodes"] == 16
    assert 16 <= rows[-1]["env_steps"] <= 16 * bench.env.horizon


def test_a_faster_policy_is_improved_as_it_is_played(bench: Bench):
    config = replace(CONFIG, speed=1.5, lag_ms=40.0)
    policy, params = improved(bench.policy, bench.params, config, 0.02)
    executor = Executor(bench.policy.chunk, 1, speed=1.5, lead=2.0)
    assert policy.executor.chunk == policy.chunk == executor.length < bench.policy.chunk
    assert params is bench.params
    with pytest.raises(InputError, match=r"speed 0\.5 and lag_ms 100\.0: choose 1 <= speed <= 4"):
        replace(CONFIG, speed=0.5)


def test_a_noisy_policy_is_judged_with_its_noise(bench: Bench, tmp_path: Path):
    config = replace(CONFIG, noisy=True, iterations=1)
    policy, params = improved(bench.policy, bench.params, config, 0.02)
    assert policy == bench.policy.noisy(config.noise)
    variant = replace(bench, policy=policy, params=params)
    quiet = bench.improver(replace(config, noisy=False)).run(tmp_path / "quiet")
    # Judged otherwise, learned alike.
    assert bits(variant.improver(config).run(tmp_path / "loud")["net"]) == bits(quiet["net"])
    with pytest.raises(InputError, match="noisy with residual"):
        replace(config, residual=True)
    with pytest.raises(InputError, match="a GaussianPolicy acts without noise"):
        policy_for(load_task("transfer_cube"), CloneConfig(family="gaussian")).noisy(config.noise)


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
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["metrics.jsonl", "params.npz", "tensorboard"]


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
    _, *rows = read_lines(tmp_path / "metrics.jsonl")
    assert [row["success"] for row in rows] == [goal_rad < 0] * 2
    assert bits(params) == bits(bench.params)


def test_success_is_the_only_reward(
    bench: Bench, undisturbed, nudge: Callable[..., BatchEnv], tmp_path: Path
):
    env = nudge(8, bench.policy.chunk, prize=-100.0)
    assert bits(bench.improver(env=env).run(tmp_path)) == bits(undisturbed[1])
    assert without_clock(tmp_path) == without_clock(undisturbed[0])


@pytest.mark.parametrize(
    ("family", "iterations", "passes", "sigma", "reached"),
    [("flow", 20, 2, 2.0, 0.85), ("gaussian", 20, 2, 0.5, 0.85), ("token", 40, 6, 0.5, 0.6)],
)
def test_success_grows(
    family: str,
    iterations: int,
    passes: int,
    sigma: float,
    reached: float,
    nudge: Callable[..., BatchEnv],
    tmp_path: Path,
):
    """With tries enough, a policy that succeeds now and then comes to succeed nearly always.

    Tokens start from even odds everywhere, which takes longer to leave. A new flow ends in the mean from
    everywhere, so of the noise on its way only that of the last step is left, a third.
    """
    config = replace(
        CONFIG,
        iterations=iterations,
        groups=3,
        tries=16,
        fresh=16,
        places=16,
        noise=Noise(sigma=sigma),
        update=SurrogateConfig(learning_rate=3e-3, minibatch=64, passes=passes),
        judge_every=20,
        judge_episodes=64,
    )
    env = nudge(64, 4, goal_rad=0.05)
    bench_of(family, nudge).improver(config, env).run(tmp_path)
    _, *rows = read_lines(tmp_path / "metrics.jsonl")
    assert rows[0]["start_rate"] < 0.6
    assert np.mean([row["start_rate"] for row in rows[-5:]]) > reached


def test_it_stops_at_its_goal_and_keeps_what_was_judged_best(
    bench: Bench, nudge: Callable[..., BatchEnv], tmp_path: Path
):
    env = nudge(8, bench.policy.chunk, goal_rad=-9.0)
    config = replace(CONFIG, iterations=9, goal=0.6)
    params = bench.improver(config, env).run(tmp_path)
    rows = read_lines(tmp_path / "metrics.jsonl")
    assert len(rows) == 1
    assert rows[0]["judged"]["low"] > 0.6
    assert bits(params) == bits(bench.params)


def test_it_stops_once_its_goal_is_reached(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rates = iter([wilson(0, 8), wilson(7, 8), wilson(8, 8)])
    monkeypatch.setattr(Improver, "_judge", lambda self: (next(rates), 0.0))
    bench.improver(replace(CONFIG, iterations=9, goal=0.6)).run(tmp_path)
    rows = read_lines(tmp_path / "metrics.jsonl")
    assert [row["iteration"] for row in rows] == [0, 1, 2]
    assert (tmp_path / "params.npz").exists()


@pytest.mark.parametrize(("patience", "last"), [(0, 5), (1, 1), (2, 4)])
def test_it_stops_when_it_has_not_got_better_for_long(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int, last: int
):
    """Of judgements, those of iterations 0 and 2 are the best so far."""
    judge = Improver._judge

    def judged(self: Improver):
        before = self._state.best
        found = judge(self)
        if int(self._state.iteration) not in (0, 2):
            self._state = self._state._replace(best=before)
        return found

    monkeypatch.setattr(Improver, "_judge", judged)
    bench.improver(replace(CONFIG, iterations=5, patience=patience)).run(tmp_path)
    assert read_lines(tmp_path / "metrics.jsonl")[-1]["iteration"] == last


@pytest.mark.parametrize(("likelier", "moves"), [(0.0, True), (5.0, False), (1e4, False)])
def test_a_bad_choice_that_has_become_likely_does_not_outweigh_all_others(
    bench: Bench, likelier: float, moves: bool
):
    surrogate = Surrogate(bench.policy, bench.params, CONFIG.noise, CONFIG.update)
    weights = surrogate.start(bench.params["net"])
    obs = jnp.zeros((4, bench.policy.obs_size))
    keys = jax.random.split(jax.random.key(0), len(obs))
    explore = jax.vmap(partial(bench.policy.explore, noise=CONFIG.noise), (None, 0, 0))
    trace = explore(bench.params, obs, keys)[1]
    data = Decisions(np.asarray(obs), trace, np.full((len(obs), 1), -1, np.float32))
    old = surrogate._old(weights.net, data) - np.float32(likelier)
    after, _, sound = surrogate._step(weights, data, old, np.float32(1))
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), after.net, weights.net)
    assert sound
    assert any(jax.tree.leaves(changed)) == moves


def test_the_average_follows_the_weights(bench: Bench):
    """It is what is judged and kept; without averaging, the weights themselves are."""
    smooth = bench.improver()
    rough = bench.improver(replace(CONFIG, update=replace(CONFIG.update, average=0.0)))
    smooth._iterate()
    rough._iterate()
    weights, keep = rough._state.weights, CONFIG.update.average
    assert bits(weights.mean) == bits(weights.net)
    for mean, net, first in zip(
        *map(jax.tree.leaves, (smooth._state.weights.mean, weights.net, bench.params["net"])),
        strict=True,
    ):
        np.testing.assert_allclose(mean, keep * first + (1 - keep) * net, rtol=1e-5, atol=1e-7)
    smooth._judge()
    assert bits(smooth._state.best.net) == bits(smooth._state.weights.mean)


def test_time_may_cost(bench: Bench, nudge: Callable[..., BatchEnv]):
    """Of successes the sooner ones are worth more, where is tried and where is judged."""
    env = nudge(8, bench.policy.chunk, goal_rad=0.001)
    tried, advantage = tried_once(bench.improver(replace(CONFIG, time_cost=0.5), env=env))
    won, steps = tried.outcomes.success, tried.outcomes.steps
    assert len(np.unique(steps[won])) > 1
    np.testing.assert_allclose(tried.reward, won * (1 - 0.5 * steps / env.horizon))
    cut = CONFIG.groups * CONFIG.tries
    fresh = tried.reward[cut:] - tried.reward[cut:].mean()
    np.testing.assert_allclose(advantage[0, cut:, 0], fresh, atol=1e-6)
    env = nudge(8, bench.policy.chunk, goal_rad=-9.0)
    judged = [bench.improver(replace(CONFIG, time_cost=c), env=env)._judge() for c in (0.0, 0.5)]
    assert judged[0][0] == judged[1][0]
    assert judged[0][1] == 1
    assert judged[1][1] == pytest.approx(1 - 0.5 / env.horizon)  # In the first step.


def test_all_succeed_and_nothing_is_left_to_learn(
    bench: Bench, nudge: Callable[..., BatchEnv], tmp_path: Path
):
    env = nudge(8, bench.policy.chunk, goal_rad=-9.0)
    before = bench.improver(env=env).run(tmp_path / "free")
    assert bits(before) == bits(bench.params)
    with pytest.raises(InputError, match=r"time_cost 1\.5"):
        replace(CONFIG, time_cost=1.5)


def test_progress_may_be_the_reward(bench: Bench, nudge: Callable[..., BatchEnv], tmp_path: Path):
    """Of a task whose reward is the same everywhere nothing is learned, and success does not matter."""
    config = replace(CONFIG, reward="progress")
    constant = bench.improver(config).run(tmp_path / "constant")
    assert bits(constant) == bits(bench.params)
    rows = read_lines(tmp_path / "constant" / "metrics.jsonl")
    assert any(row["success"] > 0 for row in rows[1:])
    assert [row["won"] for row in rows[1:]] == [0, 0]
    env = nudge(8, bench.policy.chunk, turned=1.0, goal_rad=9.0)
    params = bench.improver(config, env).run(tmp_path / "grows")
    assert bits(params["net"]) != bits(bench.params["net"])
    rows = read_lines(tmp_path / "grows" / "metrics.jsonl")
    assert all(row["success"] == 0 and 0 < row["won"] < 1 for row in rows[1:])


def tried_once(improver: Improver) -> tuple[Any, np.ndarray]:
    """What one iteration's rollouts brought, and the advantages."""
    found: list[Any] = []
    learn = improver._learn
    improver._learn = lambda tried, advantage, rng: (  # type: ignore[method-assign]
        found.extend([tried, advantage]) or learn(tried, advantage, rng)
    )
    improver._iterate()
    return found[0], found[1]


@pytest.mark.parametrize("doing", ["", "_left", "_right"])
def test_of_progress_everything_has_its_part_in_what_it_can_have_done(
    bench: Bench, nudge: Callable[..., BatchEnv], doing: str
):
    """A decision in what comes after it, and an arm in all but what is the other one's doing."""
    env = nudge(8, bench.policy.chunk, turned=1.0, goal_rad=9.0, doing=doing)
    tried, advantage = tried_once(bench.improver(replace(CONFIG, reward="progress"), env))
    whose = [doing != f"_{other}" for other in ("right", "left")]
    decisions = len(tried.running)
    assert decisions > 2
    to_go = np.cumsum(tried.gained[::-1], axis=0)[::-1]
    for arm, own in enumerate(whose):
        np.testing.assert_allclose(to_go[0, :, arm], tried.reward * own)
        assert (np.ptp(to_go[:, 0, arm]) > 0) == own
        assert (advantage[:, :, arm] != 0).any() == own
    rest = to_go[decisions - 1, :6, whose.index(True)].reshape(2, 3)
    others = (rest.sum(axis=1, keepdims=True) - rest) / 2
    found = advantage[decisions - 1, :6, whose.index(True)].reshape(2, 3)
    np.testing.assert_allclose(found, rest - others, atol=1e-12)


@pytest.mark.parametrize("doing", ["", "_left", "_right"])
def test_a_critic_that_knows_nothing_credits_a_decision_with_all_that_comes_after_it(
    bench: Bench, nudge: Callable[..., BatchEnv], tmp_path: Path, doing: str
):
    env = nudge(8, bench.policy.chunk, turned=1.0, goal_rad=9.0, doing=doing)
    critic = CriticConfig(trace=1.0)
    config = replace(CONFIG, reward="progress", advantage="gae", critic=critic)
    tried, advantage = tried_once(bench.improver(config, env))
    to_go = np.cumsum(tried.gained[::-1], axis=0)[::-1]
    seen = tried.running
    spread = to_go[seen].std()
    np.testing.assert_allclose(advantage[seen], to_go[seen] / spread, rtol=1e-4)
    params = bench.improver(config, env).run(tmp_path)
    assert bits(params["net"]) != bits(bench.params["net"])
    told = [row["explained"] for row in read_lines(tmp_path / "metrics.jsonl")[1:]]
    assert abs(told[0]) < 1e-6 < abs(told[1])


def test_an_arm_that_had_no_part_is_taught_nothing(bench: Bench):
    """What the other arm is told does not change, but by way of what both are told from."""
    surrogate = Surrogate(bench.policy, bench.params, CONFIG.noise, CONFIG.update)
    weights = surrogate.start(bench.params["net"])
    obs = jnp.zeros((4, bench.policy.obs_size))
    explore = jax.vmap(partial(bench.policy.explore, noise=CONFIG.noise), (None, 0, 0))
    trace = explore(bench.params, obs, jax.random.split(jax.random.key(0), len(obs)))[1]
    half = bench.policy.action_size // 2
    for arm in range(2):
        credit = np.zeros((4, 2), np.float32)
        credit[:, arm] = [1, -1, 0.5, 2]
        data = Decisions(np.asarray(obs), trace, credit)
        old = surrogate._old(weights.net, data)
        after, _, _ = surrogate._step(weights, data, old, np.float32(1))
        moved = after.net["params"]["leave"]["bias"] - weights.net["params"]["leave"]["bias"]
        moved = np.asarray(moved).reshape(bench.policy.knots, 2, half)
        assert (moved[:, arm] != 0).all()
        assert (moved[:, 1 - arm] == 0).all()


@pytest.mark.parametrize("judged", [3, 8, 11])
def test_a_judgement_does_not_depend_on_what_was_played_before(
    bench: Bench, nudge: Callable[..., BatchEnv], judged: int
):
    """Neither on where the chunks of rows stood that it leaves out."""
    env = nudge(8, bench.policy.chunk, turned=1.0, goal_rad=9.0)
    improver = bench.improver(replace(CONFIG, judge_episodes=judged, reward="progress"), env)
    first = improver._judge()
    env.begin(np.asarray(episode_keys(5, "train", 0, env.num_envs)))
    env.load(np.zeros((env.num_envs, bench.policy.chunk, env.workcell.action_size), np.float32))
    env.play()
    assert not env.due.any()
    assert improver._judge() == first


def test_moments_of_other_physics_are_gone_on_from_too():
    """Shown under nominal physics, improved under the table: what was not randomised is nominal."""
    table = regrasp.make(
        "transfer_cube",
        8,
        randomize="table",
        threads=1,
        autoreset=AutoresetMode.DISABLED,
        executor=Executor(4, 4),
    )
    plain = regrasp.make("transfer_cube", 8, threads=1, autoreset=AutoresetMode.DISABLED)
    plain.reset(seed=0)
    table.begin(np.asarray(episode_keys(0, "train", 0, 8)))
    shown = plain.take()
    assert not shown.fields
    starts = Starts(table, shown, np.linspace(0, 0.9, 8), CONFIG)
    state = starts.begin()
    choice, fresh = starts.choose(state, np.arange(8), jax.random.key(0))
    groups = CONFIG.groups * CONFIG.tries
    moment = np.repeat(choice.moment >= 0, CONFIG.tries)
    assert moment.any()
    seen = starts.put(state, choice, fresh, np.arange(8), jax.random.key(0))
    shows = np.repeat(choice.moment, CONFIG.tries)[moment]
    for name, values in plain.observe().items():
        np.testing.assert_array_equal(seen[name][:groups][moment], values[shows], err_msg=name)
    put = table.take()
    for name, values in put.fields.items():
        usual = nominal(table.model, name)
        assert (values[:groups][moment] == usual).all()
    differs = [(v[groups:] != nominal(table.model, n)).any() for n, v in put.fields.items()]
    assert any(differs)
    with pytest.raises(InputError, match="different randomised fields cannot be stacked"):
        Snapshot.concatenate([shown, put])


def test_what_was_not_played_to_its_end_is_not_called_a_failure(bench: Bench):
    config = replace(CONFIG, window_s=bench.policy.executor.execute * bench.env.task.control_dt_s)
    phases, pools = np.linspace(0, 0.9, 8), []
    for reward in ("success", "progress"):
        starts = Starts(bench.env, bench.moments, phases, replace(config, reward=reward))
        state = starts.begin()
        choice, fresh = starts.choose(state, np.arange(8), jax.random.key(0))
        over = np.zeros(8, bool)
        pools.append((state.pool, starts.learn(state, choice, fresh, over, over).pool))
    (before, after), (_, progress) = pools
    assert after.reach == before.reach
    assert (after.start == -1).all()
    assert progress.reach < before.reach
    assert (progress.start >= 0).any()


def test_rollouts_may_end_before_their_episode(bench: Bench, tmp_path: Path):
    """A window of one decision: what is decided later is not tried, but judged."""
    env, window = bench.env, bench.policy.executor.execute
    improver = bench.improver(replace(CONFIG, window_s=window * env.task.control_dt_s))
    improver.run(tmp_path)
    _, *rows = read_lines(tmp_path / "metrics.jsonl")
    assert rows[-1]["env_steps"] <= 2 * window * env.num_envs
    assert env.done.all()


@pytest.mark.parametrize("stuck", [0, 2])
def test_groups_may_walk_through_whole_episodes(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stuck: int
):
    """Each starts where the first try of its own ended, to the bit, or anew, when that is over or stuck."""
    window = bench.policy.executor.execute
    config = replace(
        CONFIG,
        iterations=8,
        onward=1,
        stuck=stuck,
        window_s=window * bench.env.task.control_dt_s,
        judge_every=8,
        goal=1.0,
    )
    starts: list[Snapshot] = []
    ends: list[tuple[Snapshot, bool]] = []
    vain: list[int] = []
    fork, rolled = bench.env.fork, improve.rollout

    def watched_fork(stack: Snapshot, **options: Any) -> Any:
        starts.append(stack[np.arange(config.tries)])
        return fork(stack, **options)

    def watched_rollout(env: BatchEnv, *args: Any, **options: Any) -> Outcomes:
        outcomes = rolled(env, *args, **options)
        if options["steps"]:
            won = outcomes.success[: config.tries].any()
            vain.append(0 if won else (vain or [0])[-1] + 1)
            over = bool(outcomes.ended[0]) or 0 < stuck == vain[-1]
            vain[-1] *= not over
            ends.append((env.take(np.arange(1)), over))
        return outcomes

    monkeypatch.setattr(bench.env, "fork", watched_fork)
    monkeypatch.setattr(improve, "rollout", watched_rollout)
    bench.improver(config).run(tmp_path)
    assert len(starts) == len(ends) == config.iterations
    assert {ended for _, ended in ends[:-1]} == {True, False}
    for (end, ended), start in zip(ends, starts[1:], strict=False):
        steps = np.asarray(start.carry["step"])
        assert (start.row == start.row[0]).all()
        if ended:
            assert (steps == 0).all()
        else:
            assert steps[0] == end.carry["step"][0] > 0
            assert (start.row[0] == end.row[0]).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"identical": False},
        {"curriculum": False},
        {"curriculum": False, "identical": False},
        {"physics": "try"},
        {"onward": 1, "window_s": 0.08},
        {"onward": 2, "window_s": 0.08, "physics": "try"},
        {"advantage": "gae"},
        {"advantage": "gae", "groups": 0, "fresh": 8},
        {"advantage": "gae", "window_s": 0.08},
        {"advantage": "normalised"},
        {"residual": True, "noise": Noise(sigma=0.6)},
    ],
)
def test_every_variant_learns_and_resumes_to_the_same_bits(
    bench: Bench, tmp_path: Path, changes: dict[str, Any]
):
    config = replace(CONFIG, **changes)
    policy, params = improved(bench.policy, bench.params, config, 0.02)
    variant = replace(bench, policy=policy, params=params)

    def stop(done: int, total: int, note: str) -> None:
        raise KeyboardInterrupt

    whole = variant.improver(config).run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        variant.improver(config).run(tmp_path / "cut", stop)
    assert bits(variant.improver(config).run(tmp_path / "cut")) == bits(whole)
    assert bits(whole["net"]) != bits(params["net"])
    assert [name for name in whole if name != "net"] == [name for name in params if name != "net"]


def test_states_of_their_own_have_no_curriculum_to_walk(bench: Bench, tmp_path: Path):
    bench.improver(replace(CONFIG, curriculum=False)).run(tmp_path)
    assert [row["start_fraction"] for row in without_clock(tmp_path)[1:]] == [1.0, 1.0]


@pytest.mark.parametrize("states", [0, 8])
def test_what_never_succeeds_is_given_up(
    bench: Bench, nudge: Callable[..., BatchEnv], tmp_path: Path, states: int
):
    env = nudge(8, bench.policy.chunk, goal_rad=9.0)
    without = replace(bench, moments=bench.moments[np.arange(states)])
    says = "kept states near the end" if states else "no kept states to begin with"
    with pytest.raises(InputError, match=rf"40 tries and not one success.*{says}"):
        without.improver(replace(CONFIG, iterations=9), env=env).run(tmp_path)


def test_a_loss_that_is_no_number_stops_it_at_the_last_good_state(bench: Bench, tmp_path: Path):
    improver = bench.improver(replace(CONFIG, iterations=3))
    improver._iterate()
    # What is tried is sound, what is learned from it is not.
    fixed = improver._surrogate._fixed
    broken = {
        **fixed,
        "latent_std": fixed["latent_std"] * np.nan,
        "obs_mean": fixed["obs_mean"] * np.nan,
    }
    improver._surrogate = Surrogate(bench.policy, broken, CONFIG.noise, CONFIG.update)
    with pytest.raises(InputError, match=r"the loss is not finite in minibatch 1 of .*, pass 1"):
        improver.run(tmp_path)
    kept = np.load(tmp_path / "checkpoint.npz")
    assert all(np.isfinite(kept[name]).all() for name in kept.files if kept[name].dtype.kind == "f")
    assert 1 <= int(kept["iteration"]) < 3


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"physics": "both"}, "'both'"),
        ({"iterations": 0}, "iterations 0"),
        ({"tries": 1}, "tries 1"),
        ({"groups": -1}, "groups -1"),
        ({"groups": 0, "fresh": 0}, "nothing would be tried"),
        ({"advantage": "median"}, "'median'"),
        ({"goal": 0.0}, "goal 0"),
        ({"patience": -1}, "patience -1"),
        ({"reward": "praise"}, "'praise'.*progress, success"),
        ({"reward": "progress", "time_cost": 0.3}, r"progress with time_cost 0\.3"),
        ({"window_s": -1.0}, r"window_s -1\.0"),
        ({"onward": 25}, r"onward 25: choose from 0 to the number of groups, 24"),
        ({"stuck": -1}, r"stuck -1 with onward 0: choose 0"),
        ({"stuck": 1}, r"stuck 1 with onward 0"),
        ({"onward": 2}, r"onward 2 with window_s 0\.0"),
        ({"onward": 2, "window_s": 1.0, "identical": False}, "identical False"),
    ],
)
def test_bad_settings_are_refused(changes: dict, says: str):
    with pytest.raises(InputError, match=says):
        ImproveConfig(**changes)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Noise(sigma=-0.1), "sigma -0.1"),
        (lambda: SurrogateConfig(learning_rate=float("nan")), "learning_rate nan"),
        (lambda: SurrogateConfig(clip_low=1.0), "clip_low 1"),
        (lambda: SurrogateConfig(average=1.0), "average 1"),
        (lambda: SurrogateConfig(clip_far=1.2), r"clip_far 1\.2.*clip_far > 1 \+ clip_high"),
    ],
)
def test_bad_settings_of_exploring_and_updating_are_refused(call, says: str):
    with pytest.raises(InputError, match=says):
        call()
