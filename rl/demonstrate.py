"""Demonstrating: a scripted expert collects successful episodes, and every attempt is counted."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from gymnasium.vector import AutoresetMode
from jaxtyping import Float32, Int, UInt32

from regrasp.assets import ALOHA
from regrasp.envs import BatchEnv, Randomizer, Snapshot, View, episode_keys, load_task
from regrasp.errors import InputError
from regrasp.progress import Progress
from regrasp.randomization import randomizer_for
from regrasp.rl.episodes import Episode, EpisodeWriter, Header
from regrasp.rl.experts import Expert, load_expert
from regrasp.rl.stats import Rate, wilson

ROLE = "demonstrate"
BATCH = 128
"""Most attempts at once; the data set does not depend on it."""
PATIENCE = 10
"""Attempts per wanted episode before the expert is given up."""

FAR_M = 0.005
"""A pose that an arm misses by more is out of its reach."""


@dataclass(frozen=True)
class DemonstrateConfig:
    """What is demonstrated. The data set is a function of the task and of these alone."""

    episodes: int = 100
    """Successful episodes to collect."""
    seed: int = 0
    """Of starts, randomisation, noise and of the expert's slips."""
    randomize: str = "table"
    """What differs between episodes: table (the task's own) or nominal."""
    manner: str = "human"
    """How the expert moves: human (with slips and pauses) or flawless."""
    threads: int = 0
    """Of the engine; 0: one per core. The data set does not depend on it."""

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.threads < 0:
            raise InputError(
                f"episodes {self.episodes} and threads {self.threads}: "
                "choose episodes >= 1 and threads >= 0"
            )


@dataclass(frozen=True)
class Attempt:
    """How one attempt of the expert ended."""

    number: int
    """Which episode of the seed it is."""
    outcome: str
    """success, failure, timeout or unstable."""
    time_s: float
    """From the start to the end of the episode."""


@dataclass(frozen=True)
class DemonstrationResult:
    """Every attempt, in the order of the episodes' keys; the successful ones are on disk."""

    path: Path
    attempts: tuple[Attempt, ...]

    @property
    def successes(self) -> int:
        return len(self.times_s)

    @property
    def rate(self) -> Rate:
        """How often the expert succeeds, with its 95 % interval."""
        return wilson(self.successes, len(self.attempts))

    @property
    def times_s(self) -> tuple[float, ...]:
        """Times of the successful attempts: of episode 0, 1, ..."""
        return tuple(a.time_s for a in self.attempts if a.outcome == "success")

    def to_json(self) -> dict[str, Any]:
        """As plain data: also kept as `Episodes.meta["demonstrations"]`."""
        return {
            **self.rate._asdict(),
            "attempts": len(self.attempts),
            "median_time_s": float(np.median(self.times_s)) if self.times_s else None,
            "times_s": list(self.times_s),
            "outcomes": [asdict(attempt) for attempt in self.attempts],
        }


def demonstrate(
    task: str,
    path: str | Path,
    config: DemonstrateConfig | None = None,
    progress: Progress = lambda done, total, note: None,
    *,
    randomizer: Randomizer | None = None,
    expert: Expert | None = None,
    meta: Mapping[str, Any] | None = None,
    workcell: str = ALOHA,
) -> DemonstrationResult:
    """Collect successful demonstrations and write them as `Episodes`, whole or not at all.

    Attempts are those of the seed's episodes 0, 1, 2, ... in order, until enough have succeeded.
    An interrupted run leaves nothing behind and is quick enough to be started again.

    Args:
        task: a task's name.
        path: the folder to write; an older set of episodes there is replaced.
        config: how many, and of what.
        progress: told how many episodes are on disk, of how many, and what is going on.
        randomizer: in place of the one that `config.randomize` names, such as a `Table`.
        expert: in place of the task's own.
        meta: more provenance, as plain data.
        workcell: whose arms do it.

    Raises:
        InputError: an unknown name, a folder that cannot be written, or an expert that hardly ever
            succeeds.
    """
    config = config or DemonstrateConfig()
    doing = load_task(task, workcell)
    expert = expert or load_expert(task, config.manner, doing)
    chosen = randomizer or randomizer_for(task, config.randomize, workcell)
    env = BatchEnv(
        doing,
        min(BATCH, config.episodes),
        randomizer=chosen,
        threads=config.threads,
        autoreset=AutoresetMode.DISABLED,
    )
    header = _header(env, task, config, chosen, expert, meta or {})
    with EpisodeWriter.to(path, header) as writer:
        attempts = _collect(env, expert, config, writer, progress)
        result = DemonstrationResult(Path(path), tuple(attempts))
        writer.header.meta["demonstrations"] = result.to_json()
    return result


