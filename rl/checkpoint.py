"""Pytrees of arrays in .npz files, whole or not at all, never pickled."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from regrasp.errors import InputError
from regrasp.files import whole


def save_tree(path: str | Path, tree: Any) -> None:
    """Write the arrays of a pytree under their paths."""
    found = jax.tree_util.tree_leaves_with_path(tree)
    leaves: dict[str, Any] = {_name(path): np.asarray(leaf) for path, leaf in found}
    with whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **leaves)


def load_tree(path: str | Path, like: Any) -> Any:
    """Read a pytree with the structure, shapes and types of `like`.

    Raises:
        InputError: no such file, cut short, or of another structure.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
    except FileNotFoundError:
        raise InputError(
            f"no checkpoint at {path}: check the path, or run the step that makes it"
        ) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"checkpoint {path} is not whole ({error}): make it again") from None
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    found = []
    for place, leaf in leaves:
        array = arrays.get(_name(place))
        if array is None or array.shape != np.shape(leaf):
            shape = None if array is None else array.shape
            raise InputError(
                f"checkpoint {path} has {_name(place)} of shape {shape}, expected {np.shape(leaf)}: "
                "it was made with other settings; use the same or start a new run"
            )
        found.append(np.asarray(array, np.asarray(leaf).dtype))
    return jax.tree.unflatten(structure, found)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
