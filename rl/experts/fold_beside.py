"""A scripted teacher of fold_towel for arms of five joints, which cannot come from behind the edge.

The hands come from the sides, pointing at each other, one finger above the near edge and one below it. They
carry it over in half a circle about the towel's middle, rolling as it turns, and go back to the sides.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from jaxtyping import Float

from regrasp.assets import SIDES
from regrasp.envs.tasks.fold_towel import FoldTowel
from regrasp.envs.tasks.parts import TABLE_TOP_M
from regrasp.rl.experts.figures import figures_of
from regrasp.rl.experts.fold_towel import (
    LATEST_RETRY_S,
    Hand,
    directions,
    edge_is_up,
    landmarks_of,
)
from regrasp.rl.experts.script import HUMAN, Manner, Move, Row, ScriptedExpert, both, from_angles


@dataclass(frozen=True)
class Figures:
    """Where the hands of small arms go; the table of a workcell says what differs there."""

    inset_m: float = 0.012
    """How far from the corner, along the edge, a hand takes hold."""
    depth_m: float = 0.01
    """How far the gripper site goes in over the edge."""
    height_m: float = 0.064
    """Height of the site above the table then, unless the edge's corner is higher: not that of a corner that
    hangs down, for the upper finger has to pass over what lies on the rod."""
    aside_m: float = -0.002
    """How far the site is off that towards the moving finger: the other one is nearer to it."""
    down_rad: float = 0.55
    """How far below the horizontal hands point."""
    roll_rad: tuple[float, float] = (0.38, 2.3)
    """How far they have rolled when they take the edge, and when they lay it down."""
    over_rad: tuple[tuple[float, ...], tuple[float, ...]] = (
        (0.0, -0.9, 1.2, 0.3, 0.05),
        (0.0, -0.9, 1.2, 0.3, 2.8),
    )
    """Joint angles of the left and the right arm to search from for a grasp: one hand is upside down then."""
    open: float = 0.34
    """Opening with which they go in."""
    grip: float = 0.048
    """Opening that presses on the cloth."""
    release: float = 0.25
    """Opening that lets go of it."""
    before_m: float = 0.05
    """How far to the side a hand goes down."""
    arc_rad: tuple[float, ...] = (0.7, 1.4, 2.1)
    """Where on the half circle about the towel's middle a move ends."""
    arc_above_m: tuple[float, ...] = (0.03, 0.02, 0.01)
    """How far above that circle."""
    lay_m: float = 0.04
    """Height of the site above the table when the edge is laid down."""
    short_m: float = 0.02
    """How far the site stays from the far edge then."""
    rise_m: float = 0.015
    """How far a hand rises that opens straight down, so that it does not press on the lower half."""
    back_m: float = 0.075
    """How far the hands go back, so that the fingers come out."""
    away_m: float = 0.15
    """How high they go before they go home."""


