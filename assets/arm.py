"""An arm: one MJCF of bodies and shapes, one table of joints, servos and gripper."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mujoco

from regrasp.errors import InputError, unknown
from regrasp.files import read_json

FOLDER = Path(__file__).parent
ARMS = ("so101", "viperx300s")


@dataclass(frozen=True)
class Servo:
    """A position servo: torque = kp (target - q) - (kv + damping) q' - friction, within the limit.

    Units are N m, rad and s for a hinge; N, m and s for a slide.
    """

    kp: float
    """Stiffness."""
    kv: float
    """Velocity gain of the actuator."""
    damping: float
    """Viscous damping of the joint."""
    armature: float
    """Rotor inertia seen at the joint (kg m^2, or kg for a slide)."""
    frictionloss: float
    """Coulomb friction of the joint."""
    force_limit: float
    """Largest torque or force of the actuator, either way."""


@dataclass(frozen=True)
class Joint:
    """One commanded joint."""

    name: str
    range: tuple[float, float]
    """Limits of the joint (rad or m)."""
    home: float
    """Position at home (rad or m)."""
    servo: Servo


@dataclass(frozen=True)
class Gripper:
    """The last joint of the arm, commanded as a normalised opening: 0 closed, 1 open, linear."""

    closed: float
    """Servo target at opening 0 (m or rad)."""
    open: float
    """Servo target at opening 1 (m or rad)."""
    follower: str | None
    """A joint that mirrors the commanded one, or none."""


@dataclass(frozen=True)
class Arm:
    """Joint order, home, limits, gripper and servo figures of one arm; `spec()` builds it."""

    name: str
    source: str
    """Where the figures come from."""
    joints: tuple[Joint, ...]
    """In command order; the last one is the gripper's."""
    gripper: Gripper
    contact_exclusions: tuple[tuple[str, str], ...]
    """Pairs of bodies that touch by construction."""

    @property
    def joint_names(self) -> tuple[str, ...]:
        return tuple(joint.name for joint in self.joints)

    def opening(self, position: Any) -> Any:
        """Normalised opening (0..1) of a gripper joint position (m or rad); any array type."""
        return (position - self.gripper.closed) / (self.gripper.open - self.gripper.closed)

    def position(self, opening: Any) -> Any:
        """Gripper joint position (m or rad) of a normalised opening (0..1); any array type."""
        return self.gripper.closed + opening * (self.gripper.open - self.gripper.closed)

    def with_servos(self, servos: dict[str, dict[str, float]]) -> "Arm":
        """The same arm with some servo figures replaced.

        Args:
            servos: joint name -> figure name -> value, for the figures that differ.

        Raises:
            InputError: a joint or a figure that the arm does not have.
        """
        for name, figures in servos.items():
            if name not in self.joint_names:
                raise unknown(f"joint of {self.name}", name, self.joint_names)
            for figure in figures:
                if figure not in Servo.__dataclass_fields__:
                    raise unknown("servo figure", figure, Servo.__dataclass_fields__)
        joints = tuple(
            replace(j, servo=replace(j.servo, **servos.get(j.name, {}))) for j in self.joints
        )
        return replace(self, joints=joints)

    def spec(self) -> mujoco.MjSpec:
        """The arm as a MuJoCo specification: the MJCF with this table's limits and servos in it."""
        spec = mujoco.MjSpec.from_file(str(FOLDER / f"{self.name}.xml"))
        for joint in self.joints:
            _fit(spec.joint(joint.name), joint)
            _add_servo(spec, joint, self._control_range(joint))
        if self.gripper.follower is not None:
            _fit(spec.joint(self.gripper.follower), self.joints[-1])
            equality = spec.add_equality(name="fingers", type=mujoco.mjtEq.mjEQ_JOINT)
            equality.name1, equality.name2 = self.gripper.follower, self.joints[-1].name
            equality.data[:5] = [0, 1, 0, 0, 0]
        for first, second in self.contact_exclusions:
            spec.add_exclude(bodyname1=first, bodyname2=second)
        return spec

    def _control_range(self, joint: Joint) -> tuple[float, float]:
        if joint is not self.joints[-1]:
            return joint.range
        ends = sorted((self.gripper.closed, self.gripper.open))
        return ends[0], ends[1]


def load_arm(name: str) -> Arm:
    """The arm of that name, with its nominal figures.

    Raises:
        InputError: there is no such arm.
    """
    if name not in ARMS:
        raise unknown("arm", name, ARMS)
    table = read_json(FOLDER / f"{name}.json", "arm table")
    try:
        return Arm(
            name=name,
            source=table["source"],
            joints=tuple(
                Joint(
                    name=row["name"],
                    range=(row["range"][0], row["range"][1]),
                    home=row["home"],
                    servo=Servo(**row["servo"]),
                )
                for row in table["joints"]
            ),
            gripper=Gripper(**table["gripper"]),
            contact_exclusions=tuple((a, b) for a, b in table["contact_exclusions"]),
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"arm table {name}.json lacks or misnames {error}") from None


def _fit(spec_joint: Any, joint: Joint) -> None:
    spec_joint.range = joint.range
    spec_joint.limited = mujoco.mjtLimited.mjLIMITED_TRUE
    spec_joint.damping[0] = joint.servo.damping
    spec_joint.armature = joint.servo.armature
    spec_joint.frictionloss = joint.servo.frictionloss


def _add_servo(spec: mujoco.MjSpec, joint: Joint, control_range: tuple[float, float]) -> None:
    actuator = spec.add_actuator(name=joint.name, target=joint.name)
    actuator.trntype = mujoco.mjtTrn.mjTRN_JOINT
    actuator.gaintype = mujoco.mjtGain.mjGAIN_FIXED
    actuator.biastype = mujoco.mjtBias.mjBIAS_AFFINE
    actuator.gainprm[0] = joint.servo.kp
    actuator.biasprm[1] = -joint.servo.kp
    actuator.biasprm[2] = -joint.servo.kv
    actuator.ctrlrange = control_range
    actuator.forcerange = (-joint.servo.force_limit, joint.servo.force_limit)
