"""Scripted teachers: one generator per episode says where the hands go next, from what is seen then.

A script yields `Move`s. Between two yields both arms follow a minimum-jerk path; when a move has ended
the script goes on and may look again, so it can aim at what has slipped and repeat what has failed.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.spatial.transform import Rotation

from regrasp.assets import SIDES
from regrasp.envs import Task, View
from regrasp.errors import InputError
from regrasp.rl.experts.ik import Reach, between

CORRECTION_PER_S = 4.0
"""Rate at which a visible error of a joint is corrected."""
STILL_RAD_S = 0.04
"""A joint slower than this shows its sag, not its lag."""
KNOTS = 9
"""Points of a move's path, its start included."""


@dataclass(frozen=True)
class Manner:
    """How a teacher moves. Chosen before any cloning, never tuned after."""

    slip_m: float = 0.003
    """Standard deviation of where an object is grasped, each axis."""
    meet_spread_m: float = 0.01
    """Standard deviation of where the arms meet, each axis."""
    pace_spread: float = 0.1
    """An episode is slower or faster by a factor up to this."""
    pause_s: float = 0.3
    """Pauses last up to this."""
    tremble_rad: float = 0.003
    """Standard deviation of a slow tremble on every arm joint."""


HUMAN = Manner()
FLAWLESS = Manner(0.0, 0.0, 0.0, 0.0, 0.0)
"""Without slips and pauses: how fast the same plan goes."""


class Pose(NamedTuple):
    """Where one arm should be."""

    angles: Float[np.ndarray, " joints"]
    """Joint angles (rad)."""
    extra: Float[np.ndarray, " joints"]
    """What the command needs on top for the nominal arm to rest there against gravity (rad)."""


def from_angles(angles: Sequence[float] | Float[np.ndarray, " joints"]) -> Pose:
    """A pose to start a search from (rad)."""
    return Pose(np.array(angles, float), np.zeros(len(angles)))


@dataclass(frozen=True)
class Move:
    """What happens next; what is not named stays as it is."""

    seconds: float
    """How long it takes at pace 1; 0 or less: it is left out."""
    left: Pose | Sequence[Pose] | None = None
    """Where the left arm goes; of several poses, through all of them without stopping."""
    right: Pose | Sequence[Pose] | None = None
    left_grip: float | None = None
    """Opening of the left gripper at the end, 0..1."""
    right_grip: float | None = None
    watched: tuple[str, ...] = SIDES
    """Arms whose visible sag is corrected meanwhile. Two arms on one object are not: they would fight."""


def both(
    seconds: float,
    ways: Mapping[str, Pose | Sequence[Pose]] | None = None,
    grip: float | None = None,
    watched: tuple[str, ...] = SIDES,
) -> Move:
    """Both hands do the same at the same time; `ways` are by side."""
    ways = ways or {}
    left, right = ways.get("left"), ways.get("right")
    return Move(seconds, left, right, left_grip=grip, right_grip=grip, watched=watched)


