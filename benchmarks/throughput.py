"""Control steps per second of an environment, beside bare `mujoco.batch` on the same model.

    python -m benchmarks.throughput --json

Blocks of the two alternate in one run. Each pair of blocks starts from the same engine states and
plays the same random joint targets, so the ratio is the price of everything that is not physics:
randomised model fields, latency, noise, observations, rewards and autoreset.
"""

import sys
import time
from dataclasses import dataclass

import mujoco
import numpy as np
import tyro
from jaxtyping import Float32, Float64
from mujoco.batch import Batch

import regrasp
from benchmarks.common import Result, note, random_targets, report
from regrasp import BatchEnv

_VEL = int(mujoco.mjtStage.mjSTAGE_VEL)
_NONE = int(mujoco.mjtStage.mjSTAGE_NONE)


@dataclass(frozen=True)
class Throughput:
    """Measure control steps per second and the time of a fork."""

    task: str = "transfer_cube"
    envs: int = 256
    threads: int = 0
    """Of both engines; 0: one per core."""
    blocks: int = 16
    """Pairs of blocks measured."""
    block_steps: int = 50
    """Control steps in a block."""
    forks: int = 30
    """Forks of one state into all rows."""
    hold_s: float = 0.5
    """How long targets are held. New ones at every step (0.02) cost most: with latency they take effect
    inside the control period, which needs a second engine call."""
    seed: int = 0
    json: bool = False
    """Print one JSON list."""


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


def seconds(step, actions: list[np.ndarray]) -> float:
    """How long these steps take."""
    begin = time.perf_counter()
    for action in actions:
        step(action)
    return time.perf_counter() - begin


def measure(config: Throughput) -> list[Result]:
    """Run both, side by side."""
    env = regrasp.make(
        config.task, config.envs, threads=config.threads, randomize="table", seed=config.seed
    )
    env.reset()
    bare = Bare(env, config.threads)
    source = random_targets(env, np.random.default_rng(config.seed), config.hold_s)
    times = np.zeros((config.blocks + 1, 2))
    for block in range(config.blocks + 1):
        actions = [next(source) for _ in range(config.block_steps)]
        bare.start(env.take().row)
        runs = [
            (0, env.step, actions),
            (1, bare.step, [in_metres(env, action) for action in actions]),
        ]
        for column, step, played in runs[:: -1 if block % 2 else 1]:
            times[block, column] = seconds(step, played)
        note(f"block {block}: ratio {times[block, 1] / times[block, 0]:.3f}")
    times = times[1:]  # The first block pays for compilation.
    steps = config.envs * config.block_steps
    forked = time_forks(env, config.forks)
    return [
        Result("env_control_steps_per_s", float(np.median(steps / times[:, 0])), "1/s", "higher"),
        Result("bare_control_steps_per_s", float(np.median(steps / times[:, 1])), "1/s", "higher"),
        Result("throughput_ratio", float(np.median(times[:, 1] / times[:, 0])), "1", "higher"),
        Result("throughput_ratio_whole_run", float(np.divide(*times.sum(0)[::-1])), "1", "higher"),
        Result(f"fork_1_to_{config.envs}", float(np.median(forked[3:])) * 1e3, "ms", "lower"),
    ]


def time_forks(env: BatchEnv, count: int) -> list[float]:
    """Seconds of `count` forks of one state into all rows, observations included."""
    snapshot = env.take(0)
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        env.fork(snapshot)
        times.append(time.perf_counter() - begin)
    return times


def main() -> int:
    config = tyro.cli(Throughput, description=__doc__)
    report(measure(config), title="throughput", as_json=config.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
