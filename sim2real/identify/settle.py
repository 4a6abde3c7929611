"""The search and Gauss-Newton in turns: each gets the other out of where it is stuck."""

from collections.abc import Callable, Sequence

import numpy as np

from regrasp.sim2real.identify.choose import fitted
from regrasp.sim2real.identify.fit import Unknowns
from regrasp.sim2real.identify.quick import loads_of
from regrasp.sim2real.identify.refine import Linear, Noise, refine
from regrasp.sim2real.identify.search import Search
from regrasp.sim2real.log import Log

AGAIN = Search(generations=80, spread=0.12)


def settle(
    unknowns: Unknowns,
    x: np.ndarray,
    logs: Sequence[Log],
    *,
    rounds: int,
    iterations: int,
    threads: int = 0,
    tell: Callable[[int, float], None] = lambda done, cost: None,
) -> tuple[Linear, Noise]:
    """The most probable figures, from a first guess.

    Gauss-Newton goes to the next hollow of the whole simulated arm. A search for each joint, under the
    loads of that simulation, which are free of the noise of a recording, then looks around it; and so on.

    Args:
        unknowns: what is fitted.
        x: where to start.
        logs: recordings, or pieces of them.
        rounds: searches after the first Gauss-Newton.
        iterations: of Gauss-Newton, in each turn.
        threads: of the replays; 0 takes every core.
        tell: called after each iteration, with how many there were, and the cost.
    """
    done = 0

    def count(_: int, cost: float) -> None:
        nonlocal done
        done += 1
        tell(done, cost)

    linear, noise = refine(unknowns, x, logs, iterations=iterations, threads=threads, tell=count)
    for _ in range(rounds):
        found = _searched(unknowns, linear, logs)
        other, heard = refine(
            unknowns, found, logs, iterations=iterations, threads=threads, tell=count
        )
        before, after = (noise.costs(one.error) for one in (linear, other))
        if after.sum() > before.sum():
            # What helped a joint is kept; the rest goes back.
            mixed = linear.x.copy()
            for j, block in enumerate(unknowns.blocks):
                if after[j] < before[j]:
                    mixed[block] = other.x[block]
            other, heard = refine(unknowns, mixed, logs, iterations=1, threads=threads, tell=count)
        linear, noise = other, heard
    return linear, noise


def _searched(unknowns: Unknowns, linear: Linear, logs: Sequence[Log]) -> np.ndarray:
    """Every joint's terms, searched for around `linear` under the loads of its simulation."""
    arm = unknowns.arm_at(linear.x)
    span = abs(arm.position(1.0) - arm.position(0.0))
    scale = np.r_[np.ones(len(arm.joints) - 1), 1 / span]
    motions = [log.q + error * scale for log, error in zip(logs, linear.error, strict=True)]
    loads = loads_of(logs, arm, motions)
    everything = np.ones(len(logs), bool)
    x = linear.x.copy()
    for j, (names, block) in enumerate(zip(unknowns.terms, unknowns.blocks, strict=True)):
        x[block], _ = fitted(unknowns.arm, j, names, loads, everything, linear.x[block], AGAIN)
    return x
