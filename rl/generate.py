"""Many demonstrations from few: a shown way is carried over to other starts, played, and kept if it succeeds.

Where a hand grasps an object that nobody has moved yet, its way belongs to the object: it is turned and
shifted with it. Once the object has been lifted it is brought back to where it was shown, and from there on
everything is as it was (the object-centric segments of MimicGen, Mandlekar et al., 2023, found here from who
moved what). Arms that are still and not where they were shown to be are corrected, as far as servos sag
otherwise than in the demonstration; for all else physics differ, some tries fail, and the task's own success
decides which become data. No expert is asked again.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np
from gymnasium.vector import AutoresetMode
from jaxtyping import Float, Float32, Int
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation

from regrasp.assets import SIDES
from regrasp.envs import BatchEnv, View, episode_keys, load_task
from regrasp.errors import InputError, check_positive
from regrasp.randomization import randomizer_for
from regrasp.rl.demonstrate import DemonstrateConfig, Progress, demonstrate, first_rows
from regrasp.rl.episodes import Episodes
from regrasp.rl.experts.ik import Reach
from regrasp.rl.experts.script import HUMAN, Manner, smooth_noise
from regrasp.rl.retime import servo_lag_s

MOVED_M = 0.01
"""An object this far from its start has been moved."""
LEAD_S, AFTER_S = 1.0, 0.2
"""The way belongs to the object from so long before until so long after it is moved."""
RAMP_S = 1.5
"""It passes over from the shown way, and back to it, in this time."""
CORRECTION_PER_S = 4.0
"""Rate at which a joint's distance from where it should be is corrected, while it is still."""
STILL_RAD_S = 0.06
"""A joint slower than this shows its sag, not its lag."""
KNOT_STEPS = 10
"""Control steps between the solutions of inverse kinematics."""


@dataclass(frozen=True)
class GenerateConfig:
    """How many demonstrations are made of few."""

    episodes: int = 200
    """Successful episodes to make."""
    fastest: float = 1.3
    """Episodes are played up to this many times faster than they were shown."""
    seed: int = 0
    """Of starts, randomisation, noise, and how each try differs from what was shown."""

    def __post_init__(self) -> None:
        check_positive(self, ("episodes",))
        if not self.fastest >= 1:
            raise InputError(f"fastest {self.fastest}: choose 1 or more")


class Grasp(NamedTuple):
    """A hand takes an object from where it stood."""

    side: str
    body: str
    step: int
    """At which the hand touches the object and it has moved."""


class Shown(NamedTuple):
    """One demonstration, as it is carried over."""

    action: Float32[np.ndarray, "T action"]
    reached: Float[np.ndarray, "T action"]
    """Where the joints were meanwhile."""
    lag_s: float
    """By how much they trail their commands."""
    start: dict[str, tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]]]
    """Where objects stood: position (m), axes as columns."""
    grasps: tuple[Grasp, ...]


