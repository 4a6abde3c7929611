"""Files written whole or not at all."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

from regrasp.errors import InputError


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends without an error.

    The block may make a file or a folder there. A folder replaces an older one, a file does not.

    Raises:
        InputError: the folder cannot be written to, the disk is full, or a file would replace a folder.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        temporary = folder
        yield folder / path.name
        if path.is_dir():
            if not (folder / path.name).is_dir():
                raise InputError(f"{path} is a folder: choose the name of a file")
            path.rename(folder / "replaced")
        os.replace(folder / path.name, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise InputError(
                f"no space left to write {path}: free some disk space and run again"
            ) from None
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
            raise InputError(
                f"cannot write {path}: {error.strerror}; choose another folder"
            ) from None
        raise
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: str | Path, kind: str) -> Any:
    """Read a JSON file.

    Raises:
        InputError: there is no such file, or it is not JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise InputError(f"no {kind} at {path}: check the path") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{kind} {path} cannot be read: {error}; make it again") from None


def known(value: Any) -> Any:
    """The same as JSON knows it: None for what is not finite, lists for tuples."""
    if isinstance(value, dict):
        return {key: known(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [known(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value
