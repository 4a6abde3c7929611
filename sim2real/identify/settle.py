"""Searches of single joints and the whole simulated arm in turns, then Gauss-Newton on the arm.

A joint on its own is searched widely and cheaply, but under loads that belong to a motion. The arm is
simulated with what was found, and its joints are searched again under the loads of that simulation, until
the loads are those of the figures that are found under them.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from regrasp.sim2real.identify.fit import Unknowns
from regrasp.sim2real.identify.hollows import SEARCHED_S, Effort, Hollows, hollows_of, seconds_of
from regrasp.sim2real.identify.quick import DT_S, Loads, loads_of, traces_of, with_beside
from regrasp.sim2real.identify.refine import (
    TIMESTEP_S,
    Linear,
    Noise,
    doubted,
    errors_at,
    noise_of,
    refine,
)
from regrasp.sim2real.identify.sample import Posterior, Walk, posterior_of
from regrasp.sim2real.log import Log
from regrasp.sim2real.replay import build_model
from regrasp.sim2real.simulate import Piece, simulate

ENOUGH = 1.0
"""A round that lowers the cost by less, in independent samples, is the last of its kind."""
BRIEF = Walk(chains=32)
"""Of posteriors under recordings longer than `SEARCHED_S` together."""
WALKS = 3
"""Walks of the posteriors at most: where one finds a better place, loads change."""
T = TypeVar("T")
AGAIN = Effort(steps=8, patience=3)
"""Later searches also start from what earlier ones found."""


def settle(
    unknowns: Unknowns,
    x: np.ndarray,
    logs: Sequence[Log],
    *,
    rounds: int,
    iterations: int,
    threads: int = 0,
    tell: Callable[[int, float], None] = lambda done, cost: None,
) -> tuple[Linear, Noise, list[Posterior]]:
    """The most probable figures, from a first guess, and a sample of what each joint's may be.

    Where joints share something, Gauss-Newton finds it, and all begins once more with that.

    Args:
        unknowns: what is fitted.
        x: where to start.
        logs: recordings, or pieces of them.
        rounds: simulations of the arm whose loads joints are searched under.
        iterations: of Gauss-Newton at the end, at most.
        threads: 0 takes every core.
        tell: called after each round and iteration, with how many there were, and the cost.
    """
    done = 0

    def count(_: int, cost: float) -> None:
        nonlocal done
        done += 1
        tell(done, cost)

    hollows: list[Hollows] = []
    posteriors: list[Posterior] = []

    def turn(x: np.ndarray) -> tuple[Linear, Noise]:
        nonlocal hollows, posteriors
        errors = errors_at(unknowns, [x], logs, threads)[0]
        for number in range(rounds):
            loads = whole_loads(unknowns, x, errors, logs, threads)
            hollows = _searched(unknowns, x, loads, hollows, number, threads)
            found = [one.z[0] for one in hollows]
            x, errors, cost, gain = _better(unknowns, x, errors, found, logs, threads)
            count(0, cost)
            if gain < ENOUGH:
                break
        for number in range(WALKS):
            loads = whole_loads(unknowns, x, errors, logs, threads)
            starts = [one.last for one in posteriors] or [one.z for one in hollows]
            noise = doubted(noise_of(errors, logs))
            posteriors = _walked(unknowns, x, loads, starts, noise, number, threads)
            found = [one.best for one in posteriors]
            x, errors, cost, gain = _better(unknowns, x, errors, found, logs, threads)
            count(0, cost)
            if gain < ENOUGH:
                break
        return refine(unknowns, x, logs, iterations=iterations, threads=threads, tell=count)

    linear, noise = turn(x)
    if unknowns.shared.stop > unknowns.shared.start:
        linear, noise = turn(linear.x)
    return linear, doubted(noise), posteriors


def whole_loads(
    unknowns: Unknowns,
    x: np.ndarray,
    errors: Sequence[np.ndarray],
    logs: Sequence[Log],
    threads: int = 0,
) -> Loads:
    """Loads of single joints in a simulation of the whole arm at `x`, whose errors are `errors`."""
    arm = unknowns.arm_at(x)
    model = build_model(arm, TIMESTEP_S, contacts=False)
    pieces = []
    for log in logs:
        t = log.t - log.t[0]
        stamps = np.arange(int(np.ceil(t[-1] / DT_S - 1e-9)) + 1) * DT_S
        pieces.append(Piece(log.name, stamps, t, log.cmd, log.q[0], np.zeros(len(log.joints))))
    many = len(pieces)
    motions = [q[0] for q in simulate(pieces, [arm] * many, [model] * many, threads=threads)]
    for q in motions:
        q[:, -1] = arm.position(q[:, -1])
    loads = loads_of(logs, arm, motions)
    own = [
        traces_of(unknowns.arm, j, names, x[None, block], loads)[0]
        for j, (names, block) in enumerate(zip(unknowns.terms, unknowns.blocks, strict=True))
    ]
    return with_beside(loads, errors, own)


def _searched(
    unknowns: Unknowns,
    x: np.ndarray,
    loads: Loads,
    before: Sequence[Hollows],
    seed: int,
    threads: int,
) -> list[Hollows]:
    """Hollows of every joint, from `x` and the hollows found before."""

    def one(j: int) -> Hollows:
        starts = x[None, unknowns.blocks[j]]
        if before:
            starts = np.concatenate([starts, before[j].z])
        how = AGAIN if before else Effort()
        return hollows_of(unknowns.arm, j, unknowns.terms[j], loads, starts, how, seed)

    return _by_joint(one, unknowns, threads)


def _walked(
    unknowns: Unknowns,
    x: np.ndarray,
    loads: Loads,
    starts: Sequence[np.ndarray],
    noise: Noise,
    seed: int,
    threads: int,
) -> list[Posterior]:
    """The posterior of every joint's terms, walked from places for each."""
    how = BRIEF if seconds_of(loads).sum() > SEARCHED_S else Walk()

    def one(j: int) -> Posterior:
        return posterior_of(
            unknowns.arm,
            j,
            unknowns.terms[j],
            loads,
            np.concatenate([x[None, unknowns.blocks[j]], starts[j]]),
            sigma=float(noise.sigma[j]),
            inflation=float(noise.inflation[j]),
            how=how,
            seed=seed,
        )

    return _by_joint(one, unknowns, threads)


