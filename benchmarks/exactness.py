"""Whether a kept state gives the same future, bit for bit, under given actions.

    python -m benchmarks.exactness --rows 256

Exit code 1 if any check fails. Physics, latency and noise are randomised; what is compared is the
engine's full state of every row after every control step.
"""

import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import tyro
from gymnasium.vector import AutoresetMode
from jaxtyping import Float32, Float64

import regrasp
from benchmarks.common import Result, random_targets, report
from regrasp import BatchEnv, Snapshot
from regrasp.envs import episode_keys
from regrasp.envs.snapshot import fingerprint
from regrasp.errors import InputError

States = Float64[np.ndarray, "steps rows nstate"]
SPOTS = 3
"""Rows that are also played one at a time."""


@dataclass(frozen=True)
class Exactness:
    """Check that snapshots are exact."""

    task: str = "transfer_cube"
    rows: int = 256
    before: int = 40
    """Control steps before the snapshot is taken."""
    steps: int = 60
    """Control steps compared."""
    seed: int = 0
    json: bool = False
    """Print one JSON list."""


def build(task: str, rows: int, threads: int) -> BatchEnv:
    """A randomised environment whose finished rows stay as they are."""
    return regrasp.make(
        task, rows, threads=threads, randomize="table", autoreset=AutoresetMode.DISABLED
    )


def play(env: BatchEnv, actions: Float32[np.ndarray, "steps rows action"]) -> States:
    """The engine states after each of these actions."""
    states = []
    for action in actions:
        env.step(action)
        states.append(env.take().row)
    return np.array(states)


def play_file(task: str, rows: int, path: Path, actions: np.ndarray) -> States:
    """The same from a saved snapshot, in whatever process this runs."""
    env = build(task, rows, threads=2)
    env.restore(Snapshot.load(path))
    return play(env, actions)


class Checks:
    """One reference run, and the ways in which it must repeat. Every public method is a check."""

    def __init__(self, config: Exactness):
        self._config = config
        self._env = build(config.task, config.rows, threads=1)
        self._env.reset(seed=config.seed)
        source = random_targets(self._env, np.random.default_rng(config.seed))
        play(self._env, np.array([next(source) for _ in range(config.before)]))
        if self._env.done.any():
            raise InputError(f"an episode ends within {config.before} steps: choose another seed")
        self._kept = self._env.take()
        self._actions = np.array([next(source) for _ in range(config.steps)])
        self._truth = play(self._env, self._actions)
        self._spots = np.linspace(0, config.rows - 1, SPOTS).astype(int)

    @cached_property
    def _single(self) -> BatchEnv:
        return build(self._config.task, 1, threads=1)

    @cached_property
    def _threaded(self) -> BatchEnv:
        return build(self._config.task, self._config.rows, threads=2)

    def another_start_differs(self) -> bool:
        """The comparison can fail: a nanoradian in one joint of the start is noticed."""
        row = self._kept.row.copy()
        row[:, 1] += 1e-9
        self._env.restore(replace(self._kept, row=row))
        return bool((play(self._env, self._actions) != self._truth).any((0, 2)).all())

    def same_again(self) -> bool:
        self._env.restore(self._kept)
        return self._same(play(self._env, self._actions))

    def two_threads(self) -> bool:
        self._threaded.restore(self._kept)
        return self._same(play(self._threaded, self._actions))

    def batch_of_one(self) -> bool:
        return all(self._alone(self._kept[int(i)], int(i)) for i in self._spots)

    def other_rows(self) -> bool:
        order = np.random.default_rng(1).permutation(self._config.rows)
        self._env.restore(self._kept[order])
        states = play(self._env, self._actions[:, order])
        return np.array_equal(states, self._truth[:, order])

    def saved_and_loaded(self) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            self._kept.save(Path(folder) / "kept.npz")
            loaded = Snapshot.load(Path(folder) / "kept.npz")
        self._env.restore(loaded)
        return self._same(play(self._env, self._actions))

    def another_process(self) -> bool:
        config = self._config
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "kept.npz"
            self._kept.save(path)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                job = pool.submit(play_file, config.task, config.rows, path, self._actions)
                return self._same(job.result())

    def taking_changes_nothing(self) -> bool:
        self._env.restore(self._kept)
        for step, action in enumerate(self._actions):
            self._env.step(action)
            if step % 7 == 0:
                self._env.take(step % self._config.rows)
        return np.array_equal(self._env.take().row, self._truth[-1])

    def restored_on_the_way(self) -> bool:
        """From the middle of the run too. Rows that have finished by then are left out."""
        half = self._config.steps // 2
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
        actions = np.repeat(self._actions[:, [row]], self._config.rows, axis=1)
        self._env.fork(self._kept[row])
        return bool((play(self._env, actions) == self._truth[:, [row]]).all())

    def derived_fields(self) -> bool:
        """Models rebuilt elsewhere from a snapshot's base fields are the same bytes."""
        self._env.restore(self._kept)
        models = [fingerprint(self._env.row_model(int(i))) for i in self._spots]
        self._threaded.restore(self._kept[::-1])
        last = self._config.rows - 1
        rebuilt = [fingerprint(self._threaded.row_model(last - int(i))) for i in self._spots]
        return models == rebuilt and len(set(models)) == SPOTS

    def same_key_same_episode(self) -> bool:
        """A key starts the same episode at any row, in any batch."""
        keys = np.asarray(episode_keys(3, "evaluate", 0, self._config.rows))
        self._env.begin(keys)
        together = self._env.take()
        for i in self._spots:
            self._single.begin(keys[[i]])
            if not equal(self._single.take(0), together[int(i)]):
                return False
        self._env.begin(keys[::-1])
        return equal(self._env.take(), together[::-1])

    def _same(self, states: States) -> bool:
        return np.array_equal(states, self._truth)

    def _alone(self, snapshot: Snapshot, row: int) -> bool:
        self._single.restore(snapshot)
        return np.array_equal(
            play(self._single, self._actions[:, [row]])[:, 0], self._truth[:, row]
        )


def equal(a: Snapshot, b: Snapshot) -> bool:
    """Whether two snapshots hold the same bits."""
    return np.array_equal(a.row, b.row) and all(
        mine.keys() == theirs.keys() and all(np.array_equal(mine[n], theirs[n]) for n in mine)
        for mine, theirs in ((a.carry, b.carry), (a.fields, b.fields))
    )


def run(config: Exactness) -> dict[str, bool]:
    """Every check by name, and whether it held."""
    checks = Checks(config)
    return {name: getattr(checks, name)() for name in vars(Checks) if not name.startswith("_")}


def main() -> int:
    config = tyro.cli(Exactness, description=__doc__)
    outcome = run(config)
    if config.json:
        results = [
            Result(f"exact_{name}", float(held), "1", "higher") for name, held in outcome.items()
        ]
        report(results, title="exactness", as_json=True)
    else:
        for name, held in outcome.items():
            print(f"{'pass' if held else 'FAIL'}  {name.replace('_', ' ')}")
    return 0 if all(outcome.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
