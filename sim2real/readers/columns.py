"""Plain tables: npz, csv or parquet with columns `t, cmd_<joint>, q_<joint>` and, if measured, `qd_<joint>`.

What else was observed, such as where objects are, stands in columns `obs_<term>.<number>`.

Their units are whatever the recorder chose, so the caller says them; a file of regrasp's own says
`units = rad, opening`. One file is one episode.
"""

import csv
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from regrasp.assets.arm import Arm
from regrasp.errors import InputError
from regrasp.files import whole
from regrasp.rl.lerobot import parquet_size
from regrasp.sim2real.log import Log, Refused, attempt
from regrasp.sim2real.readers.bounds import MAX_JOINTS, MAX_SAMPLES, check_size, named
from regrasp.sim2real.readers.joints import as_commands, find_joints, terms
from regrasp.sim2real.units import Converter, ReadConfig

MAX_BYTES = 2**28
OWN_UNITS = "rad, opening"
PREFIXES = ("q_", "cmd_", "qd_", "obs_")
UNREADABLE = (
    *(pa.ArrowException, OSError, ValueError, KeyError, TypeError, EOFError, IndexError, csv.Error),
    *(zlib.error, struct.error, SyntaxError, AttributeError, RecursionError),
    *(
        zipfile.BadZipFile,
        NotImplementedError,
        MemoryError,
        OverflowError,
        UnicodeError,
        RuntimeError,
    ),
)


def accepts(path: Path) -> bool:
    """Whether `path` is a table; an npz of runs has `__` in its names and is not."""
    if not path.is_file() or path.suffix not in FORMATS:
        return False
    if path.suffix != ".npz":
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False
    return any(name in ("t.npy", "t") or name.startswith(("q_", "cmd_")) for name in names)


def read(path: Path, arm: Arm | None, config: ReadConfig = ReadConfig()) -> Iterator[Log | Refused]:  # noqa: B008
    """The one episode of a table.

    Args:
        path: the file.
        arm: the arm, or one of the two arms, that was recorded; None takes the columns' own joints.
        config: units.
    """
    yield attempt(path.stem, str(path), lambda: _log(path, arm, config))


def write(path: Path, log: Log) -> None:
    """Write a log as an npz that `read` reads without being told anything."""
    arrays = {
        "t": log.t,
        "units": np.array(OWN_UNITS),
        "measured_time": np.array(log.measured_time),
    }
    for prefix, values in (("cmd", log.cmd), ("q", log.q), ("qd", log.qd)):
        if values is not None and not (prefix == "cmd" and log.commands != "sent"):
            for name, column in zip(log.joints, values.T, strict=True):
                if prefix != "cmd" or name not in log.uncommanded:
                    arrays[f"{prefix}_{name}"] = column
    for term, values in log.observed.items():
        for number, column in enumerate(np.reshape(values, (len(values), -1)).T):
            arrays[f"obs_{term}.{number}"] = column
    with whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _log(path: Path, arm: Arm | None, config: ReadConfig) -> Log:
    check_size(path, MAX_BYTES)
    with named(path, f"{path.suffix[1:]} table", *UNREADABLE):
        table, units = FORMATS[path.suffix](path)
    if units == OWN_UNITS:
        config = replace(
            config, angles=config.angles or "rad", grippers=config.grippers or "opening"
        )
    for name, column in table.items():
        if column.ndim != 1 or len(column) != len(next(iter(table.values()))):
            raise InputError(
                f"{path}: column {name!r:.60} is not one number per row; write it again"
            )
    if not table or len(next(iter(table.values()))) > MAX_SAMPLES:
        raise InputError(f"{path} has no columns, or more than {MAX_SAMPLES} rows: split it")
    parts = {
        p: {n[len(p) + 1 :]: c for n, c in table.items() if n.startswith(f"{p}_")}
        for p in ("cmd", "q", "qd", "obs")
    }
    if not parts["q"]:
        raise InputError(f"{path} has no columns q_<joint>: name them t, cmd_<joint>, q_<joint>")
    if len(parts["q"]) > MAX_JOINTS:
        raise InputError(
            f"{path} has {len(parts['q'])} joints, more than {MAX_JOINTS}: leave some out"
        )
    names = list(parts["q"])
    for part in ("cmd", "qd"):
        if odd := [n for n in parts[part] if n not in names]:
            raise InputError(
                f"{path}: column {part}_{odd[0]:.60} has no q_{odd[0]:.60} beside it; add it"
            )
    # Columns that are only numbered follow the arm's order.
    numbered = all(name.isdecimal() for name in names)
    order = sorted(names, key=int) if numbered else names
    joints = find_joints(path.stem, () if numbered else order, arm, len(order))
    columns = [order[i] for i in joints.columns]
    convert = Converter(config, joints.names, joints.grippers, arm)
    measured = np.stack([parts["q"][n] for n in columns], axis=1)
    q = convert(measured, commands=False)
    free = np.array([n not in parts["cmd"] for n in columns])
    commanded = np.stack(
        [parts["cmd"].get(n, np.repeat(parts["q"][n][:1], len(q))) for n in columns], axis=1
    )
    cmd = convert(commanded, commands=True)
    cmd[:, free] = q[:1, free]
    commands, said = "next state", ("it has no commands: nothing was sent",)
    if free.all():
        cmd, free = np.concatenate([q[1:], q[-1:]]), np.zeros(len(free), bool)
    else:
        cmd[:, ~free], commands, said = as_commands(cmd[:, ~free], q[:, ~free])
    qd = None
    if set(parts["qd"]) == set(columns):
        qd = convert.velocity(np.stack([parts["qd"][n] for n in columns], axis=1))
    t, clock, measured_time, assumed = _time(path, table, config, len(q))
    return Log(
        name=path.stem,
        joints=joints.names,
        t=t,
        cmd=cmd,
        q=q,
        qd=qd,
        clock=clock,
        source=str(path),
        grippers=joints.grippers,
        commands=commands,
        uncommanded=tuple(n for n, is_free in zip(joints.names, free, strict=True) if is_free),
        measured_time=measured_time,
        notes=(*said, *assumed),
        observed=terms(parts["obs"]),
    )


