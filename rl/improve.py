"""Improvement from identical states: try the same moment many times, keep what worked.

Groups of rollouts start from one kept state each; the only reward is success. A rollout's advantage is its
success minus the mean of the others of its group (leave-one-out; Kool et al., 2019), every decision of a
rollout shares it, and a clipped likelihood ratio bounds the step (Schulman et al., 2017; asymmetric as in
DAPO, Yu et al., 2025). Groups that all succeed or all fail teach nothing and are dropped.
"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from regrasp.envs import BatchEnv, Snapshot, episode_keys
from regrasp.errors import InputError, check_positive
from regrasp.rl.checkpoint import load_tree, save_tree
from regrasp.rl.clone import Progress, read_lines, write_lines
from regrasp.rl.curriculum import Curriculum, CurriculumState
from regrasp.rl.policies.flow import FlowPolicy, Params
from regrasp.rl.policies.flow import Path as FlowPath
from regrasp.rl.rollout import Outcomes, rollout


@dataclass(frozen=True)
class ImproveConfig:
    """How a policy is improved."""

    iterations: int = 100
    """Rounds of rollouts and updates."""
    groups: int = 16
    """Kept states per iteration."""
    tries: int = 16
    """Rollouts from each kept state."""
    sigma: float = 0.15
    """Exploration noise at every integration step, in units of the data's standard deviation."""
    temperature: float = 1.0
    """Scale of the noise that the flow starts from."""
    learning_rate: float = 5e-5
    """Of Adam, at first; it falls to 0 in a straight line."""
    passes: int = 2
    """Times that an iteration's decisions are used."""
    minibatch: int = 1024
    """Decisions in a gradient step."""
    clip_low: float = 0.2
    """The likelihood ratio counts down to 1 - this."""
    clip_high: float = 0.28
    """The likelihood ratio counts up to 1 + this."""
    start_groups: int = 8
    """Groups per iteration that always start where the task starts."""
    checkpoint_every: int = 5
    """Iterations between checkpoints."""
    seed: int = 0
    """Of rollouts, starts and updates."""

    def __post_init__(self) -> None:
        positive = (
            "iterations",
            "groups",
            "sigma",
            "learning_rate",
            "passes",
            "minibatch",
            "checkpoint_every",
        )
        check_positive(self, positive)
        if self.tries < 2 or not 0 <= self.start_groups <= self.groups:
            raise InputError(
                f"tries {self.tries} and start_groups {self.start_groups}: "
                "choose tries >= 2 and 0 <= start_groups <= groups"
            )


class Decisions(NamedTuple):
    """The choices of one iteration, one row per rollout and decision."""

    obs: Float[np.ndarray, "n obs"]
    path: Float[np.ndarray, "n steps_plus_1 latent"]
    advantage: Float[np.ndarray, " n"]


class _Tried(NamedTuple):
    """What one iteration's rollouts brought: per decision and row, but for the outcomes."""

    outcomes: Outcomes
    obs: Float[np.ndarray, "decisions rows obs"]
    paths: Float[np.ndarray, "decisions rows steps_plus_1 latent"]
    running: Bool[np.ndarray, "decisions rows"]


class _State(NamedTuple):
    net: Any
    optimizer: Any
    curriculum: CurriculumState
    iteration: Int[np.ndarray, ""]
    env_steps: Int[np.ndarray, ""]


def leave_one_out(success: Float[np.ndarray, "groups tries"]) -> Float[np.ndarray, "groups tries"]:
    """Each rollout's success minus the mean success of the others of its group."""
    tries = success.shape[1]
    return (success - success.mean(axis=1, keepdims=True)) * tries / (tries - 1)


def informative(success: Float[np.ndarray, "groups tries"]) -> Bool[np.ndarray, " groups"]:
    """Groups in which some succeeded and some failed."""
    return (success.min(axis=1) < 1) & (success.max(axis=1) > 0)


