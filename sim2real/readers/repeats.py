"""Many runs in one npz: keys `<motion>__<run>__t`, `__cmd`, `__q` and `__qd`.

Times are s, columns in the arm's joint order, in rad; the gripper's position is 0..1 of its range.
Velocities are whole encoder steps per second.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from regrasp.assets.arm import Arm, load_arm
from regrasp.errors import InputError
from regrasp.sim2real.log import Log, Refused, attempt
from regrasp.sim2real.units import ReadConfig

FIELDS = ("t", "cmd", "q", "qd")
UNREADABLE = (
    *(OSError, ValueError, EOFError, KeyError, TypeError, RuntimeError, MemoryError, OverflowError),
    *(
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        SyntaxError,
        struct.error,
        AttributeError,
    ),
)
MAX_BYTES = 512 * 2**20
"""Most bytes that are unpacked; a zip file's own size says little."""

STEP_RAD = 2 * np.pi / 4096
"""Encoder step of an arm joint. Velocities in these files are whole numbers, at the median over 55 runs
614 to 630 times the slope of the position, and a turn has 4096 steps (652 per rad).
"""
JAW_STEPS = 1506
"""Encoder steps from 0 to 1 of the gripper. Source: these files, whose gripper positions are whole
multiples of 1/1506.
"""


def accepts(path: Path) -> bool:
    """Whether `path` is an npz file."""
    return path.is_file() and path.suffix == ".npz"


def read(path: Path, arm: Arm | None, config: ReadConfig = ReadConfig()) -> Iterator[Log | Refused]:  # noqa: B008
    """Every run in the file, in the file's order; a log is named after its motion.

    Its units are the format's; None is the SO-101.

    Raises:
        InputError: not an npz of plain arrays, or too large.
    """
    arrays = _arrays(path)
    for run in dict.fromkeys(key.rpartition("__")[0] for key in arrays):
        source = f"{path}#{run}"
        make = partial(_log, path, run, arrays, arm or load_arm("so101"))
        yield attempt(run.partition("__")[0], source, make)


def _log(path: Path, run: str, arrays: dict[str, np.ndarray], arm: Arm) -> Log:
    for field in FIELDS[:3]:
        if f"{run}__{field}" not in arrays:
            raise InputError(f"{path}: run {run!r} has no {run}__{field}; add the array")
    qd = arrays.get(f"{run}__qd")
    if qd is not None and qd.ndim == 2:
        qd = qd * np.where(np.arange(qd.shape[-1]) < qd.shape[-1] - 1, STEP_RAD, 1 / JAW_STEPS)
    return Log(
        name=run.partition("__")[0],
        joints=arm.joint_names,
        t=arrays[f"{run}__t"],
        cmd=arrays[f"{run}__cmd"],
        q=arrays[f"{run}__q"],
        qd=qd,
        clock="recording computer, measured",
        source=f"{path}#{run}",
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise InputError(f"{path}: {size} bytes unpacked, more than {MAX_BYTES}; split it")
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(f"{path} is not an npz of plain arrays: {error}; make it again") from None
    for key, array in arrays.items():
        motion, _, field = key.rpartition("__")
        if not motion or field not in FIELDS:
            raise InputError(
                f"{path}: key {key!r} is not <motion>__<run>__ and one of {', '.join(FIELDS)}"
            )
        if array.dtype.kind not in "fiu":
            raise InputError(f"{path}: {key} holds {array.dtype}, needs numbers; save it again")
    return {key: array.astype(np.float64) for key, array in arrays.items()}
