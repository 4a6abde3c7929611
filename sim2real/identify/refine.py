"""Gauss-Newton on the simulated arm: the replay's own errors, of all joints at once.

A joint's figures hardly move another joint, so the n-th figure of every joint is perturbed in the same
simulation, and each joint's errors are read off for its own: as many simulations as one joint has
figures. What the joints share (masses, the supply) is perturbed one by one and read off everywhere; so
is every figure where recordings are short.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from regrasp.errors import InputError
from regrasp.sim2real.identify.fit import Unknowns
from regrasp.sim2real.log import Log
from regrasp.sim2real.replay import replay

TIMESTEP_S = 0.004
"""Replays for a fit are coarser than those that are judged, and the arm does not touch itself."""
OUTLIER = 3.0
"""Errors beyond so many robust standard deviations count less (Huber): contacts with a table, say."""
LEAST_SIGMA = 4e-4
"""No encoder of 4096 steps is better (rad)."""
APART_S = 120.0
"""Recordings no longer than this together afford a simulation for every figure of every joint, which
shows what it does to the other joints too."""
BLOCK_S = 1.0
"""Errors are taken as independent beyond this time."""
LEAST_INFLATION = 2.0
"""Samples per independent one that intervals assume at least. Even errors that look independent say less
than they seem to: a joint's posterior is that under one motion of the others, which are not known exactly
either, and walks through hollows are not endless. Set by ten synthetic trials (`benchmarks.identification`,
`--seed 0`) that are none of those reported: with 1, 2 and 4, 92, 95 and 97 % of the truths were inside."""
DAMPING = (1e-3, 0.03, 0.5, 5.0, 50.0)
WIDEST = 0.25
"""Longest step of a term in one iteration."""
ENOUGH = 2e-3
"""Iterations end where they gain a smaller share."""
TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Linear:
    """The errors at a point and how they change: all that a step or an interval needs."""

    x: np.ndarray
    error: list[np.ndarray]
    """Per log, (samples, joints), simulated less measured (rad)."""
    jacobian: list[np.ndarray]
    """Per log, (samples, joints, unknowns)."""


def errors_at(
    unknowns: Unknowns, points: Sequence[np.ndarray], logs: Sequence[Log], threads: int = 0
) -> list[list[np.ndarray]]:
    """Errors (rad) of every log at every point: [point][log] (samples, joints)."""
    arms = [unknowns.arm_at(x) for x in points]
    found = replay(
        [log for _ in points for log in logs],
        [arm for arm in arms for _ in logs],
        timestep_s=TIMESTEP_S,
        threads=threads,
        contacts=False,
    )
    scale = np.ones(len(unknowns.arm.joints))
    scale[-1] = abs(unknowns.arm.position(1.0) - unknowns.arm.position(0.0))
    return [
        [(found[p * len(logs) + i] - log.q) * scale for i, log in enumerate(logs)]
        for p in range(len(points))
    ]


def linearised(
    unknowns: Unknowns,
    x: np.ndarray,
    step: np.ndarray,
    logs: Sequence[Log],
    threads: int = 0,
) -> Linear:
    """Errors and their Jacobian by differences of size `step`, away from the nearer bound."""
    step = np.where(x + step > unknowns.bounds[1], -step, step)
    own = range(unknowns.shared.start)
    if sum(log.duration_s for log in logs) <= APART_S:
        groups = [[i] for i in own]
    else:
        widest = max(len(terms) for terms in unknowns.terms)
        groups = [
            [b.start + k for b in unknowns.blocks if b.start + k < b.stop] for k in range(widest)
        ]
    alone = len(groups) == len(own)
    groups += [[i] for i in range(unknowns.shared.start, unknowns.shared.stop)]
    points = []
    for group in groups:
        points.append(x.copy())
        points[-1][group] += step[group]
    base, *moved = errors_at(unknowns, [x, *points], logs, threads)
    jacobian = [np.zeros((*error.shape, len(x))) for error in base]
    joint = np.repeat(np.arange(len(unknowns.terms)), [len(terms) for terms in unknowns.terms])
    for group, errors in zip(groups, moved, strict=True):
        for i in group:
            seen = (
                slice(None)
                if alone or i >= unknowns.shared.start
                else slice(joint[i], joint[i] + 1)
            )
            for into, error, start in zip(jacobian, errors, base, strict=True):
                into[:, seen, i] = (error - start)[:, seen] / step[i]
    return Linear(x, base, jacobian)


@dataclass(frozen=True, eq=False)
class Noise:
    """How large errors are, and how many samples are worth one."""

    sigma: np.ndarray
    """Robust standard deviation per joint (rad)."""
    inflation: np.ndarray
    """Samples per independent one, per joint."""

    def costs(self, errors: Sequence[np.ndarray]) -> np.ndarray:
        """Half the sum of Huber's squares per joint, in units of sigma."""
        total = np.zeros(len(self.sigma))
        for error in errors:
            total += huber(error / self.sigma).sum(axis=0)
        return np.nan_to_num(total, nan=np.inf)


