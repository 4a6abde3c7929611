"""Every format of recordings: what is written as its own recorder writes it is read as what it was."""

import json
import re

import h5py
import numpy as np
import pytest
from benchmarks.recordings import (
    ANGLE,
    BOTH,
    SO101,
    VIPER,
    colours,
    poses,
    wave,
    write_aloha,
    write_bag,
    write_lerobot,
    write_table,
    write_umi,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from regrasp.assets.arm import load_arm
from regrasp.errors import InputError
from regrasp.rl.episodes import HEADER
from regrasp.sim2real import read_logs
from regrasp.sim2real.log import Log, Refused
from regrasp.sim2real.readers import look
from regrasp.sim2real.units import Converter, Linkage, ReadConfig, linkages

DEGREES = ReadConfig(angles="deg", grippers="percent")
PLAIN = ReadConfig(angles="rad", grippers="opening")


def read(path, arm=None, config=ReadConfig()) -> list[Log]:  # noqa: B008
    """The logs at a path, none of them refused."""
    found = [one for _, one in look([path], load_arm(arm) if arm else None, config)]
    refused = [one.reason for one in found if isinstance(one, Refused)]
    assert not refused
    return [one for one in found if isinstance(one, Log)]


def refusal(path, arm=None, config=ReadConfig()) -> str:  # noqa: B008
    """Why the first log at a path is refused."""
    found = [one for _, one in look([path], load_arm(arm) if arm else None, config)]
    reasons = [one.reason for one in found if isinstance(one, Refused)]
    assert reasons
    assert all("\n" not in reason for reason in reasons)
    return reasons[0]


# ---- units ----


@pytest.mark.parametrize("name", ["act", "act++", "interbotix"])
def test_a_linkage_maps_its_ends_to_themselves_and_opens_all_the_way(name):
    linkage = linkages()[name]
    # The table's finger positions are rounded to hundredths of a millimetre, or tenths.
    np.testing.assert_allclose(linkage.opening_of_command([0.0, 1.0]), [0, 1], atol=6e-3)
    # Interbotix's open end is past the point where crank and rod are in line.
    assert (np.diff(linkage.opening_of_command(np.linspace(0, 1, 50))) > -3e-3).all()
    closed, wide = linkage.leader_joint_rad
    middle = linkage.opening_of_leader((closed + wide) / 2)
    assert middle == pytest.approx(linkage.opening_of_command(0.5))


def test_taking_a_linkage_for_linear_errs_by_what_is_known_of_it():
    a = np.linspace(0, 1, 400)
    worst = {
        n: np.abs(linkages()[n].opening_of_command(a) - a).max() for n in ("act", "interbotix")
    }
    assert worst["act"] == pytest.approx(0.09, abs=0.01)
    assert worst["interbotix"] == pytest.approx(0.25, abs=0.02)


def test_a_finger_position_is_where_the_bar_puts_it():
    linkage = linkages()["act"]
    assert isinstance(linkage, Linkage)
    # Crank upright: crank and rod in line.
    assert linkage.finger_m(np.pi / 2) == pytest.approx(0.022 + 0.036)
    # Crank level: the rod alone spans the distance.
    assert linkage.finger_m(0.0) == pytest.approx(np.sqrt(0.036**2 - 0.022**2))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.floats(-1.5, 1.5), st.sampled_from([1, -1]), st.floats(-30, 30))
def test_units_of_angles_agree(angle, sign, zero_deg):
    arm = load_arm("so101")
    low, high = np.array([joint.range for joint in arm.joints[:-1]]).T
    raw = {
        "rad": np.full(5, angle),
        "deg": np.full(5, np.degrees(angle)),
        "ticks": np.full(5, 2048 + angle * 4096 / (2 * np.pi)),
        "percent": (angle - low) / (high - low) * 200 - 100,
    }
    for unit, values in raw.items():
        config = ReadConfig(
            angles=unit, grippers="percent", signs=(sign,) * 5, zeros_deg=(zero_deg,) * 5
        )
        q = Converter(config, SO101, (5,), arm)(np.array([[*values, 40.0]]), commands=False)[0]
        np.testing.assert_allclose(q[:5], sign * angle + np.radians(zero_deg), atol=1e-9)
        assert q[5] == pytest.approx(0.4)


