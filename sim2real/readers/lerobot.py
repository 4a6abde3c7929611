"""LeRobot folders, versions 2.1 and 3.0: states and actions from the tables, cameras from the videos.

Their units are whatever the recorder chose, so the caller says them. Folders that regrasp wrote define
theirs: rad and openings.
"""

import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from regrasp.assets.arm import Arm
from regrasp.errors import InputError
from regrasp.rl.episodes import ACTION, ACTION_MEANING, HEADER, STATE, Episodes
from regrasp.rl.lerobot import DATA, EPISODES, INFO, OLDER, VERSION, Frames, read_info
from regrasp.rl.lerobot import read as read_frames
from regrasp.sim2real.log import Log, Refused, attempt
from regrasp.sim2real.readers import video
from regrasp.sim2real.readers.bounds import inside
from regrasp.sim2real.readers.joints import as_commands, canonical, find_joints, terms
from regrasp.sim2real.units import Converter, ReadConfig

ENVIRONMENT = "observation.environment_state"
"""What recorders of simulations call the state of objects."""


def accepts(path: Path) -> bool:
    """Whether `path` is a LeRobot folder, whole or not."""
    return (path / INFO).is_file()


def read(path: Path, arm: Arm | None, config: ReadConfig = ReadConfig()) -> Iterator[Log | Refused]:  # noqa: B008
    """Every episode of a folder.

    Args:
        path: the folder.
        arm: the arm, or one of the two arms, that was recorded; None takes the folder's own joints.
        config: units.

    Raises:
        InputError: the folder itself is damaged, or leads elsewhere.
    """
    for pattern in ("*", "meta/*", f"{DATA}/*", f"{DATA}/*/*", f"{EPISODES}/*/*", "videos/*/*/*"):
        for inner in path.glob(pattern):
            inside(path, inner)
    if (path / HEADER).is_file():
        config.check_unturned(f"{path} is of a simulation, whose angles are defined")
        yield from _own(path)
        return
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        frames = read_frames(path, (VERSION, OLDER), finite=False)
    notes = tuple(str(one.message) for one in told)
    for name in (STATE, ACTION):
        if name not in frames.values:
            raise InputError(f"{path} has no {name!r}: choose a data set with states and actions")
    info = read_info(path, (VERSION, OLDER))
    cameras = video.places(path, info, len(frames.lengths))
    if stills := [name for name, f in info["features"].items() if f.get("dtype") == "image"]:
        notes = (*notes, f"pictures within its tables ({', '.join(stills[:4])}) are not read")
    for i in range(len(frames.lengths)):
        name = f"{path.name}/{i:06d}"
        make = partial(_log, name, path, frames, i, arm, config, notes, cameras)
        yield attempt(name, f"{path}#{i}", make)


def _log(
    name: str,
    path: Path,
    frames: Frames,
    number: int,
    arm: Arm | None,
    config: ReadConfig,
    notes: tuple[str, ...],
    cameras: Mapping[str, video.Places],
) -> Log:
    rows = slice(int(frames.starts[number]), int(frames.starts[number + 1]))
    state, action = (np.asarray(frames.values[k][rows], np.float64) for k in (STATE, ACTION))
    joints = find_joints(name, frames.names[STATE], arm, state.shape[1])
    q = Converter(config, joints.names, joints.grippers, arm)(
        state[:, list(joints.columns)], commands=False
    )
    cmd, free = _commands(name, frames.names[ACTION], action, joints.names, arm)
    cmd[:, free] = state[:1, [joints.columns[i] for i in np.flatnonzero(free)]]
    cmd = Converter(config, joints.names, joints.grippers, arm)(cmd, commands=True)
    if free.any():
        cmd[:, free] = q[:1, free]
    sent = ~free
    found, commands, said = as_commands(cmd[:, sent], q[:, sent])
    cmd[:, sent] = found
    t = np.arange(len(q)) / frames.fps if frames.timestamp_s is None else frames.timestamp_s[rows]
    t = np.asarray(t, np.float64)
    counted = bool(
        np.allclose(t - t[:1], np.arange(len(t)) / frames.fps, atol=1e-4 + 1e-6 * len(t))
    )
    if counted:
        # Single precision would make jitter of what is none.
        t = np.arange(len(t)) / frames.fps
        said = (*said, f"stamps are sample numbers over {frames.fps:g} Hz, not measured")
    uncommanded = tuple(n for n, is_free in zip(joints.names, free, strict=True) if is_free)
    images, more = video.images(cameras, number, t - t[0])
    return Log(
        name=name,
        joints=joints.names,
        t=t,
        cmd=cmd,
        q=q,
        clock="none; counted samples" if counted else "recording computer, measured",
        source=f"{path}#{number}",
        grippers=joints.grippers,
        commands=commands,
        uncommanded=uncommanded,
        measured_time=not counted,
        notes=(*notes, *said, *more),
        images=images,
        observed=_environment(frames, rows),
    )


