"""Simulations as nodes of a browser's scene."""

import colorsys
from collections.abc import Callable, Sequence
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float, UInt8
from viser import GlbHandle, SceneNodeDragEvent, ViserServer

from regrasp.view.meshes import (
    body_glb,
    body_name,
    body_surface,
    drawn_bodies,
    flex_color,
    flex_points,
    flex_surface,
)

Place = tuple[float, float, float]
GHOST_OPACITY = 0.3
STILL = 1e-5
"""What moves by less (m, and the same of a quaternion) is not drawn anew."""
OnDrag = Callable[[str, str, Float[np.ndarray, "3"], Float[np.ndarray, "3"]], None]
"""(body, phase, where it was taken, where it is dragged to)."""


class Figures:
    """One simulation, solid and in its own colours."""

    def __init__(
        self,
        server: ViserServer,
        model: mujoco.MjModel,
        name: str,
        place: Place = (0, 0, 0),
        on_drag: OnDrag | None = None,
    ):
        """Send its shapes.

        Args:
            server: whose scene.
            model: of the simulation.
            name: of its node; what was there before is replaced.
            place: where its origin is in the world (m).
            on_drag: told when a body is dragged with Ctrl held; such a body must be free to move.
        """
        self._model = model
        self._root = server.scene.add_frame(f"/{name}", show_axes=False, position=place)
        self._nodes: dict[int, GlbHandle] = {}
        for body in drawn_bodies(model):
            label = body_name(model, body)
            node = server.scene.add_glb(f"/{name}/{label}", body_glb(model, body))
            self._nodes[body] = node
            if on_drag is not None and model.body_weldid[body] != 0:
                node.on_drag("left", modifier="cmd/ctrl")(_dragged(label, on_drag))
        self._drawn = sorted(self._nodes)
        self._last = np.full((len(self._drawn), 7), np.inf)
        self._flexes: list[Any] = []
        for flex in range(model.nflex):
            points = np.zeros((model.flex_vertnum[flex], 3))
            surface = flex_surface(model, flex, points)
            self._flexes.append(
                server.scene.add_mesh_simple(
                    f"/{name}/flex-{flex}",
                    surface.vertices,
                    surface.faces,
                    color=flex_color(model, flex),
                    side="double",
                )
            )

    def update(self, data: mujoco.MjData) -> None:
        """Put everything where it is in this state."""
        poses = np.concatenate([data.xpos[self._drawn], data.xquat[self._drawn]], axis=1)
        # Most of a picture stands still, and telling a browser so costs as much as drawing.
        moved = np.flatnonzero((np.abs(poses - self._last) > STILL).any(axis=1))
        for i in moved:
            node = self._nodes[self._drawn[i]]
            node.position, node.wxyz = poses[i, :3], poses[i, 3:]
        self._last[moved] = poses[moved]
        for flex, node in enumerate(self._flexes):
            points = flex_points(self._model, flex, data)
            node.vertices = flex_surface(self._model, flex, points).vertices.astype(np.float32)

    def remove(self) -> None:
        self._root.remove()


class Crowd:
    """Many simulations of one model, translucent, each in a colour of its own."""

    def __init__(
        self,
        server: ViserServer,
        model: mujoco.MjModel,
        name: str,
        colors: UInt8[np.ndarray, "n 3"],
        place: Place = (0, 0, 0),
        bodies: Sequence[int] | None = None,
    ):
        """Send its shapes.

        Args:
            server: whose scene.
            model: of the simulations.
            name: of its node; what was there before is replaced.
            colors: of each one.
            place: where their origin is in the world (m).
            bodies: which to draw; all that move, if not given.
        """
        self._model, count = model, len(colors)
        self._root = server.scene.add_frame(f"/{name}", show_axes=False, position=place)
        moved = [body for body in drawn_bodies(model) if model.body_weldid[body] != 0]
        self._bodies = moved if bodies is None else list(bodies)
        upright = np.tile(np.array([1.0, 0, 0, 0], np.float32), (count, 1))
        self._nodes = [
            server.scene.add_batched_meshes_simple(
                f"/{name}/{body_name(model, body)}",
                *body_surface(model, body),
                batched_wxyzs=upright,
                batched_positions=np.zeros((count, 3), np.float32),
                batched_colors=colors,
                opacity=GHOST_OPACITY,
                lod="off",
                flat_shading=True,
                cast_shadow=False,
            )
            for body in self._bodies
        ]
        flexes = range(model.nflex) if bodies is None else ()
        self._flexes = [
            [self._flex(server, name, flex, one, color) for one, color in enumerate(colors)]
            for flex in flexes
        ]

    def update(self, states: Sequence[mujoco.MjData]) -> None:
        """Put everything where it is in these states, one for each."""
        index = self._bodies
        position = np.stack([data.xpos[index] for data in states], axis=1).astype(np.float32)
        turn = np.stack([data.xquat[index] for data in states], axis=1).astype(np.float32)
        for i, node in enumerate(self._nodes):
            node.batched_positions, node.batched_wxyzs = position[i], turn[i]
        for flex, nodes in enumerate(self._flexes):
            for node, data in zip(nodes, states, strict=True):
                points = flex_points(self._model, flex, data)
                node.vertices = flex_surface(self._model, flex, points).vertices.astype(np.float32)

    def remove(self) -> None:
        self._root.remove()

    def _flex(self, server: ViserServer, name: str, flex: int, one: int, color: Any) -> Any:
        surface = flex_surface(self._model, flex, np.zeros((self._model.flex_vertnum[flex], 3)))
        return server.scene.add_mesh_simple(
            f"/{name}/flex-{flex}-{one}",
            surface.vertices,
            surface.faces,
            color=np.asarray(color),
            opacity=GHOST_OPACITY,
            side="double",
            cast_shadow=False,
        )


def hues(count: int) -> UInt8[np.ndarray, "n 3"]:
    """Colours as different as so many can be."""
    found = [colorsys.hsv_to_rgb(i / count, 0.75, 0.95) for i in range(count)]
    return (255 * np.array(found)).astype(np.uint8)


def _dragged(body: str, on_drag: OnDrag) -> Any:
    async def hear(event: SceneNodeDragEvent[Any]) -> None:
        # On the event loop, so that a drag's start, way and end come in order.
        on_drag(body, event.phase, np.array(event.start_position), np.array(event.end_position))

    return hear
