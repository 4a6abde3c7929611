"""Log readers: one file per format, each with `accepts(path)` and `read(path, arm)`."""

from collections.abc import Iterable
from pathlib import Path

from regrasp.assets.arm import Arm
from regrasp.errors import InputError
from regrasp.sim2real.log import Log
from regrasp.sim2real.readers import repeats, sage

READERS = {"SAGE folder": sage, "npz of runs": repeats}
DOCUMENTS = ("LICENSE", "README", "CHANGELOG", "NOTICE")
"""Files that lie beside recordings and are no logs: a shell's `*` names them too."""


def read_logs(paths: Iterable[str | Path], arm: Arm) -> list[Log]:
    """The logs at `paths`, in order, each read once by the reader that knows its format.

    A folder that is no recording itself stands for the recordings in it. Documents such as a
    licence are passed over.

    Raises:
        InputError: nothing there, a format that no reader knows, or a log that is refused.
    """
    given = [Path(path) for path in paths]
    logs: list[Log] = []
    for path in dict.fromkeys(found for start in given for found in _expanded(start)):
        reader = next((reader for reader in READERS.values() if reader.accepts(path)), None)
        if reader is None:
            raise InputError(f"{path} is no log: give one of {', '.join(READERS)}")
        logs += reader.read(path, arm)
    if not logs:
        raise InputError(
            f"no logs in {', '.join(map(str, given)) or 'an empty list'}: "
            f"give one or more of {', '.join(READERS)}"
        )
    for log in logs:
        log.check_arm(arm)
    return logs


def _expanded(path: Path) -> list[Path]:
    """The path itself, or the recordings in a folder of recordings."""
    if not path.exists():
        raise InputError(f"no log at {path}: check the path")
    if path.is_file() and path.stem in DOCUMENTS:
        return []
    if path.is_file() or sage.accepts(path):
        return [path]
    return sorted(inner for inner in path.iterdir() if inner.is_dir() and sage.accepts(inner))
