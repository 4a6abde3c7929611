"""ROS 1 bags, and ROS 2 bags and MCAP files, of Interbotix arms: joint states and commands, without ROS.

Positions are rad under their header's stamps; commands have no header and carry the recorder's, so how far
the two clocks are apart is measured first. One arm's topics share a name: `/follower_left/joint_states`.
"""

import re
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import apsw
import numpy as np
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.rosbag1 import ReaderError as Ros1Error
from rosbags.rosbag2 import ReaderError as Ros2Error
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore

from regrasp.assets.arm import Arm
from regrasp.errors import InputError
from regrasp.sim2real.log import Log, Refused, attempt, check_times
from regrasp.sim2real.readers.bounds import MAX_JOINTS, MAX_SAMPLES, check_size, inside, named
from regrasp.sim2real.readers.joints import GRIPPERS, canonical
from regrasp.sim2real.units import Linkage, ReadConfig, linkages

MAX_BYTES = 2**36
MAX_CLOCK_S = 0.5
"""Stamps of measurements and of the recorder that are further apart are of two clocks."""
STATES, GROUP, SINGLE = "JointState", "JointGroupCommand", "JointSingleCommand"
MESSAGES = {
    "JointGroupCommand": "string name\nfloat32[] cmd\n",
    "JointSingleCommand": "string name\nfloat32 cmd\n",
}
PACKAGES = ("interbotix_xs_msgs", "interbotix_xs_sdk")
FINGERS = ("left_finger", "right_finger")
UNREADABLE = (
    *(AnyReaderError, Ros1Error, Ros2Error, SerdeError, TypesysError, apsw.Error, struct.error),
    *(OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError, EOFError),
    *(MemoryError, OverflowError, AssertionError, RecursionError, SyntaxError, NotImplementedError),
)