def test_a_unit_is_offered_and_never_taken(tmp_path):
    degrees = write_lerobot(tmp_path / "set")
    assert "looks like degrees or -100..100" in refusal(degrees, "so101")
    assert "--grippers" in refusal(degrees, "so101", ReadConfig(angles="deg"))
    assert "0..100 (--grippers percent)" in refusal(degrees, "so101", ReadConfig(angles="deg"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"angles": "grad"}, "'grad'"),
        ({"grippers": "acts"}, "did you mean 'act'"),
        ({"rate_hz": -1.0}, "rate_hz -1"),
        ({"signs": (2,)}, "1 or -1"),
        ({"origin_m": (0.0, float("nan"), 0.0)}, "finite"),
    ],
)
def test_what_a_recording_cannot_be_told(changes, says):
    with pytest.raises(InputError, match=says):
        ReadConfig(**changes)


@pytest.mark.parametrize("changes", [{"signs": (1, -1)}, {"zeros_deg": (0.0, 2.0)}])
def test_angles_that_a_format_defines_are_not_turned(tmp_path, changes):
    """What would not be heard is refused."""
    bag = tmp_path / "arm.mcap"
    bag.write_bytes(b"whatever it holds")
    own = write_lerobot(tmp_path / "set")
    (own / HEADER).write_text("{}")
    option = next(iter(changes)).replace("_", "-")
    for path in (bag, own):
        with pytest.raises(InputError, match=f"angles are defined: leave --{option}"):
            read_logs([path], load_arm("so101"), ReadConfig(**changes))


# ---- ALOHA ----


@pytest.mark.parametrize("packed", [False, True])
def test_an_aloha_episode(tmp_path, packed):
    (log,) = read(write_aloha(tmp_path / "episode_3.hdf5", packed=packed))
    t, cmd, q = wave(14)
    np.testing.assert_allclose(log.t, t)
    np.testing.assert_allclose(log.cmd, cmd)
    np.testing.assert_allclose(log.q, q)
    assert log.joints == BOTH
    assert log.grippers == (6, 13)
    assert log.qd is not None
    assert not log.measured_time
    assert any("50 Hz is assumed" in note for note in log.notes)
    (camera,) = log.images.values()
    assert len(camera) == len(t)
    np.testing.assert_allclose(camera[20], colours(80)[20], atol=3)


def test_a_real_aloha_commands_leader_angles(tmp_path):
    path = write_aloha(tmp_path / "real.hdf5", sim=False)
    offered = refusal(path)
    assert "give --grippers, one of act" in offered
    assert "interbotix 0." in offered, "how far commands are from what was measured, for each set"
    (log,) = read(path, config=ReadConfig(grippers="act", rate_hz=42))
    _, cmd, q = wave(14)
    np.testing.assert_allclose(log.q, q)
    np.testing.assert_allclose(log.cmd[:, 6], linkages()["act"].opening_of_command(cmd[:, 6]))
    np.testing.assert_allclose(np.diff(log.t), 1 / 42)


def test_the_arms_of_an_aloha_become_logs_of_their_own(tmp_path):
    logs = read_logs([write_aloha(tmp_path / "e.hdf5")], load_arm("viperx300s"))
    assert [log.name for log in logs] == ["e/left", "e/right"]
    assert logs[1].joints == VIPER
    np.testing.assert_allclose(logs[1].q, wave(14)[2][:, 7:])


