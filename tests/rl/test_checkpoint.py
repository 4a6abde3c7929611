"""Checkpoints come back as they were, or are refused by name."""

import pickle
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regrasp.errors import InputError
from regrasp.rl.checkpoint import load_tree, save_tree


class Part(NamedTuple):
    weights: Any
    step: Any


def tree(scale: float = 1.0) -> dict[str, Any]:
    net = {"Dense_0": {"kernel": scale * jnp.arange(6.0).reshape(2, 3), "bias": jnp.ones(3)}}
    return {"net": net, "memory": (Part(np.float64(0.1 * scale), np.int64(7)), jnp.int32(3))}


def test_round_trip(tmp_path: Path):
    save_tree(tmp_path / "c.npz", tree())
    found = load_tree(tmp_path / "c.npz", tree(scale=0))
    assert isinstance(found["memory"][0], Part)
    pairs = zip(*(map(np.asarray, jax.tree.leaves(t)) for t in (found, tree())), strict=True)
    for ours, theirs in pairs:
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["c.npz"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t["net"]["Dense_0"].update(bias=jnp.ones(4)), r"net/Dense_0/bias.*\[4\]"),
        (lambda t: t["net"]["Dense_0"].update(bias=jnp.ones((3, 1))), r"net/Dense_0/bias"),
        (lambda t: t["net"]["Dense_0"].update(bias=jnp.ones(3, int)), r"net/Dense_0/bias.*int32"),
        (lambda t: t["net"]["Dense_0"].update(scale=jnp.ones(3)), "nothing as net/Dense_0/scale"),
    ],
)
def test_another_structure_is_refused(tmp_path: Path, change, says: str):
    save_tree(tmp_path / "c.npz", tree())
    like = tree()
    change(like)
    with pytest.raises(InputError, match="other settings") as refused:
        load_tree(tmp_path / "c.npz", like)
    assert refused.match(says)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float):
    path = tmp_path / "c.npz"
    save_tree(path, tree())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match="not whole"):
        load_tree(path, tree())


def test_a_changed_byte_is_refused(tmp_path: Path):
    path = tmp_path / "c.npz"
    save_tree(path, tree())
    whole = bytearray(path.read_bytes())
    at = bytes(whole).index(np.ones(3, np.float32).tobytes())
    whole[at] ^= 1
    path.write_bytes(whole)
    with pytest.raises(InputError, match="not whole"):
        load_tree(path, tree())


def test_nothing_is_unpickled(tmp_path: Path):
    opened = tmp_path / "opened"

    class Hostile:
        def __reduce__(self):
            return Path.touch, (opened,)

    hostile: Any = np.empty(1, object)
    hostile[0] = Hostile()
    np.savez(tmp_path / "c.npz", net=hostile)
    (tmp_path / "plain.npz").write_bytes(pickle.dumps(Hostile()))
    for name in ("c.npz", "plain.npz"):
        with pytest.raises(InputError, match="not whole"):
            load_tree(tmp_path / name, {"net": jnp.ones(1)})
    assert not opened.exists()


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"no checkpoint at .*c\.npz"):
        load_tree(tmp_path / "c.npz", tree())
