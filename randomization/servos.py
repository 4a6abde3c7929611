"""Fields of the servos and the joints that they drive.

`shared` is None (a number for each actuator), "arm" (one for each arm) or "all" (one alone).
"""

from collections.abc import Callable, Sequence
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Int

from regrasp.assets import SIDES, aloha
from regrasp.envs import Write
from regrasp.envs.randomizer import scale
from regrasp.errors import unknown
from regrasp.randomization.fields import FACTOR, Field, Setting, ids, named, sharing

_FACTORS = (0.0, 100.0)
_ANGLES = (-0.2, 0.2)
Part = Callable[[mujoco.MjModel, str, Sequence[str], Int[np.ndarray, " _"]], list[Write]]


def servo_stiffness(actuators: Sequence[str], shared: str | None = None) -> Field:
    """Proportional gain of position servos."""
    return _factor("servo stiffness", actuators, shared, (_stiffness,))


def servo_damping(actuators: Sequence[str], shared: str | None = None) -> Field:
    """All that brakes with speed: the servos' velocity gain and their joints' viscous damping."""
    return _factor("servo damping", actuators, shared, (_damping,))


def servo_gain(actuators: Sequence[str], shared: str | None = None) -> Field:
    """Stiffness and damping of a servo together, by one number: one motor stronger than another."""
    return _factor("servo gain", actuators, shared, (_stiffness, _damping))


def joint_friction(actuators: Sequence[str], shared: str | None = None) -> Field:
    """Coulomb friction of the servos' joints."""
    return _factor("joint friction", actuators, shared, (_dofs("dof_frictionloss"),))


def joint_armature(actuators: Sequence[str], shared: str | None = None) -> Field:
    """Rotor inertia of the servos, seen at their joints."""
    derived = ("actuator_acc0", "body_invweight0", "dof_M0", "dof_invweight0")
    return _factor("joint armature", actuators, shared, (_dofs("dof_armature"),), derived)


def joint_creep(actuators: Sequence[str], shared: str | None = None) -> Field:
    """How fast the servos' joints creep where friction should hold them.

    The engine's friction is a soft constraint: under a steady load below its limit a joint creeps by
    milliradians a second at the engine's own impedance, where a geared servo does not move at all.
    The factor is of the servo figure `creep`, one minus the impedance; the engine takes no impedance
    above 0.9999.
    """
    count, source, each = sharing(actuators, shared)

    def writes(model: mujoco.MjModel, row: str) -> list[Write]:
        (dofs,) = _dofs("dof_frictionloss")(model, row, actuators, source)
        width = model.dof_solimp.shape[1]
        # At no violation, and at any.
        entries = (width * dofs.entries[:, None] + np.arange(2)).ravel()
        return [Write(row, "dof_solimp", entries, np.repeat(dofs.source, 2), _nearer_to_one)]

    names = tuple(("actuator", actuator) for actuator in actuators)
    return Field("joint creep", FACTOR, count, each, writes, range=(1e-3, 5.0), names=names)


def force_limit(actuators: Sequence[str], shared: str | None = None) -> Field:
    """The largest torque or force of the servos."""
    return _factor("force limit", actuators, shared, (_limits,))


def supply_sag(actuators: Sequence[str], shared: str | None = "arm") -> Field:
    """Supply voltage over its nominal one.

    A servo puts a share of its supply on the motor: torque per error and the largest torque go with
    the voltage. Back-EMF and bearing damping, the joint's, do not.
    """
    return _factor("supply sag", actuators, shared, (_stiffness, _velocity_gain, _limits))


def backlash(
    joints: Sequence[str], action: Sequence[str] | None = None, shared: str | None = None
) -> Field:
    """Play of arm joints from end to end (rad): see `regrasp.envs.control.play`.

    Args:
        joints: arm joints, by their names in the action.
        action: names of the action's entries, an arm's gripper last; by default those of the ALOHA
            workcell.
        shared: as for all servos.
    """
    return _per_action("backlash", "backlash_rad", joints, action, shared, (0.0, 0.1))


