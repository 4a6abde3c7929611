"""The hollows of one joint's error: many descents side by side, and hops from one to the next.

Errors of friction that sticks have many hollows, and a descent ends in the nearest. So descents (Levenberg
and Marquardt, differences instead of derivatives) start from the best of a thousand draws; then others start
beside where those ended, or as far from one end as two others are from one another, as long as it helps.
All candidates of a step are simulated at once. The ends are kept: how well figures are known depends on the
other hollows that recordings cannot tell from the deepest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regrasp.assets.arm import Arm
from regrasp.sim2real.identify.quick import (
    DT_S,
    FAR_RAD,
    Loads,
    costs_of,
    errors_of,
    part_of,
    slopes_of,
    traces_of,
)
from regrasp.sim2real.identify.refine import LEAST_SIGMA
from regrasp.sim2real.identify.terms import PRIOR_SD

KEPT = 16
"""Hollows that are kept, and from which hops start."""
APART = 0.003
"""Ends of descents that are nearer than this in every figure are one hollow."""
SEARCHED_S = 100.0
"""Recordings longer than this together are searched in part; the last descents are down the errors of all."""
DAMPINGS = (0.03, 1.0, 10.0, 100.0)
"""Times the damping that helped last; the best of these is taken."""
LONGEST = 0.25
"""Of a step, in units of the range."""
NEAREST, FARTHEST = 0.003, 0.15
"""Standard deviations of hops."""


@dataclass(frozen=True)
class Effort:
    """How long one joint is searched."""

    draws: int = 1024
    """Random places that are tried first."""
    steps: int = 12
    """Of the first descents; those after hops take half as many."""
    hops: int = 12
    """At most."""
    patience: int = 4
    """Hops in a row that may gain nothing."""


@dataclass(frozen=True, eq=False)
class Hollows:
    """Where descents ended, the deepest first."""

    z: np.ndarray
    """(hollows, terms), in units of the ranges."""
    cost: np.ndarray
    """Half the sum of Huber's squares in units of `sigma`, and the prior's part."""
    sigma: float
    """Robust standard deviation of the errors in the deepest (rad)."""


@dataclass(frozen=True, eq=False)
class JointErrors:
    """The errors of one joint on its own."""

    arm: Arm
    joint: int
    names: tuple[str, ...]
    loads: Loads

    def costs(self, z: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
        """Half the sums of Huber's squares of errors in units of `sigma`, and the prior's part."""
        prior = 0.5 * (((z - 0.5) / PRIOR_SD) ** 2).sum(axis=1)
        return costs_of(self.arm, self.joint, self.names, z, self.loads, sigma), prior

    def whole(self, z: np.ndarray, sigma: float) -> np.ndarray:
        """Both parts of the cost together."""
        return np.sum(self.costs(z, sigma), axis=0)

    def slopes(
        self, z: np.ndarray, widths: np.ndarray, sigma: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gradients (starts, terms) and Gauss-Newton Hessians of the cost, by differences.

        Args:
            z: (starts, terms).
            widths: of the differences (starts,).
            sigma: unit of errors (rad).
        """
        terms = z.shape[1]
        # Away from the upper bound, with which the lower one is never near.
        signed = np.where(z + widths[:, None] > 1, -widths[:, None], widths[:, None])
        beside = z[:, None] + np.eye(terms) * signed[:, :, None]
        points = np.concatenate([z[:, None], beside], axis=1)
        gradient, hessian = slopes_of(self.arm, self.joint, self.names, points, self.loads, sigma)
        gradient = gradient / signed + (z - 0.5) / PRIOR_SD**2
        hessian = hessian / (signed[:, :, None] * signed[:, None])
        return gradient, hessian + np.eye(terms) / PRIOR_SD**2

    def sigma(self, z: np.ndarray) -> float:
        """Robust standard deviation of one candidate's errors (rad)."""
        error = traces_of(self.arm, self.joint, self.names, z[None], self.loads)[0]
        inside = np.nan_to_num(np.abs(error[self.loads.weight > 0]), nan=FAR_RAD)
        return max(1.4826 * float(np.median(inside)), LEAST_SIGMA)


