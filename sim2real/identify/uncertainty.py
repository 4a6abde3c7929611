"""How well figures are known: intervals, conditioning, and what to record next."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from regrasp.sim2real.identify.fit import Unknowns
from regrasp.sim2real.identify.refine import BLOCK_S, Linear, Noise, weights_of
from regrasp.sim2real.log import Log

AT_BOUND = 0.005
MEANT, HELD = 0.95, 0.95
"""What share of intervals is meant to hold the truth, and what share did on logs from known servos
(`python -m benchmarks.identification`, 100 trials, 5400 intervals). There the figures that are fitted explain
every error; what a real arm does besides is seen only as far as it makes errors that are alike for long."""


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Of the unknowns at the end of a fit, in their scaled units."""

    covariance: np.ndarray
    low: np.ndarray
    high: np.ndarray
    """Ends of the intervals: see `MEANT` and `HELD`."""
    condition: np.ndarray
    """cond(J^T J) per joint, of its own terms, columns scaled to one length; without prior."""
    at_bounds: np.ndarray
    """Which unknowns ended at a bound."""


def information(unknowns: Unknowns, linear: Linear, noise: Noise) -> np.ndarray:
    """J^T W J of the recordings alone, in independent samples."""
    total = np.zeros((len(linear.x), len(linear.x)))
    for error, jacobian in zip(linear.error, linear.jacobian, strict=True):
        weighted = jacobian * weights_of(error, noise)[..., None]
        total += np.einsum("tjk,tjl->kl", jacobian, weighted, optimize=True)
    return total


def uncertainty_of(
    unknowns: Unknowns,
    linear: Linear,
    noise: Noise,
    logs: Sequence[Log],
    ends: np.ndarray | None = None,
) -> Uncertainty:
    """Intervals of Gauss-Newton, corrected for errors that are alike over a second, or those of samples.

    A plane through errors of stick and slip says too little: where `ends`, those of the walked posteriors,
    lie farther out, they are the intervals. Where the sums of the gradient over blocks of a second vary
    more than independent samples would (Huber's sandwich), the covariance grows by as much; it never falls
    below that of the normal equations. Quantiles are Student's, with one degree less than there are
    blocks. The prior is that of `terms`.

    Args:
        unknowns: what was fitted.
        linear: the errors at the end of the fit, and their slopes.
        noise: how large errors are, and how alike.
        logs: what was fitted to.
        ends: of each joint's own terms, low and high (2, terms of all joints): `sample.ends_of`.
    """
    _, sd = unknowns.prior
    fisher = information(unknowns, linear, noise)
    hessian = fisher + np.diag(1 / sd**2)
    inverse = np.linalg.inv(hessian)
    meat, blocks = np.diag(1 / sd**2), 0
    for error, jacobian, log in zip(linear.error, linear.jacobian, logs, strict=True):
        size = max(1, round(BLOCK_S / log.period_s))
        pulled = np.einsum("tj,tjk->tk", error * weights_of(error, noise), jacobian)
        for i in range(0, len(pulled), size):
            g = pulled[i : i + size].sum(axis=0)
            meat = meat + np.outer(g, g)
            blocks += 1
    sandwich = inverse @ meat @ inverse
    grown = np.sqrt(np.maximum(np.diag(sandwich) / np.diag(inverse), 1.0))
    covariance = inverse * np.outer(grown, grown)
    quantile = float(stats.t.ppf(0.5 + MEANT / 2, max(blocks - 1, 2)))
    half = quantile * np.sqrt(np.diag(covariance))
    lowest, highest = linear.x - half, linear.x + half
    if ends is not None:
        own = slice(0, unknowns.shared.start)
        lowest[own] = np.minimum(lowest[own], ends[0])
        highest[own] = np.maximum(highest[own], ends[1])
    low, high = unknowns.bounds
    ended = (linear.x <= low + AT_BOUND) | (linear.x >= high - AT_BOUND)
    return Uncertainty(
        covariance,
        np.clip(lowest, low, high),
        np.clip(highest, low, high),
        np.array([_condition(fisher[block, block]) for block in unknowns.blocks]),
        ended,
    )


@dataclass(frozen=True)
class Gain:
    """What a recording would add to a fit."""

    name: str
    source: str
    seconds: float
    d_optimal: float
    """Nats by which the logarithm of the volume of uncertainty would fall."""
    a_optimal: float
    """Share by which the sum of variances (in units of priors) would fall."""


def gains_of(
    unknowns: Unknowns, known: np.ndarray, candidates: Linear, noise: Noise, logs: Sequence[Log]
) -> list[Gain]:
    """Candidates by what each would add alone, the best first.

    Args:
        unknowns: what is fitted.
        known: information of what was fitted, prior left out.
        candidates: the candidates' Jacobians at the fitted figures; what they measure does not matter.
        noise: of the fit.
        logs: the candidates.
    """
    _, sd = unknowns.prior
    before = known + np.diag(1 / sd**2)
    units = np.outer(sd, sd)
    volume, spread = np.linalg.slogdet(before)[1], np.trace(np.linalg.inv(before * units))
    found = []
    for jacobian, log in zip(candidates.jacobian, logs, strict=True):
        weight = 1 / (noise.sigma**2 * noise.inflation)
        added = np.einsum("tjk,tjl->kl", jacobian, jacobian * weight[:, None], optimize=True)
        after = before + added
        fall = 1 - np.trace(np.linalg.inv(after * units)) / spread
        gain = 0.5 * (np.linalg.slogdet(after)[1] - volume)
        found.append(Gain(log.name, log.source, log.duration_s, float(gain), float(fall)))
    return sorted(found, key=lambda one: -one.d_optimal)


def _condition(matrix: np.ndarray) -> float:
    length = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    values = np.linalg.eigvalsh(matrix / np.outer(length, length))
    return float(values[-1] / max(values[0], 1e-16))
