"""A scripted teacher of hand_over.

Both hands point down at the same slant, each at its own end of the bar, so a bar that one of them holds level
is level in the other one too, and no wrist has to turn over.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from regrasp.assets import SIDES
from regrasp.envs.tasks.parts import TABLE_TOP_M
from regrasp.rl.experts.figures import figures_of
from regrasp.rl.experts.ik import LEVEL
from regrasp.rl.experts.script import (
    HUMAN,
    Manner,
    Move,
    Pose,
    Row,
    ScriptedExpert,
    from_angles,
    turned,
)

LATEST_RETRY_S = 4.5
"""A pick is not tried again later than this: what follows needs the rest of the time."""


@dataclass(frozen=True)
class Figures:
    """Where the hands go, in the ALOHA workcell; the table of another one says what differs there."""

    from_middle_m: float = 0.042
    """Distance along the bar from its centre to the gripper site of the hand that holds it."""
    below_m: float = 0.003
    """How far that site is below the bar's axis."""
    open: float = 1.0
    """Opening that the bar is approached with."""
    grip: float = 0.1
    """Opening that presses on the bar."""
    slant_rad: tuple[float, float] = (1.15, 1.1)
    """How steeply the left and the right hand point down (radians below the level). The right one has to turn
    with the bar, which a straight wrist does badly; two of ALOHA's hands that point straight down would have
    no room side by side."""
    meet_m: tuple[float, float, float] = (0.0, -0.019, 0.22)
    """The bar's centre when it changes hands."""
    ready_m: tuple[float, float, float] = (-0.14, 0.0, 0.05)
    """Where the left gripper site waits for it, from there."""
    beside_rad: tuple[float, ...] = (-0.7, 1.1, 0.0, 0.8, 0.0)
    """Angles of an arm that leans over something near its base, from the second joint on, its wrist bent."""
    ahead_rad: tuple[float, ...] = (0.0, -0.1, 0.3, 0.0, 0.9, 0.0)
    """Angles of an arm that leans towards the other one."""
    lift_m: float = 0.06
    """How far above the table the bar is carried off, and brought in."""
    before_m: float = 0.06
    """How far a hand keeps from the bar before it takes it, along its own axis."""
    away_m: float = 0.1
    """How far it goes back after it has let go."""


def tilt(slant_rad: float) -> Float[np.ndarray, "3 3"]:
    """A hand's axes in the frame of the bar that it holds: x out of the hand, the fingers close along y."""
    sin, cos = np.sin(slant_rad), np.cos(slant_rad)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


