"""What small geared servos do beyond the engine's own actuators, computed at every substep.

Before a command reaches a servo it is late (`latency_s`), shifted (`offset`), smoothed by the servo's own
profile (`profile_s`) and loses the play of the gears (`backlash`): that depends on no state, so whole
commands are shaped beforehand. Within a substep
the motor does nothing about a small error (`dead_band`) and is weaker the more all the motors draw
(`supply_droop`). Friction is

    F = frictionloss + motor_friction |motor torque| + load_friction |load|
        + stribeck_friction exp(-|q'| / stribeck_speed)

with the load that of gravity and of the other joints' motion: gears press harder on one another the
more they pass on, so a servo lifts worse than it lowers. Written into the engine's own friction, which
holds a joint that is at rest. Sources: the family of models M1 to M6 that Duclusaud and others compare
in "Extended friction models for the physics simulation of servo actuators" (2024); Olsson and others,
"Friction models and friction compensation" (1998).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Float, Int
from mujoco.batch import Batch
from scipy.signal import lfilter

from regrasp.assets.arm import Arm

PER_SUBSTEP = (
    *("motor_friction", "load_friction", "stribeck_friction"),
    *("dead_band", "torque_offset", "supply_droop"),
)
"""Figures of a servo that need the state of each substep."""
MODEL_FIELDS = (
    *("body_mass", "body_inertia", "body_ipos"),
    *("dof_damping", "dof_armature", "dof_frictionloss", "dof_solimp"),
    *("actuator_gainprm", "actuator_biasprm", "actuator_forcerange"),
)
"""What a fit changes in a model: what rows of a batch may differ in."""
SHAPING = ("latency_s", "offset", "profile_s", "backlash")
"""Figures of a servo that act on its commands alone."""


def is_plain(arm: Arm) -> bool:
    """Whether the engine alone simulates the arm: nothing has to be done at every substep."""
    return not any(getattr(joint.servo, name) for joint in arm.joints for name in PER_SUBSTEP)


def is_shaped(arm: Arm) -> bool:
    """Whether something happens to commands before they reach the servos."""
    return any(getattr(joint.servo, name) for joint in arm.joints for name in SHAPING)


class Shaper:
    """Commands as they reach the servos of some simulations, one stretch of substeps after another.

    What was sent before the first substep has its effects too. Play begins in its middle.
    """

    def __init__(
        self,
        arm: Arm,
        stamps_s: Float[np.ndarray, "stamps"],
        sent: Float[np.ndarray, "sims stamps joints"],
        timestep_s: float,
        latency_s: Float[np.ndarray, "sims"] | float = 0.0,
        backlash: Float[np.ndarray, "sims joints"] | float = 0.0,
    ):
        """
        Args:
            arm: whose latencies, offsets, profiles and play.
            stamps_s: when commands were sent; the first one holds before.
            sent: commands (rad or m).
            timestep_s: length of a substep (s).
            latency_s: what comes on top of the arm's.
            backlash: likewise; plays in a row are one play of their sum.
        """
        sims = len(sent)
        self._dt, self._stamps = timestep_s, stamps_s
        self._late = figures(arm, "latency_s") + np.broadcast_to(latency_s, (sims,))[:, None]
        self._sent = sent + figures(arm, "offset")
        # The areas under commands: a mean over a substep changes evenly with the latency.
        steps = np.diff(stamps_s)[:, None] * self._sent[:, :-1]
        self._area = np.concatenate([np.zeros((sims, 1, sent.shape[2])), steps.cumsum(axis=1)], 1)
        profile = figures(arm, "profile_s")
        self._follow = 1 - np.exp(-timestep_s / np.maximum(profile, 1e-9))
        self._slow = np.flatnonzero(profile)
        self._half = (figures(arm, "backlash") + np.broadcast_to(backlash, sent[:, 0].shape)) / 2
        self._smooth = self._sent[:, 0].copy()
        self._held = self._sent[:, 0].copy()
        self._at = 0
        if stamps_s[0] < 0:
            self._at = -int(-stamps_s[0] / timestep_s)
            self(-self._at)

    def __call__(self, count: int) -> Float[np.ndarray, "sims substeps joints"]:
        """What reaches the servos (rad or m) in the next `count` substeps."""
        ends = (self._at + np.arange(count + 1)) * self._dt
        self._at += count
        moved = self._arriving(ends)
        for j in self._slow:
            share = self._follow[j]
            state = (1 - share) * self._smooth[:, j, None]
            moved[..., j], _ = lfilter([share], [1, share - 1], moved[..., j], axis=1, zi=state)
            self._smooth[:, j] = moved[:, -1, j]
        if self._half.any():
            moved = self._played(moved)
        return moved

    def _arriving(self, ends: np.ndarray) -> np.ndarray:
        """Sent commands, late; those of a joint that is never late are held to the last bit."""
        moved = self._sent[:, in_force(self._stamps, ends[:-1])]
        for sim, joint in np.argwhere(self._late > 0):
            times = ends - self._late[sim, joint]
            sent = self._sent[sim, :, joint]
            area = np.interp(times, self._stamps, self._area[sim, :, joint])
            area += np.minimum(times - self._stamps[0], 0) * sent[0]
            area += np.maximum(times - self._stamps[-1], 0) * sent[-1]
            moved[sim, :, joint] = np.diff(area) / np.diff(times)
        return moved

    def _played(self, target: np.ndarray) -> np.ndarray:
        """Commands behind play: dragged along by the ends of a gap, as in `envs.control.play`."""
        # Most substeps repeat the command: only its changes move the gap.
        changed = np.diff(target, axis=1, prepend=np.nan) != 0
        starts = np.flatnonzero(changed.any(axis=(0, 2)))
        held = np.empty((len(target), len(starts), target.shape[2]))
        for k, row in enumerate(starts):
            ends = target[:, row] - self._half, target[:, row] + self._half
            self._held = held[:, k] = np.clip(self._held, *ends)
        return np.repeat(held, np.diff(starts, append=target.shape[1]), axis=1)


def in_force(
    stamps_s: Float[np.ndarray, "stamps"], times_s: Float[np.ndarray, "*times"]
) -> Int[np.ndarray, "*times"]:
    """Which command holds at each time: the latest not stamped later, or the first."""
    # Stamps and substeps are both rounded: a nanosecond decides ties for the command.
    return np.maximum(np.searchsorted(stamps_s, times_s + 1e-9, side="right") - 1, 0)


def figures(arm: Arm, name: str) -> Float[np.ndarray, " joints"]:
    """One figure of every servo."""
    return np.array([getattr(joint.servo, name) for joint in arm.joints])


@dataclass(frozen=True, eq=False)
class Law:
    """The law of every simulation of a batch: figures (simulations, joints) and views of the batch."""

    columns: Float[np.ndarray, " joints"]
    """Degree of freedom of each commanded joint."""
    friction: Float[np.ndarray, "sims joints"]
    motor_friction: Float[np.ndarray, "sims joints"]
    load_friction: Float[np.ndarray, "sims joints"]
    stribeck_friction: Float[np.ndarray, "sims joints"]
    stribeck_speed: Float[np.ndarray, "sims joints"]
    dead_band: Float[np.ndarray, "sims joints"]
    supply_droop: Float[np.ndarray, "sims joints"]
    loss: Float[np.ndarray, "sims dofs"]
    """The engine's friction, written at every substep."""
    views: dict[str, np.ndarray]
    """Live fields of the batch."""

    @classmethod
    def of(cls, batch: Batch, model: mujoco.MjModel, arms: Sequence[Arm]) -> "Law":
        """The law of arms in a batch, one per simulation; writes their constant torques once.

        Coulomb friction is what the batch has by now, so that it can differ between simulations.
        """
        columns = np.array([model.joint(name).dofadr[0] for name in arms[0].joint_names])
        table = {
            name: np.stack([figures(arm, name) for arm in arms])
            for name in (*PER_SUBSTEP, "stribeck_speed")
        }
        views = {n: batch.bind(n) for n in ("qpos", "qvel", "qfrc_bias", "qfrc_actuator", "ctrl")}
        batch.bind("qfrc_applied")[:, columns] = table.pop("torque_offset")
        loss = batch.expand("dof_frictionloss")
        return cls(columns, loss[:, columns].copy(), **table, loss=loss, views=views)

    def rollout(
        self,
        batch: Batch,
        control: Float[np.ndarray, "rows substeps joints"],
        rows: Int[np.ndarray, "rows"],
        columns: Int[np.ndarray, "joints"],
    ) -> Float[np.ndarray, "rows substeps joints"]:
        """Positions after each substep, with the law applied before it.

        Args:
            batch: the one that the law is of.
            control: where the servos are told to go (rad or m).
            rows: which simulations go on.
            columns: of the joints in qpos.
        """
        path = np.empty(control.shape)
        targets = np.zeros(self.friction.shape)
        ids = None if len(rows) == batch.nsim else rows.tolist()
        for k in range(control.shape[1]):
            targets[rows] = control[:, k]
            self.write(targets, columns)
            batch.step(ids, nstep=1)
            path[:, k] = self.views["qpos"][rows][:, columns]
        return path

    def write(self, targets: Float[np.ndarray, "sims joints"], qpos: np.ndarray) -> None:
        """Friction and controls of the coming substep.

        Args:
            targets: where the servos are told to go (rad or m).
            qpos: columns of the joints in qpos.
        """
        motor = np.abs(self.views["qfrc_actuator"][:, self.columns])
        load = np.abs(self.views["qfrc_bias"][:, self.columns])
        speed = np.abs(self.views["qvel"][:, self.columns])
        self.loss[:, self.columns] = (
            self.friction
            + self.motor_friction * motor
            + self.load_friction * load
            + self.stribeck_friction * np.exp(-speed / self.stribeck_speed)
        )
        q = self.views["qpos"][:, qpos]
        error = targets - q
        error -= np.clip(error, -self.dead_band, self.dead_band)
        error *= 1 - np.minimum(self.supply_droop * motor.sum(axis=1, keepdims=True), 0.9)
        self.views["ctrl"][:] = q + error


def write_models(batch: Batch, models: Sequence[mujoco.MjModel]) -> None:
    """Give each simulation the figures of its own model, and what the engine derives from them."""
    for name in MODEL_FIELDS:
        batch.expand(name)[:] = np.stack([getattr(model, name) for model in models])
    batch.set_const()
