"""Objects that tasks put on the table."""

import mujoco
import numpy as np


def add_cube(
    spec: mujoco.MjSpec,
    name: str,
    half_size_m: float,
    mass_kg: float,
    rgba: tuple[float, float, float, float],
) -> None:
    """A free cube: body, joint and geom all have this name.

    Its faces take torsional friction like the tips.
    """
    body = spec.worldbody.add_body(name=name, pos=(0, 0, half_size_m))
    body.add_freejoint(name=name)
    geom = body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_BOX, size=np.full(3, half_size_m))
    geom.mass = mass_kg
    geom.rgba = rgba
    geom.condim = 4
    geom.friction = (0.8, 0.005, 0.0001)


def add_contact_sensor(
    spec: mujoco.MjSpec, name: str, geom1: str, geom2: str | None, normal: bool = False
) -> None:
    """A sensor of the contacts between two geoms, or of one with anything: no sensor names a flex.

    It counts them; with `normal` it then gives the unit normal of one, from `geom1` to `geom2`.
    """
    sensor = spec.add_sensor(name=name, type=mujoco.mjtSensor.mjSENS_CONTACT)
    sensor.objtype, sensor.objname = mujoco.mjtObj.mjOBJ_GEOM, geom1
    if geom2 is not None:
        sensor.reftype, sensor.refname = mujoco.mjtObj.mjOBJ_GEOM, geom2
    found, normals = mujoco.mjtConDataField.mjCONDATA_FOUND, mujoco.mjtConDataField.mjCONDATA_NORMAL
    # Which data, no reduction, one slot.
    sensor.intprm[:3] = (1 << int(found) | normal << int(normals), 0, 1)


def add_tree_sensors(spec: mujoco.MjSpec, name: str, root: str) -> None:
    """Two sensors of the contacts of a body and all that hangs on it.

    `name` counts all, `name-own` those of its parts with each other.
    """
    for own in (False, True):
        sensor = spec.add_sensor(
            name=f"{name}-own" if own else name, type=mujoco.mjtSensor.mjSENS_CONTACT
        )
        sensor.objtype, sensor.objname = mujoco.mjtObj.mjOBJ_XBODY, root
        if own:
            sensor.reftype, sensor.refname = mujoco.mjtObj.mjOBJ_XBODY, root
        sensor.intprm[:3] = (1 << int(mujoco.mjtConDataField.mjCONDATA_FOUND), 0, 1)
