"""Control steps per second of every task, beside bare `mujoco.batch` on the same model.

    python -m benchmarks.throughput --gate

Blocks of the two alternate in one run. Each pair of blocks starts from the same engine states and
plays the same random joint targets, so the ratio is the price of everything that is not physics:
randomised model fields, latency, noise, observations, rewards and autoreset.

The price of the randomised fields alone is a second ratio: the same environment with its table beside
the nominal one, under targets that change at every step, as a policy's do.

With --sweep, control steps per second against the number of environments instead, on every engine
named, with a plot.

Exit code 1 with --gate: a ratio is worse than its committed baseline, or misses its target.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
import tyro
from jaxtyping import Float32, Float64
from mujoco.batch import Batch

import regrasp
from benchmarks.baselines import update, worse
from benchmarks.common import (
    Result,
    chosen,
    guarded,
    note,
    random_targets,
    report,
    smooth_targets,
)
from benchmarks.sweep import SIZES, plot, sweep
from regrasp import BatchEnv
from regrasp.envs import episode_keys
from regrasp.errors import InputError

_VEL = int(mujoco.mjtStage.mjSTAGE_VEL)
_NONE = int(mujoco.mjtStage.mjSTAGE_NONE)
FIELDS_TARGET = 0.9
"""Throughput with the table is at least this share of the nominal one."""
RESAMPLED = 32
"""Rows whose fields are drawn again."""
RESAMPLE_TARGET_MS = 2.0


@dataclass(frozen=True)
class Throughput:
    """Measure control steps per second, and the times of a fork and of new fields."""

    tasks: tuple[str, ...] = ()
    """Which tasks; none: all."""
    envs: int = 256
    threads: int = 0
    """Of both engines; 0: one per core."""
    blocks: int = 16
    """Pairs of blocks measured."""
    block_steps: int = 50
    """Control steps in a block."""
    repeats: int = 30
    """Forks of one state into all rows, and draws of new fields."""
    hold_s: float = 0.5
    """How long targets are held beside the bare engine. New ones at every step (0.02) cost most: with
    latency they take effect inside the control period, which needs a second engine call."""
    seed: int = 0
    sweep: bool = False
    """Measure against the number of environments instead."""
    backends: tuple[str, ...] = ("cpu",)
    """Engines of the sweep: cpu, mjx, warp."""
    sizes: tuple[int, ...] = SIZES
    """Environments of the sweep."""
    point_s: float = 4.0
    """Time for one point of the sweep."""
    plot: Path = Path("runs/throughput.png")
    """Where the sweep is drawn."""
    gate: bool = False
    """Exit with code 1 if a ratio is worse than its baseline."""
    update: bool = False
    """Make the ratios the baseline of this kind of machine."""
    json: bool = False
    """Print one JSON list."""

    def __post_init__(self) -> None:
        for name in ("gate", "update"):
            if self.sweep and getattr(self, name):
                raise InputError(f"sweep with {name}: a sweep has no baseline; choose either")


class Bare:
    """`mujoco.batch` alone, stepping the nominal model."""

    def __init__(self, env: BatchEnv, threads: int):
        self._env = env
        self._batch = Batch(env.model, env.num_envs, threads, persistent=True)
        self._batch.reset(stage=_NONE)
        self._ctrl = self._batch.bind("ctrl")
        for name in ("site_xpos", "xpos", "xquat", "sensordata"):
            self._batch.bind(name)

    def start(self, states: Float64[np.ndarray, "envs nstate"]) -> None:
        self._batch.state[:] = states
        self._batch.forward(stage=_VEL)

    def step(self, actions: Float32[np.ndarray, "envs action"]) -> None:
        self._ctrl[:] = actions
        self._batch.step(nstep=self._env.substeps, stage=_VEL)


def in_metres(env: BatchEnv, actions: Float32[np.ndarray, "envs action"]) -> np.ndarray:
    """Servo targets of actions: the grippers' openings in metres."""
    columns = list(env.workcell.gripper_columns)
    targets = actions.copy()
    targets[:, columns] = env.workcell.arm.position(actions[:, columns])
    return targets


def seconds(step: Callable[[np.ndarray], object], actions: list[np.ndarray]) -> float:
    """How long these steps take."""
    begin = time.perf_counter()
    for action in actions:
        step(action)
    return time.perf_counter() - begin


def paired(
    blocks: int, sides: Callable[[], tuple[Callable[[], float], Callable[[], float]]]
) -> Float64[np.ndarray, "blocks 2"]:
    """Seconds of pairs of blocks; who goes first changes every time.

    Args:
        blocks: how many; one more is played first, which pays for compilation.
        sides: prepares a pair.
    """
    times = np.zeros((blocks + 1, 2))
    for block in range(blocks + 1):
        pair = sides()
        for column in (0, 1)[:: -1 if block % 2 else 1]:
            times[block, column] = pair[column]()
    return times[1:]


def made(config: Throughput, task: str, randomize: str) -> BatchEnv:
    """One of the environments measured."""
    env = regrasp.make(
        task, config.envs, threads=config.threads, randomize=randomize, seed=config.seed
    )
    env.reset()
    return env


