"""What a physics step costs, where the time goes, and whether the time step is short enough.

    python -m benchmarks.physics

Microseconds per physics step on one thread, in randomised states on the way of each task's teacher and of
random joint targets, with MuJoCo's own timers (less what reading the clock costs).

Then each teacher plays the same episodes at the time step and at half of it. Exit code 1: neither success
lies within the 95 % interval of the other.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import mujoco
import numpy as np
import tyro
from gymnasium.vector import AutoresetMode
from jaxtyping import Bool, Float64
from rich.console import Console
from rich.table import Table

import regrasp
from benchmarks.common import Result, chosen, guarded, note, random_targets, report
from regrasp import BatchEnv
from regrasp.envs import Task, episode_keys, load_task
from regrasp.errors import InputError, check_positive
from regrasp.randomization import randomizer_for
from regrasp.rl.demonstrate import seeds
from regrasp.rl.evaluate import evaluate
from regrasp.rl.experts import EXPERTS, load_expert
from regrasp.rl.stats import wilson

PARTS = {
    "kinematics": "POS_KINEMATICS",
    "inertia": "POS_INERTIA",
    "collision": "POS_COLLISION",
    "constraints": "POS_MAKE",
    "projection": "POS_PROJECT",
    "velocity": "VELOCITY",
    "actuation": "ACTUATION",
    "solver": "CONSTRAINT",
    "advance": "ADVANCE",
}
"""Parts of a step and the MuJoCo timers that measure them."""
REPEATS = 5
"""Each state is stepped from so often; the fastest time counts, so that other work does not."""
SPACING_S = 0.2
"""States are kept this far apart."""
ROWS = 16
"""Environments that states are taken from, and teachers plan for at once."""


@dataclass(frozen=True)
class Physics:
    """Measure the cost of physics, and check the time step."""

    tasks: tuple[str, ...] = ()
    """Which tasks; none: all."""
    moments: int = 30
    """How often states are taken from each of 16 environments."""
    episodes: int = 200
    """Episodes of each teacher at either time step; 0: do not check the time step."""
    manner: str = "human"
    """How the teachers move."""
    seed: int = 0
    threads: int = 0
    """Of the episodes; costs are measured on one thread."""
    json: bool = False
    """Print one JSON list."""

    def __post_init__(self) -> None:
        check_positive(self, ("moments",))


class Moment(NamedTuple):
    """One row's model and full state, its controls included."""

    model: mujoco.MjModel
    state: Float64[np.ndarray, " nstate"]


class Cost(NamedTuple):
    """Of one physics step, on average."""

    step_us: float
    parts_us: dict[str, float]
    contacts: float


# ---- what a step costs ----


def moments(config: Physics, task: str, motion: str) -> list[Moment]:
    """Randomised states on the way of the teacher or of random targets."""
    env = regrasp.make(
        task, ROWS, randomize="table", seed=config.seed, autoreset=AutoresetMode.DISABLED
    )
    keys = np.asarray(episode_keys(config.seed, "train", 0, ROWS))
    env.begin(keys)
    models = [env.row_model(row) for row in range(ROWS)]
    act = taught(env, task, config, keys) if motion == "teacher" else untaught(env, config)
    kept, every = [], max(1, round(SPACING_S / env.task.control_dt_s))
    for step in range(min(config.moments * every, env.horizon)):
        live = np.flatnonzero(~env.done)
        if not len(live):
            break
        env.step(act(step))
        if step % every == every - 1:
            kept += [Moment(models[row], env.state_row(int(row))) for row in live]
    return kept


def taught(env: BatchEnv, task: str, config: Physics, keys: np.ndarray) -> Callable:
    """The teacher's actions."""
    teacher = load_expert(task, config.manner)
    teacher.start(env.view(), seeds(keys))
    return lambda step: teacher.act(step, env.view())


def untaught(env: BatchEnv, config: Physics) -> Callable:
    """Random targets over the full range."""
    source = random_targets(env, np.random.default_rng(config.seed))
    return lambda step: next(source)


def cost(kept: list[Moment], substeps: int) -> Cost:
    """Time one control period from every state."""
    data = mujoco.MjData(kept[0].model)
    plain = [fastest_us(moment, data, substeps) for moment in kept]
    timers, contacts = np.zeros((len(kept), mujoco.mjtTimer.mjNTIMER)), []
    mujoco.set_mjcb_time(time.perf_counter)
    try:
        timed = [
            fastest_us(moment, data, substeps, row)
            for moment, row in zip(kept, timers, strict=True)
        ]
    finally:
        mujoco.set_mjcb_time(None)
    for moment in kept:
        put(moment, data)
        mujoco.mj_step(moment.model, data)
        contacts.append(data.ncon)
    # Every timer contains one reading of the clock on average; the profiler's whole price is spread evenly.
    reading = (np.mean(timed) - np.mean(plain)) / readings(kept[0], data)
    parts = {name: timers[:, index_of(timer)].mean() - reading for name, timer in PARTS.items()}
    whole = float(np.mean(plain))
    parts["other"] = whole - sum(parts.values())
    return Cost(
        whole, {name: float(part) for name, part in parts.items()}, float(np.mean(contacts))
    )


def fastest_us(
    moment: Moment, data: mujoco.MjData, substeps: int, timers: np.ndarray | None = None
) -> float:
    """Microseconds per step, and per timer into `timers`, of the fastest try."""
    best = np.inf
    for _ in range(REPEATS):
        put(moment, data)
        for timer in data.timer:
            timer.duration = 0
        begin = time.perf_counter()
        mujoco.mj_step(moment.model, data, nstep=substeps)
        took = 1e6 * (time.perf_counter() - begin) / substeps
        if took < best:
            best = took
            if timers is not None:
                timers[:] = [1e6 * timer.duration / substeps for timer in data.timer]
    return best


