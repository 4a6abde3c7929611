"""Replays from logged states, and replays under many physics, agree with plain ones."""

import numpy as np
import pytest

from regrasp.errors import InputError
from regrasp.randomization import (
    Constant,
    LogNormal,
    Row,
    Table,
    Uniform,
    angle_noise,
    arm_table,
    command_drop,
    command_latency,
    joint_field,
    read_table,
    row_json,
    table_of,
    write_table,
)
from regrasp.sim2real import Log, replay
from regrasp.sim2real.ensemble import draw_ensemble
from regrasp.sim2real.replay import replay_windows, velocities


def test_windows_of_the_models_own_motion_follow_it(make_log, arm):
    log = make_log(3.0)
    (q,) = replay([log], arm)
    own = Log(log.name, log.joints, log.t, log.cmd, q)
    ((rows, paths),) = replay_windows([own], arm, 20, 25)
    np.testing.assert_array_equal(rows, np.arange(0, 130, 25))
    real = q[rows[:, None] + np.arange(21)]
    np.testing.assert_allclose(paths[:, 0], real[:, 0], atol=1e-12)
    # Velocities are measured from positions, hence not exact.
    assert np.abs(paths[1:] - real[1:]).max() < 2e-3
    assert replay_windows([own], arm, 1000)[0][1].shape == (0, 1001, 6)


def test_velocities_of_straight_lines_are_exact(make_log):
    t = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.03, 100))
    slope = np.linspace(-0.2, 0.3, 6)
    log = make_log(t=t, cmd=0.4 + slope * t[:, None] / 10, q=0.5 + slope * t[:, None] / 10)
    np.testing.assert_allclose(velocities(log)[2:-2], np.tile(slope / 10, (96, 1)), atol=1e-9)


def test_a_member_is_the_replay_of_an_arm_with_its_figures(make_log, arm):
    logs = [make_log(2.0), make_log(1.5, seed=1)]
    table = Table(
        Row(joint_field("servo stiffness", "elbow_flex", arm), LogNormal(1.5, 0.3), "test"),
        Row(joint_field("joint friction", "wrist_roll", arm), Uniform(0.5, 3.0), "test"),
        Row(joint_field("joint armature", "shoulder_pan", arm), Uniform(0.5, 2.0), "test"),
    )
    ensemble = draw_ensemble(logs, arm, table, 3, seed=4)
    for log, members, numbers in zip(logs, ensemble.positions, ensemble.numbers, strict=True):
        drawn = {name.split()[0]: values[2, 0] for name, values in numbers.items()}
        joints = {joint.name: joint.servo for joint in arm.joints}
        servos = {
            "elbow_flex": {"kp": joints["elbow_flex"].kp * drawn["elbow_flex"]},
            "wrist_roll": {"frictionloss": joints["wrist_roll"].frictionloss * drawn["wrist_roll"]},
            "shoulder_pan": {"armature": joints["shoulder_pan"].armature * drawn["shoulder_pan"]},
        }
        (own,) = replay([log], arm.with_servos(servos))
        np.testing.assert_allclose(members[2], own, atol=1e-9)


def test_late_commands_and_backlash_are_those_of_shifted_and_played_commands(make_log, arm):
    log = make_log(2.0)
    late = Table(Row(command_latency(), Constant(0.04), "test"))
    played = Table(Row(joint_field("backlash", "elbow_flex", arm), Constant(0.04), "test"))
    (members,) = draw_ensemble([log], arm, late, 2).positions
    shifted = log.cmd[np.maximum(np.arange(len(log.t)) - 2, 0)]
    (own,) = replay([Log("x", log.joints, log.t, shifted, log.q)], arm)
    np.testing.assert_allclose(members[1], own, atol=1e-6)
    (members,) = draw_ensemble([log], arm, played, 2).positions
    target, held = log.cmd.copy(), log.cmd[0, 2]
    for row in range(len(target)):
        held = np.clip(held, log.cmd[row, 2] - 0.02, log.cmd[row, 2] + 0.02)
        target[row, 2] = held
    (own,) = replay([Log("x", log.joints, log.t, target, log.q)], arm)
    np.testing.assert_allclose(members[0], own, atol=1e-9)


def test_draws_depend_on_the_seed_and_noise_is_that_of_encoders(make_log, arm):
    log = make_log(1.5)
    table = Table(Row(angle_noise(), Constant(0.01), "test"))
    first, again, other = (
        draw_ensemble([log], arm, table, 4, seed=s).positions[0] for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    (own,) = replay([log], arm)
    assert (first - own)[..., :-1].std() == pytest.approx(0.01, rel=0.1)
    # The gripper turns by less than two radians from closed to open.
    turn = arm.position(1.0) - arm.position(0.0)
    assert (first - own)[..., -1].std() == pytest.approx(0.01 / turn, rel=0.2)


def test_what_no_replay_can_show_is_refused(make_log, arm):
    table = Table(Row(command_drop(), Constant(0.1), "test"))
    with pytest.raises(InputError, match="no replay can show command drop"):
        draw_ensemble([make_log()], arm, table, 4)
    with pytest.raises(InputError, match="unknown field of a joint"):
        joint_field("gain", "elbow_flex", arm)


def test_tables_survive_their_file_and_plug_into_the_workcell(tmp_path, arm):
    rows = [
        row_json("servo stiffness", "elbow_flex", LogNormal(1.2, 0.3, 2.0), "fit"),
        row_json("backlash", "wrist_roll", Uniform(0.0, 0.01), "fit"),
        row_json("command latency", None, LogNormal(0.02, 0.3), "fit"),
    ]
    write_table(tmp_path / "t.json", arm, rows, {"elbow_flex": {"kp": 20.0}}, source="test")
    base, table = read_table(tmp_path / "t.json", arm)
    assert base.joints[2].servo.kp == 20.0
    assert table.to_json() == table_of(rows, arm).to_json()
    from regrasp.assets.arm import load_arm

    viper = load_arm("viperx300s")
    name = viper.joint_names[1]
    many = table_of(
        [row_json("servo stiffness", name, LogNormal(1.2, 0.3), "fit")], viper, ("left/", "right/")
    )
    import regrasp

    env = regrasp.make("transfer_cube", num_envs=2, randomize=many, seed=0)
    env.reset()
    gains = env.take().fields["actuator_gainprm"]
    assert gains.shape[0] == 2
    assert (gains[0] != gains[1]).any()
    assert len(arm_table(arm).rows) == 4 * 6 + 2


BAD = {
    "is for the arm": {"arm": "viperx300s", "rows": []},
    "is not {": {"arm": "so101"},
    "unknown key": {"arm": "so101", "rows": [], "x": 1},
    "unknown distribution": {
        "arm": "so101",
        "rows": [{"field": "command latency", "distribution": {"kind": "Beta"}}],
    },
    "takes finite numbers": {
        "arm": "so101",
        "rows": [{"field": "command latency", "distribution": {"kind": "Constant", "value": "1"}}],
    },
    "choose median > 0": {
        "arm": "so101",
        "rows": [
            {
                "field": "command latency",
                "distribution": {"kind": "LogNormal", "median": -1, "sigma": 1},
            }
        ],
    },
    "choose a range within": {
        "arm": "so101",
        "rows": [{"field": "command latency", "distribution": {"kind": "Constant", "value": 5}}],
    },
}


@pytest.mark.parametrize("message", BAD)
def test_bad_tables_are_refused(tmp_path, arm, message):
    import json

    (tmp_path / "t.json").write_text(json.dumps(BAD[message]))
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / "t.json", arm)
