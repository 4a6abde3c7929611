"""Where and why: regimes, frequencies, horizons and causes of a gap that was made on purpose."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrasp.sim2real import Log, gap_of, replay
from regrasp.sim2real.causes import _shares, causes_of
from regrasp.sim2real.detail import BANDS_HZ, _bands, _growth
from regrasp.sim2real.kinematics import poses, turned_rad
from regrasp.sim2real.regimes import regimes_of

FAST = settings(max_examples=30, deadline=None, derandomize=True)


def _trapezoids(arm, seed=0, seconds=8.0):
    rng = np.random.default_rng(seed)
    t = np.arange(0, seconds, 0.02)
    times = np.arange(0, seconds + 2, 1.0)
    knots = rng.uniform(0.1, 0.9, (len(arm.joints), len(times)))
    knots[:, 2::3] = knots[:, 1::3][:, : knots[:, 2::3].shape[1]]
    cmd = np.stack([np.interp(t, times, row) for row in knots], axis=1)
    return Log(f"made {seed}", arm.joint_names, t, cmd, np.repeat(cmd[:1], len(t), axis=0))


def _measured(log, q):
    return Log(log.name, log.joints, log.t, log.cmd, q)


@FAST
@given(st.integers(0, 500), st.integers(40, 90))
def test_squares_by_frequency_add_up(seed, count):
    rng = np.random.default_rng(seed)
    t = 0.02 * np.arange(count)
    off = rng.normal(size=(count, 3))
    log = Log("x", ("a", "b", "c"), np.append(t, [t[-1] + 0.02, 9.0]), *_pair(count + 2))
    found = _bands(log, off)
    even = np.arange(t[0], t[-1], log.period_s)
    resampled = np.stack([np.interp(even, t, c) for c in off.T], axis=1)
    np.testing.assert_allclose((found**2).sum(axis=0), (resampled**2).mean(axis=0), rtol=1e-9)


def _pair(count):
    wave = 0.5 + 0.1 * np.sin(np.arange(count))[:, None] * np.ones(3)
    return wave, wave + 0.01


def test_a_slow_error_lies_in_the_slow_band(arm):
    log = _trapezoids(arm)
    off = np.tile(0.01 * np.sin(2 * np.pi * 3.0 * log.t)[:, None], (1, 6))
    assert (np.argmax(_bands(log, off), axis=0) == [low for low, _ in BANDS_HZ].index(1.0)).all()


@FAST
@given(st.integers(0, 1000))
def test_shares_add_up_to_what_all_traces_explain(seed):
    rng = np.random.default_rng(seed)
    traces = rng.normal(size=(60, 6))
    traces[:, 5] += traces[:, :5] @ rng.normal(size=5)
    moments = traces.T @ traces / 60
    shares = _shares(moments)
    solution, *_ = np.linalg.lstsq(traces[:, :5], traces[:, 5], rcond=None)
    left = traces[:, 5] - traces[:, :5] @ solution
    assert shares.sum() == pytest.approx(
        1 - (left @ left) / (traces[:, 5] @ traces[:, 5]), abs=1e-4
    )
    assert (shares > -1e-4).all()


@pytest.mark.parametrize(
    ("figures", "joint", "cause"),
    [
        ({"kp": 10.0}, "shoulder_lift", "stiffness"),
        ({"damping": 1.4}, "wrist_roll", "damping or latency"),
        ({"frictionloss": 0.4}, "shoulder_pan", "friction or backlash"),
    ],
)
def test_the_figure_that_was_changed_is_the_cause(arm, figures, joint, cause):
    logs = [_trapezoids(arm, seed) for seed in range(3)]
    real = replay(logs, arm.with_servos({joint: figures}))
    measured = [_measured(log, q) for log, q in zip(logs, real, strict=True)]
    simulated = replay(measured, arm)
    found = causes_of(measured, simulated, [regimes_of(log, arm) for log in measured], arm)[joint]
    assert found[0].cause == cause
    # The rest is mostly what a delay leaves beyond its first order.
    assert found[0].share > 0.35
    assert found[0].certain
    if cause == "stiffness":
        assert float(found[0].words.split()[1]) == pytest.approx(10.0, rel=0.4)


def test_regimes_part_the_time_and_gravity_is_that_of_the_arm(arm):
    log = _trapezoids(arm)
    regimes = regimes_of(log, arm)
    masks = regimes.masks()
    count = masks["holding"].astype(int) + masks["moving"] + masks["reversing"]
    assert (count == 1).all()
    assert (masks["lifting"] | masks["lowering"] <= masks["moving"]).all()
    # A joint that turns about the vertical carries no load.
    assert np.abs(regimes.load[:, 0]).max() < 1e-3
    assert np.abs(regimes.load[:, 1]).max() > 0.1


@FAST
@given(st.integers(0, 1000))
def test_a_turn_is_measured_by_its_angle(seed):
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(seed)
    first = Rotation.from_quat(rng.normal(size=(5, 4)))
    by = rng.uniform(0, np.pi, 5)
    axis = rng.normal(size=(5, 3))
    turn = Rotation.from_rotvec(axis / np.linalg.norm(axis, axis=1)[:, None] * by[:, None])
    second = (first * turn).as_matrix()
    np.testing.assert_allclose(turned_rad(first.as_matrix(), second), by, atol=1e-6)


def test_the_tip_follows_the_base_joint(arm):
    q = np.zeros((2, 6))
    q[1, 0] = 0.1
    found = poses(arm, q)
    reach = np.linalg.norm(found.tip_m[0, :2] - [0.0388353, 0])
    assert np.linalg.norm(found.tip_m[1] - found.tip_m[0]) == pytest.approx(0.1 * reach, rel=0.01)
    assert turned_rad(found.turn[:1], found.turn[1:])[0] == pytest.approx(0.1, abs=1e-6)


def test_a_gap_in_detail_is_plain_and_prints(arm):
    logs = [_trapezoids(arm, seed, 4.0) for seed in range(3)]
    real = replay(logs, arm.with_servos({"elbow_flex": {"kp": 9.0}}))
    measured = [_measured(log, q) for log, q in zip(logs, real, strict=True)]
    again = [_measured(log, q + 0.002) for log, q in zip(logs, real, strict=True)]
    gap = gap_of(measured, arm, repeats=again, detail=True)
    document = json.loads(json.dumps(gap.to_json(), allow_nan=False))["detail"]
    elbow = document["joints"]["elbow_flex"]
    low, high = elbow["rmse_interval"]
    assert low <= gap.joints["elbow_flex"].rmse_rad <= high
    assert elbow["growth"]["rmse"][0] < elbow["growth"]["rmse"][-1]
    assert document["joints"]["wrist_roll"]["horizon"]["crossed"] == 0
    assert elbow["horizon"]["crossed"] + elbow["horizon"]["censored"] == 3
    # A constant offset of both floors: 2 mrad over sqrt(2), in the band that holds the mean.
    assert elbow["bands"][0]["floor"] == pytest.approx(0.002 / np.sqrt(2), rel=0.05)
    assert document["tip"]["position_mm"]["rmse"] > document["tip"]["position_mm"]["floor"] > 0
    assert sum(band["share"] for band in elbow["bands"]) == pytest.approx(1)
    for joint in gap.joints.values():
        assert joint.dtw_rad <= joint.mae_rad * 1.02 + 1e-4
        assert joint.speed_w1 >= 0
    assert "elbow_flex: " in str(gap)


def test_growth_is_by_time_whatever_the_rates_of_the_logs(arm):
    log = _trapezoids(arm)
    (q,) = replay([log], arm.with_servos({"elbow_flex": {"kp": 9.0}}))
    fast = _measured(log, q)
    slow = Log("slow", log.joints, log.t[::2], log.cmd[::2], q[::2])
    found = _growth([fast, fast, slow], arm)
    rises = (found["time_s"] > 0.03) & (found["time_s"] < 0.2)
    elbow = list(arm.joint_names).index("elbow_flex")
    low, high = found["low"][rises, elbow], found["high"][rises, elbow]
    assert high[-1] > 2 * high[0]
    np.testing.assert_allclose(low, high, rtol=0.2)
