"""UMI data sets (zarr, as a folder or a zip): poses of a hand-held gripper, to joints by inverse kinematics.

Nobody sent commands, so these logs can be cloned and show no servo's error. The gripper's frame is the
recorder's: z out of the hand, fingers closing along x; widths are between both fingers.
"""

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.transform import Rotation

from regrasp.assets.arm import Arm, load_arm
from regrasp.assets.workcell import SIDES, Workcell
from regrasp.errors import InputError
from regrasp.sim2real.log import Log, Refused, attempt
from regrasp.sim2real.readers.bounds import MAX_SAMPLES, inside, named
from regrasp.sim2real.readers.joints import as_commands
from regrasp.sim2real.units import ReadConfig

if TYPE_CHECKING:
    from regrasp.rl.experts.ik import Reach

RATE_HZ = 60.0
"""Of the camera in the gripper (59.94)."""
MAX_BYTES = 2**29
"""Most bytes of one array, packed or not."""
MAX_CHUNKS = 2**16
MAX_ERROR_M = 0.01
"""A pose that the hand stays further from is out of the arm's reach."""
HAND = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
"""Axes of the house's gripper site, as columns in the recorder's gripper frame."""
PACKERS = ("blosc", "zlib", "gzip")
UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError, EOFError),
    *(
        MemoryError,
        OverflowError,
        zlib.error,
        zipfile.BadZipFile,
        NotImplementedError,
        struct.error,
    ),
    *(RecursionError, UnicodeError),
)


def accepts(path: Path) -> bool:
    """Whether `path` is a zarr folder or a zip of one."""
    if path.is_dir():
        return path.suffix == ".zarr" or (path / "meta" / "episode_ends").is_dir()
    return path.is_file() and path.name.endswith((".zarr.zip", ".zarr"))


def read(path: Path, arm: Arm | None, config: ReadConfig = ReadConfig()) -> Iterator[Log | Refused]:  # noqa: B008
    """Every episode of a data set.

    Args:
        path: folder or zip.
        arm: of the workcell that is to follow the hands; None is the ViperX 300s.
        config: where the poses' frame is in the workcell, and the rate.

    Raises:
        InputError: no such arrays, or they are damaged, too large or lead elsewhere.
    """
    arm = arm or load_arm("viperx300s")
    ends = _array(path, "meta/episode_ends")
    if ends is None:
        raise InputError(f"{path} has no meta/episode_ends: choose a data set of UMI")
    if (
        ends.ndim != 1
        or not len(ends)
        or len(ends) > MAX_SAMPLES
        or (np.diff(ends, prepend=0) <= 0).any()
    ):
        raise InputError(
            f"{path}: meta/episode_ends do not increase from above 0: convert it again"
        )
    total = int(ends[-1])
    hands = [robot for robot in range(2) if _exists(path, f"data/robot{robot}_eef_pos")]
    if not hands:
        raise InputError(f"{path} has no data/robot0_eef_pos: choose a data set of UMI with poses")
    notes = tuple(
        f"pictures of camera{i} are not read"
        for i in range(2)
        if _exists(path, f"data/camera{i}_rgb")
    )
    tracks = [
        np.concatenate(
            [_column(path, f"robot{robot}_{name}", width, total) for name, width in _PARTS], axis=1
        )
        for robot in hands
    ]
    if arm.name != "viperx300s":
        raise InputError(
            f"{path}: poses are followed by the arms of ALOHA alone, not by {arm.name}: choose --arm "
            "viperx300s"
        )
    reaches = [_reach(arm, side) for side in SIDES[: len(hands)]]
    for number, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        name, source = f"{path.name.partition('.')[0]}/{number:06d}", f"{path}#{number}"
        part = [track[int(begin) : int(end)] for track in tracks]
        yield attempt(name, source, partial(_log, name, source, part, arm, reaches, config, notes))


@lru_cache(2)
def _reach(arm: Arm, side: str) -> "Reach":
    from regrasp.rl.experts.ik import Reach

    return Reach(Workcell(arm), side)


_PARTS = (("eef_pos", 3), ("eef_rot_axis_angle", 3), ("gripper_width", 1))


