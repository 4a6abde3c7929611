"""A scripted teacher of fold_towel.

The hands come from behind the near edge, fingers in a vertical plane: the lower finger goes under the edge,
which lies over a rod. They carry it over in an arc, leaning back more and more, and end behind the far edge.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Float

from regrasp.assets import SIDES
from regrasp.envs import Task
from regrasp.envs.tasks.fold_towel import FoldTowel
from regrasp.envs.tasks.parts import TABLE_TOP_M
from regrasp.rl.experts.figures import Reaching, figures_of
from regrasp.rl.experts.ik import DOWN
from regrasp.rl.experts.script import (
    HUMAN,
    Manner,
    Move,
    Row,
    ScriptedExpert,
    both,
    from_angles,
    turned,
)

LATEST_RETRY_S = 7.0
"""A grasp is not tried again later than this: what follows needs the rest of the time."""


class Hand(NamedTuple):
    """Where a gripper is."""

    place: Float[np.ndarray, "3"]
    """Of the gripper site (m)."""
    axes: Float[np.ndarray, "3 3"]
    """Its axes as columns."""


@dataclass(frozen=True)
class Figures(Reaching):
    """Where the hands go, in the ALOHA workcell; the table of another one says what differs there."""

    inset_m: float = 0.03
    """How far from the corner, along the edge, a hand takes hold."""
    depth_m: float = 0.018
    """How far the gripper site goes in over the edge."""
    above_m: float = 0.004
    """How far the site is above the edge's corner while the lower finger goes under it: the edge hangs less
    where the hand takes it, and a hand on its way sags."""
    low_m: float = 0.022
    """Least height of the site above the table then: lower, that finger would touch it."""
    lean_rad: float = 0.9
    """How far from the vertical a hand leans back from what it takes or lays down."""
    open: float = 0.7
    """Opening with which it goes in."""
    grip: float = 0.05
    """Opening that presses on the cloth."""
    release: float = 0.7
    """Opening that lets go of it: at less the fingers take the edge along as they go back."""
    before_m: float = 0.05
    """How far from the edge a hand goes down."""
    raise_m: float = 0.06
    """How far the edge is raised before the hands look whether they hold it."""
    arc_rad: tuple[float, ...] = (1.05, 2.0, 2.7)
    """Where on the half circle about the towel's middle a move ends."""
    arc_above_m: float = 0.02
    """How far above that circle."""
    lay_m: float = 0.028
    """Height of the site above the table when the edge is laid down."""
    short_m: float = 0.012
    """How far the site stays from the far edge then."""
    back_m: float = 0.08
    """How far it goes back at that height, so that the lower finger comes out."""
    away_m: float = 0.2
    """How high the hands go before they go home."""


