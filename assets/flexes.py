"""What cloths and cables share: a scene that can hold them, and how they touch."""

import mujoco

from regrasp.assets.surroundings import TABLE_TOP_M

PLANE_BIT, TABLE_BIT = 2, 4
"""Bits of contact types: flexes lie on a plane of their own, not on the table's box. Each triangle would
touch the box at three points, four times as many contacts as there are vertices."""
HARD_IMPEDANCE = (0.95, 0.999, 0.001, 0.5, 2.0)
"""Of their contacts (solimp), those with finger tips included. Softer, fingers press through a cloth, and it
slips out."""
ROLLING = (0.005, 0.0001)
"""Torsional and rolling friction (m), the engine's own."""


def prepare(spec: mujoco.MjSpec) -> None:
    """Make a scene one that can hold flexes; the table must be there.

    The integrator becomes the one that solves elasticity implicitly. The table's surface becomes a plane,
    which only flexes touch; there is one for all of them. Tips, whose contacts are as they say, become hard.
    """
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_DISCRETE
    # What is held between fingers creeps out of them by this factor less.
    spec.option.impratio = 100
    if spec.geom("table_plane") is not None:
        return
    for geom in spec.geoms:
        if geom.priority > 0:
            geom.solimp = HARD_IMPEDANCE
    table = spec.geom("table")
    table.contype = TABLE_BIT
    plane = spec.worldbody.add_geom(
        name="table_plane", type=mujoco.mjtGeom.mjGEOM_PLANE, pos=(0, 0, TABLE_TOP_M), group=3
    )
    plane.size = (*table.size[:2], 0.1)
    plane.friction = table.friction
    plane.contype, plane.conaffinity = PLANE_BIT, 0


def touch(part: mujoco.MjsFlex | mujoco.MjsGeom, friction: float, contact_time_s: float) -> None:
    """Let a flex, or what is made for one, touch as hard as this contact time (s) allows."""
    part.friction = (friction, *ROLLING)
    part.solref, part.solimp = (contact_time_s, 1.0), HARD_IMPEDANCE
    if isinstance(part, mujoco.MjsFlex):
        part.contype, part.conaffinity = PLANE_BIT, PLANE_BIT | 1
