"""A simulation, kept: everything that a rollout depends on."""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float32, Float64
from mujoco.batch import MODEL_FIELDS

from regrasp.envs.randomizer import nominal
from regrasp.errors import InputError
from regrasp.files import whole

FORMAT = 2
MAX_FILE_BYTES = 2**30
UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a broken or hostile .npz file can raise."""


@dataclass(frozen=True)
class Snapshot:
    """One kept simulation, or a stack of n with a leading axis on every array.

    Made by `BatchEnv.take` and put back by `BatchEnv.restore` and `BatchEnv.fork`.
    """

    row: Float64[np.ndarray, "... nstate"]
    """MuJoCo's integration state, warm start and plasticity included."""
    carry: Mapping[str, np.ndarray]
    """Key, step count, controller, executor and task carry, by path."""
    fields: Mapping[str, np.ndarray]
    """Randomised model fields; what derives from them is recomputed on restore."""
    task: str
    fingerprint: str
    """Hash of the compiled model and of this format."""
    table: str = "[]"
    """What differed between episodes where this was taken: a table's rows, as JSON."""

    @property
    def stacked(self) -> bool:
        return self.row.ndim == 2

    def __len__(self) -> int:
        return len(self.row) if self.stacked else 1

    def __getitem__(self, index: Any) -> "Snapshot":
        """Some snapshots of a stack: an integer gives one, a slice or an array a stack."""
        if not self.stacked:
            raise InputError("this snapshot is a single one, not a stack: it cannot be indexed")
        return self._map(lambda a: a[index])

    def stack(self) -> "Snapshot":
        """This snapshot as a stack (of one, if it is single)."""
        return self if self.stacked else self._map(lambda a: np.asarray(a)[None])

    @staticmethod
    def concatenate(parts: "list[Snapshot]") -> "Snapshot":
        """One stack of all of them."""
        parts = [part.stack() for part in parts]
        first = parts[0]
        if any(part.fingerprint != first.fingerprint for part in parts):
            raise InputError("snapshots of different models cannot be stacked: keep them apart")
        if any(part.fields.keys() != first.fields.keys() for part in parts):
            raise InputError(
                "snapshots with different randomised fields cannot be stacked: make them alike with "
                "`BatchEnv.fitting`"
            )
        return Snapshot(
            row=np.concatenate([part.row for part in parts]),
            carry={k: np.concatenate([part.carry[k] for part in parts]) for k in first.carry},
            fields={k: np.concatenate([part.fields[k] for part in parts]) for k in first.fields},
            task=first.task,
            fingerprint=first.fingerprint,
            table=first.table,
        )

    def save(self, path: str | Path) -> None:
        """Write to an .npz file, whole or not at all. Nothing in it is pickled."""
        with whole(path) as temporary:
            temporary.write_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        """What `save` writes."""
        meta = {
            "format": FORMAT,
            "task": self.task,
            "fingerprint": self.fingerprint,
            "table": self.table,
        }
        arrays: dict[str, Any] = {
            "meta": np.array(json.dumps(meta)),
            "row": self.row,
            **{f"carry/{name}": array for name, array in self.carry.items()},
            **{f"field/{name}": array for name, array in self.fields.items()},
        }
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)
        return file.getvalue()

    @classmethod
    def load(cls, path: str | Path) -> "Snapshot":
        """Read a file that `save` wrote.

        Raises:
            InputError: no such file, not a snapshot, cut short, or of another format version.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"no snapshot at {path}: check the path")
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > MAX_FILE_BYTES:
                raise InputError(
                    f"snapshot {path} unpacks to {size} bytes, more than {MAX_FILE_BYTES}: refused"
                )
            with np.load(path, allow_pickle=False) as data:
                arrays = {name: data[name] for name in data.files}
            meta = json.loads(str(arrays.pop("meta")))
            row, version = arrays.pop("row"), meta["format"]
            task, digest = str(meta["task"]), str(meta["fingerprint"])
            table = str(meta.get("table", "[]"))
        except UNREADABLE as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} is not a whole snapshot ({error}): take it again") from None
        if version != FORMAT:
            raise InputError(
                f"snapshot {path} has format {version}, this version reads {FORMAT}: take it again"
            )
        part = {
            prefix: {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
            for prefix in ("carry/", "field/")
        }
        return cls(row, part["carry/"], part["field/"], task, digest, table)

    def _map(self, f: Any) -> "Snapshot":
        return Snapshot(
            row=f(self.row),
            carry={name: f(array) for name, array in self.carry.items()},
            fields={name: f(array) for name, array in self.fields.items()},
            task=self.task,
            fingerprint=self.fingerprint,
            table=self.table,
        )


def fingerprint(model: mujoco.MjModel) -> str:
    """Hash of a compiled model, of the engine's version and of the snapshot format."""
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    digest = hashlib.sha256(buffer.tobytes())
    digest.update(f"{mujoco.__version__} {FORMAT}".encode())
    return digest.hexdigest()[:32]