class Follower:
    """Follows demonstrations as far as the objects of its episodes let it: an `Expert`.

    Attributes:
        shown: the demonstrations that can be carried over.
        reach: side -> inverse kinematics of that arm.
        plans: of the rows, (rows, T, 2, action): what is commanded, and where joints should be then.
    """

    def __init__(self, episodes: Episodes, manner: Manner = HUMAN, fastest: float = 1.0):
        """Find out who moved what.

        Args:
            episodes: demonstrations with a kept state for every step.
            manner: slips of grasps, the spread of where all else happens, and tremble.
            fastest: episodes are up to this many times faster than shown.

        Raises:
            InputError: in none of them a hand takes an object.
        """
        self._task, self.manner, self._fastest = load_task(episodes.task), manner, fastest
        workcell = self._task.workcell()
        self.reach = {side: Reach(workcell, side) for side in SIDES}
        first = 0
        self._columns: dict[str, np.ndarray] = {}
        self._is_arm = np.ones(workcell.action_size, bool)
        self._is_arm[list(workcell.gripper_columns)] = False
        for side, grip in zip(SIDES, workcell.gripper_columns, strict=True):
            self._columns[side] = np.arange(first, grip)
            first = grip + 1
        rows = int(np.max(episodes.lengths))
        env = BatchEnv(self._task, rows, autoreset=AutoresetMode.DISABLED)
        read = [self._read(episodes, number, env) for number in range(len(episodes))]
        self.shown = [shown for shown in read if shown.grasps]
        if not self.shown:
            raise InputError(
                "in these demonstrations no hand takes an object from its place: nothing can be carried over"
            )
        self._same = symmetries(episodes.task)

    def start(self, view: View, seeds: Int[np.ndarray, " rows"]) -> None:
        """Carry the nearest demonstration over to every row.

        Args:
            view: all rows, at the start of their episodes.
            seeds: one integer per row, for slips, spread, pace and tremble.
        """
        bodies = self.shown[0].start
        positions = {name: np.asarray(view.body_pos[name], float) for name in bodies}
        turns = {name: _matrices(view.body_quat[name]) for name in bodies}
        plans = []
        for row, seed in enumerate(seeds):
            here = {name: (positions[name][row], turns[name][row]) for name in bodies}
            plans.append(self._plan(here, np.random.default_rng(int(seed))))
        length = max(map(len, plans))
        held = [plan[np.minimum(np.arange(length), len(plan) - 1)] for plan in plans]
        self.plans = np.stack(held)
        self._correction = np.zeros_like(self.plans[:, 0, 0])

    def act(self, step: int, view: View) -> Float32[np.ndarray, "rows action"]:
        last = self.plans.shape[1] - 1
        command, expected = self.plans[:, min(step, last)].swapaxes(0, 1)
        before = self.plans[:, min(max(0, step - 1), last), 1]
        speed = np.abs(expected - before) / self._task.control_dt_s
        still = np.maximum(speed, np.abs(np.asarray(view.joint_vel))) < STILL_RAD_S
        behind = np.where(self._is_arm & still, expected - np.asarray(view.joint_pos), 0.0)
        self._correction += CORRECTION_PER_S * self._task.control_dt_s * behind
        return (command + self._correction).astype(np.float32)

    # ---- what was shown ----

    def _read(self, episodes: Episodes, number: int, env: BatchEnv) -> Shown:
        stack = episodes.snapshots(number)
        env.restore(stack[np.minimum(np.arange(env.num_envs), len(stack) - 1)])
        view = first_rows(env.view(), len(stack))
        joints = np.asarray(view.joint_pos, float)
        free = [
            env.model.body(int(body)).name
            for body, kind in zip(env.model.jnt_bodyid, env.model.jnt_type, strict=True)
            if kind == mujoco.mjtJoint.mjJNT_FREE
        ]
        bodies = {
            name: np.asarray(view.body_pos[name], float) for name in free if name in view.body_pos
        }
        start = {
            name: (path[0], _matrices(view.body_quat[name][:1])[0]) for name, path in bodies.items()
        }
        grasps = sorted(
            (
                Grasp(side, name, step)
                for name, path in bodies.items()
                if (step := first_moved(path)) is not None
                for side in touching(env, step, name)
            ),
            key=lambda grasp: grasp.step,
        )
        action, arms = episodes[number].action, self._is_arm
        lag_s = servo_lag_s(action[:, arms], joints[:, arms], self._task.control_dt_s)
        return Shown(action, joints, lag_s, start, tuple(grasps))

    # ---- carrying over ----

    def _plan(
        self, here: dict[str, Any], rng: np.random.Generator
    ) -> Float[np.ndarray, "T 2 action"]:
        """What to command, and where the joints should be then."""
        carried = [
            {name: self._carry(name, shown.start[name], here[name]) for name in here}
            for shown in self.shown
        ]
        far = [
            sum(np.linalg.norm(move.shift) + 0.1 * move.turn.magnitude() for move in one.values())
            for one in carried
        ]
        nearest = int(np.argmin(far))
        shown, moves = self.shown[nearest], carried[nearest]
        slip = np.append(rng.normal(0, self.manner.slip_m, 2), 0.0)
        moves = {name: move._replace(shift=move.shift + slip) for name, move in moves.items()}
        elsewhere = Move(
            np.zeros(3), rng.normal(0, self.manner.meet_spread_m, 3), Rotation.identity()
        )
        plan = np.stack([shown.action, shown.reached], axis=1).astype(float)
        steps, dt_s = len(plan), self._task.control_dt_s
        last = shown.grasps[-1].step + round(AFTER_S / dt_s)
        late = _smooth(np.clip((np.arange(steps) - last) * dt_s / RAMP_S, 0, 1))
        for side in SIDES:
            mine = [grasp for grasp in shown.grasps if grasp.side == side]
            # Between two grasps of a hand, half of the time belongs to either.
            between = [(a.step + b.step) // 2 for a, b in pairwise(mine)]
            bounds = [0, *between, steps - 1]
            parts = [
                (self._share(steps, (begin, grasp.step, end)), moves[grasp.body])
                for begin, grasp, end in zip(bounds, mine, bounds[1:], strict=False)
            ]
            self._bend(plan, side, [*parts, (late, elsewhere)], mine[0].step if mine else last)
        plan = hurried(plan, rng.uniform(1, self._fastest), shown.lag_s, dt_s)
        tremble = smooth_noise(rng, len(plan), int(self._is_arm.sum()))
        plan[:, 0, self._is_arm] += self.manner.tremble_rad * tremble
        return plan

    def _carry(self, name: str, shown: Any, here: Any) -> "Move":
        """What takes an object from its shown place to this one.

        Of the turns after which the object looks the same it is the smallest.
        """
        turns = Rotation.from_matrix(here[1] @ self._same[name] @ shown[1].T)
        return Move(shown[0], here[0] - shown[0], turns[int(np.argmin(turns.magnitude()))])

    def _bend(
        self,
        plan: Float[np.ndarray, "T 2 action"],
        side: str,
        moves: Sequence[tuple[Float[np.ndarray, " T"], "Move"]],
        anchor: int,
    ) -> None:
        """Move one arm's part of a plan, at every step by these shares of these moves.

        Inverse kinematics runs outwards from the anchor: at home the wrist is straight, and a search from
        there turns it over either way.
        """
        reach, columns = self.reach[side], self._columns[side]
        steps = np.arange(len(plan))
        knots = np.unique(np.append(steps[::KNOT_STEPS], steps[-1]))
        offset = np.zeros((len(knots), len(columns)))
        first = int(np.argmin(np.abs(knots - anchor)))
        for outwards in (range(first, -1, -1), range(first + 1, len(knots))):
            bent = offset[first]
            for i in outwards:
                was = plan[knots[i], 1, columns]
                position, axes = reach.place(was)
                parts = [
                    (float(share[knots[i]]), move) for share, move in moves if share[knots[i]] > 0
                ]
                for share, move in parts:
                    position, axes = move.apply(share, position, axes)
                bent = reach.solve(position, axes, was + bent)[0] - was if parts else 0 * bent
                offset[i] = bent
        plan[:, :, columns] += PchipInterpolator(knots, offset)(steps)[:, None]

    def _share(self, steps: int, when: tuple[int, int, int]) -> Float[np.ndarray, " steps"]:
        """How much of a way belongs to an object: all around the grasp, none before begin and after end."""
        begin, grasp, end = when
        lead, after, ramp = (round(s / self._task.control_dt_s) for s in (LEAD_S, AFTER_S, RAMP_S))
        begin, end = max(begin, grasp - lead - ramp), min(end, grasp + after + ramp)
        rise, fall = max(begin + 1, grasp - lead), min(end - 1, grasp + after)
        return _smooth(np.interp(np.arange(steps), [begin, rise, fall, end], [0.0, 1.0, 1.0, 0.0]))


class Move(NamedTuple):
    """A turn about a centre, then a shift."""

    centre: Float[np.ndarray, "3"]
    shift: Float[np.ndarray, "3"]
    turn: Rotation

    def apply(
        self, share: float, position: Float[np.ndarray, "3"], axes: Float[np.ndarray, "3 3"]
    ) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]]:
        """Where a share of it takes a position and axes (columns)."""
        turn = Rotation.from_rotvec(share * self.turn.as_rotvec())
        there = self.centre + share * self.shift + turn.apply(position - self.centre)
        return there, turn.as_matrix() @ axes


