"""Which terms a joint needs: rungs of a ladder compete on motions and days that they have not seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from regrasp.assets.arm import Arm
from regrasp.sim2real.identify.hollows import Effort, hollows_of
from regrasp.sim2real.identify.quick import Loads, errors_of, part_of
from regrasp.sim2real.identify.search import Search, minimise
from regrasp.sim2real.identify.terms import LADDER, PLAIN, STARTS, nominal_place

FAR = Search(generations=150, spread=0.2)
NEAR = Search(generations=30, spread=0.08)
GUESS = Effort(hops=0)
"""Of the first guess: loads of noisy motions are not worth more."""
HOPELESS = 2.0
"""Sets of terms that are worse by so many standard errors after a fold are not tried on the next."""
TRUNK = ("plain", "motor", "motor, stribeck")
"""These are always tried: the others start from what they found."""
WORST_RAD = 0.2
"""Larger errors count as this: the joint was stopped by something that is not modelled."""


@dataclass(frozen=True)
class Rung:
    """A set of terms, tried on held-out recordings."""

    name: str
    error_rad: float
    """Mean over the held-out pieces that it was tried on of the RMS error."""
    above_rad: float
    """By how much that is above the best rung's."""
    standard_error_rad: float
    """Standard error of that difference, over held-out pieces."""


def fitted(
    arm: Arm,
    joint: int,
    names: Sequence[str],
    loads: Loads,
    train: np.ndarray,
    start: np.ndarray,
    how: Search,
) -> tuple[np.ndarray, np.ndarray]:
    """Places (0..1) of the terms that fit the logs marked in `train`, and the errors on all logs."""

    own = part_of(loads, np.flatnonzero(train))

    def cost(z: np.ndarray) -> np.ndarray:
        error = np.minimum(errors_of(arm, joint, names, z, own), WORST_RAD)
        # Between the mean and the root mean square: no single log decides.
        return 0.5 * error.mean(axis=1) + 0.5 * np.sqrt((error**2).mean(axis=1))

    best = minimise(cost, start, how, seed=joint)
    every = np.tile(best, (how.population, 1))
    return best, errors_of(arm, joint, names, every, loads)[0]


def climb(
    arm: Arm,
    joint: int,
    loads: Loads,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    once: Callable[[str, Callable[[], list[list[float]]]], list[list[float]]],
) -> tuple[str, list[Rung]]:
    """The rung of `LADDER` that a joint needs, and how all fared on held-out logs.

    It is the rung with the fewest terms whose error is within one standard error of the best rung's, of
    those that were worth trying on every fold.

    Args:
        arm: the nominal arm.
        joint: its index.
        loads: all recordings.
        folds: masks of what is fitted and what is held out.
        once: computes by a key, or remembers.
    """
    servo = arm.joints[joint].servo
    held = {name: np.zeros(0) for name in LADDER}
    tried, top = list(LADDER), TRUNK[0]
    for k, (train, test) in enumerate(folds):
        places = {name: nominal_place(name, servo) for name in PLAIN}
        for rung in tried:
            extra = LADDER[rung]
            names = (*PLAIN, *extra)
            begin = np.array([places.get(n, nominal_place(n, servo)) for n in names])
            how = NEAR if extra else FAR

            def fit(
                names: tuple[str, ...] = names,
                begin: np.ndarray = begin,
                how: Search = how,
                train: np.ndarray = train,
            ) -> list[list[float]]:
                return [x.tolist() for x in fitted(arm, joint, names, loads, train, begin, how)]

            best, errors = once(f"{arm.joints[joint].name}/{k}/{rung}", fit)
            if rung in TRUNK:
                places |= dict(zip(names, best, strict=True))
            else:
                places |= {n: z for n, z in zip(names, best, strict=True) if n not in places}
            held[rung] = np.r_[held[rung], np.minimum(np.array(errors)[test], WORST_RAD)]
        top = min(tried, key=lambda name: held[name].mean())
        tried = [
            name for name in tried if name in TRUNK or not _hopeless(_above(held[name], held[top]))
        ]
    rungs = {
        name: Rung(name, float(error.mean()), *_above(error, held[top]))
        for name, error in held.items()
    }
    enough = [rungs[name] for name in tried]
    enough = [r for r in enough if r.above_rad <= r.standard_error_rad]
    best = min(enough, key=lambda r: (len(LADDER[r.name]), r.error_rad))
    return best.name, list(rungs.values())


def _above(error: np.ndarray, best: np.ndarray) -> tuple[float, float]:
    """By how much errors are above the best ones on the same pieces, and its standard error."""
    difference = error - best[: len(error)]
    return float(difference.mean()), float(difference.std() / np.sqrt(max(len(difference), 1)))


def _hopeless(above: tuple[float, float]) -> bool:
    return above[0] > HOPELESS * above[1]


def first_guess(
    arm: Arm, joint: int, rung: str, loads: Loads, start: dict[str, float]
) -> dict[str, float]:
    """Places of a rung's terms that fit all logs, from those of a fold's fit."""
    names = (*PLAIN, *LADDER[rung])
    servo = arm.joints[joint].servo
    begin = np.array([start.get(n, STARTS.get(n, nominal_place(n, servo))) for n in names])
    found = hollows_of(arm, joint, names, loads, begin[None], GUESS, seed=joint)
    return dict(zip(names, found.z[0].tolist(), strict=True))
