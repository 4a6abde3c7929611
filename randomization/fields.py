"""A quantity that a table row may change. Each is one small function: see the files beside this one.

`bodies` holds what objects are made of, `servos` what drives the arms, `conditions` timing, sensing
and what comes from outside.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float, Int

from regrasp.assets import SIDES
from regrasp.envs import Write
from regrasp.errors import unknown

KINDS = {"body": "bodies", "geom": "geoms", "actuator": "actuators", "flex": "flexes"}
"""What fields name -> where a specification lists it."""
FACTOR = "x nominal"
SHARED = ("arm", "all")


@dataclass(frozen=True)
class Setting:
    """Where a row's numbers go in one of `regrasp.envs.Settings`."""

    name: str
    entries: Int[np.ndarray, " k"] | None = None
    """Which of its numbers; none: it has one alone."""
    source: Int[np.ndarray, " k"] | None = None
    """Which of the row's numbers goes there."""
    size: int = 1

    def value(self, numbers: Float[Array, " _"]) -> Array:
        """The setting under these numbers."""
        if self.entries is None:
            return numbers[0]
        return jnp.zeros(self.size).at[self.entries].set(numbers[self.source])


@dataclass(frozen=True)
class Field:
    """A quantity that differs between episodes."""

    name: str
    unit: str
    """Of the sampled number; "x nominal" for a factor."""
    count: int = 1
    """Numbers per simulation."""
    each: str = "episode"
    """What has a number of its own: episode, arm, joint or axis."""
    writes: Callable[[mujoco.MjModel, str], list[Write]] = lambda model, row: []
    """How the numbers change a model, for the row of this name."""
    setting: Setting | None = None
    """Where the numbers go if not into the model."""
    range: tuple[float, float] = (-np.inf, np.inf)
    """What can be simulated."""
    range_of: Callable[[mujoco.MjModel], tuple[float, float]] | None = None
    """What can be simulated, where that depends on the model."""
    derived: tuple[str, ...] = ()
    """Model fields that follow, recomputed by mj_setConst."""
    names: tuple[tuple[str, str], ...] = ()
    """Kind and name of everything that a scene must have."""
    pushed: tuple[str, ...] = ()
    """Bodies that are pushed."""
    grown: tuple[str, float] | None = None
    """Free joint of an object whose size this is, and the height it rests on (m)."""


def sharing(
    actuators: Sequence[str], shared: str | None
) -> tuple[int, Int[np.ndarray, " actuators"], str]:
    """How many numbers there are, which of them each actuator takes, and what has one of its own.

    Args:
        actuators: their names, which start with the arm's side.
        shared: None: one each; "arm": one per arm; "all": one alone.

    Raises:
        InputError: another word.
    """
    if shared is None:
        return len(actuators), np.arange(len(actuators)), "joint"
    if shared == "all":
        return 1, np.zeros(len(actuators), int), "episode"
    if shared == "arm":
        sides = [SIDES.index(name.partition("/")[0]) for name in actuators]
        return len(SIDES), np.array(sides), "arm"
    raise unknown("sharing", shared, SHARED)


def named(model: mujoco.MjModel, kind: str, name: str) -> Any:
    """An element of a model.

    Raises:
        InputError: there is none of that name.
    """
    try:
        return getattr(model, kind)(name)
    except KeyError:
        count = getattr(model, {"body": "nbody", "geom": "ngeom", "actuator": "nu"}[kind])
        names = [getattr(model, kind)(i).name for i in range(count)]
        raise unknown(kind, name, [n for n in names if n]) from None


def ids(model: mujoco.MjModel, kind: str, names: Sequence[str]) -> Int[np.ndarray, " names"]:
    """Their numbers in a model."""
    return np.array([named(model, kind, name).id for name in names], int)