def test_an_arm_that_is_not_moved_is_left_out(tmp_path):
    path = write_aloha(tmp_path / "e.hdf5")
    with h5py.File(path, "r+") as file:
        _replaced("action", np.concatenate([wave(14)[1][:, :7], np.full((80, 7), 0.5)], axis=1))(
            file
        )
    with pytest.warns(UserWarning, match="the right arm is not moved"):
        (log,) = read_logs([path], load_arm("viperx300s"))
    assert log.name == "e/left"


def _group(change):
    def edit(path):
        with h5py.File(path, "r+") as file:
            change(file)

    return edit


def _elsewhere(file):
    del file["action"]
    file["action"] = h5py.ExternalLink("/etc/passwd", "/x")


def _soft(file):
    del file["action"]
    file["action"] = h5py.SoftLink("/action")


def _outside(file):
    del file["action"]
    file.create_dataset("action", (80, 14), "f8", external=[("/etc/passwd", 0, 80 * 14 * 8)])


def _virtual(file):
    layout = h5py.VirtualLayout((80, 14), "f8")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (80, 14))
    del file["action"]
    file.create_virtual_dataset("action", layout)


def _bomb(file):
    import zlib

    del file["action"]
    data = file.create_dataset("action", (80, 14), "f8", chunks=(80, 14), compression="gzip")
    data.id.write_direct_chunk((0, 0), zlib.compress(bytes(2**24)))


def _replaced(name, values):
    def change(file):
        del file[name]
        file[name] = values

    return change


NANS = np.where(np.arange(80 * 14).reshape(80, 14) == 200, np.nan, wave(14)[2])
BAD_ALOHA = {
    "link": (_group(_elsewhere), "link to elsewhere"),
    "circle": (_group(_soft), "link to elsewhere"),
    "outside": (_group(_outside), "lies in another file"),
    "virtual": (_group(_virtual), "lies in another file"),
    "bomb": (_group(_bomb), "unpacks to more than"),
    "declared huge": (
        _group(
            lambda f: (
                f.__delitem__("action"),
                f.create_dataset("action", (2**40, 14), "f8", chunks=(1, 14)),
            )
        ),
        "more than",
    ),
    "text": (_group(_replaced("action", np.array([b"a"]))), "needs numbers"),
    "scalar": (_group(_replaced("action", 3.0)), "needs .samples, joints."),
    "narrow": (_group(_replaced("action", np.zeros((80, 13)))), "cmd has shape"),
    "short": (_group(_replaced("action", np.zeros((79, 14)))), "cmd has shape"),
    "nan": (
        _group(_replaced("observations/qpos", NANS)),
        "q of left/elbow is nan|is nan at sample 14",
    ),
    "no state": (_group(lambda f: f.__delitem__("observations/qpos")), "no /observations/qpos"),
    "cut": (lambda p: p.write_bytes(p.read_bytes()[:3000]), "no whole HDF5"),
    "empty": (lambda p: p.write_bytes(b""), "no whole HDF5"),
}


@pytest.mark.parametrize("case", BAD_ALOHA)
def test_alohas_that_are_none(tmp_path, case):
    spoil, says = BAD_ALOHA[case]
    path = write_aloha(tmp_path / "e.hdf5")
    spoil(path)
    assert re.search(says, refusal(path))


@pytest.mark.parametrize("kind", ["none", "next state", "copies"])
def test_an_aloha_without_commands_can_be_cloned_and_not_compared(tmp_path, kind):
    path, q = write_aloha(tmp_path / "e.hdf5"), wave(14)[2]
    with h5py.File(path, "r+") as file:
        del file["action"]
        if kind != "none":
            file["action"] = q if kind == "copies" else np.concatenate([q[1:], q[-1:]])
    (log,) = read(path)
    assert log.commands == "next state"
    assert any("nothing was sent" in note for note in log.notes)
    np.testing.assert_allclose(log.cmd[:-1], q[1:])
    with pytest.raises(InputError, match="no commands in it"):
        read_logs([path], load_arm("viperx300s"))


