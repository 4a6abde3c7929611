"""A scripted teacher of peg_insertion."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from regrasp.assets import SIDES
from regrasp.envs.tasks.parts import BAR_SYMMETRIES
from regrasp.envs.tasks.peg_insertion import PIN_RADIUS_M, PegInsertion
from regrasp.rl.experts.figures import Reaching, figures_of
from regrasp.rl.experts.ik import DOWN, LEVEL, between
from regrasp.rl.experts.script import (
    HUMAN,
    STILL_RAD_S,
    Manner,
    Move,
    Pose,
    Row,
    ScriptedExpert,
    from_angles,
    turned,
)

OBJECT = {"left": "socket", "right": "peg"}
INWARD = {"left": 1.0, "right": -1.0}
"""Which way along x the other arm is."""
GRASP_M = {"left": -0.012, "right": 0.02}
"""How far from the object's middle it is grasped, along the line to the other arm. The end that points there
on the table points up when the hand has turned level: the peg's outer end goes down into the socket."""
GRASP_HEIGHT_M = {"left": 0.009, "right": 0.005}
"""Height of the gripper site at the grasp."""
LIFT_M = 0.14
"""How high above the grasp the hands wait and lift; the peg passes over the socket later."""
CAMERAS_M = (0.215, 0.06)
"""Hands that are less apart than this in x and in y take turns."""
GRIP = {"left": 0.15, "right": 0.0}
"""Opening that presses on the object."""
MEET_M = np.array([0.0, -0.019, 0.17])
"""Where the socket waits for the peg."""
BESIDE_M = 0.12
"""The peg first comes to this far beside the place above the socket."""
LEANING_RAD = 0.2
"""What leans more has turned in the hand."""
APART_M = 0.03
"""From the socket's mouth to the peg's end, before it goes in."""
SETTLE_S = (0.08, 0.4)
"""Waits for the arm to stand still last from this to that long."""
IN_M = 0.002
"""What is deeper than this is not standing on the rim."""
STROKE_M = 0.015
"""How far the peg is pushed between two looks, at the rim; further where it is guided."""
PRESS_M = 0.004
"""How far beyond the pin the peg is sent."""
UP = Rotation.from_euler("y", -0.5 * np.pi).as_matrix()
"""An object's axis, x, points up."""


