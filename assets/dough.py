"""A lump of modelling dough: it yields, flows at constant volume and keeps the shape it is given."""

from collections.abc import Iterable
from dataclasses import dataclass

import mujoco
import numpy as np

RIM_M = 0.002
"""By how much the surface stands out beyond the corners that move."""
_PRESSED = 2
"""Bit of contacts between a lump and what presses it."""
MOST_STRAIN = 0.28
"""How far a lump can be pressed along one axis: the engine lets a cell flow to a strain of 0.35 in all
(norm of the tensor), of which the other axes take their part."""
Corner = tuple[int, int, int]
CORNERS: tuple[Corner, ...] = tuple((x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1))
"""The corners of a lump, low or high along its x, y and z axes."""


@dataclass(frozen=True)
class Dough:
    """What a lump is made of.

    Soft modelling dough flows under some hundred to some thousand pascals.
    """

    young_pa: float = 3e5
    """Young's modulus, below the yield point."""
    flow_pa: float = 2500.0
    """Young's modulus times the strain at the yield point (von Mises): strained more, it flows and stays."""
    poisson: float = 0.3
    """Poisson's ratio, below the yield point; flow keeps the volume (small strains)."""
    damping_s: float = 0.01
    """Viscosity over Young's modulus."""
    friction: float = 0.8
    """Of its surface, sliding."""


def corner(name: str, at: Corner) -> str:
    """The body, without rotation, that one of `CORNERS` is."""
    return f"{name}_{at[0]}_{at[1]}_{at[2]}"


def corner_joints(name: str, at: Corner) -> tuple[str, str, str]:
    """The slides of a corner along the axes of the world, which start at `corner_m`."""
    x, y, z = (f"{corner(name, at)}_{axis}" for axis in "xyz")
    return x, y, z


def corner_m(size_m: tuple[float, float, float], at: Corner) -> np.ndarray:
    """Where a corner is in the frame of a lump of this size (m)."""
    return (np.array(at) - 0.5) * (np.array(size_m) - 2 * RIM_M)


def add_dough(
    spec: mujoco.MjSpec,
    name: str,
    size_m: tuple[float, float, float],
    mass_kg: float,
    dough: Dough,
    pressed_by: Iterable[str],
    rgba: tuple[float, float, float, float] = (0.93, 0.76, 0.42, 1.0),
) -> None:
    """A lump at the world's origin, parallel to its axes: one cell of a trilinear flex of this name.

    The geoms `pressed_by` touch all of it, everything else its corners alone. It has no frame: eight bodies
    are its corners, on slides named by `corner_joints`. What has flowed is state of the engine beside
    positions (`plastic`). The scene then steps implicitly in position too.
    """
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_DISCRETE
    flex = spec.worldbody.make_flex(
        name,
        dim=3,
        dof="trilinear",
        count=(2, 2, 2),
        spacing=2 * corner_m(size_m, (1, 1, 1)),
        radius=RIM_M,
        mass=mass_kg,
    )
    flex.young, flex.poisson, flex.damping = dough.young_pa, dough.poisson, dough.damping_s
    flex.stressyield = (dough.flow_pa / dough.young_pa, 0)
    flex.condim, flex.friction = 4, (dough.friction, 0.005, 0.0001)
    flex.solref, flex.solimp = spec.default.geom.solref, spec.default.geom.solimp
    flex.selfcollide, flex.flatskin, flex.rgba = 0, 1, rgba
    # On a table it stands on its corners: of the flat sides of its elements the engine finds another point
    # in every step, and the lump would never be still.
    flex.contype, flex.conaffinity = _PRESSED, 0
    for geom in pressed_by:
        spec.geom(geom).conaffinity |= _PRESSED
    for at in CORNERS:
        body = spec.body(corner(name, at))
        for joint, slide in zip(body.joints, corner_joints(name, at), strict=True):
            joint.name = slide
        ball = body.add_geom(name=corner(name, at), type=mujoco.mjtGeom.mjGEOM_SPHERE)
        ball.size, ball.mass, ball.group, ball.rgba = (RIM_M, 0, 0), 0, 3, rgba
        ball.condim, ball.friction = 4, flex.friction
        ball.solref, ball.solimp = flex.solref, flex.solimp
