"""Fields of soft bodies: stiffness, yield point, damping, friction, softness of contacts."""

from dataclasses import replace

import mujoco
import numpy as np

from regrasp.envs import Write
from regrasp.envs.randomizer import scale
from regrasp.errors import InputError, unknown
from regrasp.randomization.fields import FACTOR, Field


def flex_stiffness(flex: str) -> Field:
    """Elastic stiffness of a soft body; the strain at which it yields stays, so the force does not."""

    def writes(model: mujoco.MjModel, row: str) -> list[Write]:
        starts = np.append(model.flex_stiffnessadr, len(model.flex_stiffness))
        first = int(model.flex_stiffnessadr[_id(model, flex)])
        last = int(starts[starts > first].min())
        return [Write(row, "flex_stiffness", np.arange(first, last), np.zeros(1, int), scale)]

    return Field(f"{flex} stiffness", FACTOR, writes=writes, range=(0.1, 10.0), names=_names(flex))


def flex_yield(flex: str) -> Field:
    """Strain at which a soft body begins to flow, and with it the force of flow."""

    def range_of(model: mujoco.MjModel) -> tuple[float, float]:
        if not model.flex_plasticmode[_id(model, flex)] & 2:
            raise InputError(
                f"yield strain of {flex!r}: it has none, and the engine allots plastic state only when a "
                "scene is compiled: give it one there"
            )
        return 0.1, 10.0

    return replace(_one(flex, "yield strain", "flex_yield", 0), range_of=range_of)


def flex_damping(flex: str) -> Field:
    """Viscosity of a soft body over its stiffness."""
    return _one(flex, "damping", "flex_damping", 0)


def flex_friction(flex: str) -> Field:
    """Sliding friction of a soft body; a contact takes the larger one of the two that touch."""
    return _one(flex, "friction", "flex_friction", 0)


def flex_softness(flex: str) -> Field:
    """Time constant in which contacts of a soft body push out: see `contact_softness`."""

    def range_of(model: mujoco.MjModel) -> tuple[float, float]:
        constant = float(model.flex_solref[_id(model, flex), 0])
        return 2 * model.opt.timestep / constant, np.inf

    return replace(_one(flex, "softness", "flex_solref", 0), range_of=range_of)


def _one(flex: str, what: str, field: str, column: int) -> Field:
    """A factor on one number of a soft body."""

    def writes(model: mujoco.MjModel, row: str) -> list[Write]:
        values = getattr(model, field)
        width = values.size // model.nflex
        at = np.array([width * _id(model, flex) + column])
        return [Write(row, field, at, np.zeros(1, int), scale)]

    return Field(f"{flex} {what}", FACTOR, writes=writes, range=(0.1, 10.0), names=_names(flex))


def _id(model: mujoco.MjModel, flex: str) -> int:
    names = [model.names[i:].split(b"\0", 1)[0].decode() for i in model.name_flexadr]
    if flex not in names:
        raise unknown("flex", flex, names)
    return names.index(flex)


def _names(flex: str) -> tuple[tuple[str, str], ...]:
    return (("flex", flex),)
