"""Many demonstrations from few: a shown way is carried over to other starts, played, and kept if it succeeds.

Where a hand takes an object, its way belongs to the object: it is shifted and turned with it, from a little
before to a little after, and led there and back (the object-centric segments of MimicGen, Mandlekar et al.,
2023, found here from who touches what). Arms that are still and not where they should be are corrected; for
all else physics differ, some tries fail, and the task's own success decides which become data. No expert is
asked again.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode
from jaxtyping import Bool, Float, Float32, Int
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from regrasp.assets import SIDES
from regrasp.envs import BatchEnv, View, episode_keys, load_task
from regrasp.errors import InputError, check_positive
from regrasp.progress import Progress
from regrasp.randomization import randomizer_for
from regrasp.rl.demonstrate import ROLE, DemonstrateConfig, demonstrate, first_rows, seeds
from regrasp.rl.episodes import Episodes
from regrasp.rl.experts.ik import Reach
from regrasp.rl.experts.script import CORRECTION_PER_S, Manner, smooth_noise
from regrasp.rl.retime import servo_lag_s
from regrasp.rl.rollout import Track
from regrasp.rl.takes import RAMP_S, Take, letting_go, symmetries, takes, touches

AGAIN_S = 0.2
"""What another hand holds is looked at again after this time: it is still moving, and its arm sags."""
LEAVE_S, LEAVE_M = 1.0, 0.08
"""A demonstration ends with success, when a hand has hardly let go: it then goes straight back, so far."""
STILL_RAD_S = 0.06
"""A joint slower than this shows its sag, not its lag."""
PROBE_M = 0.005
"""Spread of the grasps that are tried to find the one to aim at."""
STAY = 0.5
"""What it costs to aim one spread beside what was shown: half of this, in the logarithm of the odds."""
FIRST_PROBE = 2**30
"""Number of the first episode that is a probe: no demonstration is made of it."""
MANNER = Manner(slip_m=0.001, meet_spread_m=0.005, pace_spread=0.0, pause_s=0.0)
"""What was shown has slips of its own: with a person's on top 15 % of 128 cubes were not lifted, so 5 %."""
KNOT_STEPS = 10
"""Control steps between the solutions of inverse kinematics."""


@dataclass(frozen=True)
class GenerateConfig:
    """How many demonstrations are made of few."""

    episodes: int = 200
    """Successful episodes to make."""
    fastest: float = 1.3
    """Episodes are played up to this many times faster than they were shown."""
    probes: int = 512
    """Tries, with grasps beside those that were shown, from which it is learned where to aim; 0: as shown."""
    seed: int = 0
    """Of starts, randomisation, noise, and how each try differs from what was shown."""

    def __post_init__(self) -> None:
        check_positive(self, ("episodes",))
        if not (self.fastest >= 1 and self.probes >= 0):
            raise InputError(
                f"fastest {self.fastest} and probes {self.probes}: choose fastest >= 1 and probes >= 0"
            )


class Shown(NamedTuple):
    """One demonstration, as it is carried over."""

    action: Float32[np.ndarray, "T action"]
    reached: Float[np.ndarray, "T action"]
    """Where the joints were meanwhile."""
    lag_s: float
    """By how much they trail their commands."""
    position: dict[str, Float[np.ndarray, "T 3"]]
    """Where objects were (m)."""
    axes: dict[str, Float[np.ndarray, "T 3 3"]]
    """How they were turned, as columns."""
    takes: tuple[Take, ...]
    aims: Float[np.ndarray, "takes 3"]
    """By how much hands take beside where they were shown to, in their own axes (m)."""


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


class Followed(NamedTuple):
    """What one episode follows."""

    shown: Shown
    rate: float
    slips: Float[np.ndarray, "takes 3"]
    """Of the hands, beside where they aim, in their own axes (m)."""
    elsewhere: Move
    late: Float[np.ndarray, " T"]
    """How much of it, at every step of the plan."""
    plan: Float[np.ndarray, "T 2 action"]
    """What is commanded, and where joints should be then; changed whenever something is looked at."""
    shared: tuple[float, float]
    """Between these steps a second hand takes what another holds, for the first time."""


