"""Coverage: whether the real arm could be one more draw of a randomisation, joint by joint.

Steps of one episode share its draw and follow one another, so they are no sample. An episode is
boiled down to a few numbers for each joint (`traits`), each an average over all steps of a regime;
what is tested is how those of the real episodes lie among those of the simulated ones. If the real
arm were one more draw, any of the M + 1 could have been the real one: that gives every test its
exact law under the hypothesis, correlated traits and small ensembles included.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from regrasp.assets.arm import Arm
from regrasp.errors import InputError
from regrasp.sim2real.ensemble import Ensemble
from regrasp.sim2real.log import Log
from regrasp.sim2real.metrics import angle_columns, errors
from regrasp.sim2real.regimes import Regimes, regimes_of

TRAITS = ("moving", "reversing", "holding, by load", "holding, by approach")
"""Of an episode and a joint: by how much it trails its commands while moving and just after they
turn, how far it sags under gravity, and how far short of its target it stays."""
LEAST_STEPS = 10
"""A regime with fewer steps in an episode says nothing about it."""
LEAST_EPISODES = 5
"""A trait that fewer episodes have is not tested."""
FAMILY_ERROR = 0.03
"""Probability that any joint is judged wrong if all are right."""
DRAWS = 3000
RIGHT, NARROW, WIDE, BIASED, UNKNOWN = "right", "too narrow", "too wide", "biased", "unknown"


@dataclass(frozen=True)
class Verdict:
    """What the tests say about one joint."""

    verdict: str
    """right, too narrow, too wide, biased, or unknown where too few episodes move the joint."""
    p_bias: float
    """Probability of so large a shift if the real arm were one more draw."""
    p_narrow: float
    """Probability of the real episodes scattering so much."""
    p_wide: float
    """Probability of their scattering so little."""
    shift: float
    """Mean of the real trait that is furthest off, in standard deviations of the ensemble."""
    spread: float
    """Standard deviation of the real traits over that of the ensemble; 1 is right."""
    trait: str
    """The trait that is furthest off."""
    episodes: int


def traits(
    log: Log, regimes: Regimes, positions: Float[np.ndarray, "members time joints"]
) -> Float[np.ndarray, "members joints traits"]:
    """An episode's traits (rad, opening) under each member; NaN where it lacks the regime.

    Args:
        log: the episode.
        regimes: its regimes.
        positions: measured or simulated, in the log's units.
    """
    short = errors(positions, log.cmd, angle_columns(len(log.joints)))
    speed, load = np.sign(regimes.speed), np.sign(regimes.load)
    found = [
        _mean(short * speed, regimes.moving),
        _mean(short * regimes.direction, regimes.reversing),
        _mean(short * load, regimes.holding & (load != 0)),
        _mean(short * regimes.direction, regimes.holding & (regimes.direction != 0)),
    ]
    return np.stack(found, axis=-1)


def pooled(
    logs: Sequence[Log],
    ensemble: Ensemble,
    arm: Arm,
    regimes: Sequence[Regimes] | None = None,
) -> Float[np.ndarray, "candidates episodes joints traits"]:
    """Traits of the real episodes (candidate 0) and of every member."""
    regimes = [regimes_of(log, arm) for log in logs] if regimes is None else regimes
    columns = [
        traits(log, regime, np.concatenate([log.q[None], positions]))
        for log, regime, positions in zip(logs, regimes, ensemble.positions, strict=True)
    ]
    return np.stack(columns, axis=1)


def standardised(
    pool: Float[np.ndarray, "candidates episodes joints traits"],
) -> Float[np.ndarray, "candidates episodes joints traits"]:
    """Each candidate's distance from the mean of all others, in their standard deviations.

    Real and simulated candidates are treated alike, which is what makes the tests exact.
    """
    count = len(pool)
    rest = (pool.sum(axis=0) - pool) / (count - 1)
    square = ((pool**2).sum(axis=0) - pool**2) / (count - 1)
    variance = (square - rest**2) * (count - 1) / (count - 2)
    # Rounding leaves a little where all are equal; there is nothing to tell apart there.
    known = variance > 1e-14
    return np.where(known, (pool - rest) / np.sqrt(np.where(known, variance, 1)), np.nan)


def judge(
    pool: Float[np.ndarray, "candidates episodes joints traits"], seed: int = 0, draws: int = DRAWS
) -> list[Verdict]:
    """A verdict for every joint.

    Args:
        pool: traits, those of the real episodes first: see `pooled`.
        seed: of the draws of the tests' laws.
        draws: from those laws.

    Raises:
        InputError: fewer than three members.
    """
    if len(pool) < 4:
        raise InputError(f"coverage with {len(pool) - 1} members: choose at least 3")
    # Compressed: friction sticks or does not, and one episode far off must not drown the others.
    z = np.arcsinh(standardised(pool))
    rng = np.random.default_rng(seed)
    # The same draw of an episode for all its joints and traits: they belong together.
    picks = rng.integers(0, len(z), (draws, z.shape[1]))
    level = FAMILY_ERROR / z.shape[2]
    return [_judged(z[:, :, joint], picks, level) for joint in range(z.shape[2])]


def _judged(
    z: Float[np.ndarray, "candidates episodes traits"],
    picks: Int[np.ndarray, "draws episodes"],
    level: float,
) -> Verdict:
    known = np.all(np.isfinite(z), axis=0)
    tested = known.sum(axis=0) >= LEAST_EPISODES
    episodes = int(known.any(axis=1).sum())
    if not tested.any():
        nan = float("nan")
        return Verdict(UNKNOWN, nan, nan, nan, nan, nan, "", episodes)
    z, known = z[:, :, tested], known[:, tested]
    names = [name for name, one in zip(TRAITS, tested, strict=True) if one]
    shift, scatter, t = _moments(z[:1], known)
    null = _moments(z[picks, np.arange(z.shape[1])], known)
    worst = int(np.argmax(np.abs(t[0])))
    total, null_total = np.log(scatter[0]).mean(), np.log(null[1]).mean(axis=1)
    p_bias = _p(np.abs(null[2]).max(axis=1) >= np.abs(t[0]).max())
    p_narrow, p_wide = _p(null_total >= total), _p(null_total <= total)
    off, usual = float(np.sinh(shift[0, worst])), float(np.median(null[1][:, worst]))
    spread = float(np.exp(total - np.median(null_total)))
    biased, narrow, wide = p_bias < level / 2, p_narrow < level / 4, p_wide < level / 4
    # Where both are found, that which makes up more of the mean square distance has its say.
    if biased and (narrow or wide):
        biased = shift[0, worst] ** 2 >= abs((scatter[0, worst] / usual) ** 2 - 1)
    verdict = BIASED if biased else NARROW if narrow else WIDE if wide else RIGHT
    return Verdict(verdict, p_bias, p_narrow, p_wide, off, spread, names[worst], episodes)


def _moments(
    z: Float[np.ndarray, "draws episodes traits"], known: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, mean absolute deviation from it, and t statistic over the episodes that have a trait.

    The t statistic counts on a deviation of 1 beside what it finds: one candidate far off makes all others
    look alike, and their means, small as they are, would seem certain.
    """
    count = known.sum(axis=0)
    values = np.where(known, z, 0)
    mean = values.sum(axis=1) / count
    off = np.where(known, np.abs(z - mean[:, None]), 0)
    scatter = np.maximum(off.sum(axis=1) / count, 1e-6)
    deviation = np.sqrt((off**2).sum(axis=1) / (count - 1) + 1)
    return mean, scatter, mean / (deviation / np.sqrt(count))


def _p(beyond: np.ndarray) -> float:
    return (int(beyond.sum()) + 1) / (len(beyond) + 1)


def _mean(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Mean over the time (axis 1) at which a joint is somewhere; NaN where that is too short."""
    count = where.sum(axis=0)
    total = np.where(where, values, 0).sum(axis=1)
    return np.where(count >= LEAST_STEPS, total / np.maximum(count, 1), np.nan)
