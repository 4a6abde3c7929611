"""A scripted teacher of route_cable.

For each clip both hands take the cable, one on either side of where it will be clipped, hold that stretch
over the clip, press it down and let go.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from jaxtyping import Float

from regrasp.assets import SIDES
from regrasp.envs.tasks.parts import TABLE_TOP_M
from regrasp.envs.tasks.route_cable import CLIPS, RouteCable
from regrasp.rl.experts.figures import Reaching, figures_of
from regrasp.rl.experts.ik import DOWN
from regrasp.rl.experts.script import (
    HUMAN,
    Manner,
    Move,
    Pose,
    Row,
    ScriptedExpert,
    both,
    from_angles,
    turned,
)

LATEST_RETRY_S = 14.0
"""A clip is not tried again later than this."""
HELD_M = 0.015
"""A cable further from a gripper site is not in the hand."""
SIGNS = {"left": -1.0, "right": 1.0}
"""On which side of a clip each hand is."""


@dataclass(frozen=True)
class Figures(Reaching):
    """Where the hands go, in the ALOHA workcell; the table of another one says what differs there."""

    apart_m: float = 0.05
    """How far from the clip a hand holds the cable."""
    low_m: float = 0.0015
    """Height of the gripper site above the table when it takes the cable."""
    hang_m: float = 0.01
    """How far below the axis of a cable that is in the air the site takes it."""
    above_m: float = 0.06
    """How far above that it comes."""
    lift_m: float = 0.035
    """How far it lifts the cable at first."""
    away_m: float = 0.11
    """How far it rises from what it has let go: lower, it would catch on a clip as it goes on."""
    lean_rad: float = 0.5
    """How far a hand leans back towards its own arm, away from the other one."""
    open: float = 0.6
    """Opening with which it goes down, and lets go."""
    grip: float = 0.0
    """Opening that presses on the cable."""
    over_m: float = 0.026
    """How far above its seat the cable is held before it is pressed down."""
    looks: int = 2
    """How often the hands look there where the cable is, and move it by as much as it is off."""
    deep_m: float = 0.012
    """How far below its seat the hands are sent: the jaws hold them up."""
    presses: int = 3
    """How often they press, each time deeper by as much, until it is in."""
    tight_m: float = 0.003
    """How much further apart the hands go than they took it."""
    slack_m: float = 0.008
    """How much longer than straight it is left between the clips; taut, it comes out of the first."""


class RouteCableExpert(ScriptedExpert):
    """Both hands, clip by clip."""

    def __init__(self, task: Any, manner: Manner = HUMAN):
        super().__init__(task, manner)
        self.figures = figures_of("route_cable", task, Figures)

    def script(self, row: Row) -> Iterator[Move]:
        seconds = 1.2
        for clip in range(len(CLIPS)):
            while True:
                yield from self._pick(row, clip, seconds)
                yield from self._press(row, clip)
                seconds = 0.9
                if self._seated(row)[clip] or row.elapsed_s > LATEST_RETRY_S:
                    break
        yield Move(1.0, left=row.home("left"), right=row.home("right"))

    def _pick(self, row: Row, clip: int, seconds: float) -> Iterator[Move]:
        """Down over the cable on both sides of what will be clipped, and up with it; again if missed."""
        f = self.figures
        while True:
            along = self._along(row, clip)
            ends = {side: self._point(row, along + SIGNS[side] * f.apart_m) for side in SIDES}
            way = ends["right"] - ends["left"]
            yaw = float(np.arctan2(way[1], way[0]))
            hands = {side: turned(yaw, self._hand(side)) for side in SIDES}
            # Near the first clip the cable may be in the air.
            low = {
                side: np.array(
                    [*(end + row.slip())[:2], max(f.low_m, end[2] - f.hang_m) + TABLE_TOP_M]
                )
                for side, end in ends.items()
            }
            above = {
                side: row.pose(
                    side, low[side] + [0, 0, f.above_m], hands[side], near=from_angles(f.over_rad)
                )
                for side in SIDES
            }
            yield both(seconds, above, f.open)
            yield Move(0.15 + row.pause())
            yield both(0.6, {side: row.straight(side, low[side], hands[side]) for side in SIDES})
            yield Move(0.2 + row.pause())
            yield both(0.4, grip=f.grip, watched=())
            yield Move(0.1)
            up = {
                side: row.straight(
                    side, self._site(row, side) + [0, 0, f.lift_m], self._hand(side), 2
                )
                for side in SIDES
            }
            yield both(0.5, up, watched=())
            if self._holding(row) or row.elapsed_s > LATEST_RETRY_S:
                return
            yield both(0.3, grip=f.open)
            seconds = 0.5

    def _press(self, row: Row, clip: int) -> Iterator[Move]:
        """Over the clip, down into it, and away."""
        f, task = self.figures, cast(RouteCable, self.task)
        goal = {
            side: np.array([x, y, TABLE_TOP_M + task.clip.seat_m])
            for side in SIDES
            for x, y in [task.clips_m[clip] + SIGNS[side] * np.array([f.apart_m + f.tight_m, 0])]
        }
        # From where the cable is to be, to where the site is sent: how it is held, and how the arm errs.
        aim = {side: self._site(row, side) - self._held(row, side) for side in SIDES}

        def at(height: float) -> dict[str, list[Pose]]:
            return {
                side: row.straight(
                    side, goal[side] + aim[side] * [0, 1, 1] + [0, 0, height], self._hand(side)
                )
                for side in SIDES
            }

        yield both(0.9, at(f.over_m), watched=())
        for _ in range(f.looks):
            yield Move(0.1 + row.pause() / f.looks)
            for side in SIDES:
                aim[side] += goal[side] + [0, 0, f.over_m] - self._held(row, side)
            yield both(0.3, at(f.over_m), watched=())
        for deeper in range(1, f.presses + 1):
            yield both(0.6, at(-deeper * f.deep_m), watched=())
            yield Move(0.2)
            if self._seated(row)[clip]:
                break
        yield both(0.4, grip=f.open)
        yield Move(0.1 + row.pause())
        away = {
            side: row.straight(side, self._site(row, side) + [0, 0, f.away_m], self._hand(side), 2)
            for side in SIDES
        }
        yield both(0.5, away)

    def _along(self, row: Row, clip: int) -> float:
        """How far from the cable's middle, along it, lies what is to go into a clip (m)."""
        task = cast(RouteCable, self.task)
        first, second = np.array(task.clips_m)
        between = float(np.linalg.norm(second - first))
        if clip == 0:
            return -between / 2
        cable = np.asarray(row.view.flex["cable"])
        there = np.interp(first[0], cable[:, 0], task.cable.straight_m[:, 0])
        return float(there) + between + self.figures.slack_m

    def _point(self, row: Row, along: float) -> Float[np.ndarray, "3"]:
        """Where the cable is, so far along it from its middle (m)."""
        cable = np.asarray(row.view.flex["cable"])
        measured = cast(RouteCable, self.task).cable.straight_m[:, 0]
        return np.array([np.interp(along, measured, cable[:, axis]) for axis in range(3)])

    def _hand(self, side: str) -> Float[np.ndarray, "3 3"]:
        """Axes of a hand that closes across x."""
        lean = SIGNS[side] * self.figures.lean_rad
        cos, sin = np.cos(lean), np.sin(lean)
        return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]) @ DOWN[side]

    def _site(self, row: Row, side: str) -> Float[np.ndarray, "3"]:
        return np.asarray(row.view.site_pos[f"{side}/gripper"])

    def _held(self, row: Row, side: str) -> Float[np.ndarray, "3"]:
        """Where the cable is next to a gripper site (m)."""
        site, cable = self._site(row, side), np.asarray(row.view.flex["cable"])
        start, way = cable[:-1], np.diff(cable, axis=0)
        share = np.clip(((site - start) * way).sum(1) / (way * way).sum(1), 0, 1)
        near = start + share[:, None] * way
        return near[np.linalg.norm(near - site, axis=1).argmin()]

    def _holding(self, row: Row) -> bool:
        """Whether both hands are seen to have the cable."""
        return all(
            np.linalg.norm(self._held(row, side) - self._site(row, side)) < HELD_M for side in SIDES
        )

    def _seated(self, row: Row) -> tuple[bool, bool]:
        first, second = cast(RouteCable, self.task).seated(row.view)
        return bool(first), bool(second)