class Follower:
    """Follows demonstrations as far as the objects of its episodes let it: an `Expert`.

    Attributes:
        shown: the demonstrations that can be carried over.
        reach: side -> inverse kinematics of that arm.
        rows: what each episode follows.
    """

    def __init__(self, episodes: Episodes, manner: Manner = MANNER, fastest: float = 1.0):
        """Find out who moved what.

        Args:
            episodes: demonstrations with a kept state for every step.
            manner: slips of grasps, the spread of where all else happens, and tremble.
            fastest: episodes are up to this many times faster than shown.

        Raises:
            InputError: in none of them a hand takes an object.
        """
        self._task = load_task(episodes.task, episodes.workcell)
        self._table = randomizer_for(episodes.task, "table", episodes.workcell)
        self.manner, self._fastest = manner, fastest
        workcell = self._task.workcell()
        self.reach = {side: Reach(workcell, side) for side in SIDES}
        first = 0
        self._columns: dict[str, np.ndarray] = {}
        self._is_arm = np.ones(workcell.action_size, bool)
        self._is_arm[list(workcell.gripper_columns)] = False
        for side, grip in zip(SIDES, workcell.gripper_columns, strict=True):
            self._columns[side] = np.arange(first, grip)
            first = grip + 1
        self._same = symmetries(episodes.task, episodes.workcell)
        rows = int(np.max(episodes.lengths))
        env = BatchEnv(self._task, rows, autoreset=AutoresetMode.DISABLED)
        read = [self._read(episodes, number, env) for number in range(len(episodes))]
        self.shown = [shown for shown in read if any(take.resting for take in shown.takes)]
        if not self.shown:
            raise InputError(
                "in these demonstrations no hand takes an object from its place: nothing can be carried over"
            )
        self.rows: list[Followed] = []

    def start(self, view: View, seeds: Int[np.ndarray, " rows"]) -> None:
        """Begin with the nearest demonstration in every row.

        Args:
            view: all rows, at the start of their episodes.
            seeds: one integer per row, for slips, spread, pace and tremble.
        """
        self.rows = []
        self._due: dict[int, list[tuple[int, int]]] = {}
        self._led: dict[tuple[int, int], np.ndarray] = {}
        for row, seed in enumerate(seeds):
            one = self._begin(self._seen(view, row), np.random.default_rng(int(seed)))
            self.rows.append(one)
            for number, take in enumerate(one.shown.takes):
                for look in self._looks(take.at(one.rate)):
                    self._due.setdefault(look, []).append((row, number))
        self._correction = np.zeros((len(self.rows), len(self._is_arm)))

    def act(self, step: int, view: View) -> Float32[np.ndarray, "rows action"]:
        for row, number in self._due.get(step, []):
            self._follow(step, row, number, self._seen(view, row))
        command, expected = self._at(step).swapaxes(0, 1)
        speed = np.abs(expected - self._at(max(0, step - 1))[:, 1]) / self._task.control_dt_s
        still = np.maximum(speed, np.abs(np.asarray(view.joint_vel))) < STILL_RAD_S
        alone = ~np.array([row.shared[0] <= step < row.shared[1] for row in self.rows])[:, None]
        behind = np.where(self._is_arm & still & alone, expected - np.asarray(view.joint_pos), 0.0)
        self._correction += CORRECTION_PER_S * self._task.control_dt_s * behind
        return (command + self._correction).astype(np.float32)

    def _at(self, step: int) -> Float[np.ndarray, "rows 2 action"]:
        return np.stack([row.plan[min(step, len(row.plan) - 1)] for row in self.rows])

    def _seen(self, view: View, row: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Where objects are now: position (m) and axes as columns."""
        return {
            name: (
                np.asarray(view.body_pos[name][row], float),
                _matrices(view.body_quat[name][row]),
            )
            for name in self.shown[0].position
        }

    def probe(self, tries: int, seed: int, note: Callable[[str], None] = lambda text: None) -> None:
        """Learn from tries where to aim: under the table's physics what was shown may be a poor grasp.

        Args:
            tries: how many, with grasps up to a few `PROBE_M` beside those shown.
            seed: of starts, physics and grasps.
            note: told now and then how far it is.
        """
        env = BatchEnv(
            self._task,
            tries,
            randomizer=self._table,
            autoreset=AutoresetMode.DISABLED,
        )
        keys = np.asarray(episode_keys(seed, ROLE, FIRST_PROBE, tries))
        env.begin(keys)
        manner, self.manner = self.manner, replace(self.manner, slip_m=PROBE_M)
        self.start(env.view(), seeds(keys))
        self.manner, track = manner, Track(env)
        for step in range(env.horizon):
            if env.done.all():
                break
            track.step(env.step(self.act(step, env.view())))
            if step % 20 == 0:
                note(f"{tries} tries to learn where to aim: step {step} of at most {env.horizon}")
        success = track.outcomes().success
        for i, shown in enumerate(self.shown):
            mine = np.flatnonzero([row.shown is shown for row in self.rows])
            slips = np.array([self.rows[row].slips for row in mine])
            slips = slips.reshape(len(mine), shown.aims.size)
            aim = PROBE_M * aimed(slips / PROBE_M, success[mine])
            self.shown[i] = shown._replace(aims=aim.reshape(-1, 3))

    # ---- what was shown ----

    def _read(self, episodes: Episodes, number: int, env: BatchEnv) -> Shown:
        stack = episodes.snapshots(number)
        env.restore(stack[np.minimum(np.arange(env.num_envs), len(stack) - 1)])
        view = first_rows(env.view(), len(stack))
        joints = np.asarray(view.joint_pos, float)
        names = [name for name in self._same if name in view.body_pos]
        position = {name: np.asarray(view.body_pos[name], float) for name in names}
        axes = {name: _matrices(view.body_quat[name]) for name in names}
        action, arms = episodes[number].action, self._is_arm
        lag_s = servo_lag_s(action[:, arms], joints[:, arms], self._task.control_dt_s)
        touched = touches(env, len(stack), names)
        found = takes(position, touched, self._task.control_dt_s)
        for side in letting_go(touched, round(LEAVE_S / self._task.control_dt_s)):
            away = self._away(side, joints[-1])
            action = np.concatenate([action, action[-1] + away])
            joints = np.concatenate([joints, joints[-1] + away])
        still = len(action) - len(stack)
        position, axes = (
            {
                name: np.concatenate([path, path[-1:].repeat(still, axis=0)])
                for name, path in of.items()
            }
            for of in (position, axes)
        )
        aims = np.zeros((len(found), 3))
        return Shown(action, joints, lag_s, position, axes, tuple(found), aims)

    def _away(
        self, side: str, joints: Float[np.ndarray, " action"]
    ) -> Float[np.ndarray, "T action"]:
        """A hand goes straight back: by how much the joints change, at every step."""
        columns, reach = self._columns[side], self.reach[side]
        position, axes = reach.place(joints[columns])
        there = reach.solve(position - LEAVE_M * axes[:, 0], axes, joints[columns])[0]
        share = _smooth(np.linspace(0, 1, round(LEAVE_S / self._task.control_dt_s)))
        moved = np.zeros((len(share), len(joints)))
        moved[:, columns] = share[:, None] * (there - joints[columns])
        return moved

    # ---- carrying over ----

    def _begin(self, here: dict[str, Any], rng: np.random.Generator) -> Followed:
        """What the demonstration that began most like this becomes before anything is looked at."""
        shown = min(self.shown, key=lambda shown: self._distance(shown, here))
        rate, dt_s = rng.uniform(1, self._fastest), self._task.control_dt_s
        shift = rng.normal(0, self.manner.meet_spread_m, 3)
        elsewhere = Move(np.zeros(3), shift, Rotation.identity())
        slips = rng.normal(0, self.manner.slip_m, (len(shown.takes), 3))
        plan = np.stack([shown.action, shown.reached], axis=1).astype(float)
        plan = hurried(plan, rate, shown.lag_s, dt_s)
        tremble = smooth_noise(rng, len(plan), int(self._is_arm.sum()))
        plan[:, 0, self._is_arm] += self.manner.tremble_rad * tremble
        last = round(max(take.until for take in shown.takes if take.resting) / rate)
        late = _smooth(np.clip((np.arange(len(plan)) - last) * dt_s * rate / RAMP_S, 0, 1))
        if shift.any():
            for side in SIDES:
                self._bend(plan, side, late, elsewhere, last)
        held = [take.at(rate) for take in shown.takes if not take.resting]
        shared = (held[0].step, held[0].until) if held else (np.inf, np.inf)
        return Followed(shown, rate, slips, elsewhere, late, plan, shared)

    def _distance(self, shown: Shown, here: dict[str, Any]) -> float:
        """How far objects stand from where they stood in a demonstration (m, 0.1 m for a radian)."""
        moves = [self._carry(name, shown, 0, here[name]) for name in here]
        return sum(float(np.linalg.norm(m.shift)) + 0.1 * m.turn.magnitude() for m in moves)

    def _looks(self, take: Take) -> range:
        """When a hand looks where to go: once at what lies, again and again at what another hand holds."""
        if take.resting:
            return range(take.look, take.look + 1)
        again = round(AGAIN_S / self._task.control_dt_s)
        return range(take.look, max(take.look + 1, take.step - 2 * again), again)

    def _follow(self, step: int, number: int, which: int, here: dict[str, Any]) -> None:
        """Let a hand take an object where it is now."""
        row = self.rows[number]
        shown, take = row.shown, row.shown.takes[which]
        look = min(round(step * row.rate), len(shown.action) - 1)
        move = self._carry(take.body, shown, look, here[take.body], row)
        _, axes = self.reach[take.side].place(shown.reached[take.step, self._columns[take.side]])
        beside = axes @ (shown.aims[which] + row.slips[which])
        take = take.at(row.rate)
        whole = take.lead
        if take.resting:
            move = move._replace(shift=move.shift + move.turn.apply(beside))
        else:
            # In a hand it is hardly turned, and an arm stretched out straight turns its hand with difficulty.
            shift, led = move.shift + beside, self._led.get((number, which), np.zeros(3))
            self._led[number, which] = shift
            move = move._replace(shift=shift - led, turn=Rotation.identity())
            whole = max(take.lead, step + round(AGAIN_S / self._task.control_dt_s))
        when = [step, max(step + 1, whole), take.until, take.end]
        share = np.interp(np.arange(len(row.plan)), when, [0.0, 1.0, 1.0, 0.0])
        self._bend(row.plan, take.side, _smooth(share), move, take.step)

    def _carry(
        self, name: str, shown: Shown, step: int, here: Any, row: Followed | None = None
    ) -> Move:
        """What takes an object from where it was shown at a step, or should be by now, to where it is.

        Of the turns after which the object looks the same it is the smallest.
        """
        position, axes = shown.position[name][step], shown.axes[name][step]
        if row is not None:
            share = float(row.late[min(round(step / row.rate), len(row.late) - 1)])
            position, axes = row.elsewhere.apply(share, position, axes)
        turns = Rotation.from_matrix(here[1] @ self._same[name] @ axes.T)
        return Move(position, here[0] - position, turns[int(np.argmin(turns.magnitude()))])

    def _bend(
        self,
        plan: Float[np.ndarray, "T 2 action"],
        side: str,
        share: Float[np.ndarray, " T"],
        move: Move,
        anchor: int,
    ) -> None:
        """Move one arm's part of a plan, at every step by this share.

        Where it is whole, inverse kinematics runs outwards from the anchor; to there and from there joints
        are led: at home and on the way the wrist is straight, and a search would turn it over either way.
        """
        reach, columns = self.reach[side], self._columns[side]
        whole = np.flatnonzero(share == 1)
        if not len(whole):
            return
        begin, end = whole[0], whole[-1]
        knots = np.unique(np.append(np.arange(begin, end, KNOT_STEPS), end))
        offset = np.zeros((len(knots), len(columns)))
        first = int(np.argmin(np.abs(knots - anchor)))
        for outwards in (range(first, -1, -1), range(first + 1, len(knots))):
            bent = offset[first]
            for i in outwards:
                was = plan[knots[i], 1, columns]
                position, axes = move.apply(1.0, *reach.place(was))
                bent = reach.solve(position, axes, was + bent)[0] - was
                offset[i] = bent
        steps = np.arange(len(plan))
        bends = np.stack([np.interp(steps, knots, one) for one in offset.T], axis=1)
        plan[:, :, columns] += (share[:, None] * bends)[:, None]


def aimed(
    beside: Float[np.ndarray, "tries n"], success: Bool[np.ndarray, " tries"]
) -> Float[np.ndarray, " n"]:
    """Where success is likeliest, from tries around 0 with a spread of 1.

    The log-odds are taken for a sum of concave parabolas, one for each direction, fitted with a weak pull
    towards no effect; the aim is their highest point, less what it costs to leave 0: see `STAY`.
    """
    count = beside.shape[1]

    def odds(weights: np.ndarray) -> np.ndarray:
        base, slope, bend = weights[0], weights[1 : 1 + count], weights[1 + count :]
        return base + beside @ slope + beside**2 @ bend

    def loss(weights: np.ndarray) -> float:
        found = odds(weights)
        return float(np.sum(np.logaddexp(0, found) - success * found) + np.sum(weights[1:] ** 2))

    bounds = [(None, None)] * (1 + count) + [(None, 0)] * count
    best = minimize(loss, np.zeros(1 + 2 * count), bounds=bounds).x
    return best[1 : 1 + count] / (STAY - 2 * best[1 + count :])


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
    if config.probes:
        follower.probe(config.probes, config.seed, lambda text: progress(0, config.episodes, text))
        origin["aims_m"] = [shown.aims.round(5).tolist() for shown in follower.shown]
    how = {"expert": follower, "meta": {"generated": origin}, "workcell": episodes.workcell}
    demonstrate(episodes.task, path, wanted, progress, **how)
    return Episodes.open(path)


def _matrices(quat: Any) -> Float[np.ndarray, "n 3 3"]:
    return Rotation.from_quat(np.asarray(quat, float), scalar_first=True).as_matrix()