def joint_offset(
    joints: Sequence[str], action: Sequence[str] | None = None, shared: str | None = None
) -> Field:
    """Calibration error of arm joints (rad): they stand that far above what they are told.

    Their measured angles are too low by the same, so the robot does not notice; the world does.
    Arguments as for `backlash`.
    """
    return _per_action("joint offset", "joint_offset_rad", joints, action, shared, _ANGLES)


def _nearer_to_one(old: Any, number: Any) -> Any:
    """What is missing to one, times a factor."""
    return 1 - (1 - old) * number


def _factor(
    name: str,
    actuators: Sequence[str],
    shared: str | None,
    parts: Sequence[Part],
    derived: tuple[str, ...] = (),
) -> Field:
    count, source, each = sharing(actuators, shared)

    def writes(model: mujoco.MjModel, row: str) -> list[Write]:
        return [write for part in parts for write in part(model, row, actuators, source)]

    return Field(
        name,
        FACTOR,
        count,
        each,
        writes,
        range=_FACTORS,
        derived=derived,
        names=tuple(("actuator", actuator) for actuator in actuators),
    )


def _per_action(
    name: str,
    setting: str,
    joints: Sequence[str],
    action: Sequence[str] | None,
    shared: str | None,
    allowed: tuple[float, float],
) -> Field:
    cell = aloha()
    action = cell.action_names if action is None else action
    arms = len(SIDES) if action[0].startswith(tuple(f"{side}/" for side in SIDES)) else 1
    each = len(action) // arms
    arm = [joint for i, joint in enumerate(action) if i % each != each - 1]
    for joint in joints:
        if joint not in arm:
            raise unknown(f"arm joint for {name}", joint, arm)
    count, source, each = sharing(joints, shared)
    entries = np.array([list(action).index(joint) for joint in joints], int)
    return Field(
        name,
        "rad",
        count,
        each,
        setting=Setting(setting, entries, source, len(action)),
        range=allowed,
        names=tuple(("actuator", joint) for joint in joints),
    )


def _stiffness(model, row: str, actuators: Sequence[str], source: np.ndarray) -> list[Write]:
    i = ids(model, "actuator", actuators)
    return [
        Write(row, "actuator_gainprm", model.actuator_gainprm.shape[1] * i, source, scale),
        Write(row, "actuator_biasprm", model.actuator_biasprm.shape[1] * i + 1, source, scale),
    ]


def _velocity_gain(model, row: str, actuators: Sequence[str], source: np.ndarray) -> list[Write]:
    i = ids(model, "actuator", actuators)
    entries = model.actuator_biasprm.shape[1] * i + 2
    return [Write(row, "actuator_biasprm", entries, source, scale)]


def _damping(model, row: str, actuators: Sequence[str], source: np.ndarray) -> list[Write]:
    return [
        *_velocity_gain(model, row, actuators, source),
        *_dofs("dof_damping")(model, row, actuators, source),
    ]


def _limits(model, row: str, actuators: Sequence[str], source: np.ndarray) -> list[Write]:
    entries = (2 * ids(model, "actuator", actuators)[:, None] + np.arange(2)).ravel()
    return [Write(row, "actuator_forcerange", entries, np.repeat(source, 2), scale)]


def _dofs(field: str) -> Part:
    """A field of the driven joints, and of those that an equality makes follow them."""

    def writes(model, row: str, actuators: Sequence[str], source: np.ndarray) -> list[Write]:
        dofs, numbers = [], []
        for actuator, number in zip(actuators, source, strict=True):
            joint = int(named(model, "actuator", actuator).trnid[0])
            for driven in (joint, *_followers(model, joint)):
                dofs.append(model.jnt_dofadr[driven])
                numbers.append(number)
        return [Write(row, field, np.array(dofs), np.array(numbers), scale)]

    return writes


def _followers(model: mujoco.MjModel, joint: int) -> list[int]:
    coupled = (model.eq_type == mujoco.mjtEq.mjEQ_JOINT) & (model.eq_obj2id == joint)
    return [int(i) for i in model.eq_obj1id[coupled]]
