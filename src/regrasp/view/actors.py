"""Who acts in a view: an expert, an exported policy, a recording, or you.

Every actor drives all rows of an environment. What it must remember to go on from a kept state is its
memory, which many rows can share: that is how a scripted expert, whose script cannot be copied, is forked.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np

from regrasp.assets import ALOHA, Workcell
from regrasp.envs import BatchEnv, Executor, Task, View, load_task
from regrasp.errors import InputError
from regrasp.rl.bundle import load_bundle, workcell_of
from regrasp.rl.demonstrate import seeds
from regrasp.rl.evaluate import PlayConfig
from regrasp.rl.experts import load_expert
from regrasp.rl.runner import Runner
from regrasp.sim2real import Log
from regrasp.sim2real.law import in_force

ONE = Executor(1, 1)
"""For those who say one action at a time."""
Stepped = tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict]
"""What `BatchEnv.step` returns."""


class Actor(Protocol):
    """Drives all rows of an environment."""

    name: str
    executor: Executor
    """How its chunks are played."""

    def start(self, env: BatchEnv, keys: np.ndarray) -> None:
        """Begin the episodes of these keys, in all rows."""
        ...

    def step(self, env: BatchEnv, step: int) -> Stepped:
        """One control step, of this number in its episode."""
        ...

    def memory(self) -> Any:
        """What `recall` needs of the past; it never changes afterwards."""
        ...

    def recall(self, env: BatchEnv, memory: Any) -> None:
        """Go on, in all rows, from a kept state and from what was remembered with it."""
        ...

    def another(self, noise: float | None = None) -> "Actor":
        """Another of its kind, for another environment; it may act with another scale of noise."""
        ...


@dataclass(frozen=True)
class Story:
    """What an expert has seen of one row."""

    seed: int
    """Of its slips and pauses."""
    begun: View
    seen: tuple[View, ...]
    """At every step so far."""


class Teacher:
    """A task's scripted expert. Told the same story again, it is where it was."""

    name, executor = "expert", ONE

    def __init__(self, task: str, manner: str = "human", workcell: str = ALOHA):
        self._made = task, manner, workcell
        self._expert = load_expert(task, manner, load_task(task, workcell))
        self._seed, self._begun, self._seen = 0, None, []

    def start(self, env: BatchEnv, keys: np.ndarray) -> None:
        found, view = seeds(keys), _look(env)
        self._expert.start(view, found)
        self._seed, self._begun, self._seen = int(found[0]), _row(view, 0), []

    def step(self, env: BatchEnv, step: int) -> Stepped:
        view = _look(env)
        action = self._expert.act(len(self._seen), view)
        self._seen.append(_row(view, 0))
        return env.step(action)

    def memory(self) -> Story | None:
        return None if self._begun is None else Story(self._seed, self._begun, tuple(self._seen))

    def recall(self, env: BatchEnv, memory: Story | None) -> None:
        if memory is None:
            raise InputError(
                "the expert cannot go on from the middle of an episode that it did not see begin: "
                "choose a policy, or drive yourself"
            )
        rows = env.num_envs
        self._expert.start(_rows(memory.begun, rows), np.full(rows, memory.seed))
        for step, view in enumerate(memory.seen):
            self._expert.act(step, _rows(view, rows))
        self._seed, self._begun, self._seen = memory.seed, memory.begun, list(memory.seen)

    def another(self, noise: float | None = None) -> "Teacher":
        return Teacher(*self._made)


class Follower:
    """An exported policy, played as its bundle says. What it remembers is in the state itself."""

    name = "policy"

    def __init__(self, runner: Runner, doing: Task, seed: int = 0, noise: float | None = None):
        self.executor = PlayConfig().executor(runner, doing.control_dt_s)
        self.noise = runner.noise if noise is None else noise
        """Scale of what chunks are made from."""
        self._runner, self._doing, self._seed = runner, doing, seed

    def start(self, env: BatchEnv, keys: np.ndarray) -> None:
        del env, keys

    def step(self, env: BatchEnv, step: int) -> Stepped:
        if env.due.any():
            # By the number of the step, so that a restored moment has the future that it had.
            rng = np.random.default_rng([self._seed, step])
            drawn = rng.standard_normal((env.num_envs, self._runner.noise_size))
            env.load(self._runner.chunks(env.observe(), self.noise * drawn))
        return env.play()

    def memory(self) -> None:
        return None

    def recall(self, env: BatchEnv, memory: Any) -> None:
        del env, memory

    def another(self, noise: float | None = None) -> "Follower":
        noise = self.noise if noise is None else noise
        return Follower(self._runner, self._doing, self._seed + 1, noise)


class Replayer:
    """The commands of a recording of both arms, at their times; after its end the last one is held."""

    executor = ONE

    def __init__(self, log: Log, workcell: Workcell):
        """Refuse a recording of other arms.

        Raises:
            InputError: its joints are not the workcell's, or it holds no commands.
        """
        if log.joints != workcell.action_names:
            raise InputError(
                f"log {log.name} is of {', '.join(log.joints)}, not of the two arms of {workcell.name}"
            )
        log.check_commands()
        self.name, self.log, self._workcell = log.name, log, workcell

    def start(self, env: BatchEnv, keys: np.ndarray) -> None:
        del env, keys

    def step(self, env: BatchEnv, step: int) -> Stepped:
        time_s = np.array([step * env.task.control_dt_s])
        command = self.log.cmd[in_force(self.log.t - self.log.t[0], time_s)]
        return env.step(np.repeat(command.astype(np.float32), env.num_envs, axis=0))

    def memory(self) -> None:
        return None

    def recall(self, env: BatchEnv, memory: Any) -> None:
        del env, memory

    def another(self, noise: float | None = None) -> "Replayer":
        return Replayer(self.log, self._workcell)


def load_actor(task: str, policy: str, seed: int = 0, workcell: str = ALOHA) -> Actor:
    """Who acts under this name: the expert, or a bundle. You yourself are a `Leader`.

    Raises:
        InputError: there is no such bundle, or it is of another task or workcell.
    """
    if policy == "expert":
        return Teacher(task, workcell=workcell)
    return Follower(bundle_for(task, policy, workcell), load_task(task, workcell), seed)


def load_filmed(task: str, policy: str, workcell: str = ALOHA) -> tuple[Any, Executor]:
    """The same for `film`, and how its chunks are played.

    Raises:
        InputError: as for `load_actor`.
    """
    doing = load_task(task, workcell)
    if policy == "expert":
        return load_expert(task, doing=doing), ONE
    runner = bundle_for(task, policy, workcell)
    return runner, PlayConfig().executor(runner, doing.control_dt_s)


def bundle_for(task: str, where: str, workcell: str = ALOHA) -> Runner:
    """A bundle, if it is of this task and of these arms.

    Raises:
        InputError: there is none, or it is of others.
    """
    runner = load_bundle(where)
    own = str(runner.meta.get("task"))
    workcell_of(runner, workcell)
    if own != task:
        raise InputError(
            f"bundle {where} does {own!r}, not {task!r}: view {own}, or choose another"
        )
    return runner


def _look(env: BatchEnv) -> View:
    return jax.tree.map(np.asarray, env.view())


def _row(view: View, row: int) -> View:
    return jax.tree.map(lambda leaf: np.array(leaf[row]), view)


def _rows(view: View, count: int) -> View:
    """One row's view, seen by many."""
    return jax.tree.map(lambda leaf: np.repeat(leaf[None], count, axis=0), view)
