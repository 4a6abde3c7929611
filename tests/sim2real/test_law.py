"""The law of geared servos: what each figure does to a simulated arm."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrasp.randomization import Constant, LogNormal, row_json, table_of
from regrasp.sim2real import Log, replay, replay_windows
from regrasp.sim2real.ensemble import draw_ensemble
from regrasp.sim2real.law import Shaper, is_plain

STEP_S = 0.004


def _every(arm, **figures):
    return arm.with_servos(dict.fromkeys(arm.joint_names, figures))


def _still(arm, seconds=4.0, start=0.3):
    """A log of an arm that is told to stay and starts `start` rad off on its second joint."""
    t = np.arange(0, seconds, 0.02)
    cmd = np.zeros((len(t), 6))
    cmd[:, -1] = 0.5
    cmd[-1, 0] = 0.01
    q = cmd.copy()
    q[:, 1] += start
    return Log("still", arm.joint_names, t, cmd, q)


def test_an_arm_without_fitted_figures_is_the_engines_own(arm):
    assert is_plain(arm)
    assert not is_plain(_every(arm, motor_friction=0.1))


def test_the_law_with_nothing_in_it_is_the_engines_own_friction(make_log, arm):
    log = make_log()
    stiff = _every(arm, creep=1e-4, frictionloss=0.2)
    (own,) = replay([log], stiff)
    (law,) = replay([log], _every(stiff, stribeck_friction=1e-12))
    np.testing.assert_allclose(law, own, atol=1e-6)


def test_friction_holds_a_loaded_joint_only_if_it_is_rigid(arm):
    log = _still(arm, start=0.02)
    drift = {}
    for creep in (None, 1e-4):
        (q,) = replay([log], _every(arm, frictionloss=0.8, creep=creep))
        drift[creep] = abs(q[-1, 1] - q[25, 1])
    assert drift[1e-4] < 1e-3
    assert drift[None] > 5 * drift[1e-4]


def test_gears_under_load_lift_worse_than_they_lower(arm):
    """A joint comes to rest further from its target on the side that gravity is not on."""
    rigid = {"creep": 1e-4, "frictionloss": 0.05, "damping": 0.8}
    ends = {}
    for share in (0.0, 0.4):
        model = _every(arm, motor_friction=share, **rigid)
        for start in (-0.3, 0.3):
            (q,) = replay([_still(arm, start=start)], model)
            ends[share, start] = q[-1, 1]
    band = {share: abs(ends[share, 0.3] - ends[share, -0.3]) for share in (0.0, 0.4)}
    assert band[0.4] > 1.5 * band[0.0]


FIGURES = [{"backlash": 0.02}, {"offset": 0.01}, {"profile_s": 0.1}, {"latency_s": 0.013}]


@pytest.mark.parametrize("figures", FIGURES)
def test_commands_are_shaped_the_same_in_pieces_and_later(arm, figures):
    told = np.random.default_rng(0).normal(0, 0.1, (2, 30, 6))
    stamps = np.arange(30) * 5 * STEP_S
    model = _every(arm, **figures)
    whole = Shaper(model, stamps, told, STEP_S)(150)
    piecewise = Shaper(model, stamps, told, STEP_S)
    pieces = np.concatenate([piecewise(40), piecewise(110)], axis=1)
    np.testing.assert_allclose(pieces, whole, atol=1e-12)
    # What was sent before the first substep counts.
    later = Shaper(model, stamps - stamps[8], told, STEP_S)(110)
    np.testing.assert_allclose(later, whole[:, 40:], atol=1e-9)
    assert not np.allclose(whole, np.repeat(told, 5, axis=1))


@settings(max_examples=25, deadline=None)
@given(width=st.floats(1e-4, 0.1), seed=st.integers(0, 99))
def test_play_stays_within_its_gap_and_plays_in_a_row_add_up(arm, width, seed):
    told = np.random.default_rng(seed).normal(0, 0.1, (1, 50, 6))
    stamps = np.arange(50) * STEP_S
    model = _every(arm, backlash=width)
    out = Shaper(model, stamps, told, STEP_S)(50)
    assert np.abs(out - told).max() <= width / 2 + 1e-12
    twice = Shaper(model, stamps, out, STEP_S)(50)
    once = Shaper(model, stamps, told, STEP_S, backlash=np.full((1, 6), width))(50)
    np.testing.assert_allclose(twice, once, atol=1e-12)


def test_latency_moves_a_replay_in_time(make_log, arm):
    log = make_log(seconds=3.0)
    (now,) = replay([log], arm)
    (late,) = replay([log], _every(arm, latency_s=0.04))
    # Once the start has died away, 40 ms are two samples.
    np.testing.assert_allclose(late[60:], now[58:-2], atol=2e-3)


def test_arms_of_one_batch_do_not_affect_one_another(make_log, arm):
    logs = [make_log(seed=k) for k in range(3)]
    arms = [
        _every(arm, kp=12.0, dead_band=0.005),
        _every(arm, motor_friction=0.3).with_links({"gripper": {"log_mass": 0.4}}),
        _every(arm, supply_droop=0.05, torque_offset=0.02),
    ]
    together = replay(logs, arms)
    for log, one, q in zip(logs, arms, together, strict=True):
        np.testing.assert_allclose(replay([log], one)[0], q, atol=1e-9)


def test_a_member_of_a_fitted_arms_ensemble_is_the_replay_of_an_arm_with_its_figures(make_log, arm):
    fitted = _every(arm, motor_friction=0.3, offset=0.01, creep=1e-4, latency_s=0.01, backlash=0.01)
    rows = [
        row_json("joint friction", "elbow_flex", LogNormal(1.5, 0.3), "test"),
        row_json("backlash", "wrist_roll", Constant(0.02), "test"),
        row_json("command latency", None, Constant(0.012), "test"),
    ]
    log, table = make_log(), table_of(rows, arm)
    ensemble = draw_ensemble([log], fitted, table, 3, seed=2)
    friction = fitted.joints[2].servo.frictionloss
    for member in (0, 2):
        drawn = ensemble.numbers[0]["elbow_flex joint friction"][member, 0]
        own = _every(fitted, latency_s=0.022).with_servos(
            {"elbow_flex": {"frictionloss": friction * drawn}, "wrist_roll": {"backlash": 0.03}}
        )
        np.testing.assert_allclose(ensemble.positions[0][member], replay([log], own)[0], atol=1e-6)


def test_windows_of_a_fitted_arms_own_motion_follow_it(make_log, arm):
    fitted = _every(arm, motor_friction=0.3, latency_s=0.03, profile_s=0.03, creep=1e-4)
    log = make_log(3.0)
    (q,) = replay([log], fitted)
    own = replace(log, q=q)
    ((rows, paths),) = replay_windows([own], fitted, 20, 25)
    real = q[rows[:, None] + np.arange(21)]
    assert np.abs(paths[1:] - real[1:]).max() < 3e-3


def test_the_field_of_creep_writes_the_figure(make_log, arm):
    log = make_log()
    half = table_of([row_json("joint creep", "elbow_flex", Constant(0.5), "test")], arm)
    model = _every(arm, creep=0.02, frictionloss=0.5)
    (members,) = draw_ensemble([log], model, half, 2).positions
    (own,) = replay([log], model.with_servos({"elbow_flex": {"creep": 0.01}}))
    np.testing.assert_allclose(members[1], own, atol=1e-9)
    assert np.abs(own - replay([log], model)[0]).max() > 1e-5
