"""SAGE folders: joint_list.txt, control.csv, state_motor.csv and event.csv.

Positions are rad, the jaw 0..1 of its range, stamps microseconds of the recording computer's
clock. Velocities are rad/s, the jaw's too. Commands are written first and the motors then read one
by one under the same stamp, so a measurement can be up to one sample (20 ms) younger than it says.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np

from regrasp.assets.arm import Arm, load_arm
from regrasp.errors import InputError, unknown
from regrasp.sim2real.log import Log, Refused, attempt, check_times
from regrasp.sim2real.units import ReadConfig

FILES = ("joint_list.txt", "control.csv", "state_motor.csv", "event.csv")
MAX_BYTES = 64 * 2**20
"""Largest file that is read: several hours at 50 Hz."""
JOINT_NAMES = {
    "Rotation": "shoulder_pan",
    "Pitch": "shoulder_lift",
    "Elbow": "elbow_flex",
    "Wrist_Pitch": "wrist_flex",
    "Wrist_Roll": "wrist_roll",
    "Jaw": "gripper",
}
"""The recorder's name of a joint -> the SO-101's; an arm's own names are understood as well."""
JAW_RANGE_RAD = 1523 * 2 * np.pi / 4096
"""Turn of the jaw's servo from 0 to 1, in encoder steps of 1/4096 turn.

Source: the recordings, whose jaw positions are whole multiples of 1/1523.
"""


def accepts(path: Path) -> bool:
    """Whether `path` is a folder that looks like a SAGE recording, whole or not."""
    return path.is_dir() and any((path / name).is_file() for name in FILES[1:])


def read(path: Path, arm: Arm | None, config: ReadConfig = ReadConfig()) -> Iterator[Log | Refused]:  # noqa: B008
    """The one log of a SAGE folder, cut to the time between MOTION_START and DISABLE.

    Its units are the format's; None is the SO-101.
    """
    yield attempt(path.name, str(path), lambda: _log(path, arm or load_arm("so101")))


def _log(path: Path, arm: Arm) -> Log:
    """The log.

    Time 0 is MOTION_START. Where the stamps of commands and measurements differ, the log keeps
    the commands' stamps (a command is an event, a position is smooth), measurements are
    interpolated linearly to them, and commands before the first or after the last measurement
    are left out.

    Raises:
        InputError: a file is missing, too large, broken off or misread, joints do not fit the arm.
    """
    columns = _columns(path, arm)
    commands = _table(path / "control.csv", "CONTROL", 1, len(columns))
    states = _table(path / "state_motor.csv", "STATE_MOTOR", 3, len(columns))
    start, end = _motion(path / "event.csv")
    stamps, cmd = commands[0], commands[1][:, columns]
    q, qd = states[1][:, columns], states[2][:, columns]
    check_times(path.name, stamps)
    check_times(path.name, states[0])
    inside = (stamps >= start) & (stamps <= end)
    if not np.array_equal(stamps, states[0]):
        inside &= (stamps >= states[0][0]) & (stamps <= states[0][-1])
        q, qd = _interpolated(stamps, states[0], q), _interpolated(stamps, states[0], qd)
    qd[:, -1] /= JAW_RANGE_RAD
    return Log(
        name=path.name,
        joints=arm.joint_names,
        t=(stamps[inside] - start) * 1e-6,
        cmd=cmd[inside],
        q=q[inside],
        qd=qd[inside],
        clock="recording computer, measured; commands and measurements share stamps",
        source=str(path),
    )


def _columns(folder: Path, arm: Arm) -> list[int]:
    """Where each joint of the arm stands in the file's rows."""
    recorded = _text(folder / "joint_list.txt").split()
    names = [JOINT_NAMES.get(name, name) for name in recorded]
    for given, name in zip(recorded, names, strict=True):
        if name not in arm.joint_names:
            raise unknown(f"joint of {arm.name} in {folder.name}", given, arm.joint_names)
    if sorted(names) != sorted(arm.joint_names):
        raise InputError(
            f"log {folder.name}: joint_list.txt has {len(names)} joints ({', '.join(recorded)}), "
            f"needs each of the {len(arm.joints)} of {arm.name} once"
        )
    return [names.index(name) for name in arm.joint_names]


def _motion(path: Path) -> tuple[float, float]:
    """Stamps (us) of MOTION_START and DISABLE; a recording that broke off has no end."""
    times: dict[str, float] = {}
    for line, row in _rows(path, "EVENT", 3):
        try:
            times.setdefault(row[2].strip(), float(row[1]))
        except ValueError:
            _refuse(path, line, f"stamp {row[1]!r} is not a number")
    if not np.isfinite(list(times.values())).all():
        raise InputError(f"{path}: an event's stamp is not finite; repair it")
    if "MOTION_START" not in times:
        raise InputError(f"{path}: no MOTION_START among its events; record the motion again")
    return times["MOTION_START"], times.get("DISABLE", np.inf)


def _table(path: Path, kind: str, lists: int, width: int) -> list[np.ndarray]:
    """Stamps (T,) in us, then `lists` arrays (T, width), from rows of stamp and quoted lists.

    Each column is parsed in one go; only if that fails is it parsed again line by line, to say
    where the fault is.
    """
    rows = list(_rows(path, kind, 2 + lists))
    if not rows:
        raise InputError(f"{path}: no {kind} rows; record the motion again")
    stamps = _column(path, rows, 1, ())
    return [stamps, *(_column(path, rows, 2 + i, (width,)) for i in range(lists))]


def _column(
    path: Path,
    rows: list[tuple[int, list[str]]],
    index: int,
    shape: tuple[int, ...],
) -> np.ndarray:
    """One column of the rows as an array (T, *shape) of float64."""
    try:
        return _numbers(
            json.loads(f"[{','.join(row[index] for _, row in rows)}]"), (len(rows), *shape)
        )
    except (ValueError, TypeError, RecursionError, OverflowError):
        for line, row in rows:
            try:
                _numbers(json.loads(row[index]), shape)
            except (ValueError, TypeError, RecursionError, OverflowError):
                wanted = f"{shape[0]} numbers" if shape else "a number"
                _refuse(path, line, f"{row[index][:60]!r} is not {wanted}")
        raise InputError(f"{path}: column {index + 1} cannot be read; repair it") from None


def _numbers(parsed: object, shape: tuple[int, ...]) -> np.ndarray:
    values = np.array(parsed, dtype=np.float64)
    if values.shape != shape:
        raise ValueError(shape)
    return values


def _rows(path: Path, kind: str, width: int) -> list[tuple[int, list[str]]]:
    """Line number and cells of each row after the header."""
    reader = csv.reader(_text(path).splitlines(), strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        for row in reader:
            if not row or (reader.line_num == 1 and row[0] == "type"):
                continue
            if len(row) != width or row[0] != kind:
                _refuse(path, reader.line_num, f"is not a whole {kind} row of {width} cells")
            rows.append((reader.line_num, row))
    except csv.Error as error:
        _refuse(path, reader.line_num, f"is not CSV ({error})")
    return rows


def _text(path: Path) -> str:
    if not path.is_file():
        raise InputError(
            f"log {path.parent.name}: no file {path.name} in {path.parent}; a SAGE folder holds "
            f"{', '.join(FILES)}"
        )
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{path}: {size} bytes, more than {MAX_BYTES}; split the recording")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}; export it again") from None


def _interpolated(t: np.ndarray, stamps: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(t, stamps, column) for column in values.T], axis=1)


def _refuse(path: Path, line: int, fault: str) -> NoReturn:
    raise InputError(f"{path} line {line}: {fault}; remove a line that broke off, or export again")
