"""TensorBoard's files: every number of every row, and what is done again counts once."""

import shutil
import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from regrasp.rl.events import Events


def read(folder: Path) -> list[tuple[str, int, float]]:
    """The numbers in the event files of a folder, as TensorBoard counts them: without what is done again."""
    found: list[tuple[str, int, float]] = []
    for path in sorted((folder / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + size])
            if event.session_log.status == SessionLog.START:
                found = [kept for kept in found if kept[1] < event.step]
            found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
            data = data[16 + size :]
    return found


def test_every_number_is_there(tmp_path: Path):
    events = Events(tmp_path)
    events.add(3, {"success": 0.5, "judged": {"rate": 0.25}, "phase": None})
    events.close()
    assert read(tmp_path) == [("success", 3, 0.5), ("judged/rate", 3, 0.25)]


@pytest.mark.parametrize(("done", "kept"), [(0, []), (2, [0, 1, 2])])
def test_what_is_done_again_counts_once(tmp_path: Path, done: int, kept: list[int]):
    for first, value in ((0, 1.0), (done, 2.0)):
        # Files are told apart by the second that they were made in.
        events = Events(tmp_path / str(value), first)
        for step in range(first + bool(first), 4):
            events.add(step, {"success": value})
        events.close()
    files = [next((tmp_path / name / "tensorboard").iterdir()) for name in ("1.0", "2.0")]
    both = tmp_path / "both" / "tensorboard"
    both.mkdir(parents=True)
    for i, path in enumerate(files):
        shutil.copy(path, both / f"{i}")
    again = [("success", step, 2.0) for step in range(4) if step not in kept]
    assert read(tmp_path / "both") == [("success", step, 1.0) for step in kept] + again