class HandOverExpert(ScriptedExpert):
    """The right hand picks the bar up by one end, the left one takes the other end and puts it down."""

    def __init__(self, task: Any, manner: Manner = HUMAN):
        super().__init__(task, manner)
        self.figures = figures_of("hand_over", task, Figures)
        self._meet = np.array(self.figures.meet_m)
        slants = zip(SIDES, self.figures.slant_rad, strict=True)
        self._tilt = {side: tilt(slant) for side, slant in slants}
        self._base = {side: task.workcell().base_m(side) for side in SIDES}

    def script(self, row: Row) -> Iterator[Move]:
        for part in (self._pick, self._pass, self._place):
            yield from part(row)
            if not self._lifted(row):
                break
        yield Move(1.2, left=row.home("left"), right=row.home("right"))

    def _pick(self, row: Row) -> Iterator[Move]:
        f, first = self.figures, True
        waits = self._meet + f.ready_m
        while True:
            place, axis = row.position("bar"), row.rotation("bar")[:, 0]
            axis = axis * np.sign(axis[:2] @ (place[:2] - self._base["right"]))
            bar = turned(float(np.arctan2(axis[1], axis[0])), np.eye(3))
            place[2] = TABLE_TOP_M + self.task.bar_width_m / 2
            spot, hand = (
                self._end_of(bar, place) + row.slip() * [1, 1, 0],
                bar @ self._tilt["right"],
            )
            above = row.pose(
                "right", spot + [0, 0, f.lift_m], hand, near=self._facing("right", spot)
            )
            yield Move(1.25 if first else 0.7, right=above, right_grip=f.open)
            yield Move(0.15)
            yield Move(0.65, right=row.straight("right", spot, hand))
            yield Move(0.15 + row.pause())
            yield Move(0.3, right_grip=f.grip)
            # The left hand comes along to where it will be needed.
            ready = row.pose(
                "left", waits, LEVEL["left"] @ self._tilt["left"], near=from_angles(f.ahead_rad)
            )
            up = row.straight("right", spot + [0, 0, f.lift_m], hand)
            yield Move(0.45, right=up, left=ready if first else None, left_grip=f.open)
            if self._lifted(row) or row.elapsed_s > LATEST_RETRY_S:
                return
            first = False
            yield Move(0.25, right_grip=f.open)
            yield Move(0.15)

    def _pass(self, row: Row) -> Iterator[Move]:
        f = self.figures
        meet = self._meet + row.rng.normal(0, 1, 3) * self.manner.meet_spread_m
        yield Move(
            1.25, right=self._carry(row, "right", meet, np.pi, near=from_angles(f.ahead_rad))
        )
        yield Move(0.25 + row.pause())
        if not self._lifted(row):
            return
        # The left hand aims at where the bar is now; with both on it nobody looks.
        bar = frame(row.rotation("bar"), np.array([1.0, 0.0, 0.0]))
        spot, hand = self._end_of(bar, row.position("bar")), bar @ self._tilt["left"]
        yield Move(0.45, left=row.pose("left", spot - f.before_m * hand[:, 0], hand))
        yield Move(0.45, left=row.straight("left", spot, hand))
        yield Move(0.1 + row.pause(), watched=("left",))
        yield Move(0.3, left_grip=f.grip, watched=())
        yield Move(0.3, right_grip=f.open, watched=())
        place, giving = self._hand(row, "right")
        away = row.straight("right", place - f.away_m * giving[:, 0], giving)
        yield Move(0.4, right=away, watched=())

    def _place(self, row: Row) -> Iterator[Move]:
        f = self.figures
        goal = np.array([*row.position("goal")[:2], TABLE_TOP_M + self.task.bar_width_m / 2])
        heading = float(np.arctan2(*(goal[:2] - self._base["left"])[::-1]))
        over = self._facing("left", goal)
        above = self._carry(row, "left", goal + [0, 0, f.lift_m], heading, over)
        yield Move(1.25, left=above, right=row.home("right"))
        yield Move(0.1 + row.pause())
        yield Move(0.6, left=self._carry(row, "left", goal, heading))
        yield Move(0.15)
        yield Move(0.3, left_grip=f.open)
        yield Move(0.15)
        place, hand = self._hand(row, "left")
        yield Move(0.4, left=row.straight("left", place - f.away_m * hand[:, 0], hand))

    def _facing(self, side: str, spot: Float[np.ndarray, "3"]) -> Pose:
        """An arm that leans over a spot beside it: where to start the search for a pose there."""
        return from_angles((self.reach[side].facing(spot), *self.figures.beside_rad))

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
        # Even a hand that points straight down tells by this which end of the bar is its own.
        held = frame(row.rotation("bar"), hand[:, 0] + hand[:, 2])
        there = turned(heading, np.eye(3))
        offset = held.T @ (place - row.position("bar"))
        return row.pose(side, centre + there @ offset, there @ held.T @ hand, near)

    def _lifted(self, row: Row) -> bool:
        """Whether the bar is seen in the air."""
        return row.position("bar")[2] > TABLE_TOP_M + 0.8 * self.figures.lift_m

    def _end_of(
        self, bar: Float[np.ndarray, "3 3"], place: Float[np.ndarray, "3"]
    ) -> Float[np.ndarray, "3"]:
        """Where a gripper site takes a bar of these axes, which points away from the arm (m)."""
        return place - self.figures.from_middle_m * bar[:, 0] - self.figures.below_m * bar[:, 2]


def frame(
    rotation: Float[np.ndarray, "3 3"], along: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "3 3"]:
    """The bar's axes, named anew: x points along a direction, z up, as nearly as they can."""
    x = rotation[:, 0] * np.sign(rotation[:, 0] @ along)
    sides = np.stack([*rotation[:, 1:].T, *-rotation[:, 1:].T])
    z = sides[np.argmax(sides[:, 2])]
    return np.stack([x, np.cross(z, x), z], axis=1)
