"""What may differ: distributions over fields, sampled from the same keys as resets."""

from regrasp.randomization.distributions import Constant, Distribution, LogUniform, Uniform
from regrasp.randomization.fields import (
    Field,
    angle_noise,
    body_mass,
    command_latency,
    position_noise,
    servo_stiffness,
    slide_friction,
)
from regrasp.randomization.table import Row, Table
from regrasp.randomization.tables import TABLES, randomizer_for

__all__ = [
    "TABLES",
    "Constant",
    "Distribution",
    "Field",
    "LogUniform",
    "Row",
    "Table",
    "Uniform",
    "angle_noise",
    "body_mass",
    "command_latency",
    "position_noise",
    "randomizer_for",
    "servo_stiffness",
    "slide_friction",
]