def _log(
    name: str,
    source: str,
    tracks: list[np.ndarray],
    arm: Arm,
    reaches: "list[Reach]",
    config: ReadConfig,
    notes: tuple[str, ...],
) -> Log:
    sides = [""] if len(tracks) == 1 else [f"{side}/" for side in SIDES]
    q = np.concatenate(
        [
            _followed(name, track, arm, reach, config)
            for track, reach in zip(tracks, reaches, strict=True)
        ],
        axis=1,
    )
    cmd, commands, said = as_commands(None, q)
    rate = config.rate_hz or RATE_HZ
    count = len(arm.joints)
    return Log(
        name=name,
        joints=tuple(f"{side}{joint}" for side in sides for joint in arm.joint_names),
        t=np.arange(len(q)) / rate,
        cmd=cmd,
        q=q,
        clock=f"none; {rate:g} Hz assumed",
        source=source,
        grippers=tuple(count * (i + 1) - 1 for i in range(len(sides))),
        commands=commands,
        measured_time=False,
        notes=(
            *said,
            *notes,
            f"no stamps: {rate:g} Hz is assumed (--rate-hz)",
            f"poses became joints of {arm.name} with their frame at {config.origin_m} m, turned by "
            f"{config.origin_rotvec_rad} rad (--origin-m, --origin-rotvec-rad)",
        ),
    )


def _followed(
    name: str, track: np.ndarray, arm: Arm, reach: "Reach", config: ReadConfig
) -> np.ndarray:
    """Joints (time, joints) of an arm whose hand follows poses and widths."""
    if not np.isfinite(track).all():
        row = int(np.argmin(np.isfinite(track).all(axis=1)))
        raise InputError(f"log {name}: pose {row} is not finite; cut the episode before it")
    if np.abs(track[:, :3]).max() > 100 or np.abs(track[:, 3:6]).max() > 100:
        raise InputError(f"log {name}: poses are not in m and rad; convert them")
    turn = Rotation.from_rotvec(config.origin_rotvec_rad)
    places = turn.apply(track[:, :3]) + config.origin_m
    turns = (turn * Rotation.from_rotvec(track[:, 3:6])).as_matrix() @ HAND
    angles, path = reach.home, np.empty((len(track), len(reach.home)))
    home, _ = reach.place(reach.home)
    for i, (place, rotation) in enumerate(zip(places, turns, strict=True)):
        angles, error = reach.solve(place, rotation, angles)
        if not error <= MAX_ERROR_M:
            offer = np.round(home - turn.apply(track[:, :3]).mean(axis=0), 3)
            raise InputError(
                f"log {name}: pose {i} is {error:.3f} m out of {arm.name}'s reach; say where the poses' "
                f"frame is: --origin-m {' '.join(f'{x:g}' for x in offer)} puts their middle where the hand "
                f"is at home"
            )
        path[i] = angles
    return np.concatenate([path, arm.opening(track[:, 6:] / 2)], axis=1)


def _column(path: Path, name: str, width: int, total: int) -> np.ndarray:
    values = _array(path, f"data/{name}")
    if values is None:
        raise InputError(
            f"{path} has no data/{name}: choose a data set of UMI with poses and widths"
        )
    if values.shape != (total, width):
        raise InputError(
            f"{path}: data/{name} has shape {values.shape}, needs {(total, width)}, as episode_ends say"
        )
    return values


def _exists(path: Path, name: str) -> bool:
    return bool(_files(path, name, only=".zarray"))


def _array(path: Path, name: str) -> np.ndarray | None:
    """A whole array of numbers, float64; None if there is none.

    Raises:
        InputError: not zarr 2, too large, packed by something unknown, or damaged.
    """
    files = _files(path, name)
    if ".zarray" not in files:
        return None
    where = f"{path}/{name}"
    with named(Path(where), "zarr array", *UNREADABLE):
        head = json.loads(files[".zarray"])
        shape, chunk = _head(where, head)
        most = int(np.prod(chunk, dtype=object)) * np.dtype(head["dtype"]).itemsize
        for key, data in files.items():
            if not key.startswith("."):
                _check_chunk(f"{where}/{key}", data, head["compressor"], most)
        del files[".zarray"]
        values = _unpacked(head, files)
        if values.shape != shape:
            raise ValueError(f"shape {values.shape}")
        return values.astype(np.float64)


def _unpacked(head: Mapping[str, Any], files: Mapping[str, bytes]) -> np.ndarray:
    import zarr
    from zarr.core.buffer.cpu import Buffer
    from zarr.storage import MemoryStore

    # Only what was checked reaches the library.
    plain = {k: head[k] for k in ("zarr_format", "shape", "chunks", "dtype", "compressor", "order")}
    plain |= {"filters": None, "fill_value": 0, "dimension_separator": "."}
    stored = {"a/.zarray": json.dumps(plain).encode()}
    stored |= {f"a/{k.replace('/', '.')}": v for k, v in files.items() if not k.startswith(".")}
    store = MemoryStore({k: Buffer.from_bytes(v) for k, v in stored.items()})
    return np.asarray(zarr.open_array(store, path="a", mode="r", zarr_format=2)[...])


