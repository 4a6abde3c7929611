"""Readers against rows written by hand, and their refusals."""

import numpy as np
import pytest

from regrasp.errors import InputError
from regrasp.sim2real import read_logs
from regrasp.sim2real.readers import sage


def test_sage_rows_become_arrays(write_sage, sage_rows, arm):
    (log,) = read_logs([write_sage(*sage_rows)], arm)
    np.testing.assert_allclose(log.t, 0.02 * np.arange(101))
    np.testing.assert_allclose(log.cmd, np.outer(0.001 * np.arange(101), np.ones(6)))
    np.testing.assert_allclose(log.q, np.outer(0.0005 * np.arange(101), np.ones(6)))
    assert log.name == "waves"
    assert log.joints == arm.joint_names


def test_sage_keeps_the_motion_alone_and_counts_from_its_start(write_sage, sage_rows, arm):
    (log,) = read_logs([write_sage(*sage_rows, start=200e3, end=1800e3)], arm)
    assert log.t[0] == pytest.approx(0.0)
    assert log.t[-1] == pytest.approx(1.6)
    assert log.cmd[0, 0] == pytest.approx(0.010)


def test_sage_columns_follow_the_arm_not_the_file(write_sage, sage_rows, arm):
    control = [(t, [row[0], *np.arange(1, 6) / 10]) for t, row in sage_rows[0]]
    joints = ("Pitch", "Rotation", "Elbow", "Wrist_Pitch", "Wrist_Roll", "Jaw")
    (log,) = read_logs([write_sage(control, sage_rows[1], joints=joints)], arm)
    np.testing.assert_allclose(log.cmd[5], [0.1, 0.005, 0.2, 0.3, 0.4, 0.5])


def test_sage_measurements_on_other_stamps_are_interpolated_to_the_commands(
    write_sage, sage_rows, arm
):
    # Stamped 5 ms later; the first command precedes every measurement, so it is left out.
    state = [(t + 5000, row) for t, row in sage_rows[1][:-3]]
    (log,) = read_logs([write_sage(sage_rows[0], state)], arm)
    assert log.t[0] == pytest.approx(0.02)
    assert log.t[-1] == pytest.approx(0.02 * 97)
    np.testing.assert_allclose(log.cmd[0], 0.001)
    np.testing.assert_allclose(log.q[0], 0.0005 * 0.75)


def _edit(name, change):
    def edit(folder):
        path = folder / name
        path.write_text(change(path.read_text()))

    return edit