# ---- LeRobot ----


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_a_lerobot_folder(tmp_path, version):
    first, second = read(write_lerobot(tmp_path / "set", version, video=True), "so101", DEGREES)
    t, cmd, q = wave(6, 80, 30)
    for log in (first, second):
        assert log.joints == SO101
        np.testing.assert_allclose(log.t, t, atol=1e-9)
        np.testing.assert_allclose(log.cmd, cmd, atol=1e-5)
        np.testing.assert_allclose(log.q, q, atol=1e-5)
        assert log.qd is None
        assert not log.measured_time
        (camera,) = log.images.values()
        assert camera.shape == (32, 48, 3)
    # In version 3 both episodes are in one video.
    (camera,) = second.images.values()
    number = {"v2.1": 20, "v3.0": 100}[version]
    np.testing.assert_allclose(camera[20][16, 24, 0], 3 * number % 256, atol=6)


def test_columns_follow_the_names_not_the_order(tmp_path):
    names = ("gripper.pos", *(f"{name}.pos" for name in SO101[:-1]))
    log, *_ = read(write_lerobot(tmp_path / "set", names=names), "so101", DEGREES)
    q = wave(6, 80, 30)[2]
    np.testing.assert_allclose(log.q[:, -1], q[:, 0], atol=1e-5)
    np.testing.assert_allclose(log.q[:, 0], q[:, 1], atol=1e-5)


def test_a_joint_that_nobody_commands_is_named(tmp_path):
    def narrow(columns):
        columns["action"] = columns["action"][:, :5]

    folder = write_lerobot(tmp_path / "set", change=narrow)
    log, *_ = read(folder, "so101", DEGREES)
    assert log.uncommanded == ("gripper",)
    with pytest.raises(InputError, match="nobody commands gripper"):
        read_logs([folder], load_arm("so101"), DEGREES)


def test_measured_stamps_are_kept(tmp_path):
    def jitter(columns):
        columns["timestamp"][5] += 0.01

    log, *_ = read(write_lerobot(tmp_path / "set", change=jitter), "so101", DEGREES)
    assert log.measured_time
    assert log.t[5] == pytest.approx(5 / 30 + 0.01, abs=1e-4)


def test_one_bad_episode_is_refused_alone(tmp_path):
    def spoil(columns):
        columns["observation.state"][90, 2] = np.nan

    found = [
        one
        for _, one in look(
            [write_lerobot(tmp_path / "s", change=spoil)], load_arm("so101"), DEGREES
        )
    ]
    assert isinstance(found[0], Log)
    assert isinstance(found[1], Refused)
    assert "q of elbow_flex is nan at sample 10" in found[1].reason


def test_wrong_counts_are_told(tmp_path):
    folder = write_lerobot(tmp_path / "set")
    info = json.loads((folder / "meta/info.json").read_text())
    (folder / "meta/info.json").write_text(json.dumps({**info, "total_frames": 7}))
    assert any("total_frames 7" in note for note in read(folder, "so101", DEGREES)[0].notes)


def test_tables_of_tasks_may_be_lines_in_version_3(tmp_path):
    folder = write_lerobot(tmp_path / "set")
    (folder / "meta/tasks.parquet").unlink()
    (folder / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "wave"}\n')
    assert len(read(folder, "so101", DEGREES)) == 2


@pytest.mark.parametrize("name", ["data/chunk-000/file-000.parquet", "meta/tasks.parquet"])
def test_links_out_of_a_folder_are_refused(tmp_path, name):
    folder = write_lerobot(tmp_path / "set")
    elsewhere = tmp_path / "elsewhere"
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    assert "leads out of" in refusal(folder, "so101", DEGREES)


def test_a_video_that_is_cut_short_is_refused_when_it_is_looked_at(tmp_path):
    folder = write_lerobot(tmp_path / "set", video=True)
    (video,) = folder.glob("videos/*/*/*.mp4")
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    (camera,) = read(folder, "so101", DEGREES)[0].images.values()
    with pytest.raises(InputError, match="no whole video"):
        camera[0]


