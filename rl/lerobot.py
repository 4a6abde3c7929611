"""The LeRobot v3.0 layout, and reading it: numbers per frame, and what describes them.

Version 2.1, which recorders still write, is read by the same functions from its own layout.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int, Shaped

from regrasp.errors import InputError
from regrasp.files import read_json

VERSION, OLDER = "v3.0", "v2.1"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
EPISODES, DATA = "meta/episodes", "data"
TASK_LINES, EPISODE_LINES = "meta/tasks.jsonl", "meta/episodes.jsonl"
"""Tables of version 2.1, as JSON lines; early folders of version 3.0 still have the tasks so."""
FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
MAX_JSON_BYTES = 2**24
MAX_FRAMES = 2**24
MAX_WIDTH = 4096
"""Most numbers of one feature in one frame."""
MAX_NUMBERS = 2**28
"""Most numbers that are read from the parquet files of one folder (2 GiB as float64)."""
COUNTERS = ("frame_index", "episode_index", "index", "task_index")
UNREADABLE = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError)


@dataclass(frozen=True)
class Frames:
    """Episodes, one after the other, as they stand in a LeRobot folder."""

    fps: float
    """Frames per second."""
    lengths: Int[np.ndarray, " episodes"]
    """Frames of each episode."""
    values: Mapping[str, Float[np.ndarray, "frames _"]]
    """Feature -> its numbers, such as `action` and `observation.state`."""
    names: Mapping[str, tuple[str, ...]]
    """Feature -> names of its numbers; empty where the folder gives none."""
    tasks: tuple[str, ...] = ("",)
    """What is done, in words."""
    task_index: Int[np.ndarray, " episodes"] | None = None
    """Which task each episode does; None: the first."""
    timestamp_s: Float[np.ndarray, " frames"] | None = None
    """Time in the episode; None: frame number / fps."""
    robot: str = ""
    extra: Mapping[str, Shaped[np.ndarray, " episodes"]] = field(default_factory=dict)
    """Further columns of the table of episodes."""

    @property
    def starts(self) -> Int[np.ndarray, " bounds"]:
        """Where each episode begins, and where the last one ends."""
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)

    @property
    def episode_index(self) -> Int[np.ndarray, " frames"]:
        """The episode that each frame belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @property
    def frame_index(self) -> Int[np.ndarray, " frames"]:
        """The number of each frame in its episode."""
        return np.arange(self.starts[-1]) - self.starts[self.episode_index]


def read(
    folder: str | Path, versions: tuple[str, ...] = (VERSION,), *, finite: bool = True
) -> Frames:
    """Read a LeRobot folder: every vector of real numbers; images and videos are left out.

    Counts in `info.json` are often wrong: the frames themselves count; a difference is warned of.

    Args:
        folder: the data set.
        versions: those that are understood, of VERSION and OLDER.
        finite: refuse the folder if any number is not finite; otherwise they are kept.

    Raises:
        InputError: no such folder, another version, or files that are missing, cut short, too large
            or at odds with each other; the message names the file.
    """
    folder = Path(folder)
    info = read_info(folder, versions)
    widths = _widths(folder, info)
    data = _read_parquet(folder, f"{DATA}/*/*.parquet", ["timestamp", *COUNTERS, *widths])
    lengths = _lengths(folder, data)
    values = {name: _numbers(folder, data, name, width, finite) for name, width in widths.items()}
    if info["codebase_version"] == OLDER:
        per_episode = _episode_lines(folder)
    else:
        per_episode = _read_parquet(folder, f"{EPISODES}/*/*.parquet", None)
    _check_episodes(folder, per_episode, lengths)
    for name, count in (("total_episodes", len(lengths)), ("total_frames", len(data))):
        if info.get(name) != count:
            told = f"{folder / INFO} says {name} {info.get(name)}, the frames say {count}"
            warnings.warn(f"{told}: the frames are taken at their word", stacklevel=2)
    tasks = _read_tasks(folder)
    which = _counter(folder, data, "task_index")[np.cumsum(lengths) - lengths]
    if not np.isin(which, np.arange(len(tasks))).all():
        raise _odd(folder / "meta", f"{len(tasks)} tasks, but the frames name task {which.max()}")
    extra = {f.name: per_episode[f.name].to_numpy() for f in per_episode.schema if _is_extra(f)}
    names = {name: _names(info["features"][name], width) for name, width in widths.items()}
    robot = str(info.get("robot_type") or "")
    stamps = _numbers(folder, data, "timestamp", 1, finite)[:, 0]
    return Frames(float(info["fps"]), lengths, values, names, tasks, which, stamps, robot, extra)


