"""Fields of bodies and their shapes: mass, centre of mass, friction, softness, size."""

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

from regrasp.envs import Write
from regrasp.envs.randomizer import add, cube, fifth_power, scale
from regrasp.errors import InputError
from regrasp.randomization.fields import FACTOR, Field, ids, named

_INERTIAL = (
    "actuator_acc0",
    "body_invweight0",
    "body_subtreemass",
    "cam_poscom0",
    "dof_M0",
    "dof_invweight0",
    "light_poscom0",
)
_SHAPED = ("bvh_aabb", "dof_length")
_ROUND = {
    int(kind)
    for kind in (
        mujoco.mjtGeom.mjGEOM_SPHERE,
        mujoco.mjtGeom.mjGEOM_CAPSULE,
        mujoco.mjtGeom.mjGEOM_ELLIPSOID,
        mujoco.mjtGeom.mjGEOM_CYLINDER,
        mujoco.mjtGeom.mjGEOM_BOX,
    )
}
_MASS_RANGE = (0.01, 100.0)
_SIZE_RANGE = (0.2, 5.0)


def body_mass(body: str, *more: str) -> Field:
    """Mass of a body, or of several by one factor; inertia follows, the centre of mass stays."""
    bodies = (body, *more)

    def writes(model: mujoco.MjModel, row: str) -> list[Write]:
        i = ids(model, "body", bodies)
        return [
            one(row, "body_mass", i, scale),
            one(row, "body_inertia", block(i, 3), scale),
        ]

    return Field(
        f"{body} mass",
        FACTOR,
        writes=writes,
        range=_MASS_RANGE,
        derived=_INERTIAL,
        names=tuple(("body", name) for name in bodies),
    )


def mass_center(body: str) -> Field:
    """Centre of mass of a body, moved in its own frame (m); mass and inertia about it stay."""

    def writes(model: mujoco.MjModel, row: str) -> list[Write]:
        i = named(model, "body", body).id
        if model.body_simple[i]:
            raise InputError(
                f"the centre of mass of {body!r} cannot move: the engine stores its inertia as a "
                "diagonal; in the scene, give it an inertial frame off its own, if only by 1e-6 m"
            )
        frames = [Write(row, "body_sameframe", np.array([i]), np.zeros(1, int), _body_frame)]
        for kind in ("geom", "site"):
            own = np.flatnonzero(getattr(model, f"{kind}_bodyid") == i)
            if np.isin(getattr(model, f"{kind}_sameframe")[own], 2).any():
                frames.append(one(row, f"{kind}_sameframe", own, _shape_frame))
        return [Write(row, "body_ipos", 3 * i + np.arange(3), np.arange(3), add), *frames]

    return Field(
        f"{body} centre of mass",
        "m",
        count=3,
        each="axis",
        writes=writes,
        range=(-0.1, 0.1),
        derived=(*_INERTIAL, *_SHAPED),
        names=(("body", body),),
    )


def slide_friction(name: str, geoms: Sequence[str]) -> Field:
    """Sliding friction of some geoms, by one common factor.

    A contact takes the larger friction of its two geoms, or that of the one with the higher
    priority, so name every geom that could rule.
    """
    return _friction(f"{name} friction", geoms, 0)


def torsion_friction(name: str, geoms: Sequence[str]) -> Field:
    """Friction of some geoms against turning about the contact normal, by one common factor."""
    return _friction(f"{name} torsional friction", geoms, 1)


def roll_friction(name: str, geoms: Sequence[str]) -> Field:
    """Friction of some geoms against rolling, by one common factor; contacts of condim 6 alone."""
    return _friction(f"{name} rolling friction", geoms, 2)


def contact_softness(name: str, geoms: Sequence[str]) -> Field:
    """Time constant in which contacts of some geoms push out, by one common factor.

    A contact mixes the time constants of its two geoms. Below two timesteps the engine would take
    two without a word, so such ranges are refused.
    """

    def range_of(model: mujoco.MjModel) -> tuple[float, float]:
        constants = model.geom_solref[ids(model, "geom", geoms), 0]
        if constants.min() <= 0:
            raise InputError(
                f"{name} softness: a geom of {', '.join(geoms)} has solref in stiffness and "
                "damping: give it a time constant"
            )
        return float(2 * model.opt.timestep / constants.min()), np.inf

    def writes(model: mujoco.MjModel, row: str) -> list[Write]:
        columns = model.geom_solref.shape[1]
        return [one(row, "geom_solref", columns * ids(model, "geom", geoms), scale)]

    return Field(
        f"{name} softness",
        FACTOR,
        writes=writes,
        range=(0, np.inf),
        range_of=range_of,
        names=tuple(("geom", geom) for geom in geoms),
    )