class FoldBesideExpert(ScriptedExpert):
    """Both hands take the near edge by its ends and lay it on the far one."""

    def __init__(self, task: Any, manner: Manner = HUMAN):
        super().__init__(task, manner)
        self.figures = figures_of("fold_towel", task, Figures)

    def script(self, row: Row) -> Iterator[Move]:
        f, first = self.figures, True
        bends = list(zip(f.arc_rad, f.arc_above_m, strict=True))
        while True:
            spots = yield from self._take(row, first)
            circle = _Circle(self._landmarks(row), spots)
            hands = self._carried(circle, *bends[0])
            yield both(0.7, self._straight(row, hands), watched=())
            if edge_is_up(self.task, self._landmarks(row)) or row.elapsed_s > LATEST_RETRY_S:
                break
            yield both(0.3, grip=f.open, watched=())
            yield both(0.4, self._straight(row, backwards(hands, f.before_m)))
            first = False
        for bend in bends[1:]:
            hands = self._carried(circle, *bend)
            yield both(0.7, self._straight(row, hands), watched=())
        # The lower half may have slid: the edge goes to where the other one is.
        far = self._landmarks(row)[:, 2].mean(axis=0)
        ahead = (far[:2] - circle.middle) @ circle.across - f.short_m
        height = TABLE_TOP_M + f.lay_m
        hands = self._hands(circle.at(ahead), height, np.pi)
        yield both(0.5, self._straight(row, hands), watched=())
        yield Move(0.2 + row.pause())
        off = {side: self._opened(hand) for side, hand in hands.items()}
        yield both(0.5, self._straight(row, off), f.release, watched=())
        yield Move(0.2)
        out = backwards(off, f.back_m)
        yield both(0.5, self._straight(row, out))
        for hand in out.values():
            hand.place[2] = TABLE_TOP_M + f.away_m
        yield both(0.5, {side: row.pose(side, *out[side]) for side in SIDES})
        yield Move(1.0, left=row.home("left"), right=row.home("right"))

    def _take(self, row: Row, first: bool) -> Generator[Move, None, dict[str, np.ndarray]]:
        """Around both ends of the near edge; returns where on the table the hands are then (m)."""
        f = self.figures
        above = self._here(row, -f.before_m, 0.06)
        near = {s: from_angles(angles) for s, angles in zip(SIDES, f.over_rad, strict=True)}
        poses = {side: row.pose(side, *above[side], near=near[side]) for side in SIDES}
        yield both(1.2 if first else 0.6, poses, f.open)
        yield Move(0.1 + row.pause())
        # The towel has settled by now.
        yield both(0.4, self._straight(row, self._here(row, -f.before_m)))
        yield Move(0.3)
        around = self._here(row, 0.0)
        slipped = {side: row.slip() * [1, 1, 0] for side in SIDES}
        around = {s: hand._replace(place=hand.place + slipped[s]) for s, hand in around.items()}
        yield both(0.7, self._straight(row, around))
        yield Move(0.2 + row.pause())
        yield both(0.5, grip=f.grip, watched=())
        yield Move(0.15)
        return {side: hand.place[:2] for side, hand in around.items()}

    def _here(self, row: Row, inwards: float, higher: float = 0.0) -> dict[str, Hand]:
        """Where the hands are for the near edge: so far in from its ends, and higher than to take it."""
        f, seen = self.figures, self._landmarks(row)
        left, right = seen[[0, 2], 0]
        way, across = directions(left, right)
        inwards += f.inset_m
        spots = {
            "left": left[:2] + inwards * way + f.depth_m * across,
            "right": right[:2] - inwards * way + f.depth_m * across,
        }
        heights = {
            side: max(TABLE_TOP_M + f.height_m, end[2]) + higher
            for side, end in zip(SIDES, (left, right), strict=True)
        }
        hands = {s: self._hand(s, spots[s], heights[s], 0.0) for s in SIDES}
        return {s: Hand(h.place + f.aside_m * h.axes[:, 1], h.axes) for s, h in hands.items()}

    def _carried(self, circle: "_Circle", bend: float, above: float) -> dict[str, Hand]:
        """Where they are on the half circle, when the edge has turned by so much."""
        f = self.figures
        radius = cast(FoldTowel, self.task).towel.size_m[1] / 2 - f.depth_m
        height = TABLE_TOP_M + above + radius * np.sin(bend)
        return self._hands(circle.at(-radius * np.cos(bend)), height, bend)

    def _hands(self, spots: dict[str, np.ndarray], height: float, bend: float) -> dict[str, Hand]:
        return {side: self._hand(side, spots[side], height, bend) for side in SIDES}

    def _opened(self, hand: Hand) -> Hand:
        """Where a hand is when it has let go."""
        down = max(0.0, -hand.axes[2, 1])
        return Hand(hand.place + [0, 0, self.figures.rise_m * down], hand.axes)

    def _hand(self, side: str, spot: Float[np.ndarray, "2"], height: float, bend: float) -> Hand:
        """A hand that points there from its arm's base, and has rolled with an edge that turned by `bend`."""
        f = self.figures
        ahead = self.reach[side].towards(spot)
        cos, sin = np.cos(f.down_rad), np.sin(f.down_rad)
        out = np.array([*(cos * ahead), -sin])
        level = np.array([-ahead[1], ahead[0], 0.0])
        roll = np.pi / 2 - np.clip(bend, *f.roll_rad)
        if side == "right":
            roll = -roll
        closing = np.cos(roll) * level + np.sin(roll) * np.cross(out, level)
        axes = np.stack([out, closing, np.cross(out, closing)], axis=1)
        return Hand(np.array([*spot, height]), axes)

    def _straight(self, row: Row, hands: dict[str, Hand]) -> dict[str, Any]:
        return {side: row.straight(side, *hands[side]) for side in SIDES}

    def _landmarks(self, row: Row) -> Float[np.ndarray, "3 3 3"]:
        return landmarks_of(self.task, row)


class _Circle:
    """The way of the edge's ends about the towel's middle line, seen from above."""

    def __init__(self, seen: Float[np.ndarray, "3 3 3"], spots: dict[str, np.ndarray]):
        left, right = seen[[0, 2], 1]
        self.way, self.across = directions(left, right)
        self.middle = ((left + right) / 2)[:2]
        self._along = {s: float((spot - self.middle) @ self.way) for s, spot in spots.items()}

    def at(self, ahead: float) -> dict[str, np.ndarray]:
        """Where the hands are, so far beyond the middle line (m)."""
        return {s: self.middle + x * self.way + ahead * self.across for s, x in self._along.items()}


def backwards(hands: dict[str, Hand], back_m: float) -> dict[str, Hand]:
    """The same hands, back from where they point."""
    return {s: Hand(h.place - back_m * h.axes[:, 0], h.axes) for s, h in hands.items()}
