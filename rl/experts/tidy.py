"""A scripted teacher of tidy: each hand clears its own half, and they take turns over the tray."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.spatial import KDTree

from regrasp.assets import SIDES
from regrasp.assets.things import Thing
from regrasp.envs import View
from regrasp.envs.tasks.parts import TABLE_TOP_M
from regrasp.envs.tasks.tidy import WALL_M, Tidy
from regrasp.rl.experts.grasping import HALF_WIDTH_M, THICKNESS_M, Grasp, cloud, grasps, surface
from regrasp.rl.experts.ik import DOWN
from regrasp.rl.experts.script import HUMAN, Manner, Move, Pose, Row, ScriptedExpert, turned

HIGH_M = 0.11
"""Height of the gripper site above the table on the way."""
HOVER_M, LIFT_M = 0.008, 0.065
"""It stops this far above the top of a thing, to aim, and carries a thing this high."""
FEEL_M, BUMP_M = 0.006, 0.007
"""On its way down it makes sure, this far below the top, that it is not this much too high: on something."""
TRAIL_S = 0.1
"""A hand trails what it is told by so much: before that it is not where it is to close."""
TURN_M = 0.004
"""What a wrist turned by 1 rad costs: what is round can be taken from any side, and is taken from one."""
NEAR = 0.4
"""What it costs to take a thing further from the arm, per distance: of two ends that are alike it is always
the same one, which can be foreseen."""
CROWDED_M = 0.03
"""Where there is no room, things are let go this much higher."""
DROP_M = 0.007
"""What is put down is let go this far above the floor of the tray, and falls."""
SQUEEZE_M = 0.007
"""How much narrower the fingers are told to be than what they hold."""
OPEN_M = 0.012
"""How far the tips open around what they let go, both together."""
FAR_M = 0.34
"""Things further than this from the middle, in x, are too near to the arm's own base."""
LEAVING_M, NARROW_M = 0.10, 0.02
"""A hand that is so far from the middle, in x, lets the other one come over the tray; so far outside of
the tray it needs the same permission."""
SLOTS_X_M = (0.0525, 0.04, 0.065, 0.025, 0.01)
SLOTS_Y_M = (
    0.105,
    -0.035,
    0.035,
    -0.105,
    0.07,
    0.0,
    -0.07,
    0.0875,
    -0.0875,
    0.05,
    -0.05,
    0.018,
    -0.018,
)
"""Where things may go in a hand's half of the tray, from its middle: outwards and along y, best first."""
GRAIN_M = 0.004
"""Distance of the points that stand for what is put down."""
ROOM_M = 0.006
"""Room around a thing that is put down, and around the tips; more is no better."""
GAP_M = 0.0154
"""Between the tips when the fingers are at 0, negative: see the arm's tips."""


@dataclass
class Board:
    """What the two hands of an episode tell each other."""

    over_tray: str | None = None
    """Whose turn it is over the tray."""
    taken: dict[str, str] = field(default_factory=dict)
    """Which hand has or wants which thing."""


class TidyExpert:
    """Two hands with a script each, which know of each other by a board."""

    def __init__(self, task: Tidy, manner: Manner = HUMAN):
        self.task, self.manner = task, manner
        self._hands = {side: _Hand(task, manner, side) for side in SIDES}
        self._hands["right"].reach = self._hands["left"].reach

    def start(self, view: View, seeds: Int[np.ndarray, " rows"]) -> None:
        """Begin an episode in every row."""
        boards = [Board() for _ in seeds]
        view = jax.tree.map(np.asarray, view)
        for i, hand in enumerate(self._hands.values()):
            hand.boards = boards
            # Seeds have 63 bits: twice as much needs the sign's place too.
            hand.start(view, 2 * np.asarray(seeds, np.uint64) + np.uint64(i))

    def act(self, step: int, view: View) -> Float32[np.ndarray, "rows action"]:
        """The actions of one control step."""
        view = jax.tree.map(np.asarray, view)
        left, right = (self._hands[side].act(step, view) for side in SIDES)
        half = left.shape[1] // 2
        return np.concatenate([left[:, :half], right[:, half:]], axis=1)


