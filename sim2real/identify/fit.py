"""The fit as numbers: which figures of the arm are unknown, and the arm of a vector of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regrasp.assets.arm import Arm
from regrasp.sim2real.identify.terms import (
    LOG_MASS_SD,
    MOST_DROOP,
    PRIOR_SD,
    RIGID,
    SHIFT_SD_M,
    TERMS,
)

AXES = ("log_mass", "x", "y", "z")


@dataclass(frozen=True)
class Unknowns:
    """The unknowns of a fit, in a fixed order: every joint's terms, then what all joints share.

    All are scaled: a joint's terms run from 0 to 1 over their ranges, corrections of bodies are in
    standard deviations of their priors, the supply's droop runs from 0 to 1 over its range.
    """

    arm: Arm
    """The nominal arm."""
    terms: tuple[tuple[str, ...], ...]
    """Names of the fitted figures, per joint."""
    bodies: tuple[str, ...] = ()
    """Bodies whose mass and centre of mass are corrected."""
    droop: bool = False
    """Whether the supply's droop is fitted."""

    @property
    def labels(self) -> tuple[tuple[str, str], ...]:
        """(joint or body, figure) of each unknown."""
        own = [(j.name, t) for j, ts in zip(self.arm.joints, self.terms, strict=True) for t in ts]
        shared = [(body, axis) for body in self.bodies for axis in AXES]
        return (*own, *shared, *([("arm", "supply_droop")] if self.droop else []))

    @property
    def blocks(self) -> tuple[slice, ...]:
        """Where each joint's terms stand."""
        ends = np.cumsum([len(terms) for terms in self.terms])
        return tuple(slice(e - len(t), e) for e, t in zip(ends, self.terms, strict=True))

    @property
    def shared(self) -> slice:
        """Where what all joints share stands."""
        return slice(self.blocks[-1].stop, len(self.labels))

    @property
    def prior(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each unknown."""
        own, bodies = self.shared.start, 4 * len(self.bodies)
        mean = np.r_[np.full(own, 0.5), np.zeros(bodies), np.full(int(self.droop), 0.0)]
        sd = np.r_[np.full(own, PRIOR_SD), np.ones(bodies), np.full(int(self.droop), 2 * PRIOR_SD)]
        return mean, sd

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends; corrections of bodies end at three standard deviations."""
        own, bodies = self.shared.start, 4 * len(self.bodies)
        low = np.r_[np.zeros(own), np.full(bodies, -3.0), np.zeros(int(self.droop))]
        high = np.r_[np.ones(own), np.full(bodies, 3.0), np.ones(int(self.droop))]
        return low, high

    def servos(self, x: np.ndarray) -> dict[str, dict[str, float]]:
        """Servo figures of every joint at `x`."""
        found = {}
        for joint, names, block in zip(self.arm.joints, self.terms, self.blocks, strict=True):
            figures = {
                name: float(TERMS[name].value(z, joint.servo))
                for name, z in zip(names, x[block], strict=True)
            }
            figures["creep"] = RIGID
            if self.droop:
                figures["supply_droop"] = float(x[-1] * MOST_DROOP)
            found[joint.name] = figures
        return found

    def links(self, x: np.ndarray) -> dict[str, dict[str, Any]]:
        """Corrections of bodies at `x`."""
        rows = x[self.shared][: 4 * len(self.bodies)].reshape(-1, 4)
        return {
            body: {
                "log_mass": float(row[0] * LOG_MASS_SD),
                "shift_m": tuple(float(s * SHIFT_SD_M) for s in row[1:]),
            }
            for body, row in zip(self.bodies, rows, strict=True)
        }

    def arm_at(self, x: np.ndarray) -> Arm:
        """The arm with the figures of `x`."""
        arm = self.arm.with_servos(self.servos(x))
        return arm.with_links(self.links(x)) if self.bodies else arm

    def values(self, x: np.ndarray) -> np.ndarray:
        """Each unknown in its figure's own unit (rad, N m, s, m, and what follows from these)."""
        own = [
            float(TERMS[name].value(z, joint.servo))
            for joint, names, block in zip(self.arm.joints, self.terms, self.blocks, strict=True)
            for name, z in zip(names, x[block], strict=True)
        ]
        scale = np.r_[LOG_MASS_SD, np.full(3, SHIFT_SD_M)]
        bodies = np.concatenate(
            [x[self.shared][4 * i : 4 * i + 4] * scale for i in range(len(self.bodies))]
            or [np.zeros(0)]
        )
        return np.r_[own, bodies, x[-1:] * MOST_DROOP if self.droop else np.zeros(0)]


def started(
    unknowns: Unknowns, known: Sequence[Mapping[str, float]], shared: np.ndarray | None = None
) -> np.ndarray:
    """A vector from places (0..1) of terms by joint; what all share starts at its prior's mean."""
    own = np.concatenate(
        [
            [places[name] for name in names]
            for names, places in zip(unknowns.terms, known, strict=True)
        ]
    )
    mean = unknowns.prior[0][unknowns.shared]
    return np.r_[own, mean if shared is None else shared]