class PegInsertionExpert(ScriptedExpert):
    """Either hand picks up its object; the right one aims at what it sees and pushes the peg in."""

    task: PegInsertion

    def __init__(self, task: PegInsertion, manner: Manner = HUMAN):
        super().__init__(task, manner)
        self.figures = figures_of("peg_insertion", task, Reaching)

    def script(self, row: Row) -> Iterator[Move]:
        meet = MEET_M + row.rng.normal(0, 1, 3) * self.manner.meet_spread_m
        while True:
            yield from self._pick_up(row)
            yield from self._meet(row, meet)
            yield from self._insert(row)

    def _pick_up(self, row: Row) -> Iterator[Move]:
        """Take what is not in its hand, both hands at once where there is room, until both are."""
        over = from_angles(self.figures.over_rad)
        while missing := [side for side in SIDES if not self._in_hand(row, side)]:
            above: dict[str, Pose] = {}
            grasp: dict[str, Pose] = {}
            places: dict[str, np.ndarray] = {}
            for side in missing:
                places[side], rotation = self._grasp(row, side)
                up = places[side] + [0, 0, LIFT_M]
                above[side] = row.pose(side, up, rotation, near=over)
                grasp[side] = row.pose(side, places[side], rotation, near=above[side])
            yield _both(1.0, above, dict.fromkeys(missing, 1.0))
            for turn in [missing] if _roomy(*places.values()) else [[side] for side in missing]:
                yield _both(0.6, {side: grasp[side] for side in turn})
                yield Move(0.2 + row.pause())
                yield _both(0.4, {}, {side: GRIP[side] for side in turn})
                yield _both(0.5, {side: above[side] for side in turn})

    def _meet(self, row: Row, meet: Float[np.ndarray, "3"]) -> Iterator[Move]:
        """The socket stands upright in the middle, the peg above and beside it, then over it."""
        over = (self.task.socket_length_m + self.task.peg_length_m) / 2 + APART_M
        seconds = 1.3
        while seconds > 0 and self._in_hand(row, "left") and self._in_hand(row, "right"):
            left = self._carried(row, "left", meet)
            right = self._carried(row, "right", meet + [BESIDE_M, 0, over])
            yield Move(seconds, left=[self._halfway(row, "left", left), left], right=right)
            yield Move(0.2 + row.pause())
            # What has turned in the hand is stood upright again.
            seconds = 0.0 if self._upright(row) else 0.8
        yield Move(0.7, right=self._aimed(row, -APART_M), watched=())

    def _insert(self, row: Row) -> Iterator[Move]:
        """Bring the peg into the channel, and push; again where that fails."""
        pin = self.task.socket_length_m / 2 - PIN_RADIUS_M
        yield from self._settle(row)
        while self._in_hand(row, "left") and self._in_hand(row, "right"):
            yield from self._enter(row)
            before = 0.0
            while (depth := self._depth_m(row)) > before + IN_M:
                before = depth if depth < pin - IN_M else 0.0
                goal = min(2 * depth + STROKE_M, pin + PRESS_M)
                yield Move(0.35, right=self._aimed(row, goal), watched=())
                yield from self._settle(row)
            if depth > IN_M:
                # It has jammed.
                yield Move(0.3, right=self._aimed(row, depth - 0.005), watched=())

    def _enter(self, row: Row) -> Iterator[Move]:
        """Aim from outside until the peg points into the channel, then feel for it on the rim."""
        while self._depth_m(row) <= IN_M and self._in_hand(row, "right"):
            for _ in range(3):
                yield Move(0.35, right=self._aimed(row, -0.008), watched=())
                yield from self._settle(row)
                if self._miss_m(row) < 0.3 * self.task.clearance_m:
                    break
            yield Move(0.3, right=self._aimed(row, 0.004), watched=())
            for _ in range(6):
                if self._depth_m(row) > IN_M:
                    break
                yield Move(0.25, right=self._aimed(row, 0.001), watched=())

    def _settle(self, row: Row) -> Iterator[Move]:
        """Wait until the right arm stands still: where it is late or soft, it arrives after its command."""
        yield Move(SETTLE_S[0], watched=())
        end = row.elapsed_s + SETTLE_S[1] - SETTLE_S[0]
        while row.elapsed_s < end:
            velocity = np.asarray(row.view.joint_vel)[self._arms["right"]]
            if np.abs(velocity).max() < STILL_RAD_S:
                break
            yield Move(0.04, watched=())

    def _halfway(self, row: Row, side: str, end: Pose) -> Pose:
        """On the straight line to a pose: on any other way a hand that turns level sinks to the table."""
        start = row.bound(side)
        first, last = (_Frame(*self.reach[side].place(angles)) for angles in (start, end.angles))
        middle = (first.position + last.position) / 2 + [0, 0, 0.02]
        turn = between(first.rotation, last.rotation, 0.5)
        near = Pose((start + end.angles) / 2, end.extra)
        found = row.pose(side, middle, turn, near=near)
        # Where the wrist is straight it may turn over: better no straight line than a spinning hand.
        return found if np.abs(found.angles - near.angles).max() < 1.0 else near

    def _upright(self, row: Row) -> bool:
        """Whether peg and socket stand."""
        return all(abs(row.rotation(body)[2, 0]) > np.cos(LEANING_RAD) for body in OBJECT.values())

    def _in_hand(self, row: Row, side: str) -> bool:
        """Whether the object has been lifted and is where the hand is."""
        place = row.position(OBJECT[side])
        away = np.linalg.norm(place - row.view.site_pos[f"{side}/gripper"])
        return bool(place[2] > 0.05 and away < 0.06)

    def _grasp(
        self, row: Row, side: str
    ) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]]:
        """Where to grasp the object as it lies."""
        axis = row.rotation(OBJECT[side])[:, 0]
        axis = axis * np.sign(axis[0])
        slip = row.slip()
        place = row.position(OBJECT[side]) + INWARD[side] * GRASP_M[side] * axis
        place = np.array([place[0] + slip[0], place[1] + slip[1], GRASP_HEIGHT_M[side]])
        return place, turned(float(np.arctan2(axis[1], axis[0])), DOWN[side])

    def _carried(self, row: Row, side: str, position: Float[np.ndarray, "3"]) -> Pose:
        """The pose, about level, that stands the object in the hand upright at a place."""
        hand, held = self._hand(row, side), _seen(row, OBJECT[side])
        levelled = LEVEL[side] @ hand.rotation.T @ held.rotation
        where = _Frame(position, _alike(UP, levelled)) @ held.inverse() @ hand
        return row.pose(side, where.position, where.rotation, near=row.home(side))

    def _aimed(self, row: Row, depth_m: float) -> Pose:
        """The right hand's pose for the peg's lower end to be this deep in the channel.

        The arm is sent as much further as the peg is seen to be away, whatever the arm's sag.
        """
        socket, peg = _seen(row, "socket"), _seen(row, "peg")
        along = (self.task.socket_length_m + self.task.peg_length_m) / 2 - depth_m
        goal = socket.position + along * _upward(socket)
        turn = _alike(socket.rotation, peg.rotation)
        sent = _Frame(*self.reach["right"].place(row.bound("right")))
        where = _Frame(goal, turn) @ peg.inverse() @ sent
        return row.pose("right", where.position, where.rotation)

    def _hand(self, row: Row, side: str) -> "_Frame":
        """Where a gripper is, by the angles of its joints."""
        return _Frame(*self.reach[side].place(np.asarray(row.view.joint_pos)[self._arms[side]]))

    def _end(self, row: Row) -> Float[np.ndarray, "3"]:
        """The peg's lower end, in the socket's axes (m)."""
        socket, peg = _seen(row, "socket"), _seen(row, "peg")
        end = peg.position - _upward(peg) * self.task.peg_length_m / 2 - socket.position
        return np.array([end @ _upward(socket), *(socket.rotation.T @ end)[1:]])

    def _miss_m(self, row: Row) -> float:
        """How far from the channel's axis the peg's lower end is seen."""
        return float(np.abs(self._end(row)[1:]).max())

    def _depth_m(self, row: Row) -> float:
        """How deep in the channel the peg's lower end is seen."""
        return self.task.socket_length_m / 2 - float(self._end(row)[0])


