"""What every benchmark shares: results and how they are printed."""

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from jaxtyping import Float32
from rich.console import Console
from rich.table import Table

from regrasp import BatchEnv
from regrasp.envs import TASKS
from regrasp.envs.targets import EVERY_S, random_targets
from regrasp.errors import InputError, unknown


def device() -> str:
    """The machine, in words."""
    return f"{os.cpu_count()} CPU threads, {platform.machine()}"


@dataclass(frozen=True)
class Result:
    """One figure."""

    metric: str
    value: float
    unit: str
    better: str
    """higher or lower."""
    device: str = field(default_factory=device)


def report(results: Sequence[Result], *, title: str, as_json: bool) -> None:
    """Print the figures: one JSON list, or a table."""
    if as_json:
        print(json.dumps([asdict(result) for result in results], indent=1))
        return
    table = Table(title=f"{title} ({device()})")
    for head in ("metric", "value", "unit", "better"):
        table.add_column(head, justify="right" if head == "value" else "left")
    for r in results:
        table.add_row(
            r.metric, f"{r.value:.4g}" if r.value < 1e4 else f"{r.value:.0f}", r.unit, r.better
        )
    Console().print(table)


def guarded(main: Callable[[], int]) -> int:
    """The exit code of a benchmark: 2 and one line on stderr where its input is bad."""
    try:
        return main()
    except InputError as error:
        note(str(error))
        return 2


def chosen(tasks: Sequence[str]) -> tuple[str, ...]:
    """These tasks, or all if none is named.

    Raises:
        InputError: there is no such task.
    """
    for task in tasks:
        if task not in TASKS:
            raise unknown("task", task, TASKS)
    return tuple(tasks) or tuple(TASKS)


def note(message: str) -> None:
    """Say something beside the results."""
    print(message, file=sys.stderr, flush=True)


def smooth_targets(
    env: BatchEnv, rng: np.random.Generator, every_s: float = EVERY_S
) -> Iterator[Float32[np.ndarray, "envs action"]]:
    """Actions without end that change at every step, as a policy's do: straight lines in joint space.

    They lead from one random target to the next in `every_s`.
    """
    steps = max(1, round(every_s / env.task.control_dt_s))
    ends = random_targets(env, rng, hold_s=0)
    start = next(ends)
    while True:
        end = next(ends)
        for step in range(steps):
            yield (start + (end - start) * np.float32((step + 1) / steps)).astype(np.float32)
        start = end
