"""Errors and lag obey their laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from regrasp.sim2real import lag_s, mae, rmse
from regrasp.sim2real.metrics import errors

ANGLES = arrays(np.float64, (20, 3), elements=st.floats(-50, 50))
FAST = settings(max_examples=50, deadline=None, derandomize=True)


@FAST
@given(ANGLES, ANGLES, st.booleans())
def test_mae_rmse_and_largest_error_are_ordered(a, b, hinge):
    low, middle = mae(a, b, hinge), rmse(a, b, hinge)
    high = np.abs(errors(a, b, hinge)).max(axis=0)
    assert (low <= middle * (1 + 1e-12)).all()
    assert (middle <= high * (1 + 1e-12)).all()


@FAST
@given(ANGLES, ANGLES)
def test_error_is_zero_only_between_equals(a, b):
    assert (rmse(a, a) == 0).all()
    assert ((rmse(a, b, False) == 0) == (a == b).all(axis=0)).all()


@FAST
@given(ANGLES, ANGLES, st.integers(-3, 3))
def test_whole_turns_do_not_matter_to_hinges_only(a, b, turns):
    turned = b + 2 * np.pi * turns
    np.testing.assert_allclose(rmse(a, turned), rmse(a, b), atol=1e-9)
    assert (np.abs(errors(a, turned)) <= np.pi + 1e-9).all()
    np.testing.assert_allclose(errors(a, turned, False), turned - a)


def test_errors_by_hand():
    a, b = np.zeros((2, 2)), np.array([[3.0, 2 * np.pi - 0.1], [4.0, 0.1]])
    hinges = np.array([False, True])
    np.testing.assert_allclose(rmse(a, b, hinges), [np.sqrt(12.5), 0.1])
    np.testing.assert_allclose(mae(a, b, hinges), [3.5, 0.1])


def _signal(seed: int, count: int) -> np.ndarray:
    """Smoothed noise: like a motion, and unlike its own shifts."""
    noise = np.random.default_rng(seed).normal(size=count + 30)
    return np.convolve(noise, np.hanning(30), mode="valid")[:count]


@FAST
@given(st.integers(0, 50), st.integers(-15, 15))
def test_a_shift_by_k_samples_is_a_lag_of_k(seed, k):
    long = _signal(seed, 640)
    first, second = long[20:-20], long[20 - k : len(long) - 20 - k]
    assert lag_s(first, second, 0.02, 0.4) == pytest.approx(0.02 * k, abs=0.02 * 0.05)


@FAST
@given(st.integers(0, 50), st.integers(51, 99), st.floats(0.01, 100), st.floats(-10, 10))
def test_lag_is_antisymmetric_and_blind_to_gain_and_offset(a, b, gain, offset):
    first, second = _signal(a, 300), _signal(a, 300) + 0.3 * _signal(b, 300)
    second = np.roll(second, 4)
    lag = lag_s(first, second, 0.02)
    assert lag_s(second, first, 0.02) == pytest.approx(-lag, abs=1e-9)
    assert lag_s(first, gain * second + offset, 0.02) == pytest.approx(lag, abs=1e-9)


def test_a_fraction_of_a_sample_is_found():
    t = np.arange(0, 20, 0.02)
    lag = lag_s(np.sin(t + 0.1 * t**2), np.sin(t - 0.05 + 0.1 * (t - 0.05) ** 2), 0.02)
    assert lag == pytest.approx(0.05, abs=0.001)


def test_a_lag_beyond_the_limit_is_the_limit_and_a_still_signal_has_none():
    t = np.arange(0, 6, 0.02)
    assert lag_s(np.sin(t), np.sin(t - 0.5), 0.02, 0.1) == pytest.approx(0.1)
    assert lag_s(np.sin(t), np.sin(t + 0.5), 0.02, 0.1) == pytest.approx(-0.1)
    assert np.isnan(lag_s(np.sin(t), np.ones(300), 0.02))