def _header(
    env: BatchEnv,
    task: str,
    config: DemonstrateConfig,
    randomizer: Randomizer,
    expert: Expert,
    meta: Mapping[str, Any],
) -> Header:
    table = getattr(randomizer, "to_json", list)()
    # Which manner it is says the expert, which need not be the config's.
    kept = {n: value for n, value in asdict(config).items() if n not in ("threads", "manner")}
    return Header.of(
        env,
        task,
        role=ROLE,
        seed=config.seed,
        table=table,
        manner=asdict(expert.manner),
        config=kept,
        **meta,
    )


def _collect(
    env: BatchEnv,
    expert: Expert,
    config: DemonstrateConfig,
    writer: EpisodeWriter,
    progress: Progress,
) -> list[Attempt]:
    """Attempt as many episodes as are missing, until none is."""
    attempts: list[Attempt] = []
    stored = 0
    while stored < config.episodes:
        if len(attempts) >= PATIENCE * config.episodes:
            miss_m = getattr(expert, "miss_m", 0.0)
            far = (
                f" (it wanted poses up to {1000 * miss_m:.0f} mm out of reach)"
                if miss_m > FAR_M
                else ""
            )
            raise InputError(
                f"{stored} of {len(attempts)} attempts succeeded, too few to go on{far}: narrow the table, "
                "or show the task otherwise"
            )
        # As many as are missing, and those that will fail: the last ones may be played in vain.
        rate = (stored + 1) / (len(attempts) + 1)
        count = min(env.num_envs, math.ceil((config.episodes - stored) / rate))
        keys = np.asarray(episode_keys(config.seed, ROLE, len(attempts), count))

        def note(step: int, first: int = stored) -> None:
            progress(first, config.episodes, f"step {step} of at most {env.horizon}")

        env.begin(keys, np.arange(count))
        expert.start(first_rows(env.view(), count), seeds(keys))
        played = record(env, expert.act, count, note)
        for row in range(count):
            if stored == config.episodes:
                break
            attempts.append(played.attempt(row, len(attempts), env.task.control_dt_s))
            if attempts[-1].outcome == "success":
                writer.add(*played.episode(row))
                stored += 1
                progress(stored, config.episodes, "writing")
    return attempts


@dataclass(frozen=True)
class Played:
    """A batch of episodes: observations, actions and states before every step, time first."""

    obs: dict[str, np.ndarray]
    action: np.ndarray
    snapshots: list[Snapshot]
    """Without their fields, which do not change during an episode."""
    fields: Mapping[str, np.ndarray]
    steps: Int[np.ndarray, " rows"]
    outcome: list[str]

    def attempt(self, row: int, number: int, dt_s: float) -> Attempt:
        return Attempt(number, self.outcome[row], round(float(self.steps[row] * dt_s), 6))

    def episode(self, row: int) -> tuple[Episode, Snapshot]:
        """One row's episode, and its states as one stack."""
        steps = int(self.steps[row])
        obs = {name: values[:steps, row] for name, values in self.obs.items()}
        states = Snapshot.concatenate([stack[row] for stack in self.snapshots[:steps]])
        fields = {name: np.repeat(a[row][None], steps, axis=0) for name, a in self.fields.items()}
        success = self.outcome[row] == "success"
        return Episode(obs, self.action[:steps, row], success), replace(states, fields=fields)


def record(
    env: BatchEnv,
    act: Callable[[int, View], Float32[np.ndarray, "rows action"]],
    count: int,
    note: Callable[[int], None] = lambda step: None,
) -> Played:
    """Play from where the first rows stand to their ends, keeping every state; other rows have finished.

    Args:
        env: with autoreset DISABLED.
        act: the actions of these rows, from the number of the step and what is true of them.
        count: how many rows.
        note: told the number of the step now and then.
    """
    rows = np.arange(count)
    obs, fields = env.observe(), env.take(rows).fields
    seen, done, kept = [], [], []
    steps, outcome = np.zeros(len(rows), int), ["timeout"] * len(rows)
    for step in range(env.horizon):
        running = ~env.done[rows]
        if not running.any():
            break
        action = np.zeros((env.num_envs, env.workcell.action_size), np.float32)
        action[rows] = act(step, first_rows(env.view(), len(rows)))
        seen.append({name: values[rows] for name, values in obs.items()})
        done.append(action[rows])
        kept.append(replace(env.take(rows), fields={}))
        obs, _, terminated, _, info = env.step(action)
        steps += running
        for row in np.flatnonzero(running & terminated[rows]):
            named = (n for n in ("success", "unstable") if info[n][row])
            outcome[row] = next(named, "failure")
        if step % 20 == 0:
            note(step)
    joined = {name: np.stack([one[name] for one in seen]) for name in seen[0]}
    return Played(joined, np.stack(done), kept, fields, steps, outcome)


def seeds(keys: UInt32[np.ndarray, "rows 2"]) -> Int[np.ndarray, " rows"]:
    """The expert's own seed for each episode: 63 bits of the episode's key."""
    high, low = np.asarray(keys).astype(np.uint64).T
    return ((high << np.uint64(31)) | (low >> np.uint64(1))).astype(np.int64)


def first_rows(view: View, count: int) -> View:
    """The view of the first rows."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:count], view)
