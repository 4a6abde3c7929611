"""Cameras of a LeRobot folder: where each episode's pictures lie in its videos, and reading one."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from av.error import FFmpegError

from regrasp.errors import InputError
from regrasp.rl.lerobot import EPISODES, MAX_FRAMES, OLDER, UNREADABLE
from regrasp.sim2real.images import MAX_PIXELS, Images
from regrasp.sim2real.readers.bounds import check_size, inside, named

MAX_BYTES = 2**36
MAX_DECODED = 20_000
"""Most pictures that are decoded on the way to one: none that are kept lie so far apart."""


@dataclass(frozen=True)
class Places:
    """Of one camera, for each episode: the video, and when in it the episode begins (s)."""

    folder: Path
    shape: tuple[int, int, int]
    paths: tuple[Path, ...]
    starts_s: tuple[float, ...]


def places(folder: Path, info: Mapping[str, Any], episodes: int) -> dict[str, Places]:
    """Every camera whose pictures are in videos."""
    features = info["features"]
    names = [n for n in features if features[n].get("dtype") == "video" and "/" not in n]
    if info["codebase_version"] == OLDER:
        size = info.get("chunks_size")
        size = size if isinstance(size, int) and size > 0 else 1000
        files = {
            name: tuple(
                folder / f"videos/chunk-{i // size:03d}/{name}/episode_{i:06d}.mp4"
                for i in range(episodes)
            )
            for name in names
        }
        return {
            n: Places(folder, _shape(features[n]), f, (0.0,) * episodes) for n, f in files.items()
        }
    found = {}
    for name in names:
        columns = [f"videos/{name}/{k}" for k in ("chunk_index", "file_index", "from_timestamp")]
        try:
            parts = [
                pq.read_table(p, columns=columns)
                for p in sorted((folder / EPISODES).glob("*/*.parquet"))
            ]
            chunk, file, start = (column.to_pylist() for column in pa.concat_tables(parts).columns)
            paths = tuple(
                folder / f"videos/{name}/chunk-{int(c):03d}/file-{int(f):03d}.mp4"
                for c, f in zip(chunk, file, strict=True)
            )
            starts = tuple(float(s) for s in start)
        except (*UNREADABLE, OverflowError):
            continue
        if len(paths) == episodes <= MAX_FRAMES and np.isfinite(starts).all():
            found[name] = Places(folder, _shape(features[name]), paths, starts)
    return found


def images(
    cameras: Mapping[str, Places], episode: int, t: np.ndarray
) -> tuple[dict[str, Images], tuple[str, ...]]:
    """An episode's cameras, and what is missing of them.

    Args:
        cameras: where they are.
        episode: its number.
        t: stamps from the episode's start (s).
    """
    found, notes = {}, []
    for name, at in cameras.items():
        path = at.paths[episode]
        if path.is_file():
            times = at.starts_s[episode] + t
            found[name] = Images(len(t), at.shape, partial(_picture, at.folder, path, times))
        else:
            notes.append(f"no video {path.name} of {name}")
    return found, tuple(notes)


def _shape(feature: Mapping[str, Any]) -> tuple[int, int, int]:
    """Rows, columns and channels as a feature tells them; 0 where it does not."""
    shape, names = feature.get("shape"), feature.get("names")
    if not (isinstance(shape, list) and len(shape) == 3 and all(type(n) is int for n in shape)):
        return 0, 0, 3
    if isinstance(names, list) and names[:1] in (["channels"], ["channel"]):
        shape = [*shape[1:], shape[0]]
    return shape[0], shape[1], 3


def _picture(folder: Path, path: Path, times: np.ndarray, index: int) -> np.ndarray:
    """The picture on show at a time: the last that is not later, within half a frame."""
    inside(folder, path)
    check_size(path, MAX_BYTES)
    kinds = (
        *(FFmpegError, OSError, ValueError, IndexError, MemoryError, TypeError, OverflowError),
        *(AttributeError, KeyError, RuntimeError, ZeroDivisionError, NotImplementedError),
    )
    with named(path, "video", *kinds), av.open(str(path), mode="r", format="mp4") as container:
        stream = container.streams.video[0]
        if stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
            raise InputError(f"{path} has pictures of more than {MAX_PIXELS} pixels: refused")
        if not stream.time_base or not stream.average_rate:
            raise InputError(f"{path} does not say how its time runs: write it again")
        half = 0.5 / float(stream.average_rate)
        wanted = float(times[index])
        container.seek(max(0, int(wanted / float(stream.time_base))), stream=stream)
        last = None
        for count, frame in enumerate(container.decode(stream)):
            if count > MAX_DECODED:
                break
            if frame.time is None or frame.width * frame.height > MAX_PIXELS:
                raise InputError(
                    f"{path} has a picture without a time, or too large: write it again"
                )
            if frame.time > wanted + half and last is not None:
                break
            last = frame
            if abs(frame.time - wanted) <= half:
                break
        if last is None or abs(last.time - wanted) > 3 * half:
            raise InputError(
                f"{path} has no picture at {wanted:.3f} s: it is cut short; copy it again"
            )
        return last.to_ndarray(format="rgb24")
