"""Whether the verdicts of coverage are right where the truth is known.

    python -m benchmarks.coverage

Synthetic episodes of one arm are simulated with servo figures drawn from a table of known widths,
and an ensemble of that table is held against them. The truth is drawn from half, once and twice the
table's spread, and from a table shifted by one sigma (softer, more damped, with more friction): the
verdict should be too wide, right, too narrow and biased, for every joint at once. Commands and
draws are new in every trial. Exit code 1: fewer than 95 of 100 trials are judged right somewhere.
"""

import sys
import time
from dataclasses import dataclass

import numpy as np
import tyro

from benchmarks.common import Result, guarded, note, report
from regrasp.assets.arm import Arm, load_arm
from regrasp.errors import check_positive
from regrasp.randomization import LogNormal, Row, Table, joint_field
from regrasp.sim2real import Log
from regrasp.sim2real.coverage import BIASED, NARROW, RIGHT, WIDE, judge, pooled
from regrasp.sim2real.ensemble import draw_ensemble, table_replay
from regrasp.sim2real.regimes import regimes_of

SIGMA = 0.2
"""Standard deviation of the logarithm of every figure."""
FIGURES = {"servo stiffness": -1, "servo damping": 1, "joint friction": 1}
"""What differs, and which way it is shifted."""
TRUTHS = {
    "half the spread": (0.5, 0.0, WIDE),
    "the same": (1.0, 0.0, RIGHT),
    "twice the spread": (2.0, 0.0, NARROW),
    "one sigma off": (1.0, 1.0, BIASED),
}
PERIOD_S = 0.02
ENOUGH = 0.95


@dataclass(frozen=True)
class Coverage:
    """Judge randomisations that are known to be right or wrong."""

    trials: int = 100
    """How often each truth is judged."""
    episodes: int = 60
    """Synthetic recordings in a trial."""
    members: int = 16
    """Of the ensemble."""
    seconds: float = 2.5
    """Length of a recording."""
    timestep_s: float = 0.004
    """Of the simulations."""
    arm: str = "so101"
    seed: int = 0
    threads: int = 0
    """0: every core."""
    json: bool = False
    """Print one JSON list."""

    def __post_init__(self) -> None:
        check_positive(self, ("trials", "episodes", "members", "seconds"))


def table(arm: Arm, spread: float, shift: float) -> Table:
    """Every figure of every joint, log-normal: `SIGMA` times the spread, shifted by sigmas."""
    return Table(
        *(
            Row(
                joint_field(name, joint, arm),
                LogNormal(float(np.exp(way * shift * SIGMA)), spread * SIGMA),
                "known",
            )
            for joint in arm.joint_names
            for name, way in FIGURES.items()
        )
    )


def commands(arm: Arm, seconds: float, rng: np.random.Generator) -> Log:
    """Every joint moves to random places and holds there; nothing is measured yet."""
    t = np.arange(0, seconds, PERIOD_S)
    cmd = np.empty((len(t), len(arm.joints)))
    for column in range(cmd.shape[1]):
        low, high = (0.2, 0.9) if column == cmd.shape[1] - 1 else (-0.8, 0.8)
        times, places = [0.0], [rng.uniform(low, high)]
        while times[-1] < seconds:
            place, moving, holding = (
                rng.uniform(low, high),
                rng.uniform(0.4, 0.8),
                rng.uniform(0, 0.5),
            )
            times += [times[-1] + moving, times[-1] + moving + holding]
            places += [place, place]
        cmd[:, column] = np.interp(t, times, places)
    # The first measured position is where a simulation starts.
    return Log("synthetic", arm.joint_names, t, cmd, np.repeat(cmd[:1], len(t), axis=0))


def trial(config: Coverage, arm: Arm, number: int) -> dict[str, list[bool]]:
    """By truth: whether each joint is judged right."""
    rng = np.random.default_rng((config.seed, number))
    logs = [commands(arm, config.seconds, rng) for _ in range(config.episodes)]
    regimes = [regimes_of(log, arm) for log in logs]
    draws = 2 * (config.seed * 1_000_003 + number)
    nominal = table(arm, 1.0, 0.0)
    simulate = table_replay(arm, nominal, config.timestep_s, config.threads)
    ensemble = draw_ensemble(logs, arm, nominal, config.members, draws, simulate)
    found = {}
    for name, (spread, shift, expected) in TRUTHS.items():
        truth = table(arm, spread, shift)
        own = table_replay(arm, truth, config.timestep_s, config.threads)
        real = draw_ensemble(logs, arm, truth, 1, draws + 1, own)
        measured = [
            Log(log.name, log.joints, log.t, log.cmd, q[0])
            for log, q in zip(logs, real.positions, strict=True)
        ]
        verdicts = judge(pooled(measured, ensemble, arm, regimes), seed=number)
        found[name] = [one.verdict == expected for one in verdicts]
    return found


def main() -> int:
    """Run the benchmark; the exit code says whether it passed."""
    config = tyro.cli(Coverage, description=__doc__)
    arm = load_arm(config.arm)
    found: dict[str, list[list[bool]]] = {name: [] for name in TRUTHS}
    started = time.perf_counter()
    for number in range(config.trials):
        for name, right in trial(config, arm, number).items():
            found[name].append(right)
        so_far = ", ".join(f"{name} {int(np.all(r, axis=1).sum())}" for name, r in found.items())
        spent = time.perf_counter() - started
        note(f"{number + 1} of {config.trials} trials, {spent:.0f} s: right everywhere in {so_far}")
    results = []
    for name, right in found.items():
        everywhere, each = float(np.all(right, axis=1).mean()), float(np.mean(right))
        results += [
            Result(f"verdict right for all joints, {name}", 100 * everywhere, "%", "higher"),
            Result(f"verdict right for a joint, {name}", 100 * each, "%", "higher"),
        ]
    report(results, title="Verdicts of coverage", as_json=config.json)
    return int(any(np.all(right, axis=1).mean() < ENOUGH for right in found.values()))


if __name__ == "__main__":
    sys.exit(guarded(main))