def read_info(folder: Path, versions: tuple[str, ...] = (VERSION,)) -> dict[str, Any]:
    """Read and check `info.json`, of one of these versions.

    Raises:
        InputError: missing, not JSON, of another version, or without fps or features.
    """
    path = folder / INFO
    info = read_small_json(path, "LeRobot description")
    version = info.get("codebase_version")
    if version not in versions:
        raise InputError(
            f"{path} has version {version!r}: choose a LeRobot folder of {' or '.join(versions)}"
        )
    fps = info.get("fps")
    if not isinstance(fps, int | float) or not 0 < fps < 1e6:
        raise _odd(path, f"fps is {fps!r}, not a positive number")
    features = info.get("features")
    if not isinstance(features, dict) or not all(isinstance(f, dict) for f in features.values()):
        raise _odd(path, "it has no table of features")
    return info


def read_small_json(path: Path, kind: str) -> dict[str, Any]:
    """Read a JSON object of bounded size.

    Raises:
        InputError: no such file, too large, or not a JSON object.
    """
    if path.is_file() and path.stat().st_size > MAX_JSON_BYTES:
        raise InputError(f"{kind} {path} has more than {MAX_JSON_BYTES} bytes: refused")
    try:
        value = read_json(path, kind)
    except RecursionError:
        raise _odd(path, "it is nested too deeply") from None
    if not isinstance(value, dict):
        raise _odd(path, "it is not a JSON object")
    return value


def _widths(folder: Path, info: dict[str, Any]) -> dict[str, int]:
    """Features of real numbers, and how many numbers each has in a frame."""
    widths = {}
    for name, feature in info["features"].items():
        shape = feature.get("shape")
        if feature.get("dtype") not in ("float32", "float64") or name == "timestamp":
            continue
        if not (isinstance(shape, list) and all(type(size) is int for size in shape)):
            raise _odd(folder / INFO, f"feature {name!r} has shape {shape}, not whole numbers")
        if len(shape) != 1:
            continue
        if not 1 <= shape[0] <= MAX_WIDTH:
            raise _odd(folder / INFO, f"{name!r} has {shape[0]} numbers, not 1 to {MAX_WIDTH}")
        widths[name] = shape[0]
    return widths


def _names(feature: dict[str, Any], width: int) -> tuple[str, ...]:
    """Names of a feature's numbers: a list, or a dictionary that holds one."""
    names = feature.get("names")
    if isinstance(names, dict) and len(names) == 1:
        names = next(iter(names.values()))
    fits = isinstance(names, list) and len(names) == width
    return tuple(str(name) for name in names) if fits and names else ()


def _read_parquet(folder: Path, pattern: str, columns: list[str] | None) -> pa.Table:
    """All files of a pattern, in order, without statistics; refused before reading if too large."""
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise InputError(f"no {pattern} in {folder}: copy the whole LeRobot folder again")
    try:
        sizes = [parquet_size(path, columns) for path in paths]
        if sum(n for _, n in sizes) > MAX_NUMBERS or sum(rows for rows, _ in sizes) > MAX_FRAMES:
            raise InputError(f"{folder / pattern} holds more than {MAX_NUMBERS} numbers: refused")
        tables = []
        for path in paths:
            have = pq.read_schema(path).names
            missing = [name for name in columns or () if name not in have]
            if missing:
                raise _odd(path, f"it has no column {missing[0]!r}")
            wanted = columns or [name for name in have if not name.startswith("stats/")]
            tables.append(pq.ParquetFile(path).read(columns=wanted))
        return pa.concat_tables(tables, promote_options="permissive")
    except InputError:
        raise
    except UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _odd(folder / pattern, f"it cannot be read ({reason})") from None


def parquet_size(path: Path, columns: list[str] | None) -> tuple[int, int]:
    """Rows, and numbers in all of them, as a parquet file declares them.

    Args:
        path: the file.
        columns: those that count; None: all.

    Raises:
        pyarrow.ArrowException, OSError: the file is damaged.
    """
    with pq.ParquetFile(path) as file:
        head = file.metadata
        if head.num_rows > MAX_FRAMES or not head.num_rows:
            return head.num_rows, 0
        names = [head.schema.column(i).path for i in range(head.num_columns)]
        wanted = [
            i
            for i, name in enumerate(names)
            if columns is None or any(name == one or name.startswith(f"{one}.") for one in columns)
        ]
        numbers = 0
        for group in range(head.num_row_groups):
            # Damage in what describes a column ends the whole process when it is asked for its size,
            # and is an exception when a row is read.
            next(file.iter_batches(1, row_groups=[group], columns=columns, use_threads=False), None)
            numbers += sum(head.row_group(group).column(i).num_values for i in wanted)
        return head.num_rows, numbers


def _counter(folder: Path, table: pa.Table, name: str) -> Int[np.ndarray, " rows"]:
    """A column of whole numbers."""
    column = table[name]
    if not pa.types.is_integer(column.type) or column.null_count:
        raise _odd(folder / DATA, f"column {name!r} is {column.type}, not whole numbers")
    return column.to_numpy().astype(np.int64)