def huber(r: np.ndarray) -> np.ndarray:
    """Half the square of errors in units of sigma; it grows evenly beyond `OUTLIER`."""
    size = np.abs(r)
    return np.where(size < OUTLIER, 0.5 * size**2, OUTLIER * (size - 0.5 * OUTLIER))


def noise_of(errors: Sequence[np.ndarray], logs: Sequence[Log]) -> Noise:
    """Size and correlation of the errors of a fit: variance of block sums over that of samples."""
    together = np.concatenate(list(errors))
    sigma = np.maximum(1.4826 * np.median(np.abs(together), axis=0), LEAST_SIGMA)
    squares, sums = np.zeros(len(sigma)), np.zeros(len(sigma))
    for error, log in zip(errors, logs, strict=True):
        r = np.clip(error / sigma, -OUTLIER, OUTLIER)
        for block in _blocks(log):
            squares += (r[block] ** 2).sum(axis=0)
            sums += r[block].sum(axis=0) ** 2
    return Noise(sigma, np.maximum(sums / np.maximum(squares, TINY), 1.0))


def doubted(noise: Noise) -> Noise:
    """The noise with errors counted as alike at least as much as `LEAST_INFLATION` says."""
    return replace(noise, inflation=np.maximum(noise.inflation, LEAST_INFLATION))


def refine(
    unknowns: Unknowns,
    x: np.ndarray,
    logs: Sequence[Log],
    *,
    iterations: int,
    threads: int = 0,
    tell: Callable[[int, float], None] = lambda done, cost: None,
) -> tuple[Linear, Noise]:
    """The most probable figures near `x`, and the errors about them.

    Steps are those of Levenberg and Marquardt; several dampings are tried at once. Ends early where no
    step helps.

    Args:
        unknowns: what is fitted.
        x: where to start.
        logs: recordings, or pieces of them.
        iterations: at most so many.
        threads: of the replays; 0 takes every core.
        tell: called after each iteration.
    """
    step = np.full(len(x), 0.02)
    step[unknowns.shared] = 0.3
    linear = linearised(unknowns, x, step, logs, threads)
    for done in range(iterations):
        noise = noise_of(linear.error, logs)
        # On the way every sample counts: errors of a poor fit are alike for long, and would count
        # for so little that the prior held the fit where it is.
        plain = replace(noise, inflation=np.ones(len(noise.sigma)))
        gradient, hessian = normal_equations(unknowns, linear, plain)
        before = _costs(unknowns, plain, linear.error, linear.x)
        points, costs = _candidates(unknowns, linear, gradient, hessian, plain, logs, threads)
        x, gained = _mixed(unknowns, np.array([linear.x, *points]), np.array([before, *costs]))
        tell(done + 1, float(before.sum() - gained))
        # Differences as wide as the figure is uncertain: finer ones see friction's steps.
        step = np.clip(np.sqrt(np.diag(np.linalg.inv(hessian))), 0.002, 0.03)
        step[unknowns.shared] = np.clip(step[unknowns.shared] * 10, 0.1, 0.5)
        after = linearised(unknowns, x, step, logs, threads)
        if _costs(unknowns, plain, after.error, x).sum() > before.sum():
            # Joints that helped themselves hurt one another: all go to the best point of all.
            best = int(np.argmin(np.sum(costs, axis=1)))
            if np.sum(costs[best]) >= before.sum():
                break
            after = linearised(unknowns, points[best], step, logs, threads)
        linear = after
        if gained < ENOUGH * before.sum():
            break
    return linear, noise_of(linear.error, logs)