class Row:
    """One episode as its script sees it."""

    def __init__(self, expert: "ScriptedExpert", index: int, seed: int):
        self._expert, self._index = expert, index
        self.rng = np.random.default_rng(seed)
        """Of this episode's slips and pauses."""
        self.pace = 1 + self.rng.uniform(-1, 1) * expert.manner.pace_spread
        """Factor on every duration."""

    @property
    def view(self) -> View:
        """What is seen now: NumPy arrays of this row."""
        i = self._index
        return jax.tree.map(lambda x: np.asarray(x[i], float), self._expert.seen)

    def position(self, body: str) -> Float[np.ndarray, "3"]:
        """Where a watched body is seen now (m)."""
        return np.asarray(self.view.body_pos[body])

    def rotation(self, body: str) -> Float[np.ndarray, "3 3"]:
        """The axes of a watched body, as columns."""
        w, *xyz = np.asarray(self.view.body_quat[body])
        return Rotation.from_quat([*xyz, w]).as_matrix()

    @property
    def elapsed_s(self) -> float:
        """Since the start of the episode."""
        return self._expert.step * self._expert.task.control_dt_s

    def pause(self) -> float:
        """A random pause in the teacher's manner (s)."""
        return self.rng.uniform(0, 1) * self._expert.manner.pause_s

    def slip(self) -> Float[np.ndarray, "3"]:
        """A random error of a grasp (m)."""
        return self.rng.normal(0, 1, 3) * self._expert.manner.slip_m

    def bound(self, side: str) -> Float[np.ndarray, " joints"]:
        """Joint angles at which an arm's present move ends (rad)."""
        return self._expert.bound(self._index, side)

    def home(self, side: str) -> Pose:
        """The pose at which episodes start."""
        reach = self._expert.reach[side]
        return Pose(reach.home, reach.command(reach.home) - reach.home)

    def pose(
        self,
        side: str,
        position: Float[Any, "3"],
        rotation: Float[np.ndarray, "3 3"],
        near: Pose | None = None,
    ) -> Pose:
        """The pose that puts a gripper somewhere in the world frame.

        Args:
            side: left or right.
            position: of the gripper site (m).
            rotation: its axes as columns; see `Reach`.
            near: a pose to start the search from; where the arm is bound now, by default.

        Raises:
            InputError: that pose is of an arm with other joints.
        """
        reach = self._expert.reach[side]
        start = near.angles if near is not None else self.bound(side)
        if len(start) != len(reach.home):
            raise InputError(
                f"the expert's poses have {len(start)} joint angles, the arm of workcell "
                f"{self._expert.task.cell} has {len(reach.home)}: give the figures of the expert that end in "
                "_rad, such as over_rad, in its table"
            )
        angles, miss_m = reach.solve(np.asarray(position, float), rotation, start)
        self._expert.miss_m = max(self._expert.miss_m, miss_m)
        return Pose(angles, reach.command(angles) - angles)

    def straight(
        self,
        side: str,
        position: Float[Any, "3"],
        rotation: Float[np.ndarray, "3 3"],
        points: int = 4,
    ) -> list[Pose]:
        """Poses along the straight line from where the arm is bound now to somewhere else."""
        reach = self._expert.reach[side]
        last = from_angles(self.bound(side))
        start, turn = reach.place(last.angles)
        poses: list[Pose] = []
        for share in np.arange(1, points + 1) / points:
            where = start + share * (np.asarray(position, float) - start)
            last = self.pose(side, where, between(turn, rotation, share), last)
            poses.append(last)
        return poses


