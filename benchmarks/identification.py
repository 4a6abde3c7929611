"""Whether identification knows what it knows: coverage of its intervals on logs from known servos.

    python -m benchmarks.identification --trials 100

Each trial draws the servos of an SO-101 from the priors of the fit, records short motions of them with an
encoder of 4096 steps and a clock that is not even, and identifies them from those logs alone. Coverage is
pooled over trials, joints and figures; widths are in shares of the 95 % range of the prior. The logs are
made with the timestep of the fit: what is tested are the search and the statistics, not the engine.
"""

import hashlib
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import numpy as np
import tyro

from benchmarks.common import Result, guarded, note, report
from regrasp.assets.arm import Arm, load_arm
from regrasp.errors import check_positive
from regrasp.files import read_json, write_json
from regrasp.rl.stats import wilson
from regrasp.sim2real.identify.choose import first_guess
from regrasp.sim2real.identify.fit import Unknowns, started
from regrasp.sim2real.identify.quick import loads_of
from regrasp.sim2real.identify.refine import TIMESTEP_S
from regrasp.sim2real.identify.sample import ends_of
from regrasp.sim2real.identify.settle import settle
from regrasp.sim2real.identify.terms import LADDER, PLAIN
from regrasp.sim2real.identify.uncertainty import MEANT, uncertainty_of
from regrasp.sim2real.log import Log
from regrasp.sim2real.replay import replay

ENCODER_RAD = 2 * np.pi / 4096
PERIOD_S, JITTER_S = 0.0201, 0.0004


@dataclass(frozen=True)
class Identification:
    """Identify known servos from short synthetic logs, many times over."""

    trials: int = 100
    logs: int = 2
    """Per trial."""
    seconds: float = 6.0
    """Length of a log."""
    rung: str = "motor, stribeck"
    """Terms that are fitted, beside the plain ones."""
    rounds: int = 4
    """Searches of every joint, at most."""
    iterations: int = 1
    """Of Gauss-Newton at the end."""
    seed: int = 1
    """0 set a figure of the intervals: `refine.LEAST_INFLATION`."""
    folder: Path = Path("runs/identification")
    """Where trials that have ended are kept, and the next start goes on from; choose another after a
    change of the fit, which they do not know of."""
    json: bool = False
    """Print one JSON list."""

    def __post_init__(self) -> None:
        check_positive(self, ("trials", "logs", "seconds", "iterations"))


