"""Improvement from identical states: try the same moment many times, keep what worked.

Groups of rollouts start from one kept state each; the only reward is success, unless a cost of time or
progress is asked for. A rollout's advantage is its reward against the others of its group, every decision of
a rollout shares it, and a clipped likelihood ratio bounds the step: see `advantage` and `surrogate`. Beside
the groups, fresh starts are played once each: they show how the policy fares, put their states into the pool
that groups are drawn from, and teach too, against the success to be expected there.

Of progress more is known than of success: when it came about, and perhaps by which arm. There a decision has
its part in what came after it alone, and what an arm does in all but the other one's doing.
"""

import time
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from regrasp.assets import SIDES
from regrasp.envs import BatchEnv, Snapshot, episode_keys
from regrasp.errors import InputError
from regrasp.progress import Progress
from regrasp.rl.advantage import gae, group_advantage, informative
from regrasp.rl.checkpoint import load_tree, save_tree
from regrasp.rl.clone import read_lines, write_lines
from regrasp.rl.critic import Critic, CriticState
from regrasp.rl.curriculum import Choice, Fresh
from regrasp.rl.events import Events
from regrasp.rl.improve_config import GAE, PROGRESS, SUCCESS, ImproveConfig
from regrasp.rl.policies import Params, Policy, ResidualPolicy, Trace
from regrasp.rl.rollout import ActChunk, Outcomes, rollout
from regrasp.rl.starts import Starts, StartsState
from regrasp.rl.stats import Rate, wilson
from regrasp.rl.surrogate import Decisions, Surrogate, Weights

PATIENCE = 5
"""Iterations without any success after which there is no hope."""
HELD_OUT = 2**30
"""Number of the first episode of the role `train` that is only judged on."""


class _Tried(NamedTuple):
    """What one iteration's rollouts brought: per decision and row, but for the outcomes."""

    outcomes: Outcomes
    reward: Float[np.ndarray, " rows"]
    gained: Float[np.ndarray, "decisions rows arms"] | None
    """Of progress: what each decision brought, without the other arm's doing."""
    obs: Float[np.ndarray, "decisions rows obs"]
    traces: Trace
    running: Bool[np.ndarray, "decisions rows"]
    final_obs: Float[np.ndarray, "rows obs"]
    """What is seen after the last decision."""
    start_s: float
    """Wall time spent on putting the rows where they start."""
    policy_s: float
    """Wall time spent on choosing."""
    engine_s: float
    """Wall time spent on physics."""


class _Best(NamedTuple):
    """The best judgement so far, and the weights that were judged."""

    net: Any
    reward: Float[np.ndarray, ""]
    """Of all episodes."""
    iteration: Int[np.ndarray, ""]


class _State(NamedTuple):
    weights: Weights
    critic: CriticState | None
    starts: StartsState
    best: _Best
    iteration: Int[np.ndarray, ""]
    env_steps: Int[np.ndarray, ""]


def improved(
    policy: Policy, params: Params, config: ImproveConfig, control_dt_s: float
) -> tuple[Policy, Params]:
    """What is changed of a policy, and its first parameters: itself, or corrections on top of it."""
    if config.speed != 1:
        policy = policy.faster(config.speed, config.lag_ms / 1000 / control_dt_s)
    if config.noisy:
        policy = policy.noisy(config.noise)
    if not config.residual:
        return policy, params
    return ResidualPolicy.on(policy, params, jax.random.key(config.seed))


def finished(folder: Path, like: Params) -> Params | None:
    """What came out of an improvement that has ended in this folder, of this form; None: none has."""
    path = folder / "params.npz"
    return load_tree(path, like) if path.exists() else None