BAD_FOLDERS = {
    "missing file": (lambda f: (f / "state_motor.csv").unlink(), "no file state_motor.csv"),
    "broken off": (_edit("control.csv", lambda s: s[:-15]), "control.csv line 102"),
    "broken in a list": (_edit("control.csv", lambda s: s[:-12] + '"\n'), "line 102.*6 numbers"),
    "nan": (
        _edit("state_motor.csv", lambda s: s.replace("[0.0005, 0.0005", "[0.0005, NaN", 1)),
        "q of shoulder_lift is nan at sample 1",
    ),
    "code": (
        _edit("control.csv", lambda s: s.replace("[0.001, ", "[exit(1), ", 1)),
        "line 3.*not 6 numbers",
    ),
    "nested": (
        _edit("control.csv", lambda s: s.replace("[0.001, ", "[[0.001], ", 1)),
        "line 3.*not 6 numbers",
    ),
    "five numbers": (
        _edit("control.csv", lambda s: s.replace("[0.001, ", "[", 1)),
        "line 3.*not 6 numbers",
    ),
    "two rows in one": (
        _edit("control.csv", lambda s: s.replace("[0.001, ", "[1,1,1,1,1,1], [0.001, ", 1)),
        "line 3.*not 6 numbers",
    ),
    "depth": (
        _edit("control.csv", lambda s: s.replace("[0.001, ", "[" * 50000, 1)),
        "line 3.*not 6 numbers",
    ),
    "stamp": (
        _edit("control.csv", lambda s: s.replace("CONTROL,20000.0", "CONTROL,soon", 1)),
        "line 3.*'soon' is not a number",
    ),
    "time stands still": (
        _edit("control.csv", lambda s: s.replace("CONTROL,40000.0", "CONTROL,20000.0", 1)),
        "not later",
    ),
    "foreign row": (_edit("control.csv", lambda s: s + "HELLO\n"), "line 103.*not a whole CONTROL"),
    "no rows": (_edit("control.csv", lambda s: s.splitlines()[0]), "no CONTROL rows"),
    "no start": (_edit("event.csv", lambda s: s.replace("MOTION_START", "X")), "no MOTION_START"),
    "five joints": (_edit("joint_list.txt", lambda s: s.replace("\nJaw", "")), "has 5 joints"),
    "unknown joint": (_edit("joint_list.txt", lambda s: s.replace("Jaw", "Claw")), "'Claw'"),
    "not text": (lambda f: (f / "control.csv").write_bytes(b"\xff\xfe\x00"), "cannot be read"),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_sage_refusals_name_the_file_and_the_fault(write_sage, sage_rows, arm, case):
    spoil, message = BAD_FOLDERS[case]
    folder = write_sage(*sage_rows)
    spoil(folder)
    with pytest.raises(InputError, match=message) as refusal:
        read_logs([folder], arm)
    assert "\n" not in str(refusal.value)


def test_a_huge_file_is_refused_unread(write_sage, sage_rows, arm, monkeypatch):
    monkeypatch.setattr(sage, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match="more than 1000"):
        read_logs([write_sage(*sage_rows)], arm)


def test_a_folder_of_recordings_stands_for_them_and_documents_are_passed_over(
    write_sage, sage_rows, arm, tmp_path
):
    for name in ("b_motion", "a_motion"):
        write_sage(*sage_rows, name=name)
    licence = tmp_path / "LICENSE"
    licence.write_text("free")
    assert [log.name for log in read_logs([tmp_path], arm)] == ["a_motion", "b_motion"]
    named = read_logs([tmp_path / "a_motion", licence, tmp_path], arm)
    assert [log.name for log in named] == ["a_motion", "b_motion"], "each is read once"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "nowhere", "no log at"),
        (lambda p: p, "no logs in"),
        (lambda p: (p / "notes.bin", (p / "notes.bin").write_bytes(b"x"))[0], "is no log"),
    ],
)
def test_paths_without_logs_are_refused(tmp_path, arm, make, message):
    with pytest.raises(InputError, match=message):
        read_logs([make(tmp_path)], arm)


def _runs(log, run="waves__one"):
    return {f"{run}__{field}": getattr(log, field) for field in ("t", "cmd", "q")}


def test_npz_holds_many_runs(make_log, arm, tmp_path):
    first, second = make_log(), make_log(seed=1)
    path = tmp_path / "runs.npz"
    steps = np.full_like(first.q, 1506.0)
    np.savez(path, **_runs(first), waves__one__qd=steps, **_runs(second, "waves__two"))
    logs = read_logs([path], arm)
    assert [log.name for log in logs] == ["waves", "waves"]
    assert logs[1].source.endswith("runs.npz#waves__two")
    np.testing.assert_array_equal(logs[1].q, second.q)
    assert logs[0].qd is not None
    # 1506 steps are all of the gripper's range, and 4096 a turn of an arm joint.
    np.testing.assert_allclose(logs[0].qd[0], [1506 / 4096 * 2 * np.pi] * 5 + [1])
    assert logs[1].qd is None


def test_npz_refusals(make_log, arm, tmp_path):
    path = tmp_path / "runs.npz"
    whole = _runs(make_log())
    objects = {**whole, "waves__one__q": np.array([{}], dtype=object)}
    bad = {
        "has no waves__one__q": {k: v for k, v in whole.items() if not k.endswith("q")},
        "not an npz of plain arrays": objects,
        "'stray' is not": {**whole, "stray": np.zeros(3)},
        "holds <U1": {**whole, "waves__one__q": np.array(["x"])},
        "cmd has shape": {**whole, "waves__one__cmd": np.zeros((100, 7))},
    }
    for message, arrays in bad.items():
        np.savez(path, **arrays)
        with pytest.raises(InputError, match=message):
            read_logs([path], arm)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="not an npz"):
        read_logs([path], arm)