def _head(where: str, head: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and chunk of an array, checked."""
    if not isinstance(head, dict) or head.get("zarr_format") != 2:
        raise InputError(f"{where} is not of zarr format 2: convert it")
    shape, chunk = head.get("shape"), head.get("chunks")
    if not (
        isinstance(shape, list) and isinstance(chunk, list) and len(shape) == len(chunk) in (1, 2)
    ):
        raise InputError(
            f"{where} has shape {shape!r:.60} in chunks {chunk!r:.60}: convert it again"
        )
    if not all(type(n) is int and 0 < n <= MAX_BYTES for n in (*shape, *chunk)):
        raise InputError(
            f"{where} has shape {shape!r:.60} in chunks {chunk!r:.60}: convert it again"
        )
    kind = head.get("dtype")
    if not isinstance(kind, str) or kind[1:] not in ("f4", "f8", "f2", "i8", "i4", "u8", "u4"):
        raise InputError(f"{where} holds {kind!r:.60}, needs numbers: convert it again")
    size = np.dtype(kind).itemsize
    if max(np.prod(shape, dtype=object), np.prod(chunk, dtype=object)) * size > MAX_BYTES:
        raise InputError(f"{where} has more than {MAX_BYTES} bytes: split the data set")
    if np.prod([-(-n // c) for n, c in zip(shape, chunk, strict=True)], dtype=object) > MAX_CHUNKS:
        raise InputError(
            f"{where} is in more than {MAX_CHUNKS} chunks: convert it with larger ones"
        )
    packer = head.get("compressor")
    known = packer is None or (isinstance(packer, dict) and packer.get("id") in PACKERS)
    if not known or head.get("filters") or head.get("order") not in ("C", "F"):
        raise InputError(f"{where} is packed by {packer!r:.80}: repack it with blosc, zlib or gzip")
    return tuple(shape), tuple(chunk)


def _check_chunk(where: str, data: bytes, packer: Mapping[str, Any] | None, most: int) -> None:
    """Refuse a chunk that does not unpack to what it should, before a library unpacks it."""
    kind = None if packer is None else packer["id"]
    if kind is None:
        size = len(data)
    elif kind == "blosc":
        if len(data) < 16:
            raise InputError(f"{where} is cut short: copy it again")
        size, block, packed = struct.unpack("<III", data[4:16])
        if packed != len(data) or block > size:
            raise InputError(f"{where} is cut short: copy it again")
    else:
        size = len(zlib.decompressobj(wbits=47).decompress(data, most + 1))
    if size != most:
        raise InputError(f"{where} unpacks to {size} bytes, not {most}: copy it again")


def _files(path: Path, name: str, only: str = "") -> dict[str, bytes]:
    """Key -> content of an array's files, in a folder or a zip."""
    return _zipped(path, name, only) if path.is_file() else _loose(path, name, only)


def _loose(path: Path, name: str, only: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    total = 0
    for file in sorted((path / name).rglob(only or "*")):
        if not inside(path, file).is_file():
            continue
        total += file.stat().st_size
        if total > MAX_BYTES or len(found) > MAX_CHUNKS:
            raise InputError(f"{path}/{name} has more than {MAX_BYTES} bytes: split the data set")
        found[file.relative_to(path / name).as_posix()] = file.read_bytes()
    return found


def _zipped(path: Path, name: str, only: str) -> dict[str, bytes]:
    with named(path, "zip", *UNREADABLE), zipfile.ZipFile(path) as archive:
        # Some zips hold the folder itself, too.
        entries = [
            (entry.filename.partition(f"{name}/")[2], entry)
            for entry in archive.infolist()
            if (entry.filename.startswith(f"{name}/") or f".zarr/{name}/" in entry.filename)
            and not entry.is_dir()
        ]
        entries = [(key, entry) for key, entry in entries if not only or key == only]
        if sum(e.file_size for _, e in entries) > MAX_BYTES or len(entries) > MAX_CHUNKS:
            raise InputError(f"{path}: {name} has more than {MAX_BYTES} bytes: split the data set")
        return {key: archive.read(entry) for key, entry in entries}
