"""A workcell: two arms at a table, with its cameras.

World frame: x to the right arm, z up, metres.
"""

from dataclasses import dataclass

import mujoco
import numpy as np

from regrasp.assets.arm import Arm, load_arm
from regrasp.errors import InputError

TIMESTEP_S = 0.02 / 3
CONTACT_TIME_S = 2 * TIMESTEP_S
"""In what time contacts push out what has sunk in; two timesteps are the least that the engine holds."""
TABLE_TOP_M = -0.0009
"""Height of the table's surface in the world frame."""
TABLE_THICKNESS_M = 0.04
CONTACT_IMPEDANCE = (0.95, 0.99, 0.001, 0.5, 2.0)
"""Of every contact (solimp). With the engine's own the push scales with the lighter body: a servo presses a
50 g cube 25 mm into the table."""
SIDES = ("left", "right")


@dataclass(frozen=True)
class Workcell:
    """Two arms of one kind; the joints of the left arm come first, then the right's.

    Body, joint, site and actuator names of an arm carry its side: `left/gripper`.
    """

    arm: Arm
    timestep_s: float = TIMESTEP_S
    """Physics timestep."""
    contact_time_s: float = CONTACT_TIME_S
    """Time constant of every contact."""

    def __post_init__(self) -> None:
        if not self.contact_time_s >= 2 * self.timestep_s * (1 - 1e-9) > 0:
            raise InputError(
                f"contact_time_s {self.contact_time_s:.3g} with timestep_s {self.timestep_s:.3g}: "
                "choose at least two timesteps, below which the engine takes two without a word"
            )

    @property
    def action_size(self) -> int:
        return 2 * len(self.arm.joints)

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names of the action's entries, which are the actuators' names too."""
        return tuple(f"{side}/{name}" for side in SIDES for name in self.arm.joint_names)

    @property
    def gripper_columns(self) -> tuple[int, ...]:
        """Where the two grippers stand in an action."""
        size = len(self.arm.joints)
        return size - 1, 2 * size - 1

    def home_qpos(self) -> dict[str, float]:
        """Joint name -> position at home (rad or m), followers included."""
        home = {f"{side}/{joint.name}": joint.home for side in SIDES for joint in self.arm.joints}
        if self.arm.gripper.follower is not None:
            for side in SIDES:
                home[f"{side}/{self.arm.gripper.follower}"] = self.arm.joints[-1].home
        return home

    def spec(self) -> mujoco.MjSpec:
        """The workcell as a MuJoCo specification, to which a task adds its objects.

        Placement, table and cameras: figures of the ALOHA 2 model in MuJoCo Menagerie
        (BSD-3-Clause).
        """
        spec = mujoco.MjSpec()
        spec.modelname = f"aloha_{self.arm.name}"
        spec.compiler.degree = False
        _options(spec, self.timestep_s)
        _contacts(spec.default.geom, self.contact_time_s)
        _surroundings(spec)
        for side, x, quat in (("left", -0.469, (1, 0, 0, 0)), ("right", 0.469, (0, 0, 0, 1))):
            frame = spec.worldbody.add_frame(pos=(x, -0.019, 0.02), quat=quat)
            arm = self.arm.spec()
            for geom in arm.geoms:
                _contacts(geom, self.contact_time_s)
            spec.attach(arm, frame=frame, prefix=f"{side}/")
        return spec


def aloha(timestep_s: float = TIMESTEP_S, contact_time_s: float = CONTACT_TIME_S) -> Workcell:
    """The ALOHA 2 workcell: two ViperX 300s."""
    return Workcell(load_arm("viperx300s"), timestep_s, contact_time_s)


def _contacts(geom: mujoco.MjsGeom, time_s: float) -> None:
    geom.solref, geom.solimp = (time_s, 1.0), CONTACT_IMPEDANCE


def _options(spec: mujoco.MjSpec, timestep_s: float) -> None:
    spec.option.timestep = timestep_s
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10
    spec.visual.quality.offsamples = 4
    spec.visual.quality.shadowsize = 1024
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 960
    spec.visual.headlight.ambient = (0.35, 0.35, 0.35)
    spec.visual.headlight.diffuse = (0.35, 0.35, 0.35)
    spec.visual.headlight.specular = (0.1, 0.1, 0.1)


def _surroundings(spec: mujoco.MjSpec) -> None:
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=(0.93, 0.94, 0.96),
        rgb2=(0.70, 0.74, 0.79),
        width=64,
        height=384,
    )
    spec.add_texture(
        name="wood",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        mark=mujoco.mjtMark.mjMARK_RANDOM,
        random=0.06,
        rgb1=(0.80, 0.72, 0.60),
        markrgb=(0.74, 0.65, 0.53),
        width=256,
        height=256,
    )
    wood = spec.add_material(name="table", specular=0.15, shininess=0.2)
    wood.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "wood"
    spec.add_material(name="extrusion", rgba=(0.70, 0.72, 0.74, 1), specular=0.6, shininess=0.6)
    spec.add_material(name="floor", rgba=(0.55, 0.56, 0.58, 1))
    world = spec.worldbody
    world.add_light(
        pos=(0.5, -0.9, 2.2), dir=(-0.2, 0.4, -0.9), diffuse=(0.55, 0.55, 0.53), castshadow=True
    )
    world.add_light(
        pos=(-0.8, 0.6, 2.0), dir=(0.35, -0.25, -0.9), diffuse=(0.25, 0.25, 0.28), castshadow=False
    )
    # What collides reaches deep below what is seen: a thing pressed into the table comes out at its top.
    world.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=(0, 0, TABLE_TOP_M - 0.2),
        size=(0.61, 0.37, 0.2),
        group=3,
        friction=(0.6, 0.005, 0.0001),
    )
    world.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=(0, 0, TABLE_TOP_M - TABLE_THICKNESS_M / 2),
        size=(0.61, 0.37, TABLE_THICKNESS_M / 2),
        material="table",
        contype=0,
        conaffinity=0,
        group=2,
    )
    for x in (-0.56, 0.56):
        for y in (-0.32, 0.32):
            _post(world, (x, y, -0.75), (x, y, -0.041))
    world.add_geom(
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        pos=(0, 0, -0.75),
        size=(4, 4, 0.1),
        material="floor",
        contype=0,
        conaffinity=0,
        group=2,
    )
    # The extrusion frame behind the table that carries the overhead camera.
    for x in (-0.585, 0.585):
        _post(world, (x, -0.345, 0.0), (x, -0.345, 1.04))
    _post(world, (-0.585, -0.345, 1.04), (0.585, -0.345, 1.04))
    world.add_camera(
        name="overhead", pos=(0, -0.303794, 1.02524), quat=(0.976332, 0.216277, 0, 0), fovy=58
    )
    world.add_camera(
        name="worms_eye", pos=(0, -0.377167, 0.0316055), quat=(0.672659, 0.739953, 0, 0), fovy=58
    )
    _looking(world, "teleoperator", (0, -1.354, 0.685), (1, 0, 0), (0, 0.2, 0.8))
    _looking(world, "collaborator", (0, 1.5, 0.8), (-1, 0, 0), (0, -0.2, 0.8))


def _post(world: mujoco.MjsBody, start: tuple, end: tuple) -> None:
    """A 30 mm square extrusion, for looks only."""
    a, b = np.array(start), np.array(end)
    half = np.maximum(np.abs(b - a) / 2, 0.015)
    world.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=(a + b) / 2,
        size=half,
        material="extrusion",
        contype=0,
        conaffinity=0,
        group=2,
    )


def _looking(world: mujoco.MjsBody, name: str, pos: tuple, right: tuple, up: tuple) -> None:
    """A camera with image axes `right` and `up` (made orthonormal)."""
    x = np.array(right, float) / np.linalg.norm(right)
    y = np.array(up, float) - np.dot(up, x) * x
    y /= np.linalg.norm(y)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.stack([x, y, np.cross(x, y)], axis=1).ravel())
    world.add_camera(name=name, pos=pos, quat=quat, fovy=45)
