"""A policy on logs: what it chooses at each logged observation, beside what was commanded there.

At every control step of a log the policy sees what was observed then and answers with a chunk, whatever it
would have done before (open-loop evaluation). What it is asked is what the log holds; a term that no log
holds is not made up.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from regrasp.assets import Workcell
from regrasp.envs import load_task
from regrasp.errors import InputError
from regrasp.rl.bundle import load_bundle, workcell_of
from regrasp.rl.runner import Runner
from regrasp.sim2real.demonstrations import check_arms, given_terms, paced
from regrasp.sim2real.log import Log, Refused
from regrasp.sim2real.measure_open_loop import measured
from regrasp.sim2real.open_loop import OpenLoop, Run
from regrasp.sim2real.readers import look
from regrasp.sim2real.units import ReadConfig

RATE_TOLERANCE = 0.2
"""A log whose rate is off the policy's by more is refused: an ALOHA's loop of 50 Hz may run at 42."""
LONGEST_GAP = 5
"""Control steps without a sample; over a longer gap measurements would be made up."""
WARM_UP = 20
"""Chunks that are asked for before any is timed."""
MAX_CHUNK_NUMBERS = 2**26
"""Most numbers of all chunks of one log that are held at once."""


@dataclass(frozen=True)
class Robot:
    """What a bundle commands."""

    workcell: Workcell
    period_s: float
    """Of its control steps."""


def policy_on_logs(
    bundle: str | Path,
    paths: Iterable[str | Path],
    config: ReadConfig = ReadConfig(),  # noqa: B008
    resample: bool = False,
    progress: Callable[[int, int, str], None] = lambda done, total, note: None,
    workcell: str | None = None,
) -> tuple[OpenLoop, list[Run]]:
    """Run an exported policy on logged observations and hold its actions against the logged commands.

    Args:
        bundle: folder of a bundle or of a run, or the name of a shipped bundle.
        paths: logs of both arms, in any format that a reader knows, or folders of them.
        config: what the recordings do not say themselves.
        resample: take logs of another rate than the policy's too; measurements are interpolated, commands
            and whatever else was observed are held.
        progress: called after every log.
        workcell: name of the workcell or file of its table; None: the bundle's own.

    Returns:
        The figures, and what they were made of, log by log.

    Raises:
        InputError: no bundle, no logs, a log that is refused or of another robot or rate, or one that
            lacks what the policy observes.
    """
    runner = load_bundle(bundle, threads=1)
    robot = robot_of(runner, workcell)
    logs = _read(paths, robot, config)
    # All are looked at before the first is run.
    ready = [(log, observations(log, runner, robot, resample)) for log in logs]
    runs = []
    for (log, obs), done in zip(ready, range(1, len(ready) + 1), strict=True):
        runs.append(run(paced(log, robot.period_s), obs, runner))
        progress(done, len(ready), log.name)
    return measured(runs, runner, robot.workcell, robot.period_s, str(bundle)), runs


def robot_of(runner: Runner, table: str | None = None) -> Robot:
    """The robot that a policy was made for.

    Args:
        runner: its bundle.
        table: name of its workcell, or the file of its table; None: the bundle's own.

    Raises:
        InputError: the bundle does not say, or says what this version does not know.
    """
    meta = runner.meta
    name, action, rate = (meta.get(key) for key in ("task", "action", "rate_hz"))
    names = action.get("names") if isinstance(action, dict) else None
    known = isinstance(name, str) and type(rate) in (int, float) and 0.1 < rate < 1e4  # type: ignore[operator]
    if not known or not isinstance(names, list):
        raise InputError(
            "the bundle's policy.json says no task, rate_hz or action names: export the policy again"
        )
    workcell = load_task(name, workcell_of(runner, table)).workcell()  # type: ignore[arg-type]
    if tuple(names) != workcell.action_names:
        raise InputError(
            f"the bundle commands {', '.join(map(str, names))}, {name} has "
            f"{', '.join(workcell.action_names)}: export the policy again"
        )
    return Robot(workcell, 1 / rate)  # type: ignore[operator]


def observations(
    log: Log, runner: Runner, robot: Robot, resample: bool = False
) -> dict[str, Float[np.ndarray, "time *shape"]]:
    """What the policy observes, at each control step of a log.

    Args:
        log: a log of both arms, at its own rate.
        runner: the policy.
        robot: what it commands.
        resample: take a log of another rate too.

    Raises:
        InputError: another robot or rate, no commands, terms that the log does not hold or holds in
            another shape, or a log too long to be run at once.
    """
    check_arms(log, robot.workcell.action_names)
    log.check_commands()
    rate, wanted = 1 / log.period_s, 1 / robot.period_s
    if abs(rate / wanted - 1) > RATE_TOLERANCE and not resample:
        raise InputError(
            f"log {log.name} has {rate:.3g} Hz, the policy acts at {wanted:.3g}: give --resample, which "
            f"interpolates what was measured and holds commands, or logs at its rate"
        )
    steps_between = np.diff(log.t) / robot.period_s
    if steps_between.max() > max(LONGEST_GAP, 2 * log.period_s / robot.period_s):
        row = int(np.argmax(steps_between))
        raise InputError(
            f"log {log.name} has a gap of {log.t[row + 1] - log.t[row]:.3g} s at "
            f"{log.t[row] - log.t[0]:.2f} s, in which the policy would observe nothing: cut it there"
        )
    steps = int(log.duration_s / robot.period_s) + 1
    if steps * runner.chunk * robot.workcell.action_size > MAX_CHUNK_NUMBERS:
        raise InputError(f"log {log.name} has {steps} control steps, too many at once: split it")
    found = given_terms(paced(log, robot.period_s))
    shapes = {
        t["name"]: (t.get("unit", "?"), tuple(t["shape"])) for t in runner.meta["observations"]
    }
    if missing := [name for name in shapes if name not in found]:
        raise InputError(_lacking(log, {name: shapes[name] for name in missing}))
    obs = {}
    for name, (unit, shape) in shapes.items():
        values = found[name]
        if math.prod(values.shape[1:]) != math.prod(shape):
            raise InputError(
                f"log {log.name}: {name} has {math.prod(values.shape[1:])} numbers, the policy observes "
                f"{math.prod(shape)} ({unit}): give the logs of the task that it was trained on"
            )
        obs[name] = values.reshape(-1, *shape).astype(np.float32)
    return obs


def run(log: Log, obs: dict[str, Float[np.ndarray, "time *shape"]], runner: Runner) -> Run:
    """Ask the policy at every step of a log, one observation at a time as on a robot, by the clock.

    Args:
        log: at the policy's control steps.
        obs: what it observes at each.
        runner: the policy; its noise is 0, the middle of what it would do.

    Raises:
        InputError: it answers with something else than chunks of actions.
    """
    steps = [{name: values[k] for name, values in obs.items()} for k in range(len(log.t))]
    for step in steps[:WARM_UP]:
        runner.act(step)
    chunks, seconds, busy = [], np.empty(len(steps)), np.empty(len(steps))
    for k, step in enumerate(steps):
        worked, started = time.thread_time(), time.perf_counter()
        chunks.append(runner.act(step))
        seconds[k], busy[k] = time.perf_counter() - started, time.thread_time() - worked
    asked = np.stack(chunks).astype(np.float64)
    wanted = (len(steps), runner.chunk, len(log.joints))
    if asked.shape != wanted or not np.isfinite(asked).all():
        what = (
            "numbers that are not finite" if asked.shape == wanted else f"shape {asked.shape[1:]}"
        )
        raise InputError(
            f"the policy answers to log {log.name} with {what}, needs chunks {wanted[1:]}: export it again"
        )
    return Run(log, asked, played(asked, runner.execute, runner.ensemble), seconds, busy)


def played(
    chunks: Float[np.ndarray, "time chunk joints"], execute: int, ensemble: float | None
) -> Float[np.ndarray, "time joints"]:
    """The actions that `regrasp.rl.runner.Player` would send, were it shown these observations.

    Args:
        chunks: the one of every step; those of every `execute`-th are played.
        execute: control steps from one chunk to the next.
        ensemble: how chunks that overlap are averaged; None: the newest alone is played.
    """
    length = chunks.shape[1]
    total, weights = np.zeros((len(chunks), chunks.shape[2])), np.zeros(len(chunks))
    for order, first in enumerate(range(0, len(chunks), execute)):
        reach = execute if ensemble is None else length
        rows = slice(first, min(first + reach, len(chunks)))
        step = np.arange(rows.start, rows.stop)
        # Later chunks weigh less, counted from the oldest one that still covers a step.
        oldest = np.maximum(0, -((length - 1 - step) // execute))
        weight = np.exp(-(ensemble or 0.0) * (order - oldest))
        total[rows] += weight[:, None] * chunks[first, : len(step)]
        weights[rows] += weight
    return total / weights[:, None]


def _read(paths: Iterable[str | Path], robot: Robot, config: ReadConfig) -> list[Log]:
    given = [Path(path) for path in paths]
    logs = []
    for _, found in look(given, robot.workcell.arm, config):
        if isinstance(found, Refused):
            raise InputError(found.reason)
        logs.append(found)
    if not logs:
        raise InputError(
            f"no logs in {', '.join(map(str, given)) or 'an empty list'}: give logs of both arms"
        )
    return logs


def _lacking(log: Log, missing: dict[str, tuple[str, tuple[int, ...]]]) -> str:
    """What a policy observes that a log does not hold, and the ways out."""
    named = ", ".join(
        f"{n} ({math.prod(shape)} numbers, {unit})" for n, (unit, shape) in missing.items()
    )
    first = next(iter(missing))
    return (
        f"log {log.name} lacks {named}, which the policy observes: give a data set of demonstrations, which "
        f"holds it; or log it, in columns obs_{first}.0, obs_{first}.1, ... of a table; or clone a policy "
        f"without it (regrasp logs --demos, regrasp clone --data)"
    )