def hollows_of(
    arm: Arm,
    joint: int,
    names: Sequence[str],
    loads: Loads,
    starts: np.ndarray,
    how: Effort = Effort(),
    seed: int = 0,
) -> Hollows:
    """Search one joint's figures.

    Args:
        arm: the nominal arm.
        joint: its index.
        names: terms that are fitted.
        loads: of the recordings.
        starts: (starts, terms) where descents start beside the draws.
        how: how long.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    some = JointErrors(arm, joint, tuple(names), _thinned(loads))
    draws = np.concatenate([starts, rng.uniform(0, 1, (how.draws, len(names)))])
    squares = errors_of(arm, joint, some.names, draws, some.loads) ** 2
    order = np.argsort(squares @ some.loads.weight.sum(axis=0))
    first = np.unique(np.r_[np.arange(len(starts)), order[: 2 * KEPT]])
    sigma = some.sigma(draws[order[0]])
    found = _merged([_descended(some, draws[first], sigma, how.steps, 0.02)])
    idle = 0
    for _ in range(how.hops):
        sigma = some.sigma(found[0][0])
        before = found[0], some.whole(found[0], sigma)
        after = _descended(some, _hopped(before[0], rng), sigma, max(how.steps // 2, 1), 0.01)
        found = _merged([before, after])
        # A gain that no one could see: a hundredth of what is due to chance.
        idle = 0 if found[1][0] < before[1].min() - 0.01 else idle + 1
        if idle >= how.patience:
            break
    whole = JointErrors(arm, joint, some.names, loads)
    sigma = whole.sigma(found[0][0])
    z, cost = _merged([_descended(whole, found[0], sigma, max(how.steps // 2, 1), 0.005)])
    return Hollows(z, cost, sigma)


def _thinned(loads: Loads) -> Loads:
    count = loads.weight.shape[1]
    samples = loads.weight.sum(axis=0)
    wanted = int(np.ceil(SEARCHED_S / max(float(seconds_of(loads).mean()), 1e-9)))
    if wanted >= count or not samples.any():
        return loads
    return part_of(loads, np.unique(np.linspace(0, count - 1, wanted).round().astype(int)))


def seconds_of(loads: Loads) -> np.ndarray:
    """Length of each log (s)."""
    return (loads.row * (loads.weight > 0)).max(axis=0) * DT_S


def _descended(
    of: JointErrors, z: np.ndarray, sigma: float, steps: int, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where descents from `z` are after some steps, and the costs there.

    Args:
        of: the joint.
        z: (starts, terms).
        sigma: unit of errors (rad).
        steps: how many.
        width: of the first differences.
    """
    z = z.copy()
    count, terms = z.shape
    damping, widths = np.full(count, 1e-2), np.full(count, width)
    cost = of.whole(z, sigma)
    for _ in range(steps):
        gradient, hessian = of.slopes(z, widths, sigma)
        tried = np.stack([_stepped(z, gradient, hessian, d * damping) for d in DAMPINGS])
        flat = tried.reshape(-1, terms)
        costs = of.whole(flat, sigma).reshape(len(DAMPINGS), count)
        best = costs.argmin(axis=0)
        least = costs.min(axis=0)
        better = least < cost
        z[better] = tried[best, np.arange(count)][better]
        cost = np.minimum(cost, least)
        damping = np.clip(damping * np.where(better, np.array(DAMPINGS)[best], 100.0), 1e-6, 1e4)
        # Finer differences nearer to the bottom; where nothing helped, another width may.
        stuck = np.where(widths < 0.004, 0.01, 0.4 * widths)
        widths = np.where(better, np.maximum(0.5 * widths, 0.001), stuck)
    return z, cost


def _stepped(
    z: np.ndarray, gradient: np.ndarray, hessian: np.ndarray, damping: np.ndarray
) -> np.ndarray:
    """Damped steps; what is pressed against a bound stays there, and the others step without it."""
    own = np.einsum("skk->sk", hessian)
    damped = hessian + np.eye(z.shape[1]) * (damping[:, None] * own)[:, :, None]
    free, step = np.ones(z.shape, bool), np.zeros(z.shape)
    for _ in range(3):
        matrix = np.where(free[:, :, None] & free[:, None], damped, 0.0)
        matrix += np.eye(z.shape[1]) * ~free[:, :, None]
        step = -np.linalg.solve(matrix, (gradient * free)[..., None])[..., 0]
        out = ((z <= 0) & (step < 0)) | ((z >= 1) & (step > 0))
        if not (out & free).any():
            break
        free &= ~out
    return np.clip(z + np.clip(step * free, -LONGEST, LONGEST), 0, 1)


def _hopped(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Places to go down from, one for each hollow: beside it, or as far from it as two others are apart."""
    many, terms = z.shape
    size = np.exp(rng.uniform(np.log(NEAREST), np.log(FARTHEST), (many, 1)))
    some = rng.random((many, terms)) < rng.choice([0.3, 1.0], (many, 1))
    beside = size * rng.standard_normal((many, terms)) * some
    ends = rng.integers(0, len(z), (2, many))
    along = rng.uniform(0.2, 1.2, (many, 1)) * (z[ends[0]] - z[ends[1]])
    along += NEAREST * rng.standard_normal((many, terms))
    moved = z + np.where(rng.random((many, 1)) < 0.5, along, beside)
    # What would leave the range comes back from its end.
    return np.clip(1 - np.abs(1 - np.abs(moved)), 0, 1)


def _merged(found: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The deepest hollows that are apart from one another."""
    z, cost = (np.concatenate(part) for part in zip(*found, strict=True))
    kept: list[int] = []
    for i in np.argsort(cost):
        if all(np.abs(z[i] - z[k]).max() > APART for k in kept):
            kept.append(int(i))
        if len(kept) == KEPT:
            break
    return z[kept], cost[kept]
