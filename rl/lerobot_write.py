"""Writing the LeRobot v3.0 layout: one file of frames, and the tables that loaders look up."""

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Shaped

from regrasp.files import write_json
from regrasp.rl.lerobot import DATA, EPISODES, FILE, INFO, STATS, TASKS, VERSION, Frames

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
Figures = dict[str, dict[str, list]]
"""Feature -> figure -> one value per number of the feature."""


def write(folder: Path, frames: Frames) -> None:
    """Write the layout into a folder (see `regrasp.files.whole` for writing a folder at once)."""
    tasks = np.zeros(len(frames.lengths), np.int64)
    if frames.task_index is not None:
        tasks = frames.task_index
    columns = _columns(frames, tasks)
    shapes = {name: 1 if a.ndim == 1 else a.shape[1] for name, a in columns.items()}
    features = {
        name: {
            "dtype": str(array.dtype),
            "shape": [shapes[name]],
            "names": list(frames.names.get(name, ())) or None,
        }
        for name, array in columns.items()
    }
    stats = [
        figures({name: array[a:b] for name, array in columns.items()})
        for a, b in pairwise(frames.starts)
    ]
    write_json(folder / INFO, _info(frames, features))
    write_json(folder / STATS, figures(columns))
    _write_table(folder / TASKS, _tasks_table(frames.tasks))
    _write_table(folder / EPISODES / _file(), _episodes_table(frames, tasks, stats))
    _write_data(folder / DATA / _file(), columns, frames.starts)


def _file(chunk: int = 0, file: int = 0) -> str:
    return FILE.format(chunk_index=chunk, file_index=file)


def _columns(frames: Frames, tasks: np.ndarray) -> dict[str, np.ndarray]:
    """Every column of the data files."""
    frame, stamps = frames.frame_index, frames.timestamp_s
    return {
        **{name: np.asarray(array, np.float32) for name, array in frames.values.items()},
        "timestamp": np.asarray(frame / frames.fps if stamps is None else stamps, np.float32),
        "frame_index": frame,
        "episode_index": frames.episode_index,
        "index": np.arange(len(frame)),
        "task_index": np.repeat(tasks, frames.lengths),
    }


def _info(frames: Frames, features: dict[str, Any]) -> dict[str, Any]:
    fps = int(frames.fps) if float(frames.fps).is_integer() else float(frames.fps)
    return {
        "codebase_version": VERSION,
        "robot_type": frames.robot or None,
        "total_episodes": len(frames.lengths),
        "total_frames": int(frames.starts[-1]),
        "total_tasks": len(frames.tasks),
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 500,
        "fps": fps,
        "splits": {"train": f"0:{len(frames.lengths)}"},
        "data_path": f"{DATA}/{FILE}",
        "video_path": None,
        "features": features,
    }


def _tasks_table(tasks: tuple[str, ...]) -> pa.Table:
    """Tasks, with the description of a pandas index: loaders look tasks up by their text."""
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": list(tasks)})
    kinds = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {"name": n, "field_name": n, "pandas_type": p, "numpy_type": k, "metadata": None}
            for n, (p, k) in kinds.items()
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _episodes_table(frames: Frames, tasks: np.ndarray, stats: list[Figures]) -> pa.Table:
    zeros = np.zeros(len(frames.lengths), np.int64)
    columns: dict[str, Any] = {
        "episode_index": np.arange(len(frames.lengths)),
        "tasks": [[frames.tasks[i]] for i in tasks],
        "length": np.asarray(frames.lengths, np.int64),
        "data/chunk_index": zeros,
        "data/file_index": zeros,
        "dataset_from_index": frames.starts[:-1],
        "dataset_to_index": frames.starts[1:],
        **frames.extra,
    }
    for feature, known in stats[0].items():
        for figure in known:
            columns[f"stats/{feature}/{figure}"] = [one[feature][figure] for one in stats]
    columns |= {"meta/episodes/chunk_index": zeros, "meta/episodes/file_index": zeros}
    return pa.table(columns)


def _write_table(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="snappy")


def _write_data(path: Path, columns: dict[str, np.ndarray], starts: np.ndarray) -> None:
    """All frames in one file, a row group per episode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({name: _arrow(array) for name, array in columns.items()})
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for a, b in pairwise(starts):
            writer.write_table(table.slice(a, b - a), row_group_size=int(b - a))


def _arrow(array: np.ndarray) -> pa.Array:
    """A column; several numbers per frame become a list of fixed size."""
    if array.ndim == 1 or array.shape[1] == 1:
        return pa.array(array.ravel())
    return pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), array.shape[1])


def figures(columns: Mapping[str, Shaped[np.ndarray, "frames *_"]]) -> Figures:
    """Smallest, largest, mean, standard deviation, count and quantiles of every column."""
    return {name: _figures(np.reshape(array, (len(array), -1))) for name, array in columns.items()}


def _figures(values: Shaped[np.ndarray, "frames _"]) -> dict[str, list]:
    exact = values.astype(np.float64)
    quantiles = np.quantile(exact, list(QUANTILES.values()), axis=0)
    return {
        "min": values.min(axis=0).tolist(),
        "max": values.max(axis=0).tolist(),
        "mean": exact.mean(axis=0).tolist(),
        "std": exact.std(axis=0).tolist(),
        "count": [len(values)],
        **dict(zip(QUANTILES, quantiles.tolist(), strict=True)),
    }