def object_size(body: str, floor_m: float) -> Field:
    """Size of a free object with all parts fixed to it, by one factor, at constant density.

    Lengths scale with the factor s, masses with s^3, inertias with s^5. At the start of an episode
    the object's height above what it rests on scales too.

    Args:
        body: has a free joint of the same name.
        floor_m: height of what it rests on at the start (world frame).
    """

    def writes(model: mujoco.MjModel, row: str) -> list[Write]:
        bodies = _rigid_parts(model, body)
        geoms = np.flatnonzero(np.isin(model.geom_bodyid, bodies))
        sites = np.flatnonzero(np.isin(model.site_bodyid, bodies))
        _check_shapes(model, body, geoms)
        lengths = {
            "geom_size": block(geoms, 3),
            "geom_pos": block(geoms, 3),
            "geom_rbound": geoms,
            "geom_aabb": block(geoms, 6),
            "site_pos": block(sites, 3),
            "body_ipos": block(bodies, 3),
            "body_pos": block(bodies[1:], 3),
        }
        return [
            *(
                one(row, field, at, scale)
                for field, at in lengths.items()
                if _moves(model, field, at)
            ),
            one(row, "body_mass", bodies, cube),
            one(row, "body_inertia", block(bodies, 3), fifth_power),
        ]

    return Field(
        f"{body} size",
        FACTOR,
        writes=writes,
        range=_SIZE_RANGE,
        derived=(*_INERTIAL, *_SHAPED),
        names=(("body", body),),
        grown=(body, floor_m),
    )


def _friction(name: str, geoms: Sequence[str], column: int) -> Field:
    def writes(model: mujoco.MjModel, row: str) -> list[Write]:
        return [one(row, "geom_friction", 3 * ids(model, "geom", geoms) + column, scale)]

    return Field(
        name,
        FACTOR,
        writes=writes,
        range=(0, np.inf),
        names=tuple(("geom", geom) for geom in geoms),
    )


def one(row: str, field: str, entries: np.ndarray, change: Any) -> Write:
    """All entries by the row's only number."""
    return Write(row, field, entries, np.zeros(1, int), change)


def block(index: np.ndarray, width: int) -> np.ndarray:
    """Entries of a flattened field whose elements have that many numbers."""
    return (width * index[:, None] + np.arange(width)).ravel()


def _moves(model: mujoco.MjModel, field: str, entries: np.ndarray) -> bool:
    """Whether a factor changes anything there: fields of zeros need no copy per simulation."""
    return bool(np.any(getattr(model, field).ravel()[entries]))


def _body_frame(old: Any, number: Any) -> Any:
    """Frames that were equal (1) now only point the same way (3)."""
    del number
    return old + 2 * (old == 1)


def _shape_frame(old: Any, number: Any) -> Any:
    """Frames that were the inertial one (2) now only point the same way (4)."""
    del number
    return old + 2 * (old == 2)


def _rigid_parts(model: mujoco.MjModel, body: str) -> np.ndarray:
    """A free body and those fixed to it."""
    root = named(model, "body", body)
    free = root.jntnum[0] == 1 and model.jnt_type[root.jntadr[0]] == mujoco.mjtJoint.mjJNT_FREE
    if not free or model.joint(int(root.jntadr[0])).name != body:
        raise InputError(f"size of {body!r}: only a body with a free joint of its name can grow")
    parts = [root.id]
    for i in range(root.id + 1, model.nbody):
        if model.body_parentid[i] in parts:
            parts.append(i)
    if model.body_jntnum[parts[1:]].any():
        raise InputError(f"size of {body!r}: it has joints within; only rigid objects can grow")
    return np.array(parts)


def _check_shapes(model: mujoco.MjModel, body: str, geoms: np.ndarray) -> None:
    kinds = {int(kind) for kind in model.geom_type[geoms]}
    if not kinds or kinds - _ROUND:
        raise InputError(
            f"size of {body!r}: only spheres, capsules, ellipsoids, cylinders and boxes can grow"
        )