def several(source: Iterator[np.ndarray], count: int) -> list[np.ndarray]:
    """The next actions."""
    return [next(source) for _ in range(count)]


def beside_bare(config: Throughput, task: str, env: BatchEnv) -> list[Result]:
    """An environment and the bare engine from the same states."""
    bare = Bare(env, config.threads)
    source = random_targets(env, np.random.default_rng(config.seed), config.hold_s)

    def sides() -> tuple[Callable[[], float], Callable[[], float]]:
        actions = several(source, config.block_steps)
        bare.start(env.take().row)
        servo = [in_metres(env, action) for action in actions]
        return lambda: seconds(env.step, actions), lambda: seconds(bare.step, servo)

    times = paired(config.blocks, sides)
    steps, ratio = config.envs * config.block_steps, times[:, 1] / times[:, 0]
    ours, theirs = np.median(steps / times, axis=0)
    return [
        Result(f"{task}_env_control_steps_per_s", float(ours), "1/s", "higher"),
        Result(f"{task}_bare_control_steps_per_s", float(theirs), "1/s", "higher"),
        Result(f"{task}_throughput_ratio", float(np.median(ratio)), "1", "higher"),
    ]


def cost_of_fields(
    config: Throughput, task: str, table: BatchEnv, nominal: BatchEnv
) -> list[Result]:
    """The same environment with and without everything that its table randomises."""
    source = smooth_targets(table, np.random.default_rng(config.seed))

    def sides() -> tuple[Callable[[], float], Callable[[], float]]:
        actions = several(source, config.block_steps)
        return lambda: seconds(table.step, actions), lambda: seconds(nominal.step, actions)

    times = paired(config.blocks, sides)
    ratio = float(np.median(times[:, 1] / times[:, 0]))
    if ratio < FIELDS_TARGET:
        note(f"{task}: with its table {ratio:.3f} of the nominal throughput, not {FIELDS_TARGET}")
    return [Result(f"{task}_fields_throughput_ratio", ratio, "1", "higher")]


def resample(config: Throughput, task: str, table: BatchEnv, nominal: BatchEnv) -> list[Result]:
    """Time to draw and write new fields of some rows: episodes begun with the table, less nominal ones."""
    count = min(RESAMPLED, config.envs)
    rows = np.arange(count) * (config.envs // count)
    keys = np.asarray(episode_keys(config.seed, "train", 0, count))

    def begin(env: BatchEnv) -> float:
        start = time.perf_counter()
        env.begin(keys, rows)
        return time.perf_counter() - start

    times = paired(config.repeats, lambda: (lambda: begin(table), lambda: begin(nominal)))
    took = 1e3 * float(np.median(times[:, 0] - times[:, 1]))
    if took > RESAMPLE_TARGET_MS:
        note(f"{task}: new fields of {count} rows take {took:.2f} ms, not {RESAMPLE_TARGET_MS} ms")
    return [
        Result(f"{task}_new_fields_of_{count}_rows", took, "ms", "lower"),
        Result(f"{task}_begin_{count}_rows", 1e3 * float(np.median(times[:, 0])), "ms", "lower"),
    ]


def forks(config: Throughput, task: str, env: BatchEnv) -> list[Result]:
    """Time to fork one state into all rows, observations included."""
    snapshot, times = env.take(0), []
    for _ in range(config.repeats + 1):
        begin = time.perf_counter()
        env.fork(snapshot)
        times.append(time.perf_counter() - begin)
    took = 1e3 * float(np.median(times[1:]))
    return [Result(f"{task}_fork_1_to_{config.envs}", took, "ms", "lower")]


def measure(config: Throughput) -> list[Result]:
    """Every task."""
    results = []
    for task in chosen(config.tasks):
        note(f"measuring {task}")
        table, nominal = made(config, task, "table"), made(config, task, "nominal")
        results += beside_bare(config, task, table)
        results += cost_of_fields(config, task, table, nominal)
        results += resample(config, task, table, nominal)
        results += forks(config, task, table)
    return results


def missed(results: list[Result]) -> list[str]:
    """What is worse than its baseline or its target, in words."""
    return worse(results) + [
        f"{r.metric} is {r.value:.3f}, its target {FIELDS_TARGET}"
        for r in results
        if r.metric.endswith("_fields_throughput_ratio") and r.value < FIELDS_TARGET
    ]


def main() -> int:
    config = tyro.cli(Throughput, description=__doc__)
    if config.sweep:
        tasks = chosen(config.tasks)
        points = sweep(tasks, config.backends, config.sizes, config.point_s, config.threads)
        plot(points, config.plot)
        report([point.result for point in points], title="throughput", as_json=config.json)
        return 0
    results = measure(config)
    report(results, title="throughput", as_json=config.json)
    if config.update:
        note(f"wrote {update(results)}")
    faults = missed(results) if config.gate else []
    for fault in faults:
        note(fault)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(guarded(main))
