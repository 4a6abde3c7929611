"""What a table row may change: one small function per quantity.

A function says which entries of which MuJoCo model fields its numbers reach. Constants that MuJoCo
derives from those fields are recomputed by the world.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from regrasp.envs import Write
from regrasp.errors import unknown

SETTINGS = ("latency_s", "noise_rad", "noise_m")


@dataclass(frozen=True)
class Field:
    """A quantity that differs between episodes."""

    name: str
    unit: str
    """Of the sampled number; "x nominal" for a factor."""
    count: int = 1
    """Numbers per simulation."""
    writes: Callable[[mujoco.MjModel, str], list[Write]] = lambda model, row: []
    setting: str | None = None
    """latency_s, noise_rad or noise_m where it is no model field."""


def body_mass(body: str) -> Field:
    """Mass of a body; its inertia follows, its centre of mass stays."""

    def writes(model: mujoco.MjModel, row: str) -> list[Write]:
        i = _named(model, "body", body).id
        zeros = np.zeros(3, int)
        return [
            Write(row, "body_mass", np.array([i]), zeros[:1], "scale"),
            Write(row, "body_inertia", 3 * i + np.arange(3), zeros, "scale"),
        ]

    return Field(f"{body} mass", "x nominal", writes=writes)


def slide_friction(name: str, geoms: Sequence[str]) -> Field:
    """Sliding friction of some geoms, by one common factor.

    A contact takes the larger friction of its two geoms, or that of the one with the higher
    priority, so name every geom that could rule.
    """

    def writes(model: mujoco.MjModel, row: str) -> list[Write]:
        ids = np.array([_named(model, "geom", geom).id for geom in geoms])
        return [Write(row, "geom_friction", 3 * ids, np.zeros(len(ids), int), "scale")]

    return Field(f"{name} friction", "x nominal", writes=writes)


def servo_stiffness(actuators: Sequence[str]) -> Field:
    """Proportional gain of position servos, one factor each."""

    def writes(model: mujoco.MjModel, row: str) -> list[Write]:
        ids = np.array([_named(model, "actuator", name).id for name in actuators])
        source = np.arange(len(ids))
        gain, bias = model.actuator_gainprm.shape[1], model.actuator_biasprm.shape[1]
        return [
            Write(row, "actuator_gainprm", gain * ids, source, "scale"),
            Write(row, "actuator_biasprm", bias * ids + 1, source, "scale"),
        ]

    return Field("servo stiffness", "x nominal", len(actuators), writes)


def command_latency() -> Field:
    """Time from a command to its arrival at the servos, the same for all joints."""
    return Field("command latency", "s", setting="latency_s")


def angle_noise() -> Field:
    """Standard deviation of white noise on every observed angle."""
    return Field("angle noise", "rad", setting="noise_rad")


def position_noise() -> Field:
    """Standard deviation of white noise on every observed coordinate."""
    return Field("position noise", "m", setting="noise_m")


def _named(model: mujoco.MjModel, kind: str, name: str) -> Any:
    try:
        return getattr(model, kind)(name)
    except KeyError:
        count = getattr(model, {"body": "nbody", "geom": "ngeom", "actuator": "nu"}[kind])
        names = [getattr(model, kind)(i).name for i in range(count)]
        raise unknown(kind, name, [n for n in names if n]) from None