def put(moment: Moment, data: mujoco.MjData) -> None:
    """Set a full state."""
    mujoco.mj_setState(moment.model, data, moment.state, mujoco.mjtState.mjSTATE_INTEGRATION)


def readings(moment: Moment, data: mujoco.MjData) -> int:
    """How often one step reads the clock."""
    count = 0

    def clock() -> float:
        nonlocal count
        count += 1
        return time.perf_counter()

    put(moment, data)
    mujoco.set_mjcb_time(clock)
    try:
        mujoco.mj_step(moment.model, data)
    finally:
        mujoco.set_mjcb_time(None)
    return count


def index_of(timer: str) -> int:
    return int(getattr(mujoco.mjtTimer, f"mjTIMER_{timer}"))


# ---- whether the time step is short enough ----


def finer(task: Task) -> Task:
    """The same task with half the time step; nothing else changes, contact times included."""
    return replace(task, timestep_s=task.timestep_s / 2)


def successes(config: Physics, name: str, task: Task) -> Bool[np.ndarray, " episodes"]:
    """Which of the teacher's episodes end well, with its table."""
    env = BatchEnv(
        task,
        min(64, config.episodes),
        randomizer=randomizer_for(name, "table"),
        threads=config.threads,
        autoreset=AutoresetMode.DISABLED,
    )
    if abs(env.model.opt.timestep * env.substeps - task.control_dt_s) > 1e-9:
        raise InputError(f"{name}: its scene does not follow timestep_s {task.timestep_s}: make it")
    # The teacher plans for the task as it stands: the plan must not depend on the time step.
    teacher = load_expert(name, config.manner)
    labels = (config.manner, name, "table")
    return evaluate(env, teacher, episodes=config.episodes, seed=config.seed, labels=labels).success


def time_step(config: Physics, name: str) -> tuple[list[Result], bool]:
    """Success at either time step from the same starts, and whether the finer one agrees."""
    task = load_task(name)
    whole, half = successes(config, name, task), successes(config, name, finer(task))
    rates = [wilson(int(won.sum()), len(won)) for won in (whole, half)]
    better, worse = int((half & ~whole).sum()), int((whole & ~half).sum())
    # Either within the other's interval: beside 199 of 200, all of 200 lie just above the upper end.
    within = (
        rates[0].low <= rates[1].rate <= rates[0].high
        or rates[1].low <= rates[0].rate <= rates[1].high
    )
    note(
        f"{name}: {rates[0]}; at half the time step {rates[1]}; {better} episodes won only there, "
        f"{worse} lost only there{'' if within else ': NOT WITHIN THE INTERVAL'}"
    )
    return [
        Result(f"{name}_success", rates[0].rate, "1", "higher"),
        Result(f"{name}_success_low", rates[0].low, "1", "higher"),
        Result(f"{name}_success_high", rates[0].high, "1", "higher"),
        Result(f"{name}_success_half_step", rates[1].rate, "1", "higher"),
        Result(f"{name}_success_half_step_low", rates[1].low, "1", "higher"),
        Result(f"{name}_success_half_step_high", rates[1].high, "1", "higher"),
        Result(f"{name}_episodes_that_differ", better + worse, "1", "lower"),
    ], within


# ---- the whole ----


def costs(config: Physics, tasks: tuple[str, ...]) -> dict[tuple[str, str], Cost]:
    """Of every task that moves, by its teacher where there is one and at random."""
    found = {}
    for task in tasks:
        scene = load_task(task).scene().compile()
        substeps = round(load_task(task).control_dt_s / scene.opt.timestep)
        for motion in (*(("teacher",) if task in EXPERTS else ()), "random"):
            note(f"timing {task}, {motion}")
            found[task, motion] = cost(moments(config, task, motion), substeps)
    return found


def show(found: dict[tuple[str, str], Cost]) -> None:
    """The costs as a table."""
    table = Table(title="microseconds per physics step on one thread")
    for head in ("task", "motion"):
        table.add_column(head)
    for head in ("step", *next(iter(found.values())).parts_us, "contacts"):
        table.add_column(head, justify="right")
    for (task, motion), one in found.items():
        numbers = (one.step_us, *one.parts_us.values(), one.contacts)
        table.add_row(task, motion, *(f"{number:.1f}" for number in numbers))
    Console(stderr=True, width=160).print(table)


def measure(config: Physics) -> tuple[list[Result], bool]:
    """Costs, then the check of the time step."""
    tasks = chosen(config.tasks)
    found = costs(config, tasks)
    show(found)
    results = []
    for (task, motion), one in found.items():
        results.append(Result(f"{task}_{motion}_step", one.step_us, "us", "lower"))
        results += [
            Result(f"{task}_{motion}_{part}", part_us, "us", "lower")
            for part, part_us in one.parts_us.items()
        ]
    sound = True
    for task in tasks if config.episodes else ():
        if task not in EXPERTS:
            note(f"{task} has no teacher: its time step is not checked")
            continue
        figures, within = time_step(config, task)
        results, sound = results + figures, sound and within
    return results, sound


def main() -> int:
    config = tyro.cli(Physics, description=__doc__)
    results, sound = measure(config)
    report(results, title="physics", as_json=config.json)
    return int(not sound)


if __name__ == "__main__":
    sys.exit(guarded(main))
