"""An exported policy beside its original: how far its chunks are off, and how long one takes on one core.

    python -m benchmarks.export --json

Half of the observations are demonstrated ones; the other half are these with a standard deviation of noise
on every entry, such as no demonstration has. The noise that a chunk is made from is the same for both.
Exit code 1: a target is missed.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import tyro

from benchmarks.common import Result, note, report
from regrasp.envs import Task, load_task
from regrasp.files import read_json
from regrasp.record import from_settings
from regrasp.rl.bundle import export, largest_difference
from regrasp.rl.checkpoint import load_tree
from regrasp.rl.clone import CloneConfig, policy_for
from regrasp.rl.demonstrate import DemonstrateConfig
from regrasp.rl.episodes import Episodes
from regrasp.rl.policies import Params, Policy
from regrasp.rl.runner import Runner
from regrasp.road import Road

MAX_DIFFERENCE_RAD = 1e-5
MAX_P99_MS = 5.0
WARM_UP = 100
BATCH = 1000


@dataclass(frozen=True)
class Export:
    """Compare an exported policy with its original, and time it."""

    run: Path | None = None
    """Folder of a run; without one, a small clone is trained here."""
    task: str = "transfer_cube"
    observations: int = 10_000
    """Chunks compared."""
    calls: int = 2000
    """Chunks timed, one at a time."""
    demos: int = 4
    """Demonstrations of the small clone."""
    updates: int = 500
    """Gradient steps of the small clone."""
    seed: int = 0
    json: bool = False
    """Print one JSON list."""


def small_run(config: Export, folder: Path) -> Path:
    """A run with a small clone in it."""
    road = Road(config.task, config.seed, folder)
    note(f"training a clone on {config.demos} demonstrations")
    road.demos(DemonstrateConfig(episodes=config.demos, seed=config.seed))
    road.clone(CloneConfig(updates=config.updates, seed=config.seed))
    return folder


def trained(task: Task, run: Path) -> tuple[Policy, Params]:
    """The run's improved policy, or its clone."""
    settings = read_json(run / "clone" / "config.json", "settings of a clone")
    policy = policy_for(task, from_settings(CloneConfig, settings))
    like = policy.init(
        jax.random.key(0),
        np.zeros((1, policy.obs_size), np.float32),
        np.zeros((1, policy.noise_size), np.float32),
    )
    improved = run / "improve" / "params.npz"
    found = improved if improved.exists() else run / "clone" / "params.npz"
    note(f"exporting {found}")
    return policy, load_tree(found, like)


def observations(run: Path, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Demonstrated observations, every other one with noise."""
    shown, *_ = Episodes.open(run / "demos").arrays()
    pick = rng.integers(0, len(next(iter(shown.values()))), count)
    noisy = np.arange(count) % 2
    return {
        name: (x[pick] + (noisy * rng.normal(size=(x.shape[1], count))).T * x.std(0)).astype(
            np.float32
        )
        for name, x in shown.items()
    }


def difference_rad(
    policy: Policy, params: Params, runner: Runner, obs: dict[str, np.ndarray], seed: int
) -> float:
    """The largest over all observations."""
    count = len(next(iter(obs.values())))
    keys = jax.random.split(jax.random.key(seed), -(-count // BATCH))
    parts = [{n: x[i : i + BATCH] for n, x in obs.items()} for i in range(0, count, BATCH)]
    return max(
        largest_difference(policy, params, runner, part, key)
        for part, key in zip(parts, keys, strict=True)
    )


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process on one core, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def milliseconds(bundle: Path, obs: dict[str, np.ndarray], calls: int) -> np.ndarray:
    """How long chunks take, one at a time."""
    times = []
    with one_core():
        runner = Runner(bundle, threads=1)
        for call in range(WARM_UP + calls):
            one = {name: x[call % len(x)] for name, x in obs.items()}
            begin = time.perf_counter()
            runner.act(one)
            times.append(time.perf_counter() - begin)
    return 1e3 * np.array(times[WARM_UP:])


def measure(config: Export) -> list[Result]:
    """Export, compare, time."""
    task = load_task(config.task)
    with tempfile.TemporaryDirectory() as temporary:
        run = config.run or small_run(config, Path(temporary) / "run")
        policy, params = trained(task, run)
        bundle = export(policy, params, task, config.task, Path(temporary) / "bundle", {})
        obs = observations(run, config.observations, np.random.default_rng(config.seed))
        off = difference_rad(policy, params, Runner(bundle, threads=0), obs, config.seed)
        times = milliseconds(bundle, obs, config.calls)
        size = sum(path.stat().st_size for path in bundle.iterdir())
    return [
        Result(f"export_max_difference_{config.observations}", off, "rad", "lower"),
        Result("export_p99_latency_one_core", float(np.quantile(times, 0.99)), "ms", "lower"),
        Result("export_median_latency_one_core", float(np.median(times)), "ms", "lower"),
        Result("export_size", size / 1e6, "MB", "lower"),
    ]


def main() -> int:
    config = tyro.cli(Export, description=__doc__)
    results = measure(config)
    report(results, title="export", as_json=config.json)
    off, p99 = (result.value for result in results[:2])
    return 0 if off <= MAX_DIFFERENCE_RAD and p99 <= MAX_P99_MS else 1


if __name__ == "__main__":
    sys.exit(main())
