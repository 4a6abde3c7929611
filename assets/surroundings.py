"""What two arms stand on and among: table, frame, lights and cameras, and how the engine is set.

Figures of the ALOHA 2 model in MuJoCo Menagerie (BSD-3-Clause).
"""

import mujoco
import numpy as np

TABLE_TOP_M = -0.0009
"""Height of the table's surface in the world frame."""
TABLE_THICKNESS_M = 0.04
TABLE_HALF_M = (0.61, 0.37)
"""Half the edges of ALOHA's table, x and y."""


def add_options(spec: mujoco.MjSpec, timestep_s: float) -> None:
    """Integrator, contact cone and looks."""
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


def add_surroundings(spec: mujoco.MjSpec, scale: float) -> None:
    """Table, floor, lights, frame and cameras.

    Args:
        spec: a scene.
        scale: size of the table and of what stands about it, over those of ALOHA 2.
    """
    long, wide = scale * TABLE_HALF_M[0], scale * TABLE_HALF_M[1]
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
        size=(long, wide, 0.2),
        group=3,
        friction=(0.6, 0.005, 0.0001),
    )
    world.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=(0, 0, TABLE_TOP_M - TABLE_THICKNESS_M / 2),
        size=(long, wide, TABLE_THICKNESS_M / 2),
        material="table",
        contype=0,
        conaffinity=0,
        group=2,
    )
    for x in (-0.56 * scale, 0.56 * scale):
        for y in (-0.32 * scale, 0.32 * scale):
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
    side, back, top = 0.585 * scale, -0.345 * scale, 1.04 * scale
    for x in (-side, side):
        _post(world, (x, back, 0.0), (x, back, top))
    _post(world, (-side, back, top), (side, back, top))
    cameras = (
        ("overhead", (0, -0.303794, 1.02524), (0.976332, 0.216277, 0, 0)),
        ("worms_eye", (0, -0.377167, 0.0316055), (0.672659, 0.739953, 0, 0)),
    )
    for name, pos, quat in cameras:
        world.add_camera(name=name, pos=scale * np.array(pos), quat=quat, fovy=58)
    _looking(world, "teleoperator", scale, (0, -1.354, 0.685), (1, 0, 0), (0, 0.2, 0.8))
    _looking(world, "collaborator", scale, (0, 1.5, 0.8), (-1, 0, 0), (0, -0.2, 0.8))


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


def _looking(
    world: mujoco.MjsBody, name: str, scale: float, pos: tuple, right: tuple, up: tuple
) -> None:
    """A camera with image axes `right` and `up` (made orthonormal)."""
    x = np.array(right, float) / np.linalg.norm(right)
    y = np.array(up, float) - np.dot(up, x) * x
    y /= np.linalg.norm(y)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.stack([x, y, np.cross(x, y)], axis=1).ravel())
    world.add_camera(name=name, pos=scale * np.array(pos), quat=quat, fovy=45)
