"""TensorBoard's files: every number of every row, and what is done again counts once."""

import struct
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event

from regrasp.rl.events import Events


def read(folder: Path) -> list[tuple[str, int, float]]:
    """The numbers in the event files of a folder, as TensorBoard's own records."""
    found = []
    for path in sorted((folder / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + size])
            found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
            data = data[16 + size :]
    return found


def test_every_number_is_there(tmp_path: Path):
    events = Events(tmp_path)
    events.add(3, {"success": 0.5, "judged": {"rate": 0.25}, "phase": None})
    events.close()
    assert read(tmp_path) == [("success", 3, 0.5), ("judged/rate", 3, 0.25)]