class _Frame(NamedTuple):
    """A position (m) and the axes as columns."""

    position: Float[np.ndarray, "3"]
    rotation: Float[np.ndarray, "3 3"]

    def __matmul__(self, other: "_Frame") -> "_Frame":
        return _Frame(
            self.position + self.rotation @ other.position, self.rotation @ other.rotation
        )

    def inverse(self) -> "_Frame":
        return _Frame(-self.rotation.T @ self.position, self.rotation.T)


def _seen(row: Row, body: str) -> _Frame:
    return _Frame(row.position(body), row.rotation(body))


def _alike(rotation: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Of the orientations in which a square bar fills the same space, the nearest to the present one."""
    candidates = rotation @ BAR_SYMMETRIES.astype(float)
    return candidates[np.argmax(np.einsum("nij,ij->n", candidates, now))]


def _upward(frame: _Frame) -> Float[np.ndarray, "3"]:
    """The axis of an object that stands about upright, pointing up."""
    return frame.rotation[:, 0] * np.sign(frame.rotation[2, 0])


def _both(seconds: float, poses: dict[str, Pose], grips: dict[str, float] | None = None) -> Move:
    """A move of the arms and grippers that are named."""
    grips = grips or {}
    return Move(
        seconds,
        left=poses.get("left"),
        right=poses.get("right"),
        left_grip=grips.get("left"),
        right_grip=grips.get("right"),
    )


def _roomy(*places: Float[np.ndarray, "3"]) -> bool:
    """Whether two hands that point down there keep their cameras, which face each other, apart."""
    apart = np.abs(np.ptp(places, axis=0))
    return len(places) == 1 or bool(apart[0] > CAMERAS_M[0] or apart[1] > CAMERAS_M[1])