class Improver:
    """Runs the iterations; `run` resumes and ends with the weights of an undisturbed run."""

    def __init__(
        self,
        env: BatchEnv,
        policy: FlowPolicy,
        params: Params,
        moments: Snapshot,
        phases: Any,
        config: ImproveConfig,
    ):
        """Set up.

        Args:
            env: groups * tries rows, autoreset DISABLED, with the policy's executor.
            policy: what is improved.
            params: where it starts.
            moments: kept mid-episode states to start from.
            phases: when in its episode each was kept, 0 (start) to 1.
            config: how.
        """
        self._env, self._policy, self._config = env, policy, config
        self._fixed = {name: value for name, value in params.items() if name != "net"}
        self._moments = env.at_chunk_boundary(moments)
        self._curriculum = Curriculum(np.asarray(phases), config.groups, config.start_groups)
        env.begin(episode_keys(config.seed, "train", 0, env.num_envs))
        self._optimizer = optax.chain(
            optax.clip_by_global_norm(0.5), optax.adam(config.learning_rate)
        )
        self._state = _State(
            params["net"],
            self._optimizer.init(params["net"]),
            self._curriculum.start(),
            np.array(0),
            np.array(0),
        )
        explore = partial(policy.explore, sigma=config.sigma, temperature=config.temperature)
        self._explore = jax.jit(jax.vmap(explore, (None, 0, 0)))
        self._flat = jax.jit(policy.flat)
        self._update = jax.jit(self._update_once)
        self._log_prob = jax.jit(
            jax.vmap(partial(policy.log_prob, sigma=config.sigma), (None, 0, 0))
        )

    def run(self, folder: Path, progress: Progress = lambda done, total, note: None) -> Params:
        """Iterate to the end, writing `params.npz` and `metrics.jsonl`; a finished folder is only read."""
        if (folder / "params.npz").exists():
            return load_tree(folder / "params.npz", {**self._fixed, "net": self._state.net})
        metrics = self._resume(folder)
        started = time.monotonic() - (metrics[-1]["wall_s"] if metrics else 0.0)
        while self._state.iteration < self._config.iterations:
            row = self._iterate()
            metrics.append({**row, "wall_s": round(time.monotonic() - started, 2)})
            done = int(self._state.iteration)
            if done % self._config.checkpoint_every == 0:
                self._save(folder, metrics)
            progress(done, self._config.iterations, f"success {row['success']:.0%}")
        params = {**self._fixed, "net": self._state.net}
        write_lines(folder / "metrics.jsonl", metrics)
        save_tree(folder / "params.npz", params)
        (folder / "checkpoint.npz").unlink(missing_ok=True)
        return params

    # ---- one iteration ----

    def _iterate(self) -> dict[str, Any]:
        config, state = self._config, self._state
        key = jax.random.fold_in(jax.random.key(config.seed), state.iteration)
        choice = self._curriculum.choose(state.curriculum, jax.random.fold_in(key, 0))
        tried = self._try_out(choice.moment, jax.random.fold_in(key, 1))
        outcomes = tried.outcomes
        success = outcomes.success.reshape(config.groups, config.tries).astype(np.float32)
        kept = informative(success)
        advantage = (leave_one_out(success) * kept[:, None]).ravel()
        net, optimizer, shift = self._learn(tried, advantage, jax.random.fold_in(key, 2))
        curriculum = self._curriculum.learn(state.curriculum, choice, success.mean(axis=1))
        self._state = _State(
            net,
            optimizer,
            curriculum,
            state.iteration + 1,
            state.env_steps + outcomes.env_steps,
        )
        at_start = choice.moment < 0
        return {
            "iteration": int(self._state.iteration),
            "env_steps": int(self._state.env_steps),
            "episodes": int(self._state.iteration) * config.groups * config.tries,
            "success": float(success.mean()),
            "informative": float(kept.mean()),
            "start_fraction": float(at_start.mean()),
            "phase": float(choice.phase.mean()),
            "start_rate": float(success[at_start].mean()) if at_start.any() else None,
            "shift": shift,
            "unstable": int(outcomes.unstable.sum()),
        }

    def _try_out(self, moment: Int[np.ndarray, " groups"], key: Array) -> "_Tried":
        """Roll every group out, from the kept states chosen or (-1) from fresh starts of the task."""
        env, params = self._env, {**self._fixed, "net": self._state.net}
        fresh = moment < 0
        stack = self._stack(moment, fresh)
        noise = jax.random.key_data(jax.random.split(jax.random.fold_in(key, 0), env.num_envs))
        start = env.fork(stack, keys=np.asarray(noise))
        seen, paths, running = [], [], []

        def act(obs: dict[str, np.ndarray], decision: int) -> np.ndarray:
            flat = self._flat(obs)
            keys = jax.random.split(jax.random.fold_in(key, decision + 1), env.num_envs)
            chunks, path = self._explore(params, flat, keys)
            seen.append(np.asarray(flat))
            paths.append(np.asarray(path.points))
            running.append(~env.done)
            return np.asarray(chunks)

        outcomes = rollout(env, act, start)
        return _Tried(outcomes, np.array(seen), np.array(paths), np.array(running))

    def _stack(
        self, moment: Int[np.ndarray, " groups"], fresh: Bool[np.ndarray, " groups"]
    ) -> Snapshot:
        """The groups' states, in order."""
        env, config = self._env, self._config
        rows = np.arange(fresh.sum())
        parts = []
        if len(rows):
            first = int(self._state.iteration) * config.groups
            env.begin(episode_keys(config.seed, "train", first, len(rows)), rows)
            parts.append(env.take(rows))
        if len(rows) < config.groups:
            parts.append(self._moments[moment[~fresh]])
        order = np.argsort(np.argsort(~fresh, kind="stable"), kind="stable")
        return Snapshot.concatenate(parts)[order]

    def _learn(self, tried: "_Tried", advantage: np.ndarray, key: Array) -> tuple[Any, Any, float]:
        """Clipped policy-gradient steps on the decisions of informative groups.

        Returns:
            Weights, optimizer state, and the mean squared log-ratio of the last step: how far it moved.
        """
        config, state = self._config, self._state
        keep = tried.running & (advantage != 0)[None]
        net, optimizer, shift = state.net, state.optimizer, 0.0
        if not keep.any():
            return net, optimizer, shift
        data = Decisions(
            tried.obs[keep], tried.paths[keep], np.broadcast_to(advantage, keep.shape)[keep]
        )
        size = config.minibatch
        batches = max(1, len(data.obs) // size)
        old = self._batched_log_prob(data)
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        rate = np.float32(1 - state.iteration / config.iterations)
        for _ in range(config.passes):
            order = np.resize(rng.permutation(len(data.obs)), batches * size)
            for pick in order.reshape(batches, size):
                part = Decisions(*(x[pick] for x in data))
                net, optimizer, shift = self._update(net, optimizer, part, old[pick], rate)
        return net, optimizer, float(shift)

    def _batched_log_prob(self, data: Decisions) -> np.ndarray:
        """Log-likelihoods under the weights that made the choices, in calls of one size."""
        size, n = self._config.minibatch, len(data.obs)
        index = np.resize(np.arange(n), -(-n // size) * size).reshape(-1, size)
        params = {**self._fixed, "net": self._state.net}
        parts = [
            self._log_prob(params, data.obs[i], FlowPath(jnp.asarray(data.path[i]))) for i in index
        ]
        return np.concatenate([np.asarray(p) for p in parts])[:n]

    def _update_once(
        self, net: Any, optimizer: Any, part: Decisions, old: Array, rate: Array
    ) -> tuple[Any, Any, Array]:
        config, policy = self._config, self._policy
        obs, path = jnp.asarray(part.obs), FlowPath(jnp.asarray(part.path))

        def loss(net: Any) -> tuple[Array, Array]:
            params = {**self._fixed, "net": net}
            new = jax.vmap(partial(policy.log_prob, sigma=config.sigma), (None, 0, 0))(
                params, obs, path
            )
            ratio = jnp.exp(new - old)
            clipped = jnp.clip(ratio, 1 - config.clip_low, 1 + config.clip_high)
            advantage = part.advantage[:, None, None]
            gain = jnp.minimum(ratio * advantage, clipped * advantage)
            # Late steps explore little and would only add noise: their say is that of their variance.
            say = policy.fade**2 / np.mean(policy.fade**2)
            return -jnp.mean(gain * say[:, None]), jnp.mean(jnp.sum((new - old), axis=(1, 2)) ** 2)

        gradient, shift = jax.grad(loss, has_aux=True)(net)
        updates, optimizer = self._optimizer.update(gradient, optimizer, net)
        updates = jax.tree.map(lambda update: rate * update, updates)
        return optax.apply_updates(net, updates), optimizer, shift

    # ---- checkpoints ----

    def _save(self, folder: Path, metrics: list[dict[str, Any]]) -> None:
        write_lines(folder / "metrics.jsonl", metrics)
        save_tree(folder / "checkpoint.npz", self._state)

    def _resume(self, folder: Path) -> list[dict[str, Any]]:
        if not (folder / "checkpoint.npz").exists():
            return []
        self._state = load_tree(folder / "checkpoint.npz", self._state)
        rows = read_lines(folder / "metrics.jsonl")
        return [row for row in rows if row["iteration"] <= self._state.iteration]
