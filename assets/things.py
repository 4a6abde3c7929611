"""Eight everyday things that fit between a gripper's fingers, from boxes, capsules and spheres."""

from dataclasses import dataclass
from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float


class Part(NamedTuple):
    """A box, a capsule along x or a sphere, parallel to the thing: a core box grown by a radius."""

    half_m: tuple[float, float, float]
    """Half the edges of the core: of a capsule only the first differs from 0, of a sphere none."""
    radius_m: float = 0.0
    """By how much the core is grown: 0 for a box."""
    pos_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of the centre, in the frame of the thing."""

    @property
    def volume_m3(self) -> float:
        x, r = self.half_m[0], self.radius_m
        if r == 0:
            return float(8 * np.prod(self.half_m))
        return np.pi * r * r * (2 * x + 4 / 3 * r)


@dataclass(frozen=True, eq=False)
class Thing:
    """A rigid object; it rests on a table with its z axis up."""

    name: str
    mass_kg: float
    parts: tuple[Part, ...]
    symmetries: Float[np.ndarray, "_ 3 3"]
    """Rotations after which it looks the same."""
    rgba: tuple[float, float, float, float]
    turns: int = 0
    """It also looks the same turned by any angle about: 0 no axis, 1 its x axis, 2 every axis."""

    @property
    def geoms(self) -> tuple[str, ...]:
        """Names of its geoms."""
        return tuple(f"{self.name}_{i}" for i in range(1, len(self.parts) + 1))

    @property
    def rest_m(self) -> float:
        """Height of its origin when it rests on a table at height 0."""
        return self.extends(np.array([0.0, 0.0, -1.0]))

    def extends(self, way: Float[np.ndarray, "3"]) -> float:
        """How far it extends from its origin in a direction of its own frame (a unit vector)."""
        return max(float(way @ p.pos_m + np.abs(way) @ p.half_m) + p.radius_m for p in self.parts)

    @property
    def reach_m(self) -> float:
        """Radius of the upright cylinder about its origin that contains it."""
        return max(
            float(np.hypot(*(np.abs(p.pos_m[:2]) + p.half_m[:2]))) + p.radius_m for p in self.parts
        )


def _diagonal(*signs: tuple[int, int, int]) -> Float[np.ndarray, "_ 3 3"]:
    return np.array([np.diag(s) for s in signs], np.float32)


_NONE = _diagonal((1, 1, 1))
_HALF_TURN = _diagonal((1, 1, 1), (1, -1, -1))
"""About x."""
_BOX = _diagonal((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))
_QUARTER = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
_QUARTERS = np.stack([np.linalg.matrix_power(_QUARTER, k) for k in range(4)])
"""About z."""
_FLIP = _diagonal((1, 1, 1), (-1, 1, -1))

THINGS = (
    Thing("block", 0.047, (Part((0.0175, 0.020, 0.024)),), _BOX, (0.85, 0.62, 0.35, 1.0)),
    Thing("marker", 0.030, (Part((0.021, 0, 0), 0.0135),), _FLIP, (0.15, 0.35, 0.75, 1.0), turns=1),
    Thing(
        "cup",
        0.060,
        (Part((0.019, 0.019, 0.022)), Part((0.006, 0.0045, 0.013), 0.0, (0.025, 0, 0))),
        _HALF_TURN,
        (0.93, 0.93, 0.90, 1.0),
    ),
    Thing("matchbox", 0.025, (Part((0.028, 0.019, 0.011)),), _BOX, (0.80, 0.20, 0.18, 1.0)),
    Thing(
        "mallet",
        0.050,
        (
            Part((0.011, 0.021, 0.012), 0.0, (0.018, 0, 0)),
            Part((0.018, 0, 0), 0.012, (-0.004, 0, 0)),
        ),
        _HALF_TURN,
        (0.45, 0.28, 0.16, 1.0),
    ),
    Thing("ball", 0.034, (Part((0, 0, 0), 0.020),), _NONE, (0.95, 0.55, 0.10, 1.0), turns=2),
    Thing(
        "dumbbell",
        0.080,
        (
            Part((0.018, 0, 0), 0.009),
            Part((0, 0, 0), 0.016, (0.020, 0, 0)),
            Part((0, 0, 0), 0.016, (-0.020, 0, 0)),
        ),
        _FLIP,
        (0.30, 0.33, 0.36, 1.0),
        turns=1,
    ),
    Thing(
        "lid",
        0.030,
        (Part((0.022, 0.022, 0.007)), Part((0, 0, 0), 0.011, (0, 0, 0.015))),
        _QUARTERS,
        (0.20, 0.60, 0.45, 1.0),
    ),
)
"""Masses: our choice, of wood, plastic, rubber and stoneware at these sizes."""
FRICTION = (0.8, 0.005, 0.0001)
ROLLING_M = 0.002
"""Rolling friction of what is round: it comes to rest, as on a cloth."""


def add_thing(spec: mujoco.MjSpec, thing: Thing) -> None:
    """A free body whose joint has its name."""
    body = spec.worldbody.add_body(name=thing.name, pos=(0, 0, thing.rest_m))
    body.add_freejoint(name=thing.name)
    volume = sum(part.volume_m3 for part in thing.parts)
    for name, part in zip(thing.geoms, thing.parts, strict=True):
        geom = body.add_geom(name=name, pos=part.pos_m, rgba=thing.rgba)
        geom.mass = thing.mass_kg * part.volume_m3 / volume
        geom.condim, geom.friction = 4, FRICTION
        if part.radius_m == 0:
            geom.type, geom.size = mujoco.mjtGeom.mjGEOM_BOX, part.half_m
            continue
        if thing.turns:
            geom.condim, geom.friction = 6, (*FRICTION[:2], ROLLING_M)
        if part.half_m[0]:
            geom.type, geom.quat = mujoco.mjtGeom.mjGEOM_CAPSULE, (0.5**0.5, 0, 0.5**0.5, 0)
            geom.size = (part.radius_m, part.half_m[0], 0)
        else:
            geom.type, geom.size = mujoco.mjtGeom.mjGEOM_SPHERE, np.full(3, part.radius_m)
