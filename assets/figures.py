"""What servo figures from a file may be."""

import math
from typing import Any

from regrasp.errors import InputError

SIGNED = ("offset", "torque_offset")
"""May be negative."""
ENDS = {
    "creep": (1e-4, 1.0),
    "motor_friction": (0.0, 0.95),
    "load_friction": (0.0, 2.0),
    "stribeck_speed": (1e-6, math.inf),
}
"""Beyond these nothing real moves, or the engine no longer solves."""


def checked_figures(where: str, joint: str, figures: Any) -> dict[str, float]:
    """A joint's figures as floats.

    Args:
        where: what holds them, for messages.
        joint: whose.
        figures: figure -> value, of any kind.

    Raises:
        InputError: they are no such thing, or a value is not possible.
    """
    if not isinstance(figures, dict):
        raise InputError(f"{where}: {joint} is not {{figure: value}}")
    for figure, value in figures.items():
        least, most = ENDS.get(figure, (-math.inf if figure in SIGNED else 0.0, math.inf))
        if not is_number(value) or not least <= value <= most:
            needed = "" if least == -math.inf else f" of {least:g} or more"
            needed += f", at most {most:g}" if most < math.inf else ""
            raise InputError(
                f"{where}: {figure} of {joint} is {value!r}, needs a finite number{needed}"
            )
    return {figure: float(value) for figure, value in figures.items()}


def is_number(value: Any) -> bool:
    """Whether a value from a file is a finite number."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)