def _numbers(
    folder: Path, table: pa.Table, name: str, width: int, finite: bool
) -> Float[np.ndarray, "rows w"]:
    """A column of `width` real numbers per row, all finite where that is asked for."""
    column = table[name].combine_chunks()
    where = folder / DATA
    if pa.types.is_nested(column.type):
        lists = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
        if not lists and not pa.types.is_fixed_size_list(column.type):
            raise _odd(where, f"column {name!r} is {column.type}, not lists of numbers")
        sizes = column.value_lengths().to_numpy(zero_copy_only=False)
        if column.null_count or (sizes != width).any():
            raise _odd(where, f"column {name!r} does not have {width} numbers in every row")
        column = column.flatten()
    if not pa.types.is_floating(column.type) or column.null_count:
        raise _odd(where, f"column {name!r} is {column.type}, not real numbers")
    if len(column) != len(table) * width:
        raise _odd(where, f"column {name!r} does not have {width} numbers in every row")
    array = column.to_numpy(zero_copy_only=False).reshape(len(table), width)
    if finite and not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise _odd(where, f"column {name!r} is not finite in row {row}")
    return array


def _lengths(folder: Path, data: pa.Table) -> Int[np.ndarray, " episodes"]:
    """Frames of each episode, from the frames themselves."""
    episode, frame = (_counter(folder, data, n) for n in ("episode_index", "frame_index"))
    if not len(episode):
        raise _odd(folder / DATA, "it holds no frames")
    first = np.flatnonzero(np.diff(episode, prepend=-1))
    lengths = np.diff(first, append=len(episode))
    if not np.array_equal(episode[first], np.arange(len(first))):
        raise _odd(folder / DATA, "its episodes are not numbered 0, 1, 2, ... in order")
    if not np.array_equal(frame, np.arange(len(frame)) - np.repeat(first, lengths)):
        raise _odd(folder / DATA, "its frames are not numbered 0, 1, 2, ... in every episode")
    return lengths


def _check_episodes(folder: Path, table: pa.Table, lengths: np.ndarray) -> None:
    where = folder / EPISODES
    for name in ("episode_index", "length"):
        if name not in table.column_names:
            raise _odd(where, f"it has no column {name!r}")
    told = {name: _counter(folder, table, name) for name in ("episode_index", "length")}
    if not np.array_equal(told["episode_index"], np.arange(len(lengths))):
        raise _odd(where, f"it lists {len(table)} episodes, the frames hold {len(lengths)}")
    if not np.array_equal(told["length"], lengths):
        episode = int(np.flatnonzero(told["length"] != lengths)[0])
        told_length = told["length"][episode]
        raise _odd(where, f"episode {episode} has {lengths[episode]} frames, not {told_length}")


def _is_extra(column: pa.Field) -> bool:
    """Whether a column of the table of episodes is one that LeRobot does not know: a plain one."""
    known = column.name in ("episode_index", "length") or "/" in column.name
    return not known and (pa.types.is_boolean(column.type) or pa.types.is_integer(column.type))


def _read_tasks(folder: Path) -> tuple[str, ...]:
    """Tasks in the order of their numbers."""
    if (folder / TASK_LINES).is_file() and not (folder / TASKS).is_file():
        table = _json_lines(folder / TASK_LINES, {"task_index": pa.int64(), "task": pa.string()})
    else:
        table = _read_parquet(folder, TASKS, None)
    names = [name for name in table.column_names if name != "task_index"]
    if not names or len(names) == len(table.column_names):
        raise _odd(folder / TASKS, "it does not have a column of tasks and one of their numbers")
    text = table[names[0]].to_pylist()
    order = _counter(folder, table, "task_index")
    if sorted(order) != list(range(len(order))):
        raise _odd(folder / TASKS, "its tasks are not numbered 0, 1, 2, ...")
    return tuple(str(text[i]) for i in np.argsort(order))


def _episode_lines(folder: Path) -> pa.Table:
    """The table of episodes of version 2.1."""
    kinds = {"episode_index": pa.int64(), "length": pa.int64()}
    return _json_lines(folder / EPISODE_LINES, kinds)


def _json_lines(path: Path, kinds: Mapping[str, pa.DataType]) -> pa.Table:
    """These columns of a file with a JSON object in every line."""
    if not path.is_file():
        raise InputError(f"no {path.name} in {path.parent}: copy the whole LeRobot folder again")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise InputError(f"{path} has more than {MAX_JSON_BYTES} bytes: refused")
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
        return pa.table({n: pa.array([row[n] for row in rows], k) for n, k in kinds.items()})
    except (*UNREADABLE, RecursionError, AttributeError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _odd(path, f"it cannot be read ({reason})") from None


def _odd(path: Path, reason: str) -> InputError:
    return InputError(f"{path} does not fit: {reason}; write or copy the folder again")