def _time(
    path: Path, table: Mapping[str, np.ndarray], config: ReadConfig, count: int
) -> tuple[np.ndarray, str, bool, tuple[str, ...]]:
    if "t" in table:
        measured = bool(table.get("measured_time", np.ones(1))[0])
        return table["t"], "column t" if measured else "column t, assumed", measured, ()
    if not config.rate_hz:
        raise InputError(f"{path} has no column t (s): add it, or give --rate-hz")
    said = (f"no stamps: {config.rate_hz:g} Hz is assumed",)
    return np.arange(count) / config.rate_hz, f"none; {config.rate_hz:g} Hz assumed", False, said


def _from_npz(path: Path) -> tuple[dict[str, np.ndarray], str]:
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
            raise InputError(f"{path} unpacks to more than {MAX_BYTES} bytes: split it")
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    units = arrays.pop("units", np.array(""))
    measured = arrays.pop("measured_time", np.array(True))
    table = {name: _plain(path, name, array) for name, array in arrays.items()}
    if measured.size == 1 and not measured.reshape(-1)[0] and "t" in table:
        table["measured_time"] = np.zeros(len(table["t"]))
    return table, str(units)[:80]


def _from_csv(path: Path) -> tuple[dict[str, np.ndarray], str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, strict=True)
        head = [name.strip() for name in next(rows, [])]
        if not head or len(set(head)) != len(head) or len(head) > 4 * MAX_JOINTS:
            raise InputError(f"{path}: its first row is not a list of different columns: add one")
        values = np.empty((2**10, len(head)))
        count = 0
        for row in rows:
            if not row:
                continue
            if len(row) != len(head):
                raise InputError(
                    f"{path} line {rows.line_num}: {len(row)} cells, needs {len(head)}; repair it"
                )
            if count == len(values):
                values = np.concatenate([values, np.empty_like(values)])
            try:
                values[count] = row
            except ValueError:
                raise InputError(
                    f"{path} line {rows.line_num}: a cell is no number; repair it"
                ) from None
            count += 1
            if count > MAX_SAMPLES:
                raise InputError(f"{path} has more than {MAX_SAMPLES} rows: split it")
    return {name: values[:count, i] for i, name in enumerate(head)}, ""


def _from_parquet(path: Path) -> tuple[dict[str, np.ndarray], str]:
    names = [n for n in pq.read_schema(path).names if n == "t" or n.startswith(PREFIXES)]
    rows, numbers = parquet_size(path, names)
    if rows > MAX_SAMPLES or 8 * numbers > MAX_BYTES:
        raise InputError(f"{path} has {rows} rows with {numbers} numbers: split it")
    table = pq.ParquetFile(path).read(columns=names)
    arrays = {n: table[n].to_numpy() for n in table.column_names}
    return {name: _plain(path, name, array) for name, array in arrays.items()}, ""


def _plain(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: column {name!r:.60} holds {array.dtype}, needs numbers: write it again"
        )
    return array.astype(np.float64)


FORMATS = {".npz": _from_npz, ".csv": _from_csv, ".parquet": _from_parquet}
