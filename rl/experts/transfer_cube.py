"""A scripted teacher of transfer_cube: waypoints, inverse kinematics, human-like slips and pauses."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float32, Int

from regrasp.envs.tasks.transfer_cube import TransferCube
from regrasp.envs.view import View
from regrasp.rl.experts.ik import Reach

DOWN_RIGHT = np.array([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
"""Right gripper pointing down, fingers closing along y (axes as columns)."""
LEVEL_RIGHT = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]])
"""Right gripper pointing at the left arm, fingers closing along z."""
LEVEL_LEFT = np.eye(3)
"""Left gripper pointing at the right arm, fingers closing along y, across the right ones: an arm errs most in
height, which matters least that way."""
CORRECTION_PER_S = 4.0
"""Rate at which a visible error is corrected."""
STILL_RAD_S = 0.04
"""A joint slower than this shows its sag, not its lag."""


BEYOND_M = 0.007
"""How far a gripper site reaches beyond the cube's centre when the arms meet."""
GRASP_HEIGHT_M = 0.012
"""Height of the gripper site at the grasp."""


@dataclass(frozen=True)
class Manner:
    """How a teacher moves. Chosen before any cloning, never tuned after."""

    slip_m: float = 0.003
    """Standard deviation of where the cube is grasped, each axis."""
    meet_spread_m: float = 0.01
    """Standard deviation of where the arms meet, each axis."""
    pace_spread: float = 0.1
    """An episode is slower or faster by a factor up to this."""
    pause_s: float = 0.3
    """Pauses at three moments last up to this."""
    tremble_rad: float = 0.003
    """Standard deviation of a slow tremble on every arm joint."""


HUMAN = Manner()
FLAWLESS = Manner(0.0, 0.0, 0.0, 0.0, 0.0)
"""Without slips and pauses: how fast the same plan goes."""