def table_of(randomizer: object) -> str:
    """A randomizer's rows as JSON text; what has none to show is an empty table."""
    return json.dumps(getattr(randomizer, "to_json", list)())


def pushed_by(table: str) -> tuple[str, ...]:
    """The bodies that a snapshot's table pushes.

    Raises:
        InputError: the table is not what `table_of` made.
    """
    try:
        return tuple(str(body) for row in json.loads(table) for body in row.get("pushed", ()))
    except (ValueError, TypeError, AttributeError):
        raise InputError("this snapshot's table cannot be read: take it again") from None


def with_depth(
    past: Float32[np.ndarray, "rows depth size"], depth: int
) -> Float32[np.ndarray, "rows new size"]:
    """The newest blocks of a history, and before the oldest one all as it was then.

    Of a state that remembers nothing they are NaN: what it looks like is known once it has been put back.
    """
    kept = past[:, :depth]
    oldest = (
        kept[:, -1:]
        if kept.shape[1]
        else np.full_like(past, np.nan, shape=(len(past), 1, past.shape[2]))
    )
    return np.concatenate([kept, np.repeat(oldest, depth - kept.shape[1], axis=1)], axis=1)


def check_fit(
    stack: Snapshot,
    model: mujoco.MjModel,
    digest: str,
    row_size: int,
    carry: Mapping[str, tuple[int, ...]],
) -> None:
    """Refuse a stack that does not fit an environment, before anything is changed.

    Args:
        stack: what is to be put back.
        model: the environment's nominal model.
        digest: its fingerprint.
        row_size: numbers in a state row.
        carry: shapes of the environment's carry for one simulation, by path.

    Raises:
        InputError: it does not fit; the message says why.
    """
    if stack.fingerprint != digest:
        raise InputError(
            f"this snapshot is of another model or version (task {stack.task}, "
            f"{stack.fingerprint}; this one is {digest}): take it again in this environment"
        )
    if {name: array.shape[1:] for name, array in stack.carry.items()} != dict(carry):
        raise InputError(
            "this snapshot has another executor or task carry: make the environment alike"
        )
    lengths = {len(array) for array in (*stack.carry.values(), *stack.fields.values())}
    if stack.row.shape[1:] != (row_size,) or lengths != {len(stack)}:
        raise InputError(
            f"this snapshot's arrays do not fit (rows {stack.row.shape}): take it again"
        )
    for name, values in stack.fields.items():
        own = nominal(model, name) if name in MODEL_FIELDS else None
        if own is None or values.shape[1:] != own.shape or not _harmless(name, values, own):
            raise InputError(
                f"this snapshot's field {name!r} does not fit the model: take it again"
            )


def _harmless(name: str, values: np.ndarray, own: np.ndarray) -> bool:
    """Numbers can only make a simulation strange; indices from a file could make the engine crash."""
    if name.endswith("_sameframe"):
        return values.dtype == own.dtype and bool(np.isin(values, range(5)).all())
    return values.dtype.kind == own.dtype.kind == "f"