class Improver:
    """Runs the iterations; `run` resumes and ends with the weights of an undisturbed run."""

    def __init__(
        self,
        env: BatchEnv,
        policy: Policy,
        params: Params,
        moments: Snapshot,
        phases: Any,
        config: ImproveConfig,
    ):
        """Set up.

        Args:
            env: `config.rows` rows, autoreset DISABLED, with the policy's executor.
            policy: what is improved: see `improved`.
            params: where it starts.
            moments: kept mid-episode states to start from; an empty stack: starts alone.
            phases: when in its episode each was kept, 0 (start) to 1.
            config: how.
        """
        self._env, self._policy, self._config = env, policy, config
        self._fixed = {name: value for name, value in params.items() if name != "net"}
        env.begin(episode_keys(config.seed, "train", 0, env.num_envs))
        self._starts = Starts(env, moments, phases, config)
        self._surrogate = Surrogate(policy, self._fixed, config.noise, config.update)
        chance = config.reward == SUCCESS
        arms = 1 if chance else len(SIDES)
        self._critic = Critic(policy.obs_size, params, config.critic, arms, chance)
        # Of its length a window is what fits in chunks: what goes on does so where a chunk is due.
        length = config.window_s / env.task.control_dt_s / policy.executor.execute
        self._window = int(np.ceil(length - 1e-6)) * policy.executor.execute
        self._state = _State(
            self._surrogate.start(params["net"]),
            self._critic.start(jax.random.key(config.seed)) if config.advantage == GAE else None,
            self._starts.begin(),
            _Best(params["net"], np.array(-np.inf), np.array(0)),
            np.array(0),
            np.array(0),
        )
        self._explore = jax.jit(
            jax.vmap(lambda *args: policy.explore(*args, noise=config.noise), (None, 0, 0))
        )
        self._act = jax.jit(policy.act)
        self._flat = jax.jit(policy.flat)

    def run(self, folder: Path, progress: Progress = lambda done, total, note: None) -> Params:
        """Iterate to the end, writing `params.npz` and `metrics.jsonl`; a finished folder is only read.

        Returns:
            The parameters that did best in a judgement.
        """
        if (ended := finished(folder, self._params(self._state.weights.net))) is not None:
            return ended
        metrics = self._resume(folder)
        started = time.monotonic() - (metrics[-1]["wall_s"] if metrics else 0.0)
        config, told, reached = self._config, "", False
        with closing(Events(folder, int(self._state.iteration))) as events:
            if not metrics:
                # What is to be improved is judged first: nothing worse than that is kept.
                rate, reward = self._judge()
                judged = {"judged": rate._asdict(), "judged_reward": reward}
                row = {"iteration": 0, "env_steps": 0, "episodes": 0, **judged}
                metrics.append({**row, "wall_s": round(time.monotonic() - started, 2)})
                events.add(0, metrics[0])
                told, reached = self._told(rate, reward), rate.low >= config.goal
            while self._state.iteration < config.iterations and not (reached or self._stale()):
                try:
                    row = self._iterate()
                except InputError:
                    self._save(folder, metrics)
                    raise
                done = int(self._state.iteration)
                if done % config.judge_every == 0 or done == config.iterations:
                    rate, reward = self._judge()
                    row |= {"judged": rate._asdict(), "judged_reward": reward}
                    told = self._told(rate, reward)
                metrics.append({**row, "wall_s": round(time.monotonic() - started, 2)})
                events.add(done, metrics[-1])
                self._need_success(metrics)
                reached = "judged" in row and row["judged"]["low"] >= config.goal
                if done % config.checkpoint_every == 0 and not reached:
                    self._save(folder, metrics)
                progress(done, config.iterations, f"tries {row['won']:.0%}{told}")
        params = self._params(self._state.best.net)
        write_lines(folder / "metrics.jsonl", metrics)
        save_tree(folder / "params.npz", params)
        (folder / "checkpoint.npz").unlink(missing_ok=True)
        return params

    def _stale(self) -> bool:
        """Judgements have not been getting better for long enough."""
        since = int(self._state.iteration - self._state.best.iteration)
        return 0 < self._config.patience * self._config.judge_every <= since

    # ---- one iteration ----

    def _iterate(self) -> dict[str, Any]:
        config, state = self._config, self._state
        key = jax.random.fold_in(jax.random.key(config.seed), state.iteration)
        numbers = int(state.iteration) * config.rows + np.arange(config.rows)
        choice, fresh = self._starts.choose(state.starts, numbers, jax.random.fold_in(key, 0))
        clock, busy_s = [time.perf_counter()], time.process_time()
        tried = self._try_out(choice, fresh, numbers, jax.random.fold_in(key, 1))
        clock.append(time.perf_counter())
        outcomes, cut = tried.outcomes, config.rows - len(fresh.number)
        reward = tried.reward
        rng = np.random.default_rng(np.asarray(jax.random.key_data(jax.random.fold_in(key, 2))))
        advantage, critic, explained = self._advantages(tried, reward, cut, rng)
        weights, shift = self._learn(tried, advantage, rng)
        clock.append(time.perf_counter())
        won = reward > 0
        self._state = state._replace(
            weights=weights,
            critic=critic,
            starts=self._starts.learn(state.starts, choice, fresh, won, outcomes.ended),
            iteration=state.iteration + 1,
            env_steps=state.env_steps + outcomes.env_steps,
        )
        grouped = reward[:cut].reshape(-1, config.tries)
        return {
            "iteration": int(self._state.iteration),
            "env_steps": int(self._state.env_steps),
            "episodes": int(self._state.iteration) * config.rows,
            "success": float(outcomes.success.mean()),
            "won": float(won.mean()),
            "informative": float(informative(grouped).mean()) if cut else None,
            "start_fraction": float((choice.start >= 0).mean()) if cut else None,
            "phase": float(self._starts.phases(choice).mean()) if cut else None,
            "reach": float(state.starts.pool.reach),
            "onward_rate": float(won[: config.onward * config.tries].mean())
            if config.onward
            else None,
            "start_rate": float(won[cut:].mean()) if len(fresh.number) else None,
            "start_steps": float(np.median(outcomes.steps[cut:])) if len(fresh.number) else None,
            "explained": explained,
            "shift": shift,
            "unstable": int(outcomes.unstable.sum()),
            "start_s": round(tried.start_s, 3),
            "policy_s": round(tried.policy_s, 3),
            "engine_s": round(tried.engine_s, 3),
            "rollout_s": round(clock[1] - clock[0], 3),
            "update_s": round(clock[2] - clock[1], 3),
            "cpu_s": round(time.process_time() - busy_s, 3),
        }

    def _advantages(
        self,
        tried: "_Tried",
        reward: Float[np.ndarray, " rows"],
        cut: int,
        rng: np.random.Generator,
    ) -> tuple[Float[np.ndarray, "decisions rows arms"], CriticState | None, float | None]:
        """Of every decision, for each arm or for both as one.

        Returns:
            The advantages; the critic, taught; and the share of the variance of what it was taught that it
            had foretold.
        """
        config, critic, running = self._config, self._state.critic, tried.running
        if critic is None:
            of = reward[None, :, None]
            if tried.gained is not None:
                of = np.cumsum(tried.gained[::-1], axis=0)[::-1]
            found = np.apply_along_axis(self._compared, 1, of, cut)
            return np.broadcast_to(found, (*running.shape, of.shape[2])), None, None
        gained = tried.gained
        if gained is None:
            last = running & ~np.concatenate([running[1:], np.zeros_like(running[:1])])
            gained = (last * reward)[..., None]
        value = self._critic.values(critic, tried.obs) * running[..., None]
        over = tried.outcomes.ended[:, None]
        final = np.where(over, 0.0, self._critic.values(critic, tried.final_obs))
        how = config.critic.discount, config.critic.trace
        arms = range(value.shape[2])
        found = np.stack(
            [gae(gained[..., a], value[..., a], running, final[:, a], *how) for a in arms], axis=2
        )
        target = (found + value)[running]
        if config.reward == SUCCESS:
            target = np.clip(target, 0, 1)
        critic = self._critic.fit(critic, tried.obs[running], target, rng)
        explained = 1 - float((target - value[running]).var() / (target.var() + 1e-12))
        return found / (found[running].std() + 1e-6), critic, explained

    def _compared(self, reward: Float[np.ndarray, " rows"], cut: int) -> Float[np.ndarray, " rows"]:
        """Rewards against those of the group, or, after the groups, against the mean of fresh starts."""
        grouped = reward[:cut].reshape(-1, self._config.tries)
        within = group_advantage(self._config.advantage, grouped).ravel()
        expected = reward[cut:].mean() if cut < len(reward) else 0.0
        return np.concatenate([within, reward[cut:] - expected])

    def _try_out(
        self, choice: Choice, fresh: Fresh, numbers: Int[np.ndarray, " rows"], key: Array
    ) -> "_Tried":
        """Roll out every group from its state, and every fresh start once."""
        env, config, params = self._env, self._config, self._params(self._state.weights.net)
        seen, traces, running, worth = [], [], [], []
        began, before_s = time.perf_counter(), env.engine_s
        start = self._starts.put(self._state.starts, choice, fresh, numbers, key)
        start_s, policy_s = time.perf_counter() - began, 0.0

        def act(obs: dict[str, np.ndarray], decision: int) -> np.ndarray:
            nonlocal policy_s
            if config.reward == PROGRESS:
                worth.append(self._worth())
            asked = time.perf_counter()
            flat = self._flat(obs)
            keys = jax.random.split(jax.random.fold_in(key, decision + 1), env.num_envs)
            chunks, trace = self._explore(params, flat, keys)
            seen.append(np.asarray(flat))
            traces.append(jax.tree.map(np.asarray, trace))
            running.append(~env.done)
            policy_s += time.perf_counter() - asked
            return np.asarray(chunks)

        outcomes, reward = self._rewarded(act, start, self._window)
        joined = jax.tree.map(lambda *parts: np.stack(parts), *traces)
        engine_s = env.engine_s - before_s
        gained = None
        if config.reward == PROGRESS:
            gained = np.diff([*worth, self._worth()], axis=0)
            gained = np.where(outcomes.unstable[:, None], 0.0, gained)
        parts = (outcomes, reward, gained, np.array(seen), joined, np.array(running))
        final_obs = np.asarray(self._flat(env.observe()))
        return _Tried(*parts, final_obs, start_s, policy_s, engine_s)

    def _worth(self) -> Float[np.ndarray, "rows arms"]:
        """What the task's reward is where the rows stand, for each arm."""
        terms, whole = self._env.reward_terms(), np.zeros(self._env.num_envs)
        others = [f"_{other}" for other in reversed(SIDES)]
        return np.stack(
            [sum((v for n, v in terms.items() if not n.endswith(o)), whole) for o in others], axis=1
        )

    def _rewarded(
        self, act: ActChunk, obs: dict[str, np.ndarray], steps: int = 0
    ) -> tuple[Outcomes, Float[np.ndarray, " rows"]]:
        """Roll out, and tell what every row is rewarded with."""
        env = self._env
        if self._config.reward == SUCCESS:
            outcomes = rollout(env, act, obs, steps=steps)
            took = outcomes.steps / env.horizon
            return outcomes, outcomes.success * (1 - self._config.time_cost * took)
        before = np.sum(list(env.reward_terms().values()), axis=0)
        outcomes = rollout(env, act, obs, steps=steps)
        gained = np.sum(list(env.reward_terms().values()), axis=0) - before
        # What an unstable simulation shows is no progress, and need not be a number.
        return outcomes, np.where(outcomes.unstable, 0.0, gained)

    def _learn(
        self,
        tried: "_Tried",
        advantage: Float[np.ndarray, "decisions rows arms"],
        rng: np.random.Generator,
    ) -> tuple[Weights, float]:
        """Policy-gradient steps on the decisions that have an advantage."""
        keep = tried.running & (advantage != 0).any(axis=2)
        if not keep.any():
            return self._state.weights, 0.0
        data = Decisions(
            tried.obs[keep],
            jax.tree.map(lambda leaf: leaf[keep], tried.traces),
            advantage[keep].astype(np.float32),
        )
        rate = 1 - float(self._state.iteration) / self._config.iterations
        return self._surrogate.update(self._state.weights, data, rate, rng)

    def _need_success(self, metrics: list[dict[str, Any]]) -> None:
        """Nothing is learned where nothing ever works.

        Raises:
            InputError: after PATIENCE iterations without a single success.
        """
        tried = metrics[1:]
        if len(tried) != PATIENCE or any(row["won"] for row in tried):
            return
        wanted = "success" if self._config.reward == SUCCESS else "that made progress"
        found = f"{metrics[-1]['episodes']} tries and not one {wanted}"
        if self._starts.shown:
            raise InputError(
                f"{found}, not even from the kept states near the end of a demonstration: train the "
                "clone for longer, or look whether the demonstrations replay"
            )
        raise InputError(
            f"{found} from the task's own starts, and there are no kept states to begin with: give "
            "demonstrations with states, keep the curriculum on, or train the clone for longer"
        )

    # ---- judging ----

    def _told(self, rate: Rate, reward: float) -> str:
        """A judgement in words."""
        more = "" if self._config.reward == SUCCESS else f", {PROGRESS} {reward:.2f}"
        return f", judged {rate}{more}"

    def _judge(self) -> tuple[Rate, float]:
        """Play starts that are kept for it, as the result will; remember the best weights.

        Returns:
            How often that succeeds, and the mean reward.
        """
        env, config, net = self._env, self._config, self._state.weights.mean
        params, success, rewards = self._params(net), [], []

        key, shape = jax.random.key(config.seed), (env.num_envs, self._policy.noise_size)

        def act(obs: dict[str, np.ndarray], decision: int) -> np.ndarray:
            drawn = jax.random.normal(jax.random.fold_in(key, decision), shape)
            noise = np.float32(self._policy.noise) * np.asarray(drawn)
            return np.asarray(self._act(params, self._flat(obs), noise))

        for first in range(0, config.judge_episodes, env.num_envs):
            count = min(env.num_envs, config.judge_episodes - first)
            env.halt()
            env.begin(episode_keys(config.seed, "train", HELD_OUT + first, count), np.arange(count))
            outcomes, reward = self._rewarded(act, env.observe())
            success.append(outcomes.success[:count])
            rewards.append(reward[:count])
        won, total = np.concatenate(success), np.concatenate(rewards).sum()
        # Of equals the later one: it has learned more.
        if total >= self._state.best.reward:
            best = _Best(net, np.array(float(total)), self._state.iteration)
            self._state = self._state._replace(best=best)
        return wilson(int(won.sum()), len(won)), float(total / len(won))

    # ---- checkpoints ----

    def _params(self, net: Any) -> Params:
        return {**self._fixed, "net": net}

    def _save(self, folder: Path, metrics: list[dict[str, Any]]) -> None:
        write_lines(folder / "metrics.jsonl", metrics)
        save_tree(folder / "checkpoint.npz", self._state)

    def _resume(self, folder: Path) -> list[dict[str, Any]]:
        if not (folder / "checkpoint.npz").exists():
            return []
        self._state = load_tree(folder / "checkpoint.npz", self._state)
        rows = read_lines(folder / "metrics.jsonl")
        return [row for row in rows if row["iteration"] <= self._state.iteration]
