"""The gap: its figures, its contract, parameters, and the recordings' known numbers."""

import json

import numpy as np
import pytest

from regrasp.errors import InputError
from regrasp.sim2real import Log, find_data, gap_of, measure_gap, read_logs, replay, with_params


def _own(log, arm, **fields):
    """The log with the model's own motion as its measurement."""
    (q,) = replay([log], arm)
    return Log(
        **{"name": log.name, "joints": log.joints, "t": log.t, "cmd": log.cmd, "q": q} | fields
    )


def test_a_model_has_no_gap_to_itself(make_log, arm):
    gap = gap_of([_own(make_log(4.0), arm)], arm)
    assert gap.rmse_rad < 1e-12
    assert gap.joints["elbow_flex"].lag_s == pytest.approx(0, abs=1e-6)
    lag = gap.joints["elbow_flex"].lag_sim_s
    assert lag == pytest.approx(gap.joints["elbow_flex"].lag_real_s)
    assert 0.02 < lag < 0.2


def test_a_known_error_and_delay_are_measured(make_log, arm):
    own = _own(make_log(6.0), arm)
    late = np.concatenate([np.repeat(own.q[:1], 3, axis=0), own.q[:-3]])
    lagging = gap_of([_own(make_log(6.0), arm, q=late)], arm)
    assert lagging.joints["wrist_roll"].lag_s == pytest.approx(0.06, abs=0.005)
    # Row 0 stays, for the replay starts there.
    off = own.q + np.where(np.arange(len(own.t)) > 0, 0.02, 0.0)[:, None]
    gap = gap_of([_own(make_log(6.0), arm, q=off)], arm)
    assert gap.rmse_rad == pytest.approx(0.02, rel=0.01)
    assert gap.joints["gripper"].mae_rad == pytest.approx(0.02, rel=0.01)


def test_medians_are_over_recordings_and_lags_over_those_that_move(make_log, arm):
    still = make_log(3.0, seed=1)
    still.cmd[:, 2] = still.cmd[0, 2]
    logs = [make_log(3.0, seed=seed) for seed in (2, 3)]
    gap = gap_of([still, *logs], arm)
    each = [recording.joints["elbow_flex"] for recording in gap.recordings]
    assert gap.joints["elbow_flex"].rmse_rad == np.median([joint.rmse_rad for joint in each])
    assert np.isnan(each[0].lag_s)
    assert gap.joints["elbow_flex"].lag_s == np.median([joint.lag_s for joint in each[1:]])
    arm_joints = [gap.joints[name].rmse_rad for name in arm.joint_names[:-1]]
    assert gap.rmse_rad == np.mean(arm_joints)


def test_json_is_the_contract_and_holds_no_nan(make_log, arm):
    logs = [make_log(3.0), make_log(3.0, seed=1, name="other")]
    repeat = make_log(3.0, q=logs[0].q + 0.01)
    document = json.loads(
        json.dumps(gap_of(logs, arm, repeats=[repeat]).to_json(), allow_nan=False)
    )
    assert set(document["joints"]) == set(arm.joint_names)
    for joint in document["joints"].values():
        assert {"rmse_rad", "mae_rad", "lag_s", "floor_rad"} <= set(joint)
    assert document["joints"]["gripper"]["unit"] == "0..1"
    assert document["floor_rad"] == pytest.approx(0.01 / np.sqrt(2))
    assert [recording["name"] for recording in document["recordings"]] == ["waves", "other"]
    assert set(document["recordings"][0]["joints"]) == set(arm.joint_names)
    alone = json.loads(json.dumps(gap_of(logs, arm).to_json(), allow_nan=False))
    assert alone["floor_rad"] is None


def test_the_table_lines_up(make_log, arm):
    lines = str(gap_of([make_log(3.0)], arm)).splitlines()
    table = lines[1:-1]
    assert len(table) == 1 + len(arm.joints)
    assert len({len(line) for line in table}) == 1
    assert "mean over the 5 arm joints" in lines[-1]


