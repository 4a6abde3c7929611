"""A scripted teacher of hand_over.

Both hands point down at the same slant, each at its own end of the bar, so a bar that one of them holds level
is level in the other one too, and no wrist has to turn over.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from regrasp.envs.tasks.parts import TABLE_TOP_M
from regrasp.rl.experts.ik import LEVEL
from regrasp.rl.experts.script import Move, Pose, Row, ScriptedExpert, turned

FROM_MIDDLE_M = 0.042
"""Distance along the bar from its centre to the gripper site of the hand that holds it."""
BELOW_M = 0.003
"""How far that site is below the bar's axis."""
GRIP = 0.1
"""Opening that presses on the bar."""
BASE_M = {"left": np.array([-0.469, -0.019]), "right": np.array([0.469, -0.019])}
"""Where the arms stand, x and y."""
MEET_M = np.array([0.0, -0.019, 0.22])
"""The bar's centre when it changes hands."""
BESIDE = (-0.7, 1.1, 0.0, 0.8, 0.0)
"""Angles of an arm that leans over something near its base, from the shoulder on (rad); the wrist is bent."""
AHEAD = Pose(np.array([0.0, -0.1, 0.3, 0.0, 0.9, 0.0]), np.zeros(6))
"""An arm that leans towards the other one."""
READY_M = MEET_M + np.array([-0.14, 0.0, 0.05])
"""Where the left gripper site waits for it."""
LIFT_M = 0.06
"""How far above the table the bar is carried off, and brought in."""
BEFORE_M, AWAY_M = 0.06, 0.1
"""How far a hand keeps from the bar before it takes it, and after it has let go, along its own axis."""
LATEST_RETRY_S = 4.5
"""A pick is not tried again later than this: what follows needs the rest of the time."""


def tilt(slant_rad: float) -> Float[np.ndarray, "3 3"]:
    """A hand's axes in the frame of the bar that it holds: x out of the hand, the fingers close along y."""
    sin, cos = np.sin(slant_rad), np.cos(slant_rad)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


TILT = {"left": tilt(1.15), "right": tilt(1.1)}
"""How steeply the hands point down (radians below the level). The right one has to turn with the bar, which a
straight wrist does badly; two hands that point straight down would have no room side by side."""


