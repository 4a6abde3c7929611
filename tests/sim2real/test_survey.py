"""What `regrasp logs` says of recordings, and what it makes of them."""

import json

import numpy as np
import pytest
from benchmarks.recordings import write_aloha, write_bag, write_lerobot, write_table

from regrasp.assets.arm import load_arm
from regrasp.cli import main
from regrasp.envs import load_task
from regrasp.errors import InputError
from regrasp.rl.clone import CloneConfig, policy_for, samples
from regrasp.rl.episodes import Episodes
from regrasp.sim2real import read_logs
from regrasp.sim2real.demonstrations import to_aloha, to_episodes, to_tables
from regrasp.sim2real.log import Log
from regrasp.sim2real.readers import look
from regrasp.sim2real.survey import describe, survey
from regrasp.sim2real.survey_plot import draw_survey


def test_what_is_found_is_said(tmp_path):
    write_aloha(tmp_path / "a.hdf5")
    write_table(tmp_path / "b.npz", own=True)
    write_table(tmp_path / "c.csv")
    found = survey([tmp_path])
    assert [one.log.name for one in found.found] == ["a", "b"]
    assert [one.name for _, one in found.refused] == ["c"]
    told = found.to_json()
    json.dumps(told, allow_nan=False)
    first = told["logs"][0]
    assert first["rate_hz"] == pytest.approx(50)
    assert first["time"] == "assumed"
    assert first["cameras"] == {"cam_high": [80, 32, 48, 3]}
    # Waves trail by 60 ms.
    assert first["lag_s"] == pytest.approx(0.06, abs=0.005)
    assert told["refused"] == 1
    text = str(found)
    for words in (
        "50.0?",
        "refused  c: the unit of",
        "2 logs, 2 with commands for every joint; 1 refused",
    ):
        assert words in text


def test_jitter_is_that_of_the_stamps(make_log):
    even, t = make_log(), np.arange(100) * 0.02
    assert describe(even).jitter_s == pytest.approx(0, abs=1e-9)
    uneven = make_log(t=t + 0.004 * (np.arange(100) % 2))
    assert describe(uneven).jitter_s == pytest.approx(0.004, abs=1e-6)


def _column(values, column, new):
    values = values.copy()
    values[:, column] = new
    return values