class FoldTowelExpert(ScriptedExpert):
    """Both hands take the near edge by its ends and lay it on the far one."""

    def __init__(self, task: Any, manner: Manner = HUMAN):
        super().__init__(task, manner)
        self.figures = figures_of("fold_towel", task, Figures)

    def script(self, row: Row) -> Iterator[Move]:
        f = self.figures
        yield from self._pick(row)
        yield from self._carry(row)
        yield Move(0.15 + row.pause())
        yield both(0.4, grip=f.release)
        yield Move(0.2)
        out = self._there(row, -f.back_m, f.lay_m, -f.lean_rad)
        yield both(0.5, {side: row.straight(side, *out[side]) for side in SIDES})
        up = self._there(row, -f.back_m, f.away_m, -0.5 * f.lean_rad)
        yield both(0.6, {side: row.pose(side, *up[side]) for side in SIDES})
        yield Move(1.0, left=row.home("left"), right=row.home("right"))

    def _pick(self, row: Row) -> Iterator[Move]:
        """Under the edge, and up with it."""
        f, first = self.figures, True
        over = from_angles(f.over_rad)
        while True:
            above = self._here(row, -f.before_m, 0.05)
            poses = {side: row.pose(side, *above[side], near=over) for side in SIDES}
            yield both(1.2 if first else 0.6, poses, f.open)
            yield Move(0.1 + row.pause())
            # The towel has settled by now.
            behind = self._here(row, -f.before_m)
            yield both(0.4, {side: row.straight(side, *behind[side]) for side in SIDES})
            yield Move(0.3)
            under = {
                side: hand._replace(place=hand.place + row.slip() * [1, 1, 0])
                for side, hand in self._here(row, f.depth_m).items()
            }
            yield both(0.7, {side: row.straight(side, *under[side]) for side in SIDES})
            yield Move(0.2 + row.pause())
            yield both(0.4, grip=f.grip, watched=())
            yield Move(0.15)
            raised = {
                side: row.straight(side, hand.place + [0, 0, f.raise_m], hand.axes)
                for side, hand in under.items()
            }
            yield both(0.5, raised, watched=())
            if edge_is_up(self.task, self._landmarks(row)) or row.elapsed_s > LATEST_RETRY_S:
                return
            yield both(0.3, grip=f.open, watched=())
            first = False

    def _carry(self, row: Row) -> Iterator[Move]:
        """Over the middle in half a circle, hands turning as the edge does, and down.

        Higher up they would drag the lower half along.
        """
        f, half = self.figures, cast(FoldTowel, self.task).towel.size_m[1] / 2
        for turn in f.arc_rad:
            there = self._there(
                row,
                half * (1 + np.cos(turn)),
                half * np.sin(turn) + f.arc_above_m,
                f.lean_rad * np.cos(turn),
            )
            yield both(0.7, {side: row.straight(side, *there[side]) for side in SIDES}, watched=())
        there = self._there(row, f.short_m, f.lay_m, -f.lean_rad)
        yield both(0.5, {side: row.straight(side, *there[side]) for side in SIDES}, watched=())

    def _here(self, row: Row, inwards: float, higher: float = 0.0) -> dict[str, Hand]:
        """Where the hands are for the near edge: so far in over it, and higher than to take it."""
        f, ends = self.figures, self._landmarks(row)[[0, 2], 0]
        hands = self._at(ends[0], ends[1], inwards, 0.0, f.lean_rad)
        for hand, end in zip(hands.values(), ends, strict=True):
            hand.place[2] = max(TABLE_TOP_M + f.low_m, end[2] + f.above_m) + higher
        return hands

    def _there(self, row: Row, before: float, height: float, lean: float) -> dict[str, Hand]:
        """Where they are for the far edge: so far before it."""
        left, right = self._landmarks(row)[[0, 2], 2]
        return self._at(left, right, -before, height, lean)

    def _at(
        self,
        left: Float[np.ndarray, "3"],
        right: Float[np.ndarray, "3"],
        along: float,
        height: float,
        lean: float,
    ) -> dict[str, Hand]:
        """Both hands at an edge.

        Args:
            left: the edge's left end (m).
            right: its right end.
            along: how far from the edge, away from the near one (m).
            height: above the table (m).
            lean: how far the fingers point that way (rad from straight down).
        """
        way, across = directions(left, right)
        yaw, across = float(np.arctan2(way[1], way[0])), along * across
        spots = {
            "left": left[:2] + self.figures.inset_m * way + across,
            "right": right[:2] - self.figures.inset_m * way + across,
        }
        return {
            side: Hand(np.array([*spot, TABLE_TOP_M + height]), turned(yaw, leaning(side, lean)))
            for side, spot in spots.items()
        }

    def _landmarks(self, row: Row) -> Float[np.ndarray, "3 3 3"]:
        return landmarks_of(self.task, row)


def landmarks_of(task: Task, row: Row) -> Float[np.ndarray, "3 3 3"]:
    """What is seen of the towel now: see `FoldTowel.landmarks`."""
    return np.asarray(cast(FoldTowel, task).landmarks(row.view))


def edge_is_up(task: Task, landmarks: Float[np.ndarray, "3 3 3"]) -> bool:
    """Whether both ends of the near edge are seen in the air."""
    lying = TABLE_TOP_M + 2 * cast(FoldTowel, task).rod_m
    return bool(landmarks[[0, 2], 0, 2].min() > lying + 0.016)


def directions(
    left: Float[np.ndarray, "3"], right: Float[np.ndarray, "3"]
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """Along an edge to the right, and away from it over the towel."""
    way = (right - left)[:2] / np.linalg.norm((right - left)[:2])
    return way, np.array([-way[1], way[0]])


def leaning(side: str, lean: float) -> Float[np.ndarray, "3 3"]:
    """A hand pointing down and by so much to positive y, fingers closing in that plane."""
    cos, sin = np.cos(lean), np.sin(lean)
    return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ DOWN[side]
