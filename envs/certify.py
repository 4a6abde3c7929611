"""Whether a kept state gives the same future, bit for bit, under given actions: on every engine.

Physics, latency and noise are randomised; what is compared is the engine's full state of every row
after every control step.
"""

import contextlib
import multiprocessing
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from gymnasium.vector import AutoresetMode
from jaxtyping import Float32, Float64

from regrasp.assets import ALOHA, load_workcell
from regrasp.envs.batch_env import BatchEnv
from regrasp.envs.certificate import HEADS, Certificate, Certificates
from regrasp.envs.divergence import Growth, nudged, of_copies, of_nudge, play
from regrasp.envs.keys import episode_keys
from regrasp.envs.snapshot import Snapshot, fingerprint
from regrasp.envs.targets import random_targets
from regrasp.envs.tasks import TASKS, able
from regrasp.envs.world import WORLDS
from regrasp.errors import InputError, check_positive, unknown
from regrasp.progress import Progress

States = Float64[np.ndarray, "steps rows nstate"]
Make = Callable[..., BatchEnv]
"""Makes a randomised environment: (task, rows, *, backend, threads, autoreset, workcell); can be pickled."""
EXACT = ("cpu",)
"""Engines that promise exactness."""
THREADED = ("cpu",)
"""Engines whose threads can be chosen."""
SPOTS = 3
"""Rows that are also played one at a time."""
NOTICED_RAD = {"cpu": 1e-9}
"""How small a difference of the start must be noticed; `FLOAT32_RAD` by engines not named."""
FLOAT32_RAD = 1e-6
CANNOT_RUN = (InputError, RuntimeError, NotImplementedError, ImportError)
"""What making an environment raises where an engine cannot be used."""


@dataclass(frozen=True)
class CertifyConfig:
    """What to certify, and on how much."""

    tasks: tuple[str, ...] = ()
    """Names of tasks; all that can be done in the workcell if none is given."""
    backends: tuple[str, ...] = ()
    """Names of engines; all that can be used here if none is given."""
    rows: int | None = None
    """Simulations, at least 3; by default 64, or 4 where a program for an accelerator runs on the CPU."""
    steps: int | None = None
    """Control steps compared, as many as are played before; by default 60, or 20 likewise."""
    seconds: float = 2.0
    """How long copies of one state are watched coming apart."""
    seed: int = 0
    workcell: str = ALOHA
    """Whose arms do them: aloha, so101, or a table's FILE.json."""

    def check(self) -> None:
        """Refuse what cannot be certified.

        Raises:
            InputError: names the setting and the choices.
        """
        for kind, names, known in (
            ("task", self.tasks, TASKS),
            ("backend", self.backends, WORLDS),
        ):
            for name in names:
                if name not in known:
                    raise unknown(kind, name, known)
        cell = load_workcell(self.workcell)
        for name in self.tasks:
            cell.figures(name)
        if self.rows is not None and self.rows < SPOTS:
            raise InputError(f"rows {self.rows}: choose {SPOTS} or more")
        if self.steps is not None and self.steps < 2:
            raise InputError(f"steps {self.steps}: choose 2 or more")
        check_positive(self, ("seconds",))

    def size(self, backend: str) -> tuple[int, int]:
        """Rows and steps on this engine."""
        slow = backend != "cpu" and jax.default_backend() == "cpu"
        rows, steps = (4, 20) if slow else (64, 60)
        return self.rows or rows, self.steps or steps


def certify(
    config: CertifyConfig, make: Make, progress: Progress = lambda *_: None
) -> Certificates:
    """Try every task on every engine.

    Args:
        config: which, and how much of it.
        make: makes the environments, randomised as is to be certified.
        progress: told how many checks of how many are done, and what comes next.

    Raises:
        InputError: an unknown name, a number out of range, or an engine asked for by name that
            cannot be used here.
    """
    config.check()
    tasks = config.tasks or able(config.workcell)
    pairs = [(t, b) for t in tasks for b in config.backends or WORLDS]
    each, found = len(HEADS) + 2, []
    for i, (task, backend) in enumerate(pairs):

        def tell(done: int, what: str, before: int = i * each, at: str = f"{task}, {backend}"):
            progress(before + done, len(pairs) * each, f"{at}: {what}")

        try:
            found.append(one(config, task, backend, make, tell))
        except _Unavailable as error:
            if backend in config.backends:
                raise InputError(f"{backend} cannot be used here: {error}") from error
            found.append(Certificate(task, backend, False, unavailable=str(error)))
    progress(len(pairs) * each, len(pairs) * each, "")
    return Certificates(tuple(found))


