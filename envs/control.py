"""Joint-position targets at the control rate: limits, units, command latency; one simulation."""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from regrasp.assets import Workcell

MAX_LATENCY_S = 0.1


class ControlCarry(NamedTuple):
    """What Control remembers between steps."""

    sent: Float[Array, "history action"]
    """Commands sent, newest first."""
    latency: Int[Array, ""]
    """Physics substeps from a command to its arrival at the servos."""


class Command(NamedTuple):
    """What the servos are told in a control period: `before`, and from substep `switch` `after`."""

    before: Float[Array, " action"]
    after: Float[Array, " action"]
    switch: Int[Array, ""]
    """Substep of the change; 0: `after` holds for the whole period."""


@dataclass(frozen=True)
class Control:
    """Turns actions into servo targets.

    An action is float32, one number per commanded joint: an absolute target in rad, or a normalised
    opening for a gripper. A command takes effect `latency` after it was sent, to the substep.
    """

    workcell: Workcell
    substeps: int
    """Physics steps per control step."""
    timestep_s: float

    @property
    def dt_s(self) -> float:
        return self.substeps * self.timestep_s

    @property
    def low(self) -> Float[np.ndarray, " action"]:
        return self._limits(0)

    @property
    def high(self) -> Float[np.ndarray, " action"]:
        return self._limits(1)

    @property
    def home(self) -> Float[np.ndarray, " action"]:
        """The action that holds the arms at home."""
        arm = self.workcell.arm
        one = [joint.home for joint in arm.joints[:-1]] + [arm.opening(arm.joints[-1].home)]
        return np.array(one * 2, np.float32)

    def start(self, latency_s: Float[Array, ""] | float) -> ControlCarry:
        """The carry at the start of an episode: the arms have been told to hold home for long."""
        history = int(np.ceil(MAX_LATENCY_S / self.dt_s)) + 2
        latency = jnp.round(jnp.asarray(latency_s) / self.timestep_s).astype(jnp.int32)
        sent = jnp.broadcast_to(jnp.asarray(self.home), (history, self.workcell.action_size))
        return ControlCarry(sent, jnp.clip(latency, 0, round(MAX_LATENCY_S / self.timestep_s)))

    def send(
        self, carry: ControlCarry, action: Float[Array, " action"]
    ) -> tuple[ControlCarry, Command]:
        """Send one action, clipped to the limits; return what reaches the servos in this period."""
        action = jnp.clip(action, self.low, self.high)
        sent = jnp.concatenate([action[None], carry.sent[:-1]])
        age, switch = carry.latency // self.substeps, carry.latency % self.substeps
        return ControlCarry(sent, carry.latency), Command(
            before=self._targets(sent[age + 1]), after=self._targets(sent[age]), switch=switch
        )

    def _targets(self, action: Float[Array, " action"]) -> Float[Array, " action"]:
        columns = np.array(self.workcell.gripper_columns)
        return action.at[columns].set(self.workcell.arm.position(action[columns]))

    def _limits(self, end: int) -> Float[np.ndarray, " action"]:
        one = [joint.range[end] for joint in self.workcell.arm.joints[:-1]] + [float(end)]
        return np.array(one * 2, np.float32)
