"""A sample of what one joint's figures may be: their posterior, walked by many chains side by side.

A plane through the errors says too little of them where hollows bend or friction sticks. The chains are those
of differential evolution (Ter Braak, "A Markov chain Monte Carlo version of the genetic algorithm
differential evolution", 2006): each is offered a step as long as two others are apart, so steps have the
shape of the posterior, however narrow and bent it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regrasp.assets.arm import Arm
from regrasp.sim2real.identify.hollows import JointErrors
from regrasp.sim2real.identify.quick import Loads
from regrasp.sim2real.identify.terms import PRIOR_SD

JUMP = 0.1
"""Share of steps as long as two chains are apart: from hollow to hollow. The others are scaled for a bell."""
JITTER = 1e-4
"""Standard deviation of what is added to every step, in units of the range."""
WORSE = 20.0
"""Places whose cost is higher by more than this start no chain."""


@dataclass(frozen=True)
class Walk:
    """How long posteriors are walked."""

    chains: int = 64
    steps: int = 150
    """The first half is thrown away."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """Of one joint's figures, in units of their ranges."""

    z: np.ndarray
    """(draws, terms)."""
    last: np.ndarray
    """(chains, terms): where chains ended."""
    best: np.ndarray
    """(terms,): the most probable place that was seen."""
    accepted: float
    """Share of steps that were taken."""


def posterior_of(
    arm: Arm,
    joint: int,
    names: Sequence[str],
    loads: Loads,
    starts: np.ndarray,
    *,
    sigma: float,
    inflation: float,
    how: Walk = Walk(),
    seed: int = 0,
) -> Posterior:
    """Walk the posterior of one joint's figures.

    Args:
        arm: the nominal arm.
        joint: its index.
        names: terms that are fitted.
        loads: of the recordings.
        starts: (places, terms) that chains start about.
        sigma: standard deviation of errors (rad).
        inflation: samples per independent one.
        how: how long.
        seed: of the steps.
    """
    rng = np.random.default_rng(seed)
    of = JointErrors(arm, joint, tuple(names), loads)
    terms = len(names)

    def height(z: np.ndarray) -> np.ndarray:
        inside = ((z >= 0) & (z <= 1)).all(axis=1)
        fit, prior = of.costs(np.clip(z, 0, 1), sigma)
        return np.where(inside, fit / inflation + prior, np.inf)

    heights = height(starts)
    best, least = starts[heights.argmin()], float(heights.min())
    z = _begun(of, starts, heights, sigma, inflation, how.chains, rng)
    cost = height(z)
    kept, taken = [], 0
    for step in range(how.steps):
        a = (np.arange(how.chains) + rng.integers(1, how.chains, how.chains)) % how.chains
        b = (np.arange(how.chains) + rng.integers(1, how.chains, how.chains)) % how.chains
        scale = 2.38 / np.sqrt(2 * terms) * np.exp(rng.uniform(-1.5, 0, (how.chains, 1)))
        scale = np.where(rng.random((how.chains, 1)) < JUMP, 1.0, scale)
        offered = z + scale * (z[a] - z[b]) + JITTER * rng.standard_normal(z.shape)
        offers = height(offered)
        yes = np.log(rng.random(how.chains)) < cost - offers
        z, cost = np.where(yes[:, None], offered, z), np.where(yes, offers, cost)
        if cost.min() < least:
            best, least = z[cost.argmin()].copy(), float(cost.min())
        if step >= how.steps // 2:
            kept.append(z)
            taken += int(yes.sum())
    share = taken / (how.chains * max(len(kept), 1))
    return Posterior(np.concatenate(kept), z, best, share)


def _begun(
    of: JointErrors,
    starts: np.ndarray,
    heights: np.ndarray,
    sigma: float,
    inflation: float,
    chains: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Where chains start: about places that are not much worse than the best, as a plane there says."""
    good = starts[heights <= heights.min() + WORSE]
    best = starts[heights.argmin()][None]
    _, hessian = of.slopes(best, np.full(1, 0.002), sigma)
    prior = np.eye(best.shape[1]) / PRIOR_SD**2
    values, vectors = np.linalg.eigh((hessian[0] - prior) / inflation + prior)
    lengths = 1 / np.sqrt(np.maximum(values, 1 / PRIOR_SD**2))
    spread = (rng.standard_normal((chains, best.shape[1])) * lengths) @ vectors.T
    about = np.where(
        rng.random(chains)[:, None] < 0.5, best, good[rng.integers(0, len(good), chains)]
    )
    return np.clip(about + spread, 0, 1)


def ends_of(posteriors: Sequence[Posterior], share: float) -> np.ndarray:
    """Where the middle `share` of each figure's draws begins and ends: (2, terms of all joints)."""
    tails = [0.5 - share / 2, 0.5 + share / 2]
    return np.concatenate([np.quantile(one.z, tails, axis=0) for one in posteriors], axis=1)
