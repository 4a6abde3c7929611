"""Faster demonstrations: the same way in less time, tried from the same kept state, the fastest that works.

A demonstration is a path and a pace along it. Pauses are passed over, the way is taken as fast as the servos
allow, and slowly where a gripper moves. How fast that may be differs from one demonstration to the next, so
many paces are tried from its own first state and the quickest that succeeds is kept. Followed is the way
that the arms took, not the one they were told: a servo trails its command by a constant time, so the command
runs ahead by that time at the new pace (the observation of SAIL, Arachchige et al., 2025).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode
from jaxtyping import Bool, Float, Int
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from regrasp.envs import BatchEnv, Snapshot, load_task
from regrasp.errors import InputError, check_positive
from regrasp.progress import Progress
from regrasp.randomization import randomizer_for
from regrasp.rl.demonstrate import record
from regrasp.rl.episodes import Episode, Episodes, EpisodeWriter
from regrasp.rl.rollout import Track

AFTER_S = 0.6
"""The last command is held for this long: success may come after it."""
AT_ONCE = 16
"""Demonstrations tried together."""
SMOOTH_STEPS = 2.0
"""Standard deviation of the filter on measured joints, in control steps."""


@dataclass(frozen=True)
class RetimeConfig:
    """How demonstrations are re-timed."""

    rounds: int = 3
    """Rounds of tries; each starts from the best pace so far."""
    tries: int = 16
    """Paces tried for each demonstration in a round."""
    fastest: float = 4.0
    """No part of the way is played more than this many times faster than it was shown."""
    joint_speed_rad_s: float = 3.0
    """No arm joint is led faster than this."""
    margin: float = 1.2
    """The fastest pace that succeeded is slowed down by this: it is at the edge, and in part luck."""
    careful_s: float = 0.2
    """Time before and after a gripper moves in which the pace is chosen apart."""
    seed: int = 0
    """Of the paces tried."""

    def __post_init__(self) -> None:
        check_positive(self, ("rounds", "tries", "joint_speed_rad_s", "careful_s"))
        if not (self.fastest >= 1 and self.margin >= 1):
            raise InputError(f"fastest {self.fastest} and margin {self.margin}: choose 1 or more")


class Pace(NamedTuple):
    """How fast a demonstration is played, in multiples of its own pace."""

    free: float
    """Where the arms move through the air, or not at all."""
    careful: float
    """Around the times when a gripper moves."""
    speed_rad_s: float
    """No arm joint is led faster than this."""


SHOWN = Pace(1.0, 1.0, np.inf)
"""As it was demonstrated."""


class Way(NamedTuple):
    """A demonstrated way, one entry per control step."""

    command: Float[np.ndarray, "T action"]
    velocity: Float[np.ndarray, "T action"]
    """Of the measured joints (rad/s); 0 for grippers."""
    load: Float[np.ndarray, " T"]
    """Speed of the fastest arm joint (rad/s)."""
    careful: Bool[np.ndarray, " T"]


def servo_lag_s(
    command: Float[np.ndarray, "T arm"], reached: Float[np.ndarray, "T arm"], dt_s: float
) -> float:
    """By how much time joints trail their commands, in least squares over all joints of an episode."""
    velocity = np.gradient(gaussian_filter1d(reached, SMOOTH_STEPS, axis=0), dt_s, axis=0)
    behind = command - reached
    behind, velocity = behind - behind.mean(0), velocity - velocity.mean(0)
    return float(max(0.0, (behind * velocity).sum() / max((velocity**2).sum(), 1e-9)))


def way_of(
    command: Float[np.ndarray, "T action"],
    reached: Float[np.ndarray, "T action"],
    is_arm: Bool[np.ndarray, " action"],
    dt_s: float,
    careful_s: float,
) -> Way:
    """What of a demonstration does not depend on its pace.

    Args:
        command: joint targets (rad), grippers as openings.
        reached: what was measured of the same.
        is_arm: which entries are arm joints.
        dt_s: control period.
        careful_s: time before and after a gripper moves that counts as careful.
    """
    smooth = gaussian_filter1d(reached, SMOOTH_STEPS, axis=0)
    velocity = np.where(is_arm, np.gradient(smooth, dt_s, axis=0), 0.0)
    moving = np.abs(np.gradient(command[:, ~is_arm], dt_s, axis=0)).max(1) > 0.1
    width = 2 * round(careful_s / dt_s) + 1
    return Way(command, velocity, np.abs(velocity).max(1), maximum_filter1d(moving, width))


def times_at(way: Way, pace: Pace, dt_s: float, fastest: float) -> Float[np.ndarray, " T"]:
    """When each step of the way is played at this pace (s from the start); one pace alone."""
    most = pace.speed_rad_s / np.maximum(way.load, 1e-3)
    rate = np.minimum(np.where(way.careful, pace.careful, pace.free), most)
    # The arms cannot change their speed at once.
    rate = np.clip(gaussian_filter1d(np.clip(rate, 0.5, fastest), SMOOTH_STEPS), 0.5, fastest)
    return np.concatenate([[0.0], np.cumsum(dt_s / rate[:-1])])


def played_at(
    way: Way, pace: Pace, lag_s: float, dt_s: float, fastest: float
) -> Float[np.ndarray, "steps action"]:
    """The commands that follow a way at another pace."""
    times = times_at(way, pace, dt_s, fastest)
    steps = np.arange(0.0, times[-1], dt_s)
    shown = np.arange(len(times), dtype=float)
    at = np.interp(steps, times, shown)
    rate = np.gradient(at) if len(at) > 1 else np.ones(1)
    command, velocity = (
        np.stack([np.interp(at, shown, column) for column in part.T], axis=1)
        for part in (way.command, way.velocity)
    )
    led = command + (rate - 1)[:, None] * lag_s * velocity
    # What trembled slowly would now tremble fast.
    return gaussian_filter1d(led, SMOOTH_STEPS, axis=0, mode="nearest").astype(np.float32)


class _Found(NamedTuple):
    """The best pace of every demonstration so far."""

    paces: list[Pace]
    steps: Int[np.ndarray, " demos"]
    """To success; more than the horizon: none yet."""

    def keep(self, index: int, paces: list[Pace], steps: Int[np.ndarray, " tries"]) -> None:
        """Take in what was tried for one demonstration."""
        winner = int(steps.argmin())
        if steps[winner] < self.steps[index]:
            self.steps[index], self.paces[index] = steps[winner], paces[winner]


def retime(
    episodes: Episodes,
    path: str | Path,
    config: RetimeConfig | None = None,
    progress: Progress = lambda done, total, note: None,
) -> Episodes:
    """Write a faster copy of demonstrations: the same starts and physics, new commands, all played out.

    A demonstration that never succeeds when played again, not even at its own pace, is left out.

    Args:
        episodes: demonstrations with a kept state for every step.
        path: the folder to write.
        config: how.
        progress: called after every round and batch.

    Raises:
        InputError: the demonstrations are of another model, or none succeeds when played again.
    """
    config = config or RetimeConfig()
    stacks = [episodes.snapshots(i)[np.arange(1)] for i in range(len(episodes))]
    starts = Snapshot.concatenate(stacks)
    env = _env(episodes, AT_ONCE * config.tries)
    dt_s, is_arm = env.control.dt_s, env.control.is_arm
    ways, lags = [], []
    for episode in episodes:
        reached = _reached(episode, env)
        ways.append(way_of(episode.action, reached, is_arm, dt_s, config.careful_s))
        lags.append(servo_lag_s(episode.action[:, is_arm], reached[:, is_arm], dt_s))
    lag_s = float(np.median(lags))

    def commands(index: int, pace: Pace) -> np.ndarray:
        return played_at(ways[index], pace, lag_s, dt_s, config.fastest)

    rng = np.random.default_rng(config.seed)
    best = _Found([SHOWN] * len(ways), np.full(len(ways), env.horizon + 1))
    for turn in range(config.rounds):
        for first in range(0, len(ways), AT_ONCE):
            # The last demonstrations are padded with the very last one: the rows are always full.
            part = np.minimum(np.arange(first, first + AT_ONCE), len(ways) - 1)
            tried = [_paces(rng, best, index, turn, config) for index in part]
            plans = [commands(i, p) for i, paces in zip(part, tried, strict=True) for p in paces]
            steps = _try(env, starts[part], plans).reshape(AT_ONCE, config.tries)
            for index, paces, taken in zip(part, tried, steps, strict=True):
                best.keep(int(index), paces, taken)
            done = turn * len(ways) + min(first + AT_ONCE, len(ways))
            progress(done, config.rounds * len(ways), f"median {_median(best, env):.2f} s")
    for first in range(0, len(ways), AT_ONCE * config.tries):
        part = np.arange(first, min(first + AT_ONCE * config.tries, len(ways)))
        slower = [_slower(best.paces[i], config.margin) for i in part]
        rows = np.resize(np.arange(len(part)), AT_ONCE * config.tries)
        plans = [commands(int(part[row]), slower[row]) for row in rows]
        steps = _try(env, starts[part[rows]], plans)
        for index, pace, taken in zip(part, slower, steps, strict=False):
            # What does not succeed when it is slower stays as fast as it was.
            if taken <= env.horizon:
                best.paces[index], best.steps[index] = pace, taken
    kept = np.flatnonzero(best.steps <= env.horizon)
    if not len(kept):
        raise InputError(
            "none of the demonstrations succeeds when it is played again: record states and commands "
            "of the same simulation"
        )
    _write(episodes, path, config, best, kept, starts, commands)
    return Episodes.open(path)


def replays(episodes: Episodes) -> Bool[np.ndarray, " demos"]:
    """Which demonstrations succeed when their actions are played again from their first states.

    Raises:
        InputError: their states are missing, or of another model.
    """
    starts = Snapshot.concatenate(
        [episodes.snapshots(i)[np.arange(1)] for i in range(len(episodes))]
    )
    env = _env(episodes, len(starts))
    return _try(env, starts, [episode.action for episode in episodes]) <= env.horizon


def fastest(episodes: Episodes, share: float) -> Int[np.ndarray, " kept"]:
    """The numbers of the shortest demonstrations, in order.

    Args:
        episodes: of which.
        share: of them, at least one is kept.

    Raises:
        InputError: not a share.
    """
    if not 0 < share <= 1:
        raise InputError(f"share {share}: choose 0 < share <= 1")
    count = max(1, round(share * len(episodes)))
    return np.sort(np.argsort(episodes.lengths, kind="stable")[:count])


def _env(episodes: Episodes, rows: int) -> BatchEnv:
    return BatchEnv(
        load_task(episodes.task, episodes.workcell),
        rows,
        randomizer=randomizer_for(episodes.task, "table", episodes.workcell),
        autoreset=AutoresetMode.DISABLED,
    )


def _reached(episode: Episode, env: BatchEnv) -> Float[np.ndarray, "T action"]:
    """Measured joints and openings in the order of an action."""
    reached = np.zeros(episode.action.shape)
    reached[:, env.control.is_arm] = episode.obs["joint_pos"]
    reached[:, ~env.control.is_arm] = episode.obs["gripper"]
    return reached


def _paces(
    rng: np.random.Generator, best: _Found, index: int, turn: int, config: RetimeConfig
) -> list[Pace]:
    """Paces to try for one demonstration: anything at first, then faster ones near the best."""
    if turn == 0:
        free = np.exp(rng.uniform(0, np.log(config.fastest), config.tries))
        careful = np.exp(rng.uniform(0, np.log(free)))
        speed = config.joint_speed_rad_s * np.exp(rng.uniform(-1, 0, config.tries))
    else:
        near = np.array(best.paces[index])
        free, careful, speed = near[:, None] * np.exp(rng.normal(0.1, 0.2, (3, config.tries)))
        speed = np.minimum(speed, config.joint_speed_rad_s)
    paces = [Pace(*map(float, one)) for one in zip(free, careful, speed, strict=True)]
    return [SHOWN, *paces[1:]] if turn == 0 else paces


def _slower(pace: Pace, margin: float) -> Pace:
    """The same, slowed down, but not below what was shown."""
    free, careful = (max(min(1.0, rate), rate / margin) for rate in pace[:2])
    return Pace(free, careful, pace.speed_rad_s / margin)


def _try(env: BatchEnv, starts: Snapshot, plans: list[np.ndarray]) -> Int[np.ndarray, " tries"]:
    """Steps to success of every plan, several from each state; more than the horizon: none."""
    env.fork(starts)
    track = Track(env)
    after = round(AFTER_S / env.control.dt_s)
    length = min(env.horizon, max(map(len, plans)) + after)
    table = np.stack([plan[np.minimum(np.arange(length), len(plan) - 1)] for plan in plans])
    for step in range(length):
        if env.done.all():
            break
        track.step(env.step(table[:, step]))
    ended = track.outcomes()
    return np.where(ended.success, ended.steps, env.horizon + 1)


def _median(best: _Found, env: BatchEnv) -> float:
    return float(np.median(best.steps)) * env.control.dt_s


def _write(
    episodes: Episodes,
    path: str | Path,
    config: RetimeConfig,
    best: _Found,
    kept: Int[np.ndarray, " kept"],
    starts: Snapshot,
    commands: Callable[[int, Pace], np.ndarray],
) -> None:
    """Play the best paces once more, and keep what is seen and every state."""
    env = _env(episodes, len(kept))
    env.restore(starts[kept])
    plans = [commands(i, best.paces[i]) for i in kept]

    def act(step: int, view: Any) -> np.ndarray:
        del view
        return np.stack([plan[min(step, len(plan) - 1)] for plan in plans])

    played = record(env, act, len(kept))
    header = replace(episodes.header, meta={**episodes.meta, "retimed": asdict(config)})
    with EpisodeWriter.to(path, header) as writer:
        for row in range(len(kept)):
            episode, states = played.episode(row)
            if episode.success:
                writer.add(episode, states)
