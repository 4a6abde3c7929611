"""ALOHA episodes: HDF5 with /observations/{qpos,qvel,effort}, /action and the cameras' pictures.

Joints are rad, left arm first; grippers are normalised, commands of real ones as the leader's motor angle.
There are no stamps: a rate is assumed. Observation t was measured just before action t was sent.
"""

import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from regrasp.assets.arm import Arm, load_arm
from regrasp.errors import InputError
from regrasp.rl.aloha_write import ENVIRONMENT
from regrasp.sim2real.images import MAX_PIXELS, Images, decode
from regrasp.sim2real.log import Log, Refused, attempt
from regrasp.sim2real.readers.bounds import MAX_SAMPLES, check_size, matrix, named
from regrasp.sim2real.readers.joints import Joints, as_commands, find_joints
from regrasp.sim2real.units import Converter, ReadConfig, linkages

RATE_HZ = 50.0
"""Of the teleoperation loop, which sleeps 20 ms in every step and accepts episodes as slow as 42 Hz."""
MAX_BYTES = 2**36
MAX_CHUNK_BYTES = 2**27
MAX_NUMBERS = 2**26
MAX_CAMERAS = 32
MAX_TERMS = 64
FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
"""What may pack numbers; other filters are plug-ins, which a file must not load."""
UNREADABLE = (
    *(OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError),
    *(MemoryError, OverflowError, NotImplementedError, UnicodeError, zlib.error, RecursionError),
)


def accepts(path: Path) -> bool:
    """Whether `path` is an HDF5 file."""
    return path.is_file() and path.suffix in (".hdf5", ".h5")


def read(path: Path, arm: Arm | None, config: ReadConfig = ReadConfig()) -> Iterator[Log | Refused]:  # noqa: B008
    """The one episode of a file.

    Args:
        path: the file.
        arm: one of the two arms; None is the ViperX 300s of an ALOHA.
        config: gripper constants of a real one, its rate.
    """
    yield attempt(path.stem, str(path), lambda: _log(path, arm or load_arm("viperx300s"), config))


def _log(path: Path, arm: Arm, config: ReadConfig) -> Log:
    check_size(path, MAX_BYTES)
    with named(path, "HDF5 file", *UNREADABLE), h5py.File(path, "r") as file:
        raw = {
            key: _numbers(path, file, name)
            for key, name in (
                *(("q", "observations/qpos"), ("cmd", "action")),
                *(("qd", "observations/qvel"), ("effort", "observations/effort")),
            )
        }
        attributes = {k: _plain(file.attrs, k) for k in ("sim", "dt_s", "gripper")}
        base = "base_action" in file
        observed, odd = _environment(path, file)
        images, notes = _images(path, file)
    if raw["q"] is None:
        raise InputError(f"{path} has no /observations/qpos: choose a file that an ALOHA recorded")
    q, width = raw["q"], raw["q"].shape[1]
    for key, values in raw.items():
        if values is not None and values.shape != q.shape:
            raise InputError(
                f"{path}: {key} has shape {values.shape}, qpos {q.shape}; record it again"
            )
    joints = find_joints(path.stem, (), arm, width)
    config, how = _grippers(path, raw, joints, attributes, config)
    convert = Converter(config, joints.names, joints.grippers, arm)
    q = convert(q, commands=False)
    cmd = None if raw["cmd"] is None else convert(raw["cmd"], commands=True)
    cmd, commands, said = as_commands(cmd, q)
    if base:
        notes = (*notes, "its base moves (/base_action), which is not read")
    t, clock, measured, assumed = _time(len(q), attributes, config)
    return Log(
        name=path.stem,
        joints=joints.names,
        t=t,
        cmd=cmd,
        q=q,
        qd=None if raw["qd"] is None else convert.velocity(raw["qd"]),
        effort=raw["effort"],
        clock=clock,
        source=str(path),
        grippers=joints.grippers,
        commands=commands,
        measured_time=measured,
        notes=(*assumed, *how, *said, *notes, *odd),
        images={name: one for name, one in images.items() if len(one) == len(q)},
        observed=observed,
    )


