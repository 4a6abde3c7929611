"""Handles at the two grippers: whoever drags one leads that arm."""

from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
from viser import TransformControlsEvent, ViserServer

from regrasp.assets import SIDES
from regrasp.view.leader import REACHED_M, Pose, gripper_pose
from regrasp.view.show import Show

SIZE = 0.12
"""Of a handle (m)."""


class Gizmos:
    """A handle per gripper; seen while you lead."""

    def __init__(self, server: ViserServer, show: Show):
        self._show = show
        self._wanted: dict[str, Pose] = {}
        self._told: dict[str, bool] = {}
        self._led_since: int | None = None
        self._nodes = {
            side: server.scene.add_transform_controls(
                f"/target/{side}", scale=SIZE, line_width=3.0, depth_test=False, visible=False
            )
            for side in SIDES
        }
        for side, node in self._nodes.items():
            node.on_update(self._dragged(side))

    def obey(self, tell: Callable[[str], None]) -> None:
        """Lead the arms to where the handles have been dragged since the last time."""
        while self._wanted:
            side, pose = self._wanted.popitem()
            if self._show.actor is not self._show.leader:
                continue
            miss = self._show.leader.aim(side, pose)
            far = miss > REACHED_M
            if far and not self._told.get(side):
                tell(f"the {side} arm comes no nearer than {100 * miss:.0f} cm to its handle")
            self._told[side] = far

    def update(self) -> None:
        """Show the handles while you lead; put them at the grippers when you begin to, and after jumps."""
        leads = self._show.actor is self._show.leader
        since = self._show.jumps if leads else None
        fresh = leads and since != self._led_since
        for side, node in self._nodes.items():
            node.visible = leads
            if fresh:
                pose, quat = gripper_pose(self._show.env, side), np.zeros(4)
                mujoco.mju_mat2Quat(quat, pose.rotation.ravel())
                node.position, node.wxyz = pose.position, quat
        self._led_since = since

    def _dragged(self, side: str) -> Any:
        async def hear(event: TransformControlsEvent) -> None:
            turn = np.zeros(9)
            mujoco.mju_quat2Mat(turn, np.asarray(event.target.wxyz, float))
            position = np.asarray(event.target.position, float).copy()
            self._wanted[side] = Pose(position, turn.reshape(3, 3))

        return hear