# ---- bags ----


@pytest.mark.parametrize(("ros", "name"), [(1, "e.bag"), (2, "e"), (3, "e")])
def test_a_bag_of_two_arms(tmp_path, ros, name):
    path = write_bag(tmp_path / name, ros=ros)
    (log,) = read(path, "viperx300s", ReadConfig(grippers="act"))
    t, cmd, q = wave(6, 160, 100.0)
    assert log.joints == BOTH
    np.testing.assert_allclose(log.t, t, atol=1e-6)
    np.testing.assert_allclose(log.q[:, :6], q, atol=1e-9)
    np.testing.assert_allclose(log.q[:, 7:13], q, atol=1e-6)
    np.testing.assert_allclose(log.cmd[:, :6], np.repeat(cmd[::2], 2, axis=0), atol=1e-6)
    opening = linkages()["act"].opening_of_angle(ANGLE)
    np.testing.assert_allclose(log.q[:, [6, 13]], opening)
    np.testing.assert_allclose(log.cmd[:, [6, 13]], opening)


def test_a_bag_without_constants_of_its_gripper_does_without_it(tmp_path):
    (log,) = read(write_bag(tmp_path / "e.bag", ("wx250",)))
    assert log.joints == VIPER[:-1]
    assert log.grippers == ()
    assert any("gripper is left out" in note for note in log.notes)
    assert "needs --grippers" in refusal(tmp_path / "e.bag", "viperx300s")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"shift_s": 3.0}, "two clocks"),
        ({"commands": False}, "no commands to follower_left"),
        ({"samples": 60}, "0.590 s long"),
        ({"robots": ("a", "b", "c")}, "record one arm, or a left and a right one"),
    ],
)
def test_bags_that_are_no_logs(tmp_path, options, says):
    assert says in refusal(write_bag(tmp_path / "e.bag", **options))


def test_the_real_bag_moves_its_waist_alone(data):
    path = data / "interbotix_wx200" / "waist_diagnostics.bag"
    if not path.is_file():
        pytest.skip("no interbotix_wx200/ beside the recordings")
    (log,) = read(path)
    assert log.joints == ("waist", "shoulder", "elbow", "wrist_angle", "wrist_rotate")
    assert log.uncommanded == log.joints[1:]
    assert np.ptp(log.q[:, 0]) == pytest.approx(2 * np.pi, abs=0.05)
    assert 1 / log.period_s == pytest.approx(100, abs=1)
    assert "wx200 has 5 joints" in refusal(path, "so101")


# ---- UMI ----


@pytest.fixture(scope="module")
def hand():
    return poses(90)


def test_poses_become_the_joints_that_made_them(tmp_path, hand):
    angles, track = hand
    widths = np.full((90, 1), 0.04)
    (log,) = read(write_umi(tmp_path / "a.zarr", track, widths, (90,)))
    np.testing.assert_allclose(log.q[:, :6], angles, atol=5e-3)
    # Each finger is half of the width away from the middle.
    np.testing.assert_allclose(log.q[:, 6], (0.02 - 0.002) / (0.037 - 0.002), atol=1e-6)
    assert log.commands == "next state"
    assert any("60 Hz is assumed" in note for note in log.notes)


def test_poses_out_of_reach_are_offered_a_place(tmp_path, hand):
    far = hand[1] + [3.0, 0, 0, 0, 0, 0]
    path = write_umi(tmp_path / "a.zarr", far, np.full((90, 1), 0.04), (90,))
    reason = refusal(path)
    assert "out of viperx300s's reach" in reason
    x, y, z = (float(word) for word in reason.partition("--origin-m ")[2].split()[:3])
    (log,) = read(path, config=ReadConfig(origin_m=(x, y, z), rate_hz=60))
    assert log.q.shape == (90, 7)


