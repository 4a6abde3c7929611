"""An arm: one MJCF of bodies and shapes, one table of joints, servos, gripper and hand."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from regrasp.assets.hand import Hand
from regrasp.assets.models import read_model
from regrasp.errors import InputError, unknown
from regrasp.files import read_json

FOLDER = Path(__file__).parent
ARMS = ("so101", "viperx300s")
"""Arms that ship, by name; any other is a table in a file."""
FIGURES = (
    *("source", "units", "model", "joints", "gripper", "contact_exclusions", "backlash", "hand"),
    "workcell",
)
"""What the table of an arm may say."""
BACKLASH = (0.0044, "our choice: up to 0.25 deg")
"""Play of an arm's joints (rad) where its table tells none, and why."""


@dataclass(frozen=True)
class Servo:
    """A position servo: torque = kp (target - q) - (kv + damping) q' - friction, within the limit.

    Units are N m, rad and s for a hinge; N, m and s for a slide. The figures with a default are those
    of a fit to a real arm. `spec()` builds what the engine itself knows of them; the others act in the
    replay of logs: see `regrasp.sim2real.law`.
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
    creep: float | None = None
    """How much friction yields under a load that it could hold: one less the engine's impedance, down to
    1e-4. None: as the engine does, which is 0.1 at rest."""
    motor_friction: float = 0.0
    """Friction of the gears per motor torque that they pass on."""
    load_friction: float = 0.0
    """Friction of the gears per torque of gravity and motion that they carry."""
    stribeck_friction: float = 0.0
    """Friction that a joint has at rest over that in motion."""
    stribeck_speed: float = 0.1
    """Speed at which that has fallen to 1/e."""
    dead_band: float = 0.0
    """The motor does nothing about an error smaller than this."""
    backlash: float = 0.0
    """Play between the command and the joint, from end to end."""
    latency_s: float = 0.0
    """From the stamp of a command to its effect (s)."""
    profile_s: float = 0.0
    """Time constant with which the servo's own profile follows a command (s)."""
    offset: float = 0.0
    """What is added to a command: an error of calibration."""
    torque_offset: float = 0.0
    """Constant torque on the joint, as of a stiff cable."""
    supply_droop: float = 0.0
    """Share of kp that is lost per N m that all the arm's motors give together."""


@dataclass(frozen=True)
class Joint:
    """One commanded joint."""

    name: str
    range: tuple[float, float]
    """Limits of the joint (rad or m)."""
    home: float
    """Position at home (rad or m)."""
    servo: Servo
    no_load_speed: float | None = None
    """How fast its motor turns it without a load (rad/s); None where that is not known."""

    def __post_init__(self) -> None:
        low, high = self.range
        if not low <= self.home <= high:
            raise InputError(
                f"home {self.home:g} of joint {self.name}: choose {low:g} to {high:g}, its range"
            )