ODD = {
    "gap": (lambda log: {"t": log.t + 0.5 * (np.arange(100) > 50)}, "a gap of 0.52 s at 1.00 s"),
    "stale": (
        lambda log: {"q": np.repeat(log.q[::2], 2, axis=0)},
        "of measurements repeat the last one",
    ),
    "dead": (lambda log: {"q": _column(log.q, 1, 0.3)}, "shoulder_lift is commanded over"),
    "led by hand": (lambda log: {"cmd": _column(log.cmd, 2, 0.5)}, "elbow_flex moves over"),
    "sign": (lambda log: {"q": _column(log.q, 0, -log.cmd[:, 0])}, "shoulder_pan moves against"),
    "zero": (lambda log: {"q": _column(log.q, 3, log.q[:, 3] + 1)}, "wrist_flex stands"),
    "early": (lambda log: {"cmd": log.q, "q": log.cmd}, "lead their commands"),
    "no speed": (
        lambda log: {"qd": np.zeros_like(log.q)},
        "the velocity of shoulder_pan, shoulder_lift",
    ),
    "degrees": (
        lambda log: {"qd": np.degrees(np.gradient(log.q, log.t, axis=0))},
        "is about 60 times the slope",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_what_looks_wrong_is_named(make_log, case):
    change, says = ODD[case]
    assert describe(make_log()).odd == ()
    odd = describe(make_log(**change(make_log()))).odd
    assert any(says in one for one in odd), odd


def test_the_picture_holds_logs_and_refusals(tmp_path):
    write_aloha(tmp_path / "a.hdf5")
    write_table(tmp_path / "c.csv")
    svg = draw_survey(survey([tmp_path]), "svg")
    assert svg.startswith(b"<?xml")
    assert b"c: refused" in svg


def test_the_verb_answers_in_json_and_exits_with_1_if_any_is_refused(tmp_path, capfd):
    write_lerobot(tmp_path / "set")
    with pytest.raises(SystemExit) as stop:
        main(["logs", str(tmp_path), "--json"])
    assert stop.value.code == 1
    assert json.loads(capfd.readouterr().out)["refused"] == 2
    told = ["--arm", "so101", "--angles", "deg", "--grippers", "percent"]
    picture, out = tmp_path / "p.png", tmp_path / "out"
    main(["logs", str(tmp_path), *told, "--picture", str(picture), "--out", str(out), "--json"])
    answer = json.loads(capfd.readouterr().out)
    assert answer["accepted"] == 2
    assert picture.read_bytes().startswith(b"\x89PNG")
    # What is written needs no telling.
    first, _ = read_logs([out], load_arm("so101"))
    assert first.name == "set-000000"


# ---- to tables, to an ALOHA's files, to demonstrations, and back ----


def logs_at(path) -> list[Log]:
    return [one for _, one in look([path]) if isinstance(one, Log)]


def test_tables_are_read_as_they_were_written(make_log, tmp_path):
    log = make_log(qd=make_log().q)
    to_tables([log, log], tmp_path)
    first, second = logs_at(tmp_path)
    assert (first.name, second.name) == ("waves-2", "waves")
    for name in ("t", "cmd", "q", "qd"):
        np.testing.assert_array_equal(getattr(first, name), getattr(log, name))


def test_an_alohas_file_is_read_as_it_was_written(tmp_path):
    (log,) = logs_at(write_aloha(tmp_path / "a.hdf5"))
    to_aloha([log], tmp_path / "out")
    (again,) = logs_at(tmp_path / "out")
    for name in ("t", "cmd", "q", "qd"):
        np.testing.assert_allclose(getattr(again, name), getattr(log, name), atol=1e-12)
    np.testing.assert_array_equal(again.images["cam_high"][5], log.images["cam_high"][5])


def test_one_arm_is_no_alohas_file(make_log, tmp_path):
    with pytest.raises(InputError, match="needs two arms"):
        to_aloha([make_log()], tmp_path)


def test_recordings_become_demonstrations_without_what_only_a_simulation_sees(tmp_path):
    (log,) = logs_at(write_aloha(tmp_path / "a.hdf5"))
    header = to_episodes([log], "transfer_cube", tmp_path / "demos")
    assert header.meta["lacks"] == ["cube_pos", "cube_rot"]
    episodes, task = Episodes.open(tmp_path / "demos"), load_task("transfer_cube")
    episodes.header.check("transfer_cube", task)
    episode = episodes[0]
    grippers = [6, 13]
    np.testing.assert_allclose(episode.action, log.cmd, atol=1e-6)
    np.testing.assert_allclose(episode.obs["gripper"], log.q[:, grippers], atol=1e-6)
    np.testing.assert_allclose(
        episode.obs["joint_pos"], np.delete(log.q, grippers, axis=1), atol=1e-6
    )
    np.testing.assert_allclose(episode.obs["target"][1:], log.cmd[:-1], atol=1e-6)
    policy = policy_for(task, CloneConfig(width=8, depth=1), episodes.terms)
    assert dict(policy.terms) == {"joint_pos": 12, "gripper": 2, "target": 14}
    obs, action, index, _ = episodes.arrays()
    assert samples(policy, obs, action, index).obs.shape == (80, 28)
    # They are logs again.
    (again,) = logs_at(tmp_path / "demos")
    np.testing.assert_allclose(again.cmd, log.cmd, atol=1e-6)
    np.testing.assert_allclose(again.q, log.q, atol=1e-6)


def test_demonstrations_run_at_the_tasks_rate(tmp_path):
    from regrasp.sim2real.units import ReadConfig

    path = write_bag(tmp_path / "e.bag")
    (log,) = [one for _, one in look([path], load_arm("viperx300s"), ReadConfig(grippers="act"))]
    assert isinstance(log, Log)
    assert 1 / log.period_s == pytest.approx(100)
    to_episodes([log], "transfer_cube", tmp_path / "demos")
    (episode,) = Episodes.open(tmp_path / "demos")
    np.testing.assert_allclose(episode.action, log.cmd[::2], atol=1e-6)


def test_a_log_of_one_arm_demonstrates_nothing(make_log, tmp_path):
    with pytest.raises(InputError, match="not those of both arms"):
        to_episodes([make_log()], "transfer_cube", tmp_path / "demos")
