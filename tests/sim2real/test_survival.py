"""Divergence horizons, their Kaplan-Meier curve, and intervals over episodes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from regrasp.sim2real.bootstrap import interval
from regrasp.sim2real.survival import Horizon, horizon, survival

FAST = settings(max_examples=50, deadline=None, derandomize=True)
ERRORS = arrays(np.float64, (15, 3), elements=st.floats(-1, 1))
T = np.arange(15) * 0.1
HORIZONS = st.lists(
    st.builds(Horizon, st.sampled_from([0.5, 1.0, 2.0, 3.0]), st.booleans()),
    min_size=1,
    max_size=12,
)


@FAST
@given(ERRORS, st.floats(0, 1), st.floats(0, 1))
def test_the_horizon_never_shrinks_as_the_tolerance_grows(errors, one, other):
    near, far = (horizon(T, errors, tolerance) for tolerance in sorted((one, other)))
    assert near.time_s <= far.time_s
    assert near.crossed >= far.crossed
    joints = [horizon(T, errors[:, i], one) for i in range(3)]
    assert horizon(T, errors, one).time_s == min(found.time_s for found in joints)


@FAST
@given(ERRORS)
def test_what_is_never_exceeded_is_censored_at_the_end(errors):
    found = horizon(T, errors, 1.0)
    assert found.time_s == pytest.approx(1.4)
    assert not found.crossed


@FAST
@given(HORIZONS)
def test_the_curve_falls_within_its_interval(horizons):
    curve = survival(horizons)
    assert (np.diff(curve.share) < 0).all()
    assert ((curve.low <= curve.share + 1e-12) & (curve.share <= curve.high + 1e-12)).all()
    assert curve.crossed + curve.censored == len(horizons)


@FAST
@given(st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0]), min_size=1, max_size=12))
def test_without_censoring_it_is_the_share_that_is_left(times):
    curve = survival([Horizon(time, True) for time in times])
    for time, share in zip(curve.time_s, curve.share, strict=True):
        assert share == pytest.approx(np.mean(np.array(times) > time))


def test_kaplan_meier_by_hand():
    horizons = [Horizon(1, True), Horizon(2, False), Horizon(3, True), Horizon(4, False)]
    curve = survival(horizons)
    np.testing.assert_allclose(curve.share, [3 / 4, 3 / 4 * 1 / 2])
    assert curve.median_s == 3
    assert survival([Horizon(1, False)]).median_s == np.inf
    assert survival([Horizon(1, False)]).to_json()["median_s"] is None


def test_intervals_cover_and_come_from_episodes():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(100):
        values = rng.normal(size=(30, 1))
        low, high = interval(values, np.mean, draws=400, seed=trial)
        hits += bool(low[0] <= 0 <= high[0])
    assert 86 <= hits <= 99
    low, high = interval(np.array([[1.0, np.nan], [2.0, np.nan], [3.0, 4.0]]))
    assert 1 <= low[0] <= 2 <= high[0] <= 3
    assert np.isnan(low[1])
