"""The form of a task: one file, read from top to bottom."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import mujoco
from jaxtyping import Array, Bool, Float

from regrasp.assets import ALOHA, Workcell, load_workcell
from regrasp.assets.workcell import CONTACT_TIME_S, TIMESTEP_S
from regrasp.envs.view import View, Watch

Carry = Any
"""A pytree that a task keeps from step to step."""


class Initial(NamedTuple):
    """Where one episode starts."""

    qpos: dict[str, Float[Array, " _"]]
    """Joint name -> position, for the joints that do not start at home.

    Free joints: position in m, then quaternion wxyz. Flexes: how far each vertex is from where the scene
    puts it, three numbers each (m).
    """
    carry: Carry


@dataclass(frozen=True)
class Task(ABC):
    """Scene, starts, observations, reward, success and failure.

    Every method after `scene` and `watch` is pure `jax.numpy` for ONE simulation; environments
    vmap them.
    """

    horizon_s: float = 8.0
    """An episode is truncated after this long."""
    control_dt_s: float = 0.02
    """Control period, a whole number of physics steps."""
    timestep_s: float = TIMESTEP_S
    """Physics timestep."""
    contact_time_s: float = CONTACT_TIME_S
    """Time constant of every contact; at least two timesteps."""
    contacts: int = 64
    """Room for contacts in one simulation, on engines that allocate it beforehand."""

    cell: str = ALOHA
    """Whose arms do it: name of a workcell, or of a table's file; see `load_task`."""

    seen: ClassVar[Mapping[str, tuple[str, tuple[int, ...]]]] = {}
    """What is observed of the objects: see `terms`."""

    alike: ClassVar[Mapping[str, int]] = {}
    """Terms that hold the same numbers of several things, one thing after the other -> how many things."""

    @property
    def terms(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Observation term -> (unit, shape): the arms', then the objects'.

        Noise follows the unit: rad and rot (rotation entries) take angular noise, m takes position
        noise, 1 takes none.
        """
        size = self.workcell().action_size
        arms = {"joint_pos": ("rad", (size - 2,)), "gripper": ("1", (2,)), "target": ("1", (size,))}
        return {**arms, **self.seen}

    def workcell(self) -> Workcell:
        """The arms, the table and the cameras."""
        return load_workcell(self.cell, self.timestep_s, self.contact_time_s)

    @abstractmethod
    def scene(self) -> mujoco.MjSpec:
        """The workcell with this task's objects and sensors."""

    @abstractmethod
    def watch(self) -> Watch:
        """What the functions below look at."""

    @abstractmethod
    def initial(self, key: Array) -> Initial:
        """The start of an episode."""

    @abstractmethod
    def update(self, view: View, carry: Carry) -> Carry:
        """The carry after a control step that ended in `view`."""

    @abstractmethod
    def observe(self, view: View, carry: Carry) -> dict[str, Float[Array, " _"]]:
        """The observation terms, without noise."""

    @abstractmethod
    def reward(self, view: View, carry: Carry) -> dict[str, Float[Array, ""]]:
        """Raw reward terms; the environment's reward is their sum.

        A term whose name ends in _left or _right is that arm's doing: whoever learns from progress gives the
        other arm no part in it.
        """

    def metrics(self, view: View, carry: Carry) -> dict[str, Float[Array, ""]]:
        """What else is worth reporting of a step, by name."""
        return {}

    @abstractmethod
    def success(self, view: View, carry: Carry) -> Bool[Array, ""]:
        """Whether the episode ends well here."""

    @abstractmethod
    def failure(self, view: View, carry: Carry) -> Bool[Array, ""]:
        """Whether the episode ends badly here."""
