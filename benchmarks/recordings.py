"""Small recordings of every format, written as their own recorders write them."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numcodecs import Blosc, Zlib
from PIL import Image
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Ros2Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from regrasp.assets.arm import load_arm
from regrasp.assets.workcell import aloha
from regrasp.sim2real.units import ReadConfig

SO101 = load_arm("so101").joint_names
VIPER = load_arm("viperx300s").joint_names
BOTH = aloha().action_names
Wave = tuple[np.ndarray, np.ndarray, np.ndarray]


def wave(joints: int, samples: int = 80, rate_hz: float = 50.0, trail_s: float = 0.06) -> Wave:
    """Stamps, commands and what trails them, within 0.3 to 0.7."""
    t = np.arange(samples) / rate_hz

    def at(times: np.ndarray) -> np.ndarray:
        k = np.arange(joints)
        return 0.5 + 0.2 * np.sin((2 + 0.3 * k) * times[:, None] + k)

    return t, at(t), at(t - trail_s)


def write_aloha(path: Path, samples: int = 80, packed: bool = False, **attributes: Any) -> Path:
    """An ALOHA episode; `packed` has JPEG pictures and gzip numbers, as converters make them."""
    _, cmd, q = wave(14, samples)
    pictures = colours(samples)
    more: dict[str, Any] = {"compression": "gzip"} if packed else {}
    with h5py.File(path, "w") as file:
        for name, value in {"sim": True, "compress": packed, **attributes}.items():
            file.attrs[name] = value
        for name, values in {
            "qpos": q,
            "qvel": np.gradient(q, 0.02, axis=0),
            "effort": 100 * q,
        }.items():
            file.create_dataset(f"observations/{name}", data=values, **more)
        file.create_dataset("action", data=cmd, **more)
        if packed:
            file.create_dataset("observations/environment_state/cube_pos", data=q[:, :3], **more)
            files = [jpeg(picture) for picture in pictures]
            width = max(map(len, files))
            padded = np.array([np.frombuffer(f.ljust(width, b"\0"), np.uint8) for f in files])
            file.create_dataset("observations/images/cam_high", data=padded, chunks=(1, width))
            file.create_dataset("compress_len", data=np.array([[len(f) for f in files]]))
        else:
            file.create_dataset(
                "observations/images/cam_high", data=pictures, chunks=(1, 32, 48, 3)
            )
    return path


def colours(samples: int) -> np.ndarray:
    """Pictures of one colour each, whose red tells their number."""
    pictures = np.zeros((samples, 32, 48, 3), np.uint8)
    pictures[..., 0] = (3 * np.arange(samples) % 256)[:, None, None]
    pictures[..., 2] = 128
    return pictures


def jpeg(picture: np.ndarray) -> bytes:
    """A picture as a JPEG file."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=95)
    return out.getvalue()