def _spoil_head(**changes):
    def edit(folder):
        head = folder / "data/robot0_eef_pos/.zarray"
        head.write_text(json.dumps({**json.loads(head.read_text()), **changes}))

    return edit


BAD_UMI = {
    "objects": (_spoil_head(dtype="|O"), "needs numbers"),
    "filters": (_spoil_head(filters=[{"id": "pickle"}]), "is packed by"),
    "packer": (_spoil_head(compressor={"id": "pickle"}), "is packed by"),
    "huge": (_spoil_head(shape=[2**29, 3]), "more than"),
    "huge chunk": (_spoil_head(chunks=[2**29, 3]), "more than"),
    "negative": (_spoil_head(shape=[-1, 3]), "convert it again"),
    "version": (_spoil_head(zarr_format=3), "format 2"),
    "bomb": (
        lambda f: (f / "data/robot0_eef_pos/0.0").write_bytes(
            bytes([2, 1, 0x13, 4]) + (2**31 - 1).to_bytes(4, "little") + bytes(16)
        ),
        "cut short|unpacks to",
    ),
    "cut": (lambda f: (f / "data/robot0_eef_pos/0.0").write_bytes(b"\x02\x01"), "cut short"),
    "ends": (lambda f: (f / "meta/episode_ends/0").unlink(), "do not increase"),
    "no widths": (
        lambda f: (f / "data/robot0_gripper_width/.zarray").unlink(),
        "no data/robot0_gripper",
    ),
    "link": (
        lambda f: (
            (f / "data/robot0_eef_pos/0.0").unlink(),
            (f / "data/robot0_eef_pos/0.0").symlink_to("/etc/passwd"),
        ),
        "leads out of",
    ),
}


@pytest.mark.parametrize("case", BAD_UMI)
def test_umis_that_are_none(tmp_path, hand, case):
    spoil, says = BAD_UMI[case]
    folder = write_umi(tmp_path / "a.zarr", hand[1], np.full((90, 1), 0.04), (90,))
    spoil(folder)
    assert re.search(says, refusal(folder))


# ---- tables ----


@pytest.mark.parametrize("name", ["a.npz", "a.csv", "a.parquet"])
def test_a_table(tmp_path, name):
    path = write_table(tmp_path / name)
    assert "--angles rad" in refusal(path)
    (log,) = read(path, "so101", PLAIN)
    t, cmd, q = wave(6)
    np.testing.assert_allclose(log.t, t)
    np.testing.assert_allclose(log.cmd, cmd)
    np.testing.assert_allclose(log.q, q)
    assert (log.qd is None) == name.endswith("csv")


def test_numbered_columns_follow_the_arm(tmp_path):
    path = write_table(tmp_path / "a.csv", tuple(map(str, range(6))))
    (log,) = read(path, "so101", PLAIN)
    assert log.joints == SO101
    assert "have no names" in refusal(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "first row"),
        ("t,q_a\n0\n", "1 cells, needs 2"),
        ("t,q_a\n0,x\n", "no number"),
        ("t,q_a,q_a\n0,1,2\n", "different columns"),
        ("t,x\n0,1\n", "no columns q_"),
        ("t,q_a,cmd_b\n0,1,2\n", "no q_b"),
        ("q_a,cmd_a\n0,1\n", "no column t"),
    ],
)
def test_tables_that_are_none(tmp_path, text, says):
    (tmp_path / "a.csv").write_text(text)
    assert says in refusal(tmp_path / "a.csv", config=PLAIN)


def test_an_arm_that_was_not_recorded_is_refused(tmp_path):
    path = write_table(tmp_path / "a.npz", own=True)
    assert "unknown joint of viperx300s" in refusal(path, "viperx300s")


def test_a_folder_stands_for_recordings_of_any_format(tmp_path):
    write_table(tmp_path / "b.npz", own=True)
    write_aloha(tmp_path / "a.hdf5")
    (tmp_path / "notes.md").write_text("nothing")
    assert [log.name for log in read(tmp_path)] == ["a", "b"]