def commands(arm: Arm, rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """Slow waves, and steps on top of them, of every joint; the gripper's are openings."""
    count = len(arm.joints)
    size, rate = rng.uniform(0.15, 0.35, count), rng.uniform(0.8, 3.5, count)
    wave = size * np.sin(rate * t[:, None] + rng.uniform(0, 2 * np.pi, count))
    every = rng.uniform(0.7, 2.0, count)
    heights = rng.uniform(-0.15, 0.15, (int(t[-1] / every.min()) + 2, count))
    steps = np.take_along_axis(heights, (t[:, None] / every).astype(int), axis=0)
    middle = np.r_[rng.uniform(-0.4, 0.4, count - 1), 0.5]
    return np.clip(middle + wave + steps, -1.4, 1.4) * np.r_[np.ones(count - 1), 0.6]


def recorded(arm: Arm, rng: np.random.Generator, config: Identification) -> list[Log]:
    """Logs of an arm: commanded, simulated, read off an encoder."""
    plans = []
    for k in range(config.logs):
        count = int(config.seconds / PERIOD_S)
        t = np.arange(count) * PERIOD_S + rng.uniform(0, JITTER_S, count)
        cmd = commands(arm, rng, t)
        # A position to start from; the commands are shifted nowhere, so the arm settles first.
        first = np.tile(cmd[0], (count, 1)) + 1e-6 * t[:, None]
        plans.append(Log(f"motion {k}", arm.joint_names, t, cmd, first, clock="simulated"))
    found = replay(plans, arm, timestep_s=TIMESTEP_S, threads=1, contacts=False)
    step = np.r_[
        np.full(len(arm.joints) - 1, ENCODER_RAD),
        ENCODER_RAD / abs(arm.position(1.0) - arm.position(0.0)),
    ]
    logs = []
    for plan, q in zip(plans, found, strict=True):
        # Rounded with a dither: without one, a joint at rest repeats the same error for ever.
        read = np.round(q / step + rng.uniform(-0.5, 0.5, q.shape)) * step
        read[0] = q[0]
        logs.append(Log(plan.name, plan.joints, plan.t, plan.cmd, read, clock="simulated"))
    return logs


def trial(config: Identification, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each interval holds the truth, and its width in units of the prior's range."""
    rng = np.random.default_rng([config.seed, seed])
    arm = load_arm("so101")
    terms = tuple((*PLAIN, *LADDER[config.rung]) for _ in arm.joints)
    unknowns = Unknowns(arm, terms)
    mean, sd = unknowns.prior
    truth = np.full(len(mean), -1.0)
    while (outside := (truth < 0) | (truth > 1)).any():
        truth = np.where(outside, rng.normal(mean, sd), truth)
    logs = recorded(unknowns.arm_at(truth), rng, config)
    loads = loads_of(logs, arm)
    guess = [first_guess(arm, j, config.rung, loads, {}) for j in range(len(arm.joints))]
    linear, noise, posteriors = settle(
        unknowns,
        started(unknowns, guess),
        logs,
        rounds=config.rounds,
        iterations=config.iterations,
        threads=1,
    )
    sure = uncertainty_of(unknowns, linear, noise, logs, ends_of(posteriors, MEANT))
    return (sure.low <= truth) & (truth <= sure.high), sure.high - sure.low


def summary(covered: Sequence[np.ndarray], widths: Sequence[np.ndarray]) -> list[Result]:
    """Pooled figures of trials; the interval of the coverage is Wilson's.

    Intervals of one trial fail together: it counts so many intervals as would make trials differ by chance
    as much as they do.
    """
    shares = np.mean(covered, axis=1)
    share, each = float(shares.mean()), len(covered[0])
    alike = 1.0
    if len(shares) > 1 and 0 < share < 1:
        alike = max(1.0, float(shares.var(ddof=1)) * each / (share * (1 - share)))
    count = max(1, round(len(shares) * each / alike))
    rate = wilson(round(share * count), count)
    return [
        Result("coverage of the intervals, 95 % meant", share, "share", "higher"),
        Result("coverage, low end of its 95 % interval", rate.low, "share", "higher"),
        Result("coverage, high end", rate.high, "share", "higher"),
        Result("median width of the intervals", float(np.median(widths)), "of prior", "lower"),
        Result("trials", float(len(covered)), "count", "higher"),
    ]


def alone(cores: "SimpleQueue[int]") -> None:
    """Give a process a core of its own: small programs on all cores at once wait for one another."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cores.get()})


def kept(config: Identification, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A trial's result, computed or as it was kept."""
    path = config.folder / f"{fingerprint(config)}-{seed}.json"
    if not path.exists():
        inside, width = trial(config, seed)
        write_json(path, {"inside": inside.tolist(), "width": width.tolist()})
    found = read_json(path, "kept trial")
    return np.array(found["inside"]), np.array(found["width"])


def fingerprint(config: Identification) -> str:
    """What a trial depends on beside its number."""
    settings = replace(config, trials=1, folder=Path(), json=False)
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:8]


def main() -> int:
    config = tyro.cli(Identification)
    config.folder.mkdir(parents=True, exist_ok=True)
    covered, widths, began = [], [], time.monotonic()
    context = get_context("spawn")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    queue = context.SimpleQueue()
    for core in cores:
        queue.put(core)
    pool = ProcessPoolExecutor(len(cores), context, alone, (queue,))
    with pool:
        results = pool.map(partial(kept, config), range(config.trials))
        for seed, (inside, width) in enumerate(results):
            covered.append(inside)
            widths.append(width)
            note(
                f"{seed + 1}/{config.trials}: this one {inside.mean():.3f}, all {np.mean(covered):.3f}, "
                f"median width {np.median(widths):.4f}, {time.monotonic() - began:.0f} s"
            )
    by_term = np.mean(np.array(covered).reshape(len(covered), 6, -1), axis=(0, 1))
    spread = np.median(np.array(widths).reshape(len(widths), 6, -1), axis=(0, 1))
    for name, share, width in zip((*PLAIN, *LADDER[config.rung]), by_term, spread, strict=True):
        note(f"  {name}: covered {share:.3f}, median width {width:.4f}")
    report(summary(covered, widths), title="Identification", as_json=config.json)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
