"""A scripted teacher of transfer_cube."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from regrasp.rl.experts.figures import Reaching, figures_of
from regrasp.rl.experts.ik import DOWN, LEVEL
from regrasp.rl.experts.script import (
    HUMAN,
    Manner,
    Move,
    Row,
    ScriptedExpert,
    from_angles,
    turned,
)


@dataclass(frozen=True)
class Figures(Reaching):
    """Where the hands go, in the ALOHA workcell; the table of another one says what differs there."""

    above_m: float = 0.1
    """How far above the grasp a hand comes down from, and lifts to."""
    grasp_height_m: float = 0.012
    """Height of the gripper site at the grasp."""
    aside_m: float = 0.0
    """How far the hand stands off the cube's middle there, against the way its fingers close: where only one
    of them moves, the other one needs room too."""
    open: float = 1.0
    """Opening that a cube is approached with."""
    grip: float = 0.3
    """Opening that presses on the cube."""
    meet_m: tuple[float, float, float] = (0.0, -0.019, 0.28)
    """Where the arms meet."""
    before_m: float = 0.06
    """How far from there the left hand waits."""
    beyond_m: float = 0.007
    """How far a gripper site reaches beyond the cube's centre when the arms meet."""
    closing: float = -1.0
    """Which way along z the giving hand's fingers close, which decides how it is turned; it leaves the other
    way."""
    away_m: float = 0.12
    """How far the giving hand leaves."""


class TransferCubeExpert(ScriptedExpert):
    """The right hand picks the cube up and gives it; the left hand takes it.

    The giving hand points at the left arm, its fingers close along z; the left ones close across them, along
    y. An arm errs most in height, which matters least that way.
    """

    def __init__(self, task: Any, manner: Manner = HUMAN):
        super().__init__(task, manner)
        self.figures = figures_of("transfer_cube", task, Figures)
        z = self.figures.closing
        self._giving = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, z], [0.0, z, 0.0]])

    def script(self, row: Row) -> Iterator[Move]:
        f = self.figures
        over = from_angles(f.over_rad)
        cube = row.position("cube")
        down = self._nearest_hand(row.rotation("cube"), over.angles)
        slip = row.slip()
        at_cube = np.array([*(cube + slip - f.aside_m * down[:, 1])[:2], f.grasp_height_m])
        meet = f.meet_m + row.rng.normal(0, 1, 3) * self.manner.meet_spread_m

        above = row.pose("right", at_cube + [0, 0, f.above_m], down, near=over)
        grasp = row.pose("right", at_cube, down, near=above)
        yield Move(1.0, right=above, right_grip=f.open, left_grip=0.3 * f.open)
        yield Move(0.6, right=grasp, left_grip=0.6 * f.open)
        yield Move(0.2 + row.pause())
        before = row.pose("left", meet - [f.before_m, 0, 0], LEVEL["left"])
        yield Move(0.35, right_grip=f.grip, left=before, left_grip=f.open)
        yield Move(0.5, right=above)
        ready = row.home("right")
        giving = row.pose("right", meet - [f.beyond_m, 0, 0], self._giving, near=ready)
        yield Move(1.1, right=giving)
        yield Move(0.4 + row.pause())
        # The left hand aims at where the cube is now. The right one keeps still from here on; with both on
        # the cube nobody looks.
        seen = row.position("cube")
        take = row.pose("left", seen + [f.beyond_m, 0, 0], LEVEL["left"])
        yield Move(1.15, left=take, watched=())
        yield Move(0.25 + row.pause(), watched=())
        yield Move(0.35, left_grip=f.grip, watched=())
        yield Move(0.35, right_grip=f.open, watched=())
        away = meet + [f.away_m, 0, -0.02 * f.closing]
        leave = row.pose("right", away, self._giving, near=giving)
        yield Move(0.6, right=leave, watched=())

    def _nearest_hand(
        self, cube: Float[np.ndarray, "3 3"], over: Float[np.ndarray, " joints"]
    ) -> Float[np.ndarray, "3 3"]:
        """Of the four hands that point down and close on two faces of the cube, that nearest to a pose."""
        _, wanted = self.reach["right"].place(over)
        yaw = float(np.arctan2(cube[1, 0], cube[0, 0]))
        hands = [turned(yaw + quarter * np.pi / 2, DOWN["right"]) for quarter in range(4)]
        return max(hands, key=lambda hand: float(np.trace(wanted.T @ hand)))
