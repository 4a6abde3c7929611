"""Judging: success rates with intervals and times to success, on seeds that nothing was trained on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt32

from regrasp.envs import BatchEnv, Executor, episode_keys, role_key
from regrasp.errors import InputError
from regrasp.progress import Progress
from regrasp.rl.demonstrate import seeds
from regrasp.rl.experts import Expert
from regrasp.rl.rollout import Outcomes, Track, rollout, times_s
from regrasp.rl.stats import Mean, Rate, mean_of, wilson


class ChunkPolicy(Protocol):
    """What can be judged: chunks from observations and noise, for all rows at once.

    Where `continued` is asked for, `chunks` takes what is pending and how far it binds as well, and `gain`
    says how far: see `Runner`.
    """

    @property
    def noise_size(self) -> int: ...

    def chunks(
        self,
        obs: dict[str, Float32[np.ndarray, "rows _"]],
        noise: Float32[np.ndarray, "rows noise"],
    ) -> Float32[np.ndarray, "rows chunk action"]: ...


class Playable(Protocol):
    """What says how its chunks are played: a bundle's runner."""

    @property
    def chunk(self) -> int: ...
    @property
    def execute(self) -> int: ...
    @property
    def ensemble(self) -> float | None: ...


@dataclass(frozen=True)
class PlayConfig:
    """How the chunks of a policy are played."""

    execute: int = 0
    """Actions of a chunk that are played before the next; 0: as the policy says."""
    delay_ms: float = 0.0
    """Time from an observation to the first action that can follow from it: the policy's thinking."""
    continued: bool = False
    """Tell the policy what is played meanwhile, so that its chunks go on from it (real-time chunking); the
    newest is then played alone, unless ensemble is given."""
    ensemble: float | None = None
    """Play means of overlapping chunks, older ones with a weight larger by exp(this) each (ACT: 0.01); None:
    as the policy says."""
    newest: bool = False
    """Play the newest chunk alone, whatever the policy says; all of it, if execute is as long as it is."""
    speed: float = 1.0
    """Play chunks this many times faster than they were meant."""
    lag_ms: float = 0.0
    """By how much servos trail; played faster, commands run ahead of them by more."""

    def executor(self, policy: Playable, dt_s: float) -> Executor:
        """For the chunks of a policy.

        Raises:
            InputError: chunks are too short for this, or a delay is no whole number of control steps.
        """
        if self.newest and self.ensemble is not None:
            raise InputError(f"newest with ensemble {self.ensemble}: choose either")
        ensemble = self.ensemble
        if ensemble is None and not (self.newest or self.continued):
            ensemble = policy.ensemble
        delay = self.delay_ms / 1000 / dt_s
        if not (0 <= delay < np.inf and abs(delay - round(delay)) <= 1e-6):
            raise InputError(f"delay_ms {self.delay_ms}: choose a multiple of {1000 * dt_s:.3g}")
        if self.continued and self.speed != 1:
            raise InputError(f"continued with speed {self.speed}: choose either")
        lead = self.lag_ms / 1000 / dt_s
        most = Executor(policy.chunk, 1, 0, ensemble, self.speed, lead).length - round(delay)
        execute = self.execute or max(1, min(policy.execute, most))
        return Executor(policy.chunk, execute, round(delay), ensemble, self.speed, lead)