@dataclass(frozen=True)
class Link:
    """A correction of one body's mass and centre of mass.

    Any value of these is a body that can exist: mass and central inertia keep their signs, and the
    inertia its principal axes.
    """

    body: str
    """Name of the body."""
    log_mass: float = 0.0
    """Logarithm of the factor of its mass and of its central inertia."""
    shift_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Shift of its centre of mass in its own frame (m)."""


@dataclass(frozen=True)
class Gripper:
    """The last joint of the arm, commanded as a normalised opening: 0 closed, 1 open, linear."""

    closed: float
    """Servo target at opening 0 (m or rad)."""
    open: float
    """Servo target at opening 1 (m or rad)."""
    follower: str | None
    """A joint that mirrors the commanded one, whichever way its axis points in the model, or none."""


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
    hand: Hand = field(default_factory=Hand)
    """What it grasps with."""
    model: str | None = None
    """Its MJCF, where that is not the one beside the table: see `read_model`."""
    backlash_rad: tuple[float, str] = BACKLASH
    """Largest play of its joints, and where that figure comes from."""
    links: tuple[Link, ...] = ()
    """Corrections of bodies, from a fit."""

    @property
    def joint_names(self) -> tuple[str, ...]:
        return tuple(joint.name for joint in self.joints)

    def opening(self, position: Any) -> Any:
        """Normalised opening (0..1) of a gripper joint position (m or rad); any array type."""
        return (position - self.gripper.closed) / (self.gripper.open - self.gripper.closed)

    def position(self, opening: Any) -> Any:
        """Gripper joint position (m or rad) of a normalised opening (0..1); any array type."""
        return self.gripper.closed + opening * (self.gripper.open - self.gripper.closed)

    def at_home(self, home: Mapping[str, float]) -> "Arm":
        """The same arm with another home.

        Args:
            home: joint name -> position (rad or m), for those that differ.

        Raises:
            InputError: a joint that the arm does not have.
        """
        for name in home:
            if name not in self.joint_names:
                raise unknown(f"joint of {self.name}", name, self.joint_names)
        return replace(
            self,
            joints=tuple(replace(j, home=float(home.get(j.name, j.home))) for j in self.joints),
        )

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

    def with_links(self, links: dict[str, dict[str, Any]]) -> "Arm":
        """The same arm with the masses of some bodies corrected.

        Args:
            links: body name -> fields of `Link`, but its name.

        Raises:
            InputError: a body that the arm does not have, or a field that a `Link` has not.
        """
        bodies = [body.name for body in self.spec().bodies if body.name not in ("", "world")]
        known = {link.body: link for link in self.links}
        for name, fields in links.items():
            if name not in bodies:
                raise unknown(f"body of {self.name}", name, bodies)
            for figure in fields:
                if figure not in ("log_mass", "shift_m"):
                    raise unknown("link figure", figure, ("log_mass", "shift_m"))
            known[name] = replace(known.get(name, Link(name)), **fields)
        return replace(self, links=tuple(known.values()))

    def spec(self) -> mujoco.MjSpec:
        """The arm as a MuJoCo specification: the MJCF with this table's limits, servos and names in it.

        Raises:
            InputError: there is no such MJCF here, or it lacks something that the table names.
        """
        spec = read_model(self.model or str(FOLDER / f"{self.name}.xml"))
        if self.gripper.follower is not None:
            _add_follower(spec, self.gripper.follower, self.joints[-1])
        for joint in self.joints:
            _fit(spec, joint.name, joint)
            _add_servo(spec, joint, self._control_range(joint))
        self.hand.put(spec)
        bodies = [body.name for body in spec.bodies if body.name]
        for pair in self.contact_exclusions:
            for name in pair:
                if name not in bodies:
                    raise unknown("body of the arm's model", name, bodies)
            spec.add_exclude(bodyname1=pair[0], bodyname2=pair[1])
        for link in self.links:
            _correct(spec.body(link.body), link)
        return spec

    def _control_range(self, joint: Joint) -> tuple[float, float]:
        if joint is not self.joints[-1]:
            return joint.range
        ends = sorted((self.gripper.closed, self.gripper.open))
        return ends[0], ends[1]


def load_arm(name: str) -> Arm:
    """The arm of that name, with its nominal figures, or the one that a table in a file describes.

    Raises:
        InputError: there is no such arm or file, or the table lacks something.
    """
    return arm_of(read_arm_table(name), Path(name).stem, Path(name).parent)


def read_arm_table(name: str) -> Mapping[str, Any]:
    """The table of an arm that ships, or the one in a file: its name ends in .json.

    Raises:
        InputError: neither.
    """
    if name in ARMS:
        return read_json(FOLDER / f"{name}.json", "arm table")
    if not name.endswith(".json"):
        raise unknown("arm", name, (*ARMS, "a table's FILE.json"))
    table = read_json(name, "arm table")
    if not isinstance(table, dict):
        raise InputError(f"arm table {name} is not a JSON object: see docs/howto/add-an-arm.md")
    return table


def arm_of(table: Mapping[str, Any], name: str, folder: Path) -> Arm:
    """The arm that a table describes.

    Args:
        table: what its JSON holds.
        name: of the arm.
        folder: where a relative path of its model starts.

    Raises:
        InputError: the table lacks something, or has something that nobody knows.
    """
    _check_keys("figure of an arm", table, FIGURES)
    model = table.get("model")
    if model is not None and ":" not in model:
        model = str(folder / model)
    try:
        play = table.get("backlash", {})
        backlash = (float(play["rad"]), str(play["source"])) if play else BACKLASH
        for row in table["joints"]:
            _check_keys(f"figure of joint {row['name']}", row, Joint.__dataclass_fields__)
        return Arm(
            name=name,
            source=table["source"],
            joints=tuple(
                Joint(
                    name=row["name"],
                    range=(float(row["range"][0]), float(row["range"][1])),
                    home=float(row["home"]),
                    servo=Servo(**{name: _number(value) for name, value in row["servo"].items()}),
                    no_load_speed=row.get("no_load_speed"),
                )
                for row in table["joints"]
            ),
            gripper=Gripper(**{name: _number(value) for name, value in table["gripper"].items()}),
            contact_exclusions=tuple((a, b) for a, b in table.get("contact_exclusions", ())),
            hand=Hand.of(table.get("hand", {})),
            model=model,
            backlash_rad=backlash,
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"arm table {name}.json lacks or misnames {error}") from None


def _check_keys(what: str, table: Mapping[str, Any], known: Collection[str]) -> None:
    for name in table:
        if name not in known:
            raise unknown(what, name, known)


def _number(value: Any) -> Any:
    """Whole numbers as floats; all else as it is."""
    return float(value) if isinstance(value, int) else value


def _fit(spec: mujoco.MjSpec, name: str, joint: Joint) -> None:
    spec_joint = spec.joint(name)
    if spec_joint is None:
        raise unknown("joint of the arm's model", name, [j.name for j in spec.joints if j.name])
    hinge = spec_joint.type == mujoco.mjtJoint.mjJNT_HINGE
    spec_joint.range = np.degrees(joint.range) if hinge and spec.compiler.degree else joint.range
    spec_joint.limited = mujoco.mjtLimited.mjLIMITED_TRUE
    spec_joint.damping[0] = joint.servo.damping
    spec_joint.armature = joint.servo.armature
    spec_joint.frictionloss = joint.servo.frictionloss
    if joint.servo.creep is not None:
        spec_joint.solimp_friction[:2] = 1 - joint.servo.creep


def _add_follower(spec: mujoco.MjSpec, name: str, joint: Joint) -> None:
    """Let a joint of the model mirror the gripper's, in place of the model's own coupling of the two."""
    pair = {name, joint.name}
    couplings = [e for e in spec.equalities if e.type == mujoco.mjtEq.mjEQ_JOINT]
    own = [e for e in couplings if {e.name1, e.name2} == pair]
    for coupling in own:
        if abs(coupling.data[1]) != 1 or np.any(coupling.data[[0, 2, 3, 4]]):
            raise InputError(
                f"joint {name} of the arm's model is coupled to {joint.name} by {coupling.data[:5]}, and a "
                "follower mirrors it: give null, and a home at which that coupling holds"
            )
    turned = own[0].data[1] < 0 if own else _is_mirrored(spec, name, joint.name)
    for coupling in own:
        spec.delete(coupling)
    _fit(spec, name, joint)
    if turned:
        if any(name in (e.name1, e.name2) for e in couplings if e not in own):
            raise InputError(f"joint {name} of the arm's model is coupled to others too: give null")
        follower = spec.joint(name)
        follower.axis = 0.0 - np.asarray(follower.axis)
        follower.ref, follower.springref = -follower.ref, -follower.springref
    equality = spec.add_equality(name="fingers", type=mujoco.mjtEq.mjEQ_JOINT)
    equality.name1, equality.name2 = name, joint.name
    equality.data[:5] = [0, 1, 0, 0, 0]


def _is_mirrored(spec: mujoco.MjSpec, first: str, second: str) -> bool:
    """Whether the range of one joint of the model is that of the other with the signs turned."""
    joints = spec.joint(first), spec.joint(second)
    if None in joints:
        return False
    one, other = (np.asarray(joint.range) for joint in joints)
    return not np.allclose(one, other) and np.allclose(one, -other[::-1])


def _correct(body: Any, link: Link) -> None:
    body.mass *= np.exp(link.log_mass)
    body.inertia = np.asarray(body.inertia) * np.exp(link.log_mass)
    body.ipos = np.asarray(body.ipos) + link.shift_m


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
