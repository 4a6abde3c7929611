"""Figures fitted to one arm, as a JSON file or by the name of a fit that ships."""

from pathlib import Path
from typing import Any

import regrasp.assets
from regrasp.assets.arm import Arm
from regrasp.assets.figures import checked_figures, is_number
from regrasp.errors import InputError, unknown
from regrasp.files import read_json

FITTED = Path(regrasp.assets.__file__).parent / "fitted"
KEYS = ("arm", "servos", "links", "source", "fit")
"""What a file may hold; `source` and `fit` say where the figures come from and are not used."""
MOST_LOG_MASS, MOST_SHIFT_M = 2.0, 0.2


def with_params(arm: Arm, params: str | Path) -> Arm:
    """The arm with the figures of a parameter file in place of its nominal ones.

    The file is `{"arm": name, "servos": {joint: {figure: value}}}`, and `"links": {body: {"log_mass":
    value, "shift_m": [x, y, z]}}` where masses were corrected; what it does not name stays.

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
    links = table.get("links", {})
    if not isinstance(links, dict):
        raise InputError(f"parameter file {path}: links is not {{body: {{figure: value}}}}")
    where = f"parameter file {path}"
    servos = {j: checked_figures(where, j, figures) for j, figures in table["servos"].items()}
    return arm.with_servos(servos).with_links(
        {body: _checked_link(path, body, link) for body, link in links.items()}
    )


def _checked_link(path: Path, body: str, link: Any) -> dict[str, Any]:
    if not isinstance(link, dict):
        raise InputError(f"parameter file {path}: link {body} is not {{figure: value}}")
    found: dict[str, Any] = dict(link)
    if "log_mass" in link:
        value = link["log_mass"]
        if not is_number(value) or abs(value) > MOST_LOG_MASS:
            raise InputError(
                f"parameter file {path}: log_mass of {body} is {value!r}, "
                f"needs a number from {-MOST_LOG_MASS:g} to {MOST_LOG_MASS:g}"
            )
    if "shift_m" in link:
        value = link["shift_m"]
        good = isinstance(value, list) and len(value) == 3 and all(is_number(x) for x in value)
        if not good or max(abs(x) for x in value) > MOST_SHIFT_M:
            raise InputError(
                f"parameter file {path}: shift_m of {body} is {value!r}, needs three numbers "
                f"from {-MOST_SHIFT_M:g} to {MOST_SHIFT_M:g}"
            )
        found["shift_m"] = tuple(float(x) for x in value)
    return found