class ScriptedExpert(ABC):
    """Plays one script per row.

    The command allows for the sag and the lag of the nominal arm. What is left is seen and corrected,
    slowly, while the arms are about to stand still, as a person would.

    Attributes:
        miss_m: how far off a pose was at most that no arm gets to.
    """

    def __init__(self, task: Task, manner: Manner = HUMAN):
        self.task, self.manner = task, manner
        self.miss_m = 0.0
        cell = task.workcell()
        # A servo trails a moving target by (damping + kv) / kp seconds; the command runs ahead by as much.
        servos = [joint.servo for joint in cell.arm.joints[:-1]]
        self._lead = np.array([*((s.damping + s.kv) / s.kp for s in servos), 0.0] * 2)
        self._size = cell.action_size
        self._grips = dict(zip(SIDES, cell.gripper_columns, strict=True))
        self._arms = {side: slice(end - len(servos), end) for side, end in self._grips.items()}

    @abstractmethod
    def script(self, row: Row) -> Iterator[Move]:
        """The moves of one episode; after the last one the arms hold still."""

    @cached_property
    def reach(self) -> dict[str, Reach]:
        """Inverse kinematics of either arm."""
        return {side: Reach(self.task.workcell(), side) for side in SIDES}

    def start(self, view: View, seeds: Int[np.ndarray, " rows"]) -> None:
        """Begin an episode in every row.

        Args:
            view: all rows, at the start of their episodes.
            seeds: one integer per row, for slips and pauses.
        """
        rows = len(seeds)
        self.step, self.seen = 0, view
        home = np.zeros((2, self._size))
        for side in SIDES:
            angles = self.reach[side].home
            home[:, self._arms[side]] = angles, self.reach[side].command(angles) - angles
            home[0, self._grips[side]] = np.asarray(view.joint_pos)[0, self._grips[side]]
        self._path = np.broadcast_to(home, (rows, KNOTS, 2, self._size)).copy()
        self._began, self._steps = np.zeros(rows), np.zeros(rows)
        self._watched = np.zeros((rows, self._size), bool)
        self._where = self._path[:, -1, 0].copy()
        self._correction = np.zeros((rows, self._size))
        scripts = [Row(self, i, int(seed)) for i, seed in enumerate(seeds)]
        joints = self._size - len(SIDES)
        tremble = np.stack([smooth_noise(row.rng, self._horizon, joints) for row in scripts])
        self._tremble = tremble * self.manner.tremble_rad
        self._paces = [row.pace for row in scripts]
        self._scripts: list[Iterator[Move] | None] = [self.script(row) for row in scripts]

    def act(self, step: int, view: View) -> Float32[np.ndarray, "rows action"]:
        """The actions of one control step."""
        self.step, self.seen = step, view
        for row in np.flatnonzero(step >= self._began + self._steps).tolist():
            self._next(row)
        planned, extra = self._planned(step + 1)
        velocity = (planned - self._where) / self.task.control_dt_s
        self._where = planned
        still = np.maximum(np.abs(velocity), np.abs(np.asarray(view.joint_vel))) < STILL_RAD_S
        error = np.where(still & self._watched, planned - np.asarray(view.joint_pos), 0)
        self._correction += CORRECTION_PER_S * self.task.control_dt_s * error
        extra[:, np.r_[*self._arms.values()]] += self._tremble[:, min(step, self._horizon - 1)]
        return (planned + extra + self._lead * velocity + self._correction).astype(np.float32)

    def bound(self, row: int, side: str) -> Float[np.ndarray, " joints"]:
        """Joint angles at which a row's present move ends (rad)."""
        return self._path[row, -1, 0, self._arms[side]].copy()

    @property
    def _horizon(self) -> int:
        return round(self.task.horizon_s / self.task.control_dt_s)

    def _next(self, row: int) -> None:
        """Take moves from a row's script until one lasts beyond now."""
        self._path[row, :] = self._path[row, -1]
        script = self._scripts[row]
        while script is not None and self.step >= self._began[row] + self._steps[row]:
            move = next(script, None)
            if move is None:
                self._scripts[row] = script = None
            elif move.seconds > 0:
                # Durations add up without rounding; only the sampling is in whole steps.
                self._began[row] += self._steps[row]
                self._steps[row] = move.seconds * self._paces[row] / self.task.control_dt_s
                self._set_path(row, move)

    def _set_path(self, row: int, move: Move) -> None:
        path = self._path[row]
        path[:] = path[-1]
        share = np.linspace(0, 1, KNOTS)
        for side in SIDES:
            way = getattr(move, side)
            if way is not None:
                ends = [way] if isinstance(way, Pose) else list(way)
                knots = np.stack([path[0, :, self._arms[side]].T.ravel(), *map(_flat, ends)])
                i = np.linspace(0, 1, len(knots))
                spread = np.stack([np.interp(share, i, k) for k in knots.T], axis=1)
                path[:, :, self._arms[side]] = spread.reshape(KNOTS, -1, 2).transpose(0, 2, 1)
            grip = getattr(move, f"{side}_grip")
            if grip is not None:
                column = self._grips[side]
                path[:, 0, column] = path[0, 0, column] + share * (grip - path[0, 0, column])
            self._watched[row, self._arms[side]] = side in move.watched

    def _planned(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the joints should be after `step` control steps, and what to add to get them there."""
        s = np.clip((step - self._began) / np.maximum(self._steps, 1e-9), 0, 1)
        # Rest-to-rest minimum jerk (Flash and Hogan, 1985) along the path.
        along = s**3 * (10 - 15 * s + 6 * s * s) * (KNOTS - 1)
        knot = np.minimum(along.astype(int), KNOTS - 2)
        rows = np.arange(len(s))
        share = (along - knot)[:, None, None]
        point = (1 - share) * self._path[rows, knot] + share * self._path[rows, knot + 1]
        return point[:, 0].copy(), point[:, 1].copy()


def turned(angle: float, rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """A rotation turned about the vertical by an angle (rad)."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ rotation


def _flat(pose: Pose) -> np.ndarray:
    return np.stack([pose.angles, pose.extra], axis=1).ravel()


def smooth_noise(rng: np.random.Generator, steps: int, size: int) -> np.ndarray:
    """Unit-variance noise with a correlation time of about 0.2 s at 50 Hz."""
    decay, out = 0.9, np.zeros((steps, size))
    value = rng.normal(size=size)
    for step in range(steps):
        value = decay * value + np.sqrt(1 - decay * decay) * rng.normal(size=size)
        out[step] = value
    return out
