"""Servo figures fitted to one arm, as a JSON file or by the name of a fit that ships."""

import math
from pathlib import Path
from typing import Any

import regrasp.assets
from regrasp.assets.arm import Arm
from regrasp.errors import InputError, unknown
from regrasp.files import read_json

FITTED = Path(regrasp.assets.__file__).parent / "fitted"
KEYS = ("arm", "servos", "source", "fit")
"""What a file may hold; `source` and `fit` say where the figures come from and are not used."""


def with_params(arm: Arm, params: str | Path) -> Arm:
    """The arm with the figures of a parameter file in place of its nominal ones.

    The file is `{"arm": name, "servos": {joint: {figure: value}}}`; what it does not name stays.

    Args:
        arm: the nominal arm.
        params: path of the file, or the name of one that ships in `assets/fitted`.

    Raises:
        InputError: no such file, another arm's, or a joint, figure or value that does not exist.
    """
    path = Path(params)
    if not path.exists() and (FITTED / f"{params}.json").is_file():
        path = FITTED / f"{params}.json"
    table = read_json(path, "parameter file")
    if not isinstance(table, dict) or not isinstance(table.get("servos"), dict):
        raise InputError(
            f'parameter file {path} is not {{"arm": name, "servos": {{joint: {{figure: value}}}}}}'
        )
    for key in table:
        if key not in KEYS:
            raise unknown(f"key of parameter file {path}", key, KEYS)
    if table.get("arm") != arm.name:
        raise InputError(
            f"parameter file {path} is for the arm {table.get('arm')!r}, not {arm.name!r}: "
            f"choose that arm or another file"
        )
    return arm.with_servos(
        {joint: _checked(path, joint, figures) for joint, figures in table["servos"].items()}
    )


def _checked(path: Path, joint: str, figures: Any) -> dict[str, float]:
    if not isinstance(figures, dict):
        raise InputError(f"parameter file {path}: {joint} is not {{figure: value}}")
    for figure, value in figures.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0:
            raise InputError(
                f"parameter file {path}: {figure} of {joint} is {value!r}, "
                f"needs a finite number of 0 or more"
            )
    return {figure: float(value) for figure, value in figures.items()}
