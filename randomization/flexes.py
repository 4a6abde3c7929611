"""Fields of flexes (cloths, soft blocks): mass, stiffness, yield, damping, thickness, contacts."""

from collections.abc import Callable
from dataclasses import replace

import mujoco
import numpy as np

from regrasp.envs import Write
from regrasp.envs.randomizer import scale
from regrasp.envs.view import flex_id
from regrasp.errors import InputError
from regrasp.randomization.bodies import block, one
from regrasp.randomization.fields import FACTOR, Field

_MASS_DERIVED = (
    "body_invweight0",
    "body_subtreemass",
    "dof_M0",
    "dof_invweight0",
    "efm0_L",
    "flexedge_invweight0",
)


def flex_mass(flex: str) -> Field:
    """Mass of a flex, by one factor for all of its vertices."""

    def writes(model: mujoco.MjModel, row: str) -> list[Write]:
        vertices = _span(model, flex, "vertadr", model.nflexvert)
        bodies = np.unique(model.flex_vertbodyid[vertices])
        return [
            one(row, "body_mass", bodies, scale),
            one(row, "body_inertia", block(bodies, 3), scale),
        ]

    return _field(flex, "mass", writes, (0.1, 10.0), _MASS_DERIVED)


def flex_stiffness(flex: str) -> Field:
    """Stiffness of a flex against being stretched, by one factor; the strain at which it yields stays."""
    return _elastic(flex, "stiffness", "flex_stiffness", "stiffnessadr")


def flex_bend(flex: str) -> Field:
    """Stiffness of a cloth against bending, or of a cable against bending and twisting, by one factor."""
    return _elastic(flex, "bend", "flex_bending", "bendingadr", ("efm0_L",))


def flex_damping(flex: str) -> Field:
    """Damping of a flex, over its stiffness, by one factor."""
    return _single(flex, "damping", "flex_damping", ("efm0_L",))


def flex_thickness(flex: str) -> Field:
    """The radius with which a flex collides, by one factor; its stiffness stays."""
    return _single(flex, "thickness", "flex_radius")


def flex_friction(flex: str) -> Field:
    """Sliding friction of a flex, by one factor.

    A contact takes the larger friction of the two that touch, or that of the one with the higher priority.
    """
    return _single(flex, "friction", "flex_friction")


def flex_softness(flex: str) -> Field:
    """Time constant in which contacts of a flex push out, by one factor: see `contact_softness`."""

    def range_of(model: mujoco.MjModel) -> tuple[float, float]:
        constant = float(model.flex_solref[flex_id(model, flex), 0])
        return 2 * model.opt.timestep / constant, np.inf

    return replace(_single(flex, "softness", "flex_solref"), range_of=range_of)


def flex_yield(flex: str) -> Field:
    """Strain at which a flex begins to flow, and with it the force of flow, by one factor."""

    def range_of(model: mujoco.MjModel) -> tuple[float, float]:
        if not model.flex_plasticmode[flex_id(model, flex)] & 2:
            raise InputError(
                f"yield strain of {flex!r}: it has none, and the engine allots plastic state only when a "
                "scene is compiled: give it one there"
            )
        return 0.1, 10.0

    return replace(_single(flex, "yield strain", "flex_yield"), range_of=range_of)


def _single(flex: str, what: str, field: str, derived: tuple[str, ...] = ()) -> Field:
    """A field with one number per flex, or whose first one counts."""

    def writes(model: mujoco.MjModel, row: str) -> list[Write]:
        columns = getattr(model, field).size // model.nflex
        return [one(row, field, np.array([columns * flex_id(model, flex)]), scale)]

    return _field(flex, what, writes, (0.0, np.inf), derived)


def _elastic(
    flex: str, what: str, field: str, address: str, derived: tuple[str, ...] = ()
) -> Field:
    def writes(model: mujoco.MjModel, row: str) -> list[Write]:
        numbers = getattr(model, field)
        entries = _span(model, flex, address, numbers.size)
        if not len(entries):
            raise InputError(f"{flex} {what}: this flex has no such stiffness")
        if model.flex_dim[flex_id(model, flex)] == 1:
            entries = _of_rod(numbers, entries, flex)
        return [one(row, field, entries, scale)]

    return _field(flex, what, writes, (0.0, np.inf), derived)


def _of_rod(numbers: np.ndarray, entries: np.ndarray, flex: str) -> np.ndarray:
    """Which of a rod's entries are stiffnesses.

    After their count the engine keeps ten numbers for every inner vertex: three vertices and two hinges by
    their numbers, stiffness against bending (5th) and against twisting (9th), and the curvature at rest.
    """
    each, rest = divmod(len(entries) - 1, int(numbers[entries[0]]))
    if (each, rest) != (10, 0):
        raise InputError(f"{flex} bend: this engine keeps the stiffness of rods in another way")
    blocks = entries[1:].reshape(-1, each)
    return blocks[:, (4, 8)].ravel()


def _span(model: mujoco.MjModel, flex: str, address: str, size: int) -> np.ndarray:
    """The entries of one flex in an array that holds those of all, one flex after the other."""
    starts = getattr(model, f"flex_{address}")
    first = starts[flex_id(model, flex)]
    if first < 0:
        return np.arange(0)
    return np.arange(first, min([*starts[starts > first], size]))


def _field(
    flex: str,
    what: str,
    writes: Callable[[mujoco.MjModel, str], list[Write]],
    limits: tuple[float, float],
    derived: tuple[str, ...] = (),
) -> Field:
    return Field(
        f"{flex} {what}",
        FACTOR,
        writes=writes,
        range=limits,
        derived=derived,
        names=(("flex", flex),),
    )