def accepts(path: Path) -> bool:
    """Whether `path` is a bag, an MCAP file or the folder of a ROS 2 bag."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file()
    return path.is_file() and path.suffix in (".bag", ".mcap", ".db3")


def read(path: Path, arm: Arm | None, config: ReadConfig = ReadConfig()) -> Iterator[Log | Refused]:  # noqa: B008
    """The one episode of a bag, of all arms in it.

    Args:
        path: the bag.
        arm: the arm recorded; None takes the bag's own joints.
        config: constants of the grippers; without, grippers are left out.
    """
    yield attempt(path.stem, str(path), lambda: _log(path, arm, config))


@dataclass
class _Side:
    """What one arm's topics hold."""

    name: str
    joints: tuple[str, ...] = ()
    stamps: list[float] = field(default_factory=list)
    received: list[float] = field(default_factory=list)
    q: list[np.ndarray] = field(default_factory=list)
    qd: list[np.ndarray] = field(default_factory=list)
    effort: list[np.ndarray] = field(default_factory=list)
    commands: dict[str, list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Joint or group -> (received, command)."""
    groups: dict[str, list[tuple[float, np.ndarray]]] = field(
        default_factory=lambda: defaultdict(list)
    )


def _log(path: Path, arm: Arm | None, config: ReadConfig) -> Log:
    sides = _messages(path)
    whole = [side for side in sides if side.q]
    if not whole:
        raise InputError(
            f"{path} has no joint states (topics .../joint_states): record them as well"
        )
    logs = [_one(path, side, arm, config) for side in whole]
    if len(logs) == 1:
        return logs[0]
    return _both(path, whole, logs)


def _messages(path: Path) -> list[_Side]:
    """All arms in a bag."""
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    for file in files:
        check_size(inside(path, file) if path.is_dir() else file, MAX_BYTES)
    if not any(file.stat().st_size for file in files):
        raise InputError(f"{path} is empty: copy the bag again")
    sides: dict[str, _Side] = {}
    with named(path, "bag", *UNREADABLE), AnyReader([path], default_typestore=_types()) as reader:
        wanted = [
            c for c in reader.connections if c.msgtype.rpartition("/")[2] in (STATES, GROUP, SINGLE)
        ]
        if sum(c.msgcount for c in wanted) > 8 * MAX_SAMPLES:
            raise InputError(f"{path} has more than {8 * MAX_SAMPLES} messages: split it")
        if not wanted:
            raise InputError(
                f"{path} has no joint states (topics .../joint_states): record them as well"
            )
        for count, (connection, received, raw) in enumerate(reader.messages(wanted)):
            if count > 8 * MAX_SAMPLES:
                raise InputError(f"{path} has more than {8 * MAX_SAMPLES} messages: split it")
            name = connection.topic.strip("/").partition("/")[0]
            side = sides.setdefault(name, _Side(name))
            _take(
                path,
                side,
                connection.topic,
                reader.deserialize(raw, connection.msgtype),
                received * 1e-9,
            )
    return [sides[name] for name in sorted(sides)]


def _take(path: Path, side: _Side, topic: str, message: Any, received: float) -> None:
    """One message into its arm's lists."""
    kind = type(message).__name__.rpartition("__")[2]
    if kind == STATES:
        names = tuple(message.name)
        if side.joints and names != side.joints:
            raise InputError(
                f"{path}: the joints of {topic} change on the way: record one arm per topic"
            )
        if not names or len(names) > MAX_JOINTS or len(message.position) != len(names):
            raise InputError(
                f"{path}: {topic} has {len(message.position)} positions of {len(names)} joints"
            )
        side.joints = names
        stamp = message.header.stamp
        side.stamps.append(stamp.sec + 1e-9 * stamp.nanosec)
        side.received.append(received)
        side.q.append(np.asarray(message.position, np.float64))
        for values, into in ((message.velocity, side.qd), (message.effort, side.effort)):
            if len(values) == len(names):
                into.append(np.asarray(values, np.float64))
    elif kind == GROUP:
        side.groups[str(message.name)].append((received, np.asarray(message.cmd, np.float64)))
    elif kind == SINGLE:
        side.commands[str(message.name)].append((received, float(message.cmd)))


def _one(path: Path, side: _Side, arm: Arm | None, config: ReadConfig) -> Log:
    """The log of one arm."""
    name = path.stem
    stamps, received = np.array(side.stamps), np.array(side.received)
    check_times(name, stamps)
    delay = received - stamps
    if abs(np.median(delay)) > MAX_CLOCK_S:
        raise InputError(
            f"log {name}: {side.name}'s stamps are {np.median(delay):.3f} s before those of the recorder, "
            f"which commands carry: two clocks; set them alike and record again"
        )
    keep, notes = _columns(side, arm, config)
    joints = tuple(canonical(side.joints[i], arm) for i in keep)
    linkage = linkages().get(config.grippers)
    q = np.array(side.q)[:, keep]
    grippers = tuple(k for k, i in enumerate(keep) if side.joints[i] in (*GRIPPERS, *FINGERS))
    for k in grippers:
        if linkage is not None:
            finger = side.joints[keep[k]] in FINGERS
            q[:, k] = (
                linkage.opening_of_finger(q[:, k]) if finger else linkage.opening_of_angle(q[:, k])
            )
    sent = _sent(name, side, joints, grippers, linkage)
    if not sent:
        raise InputError(
            f"log {name}: no commands to {side.name}'s joints (topics .../commands/joint_group and "
            f"joint_single); record them as well"
        )
    begin = min(times[0] for times, _ in sent.values())
    rows = stamps >= begin
    if rows.sum() < 2 or begin > stamps[-1]:
        raise InputError(
            f"log {name}: commands and joint states do not overlap in time; record them together"
        )
    if max(times[-1] for times, _ in sent.values()) < stamps[0]:
        raise InputError(
            f"log {name}: all commands precede the first joint state; record them together"
        )
    t, q = stamps[rows], q[rows]
    half = float(np.median(np.diff(t))) / 2
    cmd = np.repeat(q[:1], len(q), axis=0)
    for k, joint in enumerate(joints):
        if joint in sent:
            times, values = sent[joint]
            at = np.searchsorted(times, t + half, side="right") - 1
            cmd[:, k] = np.where(at >= 0, values[np.maximum(at, 0)], q[0, k])
    free = tuple(joint for joint in joints if joint not in sent)
    more = [f"commands before {side.name}'s first are where it stood"] if begin < stamps[0] else []
    moved = [n for n in free if np.ptp(q[:, joints.index(n)]) > 0.02]
    if moved:
        more.append(f"{', '.join(moved)} moved without a command")
    qd, effort = (
        np.array(values)[:, keep][rows] if len(values) == len(side.q) else None
        for values in (side.qd, side.effort)
    )
    if qd is not None and grippers:
        qd[:, list(grippers)] = np.gradient(q[:, list(grippers)], t, axis=0)
    return Log(
        name=name,
        joints=joints,
        t=t - t[0],
        cmd=cmd,
        q=q,
        qd=qd,
        effort=effort,
        clock=(
            f"header stamps for measurements, the recorder's for commands; measurements arrive "
            f"{1e3 * np.median(delay):.1f} ms after their stamps (longest {1e3 * delay.max():.1f} ms)"
        ),
        source=f"{path} ({side.name})",
        grippers=grippers,
        uncommanded=free,
        notes=(*notes, *more),
    )


def _columns(side: _Side, arm: Arm | None, config: ReadConfig) -> tuple[list[int], list[str]]:
    """Which of the recorded joints are the log's, in order, and what is left out."""
    names = side.joints
    motors = [i for i, n in enumerate(names) if n not in FINGERS and n.lower() not in GRIPPERS]
    at = [i for i, n in enumerate(names) if n == "left_finger"] or [
        i for i, n in enumerate(names) if n.lower() in GRIPPERS
    ]
    notes = []
    linkage = linkages().get(config.grippers)
    if at and linkage is None:
        notes.append(
            f"its gripper is left out: its constants are not in a bag (--grippers, one of "
            f"{', '.join(linkages())})"
        )
        at = []
    if arm is not None:
        wanted = arm.joint_names
        found = [canonical(names[i], arm) for i in (*motors, *at)]
        if sorted(found) != sorted(wanted):
            left = "; the gripper needs --grippers" if notes else ""
            raise InputError(
                f"log: {side.name} has {len(found)} joints ({', '.join(found)}), but {arm.name} has "
                f"{len(wanted)} ({', '.join(wanted)}); choose the arm recorded{left}"
            )
        order = [(*motors, *at)[found.index(name)] for name in wanted]
        return order, notes
    return [*motors, *at], notes


def _sent(
    log: str,
    side: _Side,
    joints: tuple[str, ...],
    grippers: tuple[int, ...],
    linkage: Linkage | None,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Joint -> times received and commands, in the log's units."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    arms = [name for k, name in enumerate(joints) if k not in grippers]
    for group, commands in side.groups.items():
        for received, values in commands:
            if len(values) != len(arms):
                raise InputError(
                    f"log {log}: a command to group {group!r} has {len(values)} numbers for {len(arms)} "
                    f"joints"
                )
            for name, value in zip(arms, values, strict=True):
                found[name].append((received, float(value)))
    for name, commands in side.commands.items():
        if name.lower() in GRIPPERS:
            for k in grippers:
                if linkage is not None:
                    found[joints[k]] += [
                        (at, float(linkage.opening_of_angle(v))) for at, v in commands
                    ]
        elif name in joints:
            found[name] += commands
    sent = {}
    for name, commands in found.items():
        pairs = np.array(sorted(commands))
        if not np.isfinite(pairs).all():
            raise InputError(f"log {log}: a command to {name} is not finite; record it again")
        sent[name] = (pairs[:, 0], pairs[:, 1])
    return sent


def _both(path: Path, sides: list[_Side], logs: list[Log]) -> Log:
    """One log of two arms, on the first one's stamps where both were recorded."""
    named_sides = {
        ("left" if re.search("left", s.name) else "right"): (s, g)
        for s, g in zip(sides, logs, strict=True)
    }
    if (
        len(logs) != 2
        or len(named_sides) != 2
        or not re.search("right", named_sides["right"][0].name)
    ):
        raise InputError(
            f"{path} has joint states of {', '.join(s.name for s in sides)}: record one arm, "
            f"or a left and a right one"
        )
    # A log counts from its first kept sample.
    starts = {k: s.stamps[-1] - g.t[-1] for k, (s, g) in named_sides.items()}
    left, right = named_sides["left"][1], named_sides["right"][1]
    t_left, t_right = left.t + starts["left"], right.t + starts["right"]
    rows = (t_left >= t_right[0]) & (t_left <= t_right[-1])
    if rows.sum() < 2:
        raise InputError(
            f"log {path.stem}: the two arms' stamps do not overlap: two clocks, or two recordings"
        )
    t = t_left[rows]

    def joined(name: str) -> np.ndarray | None:
        a, b = getattr(left, name), getattr(right, name)
        if a is None or b is None:
            return None
        if name == "cmd":
            other = b[np.maximum(np.searchsorted(t_right, t, side="right") - 1, 0)]
        else:
            other = np.stack([np.interp(t, t_right, column) for column in b.T], axis=1)
        return np.concatenate([a[rows], other], axis=1)

    cmd, q = joined("cmd"), joined("q")
    assert cmd is not None
    assert q is not None
    count = len(left.joints)
    return replace(
        left,
        joints=tuple(
            f"{side}/{n}" for side, log in (("left", left), ("right", right)) for n in log.joints
        ),
        t=t - t[0],
        cmd=cmd,
        q=q,
        qd=joined("qd"),
        effort=joined("effort"),
        clock=left.clock,
        source=str(path),
        grippers=(*(left.grippers or ()), *(count + i for i in right.grippers or ())),
        uncommanded=tuple(
            f"{side}/{n}"
            for side, log in (("left", left), ("right", right))
            for n in log.uncommanded
        ),
        notes=tuple(dict.fromkeys((*left.notes, *right.notes))),
    )


@cache
def _types() -> Any:
    """ROS 2's own messages and Interbotix's commands, for bags that carry no definitions."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    for package in PACKAGES:
        for name, text in MESSAGES.items():
            store.register(get_types_from_msg(text, f"{package}/msg/{name}"))
    return store