def _by_joint(one: Callable[[int], T], unknowns: Unknowns, threads: int) -> list[T]:
    # Two joints at a time: the compiled simulation lets go of the interpreter.
    with ThreadPoolExecutor(1 if threads == 1 else 2) as pool:
        return list(pool.map(one, range(len(unknowns.terms))))


def _better(
    unknowns: Unknowns,
    x: np.ndarray,
    errors: list[np.ndarray],
    found: Sequence[np.ndarray],
    logs: Sequence[Log],
    threads: int,
) -> tuple[np.ndarray, list[np.ndarray], float, float]:
    """The best of: where the arm was, what was found for each joint, and that of the joints it helps.

    Returns:
        The place, its errors, its cost, and by how much that is less, in independent samples.
    """
    new_x = x.copy()
    for block, one in zip(unknowns.blocks, found, strict=True):
        new_x[block] = one
    after = errors_at(unknowns, [new_x], logs, threads)[0]
    noise = noise_of(after, logs)
    old, new = noise.costs(errors), noise.costs(after)
    places, all_errors, costs = [x, new_x], [errors, after], [old, new]
    if (new > old).any() and (new < old).any():
        mixed = new_x.copy()
        for block, worse in zip(unknowns.blocks, new > old, strict=True):
            mixed[block] = np.where(worse, x[block], mixed[block])
        places.append(mixed)
        all_errors.append(errors_at(unknowns, [mixed], logs, threads)[0])
        costs.append(noise.costs(all_errors[-1]))
    best = int(np.argmin([cost.sum() for cost in costs]))
    gain = float(((old - costs[best]) / noise.inflation).sum())
    return places[best], all_errors[best], float(costs[best].sum()), gain