class HandOverExpert(ScriptedExpert):
    """The right hand picks the bar up by one end, the left one takes the other end and puts it down."""

    def script(self, row: Row) -> Iterator[Move]:
        for part in (self._pick, self._pass, self._place):
            yield from part(row)
            if not self._lifted(row):
                break
        yield Move(1.2, left=row.home("left"), right=row.home("right"))

    def _pick(self, row: Row) -> Iterator[Move]:
        first = True
        while True:
            place, axis = row.position("bar"), row.rotation("bar")[:, 0]
            axis = axis * np.sign(axis[:2] @ (place[:2] - BASE_M["right"]))
            bar = turned(float(np.arctan2(axis[1], axis[0])), np.eye(3))
            place[2] = TABLE_TOP_M + self.task.bar_width_m / 2
            spot, hand = end_of(bar, place) + row.slip() * [1, 1, 0], bar @ TILT["right"]
            above = row.pose("right", spot + [0, 0, LIFT_M], hand, near=self._facing("right", spot))
            yield Move(1.25 if first else 0.7, right=above, right_grip=1.0)
            yield Move(0.15)
            yield Move(0.65, right=row.straight("right", spot, hand))
            yield Move(0.15 + row.pause())
            yield Move(0.3, right_grip=GRIP)
            # The left hand comes along to where it will be needed.
            ready = row.pose("left", READY_M, LEVEL["left"] @ TILT["left"], near=AHEAD)
            up = row.straight("right", spot + [0, 0, LIFT_M], hand)
            yield Move(0.45, right=up, left=ready if first else None, left_grip=1.0)
            if self._lifted(row) or row.elapsed_s > LATEST_RETRY_S:
                return
            first = False
            yield Move(0.25, right_grip=1.0)
            yield Move(0.15)

    def _pass(self, row: Row) -> Iterator[Move]:
        meet = MEET_M + row.rng.normal(0, 1, 3) * self.manner.meet_spread_m
        yield Move(1.25, right=self._carry(row, "right", meet, np.pi, near=AHEAD))
        yield Move(0.25 + row.pause())
        if not self._lifted(row):
            return
        # The left hand aims at where the bar is now; with both on it nobody looks.
        bar = frame(row.rotation("bar"), np.array([1.0, 0.0, 0.0]))
        spot, hand = end_of(bar, row.position("bar")), bar @ TILT["left"]
        yield Move(0.45, left=row.pose("left", spot - BEFORE_M * hand[:, 0], hand))
        yield Move(0.45, left=row.straight("left", spot, hand))
        yield Move(0.1 + row.pause(), watched=("left",))
        yield Move(0.3, left_grip=GRIP, watched=())
        yield Move(0.3, right_grip=1.0, watched=())
        place, giving = self._hand(row, "right")
        away = row.straight("right", place - AWAY_M * giving[:, 0], giving)
        yield Move(0.4, right=away, watched=())

    def _place(self, row: Row) -> Iterator[Move]:
        goal = np.array([*row.position("goal")[:2], TABLE_TOP_M + self.task.bar_width_m / 2])
        heading = float(np.arctan2(*(goal[:2] - BASE_M["left"])[::-1]))
        near = self._facing("left", goal)
        above = self._carry(row, "left", goal + [0, 0, LIFT_M], heading, near)
        yield Move(1.25, left=above, right=row.home("right"))
        yield Move(0.1 + row.pause())
        yield Move(0.6, left=self._carry(row, "left", goal, heading))
        yield Move(0.15)
        yield Move(0.3, left_grip=1.0)
        yield Move(0.15)
        place, hand = self._hand(row, "left")
        yield Move(0.4, left=row.straight("left", place - AWAY_M * hand[:, 0], hand))

    def _facing(self, side: str, spot: Float[np.ndarray, "3"]) -> Pose:
        """An arm that leans over a spot beside it: where to start the search for a pose there."""
        away = (spot[:2] - BASE_M[side]) * (1 if side == "left" else -1)
        return Pose(np.array([np.arctan2(away[1], away[0]), *BESIDE]), np.zeros(6))

    def _hand(self, row: Row, side: str) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]]:
        """Where a gripper site is now (m), and its axes as columns."""
        return self.reach[side].place(np.asarray(row.view.joint_pos)[self._arms[side]])

    def _carry(
        self,
        row: Row,
        side: str,
        centre: Float[np.ndarray, "3"],
        heading: float,
        near: Pose | None = None,
    ) -> Pose:
        """The pose that brings the bar somewhere level, as it is held now.

        Args:
            row: the episode.
            side: the arm that holds it.
            centre: of the bar (m).
            heading: where the bar points, away from that arm (rad).
        """
        place, hand = self._hand(row, side)
        held = frame(row.rotation("bar"), hand[:, 0])
        there = turned(heading, np.eye(3))
        offset = held.T @ (place - row.position("bar"))
        return row.pose(side, centre + there @ offset, there @ held.T @ hand, near)

    @staticmethod
    def _lifted(row: Row) -> bool:
        """Whether the bar is seen in the air."""
        return row.position("bar")[2] > TABLE_TOP_M + 0.8 * LIFT_M


def end_of(bar: Float[np.ndarray, "3 3"], place: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """Where a gripper site takes a bar of these axes, which points away from the arm (m)."""
    return place - FROM_MIDDLE_M * bar[:, 0] - BELOW_M * bar[:, 2]


def frame(
    rotation: Float[np.ndarray, "3 3"], along: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "3 3"]:
    """The bar's axes, named anew: x points along a direction, z up, as nearly as they can."""
    x = rotation[:, 0] * np.sign(rotation[:, 0] @ along)
    sides = np.stack([*rotation[:, 1:].T, *-rotation[:, 1:].T])
    z = sides[np.argmax(sides[:, 2])]
    return np.stack([x, np.cross(z, x), z], axis=1)