class TransferCubeExpert:
    """Plans whole episodes from the true state at their start."""

    def __init__(self, task: TransferCube, manner: Manner = HUMAN):
        self.task, self.manner = task, manner
        # A damped servo trails a moving target by damping / kp seconds; the command runs ahead by as much.
        servos = [joint.servo for joint in task.workcell().arm.joints[:-1]]
        self._lead = np.array([*(s.damping / s.kp for s in servos), 0.0] * 2)

    @cached_property
    def _reach(self) -> dict[str, Reach]:
        return {side: Reach(self.task.workcell(), side) for side in ("left", "right")}

    @cached_property
    def _over_table(self) -> Float[np.ndarray, "6"]:
        """Right arm angles with the gripper pointing down over the middle, tilted bit by bit."""
        right, angles = self._reach["right"], self._reach["right"].home
        for tilt in np.linspace(0.2, np.pi / 2, 8):
            c, s = np.cos(tilt), np.sin(tilt)
            pitch = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T
            angles, _ = right.solve(
                np.array([0.1, -0.019, 0.15]), pitch @ np.diag([-1.0, -1.0, 1.0]), angles
            )
        return angles

    def start(self, view: View, seeds: Int[np.ndarray, " rows"]) -> None:
        """Plan an episode for every row.

        Args:
            view: all rows, at the start of their episodes.
            seeds: one integer per row, for slips and pauses.
        """
        cubes = np.asarray(view.body_pos["cube"], float), np.asarray(view.body_quat["cube"], float)
        plans = [
            self._plan_one(position, quat, np.random.default_rng(int(seed)))
            for position, quat, seed in zip(*cubes, seeds, strict=True)
        ]
        self._where, self._extra, moments = (np.stack(part) for part in zip(*plans, strict=True))
        self._correction = np.zeros(self._where[:, 0].shape)
        self._approach, self._last_look = moments.T

    def act(self, step: int, view: View) -> Float32[np.ndarray, "rows action"]:
        """The actions of one control step.

        The plan allows for the sag and the lag of the nominal arm. What is left is seen and corrected,
        slowly, while the arms are about to stand still, as a person would.
        """
        for row in np.flatnonzero(self._approach == step).tolist():
            self._aim(row, step, np.asarray(view.body_pos["cube"][row], float))
        where, extra = self._where[:, step], self._extra[:, step]
        planned = (where - self._where[:, max(step - 1, 0)]) / self.task.control_dt_s
        still = np.maximum(np.abs(planned), np.abs(np.asarray(view.joint_vel))) < STILL_RAD_S
        # The right hand keeps still once the left one has taken aim; with both on the cube nobody looks.
        still[:, :7] &= (step < self._last_look)[:, None]
        still[:, 7:] &= (step < self._approach)[:, None]
        still[:, self.task.workcell().gripper_columns] = False
        error = np.where(still, where - np.asarray(view.joint_pos), 0)
        self._correction += CORRECTION_PER_S * self.task.control_dt_s * error
        return (where + extra + self._lead * planned + self._correction).astype(np.float32)

    def _plan_one(
        self, cube: np.ndarray, quat: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        """One row's plan.

        Returns:
            Where the joints should be at every step, what to add to the command to get them there, and the
            steps at which the left hand sets out for the cube and starts to close on it.
        """
        manner = self.manner
        slip = rng.normal(0, 1, 3) * manner.slip_m
        meet = np.array([0.0, -0.019, 0.28]) + rng.normal(0, 1, 3) * manner.meet_spread_m
        pace = 1 + rng.uniform(-1, 1) * manner.pace_spread
        pauses = rng.uniform(0, 1, 3) * manner.pause_s
        pose = self._poses(cube, slip, _yaw(quat), meet)
        # (seconds, right pose, right gripper, left pose, left gripper) reached at the end of each segment
        segments = [
            (1.0, "above", 1.0, "home", 0.3),
            (0.6, "grasp", 1.0, "home", 0.6),
            (0.2 + pauses[0], "grasp", 1.0, "home", 0.6),
            (0.35, "grasp", 0.3, "before", 1.0),
            (0.5, "above", 0.3, "before", 1.0),
            (1.1, "meet", 0.3, "before", 1.0),
            (0.4 + pauses[1], "meet", 0.3, "before", 1.0),
            (1.15, "meet", 0.3, "take", 1.0),
            (0.25 + pauses[2], "meet", 0.3, "take", 1.0),
            (0.35, "meet", 0.3, "take", 0.3),
            (0.35, "meet", 1.0, "take", 0.3),
            (0.6, "leave", 1.0, "take", 0.3),
        ]
        where, extra = self._follow(segments, pose, pace)
        ends = np.cumsum([seconds for seconds, *_ in segments]) * pace / self.task.control_dt_s
        moments = int(ends[6]), int(ends[8])
        tremble = _smooth_noise(rng, len(where), 12) * manner.tremble_rad
        extra[:, np.r_[0:6, 7:13]] += tremble
        return where, extra, moments

    def _aim(self, row: int, step: int, cube: np.ndarray) -> None:
        """Bend the left hand's way to where the cube is seen."""
        left, close = self._reach["left"], self._last_look[row]
        planned = self._where[row, close, :6]
        angles, _ = left.solve(cube + [BEYOND_M, 0, 0], LEVEL_LEFT, planned)
        share = np.clip((np.arange(len(self._where[row])) - step) / (close - step), 0, 1)
        self._where[row, :, :6] += share[:, None] * (angles - planned)

    def _poses(
        self, cube: np.ndarray, slip: np.ndarray, yaw: float, meet: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Waypoints of either arm: six angles, and what the nominal arm needs on top to rest there."""
        right, left = self._reach["right"], self._reach["left"]
        turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        down = turn @ DOWN_RIGHT
        at_cube = np.array([cube[0] + slip[0], cube[1] + slip[1], GRASP_HEIGHT_M])
        angles = {"home": left.home}
        angles["above"], _ = right.solve(at_cube + [0, 0, 0.10], down, self._over_table)
        angles["grasp"], _ = right.solve(at_cube, down, angles["above"])
        angles["meet"], _ = right.solve(meet - [BEYOND_M, 0, 0], LEVEL_RIGHT, right.home)
        angles["leave"], _ = right.solve(meet + [0.12, 0, 0.02], LEVEL_RIGHT, right.home)
        angles["take"], _ = left.solve(meet + [BEYOND_M, 0, 0], LEVEL_LEFT, left.home)
        angles["before"], _ = left.solve(meet + [-0.06, 0, 0], LEVEL_LEFT, left.home)
        sides = {"home": left, "take": left, "before": left}
        angles["right_home"] = right.home
        return {
            name: np.stack([q, sides.get(name, right).command(q) - q]) for name, q in angles.items()
        }

    def _follow(
        self, segments: list, pose: dict[str, np.ndarray], pace: float
    ) -> tuple[np.ndarray, np.ndarray]:
        steps = round(self.task.horizon_s / self.task.control_dt_s)
        arm = self.task.workcell().arm
        closed = float(arm.opening(arm.joints[-1].home))
        times, knots = [0.0], [_knot(pose["home"], closed, pose["right_home"], closed)]
        for seconds, right, right_grip, left, left_grip in segments:
            if seconds > 0:
                times.append(times[-1] + seconds * pace)
                knots.append(_knot(pose[left], left_grip, pose[right], right_grip))
        t = (np.arange(steps) + 1) * self.task.control_dt_s
        path = _min_jerk(np.array(times), np.array(knots), t)
        return path[:, 0], path[:, 1]


def _knot(left: np.ndarray, left_grip: float, right: np.ndarray, right_grip: float) -> np.ndarray:
    """Both arms' angles with openings in the first row, additions to the command in the second."""
    grips = np.array([[left_grip], [0.0]]), np.array([[right_grip], [0.0]])
    return np.concatenate([left, grips[0], right, grips[1]], axis=1)


def _min_jerk(times: np.ndarray, knots: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Rest-to-rest minimum-jerk motion through knots (Flash and Hogan, 1985), held after the last."""
    i = np.clip(np.searchsorted(times, t, side="right") - 1, 0, len(times) - 2)
    s = np.clip((t - times[i]) / (times[i + 1] - times[i]), 0, 1)[:, None, None]
    blend = s**3 * (10 - 15 * s + 6 * s * s)
    return knots[i] + (knots[i + 1] - knots[i]) * blend


def _smooth_noise(rng: np.random.Generator, steps: int, size: int) -> np.ndarray:
    """Unit-variance noise with a correlation time of about 0.2 s at 50 Hz."""
    decay, out = 0.9, np.zeros((steps, size))
    value = rng.normal(size=size)
    for step in range(steps):
        value = decay * value + np.sqrt(1 - decay * decay) * rng.normal(size=size)
        out[step] = value
    return out


def _yaw(quat: np.ndarray) -> float:
    """Yaw of the cube's nearest equivalent orientation, within 45 degrees (rad)."""
    w, _, _, z = quat
    yaw = 2 * np.arctan2(z, w)
    return float((yaw + np.pi / 4) % (np.pi / 2) - np.pi / 4)
