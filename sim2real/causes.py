"""Why a joint is off: its residual, regressed on what servo figures would make of the motion.

To first order each figure leaves a trace of its own in real minus simulated position: a stiffness
follows the load of gravity, damping and latency the speed, friction and backlash the direction a
joint came from, inertia the acceleration, calibration nothing at all. Shares are those of the mean
square residual, averaged over every order in which the traces can be taken (Lindeman, Merenda and
Gold, 1980), so traces that go together split what they both explain.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from math import factorial, isfinite
from typing import Any

import numpy as np
from jaxtyping import Float

from regrasp.assets.arm import Arm, Joint
from regrasp.sim2real.bootstrap import LEVEL
from regrasp.sim2real.log import Log
from regrasp.sim2real.regimes import Regimes

CAUSES = ("calibration", "stiffness", "damping or latency", "friction or backlash", "inertia")
DRAWS = 400
RIDGE = 1e-6
LEAST = 0.05
"""A cause with less of the residual is not worth a sentence."""


@dataclass(frozen=True)
class Cause:
    """One trace in a joint's residual."""

    cause: str
    share: float
    """Of a typical episode's mean square residual, 0..1."""
    coefficient: float
    """Residual per unit of the trace: rad, rad/(N m), s, rad or s^2."""
    low: float
    high: float
    """95 % interval over episodes."""
    words: str
    """What it would take to explain it."""

    @property
    def certain(self) -> bool:
        """Whether its interval leaves out zero."""
        return self.low > 0 or self.high < 0

    def to_json(self) -> dict[str, Any]:
        """Plain values; an undefined figure is None."""
        return {"certain": self.certain} | {
            key: value if isinstance(value, str) or isfinite(value) else None
            for key, value in asdict(self).items()
        }


def causes_of(
    logs: Sequence[Log],
    simulated: Sequence[Float[np.ndarray, "time joints"]],
    regimes: Sequence[Regimes],
    arm: Arm,
    every: int = 5,
) -> dict[str, list[Cause]]:
    """The causes of each joint's residual, largest share first.

    Args:
        logs: recordings.
        simulated: their replays.
        regimes: their regimes.
        arm: the arm that was simulated.
        every: every so many samples are looked at.
    """
    found = {}
    for column, joint in enumerate(arm.joints):
        moments = np.stack(
            [
                _moments(log, q, regime, column, every)
                for log, q, regime in zip(logs, simulated, regimes, strict=True)
            ]
        )
        found[joint.name] = _explained(moments, joint)
    return found


def _moments(
    log: Log, simulated: np.ndarray, regimes: Regimes, column: int, every: int
) -> np.ndarray:
    """Second moments of traces and residual of one episode, in units of its mean square residual.

    So every episode weighs the same, however far off it is: fast sweeps would rule otherwise.
    """
    speed = regimes.speed[:, column]
    traces = np.column_stack(
        [
            np.ones(len(speed)),
            regimes.load[:, column],
            speed,
            regimes.direction[:, column],
            np.gradient(speed, log.t),
            log.q[:, column] - simulated[:, column],
        ]
    )[::every]
    moments = traces.T @ traces / len(traces)
    return moments / max(moments[-1, -1], 1e-12)


def _explained(moments: Float[np.ndarray, "episodes six six"], joint: Joint) -> list[Cause]:
    mean = moments.mean(axis=0)
    if mean[-1, -1] <= 0:
        return []
    coefficients = _solved(mean, tuple(range(5)))
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(moments), (DRAWS, len(moments)))
    again = np.array([_solved(moments[pick].mean(axis=0), tuple(range(5))) for pick in picks])
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(again, (tail, 100 - tail), axis=0)
    shares = _shares(mean)
    causes = [
        Cause(
            name,
            float(shares[i]),
            float(coefficients[i]),
            float(low[i]),
            float(high[i]),
            _words(i, float(coefficients[i]), joint),
        )
        for i, name in enumerate(CAUSES)
    ]
    return sorted(causes, key=lambda cause: -cause.share)


def _solved(mean: np.ndarray, used: tuple[int, ...]) -> np.ndarray:
    """Coefficients of least squares with these traces."""
    index = list(used)
    inner = mean[np.ix_(index, index)]
    scale = np.sqrt(np.maximum(np.diag(inner), 1e-12))
    inner = inner / np.outer(scale, scale) + RIDGE * np.eye(len(index))
    return np.linalg.solve(inner, mean[index, -1] / scale) / scale


def _shares(mean: np.ndarray) -> np.ndarray:
    """Share of the mean square residual of each trace: its mean gain over all orders."""
    count = len(mean) - 1
    gain: dict[tuple[int, ...], float] = {(): 0.0}
    for size in range(1, count + 1):
        for used in combinations(range(count), size):
            gain[used] = float(_solved(mean, used) @ mean[list(used), -1]) / mean[-1, -1]
    shares = np.zeros(count)
    for used, value in gain.items():
        for one in set(range(count)) - set(used):
            more = tuple(sorted((*used, one)))
            orders = factorial(len(used)) * factorial(count - len(used) - 1)
            shares[one] += orders / factorial(count) * (gain[more] - value)
    return shares


def _words(cause: int, found: float, joint: Joint) -> str:
    """The figure that would leave such a trace, by the servo's own law at rest or at speed."""
    servo, name = joint.servo, joint.name.replace("_", " ")
    if cause == 0:
        return f"{name} measured {abs(found):.4f} {'above' if found > 0 else 'below'} where it is"
    if cause == 1:
        compliance = 1 / servo.kp - found
        if compliance <= 0:
            return f"stiffness far above {servo.kp:.3g}: the real joint does not sag"
        return f"stiffness {1 / compliance:.3g} in place of {servo.kp:.3g}"
    if cause == 2:
        way = "more" if found < 0 else "less"
        return (
            f"{1e3 * abs(found):.0f} ms {way} latency, or damping "
            f"{max(0.0, servo.damping - found * servo.kp):.3g} in place of {servo.damping:.3g}"
        )
    if cause == 3:
        if found >= 0:
            return f"less friction, by {found * servo.kp:.3g} of {servo.frictionloss:.3g}"
        return (
            f"friction {servo.frictionloss - found * servo.kp:.3g} in place of "
            f"{servo.frictionloss:.3g}, or backlash of {-2 * found:.4f}"
        )
    armature = servo.armature - found * servo.kp
    return f"armature {max(0.0, armature):.3g} in place of {servo.armature:.3g}"