def _costs(
    unknowns: Unknowns, noise: Noise, errors: Sequence[np.ndarray], x: np.ndarray
) -> np.ndarray:
    """Cost of each joint, the prior of its terms included, and of the prior of what they share."""
    mean, sd = unknowns.prior
    prior = 0.5 * ((x - mean) / sd) ** 2
    own = [prior[block].sum() for block in unknowns.blocks]
    return np.r_[noise.costs(errors) + own, prior[unknowns.shared].sum()]


def _candidates(
    unknowns: Unknowns,
    linear: Linear,
    gradient: np.ndarray,
    hessian: np.ndarray,
    noise: Noise,
    logs: Sequence[Log],
    threads: int,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Points that differently damped steps lead to, and their costs."""
    low, high = unknowns.bounds
    points = []
    for damping in DAMPING:
        damped = hessian + np.diag(damping * np.diag(hessian))
        free = np.ones(len(gradient), bool)
        step = np.zeros(len(gradient))
        for _ in range(3):
            # What is pressed against a bound stays there, and the others step without it.
            step[:] = 0
            step[free] = -np.linalg.solve(damped[np.ix_(free, free)], gradient[free])
            out = ((linear.x <= low) & (step < 0)) | ((linear.x >= high) & (step > 0))
            if not (out & free).any():
                break
            free &= ~out
        points.append(np.clip(linear.x + np.clip(step, -WIDEST, WIDEST), low, high))
    tried = _tried(unknowns, points, logs, threads)
    return points, [_costs(unknowns, noise, e, x) for e, x in zip(tried, points, strict=True)]


def _mixed(unknowns: Unknowns, points: np.ndarray, costs: np.ndarray) -> tuple[np.ndarray, float]:
    """Every joint's terms from the point that is best for that joint; the rest from the best of all."""
    x = points[int(np.argmin(costs.sum(axis=1)))].copy()
    gained = 0.0
    for j, block in enumerate(unknowns.blocks):
        best = int(np.argmin(costs[:, j]))
        x[block] = points[best][block]
        gained += float(costs[0, j] - costs[best, j])
    return x, gained


def normal_equations(
    unknowns: Unknowns, linear: Linear, noise: Noise
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and Gauss-Newton Hessian of the cost, prior included."""
    mean, sd = unknowns.prior
    gradient, hessian = (linear.x - mean) / sd**2, np.diag(1 / sd**2)
    for error, jacobian in zip(linear.error, linear.jacobian, strict=True):
        weight = weights_of(error, noise)
        weighted = jacobian * weight[..., None]
        gradient = gradient + np.einsum("tj,tjk->k", error, weighted)
        hessian = hessian + np.einsum("tjk,tjl->kl", jacobian, weighted, optimize=True)
    return gradient, hessian


def weights_of(error: np.ndarray, noise: Noise) -> np.ndarray:
    """Weight of each sample (samples, joints): inverse variance, less for outliers, per piece of news."""
    r = np.abs(error) / noise.sigma
    return np.minimum(1, OUTLIER / np.maximum(r, OUTLIER)) / (noise.sigma**2 * noise.inflation)


def _blocks(log: Log) -> list[slice]:
    size = max(1, round(BLOCK_S / log.period_s))
    return [slice(i, i + size) for i in range(0, len(log.t), size)]


def _tried(
    unknowns: Unknowns, points: Sequence[np.ndarray], logs: Sequence[Log], threads: int
) -> list[list[np.ndarray]]:
    """Errors at the points; infinite where a point makes the arm unstable."""
    try:
        return errors_at(unknowns, points, logs, threads)
    except InputError:
        found = []
        for x in points:
            try:
                found += errors_at(unknowns, [x], logs, threads)
            except InputError:
                found.append([np.full_like(log.q, 1e6) for log in logs])
        return found
