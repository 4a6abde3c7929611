"""Logs made in the test, and the recorded ones where they are to be had."""

import json
from pathlib import Path

import numpy as np
import pytest

from regrasp.assets.arm import load_arm
from regrasp.sim2real import Log, find_data

JOINTS = ("Rotation", "Pitch", "Elbow", "Wrist_Pitch", "Wrist_Roll", "Jaw")


@pytest.fixture(scope="session")
def arm():
    return load_arm("so101")


@pytest.fixture(scope="session")
def data():
    folder = find_data()
    if folder is None:
        pytest.skip("no recordings: set REGRASP_DATA to a folder that holds sage_so101/")
    return folder


@pytest.fixture
def make_log(arm):
    """A log of slow waves, whose real arm trails by 0.1 s; any field may be replaced."""

    def make(seconds=2.0, seed=0, **fields) -> Log:
        t = np.arange(0, seconds, 0.02)
        rng = np.random.default_rng(seed)
        size, rate, phase = 0.2 + 0.1 * rng.random(6), 2 + rng.random(6), rng.random(6)

        def wave(at):
            return 0.5 + size * np.sin(rate * at[:, None] + phase)

        values = {
            "name": "waves",
            "joints": arm.joint_names,
            "t": t,
            "cmd": wave(t),
            "q": wave(t - 0.1),
        }
        return Log(**{**values, **fields})

    return make


@pytest.fixture
def write_sage(tmp_path):
    """Writes a SAGE folder; rows of control and state are (stamp in us, values)."""

    def write(control, state, name="waves", joints=JOINTS, start=0.0, end=1e12) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "joint_list.txt").write_text("\n".join(joints))
        events = [("0", "CONTROL_MODE_ENABLE"), (start, "MOTION_START"), (end, "DISABLE")]
        (folder / "event.csv").write_text(
            "type,timestamp,event\n" + "".join(f"EVENT,{t},{what}\n" for t, what in events)
        )
        (folder / "control.csv").write_text(
            "type,timestamp,positions\n"
            + "".join(f'CONTROL,{t},"{json.dumps(list(row))}"\n' for t, row in control)
        )
        zeros = json.dumps([0.0] * len(joints))
        (folder / "state_motor.csv").write_text(
            "type,timestamp,positions,velocities,torques\n"
            + "".join(
                f'STATE_MOTOR,{t},"{json.dumps(list(row))}","{zeros}","{zeros}"\n'
                for t, row in state
            )
        )
        return folder

    return write


@pytest.fixture
def sage_rows():
    """Rows of 2 s at 50 Hz: row i commands 0.001 i on every joint and measures 0.0005 i."""
    control = [(20000.0 * i, [round(0.001 * i, 6)] * 6) for i in range(101)]
    state = [(20000.0 * i, [round(0.0005 * i, 7)] * 6) for i in range(101)]
    return control, state
