"""What can be fitted to a servo, within which ranges, and which sets of terms compete."""

from dataclasses import dataclass

import numpy as np

from regrasp.assets.arm import Servo


@dataclass(frozen=True)
class Term:
    """One figure of a servo: its prior is normal, and 95 % of it lies between `low` and `high`."""

    low: float
    high: float
    """Ends of the range, in units of `of`."""
    log: bool = False
    """Whether the figure's logarithm is what is normal."""
    of: str = ""
    """Figure of the nominal servo that the range is a multiple of; none: the range is absolute."""

    def range(self, servo: Servo) -> tuple[float, float]:
        """The range for a servo, in the figure's own unit."""
        unit = getattr(servo, self.of) if self.of else 1.0
        return self.low * unit, self.high * unit

    def value(self, z: np.ndarray | float, servo: Servo) -> np.ndarray:
        """The figure at `z`, 0 at the low end of the range and 1 at the high one."""
        low, high = self.range(servo)
        z = np.clip(np.asarray(z, float), 0, 1)
        return low * (high / low) ** z if self.log else low + (high - low) * z

    def place(self, value: float, servo: Servo) -> float:
        """Where in the range a figure lies, the inverse of `value`, cut to 0..1."""
        low, high = self.range(servo)
        z = np.log(max(value, low) / low) / np.log(high / low) if self.log else value - low
        return float(np.clip(z if self.log else z / (high - low), 0, 1))


PRIOR_SD = 1 / (2 * 1.96)
"""Standard deviation of every prior, in units of its range."""

TERMS = {
    "kp": Term(0.25, 4, log=True, of="kp"),
    "damping": Term(0.1, 6, log=True, of="damping"),
    "armature": Term(0.05, 4, log=True, of="armature"),
    "frictionloss": Term(0.002, 0.25, log=True, of="force_limit"),
    "force_limit": Term(0.2, 2, log=True, of="force_limit"),
    "latency_s": Term(0, 0.08),
    "offset": Term(-0.03, 0.03),
    "motor_friction": Term(0, 0.9),
    "load_friction": Term(0, 1.2),
    "stribeck_friction": Term(0, 0.12, of="force_limit"),
    "stribeck_speed": Term(0.01, 0.5, log=True),
    "profile_s": Term(0, 0.5),
    "dead_band": Term(0, 0.02),
    "backlash": Term(0, 0.03),
    "torque_offset": Term(-0.09, 0.09, of="force_limit"),
}
"""Widths are what hobby servos of this size differ by; the nominal figures are in `assets`."""

PLAIN = ("kp", "damping", "armature", "frictionloss", "latency_s", "offset")
LADDER = {
    "plain": (),
    "motor": ("motor_friction",),
    "load": ("load_friction",),
    "stribeck": ("stribeck_friction", "stribeck_speed"),
    "motor, stribeck": ("motor_friction", "stribeck_friction", "stribeck_speed"),
    "both, stribeck": ("motor_friction", "load_friction", "stribeck_friction", "stribeck_speed"),
    "profile": ("motor_friction", "stribeck_friction", "stribeck_speed", "profile_s"),
    "force limit": ("motor_friction", "stribeck_friction", "stribeck_speed", "force_limit"),
    "dead band": ("motor_friction", "stribeck_friction", "stribeck_speed", "dead_band"),
    "backlash": ("motor_friction", "stribeck_friction", "stribeck_speed", "backlash"),
    "torque offset": ("motor_friction", "stribeck_friction", "stribeck_speed", "torque_offset"),
}
"""Sets of terms that compete, beside the plain ones, which every joint has."""
STARTS = {"profile_s": 0.05, "motor_friction": 0.3, "load_friction": 0.3, "stribeck_friction": 0.2}
"""Where in its range a term starts that the nominal servo has not."""

RIGID = 1e-4
"""Creep of a fitted joint, the engine's least. At the engine's own, friction yields: a joint creeps under a
load that its friction could hold, by a centiradian a second."""
LOG_MASS_SD = 0.2
SHIFT_SD_M = 0.01
"""Priors of corrections of bodies."""
MOST_DROOP = 0.1
"""Upper end of the supply's droop, share of kp per N m of all motors."""


def nominal_place(name: str, servo: Servo) -> float:
    """Where the search starts: at the nominal figure, or a third up where there is none."""
    if name in STARTS:
        return STARTS[name]
    value = getattr(servo, name)
    return TERMS[name].place(value, servo) if value else 0.2 if TERMS[name].low == 0 else 0.5
