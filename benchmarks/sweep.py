"""Control steps per second against the number of environments, for `benchmarks.throughput --sweep`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import matplotlib
import numpy as np

import regrasp
from benchmarks.common import Result, device, note, smooth_targets
from regrasp.errors import InputError
from regrasp.files import whole

SIZES = (1, 4, 16, 64, 256, 1024, 4096)
MAX_STEPS = 400
"""Control steps of one point, at most."""


@dataclass(frozen=True)
class Point:
    """One measurement."""

    task: str
    backend: str
    envs: int
    per_s: float
    """Control steps per second, over all environments."""

    @property
    def result(self) -> Result:
        name = f"{self.task}_{self.backend}_{self.envs}_control_steps_per_s"
        return Result(name, self.per_s, "1/s", "higher", device_of(self.backend))


def device_of(backend: str) -> str:
    """What an engine runs on, in words."""
    found = jax.devices()[0]
    return device() if backend == "cpu" or found.platform == "cpu" else found.device_kind


def sweep(
    tasks: Sequence[str],
    backends: Sequence[str],
    sizes: Sequence[int],
    point_s: float,
    threads: int,
) -> list[Point]:
    """Measure every task on every engine; sizes that would take too long for a single step are left out."""
    points = []
    for backend in backends:
        for task in tasks:
            per_s = np.inf
            for envs in sorted(sizes):
                if envs / per_s > point_s:
                    note(f"{task} on {backend}: {envs} environments and more are left out")
                    break
                try:
                    per_s = rate(task, backend, envs, point_s, threads)
                except InputError as error:
                    note(f"{task} on {backend}: left out, {error}")
                    break
                note(f"{task} on {backend}: {envs} environments, {per_s:.0f}/s")
                points.append(Point(task, backend, envs, per_s))
    return points


def rate(task: str, backend: str, envs: int, point_s: float, threads: int) -> float:
    """Control steps per second, compilation left out."""
    env = regrasp.make(task, envs, backend=backend, threads=threads, randomize="table")
    env.reset()
    source = smooth_targets(env, np.random.default_rng(0))
    for _ in range(2):
        env.step(next(source))
    steps, actions = 0, [next(source) for _ in range(MAX_STEPS)]
    begin = time.perf_counter()
    for action in actions:
        env.step(action)
        steps += 1
        if time.perf_counter() - begin > point_s:
            break
    return envs * steps / (time.perf_counter() - begin)


def plot(points: Sequence[Point], path: Path) -> None:
    """Draw the sweep: one panel for each engine, one line for each task."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    backends = list(dict.fromkeys(point.backend for point in points))
    if not backends:
        raise InputError("nothing was measured: see above, and choose other backends or tasks")
    figure, axes = pyplot.subplots(
        1, len(backends), figsize=(1.5 + 4.5 * len(backends), 4), sharey=True, squeeze=False
    )
    for axis, backend in zip(axes[0], backends, strict=True):
        mine = [point for point in points if point.backend == backend]
        for task in dict.fromkeys(point.task for point in mine):
            line = [(point.envs, point.per_s) for point in mine if point.task == task]
            axis.plot(*zip(*line, strict=True), marker="o", markersize=4, label=task)
        sizes = sorted({point.envs for point in mine})
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.set_xlabel("environments")
        axis.set_title(f"{backend} ({device_of(backend)})", fontsize=10)
    axes[0, 0].set_ylabel("control steps per second")
    axes[0, -1].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    with whole(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    pyplot.close(figure)
    note(f"drew {path}")
