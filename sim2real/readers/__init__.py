"""Log readers: one file per format, each with `accepts(path)` and `read(path, arm, config)`."""

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from regrasp.assets.arm import Arm
from regrasp.errors import InputError
from regrasp.sim2real.log import MIN_MOTION, Log, Refused
from regrasp.sim2real.readers import aloha, bags, columns, lerobot, repeats, sage, umi
from regrasp.sim2real.units import ReadConfig


class Reader(Protocol):
    """What a module of this folder offers."""

    def accepts(self, path: Path) -> bool:
        """Whether a path is of this format."""
        ...

    def read(self, path: Path, arm: Arm | None, config: ReadConfig) -> Iterable[Log | Refused]:
        """Its episodes; an arm of None takes what the recording says."""
        ...


READERS: dict[str, Reader] = {
    "SAGE folder": sage,
    "LeRobot folder": lerobot,
    "UMI zarr": umi,
    "ROS bag or MCAP": bags,
    "ALOHA HDF5": aloha,
    "table": columns,
    "npz of runs": repeats,
}
"""The first that accepts a path reads it."""
TURNED = ("ALOHA HDF5", "LeRobot folder", "table")
"""Formats that do not define which way joints turn, and from where: signs and zeros may be given."""
DOCUMENTS = ("LICENSE", "README", "CHANGELOG", "NOTICE")
"""Files that lie beside recordings and are no logs: a shell's `*` names them too."""


def read_logs(
    paths: Iterable[str | Path],
    arm: Arm,
    config: ReadConfig = ReadConfig(),  # noqa: B008
) -> list[Log]:
    """The logs at `paths`, in order, each read once by the reader that knows its format.

    A folder that is no recording itself stands for the recordings in it. Documents such as a
    licence are passed over. A log of two arms becomes one of each; an arm that is not moved is
    left out with a warning.

    Args:
        paths: recordings, or folders of them.
        arm: the arm that was recorded.
        config: what the recordings do not say themselves.

    Raises:
        InputError: nothing there, a format that no reader knows, or a log that is refused or has no
            commands of its own.
    """
    given = [Path(path) for path in paths]
    logs: list[Log] = []
    for path, reader in find(given):
        if reader is None:
            raise InputError(f"{path} is no log: give one of {', '.join(READERS)}")
        for found in _episodes(path, reader, arm, config):
            if isinstance(found, Refused):
                raise InputError(found.reason)
            found.check_commands()
            logs += _arms(found)
    if not logs:
        raise InputError(
            f"no logs in {', '.join(map(str, given)) or 'an empty list'}: "
            f"give one or more of {', '.join(READERS)}"
        )
    for log in logs:
        log.check_arm(arm)
    return logs


def look(
    paths: Iterable[str | Path],
    arm: Arm | None = None,
    config: ReadConfig = ReadConfig(),  # noqa: B008
) -> Iterator[tuple[str, Log | Refused]]:
    """Every episode at `paths` with its format's name; what is no log is refused, not raised.

    Args:
        paths: recordings, or folders of them.
        arm: the arm that was recorded; None takes what recordings say.
        config: what the recordings do not say themselves.

    Raises:
        InputError: there is nothing at a path.
    """
    for path, reader in find(map(Path, paths)):
        if reader is None:
            reason = f"{path} is no log: give one of {', '.join(READERS)}"
            yield "unknown", Refused(path.name, str(path), reason)
            continue
        try:
            for found in _episodes(path, reader, arm, config):
                yield reader, found
        except InputError as error:
            yield reader, Refused(path.name, str(path), str(error))


def find(paths: Iterable[Path]) -> Iterator[tuple[Path, str | None]]:
    """Each recording at `paths` once, with the name of its reader; None if no reader knows it.

    Raises:
        InputError: there is nothing at a path.
    """
    for path in dict.fromkeys(found for start in paths for found in _expanded(start)):
        yield path, _reader(path)


def _reader(path: Path) -> str | None:
    return next((name for name, reader in READERS.items() if reader.accepts(path)), None)


def _episodes(
    path: Path, reader: str, arm: Arm | None, config: ReadConfig
) -> Iterable[Log | Refused]:
    """What a reader finds.

    Raises:
        InputError: signs or zeros are given for a format that defines them itself.
    """
    if reader not in TURNED:
        config.check_unturned(f"{path} is a {reader} whose angles are defined")
    return READERS[reader].read(path, arm, config)


def _expanded(path: Path) -> list[Path]:
    """The path itself, or the recordings in a folder of recordings."""
    if not path.exists():
        raise InputError(f"no log at {path}: check the path")
    if path.is_file() and path.stem in DOCUMENTS:
        return []
    if path.is_file() or _reader(path):
        return [path]
    return sorted(inner for inner in path.iterdir() if _reader(inner))


def _arms(log: Log) -> list[Log]:
    """The log, or one log of each arm that moves."""
    if not log.sides:
        return [log]
    found = []
    for side in log.sides:
        columns = [name.startswith(f"{side}/") for name in log.joints]
        if np.ptp(log.cmd[:, columns], axis=0).max() < MIN_MOTION:
            warnings.warn(
                f"log {log.name}: the {side} arm is not moved and is left out", stacklevel=3
            )
        else:
            found.append(log.side(side))
    return found