def test_measure_gap_reads_replays_and_finds_repeats(write_sage, sage_rows, tmp_path, arm):
    folder = write_sage(*sage_rows, name="waves")
    log = read_logs([folder], arm)[0]
    shifted = {"t": log.t, "cmd": log.cmd, "q": log.q + 0.01}
    beside = tmp_path.with_name(f"{tmp_path.name}_repeats.npz")
    np.savez(beside, **{f"waves__x__{field}": value for field, value in shifted.items()})
    for paths in ([folder], [tmp_path]):
        gap = measure_gap(paths)
        assert gap.floor.pairs == 1
        np.testing.assert_allclose(gap.floor.pair_rmse, 0.01)


def _params(path, **table):
    path.write_text(json.dumps(table))
    return path


def test_parameters_replace_the_named_figures(tmp_path, arm):
    path = _params(tmp_path / "p.json", arm="so101", servos={"elbow_flex": {"kp": 30.0}})
    fitted = with_params(arm, path)
    assert fitted.joints[2].servo.kp == 30.0
    assert fitted.joints[2].servo.damping == arm.joints[2].servo.damping
    assert fitted.joints[1] == arm.joints[1]


def test_parameters_change_the_gap(tmp_path, write_sage, sage_rows):
    folder = write_sage(*sage_rows)
    servos = {"shoulder_lift": {"kp": 100.0}}
    path = _params(tmp_path / "p.json", arm="so101", servos=servos, source="test", fit={})
    fitted = measure_gap([folder], params=path)
    assert fitted.params == str(path)
    assert fitted.joints["shoulder_lift"] != measure_gap([folder]).joints["shoulder_lift"]


BAD_PARAMS = {
    "is for the arm 'viperx300s'": {"arm": "viperx300s", "servos": {}},
    "is not {": {"arm": "so101", "servos": []},
    "unknown key": {"arm": "so101", "servos": {}, "delay": 1},
    "unknown joint": {"arm": "so101", "servos": {"elbow": {"kp": 1}}},
    "unknown servo figure": {"arm": "so101", "servos": {"elbow_flex": {"gain": 1}}},
    "kp of elbow_flex is '1'": {"arm": "so101", "servos": {"elbow_flex": {"kp": "1"}}},
    "kp of elbow_flex is -1": {"arm": "so101", "servos": {"elbow_flex": {"kp": -1}}},
    "kp of elbow_flex is nan": {"arm": "so101", "servos": {"elbow_flex": {"kp": np.nan}}},
    "elbow_flex is not": {"arm": "so101", "servos": {"elbow_flex": 3}},
}


@pytest.mark.parametrize("message", BAD_PARAMS)
def test_bad_parameters_are_refused(tmp_path, arm, message):
    with pytest.raises(InputError, match=message):
        with_params(arm, _params(tmp_path / "p.json", **BAD_PARAMS[message]))


def test_missing_inputs_are_refused(tmp_path, arm):
    with pytest.raises(InputError, match="no log at"):
        measure_gap([tmp_path / "nothing"])
    with pytest.raises(InputError, match="unknown arm"):
        measure_gap([tmp_path], arm="so100")
    with pytest.raises(InputError, match="no parameter file"):
        with_params(arm, tmp_path / "nothing.json")


def test_the_data_folder_can_be_named(tmp_path, monkeypatch):
    monkeypatch.setenv("REGRASP_DATA", str(tmp_path))
    assert find_data() == tmp_path
    monkeypatch.setenv("REGRASP_DATA", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="not a folder"):
        find_data()


def test_stock_gap_of_the_recordings_is_the_known_one(data, arm):
    logs = read_logs([data / "sage_so101"], arm)
    assert len(logs) == 36
    # The shorter half: as good a check, and twice as fast.
    logs = sorted(logs, key=lambda log: log.duration_s)[:18]
    gap = gap_of(logs, arm)
    known = [0.012, 0.030, 0.043, 0.014, 0.012]
    measured = [gap.joints[name].rmse_rad for name in arm.joint_names[:-1]]
    np.testing.assert_allclose(measured, known, rtol=0.5)
    assert gap.rmse_rad == pytest.approx(0.0222, rel=0.2)
    assert 0.05 < gap.joints["wrist_roll"].lag_real_s < 0.2