@dataclass(frozen=True)
class Evaluation:
    """How a policy did."""

    policy: str
    task: str
    physics: str
    """nominal or table."""
    seed: int
    horizon_s: float
    success: Bool[np.ndarray, " episodes"]
    times_s: Float[np.ndarray, " episodes"]
    """Time to success; failures count as the horizon."""
    noise: float = 1.0
    """Scale of the noise that chunks were made from; a teacher has none."""
    metrics: Mapping[str, Float[np.ndarray, " episodes"]] = field(default_factory=dict)
    """What the task reports beside, of each episode's last step."""

    @property
    def means(self) -> dict[str, Mean]:
        """The metrics, over the episodes."""
        return {name: mean_of(values) for name, values in self.metrics.items()}

    @property
    def rate(self) -> Rate:
        return wilson(int(self.success.sum()), len(self.success))

    @property
    def median_time_s(self) -> float:
        return float(np.median(self.times_s))

    def to_json(self) -> dict[str, Any]:
        """Plain data; the first five entries of a rate are those of `Rate`."""
        return {
            "policy": self.policy,
            "task": self.task,
            "physics": self.physics,
            **self.rate._asdict(),
            "median_time_s": round(self.median_time_s, 4),
            "horizon_s": self.horizon_s,
            "seed": self.seed,
            "noise": self.noise,
            "times_s": [round(float(t), 4) for t in self.times_s],
            "success": [bool(s) for s in self.success],
            "means": {
                name: dict(zip(mean._fields, map(_plain, mean), strict=True))
                for name, mean in self.means.items()
            },
            "metrics": {name: list(map(_plain, values)) for name, values in self.metrics.items()},
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Evaluation":
        """Read what `to_json` made.

        Raises:
            InputError: something is missing.
        """
        try:
            names = ("policy", "task", "physics", "seed", "horizon_s")
            return cls(
                **{name: data[name] for name in names},
                noise=float(data.get("noise", 1.0)),
                success=np.array(data["success"], bool),
                times_s=np.array(data["times_s"], float),
                metrics={
                    name: np.array(values, float)
                    for name, values in data.get("metrics", {}).items()
                },
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"an evaluation lacks {error}: delete it and judge again") from None

    def __str__(self) -> str:
        beside = "".join(f"  {name} {mean}" for name, mean in self.means.items())
        took = f"median {self.median_time_s:.2f} s"
        return f"{self.policy:<13} {self.physics:<8} {self.rate!s:<34} {took}{beside}"


def _plain(value: float) -> float | None:
    """A number as JSON has it."""
    return float(value) if np.isfinite(value) else None


def evaluate(
    env: BatchEnv,
    policy: ChunkPolicy | Expert,
    *,
    episodes: int,
    seed: int,
    labels: tuple[str, str, str],
    noise: float = 1.0,
    continued: bool = False,
    progress: Progress = lambda done, total, note: None,
) -> Evaluation:
    """Run episodes of the role `evaluate`, as many at a time as the environment has rows.

    Args:
        env: autoreset DISABLED, with the policy's executor.
        policy: a chunk policy, or a scripted teacher.
        episodes: how many.
        seed: of starts, physics and policy noise. The same seed gives every policy the same starts.
        labels: policy, task and physics, as the result will carry them.
        noise: scale of what chunks are made from; 0: the same chunk for the same observation.
        continued: tell the policy what will be played before its chunk can be.
        progress: called after every batch.

    Raises:
        InputError: fewer than one episode.
    """
    if episodes < 1:
        raise InputError(f"episodes {episodes}: choose 1 or more")
    success, times, metrics = [], [], []
    for first in range(0, episodes, env.num_envs):
        keys = episode_keys(seed, "evaluate", first, env.num_envs)
        outcomes = play_episodes(env, policy, keys, seed, first, noise=noise, continued=continued)
        success.append(outcomes.success)
        times.append(times_s(outcomes, env.task.control_dt_s, env.task.horizon_s))
        metrics.append(outcomes.metrics)
        progress(
            min(first + env.num_envs, episodes),
            episodes,
            f"{np.concatenate(success)[:episodes].mean():.0%}",
        )
    name, task, physics = labels
    return Evaluation(
        policy=name,
        task=task,
        physics=physics,
        seed=seed,
        horizon_s=env.task.horizon_s,
        noise=noise,
        success=np.concatenate(success)[:episodes],
        times_s=np.concatenate(times)[:episodes],
        metrics={
            name: np.concatenate([part[name] for part in metrics])[:episodes]
            for name in env.metrics
        },
    )


def play_episodes(
    env: BatchEnv,
    policy: Any,
    keys: UInt32[Any, "rows 2"],
    seed: int,
    first: int,
    on_step: Callable[[int], None] | None = None,
    noise: float = 1.0,
    continued: bool = False,
) -> Outcomes:
    """Play the episodes of these keys to their ends, one per row.

    Args:
        env: as for `evaluate`.
        policy: a chunk policy or a teacher.
        keys: raw episode keys.
        seed: of the policy's noise.
        first: number of the first episode, which the noise depends on too.
        on_step: called after every control step with its number.
        noise: scale of what chunks are made from.
        continued: tell the policy what will be played before its chunk can be.
    """
    env.begin(keys)
    if hasattr(policy, "start"):
        return _teach(env, policy, np.asarray(keys), on_step)
    key = jax.random.fold_in(jax.random.fold_in(role_key(seed, "evaluate"), 2**31), first)

    def act(obs: dict[str, np.ndarray], decision: int) -> np.ndarray:
        drawn = jax.random.normal(
            jax.random.fold_in(key, decision), (env.num_envs, policy.noise_size)
        )
        if not continued:
            return policy.chunks(obs, noise * np.asarray(drawn))
        pending, some = env.pending
        gain = policy.gain(env.executor.delay, env.executor.chunk - env.executor.execute)
        return policy.chunks(obs, noise * np.asarray(drawn), pending, some[:, None, None] * gain)

    return rollout(env, act, env.observe(), on_step)


def _teach(
    env: BatchEnv, teacher: Any, keys: np.ndarray, on_step: Callable[[int], None] | None
) -> Outcomes:
    """A teacher acts at every step on what it truly sees."""
    teacher.start(env.view(), seeds(keys))
    track = Track(env)
    for step in range(env.horizon):
        if env.done.all():
            break
        track.step(env.step(teacher.act(step, env.view())))
        if on_step is not None:
            on_step(step)
    return track.outcomes()