def _time(
    count: int, attributes: Mapping[str, Any], config: ReadConfig
) -> tuple[np.ndarray, str, bool, tuple[str, ...]]:
    """Stamps, whose clock made them, whether it did, and what is assumed."""
    dt = attributes["dt_s"]
    if isinstance(dt, float) and 1e-4 <= dt <= 10 and not config.rate_hz:
        return np.arange(count) * dt, "simulation", True, ()
    rate = config.rate_hz or RATE_HZ
    said = f"no stamps: {rate:g} Hz is assumed"
    if not config.rate_hz:
        said += "; its loop may have run at 42 to 50 Hz (--rate-hz)"
    return np.arange(count) / rate, f"none; {rate:g} Hz assumed", False, (said,)


def _grippers(
    path: Path,
    raw: Mapping[str, np.ndarray | None],
    joints: Joints,
    attributes: Mapping[str, Any],
    config: ReadConfig,
) -> tuple[ReadConfig, tuple[str, ...]]:
    """The config with this file's own gripper convention, and what is assumed of it."""
    from dataclasses import replace

    config = replace(config, angles=config.angles or "rad")
    if config.grippers:
        return config, ()
    if attributes["gripper"] == "opening":
        return replace(config, grippers="opening"), ()
    if attributes["sim"] is True:
        return replace(config, grippers="opening"), (
            "simulated: its grippers are taken as openings",
        )
    raise InputError(
        f"{path}: commands of its grippers are the leader's motor angle, whose constants differ: give "
        f"--grippers, one of {', '.join(linkages())}, or opening{_closest(raw, joints)}"
    )


def _closest(raw: Mapping[str, np.ndarray | None], joints: Joints) -> str:
    """Which constants make the commands most like what was measured, as an offer."""
    cmd, q = raw["cmd"], raw["q"]
    if cmd is None or q is None or not np.isfinite(cmd).all() or not np.isfinite(q).all():
        return ""
    at = list(joints.grippers)
    if np.ptp(cmd[:, at]) < 0.2 or np.abs(cmd[:, at]).max() > 2:
        return ""
    errors = {"opening": cmd[:, at] - q[:, at]}
    for name, linkage in linkages().items():
        if linkage.bar_m is not None and name != "act++":  # Its follower is ACT's.
            errors[name] = linkage.opening_of_command(cmd[:, at]) - q[:, at]
    sizes = {name: float(np.median(np.abs(error))) for name, error in errors.items()}
    best = sorted(sizes, key=lambda name: sizes[name])
    told = ", ".join(f"{name} {sizes[name]:.3f}" for name in best)
    return f" (median distance of commands from measured openings: {told})"


