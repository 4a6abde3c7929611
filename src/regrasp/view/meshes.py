"""MuJoCo's shapes as meshes that a browser draws."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import mujoco
import numpy as np
import trimesh
from jaxtyping import Float, Int
from trimesh.exchange.gltf import export_glb
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

SHOWN_GROUPS = (0, 1, 2)
"""MuJoCo's own choice of what is looked at."""
FLOOR_M = 3.0
"""Half the edge of a plane without an end."""
SMOOTH_RAD = 0.6
"""Edges sharper than this are drawn as edges."""
TUBE_SIDES = 8
_GEOM = mujoco.mjtGeom


class Surface(NamedTuple):
    """A mesh."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]


def drawn_bodies(model: mujoco.MjModel) -> list[int]:
    """The bodies that have something to look at."""
    return sorted({int(model.geom_bodyid[geom]) for geom in _shown(model, range(model.ngeom))})


def body_name(model: mujoco.MjModel, body: int) -> str:
    """A body's name, or its number."""
    return model.body(body).name or f"body-{body}"


def body_glb(model: mujoco.MjModel, body: int) -> bytes:
    """Everything that is looked at of a body, in its own frame, in its colours, as a GLB file."""
    scene = trimesh.Scene()
    for geom in _shown(model, np.flatnonzero(model.geom_bodyid == body)):
        mesh = trimesh.graph.smooth_shade(_placed(model, geom), angle=SMOOTH_RAD)
        color = (255 * geom_color(model, geom)).astype(np.uint8)
        material = PBRMaterial(
            baseColorFactor=color,
            metallicFactor=0.1,
            roughnessFactor=0.6,
            alphaMode="BLEND" if color[3] < 255 else "OPAQUE",
        )
        mesh.visual = TextureVisuals(material=material)
        scene.add_geometry(mesh, geom_name=f"geom-{geom}")
    return bytes(export_glb(scene, include_normals=True))


def body_surface(model: mujoco.MjModel, body: int) -> Surface:
    """The same as one mesh without colours."""
    parts = [
        _placed(model, geom) for geom in _shown(model, np.flatnonzero(model.geom_bodyid == body))
    ]
    mesh = trimesh.util.concatenate(parts)
    return Surface(np.asarray(mesh.vertices), np.asarray(mesh.faces))


def geom_color(model: mujoco.MjModel, geom: int) -> Float[np.ndarray, "4"]:
    """A shape's colour and opacity, 0 to 1; of a texture its mean colour."""
    material = model.geom_matid[geom]
    if material < 0:
        return np.asarray(model.geom_rgba[geom], float)
    color = np.asarray(model.mat_rgba[material], float).copy()
    texture = model.mat_texid[material, int(mujoco.mjtTextureRole.mjTEXROLE_RGB)]
    if texture >= 0:
        channels = model.tex_nchannel[texture]
        size = model.tex_height[texture] * model.tex_width[texture] * channels
        first = model.tex_adr[texture]
        pixels = model.tex_data[first : first + size].reshape(-1, channels)
        color[:3] *= pixels[:, :3].mean(axis=0) / 255
    return color


def flex_surface(model: mujoco.MjModel, flex: int, points: Float[np.ndarray, "v 3"]) -> Surface:
    """A deformable thing as it stands: cloth as it is, a solid as its skin, a rod as a tube.

    Args:
        model: of which.
        flex: which one.
        points: where its vertices are (m), such as `flex_points` gives.
    """
    if model.flex_dim[flex] == 1:
        return tube(points, _elements(model, flex), max(float(model.flex_radius[flex]), 1e-3))
    if model.flex_dim[flex] == 2:
        return Surface(points, _elements(model, flex))
    first, count = model.flex_shelldataadr[flex], model.flex_shellnum[flex]
    return Surface(points, np.asarray(model.flex_shell[first : first + 3 * count]).reshape(-1, 3))


def flex_points(model: mujoco.MjModel, flex: int, data: mujoco.MjData) -> Float[np.ndarray, "v 3"]:
    """Where its vertices are (m)."""
    first, count = model.flex_vertadr[flex], model.flex_vertnum[flex]
    return np.array(data.flexvert_xpos[first : first + count])


def flex_color(model: mujoco.MjModel, flex: int) -> tuple[int, int, int]:
    """Its colour, 0 to 255."""
    material = model.flex_matid[flex]
    rgba = model.flex_rgba[flex] if material < 0 else model.mat_rgba[material]
    red, green, blue = (255 * np.asarray(rgba[:3])).astype(int).tolist()
    return red, green, blue


