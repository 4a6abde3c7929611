"""Laws of jerk and of the spectral arc length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrasp.sim2real.smoothness import rms_jerk, spectral_arc_length

TIME = np.linspace(0, 1, 51)
BELL = 30 * TIME**2 - 60 * TIME**3 + 30 * TIME**4
"""Speed of the motion of least jerk."""


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5), st.floats(0.005, 0.2))
def test_the_jerk_of_a_cubic_is_its_third_derivative(a, b, c, period_s):
    t = period_s * np.arange(20)
    path = np.stack([a * t**3 + b * t**2 + c * t, b * t**2], axis=1)
    scale = 1 + np.abs(path).max() / period_s**3
    np.testing.assert_allclose(rms_jerk(path, period_s), [abs(6 * a), 0.0], atol=1e-12 * scale)


def test_a_path_too_short_for_a_jerk_has_none():
    assert np.isnan(rms_jerk(np.zeros((3, 2)), 0.02)).all()


@given(st.floats(1e-6, 1e6), st.floats(0.3, 3.0))
def test_arc_length_knows_neither_size_nor_pace(gain, slower):
    """As long as the spectrum ends below 10 Hz, which that of slow motions does."""
    length = spectral_arc_length(BELL, 0.02)
    assert spectral_arc_length(gain * BELL, 0.02) == pytest.approx(length, rel=1e-9)
    assert spectral_arc_length(BELL, 0.02 * slower) == pytest.approx(length, rel=1e-9)


@given(st.integers(1, 5))
def test_stops_and_starts_are_less_smooth(times):
    fewer, more = (np.tile(BELL, n) for n in (times, times + 1))
    assert spectral_arc_length(more, 0.02) < spectral_arc_length(fewer, 0.02) - 0.1


def test_arc_length_of_known_motions():
    # Of the motion of least jerk, -1.41 to two digits in the literature.
    assert spectral_arc_length(BELL, 0.02) == pytest.approx(-1.41, abs=0.01)
    assert np.isnan(spectral_arc_length(np.zeros(9), 0.02))
    assert np.isnan(spectral_arc_length(np.ones(1), 0.02))
    trembling = BELL + 0.5 * np.sin(2 * np.pi * 8 * TIME) ** 2
    assert spectral_arc_length(trembling, 0.02) < spectral_arc_length(BELL, 0.02)
