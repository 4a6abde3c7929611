"""MJCF files of arms: in a file of one's own, or in MuJoCo Menagerie."""

from pathlib import Path

import mujoco

from regrasp.errors import InputError

MENAGERIE = "menagerie:"
"""What a model's name starts with that is one of MuJoCo Menagerie's: `menagerie:ROBOT/ENTRY`."""


def read_model(where: str) -> mujoco.MjSpec:
    """A model without what a table of an arm says instead, and what a scene has of its own.

    Left out are actuators, keyframes, sensors and lights, and cameras that aim at a body.

    Args:
        where: a path, or `menagerie:ROBOT/ENTRY` for a file of the package `mujoco-menagerie`, which
            must be on this machine already: nothing is downloaded.

    Raises:
        InputError: no such file here, or no MJCF.
    """
    path = _menagerie(where) if where.startswith(MENAGERIE) else Path(where)
    if not path.is_file():
        raise InputError(f"no model at {path}: give the path of an arm's MJCF")
    try:
        spec = mujoco.MjSpec.from_file(str(path))
    except ValueError as error:
        raise InputError(f"model {path} is no MJCF: {str(error).splitlines()[0]}") from None
    aiming = [camera for camera in spec.cameras if camera.targetbody]
    for element in (*spec.actuators, *spec.keys, *spec.sensors, *spec.lights, *aiming):
        spec.delete(element)
    return spec


def _menagerie(where: str) -> Path:
    """A file of MuJoCo Menagerie."""
    robot, _, entry = where.removeprefix(MENAGERIE).partition("/")
    try:
        import mujoco_menagerie
    except ImportError:
        raise InputError(
            f"model {where!r} needs the package mujoco-menagerie: pip install 'regrasp[menagerie]'"
        ) from None
    try:
        found = mujoco_menagerie.get(robot)
        cache = mujoco_menagerie.Cache()
        if cache.root is None and not cache.is_cached(found):
            raise InputError(
                f"the files of {robot} are not here: run `mujoco-menagerie prefetch {robot}`, or name "
                "a checkout in MENAGERIE_ROOT"
            )
        return Path(found.xml(entry or found.default_model, cache))
    except mujoco_menagerie.MenagerieError as error:
        raise InputError(f"model {where!r}: {error}") from None
