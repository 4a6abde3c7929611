"""Pytrees of arrays in .npz files, whole or not at all, never pickled."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from regrasp.envs.snapshot import UNREADABLE
from regrasp.errors import InputError
from regrasp.files import whole


def save_tree(path: str | Path, tree: Any) -> None:
    """Write the arrays of a pytree under their paths."""
    found = jax.tree_util.tree_leaves_with_path(tree)
    leaves: dict[str, Any] = {_name(place): np.asarray(leaf) for place, leaf in found}
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
    except UNREADABLE as error:
        raise InputError(f"checkpoint {path} is not whole ({error}): make it again") from None
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    found = []
    for place, leaf in leaves:
        array = arrays.get(_name(place))
        wanted = np.asarray(leaf)
        if array is None or (array.shape, array.dtype) != (wanted.shape, wanted.dtype):
            holds = "nothing" if array is None else f"{array.dtype}{list(array.shape)}"
            raise InputError(
                f"checkpoint {path} holds {holds} as {_name(place)}, not {wanted.dtype}"
                f"{list(wanted.shape)}: it was made with other settings; use those or start a new run"
            )
        found.append(array)
    return jax.tree.unflatten(structure, found)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