def tube(points: Float[np.ndarray, "v 3"], edges: Int[np.ndarray, "e 2"], radius: float) -> Surface:
    """Segments of a rod, each an open prism."""
    starts, along = points[edges[:, 0]], points[edges[:, 1]] - points[edges[:, 0]]
    length = np.linalg.norm(along, axis=1, keepdims=True)
    along = along / np.maximum(length, 1e-9)
    # Any direction that is not along the segment gives two that are across it.
    other = np.eye(3)[np.abs(along).argmin(axis=1)]
    across = np.cross(along, other)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    up = np.cross(along, across)
    angle = 2 * np.pi * np.arange(TUBE_SIDES) / TUBE_SIDES
    ring = radius * (
        np.cos(angle)[None, :, None] * across[:, None] + np.sin(angle)[None, :, None] * up[:, None]
    )
    first = starts[:, None] + ring
    last = first + (along * length)[:, None]
    vertices = np.concatenate([first, last], axis=1).reshape(-1, 3)
    near = np.arange(TUBE_SIDES)
    after = (near + 1) % TUBE_SIDES
    side = np.concatenate(
        [
            np.stack([near, after, near + TUBE_SIDES], axis=1),
            np.stack([after, after + TUBE_SIDES, near + TUBE_SIDES], axis=1),
        ]
    )
    faces = side[None] + 2 * TUBE_SIDES * np.arange(len(edges))[:, None, None]
    return Surface(vertices, faces.reshape(-1, 3))


def _elements(model: mujoco.MjModel, flex: int) -> Int[np.ndarray, "e corners"]:
    corners = model.flex_dim[flex] + 1
    first, count = model.flex_elemdataadr[flex], model.flex_elemnum[flex]
    return np.asarray(model.flex_elem[first : first + count * corners]).reshape(-1, corners)


def _shown(model: mujoco.MjModel, geoms: Iterable[Any]) -> list[int]:
    return [
        int(geom)
        for geom in geoms
        if model.geom_group[geom] in SHOWN_GROUPS and geom_color(model, geom)[3] > 0
    ]


def _placed(model: mujoco.MjModel, geom: int) -> trimesh.Trimesh:
    """A shape in the frame of its body."""
    mesh = _shape(model, geom)
    pose, turn = np.eye(4), np.zeros(9)
    mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
    pose[:3, :3], pose[:3, 3] = turn.reshape(3, 3), model.geom_pos[geom]
    mesh.apply_transform(pose)
    return mesh


def _shape(model: mujoco.MjModel, geom: int) -> trimesh.Trimesh:
    kind, size = _GEOM(model.geom_type[geom]), np.asarray(model.geom_size[geom], float)
    make = trimesh.creation
    if kind == _GEOM.mjGEOM_BOX:
        return make.box(extents=2 * size)
    if kind == _GEOM.mjGEOM_SPHERE:
        return make.icosphere(subdivisions=2, radius=size[0])
    if kind == _GEOM.mjGEOM_ELLIPSOID:
        mesh = make.icosphere(subdivisions=2)
        mesh.apply_scale(size)
        return mesh
    if kind == _GEOM.mjGEOM_CAPSULE:
        mesh = make.capsule(height=2 * size[1], radius=size[0], count=(12, 16))
        # Trimesh grows it from one end, MuJoCo from its middle.
        mesh.apply_translation(-mesh.bounds.mean(axis=0))
        return mesh
    if kind == _GEOM.mjGEOM_CYLINDER:
        return make.cylinder(radius=size[0], height=2 * size[1], sections=20)
    if kind == _GEOM.mjGEOM_PLANE:
        half = np.where(size[:2] > 0, np.minimum(size[:2], FLOOR_M), FLOOR_M)
        mesh = make.box(extents=(*(2 * half), 0.01))
        mesh.apply_translation((0, 0, -0.005))
        return mesh
    if kind == _GEOM.mjGEOM_MESH:
        one = model.mesh(model.geom_dataid[geom])
        first, faces = one.vertadr[0], one.faceadr[0]
        return trimesh.Trimesh(
            model.mesh_vert[first : first + one.vertnum[0]],
            model.mesh_face[faces : faces + one.facenum[0]],
            process=False,
        )
    # A height field or a signed distance: its bounding box says at least where it is.
    return make.box(extents=2 * np.asarray(model.geom_aabb[geom, 3:]))
