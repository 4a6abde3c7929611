"""What a browser draws lies where MuJoCo's shapes are."""

import mujoco
import numpy as np
import pytest

from regrasp.envs import TASKS, load_task

pytest.importorskip("viser", reason="the page needs viser: pip install 'regrasp[view]'")

from regrasp.view.meshes import (
    body_glb,
    body_surface,
    drawn_bodies,
    flex_points,
    flex_surface,
    geom_color,
    tube,
)

SHAPES = {
    "box": ("0.1 0.2 0.3", 8 * 0.1 * 0.2 * 0.3),
    "sphere": ("0.2", 4 / 3 * np.pi * 0.2**3),
    "ellipsoid": ("0.1 0.2 0.3", 4 / 3 * np.pi * 0.1 * 0.2 * 0.3),
    "capsule": ("0.1 0.3", np.pi * 0.1**2 * 0.6 + 4 / 3 * np.pi * 0.1**3),
    "cylinder": ("0.1 0.3", np.pi * 0.1**2 * 0.6),
}
FLEX = """
<mujoco>
  <worldbody>
    <body name="hung" pos="0 0 1">
      <flexcomp name="thing" type="grid" dim="{dim}" count="{count}" spacing=".05 .05 .05" radius=".01"
        mass="1"><contact selfcollide="none"/><edge equality="true"/></flexcomp>
    </body>
  </worldbody>
</mujoco>
"""


@pytest.mark.parametrize("kind", SHAPES)
def test_a_mesh_has_the_extent_and_the_volume_of_its_shape(kind: str):
    """Within what facets cut off, and about the same centre."""
    import trimesh

    size, volume = SHAPES[kind]
    turn = 'pos="0.1 -0.2 0.3" quat="0.8 0.2 -0.4 0.4"'
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><worldbody><body><geom type="{kind}" size="{size}" {turn}/></body></worldbody></mujoco>'
    )
    mesh = trimesh.Trimesh(*body_surface(model, 1))
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(volume, rel=0.06)
    assert mesh.center_mass == pytest.approx(model.geom_pos[0], abs=1e-3)
    # The engine's own box of the shape, turned like it, holds the mesh, and no smaller one would.
    frame = np.zeros(9)
    mujoco.mju_quat2Mat(frame, model.geom_quat[0])
    own = (mesh.vertices - model.geom_pos[0]) @ frame.reshape(3, 3)
    assert np.abs(own).max(axis=0) == pytest.approx(model.geom_aabb[0, 3:], rel=0.03)


@pytest.mark.parametrize("task", TASKS)
def test_everything_of_a_task_can_be_drawn(task: str):
    model = load_task(task).scene().compile()
    for body in drawn_bodies(model):
        assert body_glb(model, body)[:4] == b"glTF"
        vertices, faces = body_surface(model, body)
        assert np.isfinite(vertices).all()
        assert faces.max() < len(vertices)


def test_a_texture_is_drawn_in_its_mean_colour():
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><asset><texture name="t" type="2d" builtin="flat" rgb1="0.2 0.4 0.6" width="4" height="4"/>'
        '<material name="m" texture="t"/></asset>'
        '<worldbody><geom size="1" material="m"/></worldbody></mujoco>'
    )
    assert geom_color(model, 0) == pytest.approx([0.2, 0.4, 0.6, 1], abs=0.01)


@pytest.mark.parametrize(("dim", "count"), [(1, "9 1 1"), (2, "5 4 1"), (3, "3 4 3")])
def test_deformable_things_are_drawn_where_their_vertices_are(dim: int, count: str):
    model = mujoco.MjModel.from_xml_string(FLEX.format(dim=dim, count=count))
    data = mujoco.MjData(model)
    for _ in range(20):
        mujoco.mj_step(model, data)
    mujoco.mj_forward(model, data)
    points = flex_points(model, 0, data)
    vertices, faces = flex_surface(model, 0, points)
    assert len(points) == model.flex_vertnum[0]
    reach = 0.011 if dim == 1 else 1e-9
    assert (np.abs(vertices.min(axis=0) - points.min(axis=0)) <= reach).all()
    assert (np.abs(vertices.max(axis=0) - points.max(axis=0)) <= reach).all()
    assert faces.max() < len(vertices)


def test_a_tube_has_the_radius_and_the_length_of_its_rod():
    points = np.array([[0.0, 0, 0], [0, 0, 1], [0, 2, 1]])
    vertices, faces = tube(points, np.array([[0, 1], [1, 2]]), 0.1)
    first, second = vertices.reshape(2, -1, 3)
    assert np.linalg.norm(first[:, :2], axis=1) == pytest.approx(0.1)
    assert np.linalg.norm((second - points[2])[:, [0, 2]], axis=1) == pytest.approx(0.1)
    sides = np.linalg.norm(
        np.cross(
            vertices[faces[:, 1]] - vertices[faces[:, 0]],
            vertices[faces[:, 2]] - vertices[faces[:, 0]],
        ),
        axis=1,
    )
    # Of a prism with as many sides: a little less than of the cylinder.
    assert sides.sum() / 2 == pytest.approx(2 * np.pi * 0.1 * 3, rel=0.05)
