"""What every reader holds files to: they are there, of a bearable size, and do not lead elsewhere."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from regrasp.errors import InputError

MAX_SAMPLES = 2**22
"""Most samples of one episode: 11 hours at 100 Hz."""
MAX_JOINTS = 128


def check_size(path: Path, most: int) -> None:
    """Refuse a file that is not one, or too large.

    Raises:
        InputError: says so.
    """
    try:
        size = path.stat().st_size if path.is_file() else None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path") from None
    if size is None:
        raise InputError(f"{path} is no file: check the path, or copy the recording again")
    if size > most:
        raise InputError(f"{path} has {size} bytes, more than {most}: split the recording")


def inside(folder: Path, path: Path) -> Path:
    """A path that must lie in a folder, links followed.

    Raises:
        InputError: it leads out of the folder.
    """
    try:
        leads_out = not path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path!s:.200} cannot be followed ({error}): refused") from None
    if leads_out:
        raise InputError(
            f"{path!s:.200} leads out of {folder}: refused; copy what it points to instead"
        )
    return path


@contextmanager
def named(path: Path, kind: str, *kinds: type[Exception]) -> Iterator[None]:
    """What a library says of a damaged file becomes a refusal of one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except kinds as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} is no whole {kind} ({reason}): copy it again") from None


def matrix(where: str, values: np.ndarray, joints: int | None = None) -> np.ndarray:
    """Numbers (time, joints) as float64.

    Raises:
        InputError: another shape, too many, or no numbers.
    """
    if values.dtype.kind not in "fiu":
        raise InputError(f"{where} holds {values.dtype}, needs numbers: write it again")
    if values.ndim != 2 or not values.shape[0] or not 1 <= values.shape[1] <= MAX_JOINTS:
        raise InputError(
            f"{where} has shape {values.shape}, needs (samples, joints): write it again"
        )
    if joints is not None and values.shape[1] != joints:
        raise InputError(
            f"{where} has {values.shape[1]} columns, needs {joints}: choose the arm recorded"
        )
    if len(values) > MAX_SAMPLES:
        raise InputError(f"{where} has {len(values)} samples, more than {MAX_SAMPLES}: split it")
    return values.astype(np.float64)
