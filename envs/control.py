"""Joint-position targets at the control rate, on their way to the servos; one simulation."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from regrasp.assets import Workcell
from regrasp.envs.randomizer import PLAIN, Settings, off

MAX_LATENCY_S = 0.1
MAX_JITTER_S = 0.04
_ARRIVED = -1
"""Arrival time of a command that will not arrive any more."""


class ControlCarry(NamedTuple):
    """What Control remembers between steps."""

    sent: Float[Array, "history action"]
    """Commands sent, newest first."""
    due: Int[Array, " history"]
    """When they arrive: physics substeps from the end of the last step; negative: they have."""
    held: Float[Array, " action"]
    """What the servos hold now (rad, m)."""


class Command(NamedTuple):
    """What happens to the robot in a control period.

    The servos are told `before`, and from substep `switch` on `after`.
    """

    before: Float[Array, " action"]
    after: Float[Array, " action"]
    switch: Int[Array, ""]
    """Substep of the change; 0: `after` holds for the whole period."""
    push: Float[Array, "pushed 3"]
    """Forces on the pushed bodies' centres of mass during the whole period (N, world frame)."""


@dataclass(frozen=True)
class Control:
    """Turns actions into servo targets.

    An action is float32, one number per commanded joint: an absolute target in rad, or a normalised
    opening for a gripper. A command takes effect a latency after it was sent, to the substep.
    Commands arrive in the order in which they were sent; of several that arrive in one period only
    the newest counts, so the targets change at most once in a period.
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

    @property
    def is_arm(self) -> np.ndarray:
        """Which action entries are angles of arm joints, and not openings."""
        mask = np.ones(self.workcell.action_size, bool)
        mask[list(self.workcell.gripper_columns)] = False
        return mask

    def start(self, settings: Settings = PLAIN) -> ControlCarry:
        """The carry at the start of an episode: the arms have been told to hold home for long."""
        longest = self._substeps(MAX_LATENCY_S) + self._substeps(MAX_JITTER_S)
        history = longest // self.substeps + 1
        home = jnp.asarray(self.home)
        return ControlCarry(
            sent=jnp.broadcast_to(home, (history, len(self.home))),
            due=jnp.full(history, _ARRIVED, jnp.int32),
            held=self._targets(home, settings),
        )

    def send(
        self,
        carry: ControlCarry,
        action: Float[Array, " action"],
        settings: Settings = PLAIN,
        chance: Float[Array, "2"] | None = None,
    ) -> tuple[ControlCarry, Command]:
        """Send one action, clipped to the limits; return what reaches the servos in this period.

        Args:
            carry: what was sent before.
            action: the command.
            settings: latency, jitter, drop, joint offsets and backlash.
            chance: uniform numbers in [0, 1) that decide this command's jitter and loss.
        """
        sent = jnp.concatenate([jnp.clip(action, self.low, self.high)[None], carry.sent[:-1]])
        due = jnp.concatenate([self._arrival(carry, settings, chance)[None], carry.due[:-1]])
        arriving = (due >= 0) & (due < self.substeps)
        newest = jnp.argmax(arriving)
        target = self._targets(sent[newest], settings)
        if not off(settings.backlash_rad):
            target = play(carry.held, target, settings.backlash_rad)
        after = jnp.where(arriving[newest], target, carry.held)
        command = Command(
            before=carry.held,
            after=after,
            switch=jnp.where(arriving[newest], due[newest], 0),
            push=jnp.zeros((0, 3)),
        )
        later = jnp.maximum(due - self.substeps, _ARRIVED)
        return ControlCarry(sent, later, after), command

    def _arrival(
        self, carry: ControlCarry, settings: Settings, chance: Float[Array, "2"] | None
    ) -> Int[Array, ""]:
        """Substeps until a command sent now arrives: not before those sent earlier, or never."""
        delay = jnp.clip(jnp.asarray(settings.command_latency_s), 0, MAX_LATENCY_S)
        if chance is not None and not off(settings.command_jitter_s):
            delay = delay + chance[0] * jnp.clip(settings.command_jitter_s, 0, MAX_JITTER_S)
        due = jnp.maximum(jnp.round(delay / self.timestep_s).astype(jnp.int32), carry.due.max())
        if chance is not None and not off(settings.command_drop):
            due = jnp.where(chance[1] < settings.command_drop, _ARRIVED, due)
        return due

    def _targets(
        self, action: Float[Array, " action"], settings: Settings
    ) -> Float[Array, " action"]:
        """Servo targets (rad, m) of an action; offsets are those of arm joints."""
        columns = np.array(self.workcell.gripper_columns)
        target = action.at[columns].set(self.workcell.arm.position(action[columns]))
        if not off(settings.joint_offset_rad):
            target = target + settings.joint_offset_rad
        return target

    def _substeps(self, seconds: float) -> int:
        return math.ceil(seconds / self.timestep_s - 1e-9)

    def _limits(self, end: int) -> Float[np.ndarray, " action"]:
        one = [joint.range[end] for joint in self.workcell.arm.joints[:-1]] + [float(end)]
        return np.array(one * 2, np.float32)


def play(
    held: Float[Array, " action"], target: Float[Array, " action"], width: Any
) -> Float[Array, " action"]:
    """Backlash: the joint's target is dragged along only by the ends of a gap of this width.

    The operator acts on the command. A motor and a link as two bodies with a gap between them
    would be truer, at the price of twelve more stiff degrees of freedom and a shorter timestep.
    What this cannot show: a link that rattles freely within the gap, or that gravity or a contact
    carries to its other end.
    """
    return jnp.clip(held, target - width / 2, target + width / 2)