class _Hand(ScriptedExpert):
    """One hand; the other one's columns of its actions mean nothing."""

    task: Tidy
    boards: list[Board]

    def __init__(self, task: Tidy, manner: Manner, side: str):
        super().__init__(task, manner)
        self.side, self.sign = side, 1 if side == "right" else -1

    def script(self, row: Row) -> Iterator[Move]:
        return _Work(self, row, self.boards[row._index]).moves()


class _Work:
    """One hand in one episode."""

    def __init__(self, hand: _Hand, row: Row, board: Board):
        self.hand, self.row, self.board, self.task = hand, row, board, hand.task
        self.tries: dict[str, int] = {}

    def moves(self) -> Iterator[Move]:
        yield Move(self.row.pause())
        away = False
        while True:
            chosen = self._choose()
            if chosen is None:
                if not away:
                    yield self._move(self.row.home(self.hand.side), 0.9, 0.3)
                    away = True
                yield Move(0.4)
                continue
            away = False
            thing, grasp = chosen
            self.board.taken[thing.name] = self.hand.side
            yield from self._fetch(thing, grasp)
            self.board.taken.pop(thing.name, None)
            self._leave()

    def _fetch(self, thing: Thing, grasp: Grasp) -> Iterator[Move]:
        """Take a thing and put it into the tray; give up where that goes wrong."""
        self.tries[thing.name] = self.tries.get(thing.name, 0) + 1
        held = yield from self._pick(thing, grasp)
        if held:
            yield from self._turn()
            yield from self._put(thing, grasp)

    def _pick(self, thing: Thing, grasp: Grasp) -> Generator[Move, None, bool]:
        """Returns whether the thing has been lifted."""
        site, yaw = grasp.pos_m + self.row.slip() * [1, 1, 0.3], grasp.yaw_rad
        if self._near_tray(site):
            yield from self._turn()
        top = self.row.position(thing.name)[2] + thing.extends(self.row.rotation(thing.name)[2])
        high = self._pose([*site[:2], TABLE_TOP_M + HIGH_M], yaw)
        hover = self._pose([*site[:2], top + HOVER_M], yaw, high)
        wide = self._opening(grasp.width_m + 2 * grasp.room_m)
        yield self._move([high, hover], self._seconds(high) + 0.3, wide)
        # Slowly, for joints lag differently, and slower after a failure. Nobody pushes on after a bump.
        slower = 0.1 * self.tries[thing.name]
        for height in sorted({max(site[2], top - FEEL_M), site[2]}, reverse=True):
            stage = self._pose([*site[:2], height], yaw, hover)
            yield replace(self._move(stage, 0.3 + slower), watched=())
            if self._site()[2] > height + BUMP_M:
                yield self._move(hover, 0.4)
                return False
        yield Move(TRAIL_S)
        yield self._move(None, 0.35, self._opening(grasp.width_m - 2 * SQUEEZE_M))
        yield self._move(self._pose(site + [0, 0, LIFT_M], yaw, hover), 0.5)
        return bool(np.linalg.norm(self._offset(thing)) <= self.task.held_m)

    def _put(self, thing: Thing, grasp: Grasp) -> Iterator[Move]:
        """The thing lies in the hand as it does now."""
        slot, yaw, free = self._slot(thing, grasp)
        held = turned(yaw - grasp.yaw_rad, np.eye(3)) @ self._offset(thing)
        hangs = thing.extends(-self.row.rotation(thing.name)[2]) - held[2]
        # Where there is no room it falls on top of something, from higher.
        low = self.task.floor_m + hangs + DROP_M + (CROWDED_M if free < 0.001 else 0)
        x, y = slot - held[:2]
        over = self._pose([x, y, low + LIFT_M], yaw)
        yield self._move(over, self._seconds(over))
        yield self._move(self._pose([x, y, low], yaw, over), 0.5)
        yield self._move(None, 0.25, self._opening(grasp.width_m + OPEN_M))
        yield self._move(over, 0.4)

    # ---- what is seen ----

    def _choose(self) -> tuple[Thing, Grasp] | None:
        """The largest thing of this half, and how it is taken; what was failed with comes later.

        An order that can be seen: which of several is easiest is a matter of millimetres, and a policy that
        cannot foresee it learns to go on to wherever the hand is bound.
        """
        view = self.row.view
        best: tuple[float, Thing, Grasp] | None = None
        for thing in self.task.things:
            pos = np.asarray(view.body_pos[thing.name])
            mine = 0 <= pos[0] * self.hand.sign < FAR_M
            if not mine or self._is_in(pos) or thing.name in self.board.taken:
                continue
            others = [self._walls]
            for other in self.task.things:
                at = np.asarray(view.body_pos[other.name])
                if other is not thing and np.linalg.norm(at - pos) < 0.15:
                    others.append(at + surface(other) @ self.row.rotation(other.name).T)
            ways = grasps(
                thing, pos, self.row.rotation(thing.name), np.concatenate(others), self._ground(pos)
            )
            if not ways:
                continue
            tries = self.tries.get(thing.name, 0)
            ways.sort(key=self._cost)
            grasp = ways[min(2 * tries, len(ways) - 1)]
            cost = 0.02 * tries - thing.reach_m
            if best is None or cost < best[0]:
                best = cost, thing, grasp
        return best and best[1:]

    def _cost(self, way: Grasp) -> float:
        """Of a grasp, as this hand sees it: low is good."""
        turn = abs(self._wrist(way.pos_m, way.yaw_rad)[1])
        return way.cost_m + TURN_M * turn + NEAR * float(np.linalg.norm(way.pos_m[:2] - self._base))

    @cached_property
    def _walls(self) -> Float[np.ndarray, "n 3"]:
        """Points on the walls of the tray."""
        (x, y), rise = self.task.tray_half_m, self.task.wall_m / 2
        middle = np.array([0, self.task.tray_y_m, TABLE_TOP_M + rise])
        side = cloud((WALL_M / 2, y, rise), 0)
        end = cloud((x, WALL_M / 2, rise), 0)
        out = np.array([[x + WALL_M / 2, 0, 0], [0, y + WALL_M / 2, 0]])
        parts = [side + out[0], side - out[0], end + out[1], end - out[1]]
        return middle + np.concatenate(parts)

    def _over_tray(self, pos: Float[np.ndarray, "_"]) -> bool:
        away = np.abs(pos[:2] - [0, self.task.tray_y_m])
        return bool((away <= self.task.tray_half_m).all())

    def _is_in(self, pos: Float[np.ndarray, "3"]) -> bool:
        return self._over_tray(pos) and pos[2] <= self.task.floor_m + self.task.height_m

    def _ground(self, pos: Float[np.ndarray, "3"]) -> float:
        return self.task.floor_m if self._over_tray(pos) else TABLE_TOP_M

    def _near_tray(self, pos: Float[np.ndarray, "3"]) -> bool:
        return abs(pos[0]) < self.task.tray_half_m[0] + NARROW_M

    def _offset(self, thing: Thing) -> Float[np.ndarray, "3"]:
        """From the gripper site to a thing, now (m)."""
        return self.row.position(thing.name) - self._site()

    def _site(self) -> Float[np.ndarray, "3"]:
        """Where the gripper is (m)."""
        return np.asarray(self.row.view.site_pos[f"{self.hand.side}/gripper"])

    def _slot(self, thing: Thing, grasp: Grasp) -> tuple[Float[np.ndarray, "2"], float, float]:
        """Where in this hand's half of the tray there is room for a thing as it hangs in the hand.

        Returns:
            Where to put it (m), the yaw of the hand (rad), and how much room there is around (m).
        """
        around = [self._walls]
        for other in self.task.things:
            at = self.row.position(other.name)
            if other is not thing and self._over_tray(at):
                around.append(at + surface(other) @ self.row.rotation(other.name).T)
        tree = KDTree(np.concatenate(around)[:, :2])
        own = surface(thing) @ self.row.rotation(thing.name).T
        # The tips, when they let go, in the frame of the hand.
        tip = grasp.width_m / 2 + OPEN_M / 2 + THICKNESS_M
        tips = [[s * HALF_WIDTH_M, t * tip, 0] for s in (-1, 0, 1) for t in (-1, 1)]
        tips = np.array(tips) @ turned(grasp.yaw_rad, np.eye(3)).T - self._offset(thing)
        best, turn, most = np.zeros(2), 0.0, -np.inf
        for yaw in (0.0, np.pi / 2):
            shape = np.concatenate([own, tips]) @ turned(yaw - grasp.yaw_rad, np.eye(3)).T
            shape = np.unique(np.round(shape[:, :2] / GRAIN_M), axis=0) * GRAIN_M
            for out, along in product(SLOTS_X_M, SLOTS_Y_M):
                slot = np.array([self.hand.sign * out, self.task.tray_y_m + along])
                inside = np.abs(slot + shape - [0, self.task.tray_y_m]) < self.task.tray_half_m
                # Points beyond the walls are not near them, but not inside either.
                free = tree.query(slot + shape)[0].min() if inside.all() else -1.0
                if free > most:
                    best, turn, most = slot, yaw, float(free)
                if most >= ROOM_M:
                    return best, turn, most
        return best, turn, most

    # ---- how it moves ----

    def _turn(self) -> Iterator[Move]:
        """Wait until the other hand has left the tray."""
        while self.board.over_tray not in (None, self.hand.side) or self._other_is_near():
            yield Move(0.04)
        self.board.over_tray = self.hand.side

    def _other_is_near(self) -> bool:
        """Whether the other hand is still about to leave the tray."""
        other = "left" if self.hand.side == "right" else "right"
        site = np.asarray(self.row.view.site_pos[f"{other}/gripper"])
        return self.board.over_tray is None and -self.hand.sign * site[0] < LEAVING_M

    def _leave(self) -> None:
        if self.board.over_tray == self.hand.side:
            self.board.over_tray = None

    def _move(
        self, pose: Pose | list[Pose] | None, seconds: float, opening: float | None = None
    ) -> Move:
        side = self.hand.side
        return Move(seconds, **{side: pose, f"{side}_grip": opening})  # pyright: ignore

    def _seconds(self, pose: Pose) -> float:
        """How long a way takes, from where the arm is bound now."""
        bound = self.hand.bound(self.row._index, self.hand.side)
        turn = np.abs(pose.angles - bound).max()
        return float(np.clip(0.35 + 0.6 * turn, 0.4, 1.3))

    def _pose(self, position: Any, yaw: float, near: Pose | None = None) -> Pose:
        """The gripper pointing down, its wrist turned as little as it can be; the fingers are alike."""
        side = self.hand.side
        bearing, turn = self._wrist(position, yaw)
        start = (near.angles if near is not None else self._folded()).copy()
        start[0], start[3], start[5] = bearing, 0.0, -turn
        start[4] = np.pi / 2 - start[1] - start[2]
        return self.row.pose(
            side, position, turned(bearing + turn, DOWN[side]), Pose(start, np.zeros(6))
        )

    def _wrist(self, position: Any, yaw: float) -> tuple[float, float]:
        """Where the arm points for that, and by how much its wrist is turned then (rad)."""
        way = (np.asarray(position)[:2] - self._base) * -self.hand.sign
        bearing = float(np.arctan2(way[1], way[0]))
        return bearing, (yaw - bearing + np.pi / 2) % np.pi - np.pi / 2

    @cached_property
    def _base(self) -> Float[np.ndarray, "2"]:
        """Where the arm stands (m)."""
        reach = self.hand.reach[self.hand.side]
        return np.array([0.469 * self.hand.sign, reach.place(reach.home)[0][1]])

    def _folded(self) -> Float[np.ndarray, "6"]:
        return self.hand.reach[self.hand.side].home

    def _opening(self, gap_m: float) -> float:
        """The opening at which the tips are this far apart."""
        arm = self.task.workcell().arm
        return float(np.clip(arm.opening((gap_m + GAP_M) / 2), 0.0, 1.0))