def write_lerobot(
    folder: Path,
    version: str = "v3.0",
    episodes: int = 2,
    names: tuple[str, ...] = tuple(f"{name}.pos" for name in SO101),
    change: Callable[[dict[str, np.ndarray]], None] = lambda columns: None,
    video: bool = False,
) -> Path:
    """A LeRobot folder in degrees and per cent; all episodes are the same wave of 80 frames at 30 Hz."""
    fps, length = 30, 80
    t, cmd, q = wave(len(names), length, fps)
    size = np.where(["gripper" in name for name in names], 100, 180 / np.pi)
    frames = length * episodes
    columns = {
        "action": np.tile(cmd * size, (episodes, 1)).astype(np.float32),
        "observation.state": np.tile(q * size, (episodes, 1)).astype(np.float32),
        "timestamp": np.tile(t, episodes).astype(np.float32),
        "frame_index": np.tile(np.arange(length), episodes),
        "episode_index": np.repeat(np.arange(episodes), length),
        "index": np.arange(frames),
        "task_index": np.zeros(frames, np.int64),
    }
    change(columns)
    features: dict[str, Any] = {
        name: {
            "dtype": str(values.dtype),
            "shape": [1 if values.ndim == 1 else values.shape[1]],
            "names": list(names)[: values.shape[1]] if values.ndim == 2 else None,
        }
        for name, values in columns.items()
    }
    camera = "observation.images.front"
    if video:
        features[camera] = {
            "dtype": "video",
            "shape": [32, 48, 3],
            "names": ["height", "width", "channels"],
        }
    info = {
        "codebase_version": version,
        "robot_type": "so101_follower",
        "fps": fps,
        "total_episodes": episodes,
        "total_frames": frames,
        "chunks_size": 1000,
        "features": features,
    }
    put(folder / "meta/info.json", json.dumps(info))
    table = pa.table({n: list(v) if v.ndim == 2 else v for n, v in columns.items()})
    if version == "v2.1":
        rows = [{"episode_index": i, "tasks": ["wave"], "length": length} for i in range(episodes)]
        put(folder / "meta/episodes.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        put(folder / "meta/tasks.jsonl", json.dumps({"task_index": 0, "task": "wave"}) + "\n")
        for i in range(episodes):
            part = table.slice(i * length, length)
            store(folder / f"data/chunk-000/episode_{i:06d}.parquet", part)
            if video:
                film(
                    folder / f"videos/chunk-000/{camera}/episode_{i:06d}.mp4", colours(length), fps
                )
        return folder
    told: dict[str, Any] = {
        "episode_index": np.arange(episodes),
        "length": np.full(episodes, length),
        "dataset_from_index": length * np.arange(episodes),
        "dataset_to_index": length * (np.arange(episodes) + 1),
    }
    if video:
        told |= {f"videos/{camera}/{k}_index": np.zeros(episodes, int) for k in ("chunk", "file")}
        told[f"videos/{camera}/from_timestamp"] = length / fps * np.arange(episodes)
        film(folder / f"videos/{camera}/chunk-000/file-000.mp4", colours(frames), fps)
    store(folder / "meta/episodes/chunk-000/file-000.parquet", pa.table(told))
    store(folder / "meta/tasks.parquet", pa.table({"task_index": [0], "task": ["wave"]}))
    store(folder / "data/chunk-000/file-000.parquet", table)
    return folder


def put(path: Path, text: str) -> None:
    """Write text, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def store(path: Path, table: pa.Table) -> None:
    """Write a table, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def film(path: Path, pictures: np.ndarray, fps: int) -> None:
    """Write an MP4."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = (
            pictures.shape[2],
            pictures.shape[1],
            "yuv420p",
        )
        stream.bit_rate = 4_000_000
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


ANGLE = 1.2
"""Of the grippers' motors (rad) in bags."""


def write_bag(
    path: Path,
    robots: tuple[str, ...] = ("follower_left", "follower_right"),
    shift_s: float = 0.0,
    commands: bool = True,
    samples: int = 160,
    ros: int = 1,
) -> Path:
    """A bag of arms at 100 Hz that are commanded at 50 Hz, and stamps `shift_s` behind the recorder's.

    It is a ROS 1 bag (`ros` 1), an MCAP file's folder (2) or one of SQLite (3).
    """
    t, cmd, q = wave(6, samples, 100.0)
    store = get_typestore(Stores.ROS1_NOETIC if ros == 1 else Stores.ROS2_HUMBLE)
    package = "interbotix_xs_msgs/msg"
    for name, text in (
        ("JointGroupCommand", "string name\nfloat32[] cmd"),
        ("JointSingleCommand", "string name\nfloat32 cmd"),
    ):
        store.register(get_types_from_msg(text, f"{package}/{name}"))
    kinds = store.types
    state, header = kinds["sensor_msgs/msg/JointState"], kinds["std_msgs/msg/Header"]
    time = kinds["builtin_interfaces/msg/Time"]
    group, single = kinds[f"{package}/JointGroupCommand"], kinds[f"{package}/JointSingleCommand"]
    if ros == 1:
        writer: Any = Ros1Writer(path)
        pack = store.serialize_ros1
    else:
        plugin = StoragePlugin.MCAP if ros == 2 else StoragePlugin.SQLITE3
        writer = Ros2Writer(path, version=9, storage_plugin=plugin)
        pack = store.serialize_cdr
    finger = 0.022 * np.sin(ANGLE) + np.sqrt(0.036**2 - (0.022 * np.cos(ANGLE)) ** 2)
    names = [*VIPER[:-1], "gripper", "left_finger", "right_finger"]
    with writer:
        for robot in robots:
            topics = {
                kind.__msgtype__: writer.add_connection(
                    f"/{robot}/{topic}", kind.__msgtype__, typestore=store
                )
                for kind, topic in (
                    (state, "joint_states"),
                    (group, "commands/joint_group"),
                    (single, "commands/joint_single"),
                )
            }

            def send(kind: Any, at: float, message: Any, topics: Any = topics) -> None:
                raw = pack(message, kind.__msgtype__)
                writer.write(topics[kind.__msgtype__], int((100 + at) * 1e9), raw)

            for i in range(samples):
                at = 100 + t[i] - shift_s
                stamp = time(int(at // 1), round((at % 1) * 1e9))
                head = header(seq=i, stamp=stamp, frame_id="") if ros == 1 else header(stamp, "")
                position = np.array([*q[i], ANGLE, finger, -finger])
                zeros = np.zeros(9)
                send(state, t[i], state(head, names, position, zeros, zeros))
                if commands and i % 2 == 0:
                    send(group, t[i], group("arm", cmd[i].astype(np.float32)))
                    send(single, t[i], single("gripper", float(ANGLE)))
    return path


def write_umi(
    folder: Path,
    poses: np.ndarray,
    widths: np.ndarray,
    ends: tuple[int, ...],
    compressor: Any = Blosc("zstd"),  # noqa: B008
) -> Path:
    """A UMI data set of one hand, as zarr 2 writes it, in chunks of 100 rows.

    Args:
        folder: where.
        poses: position (m) and axis times angle (rad), shape (N, 6).
        widths: between the fingers (m), shape (N, 1).
        ends: cumulative ends of the episodes.
        compressor: of numcodecs.
    """
    arrays = {
        "data/robot0_eef_pos": poses[:, :3].astype(np.float32),
        "data/robot0_eef_rot_axis_angle": poses[:, 3:].astype(np.float32),
        "data/robot0_gripper_width": widths.astype(np.float32),
        "meta/episode_ends": np.array(ends, np.int64),
    }
    put(folder / ".zgroup", json.dumps({"zarr_format": 2}))
    for name, array in arrays.items():
        chunk = (min(100, len(array)), *array.shape[1:])
        head = {
            "zarr_format": 2,
            "shape": array.shape,
            "chunks": chunk,
            "dtype": array.dtype.str,
            "compressor": compressor.get_config() if compressor else None,
            "fill_value": 0,
            "filters": None,
            "order": "C",
        }
        put(folder / name / ".zarray", json.dumps(head))
        for i in range(-(-len(array) // chunk[0])):
            part = np.zeros(chunk, array.dtype)
            rows = array[i * chunk[0] : (i + 1) * chunk[0]]
            part[: len(rows)] = rows
            data = bytes(compressor.encode(part)) if compressor else part.tobytes()
            key = ".".join(["0" if k else str(i) for k in range(array.ndim)])
            (folder / name / key).write_bytes(data)
    return folder


ZLIB = Zlib(5)


def write_table(path: Path, joints: tuple[str, ...] = SO101, own: bool = False) -> Path:
    """A table of a wave in rad and openings; its velocities are left out of CSV files."""
    t, cmd, q = wave(len(joints))
    columns: dict[str, Any] = {"t": t}
    columns |= {f"cmd_{n}": c for n, c in zip(joints, cmd.T, strict=True)}
    columns |= {f"q_{n}": c for n, c in zip(joints, q.T, strict=True)}
    if path.suffix != ".csv":
        columns |= {f"qd_{n}": np.gradient(c, t) for n, c in zip(joints, q.T, strict=True)}
    if path.suffix == ".npz":
        columns |= {"units": np.array("rad, opening")} if own else {}
        np.savez(path, **columns)
    elif path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    else:
        rows = [",".join(columns)] + [
            ",".join(repr(float(x)) for x in row) for row in zip(*columns.values(), strict=True)
        ]
        path.write_text("\n".join(rows) + "\n")
    return path


def write_sage(folder: Path, samples: int = 60) -> Path:
    """A SAGE folder of an SO-101, at 50 Hz."""
    t, cmd, q = wave(6, samples)
    names = ("Rotation", "Pitch", "Elbow", "Wrist_Pitch", "Wrist_Roll", "Jaw")
    put(folder / "joint_list.txt", "\n".join(names))
    put(folder / "event.csv", "type,timestamp,event\nEVENT,0,MOTION_START\nEVENT,9e9,DISABLE\n")
    rows = [
        f'CONTROL,{1e6 * at:.0f},"{json.dumps(list(row))}"\n'
        for at, row in zip(t, cmd, strict=True)
    ]
    put(folder / "control.csv", "type,timestamp,positions\n" + "".join(rows))
    zeros = json.dumps([0.0] * 6)
    rows = [
        f'STATE_MOTOR,{1e6 * at:.0f},"{json.dumps(list(row))}","{zeros}","{zeros}"\n'
        for at, row in zip(t, q, strict=True)
    ]
    put(folder / "state_motor.csv", "type,timestamp,positions,velocities,torques\n" + "".join(rows))
    return folder


def write_runs(path: Path) -> Path:
    """An npz of two runs."""
    t, cmd, q = wave(6)
    runs: dict[str, Any] = {
        f"wave__{run}__{k}": v for run in "ab" for k, v in (("t", t), ("cmd", cmd), ("q", q))
    }
    np.savez_compressed(path, **runs)
    return path


def poses(samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Joint angles of an ALOHA's left arm, shape (N, 6), and its hand's poses as UMI gives them, (N, 6)."""
    from scipy.spatial.transform import Rotation

    from regrasp.rl.experts.ik import Reach
    from regrasp.sim2real.readers.umi import HAND

    reach = Reach(aloha(), "left")
    _, _, q = wave(6, samples)
    q = reach.home + 0.2 * (q - 0.5)
    rows = []
    for angles in q:
        place, turn = reach.place(angles)
        rows.append([*place, *Rotation.from_matrix(turn @ HAND.T).as_rotvec()])
    return q, np.array(rows)


TOLD = ReadConfig(angles="deg", grippers="percent")
HOW: dict[str, tuple[ReadConfig, str | None]] = {
    "LeRobot folder": (TOLD, "so101"),
    "UMI zarr": (ReadConfig(rate_hz=5), None),
    "ROS bag or MCAP": (ReadConfig(grippers="act"), None),
    "ALOHA HDF5": (ReadConfig(grippers="act"), None),
    "table": (ReadConfig(angles="rad", grippers="opening"), "so101"),
}
"""Reader -> what it is told about these recordings, and the arm."""


def write_all(folder: Path) -> None:
    """Small recordings of every reader, each in a folder of its name."""

    def of(reader: str, name: str) -> Path:
        place = folder / reader.replace(" ", "_")
        place.mkdir(exist_ok=True)
        return place / name

    write_sage(of("SAGE folder", "wave"))
    write_lerobot(of("LeRobot folder", "three"), video=True)
    write_lerobot(of("LeRobot folder", "two"), "v2.1", video=True)
    _, hand = poses(8)
    for name, packer in (("blosc", Blosc("zstd")), ("zlib", ZLIB), ("plain", None)):
        write_umi(of("UMI zarr", f"{name}.zarr"), hand, np.full((8, 1), 0.04), (8,), packer)
    bag = of("ROS bag or MCAP", "one.bag")
    write_bag(bag, ("wx200",), samples=110)
    for ros in (2, 3):
        write_bag(bag.with_name(f"two{ros}"), ("follower_left",), samples=110, ros=ros)
    for packed in (False, True):
        write_aloha(of("ALOHA HDF5", f"episode_{int(packed)}.hdf5"), 60, packed, sim=False)
    for name in ("a.npz", "b.csv", "c.parquet"):
        write_table(of("table", name))
    write_runs(of("npz of runs", "runs.npz"))