def one(
    config: CertifyConfig,
    task: str,
    backend: str,
    make: Make,
    tell: Callable[[int, str], None] = lambda *_: None,
) -> Certificate:
    """One task on one engine."""
    tell(0, "start")
    checks = Checks(config, task, backend, make)
    held: dict[str, bool | None] = {}
    for done, name in enumerate(HEADS, 1):
        tell(done, name.replace("_", " "))
        applies = name != "two_threads" or backend in THREADED
        held[name] = getattr(checks, name)() if applies else None
    tell(len(held) + 1, "how fast copies come apart")
    growth = checks.growth(exact=all(value is not False for value in held.values()))
    rows, steps = config.size(backend)
    return Certificate(task, backend, backend in EXACT, device(backend), rows, steps, held, growth)


class Checks:
    """One reference run, and the ways in which it must repeat: a method for each of `HEADS`."""

    def __init__(self, config: CertifyConfig, task: str, backend: str, make: Make):
        self._config, self._backend = config, backend
        self._rows, self._steps = config.size(backend)
        self._build = partial(
            make,
            task,
            backend=backend,
            autoreset=AutoresetMode.DISABLED,
            seed=config.seed,
            workcell=config.workcell,
        )
        self._env = self._started()
        self._source = random_targets(self._env, np.random.default_rng(config.seed))
        self._warm_up()
        self._kept = self._env.take()
        self._actions = self._more_actions(self._steps)
        self._truth = play(self._env, self._actions)
        self._spots = np.linspace(0, self._rows - 1, SPOTS).astype(int)

    def same_again(self) -> bool:
        self._env.restore(self._kept)
        return self._same(play(self._env, self._actions))

    def two_threads(self) -> bool:
        threaded = self._build(self._rows, threads=2)
        threaded.restore(self._kept)
        return self._same(play(threaded, self._actions))

    def other_rows(self) -> bool:
        """Every row elsewhere."""
        circle = np.random.default_rng(1).permutation(self._rows)
        order = np.empty_like(circle)
        order[circle] = np.roll(circle, 1)
        self._env.restore(self._kept[order])
        states = play(self._env, self._actions[:, order])
        return np.array_equal(states, self._truth[:, order])

    def batch_of_one(self) -> bool:
        return all(self._alone(int(row)) for row in self._spots)

    def saved_and_loaded(self) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "kept.npz"
            self._kept.save(path)
            self._env.restore(Snapshot.load(path))
        return self._same(play(self._env, self._actions))

    def another_process(self) -> bool:
        """Also not if the model built there is another."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "kept.npz"
            self._kept.save(path)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                job = pool.submit(play_file, self._build, path, self._actions)
                try:
                    return self._same(job.result())
                except InputError:
                    return False

    def taking_changes_nothing(self) -> bool:
        self._env.restore(self._kept)
        for step, action in enumerate(self._actions):
            self._env.step(action)
            if step % 7 == 0:
                self._env.take(step % self._rows)
        return np.array_equal(self._env.take().row, self._truth[-1])

    def restored_on_the_way(self) -> bool:
        """From the middle of the run too. Rows that have finished by then are left out."""
        half = self._steps // 2
        self._env.restore(self._kept)
        play(self._env, self._actions[:half])
        kept, live = self._env.take(), ~self._env.done
        self._env.reset()
        self._env.restore(kept)
        states = play(self._env, self._actions[half:])
        return np.array_equal(states[:, live], self._truth[half:, live])

    def fork_repeats(self) -> bool:
        """Copies of one row all play as that row did."""
        row = int(self._spots[1])
        actions = np.repeat(self._actions[:, [row]], self._rows, axis=1)
        self._env.fork(self._kept[row])
        return bool((play(self._env, actions) == self._truth[:, [row]]).all())

    def derived_fields(self) -> bool:
        """Models rebuilt elsewhere from a snapshot's base fields are the same bytes."""
        self._env.restore(self._kept)
        models = [self._model_of(int(row)) for row in self._spots]
        self._env.restore(self._kept[::-1])
        rebuilt = [self._model_of(self._rows - 1 - int(row)) for row in self._spots]
        return models == rebuilt and len(set(models)) == SPOTS

    def same_key_same_episode(self) -> bool:
        """A key starts the same episode at any row, in any batch."""
        keys = np.asarray(episode_keys(3, "evaluate", 0, self._rows))
        self._env.begin(keys)
        together = self._env.take()
        for row in self._spots:
            self._single.begin(keys[[row]])
            if not equal(self._single.take(0), together[int(row)]):
                return False
        self._env.begin(keys[::-1])
        return equal(self._env.take(), together[::-1])

    def another_start_differs(self) -> bool:
        """The comparison can fail: next to nothing in one joint of the start is noticed."""
        angle_rad = NOTICED_RAD.get(self._backend, FLOAT32_RAD)
        self._env.restore(nudged(self._env, self._kept, angle_rad))
        return bool((play(self._env, self._actions) != self._truth).any((0, 2)).all())

    def growth(self, exact: bool) -> dict[str, Growth]:
        """How fast copies come apart where the engine is not exact; nudged ones, where it promises to be."""
        growth = {}
        actions = self._more_actions(round(self._config.seconds / self._env.task.control_dt_s) or 1)
        if not exact:
            row = int(self._spots[1])
            growth |= of_copies(self._env, self._single, self._kept[row], actions[:, row])
        if self._backend in EXACT:
            growth["1 nrad added"] = of_nudge(self._env, self._kept, actions)
        return growth

    @cached_property
    def _single(self) -> BatchEnv:
        return self._build(1, threads=1)

    def _started(self) -> BatchEnv:
        """The environment, started: where an engine cannot be used, this is where it shows."""
        try:
            env = self._build(self._rows, threads=1)
            env.reset(seed=self._config.seed)
        except CANNOT_RUN as error:
            if self._backend in EXACT:
                raise
            raise _Unavailable(_line(error)) from error
        return env

    def _warm_up(self) -> None:
        """Into the middle of episodes; rows that finish begin others."""
        for _ in range(self._steps):
            self._env.step(next(self._source))
            if self._env.done.any():
                self._env.reset(options={"reset_mask": self._env.done})

    def _more_actions(self, steps: int) -> Float32[np.ndarray, "steps rows action"]:
        return np.array([next(self._source) for _ in range(steps)])

    def _same(self, states: States) -> bool:
        return np.array_equal(states, self._truth)

    def _alone(self, row: int) -> bool:
        self._single.restore(self._kept[row])
        states = play(self._single, self._actions[:, [row]])
        return np.array_equal(states[:, 0], self._truth[:, row])

    def _model_of(self, row: int) -> str:
        return fingerprint(self._env.row_model(row))


class _Unavailable(Exception):
    """An engine cannot be used here; the message says why."""


def play_file(
    build: Callable[..., BatchEnv],
    path: Path,
    actions: Float32[np.ndarray, "steps rows action"],
) -> States:
    """The states from a saved snapshot, in whatever process this runs."""
    with contextlib.redirect_stdout(sys.stderr):
        env = build(actions.shape[1], threads=2)
        env.restore(Snapshot.load(path))
        return play(env, actions)


def equal(a: Snapshot, b: Snapshot) -> bool:
    """Whether two snapshots hold the same bits."""

    def same(mine: Any, theirs: Any) -> bool:
        return mine.keys() == theirs.keys() and all(
            np.array_equal(mine[name], theirs[name]) for name in mine
        )

    return np.array_equal(a.row, b.row) and same(a.carry, b.carry) and same(a.fields, b.fields)


def device(backend: str) -> str:
    """What an engine computes on, in words."""
    if backend != "cpu" and jax.default_backend() != "cpu":
        return jax.devices()[0].device_kind
    return f"{os.cpu_count()} CPU threads, {platform.machine()}"


def _line(error: Exception) -> str:
    """The first line of an error, as far as it may be read in a table's notes."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