def _environment(frames: Frames, rows: slice) -> dict[str, np.ndarray]:
    """What was observed of objects, by the names of its numbers; numbers without names say nothing."""
    if ENVIRONMENT not in frames.values:
        return {}
    values = np.asarray(frames.values[ENVIRONMENT][rows], np.float64)
    return terms(dict(zip(frames.names[ENVIRONMENT], values.T, strict=False)))


def _commands(
    name: str, names: tuple[str, ...], action: np.ndarray, joints: tuple[str, ...], arm: Arm | None
) -> tuple[np.ndarray, np.ndarray]:
    """Raw commands in the order of the joints, and which of the joints nobody commands."""
    if not names:
        if action.shape[1] != len(joints):
            raise InputError(
                f"log {name}: {action.shape[1]} actions without names for {len(joints)} joints; "
                f"name the actions after the joints that they command"
            )
        return action.copy(), np.zeros(len(joints), bool)
    found = [canonical(one, arm) for one in names]
    if odd := [one for one in found if one not in joints]:
        raise InputError(
            f"log {name}: action {odd[0]!r} is of no joint ({', '.join(joints)}); "
            f"name actions after the joints that they command"
        )
    cmd = np.zeros((len(action), len(joints)))
    at = [joints.index(one) for one in found]
    if len(set(at)) != len(at):
        raise InputError(f"log {name}: a joint is commanded by two actions; name every joint once")
    cmd[:, at] = action
    return cmd, ~np.isin(np.arange(len(joints)), at)


def _own(path: Path) -> Iterator[Log | Refused]:
    """Episodes of a simulation as logs: commands are its targets, measurements what it observed."""
    episodes = Episodes.open(path)
    header = episodes.header
    lacks = [term for term in ("joint_pos", "gripper") if term not in header.terms]
    if lacks or header.action_meaning != ACTION_MEANING:
        fault = (
            f"observes no {lacks[0]}"
            if lacks
            else f"has actions of meaning {header.action_meaning!r}"
        )
        raise InputError(f"{path} {fault}: choose episodes with joints in rad and openings")
    for number in range(len(episodes)):
        name = f"{path.name}/{number:06d}"
        make = partial(_rollout, name, f"{path}#{number}", episodes, number)
        yield attempt(name, f"{path}#{number}", make)


def _rollout(name: str, source: str, episodes: Episodes, number: int) -> Log:
    episode, header = episodes[number], episodes.header
    names = header.actions
    width = len(names) // 2
    arms, grippers = episode.obs["joint_pos"], episode.obs["gripper"]
    if arms.shape[1:] != (2 * (width - 1),) or grippers.shape[1:] != (2,) or len(names) % 2:
        raise InputError(f"log {name}: its joints are not those of two arms and their grippers")
    q = np.concatenate(
        [arms[:, : width - 1], grippers[:, :1], arms[:, width - 1 :], grippers[:, 1:]], axis=1
    ).astype(np.float64)
    cmd, commands, said = as_commands(episode.action.astype(np.float64), q)
    return Log(
        name=name,
        joints=names,
        t=np.arange(len(q)) / header.fps,
        cmd=cmd,
        q=q,
        clock="recorded" if header.meta.get("recorded") else "simulation",
        source=source,
        grippers=(width - 1, 2 * width - 1),
        commands=commands,
        notes=said,
        observed={k: v.astype(np.float64) for k, v in episode.obs.items()},
    )