def _hard(file: h5py.File, name: str) -> Any:
    """What is at a name, reached by hard links alone; None if there is nothing.

    Raises:
        InputError: a link leads elsewhere.
    """
    at: Any = file
    for part in name.split("/"):
        if not isinstance(at, h5py.Group):
            return None
        link = at.get(part, getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise InputError(
                f"/{name} of {file.filename} is a link to elsewhere: refused; copy what it holds"
            )
        at = at.get(part)
    return at


def _sound(where: str, data: Any, kinds: str) -> h5py.Dataset:
    """A dataset that holds its own numbers, in chunks of a bearable size.

    Raises:
        InputError: it does not.
    """
    if not isinstance(data, h5py.Dataset) or data.shape is None:
        raise InputError(f"{where} is no array: record it again")
    if data.dtype.kind not in kinds or data.dtype.hasobject:
        raise InputError(f"{where} holds {data.dtype}, needs numbers: record it again")
    if data.external or data.is_virtual:
        raise InputError(f"{where} lies in another file: refused; copy its numbers into one")
    layout = data.id.get_create_plist()
    for i in range(layout.get_nfilters()):
        number = layout.get_filter(i)[0]
        if number not in FILTERS:
            raise InputError(f"{where} is packed by filter {number}: repack it with gzip")
    if (
        data.chunks
        and int(np.prod(data.chunks, dtype=object)) * data.dtype.itemsize > MAX_CHUNK_BYTES
    ):
        raise InputError(f"{where} has chunks of more than {MAX_CHUNK_BYTES} bytes: repack it")
    return data


def _check_chunks(where: str, data: h5py.Dataset, rows: slice | None = None) -> None:
    """Refuse chunks that unpack to more than a chunk holds, before they are unpacked."""
    layout = data.id.get_create_plist()
    filters = [layout.get_filter(i)[0] for i in range(layout.get_nfilters())]
    if not data.chunks or 1 not in filters:
        return
    most = int(np.prod(data.chunks, dtype=object)) * data.dtype.itemsize + 64
    grid = [range(0, size, step) for size, step in zip(data.shape, data.chunks, strict=True)]
    if rows is not None:
        first = rows.start // data.chunks[0] * data.chunks[0]
        grid[0] = range(first, first + 1)
    if int(np.prod([len(r) for r in grid], dtype=object)) > MAX_SAMPLES:
        raise InputError(f"{where} is in too many chunks: repack it")
    for offset in np.ndindex(*(len(r) for r in grid)):
        place = tuple(r[i] for r, i in zip(grid, offset, strict=True))
        info = data.id.get_chunk_info_by_coord(place)
        if info.byte_offset is None or info.size > most + 2**16:
            if info.byte_offset is not None:
                raise InputError(f"{where}: chunk {place} has {info.size} bytes: refused")
            continue
        _, packed = data.id.read_direct_chunk(place)
        if len(zlib.decompressobj().decompress(packed, most + 1)) > most:
            raise InputError(f"{where}: chunk {place} unpacks to more than {most} bytes: refused")


def _numbers(path: Path, file: h5py.File, name: str) -> np.ndarray | None:
    """An array (time, joints), if there is one."""
    found, where = _hard(file, name), f"{path}: /{name}"
    if found is None:
        return None
    data = _sound(where, found, "fiu")
    if (data.size or 0) > MAX_NUMBERS:
        raise InputError(f"{where} has {data.size} numbers, more than {MAX_NUMBERS}: split it")
    _check_chunks(where, data)
    return matrix(where, data[()])


def _environment(path: Path, file: h5py.File) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """What was observed of objects, where regrasp wrote it, and what is odd about it."""
    group = _hard(file, ENVIRONMENT)
    if not isinstance(group, h5py.Group):
        return {}, ()
    found, notes = {}, []
    for term in sorted(group)[:MAX_TERMS]:
        try:
            found[term] = _numbers(path, file, f"{ENVIRONMENT}/{term}")
        except InputError as error:
            notes.append(f"not read: {error}")
    return {term: values for term, values in found.items() if values is not None}, tuple(notes)


def _images(path: Path, file: h5py.File) -> tuple[dict[str, Images], tuple[str, ...]]:
    """Cameras, and what is odd about them."""
    group = _hard(file, "observations/images")
    if not isinstance(group, h5py.Group):
        return {}, ()
    images, notes = {}, []
    for name in sorted(group)[:MAX_CAMERAS]:
        where = f"{path}: camera {name!r:.60}"
        try:
            data = _sound(where, _hard(file, f"observations/images/{name}"), "u")
        except InputError as error:
            notes.append(str(error))
            continue
        raw = data.ndim == 4 and data.shape[3] == 3 and data.dtype == np.uint8
        packed = data.ndim == 2 and data.dtype == np.uint8
        if not (raw or packed) or int(np.prod(data.shape[1:], dtype=object)) > 3 * MAX_PIXELS:
            notes.append(f"{where} has pictures of shape {data.shape[1:]}, which are not read")
            continue
        shape = (data.shape[1], data.shape[2], 3) if raw else (0, 0, 3)
        images[name] = Images(data.shape[0], shape, partial(_picture, path, name))
    lengths = {len(one) for one in images.values()}
    if len(lengths) > 1:
        notes.append(f"its cameras have {', '.join(map(str, sorted(lengths)))} pictures")
    return images, tuple(notes)


def _picture(path: Path, camera: str, index: int) -> np.ndarray:
    where = f"{path}: picture {index} of camera {camera!r}"
    with named(path, "HDF5 file", *UNREADABLE), h5py.File(path, "r") as file:
        data = _sound(where, _hard(file, f"observations/images/{camera}"), "u")
        _check_chunks(where, data, slice(index, index + 1))
        values = data[index]
    return values if values.ndim == 3 else decode(values.tobytes(), where)


def _plain(attributes: Any, name: str) -> Any:
    """An attribute as a bool, a float or text, if it is one of these."""
    if name not in attributes:
        return None
    value = attributes[name]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray | np.generic):
        if value.size != 1:
            return None
        value = value.reshape(-1)[0].item() if isinstance(value, np.ndarray) else value.item()
    if isinstance(value, int) and name == "sim":
        return bool(value)
    return value if isinstance(value, bool | float | str) else None
