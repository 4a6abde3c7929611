"""Many runs in one npz: keys `<motion>__<run>__t`, `__cmd`, `__q` and `__qd`.

Times are s, columns in the arm's joint order in rad, the gripper 0..1 of its range.
"""

import zipfile
from pathlib import Path

import numpy as np

from regrasp.assets.arm import Arm
from regrasp.errors import InputError
from regrasp.sim2real.log import Log

FIELDS = ("t", "cmd", "q", "qd")
MAX_BYTES = 512 * 2**20
"""Most bytes that are unpacked; a zip file's own size says little."""


def accepts(path: Path) -> bool:
    """Whether `path` is an npz file."""
    return path.is_file() and path.suffix == ".npz"


def read(path: Path, arm: Arm) -> list[Log]:
    """Every run in the file, in the file's order; a log is named after its motion.

    Raises:
        InputError: not an npz of plain arrays, too large, or a run lacks an array.
    """
    arrays = _arrays(path)
    logs = []
    for run in dict.fromkeys(key.rpartition("__")[0] for key in arrays):
        for field in FIELDS[:3]:
            if f"{run}__{field}" not in arrays:
                raise InputError(f"{path}: run {run!r} has no {run}__{field}; add the array")
        values = {field: arrays.get(f"{run}__{field}") for field in FIELDS}
        logs.append(
            Log(
                name=run.partition("__")[0],
                joints=arm.joint_names,
                clock="recording computer, measured",
                source=f"{path}#{run}",
                **values,
            )
        )
    return logs


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise InputError(f"{path}: {size} bytes unpacked, more than {MAX_BYTES}; split it")
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        if isinstance(error, InputError):
            raise
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
