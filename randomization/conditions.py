"""Fields of timing and sensing, and of what comes from outside: gravity and pushes."""

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

from regrasp.envs import Write
from regrasp.envs.control import MAX_JITTER_S, MAX_LATENCY_S
from regrasp.envs.mechanics import MAX_OBSERVATION_LATENCY_S
from regrasp.errors import InputError
from regrasp.randomization.fields import Field, Setting


def command_latency() -> Field:
    """Time from a command to its arrival at the servos, the same for all joints."""
    return _setting("command latency", "s", "command_latency_s", MAX_LATENCY_S)


def command_jitter() -> Field:
    """Longest further delay of a command; each has one of its own, evenly from 0 to this."""
    return _setting("command jitter", "s", "command_jitter_s", MAX_JITTER_S)


def command_drop() -> Field:
    """Probability that a command is lost; the servos keep the one before."""
    return _setting("command drop", "probability", "command_drop", 1.0)


def observation_latency() -> Field:
    """Age of what is observed, rounded to control periods. Commands sent are never late."""
    return _setting("observation latency", "s", "observation_latency_s", MAX_OBSERVATION_LATENCY_S)


def angle_noise() -> Field:
    """Standard deviation of white noise on every observed angle."""
    return _setting("angle noise", "rad", "angle_noise_rad")


def position_noise() -> Field:
    """Standard deviation of white noise on every observed coordinate."""
    return _setting("position noise", "m", "position_noise_m")


def encoder_step() -> Field:
    """Resolution of measured arm joints."""
    return _setting("encoder step", "rad", "encoder_step_rad")


def camera_shift() -> Field:
    """Camera-to-arm calibration: observed objects stand this far off (world frame)."""
    return _axes("camera shift", "m", "camera_shift_m")


def camera_turn() -> Field:
    """Camera-to-arm calibration: observed objects are turned about the middle of the table."""
    return _axes("camera turn", "rad", "camera_turn_rad")


def push_speed(bodies: Sequence[str]) -> Field:
    """Speed that a push gives to an object of nominal mass, in a random horizontal direction."""
    return Field(
        "push speed",
        "m/s",
        setting=Setting("push_speed_m_s"),
        range=(0, 5.0),
        names=tuple(("body", body) for body in bodies),
        pushed=tuple(bodies),
    )


def push_rate() -> Field:
    """How often each of those objects is pushed, at random times."""
    return _setting("push rate", "1/s", "push_rate_hz", 50.0)


def gravity_tilt() -> Field:
    """Slope of the table along x and y (tangent of the angle); gravity keeps its strength."""

    def writes(model: mujoco.MjModel, row: str) -> list[Write]:
        x, y, z = model.opt.gravity
        if x or y or z >= 0:
            raise InputError(
                f"gravity tilt: gravity is {x, y, z}, and must point down to be tilted"
            )
        return [Write(row, "opt.gravity", np.arange(3), np.array([0, 1, 0]), _tilted)]

    return Field("gravity tilt", "slope", 2, "axis", writes, range=(-0.5, 0.5))


def _tilted(old: Any, slope: Any) -> Any:
    """Downward vectors along (slope x, slope y, -1); the third slope is not used."""
    along = slope * np.array([1.0, 1.0, 0.0]) + np.array([0.0, 0.0, -1.0])
    lengths = ((old**2).sum(-1, keepdims=True) / (along**2).sum(-1, keepdims=True)) ** 0.5
    return along * lengths


def _setting(name: str, unit: str, setting: str, top: float = np.inf) -> Field:
    return Field(name, unit, setting=Setting(setting), range=(0, top))


def _axes(name: str, unit: str, setting: str) -> Field:
    axes = np.arange(3)
    return Field(name, unit, 3, "axis", setting=Setting(setting, axes, axes, 3), range=(-0.2, 0.2))
