"""How well an ensemble of simulations predicts what was measured: scores of whole distributions.

Members come along the first axis. All scores but the likelihood and the ranks are losses: in the
unit of the signal, lower is better, and least on average for the ensemble whose law is the truth's.
"""

import numpy as np
from jaxtyping import Float, Int

from regrasp.errors import InputError


def fair_crps(
    members: Float[np.ndarray, "members *shape"], truth: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """Continuous ranked probability score of an ensemble, unbiased in the number of members.

    mean |x_i - y| - sum_ij |x_i - x_j| / (2 M (M - 1)). Source: Ferro, "Fair scores for ensemble
    forecasts", QJRMS 2014. Identical members leave the absolute error.

    Raises:
        InputError: fewer than two members.
    """
    count = _count(members)
    miss = np.abs(members - truth).mean(axis=0)
    ordered = np.sort(members, axis=0)
    # The sum over all pairs, by how many members lie below and above each.
    weight = (2 * np.arange(count) - count + 1).reshape(-1, *[1] * (members.ndim - 1))
    pairs = 2 * (weight * (ordered - ordered[:1])).sum(axis=0)
    return miss - pairs / (2 * count * (count - 1))


def energy_score(
    members: Float[np.ndarray, "members *shape dim"], truth: Float[np.ndarray, "*shape dim"]
) -> Float[np.ndarray, "*shape"]:
    """The same for vectors: distances in place of absolute differences, unbiased likewise.

    In one dimension it is `fair_crps`. Source: Gneiting and Raftery, "Strictly proper scoring
    rules", JASA 2007.
    """
    count = _count(members)
    miss = np.linalg.norm(members - truth, axis=-1).mean(axis=0)
    pairs = sum(np.linalg.norm(members - one, axis=-1).sum(axis=0) for one in members)
    return miss - np.asarray(pairs) / (2 * count * (count - 1))


def ranks(
    members: Float[np.ndarray, "members *shape"],
    truth: Float[np.ndarray, "*shape"],
    rng: np.random.Generator,
) -> Int[np.ndarray, "*shape"]:
    """How many members lie below the truth, 0 to M; ties are broken at random.

    If the truth is one more draw of the ensemble, every rank is as likely (Hamill, MWR 2001).
    """
    below = (members < truth).sum(axis=0)
    equal = (members == truth).sum(axis=0)
    return below + rng.integers(0, equal + 1)


def inside(
    members: Float[np.ndarray, "members *shape"],
    truth: Float[np.ndarray, "*shape"],
    share: float = 0.9,
) -> np.ndarray:
    """Where the truth lies within the central band that holds `share` of the ensemble.

    The band's ends are quantiles at which a draw of the same law lies inside with that very
    probability, whatever the number of members: the k-th smallest of M is at k / (M + 1).
    """
    low, high = band(members, share)
    return (truth >= low) & (truth <= high)


def band(
    members: Float[np.ndarray, "members *shape"], share: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the central band of `inside`; with few members, those of all of them."""
    tail = (1 - share) / 2
    low, high = np.quantile(members, (tail, 1 - tail), axis=0, method="weibull")
    return low, high


def envelope_share(members: int) -> float:
    """How often the smallest and the largest of so many members enclose another draw."""
    return (members - 1) / (members + 1)


def log_likelihood(
    members: Float[np.ndarray, "members *shape dim"],
    truth: Float[np.ndarray, "*shape dim"],
    noise: Float[np.ndarray, "dim"] | float,
) -> Float[np.ndarray, "*shape"]:
    """Logarithm of the density of the truth under a Gaussian of the members' mean and covariance.

    The variance of what the members do not model, noise^2, is added to the diagonal. Punishes an
    ensemble that is too narrow and one that is too wide. Source: DROPO (Tiboni et al., RAS 2023).

    Args:
        members: the ensemble.
        truth: what was measured.
        noise: standard deviation of the measurement, in the signal's unit; larger than zero.
    """
    count = _count(members)
    mean = members.mean(axis=0)
    off = members - mean
    size = members.shape[-1]
    cov = np.einsum("m...i,m...j->...ij", off, off) / (count - 1)
    cov = cov + np.eye(size) * np.square(noise)
    factor = np.linalg.cholesky(cov)
    white = np.linalg.solve(factor, (truth - mean)[..., None])[..., 0]
    spread = np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(axis=-1)
    return -0.5 * (white**2).sum(axis=-1) - spread - 0.5 * size * np.log(2 * np.pi)


def _count(members: np.ndarray) -> int:
    if len(members) < 2:
        raise InputError(f"an ensemble of {len(members)}: give at least 2 members")
    return len(members)