def _smooth(share: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """From 0 to 1 without a kink."""
    return share**2 * (3 - 2 * share)


def hurried(
    plan: Float[np.ndarray, "T 2 action"], rate: float, lag_s: float, dt_s: float
) -> Float[np.ndarray, "steps 2 action"]:
    """A plan so many times faster; commands run ahead of the joints by more: see `retime`."""
    at = np.append(np.arange(0, len(plan) - 1, rate), len(plan) - 1)
    below = np.minimum(at.astype(int), len(plan) - 2)
    part = (at - below)[:, None, None]
    played = (1 - part) * plan[below] + part * plan[below + 1]
    played[:, 0] += (rate - 1) * lag_s * np.gradient(played[:, 1], dt_s * rate, axis=0)
    return played


def generate(
    episodes: Episodes,
    path: str | Path,
    config: GenerateConfig | None = None,
    progress: Progress = lambda done, total, note: None,
) -> Episodes:
    """Write what demonstrations become at other starts, under other physics, where they succeed.

    Args:
        episodes: demonstrations with a kept state for every step.
        path: the folder to write.
        config: how many.
        progress: told how many are on disk, of how many, and what is going on.

    Raises:
        InputError: in none of the demonstrations a hand takes an object, or hardly any try succeeds.
    """
    config = config or GenerateConfig()
    wanted = DemonstrateConfig(config.episodes, config.seed)
    origin = {
        "of": len(episodes),
        "fingerprint": episodes.meta.get("fingerprint"),
        **asdict(config),
    }
    follower = Follower(episodes, fastest=config.fastest)
    demonstrate(episodes.task, path, wanted, progress, expert=follower, meta={"generated": origin})
    return Episodes.open(path)


def first_moved(path: Float[np.ndarray, "T 3"]) -> int | None:
    """The first step at which an object was elsewhere than at its start; none: it never was."""
    moved = np.linalg.norm(path - path[0], axis=1) > MOVED_M
    return int(np.argmax(moved)) if moved.any() else None


def touching(env: BatchEnv, row: int, body: str) -> list[str]:
    """The arms that touch an object in one row."""
    model, data = env.row_model(row), env.row_data(row)
    mujoco.mj_forward(model, data)
    pairs = model.geom_bodyid[data.contact.geom]
    own = model.body(body).id
    others = {model.body(int(b)).name for pair in pairs if own in pair for b in pair}
    return [side for side in SIDES if any(name.startswith(f"{side}/") for name in others)]


def symmetries(task: str) -> dict[str, Float[np.ndarray, "_ 3 3"]]:
    """Object -> the turns of a cube about its own axes after which the task observes the same."""
    turns = Rotation.create_group("O")
    env = BatchEnv(
        load_task(task),
        len(turns),
        randomizer=randomizer_for(task, "nominal"),
        autoreset=AutoresetMode.DISABLED,
    )
    keys = np.repeat(np.asarray(episode_keys(0, "demonstrate", 0, 1)), len(turns), axis=0)
    starts = env.starts(keys)
    found = {}
    for name, qpos in starts.items():
        joint = env.model.joint(name)
        if joint.type[0] != mujoco.mjtJoint.mjJNT_FREE:
            continue
        own = Rotation.from_quat(qpos[:, 3:], scalar_first=True)
        turned = np.concatenate([qpos[:, :3], (own * turns).as_quat(scalar_first=True)], axis=1)
        env.begin(keys, qpos={**starts, name: turned.astype(np.float32)})
        seen = np.concatenate([v.reshape(len(turns), -1) for v in env.observe().values()], axis=1)
        reference = int(np.argmin(turns.magnitude()))
        same = np.abs(seen - seen[reference]).max(axis=1) < 1e-3
        found[env.model.body(int(joint.bodyid[0])).name] = turns[same].as_matrix()
    return found


def _matrices(quat: Any) -> Float[np.ndarray, "n 3 3"]:
    return Rotation.from_quat(np.asarray(quat, float), scalar_first=True).as_matrix()
