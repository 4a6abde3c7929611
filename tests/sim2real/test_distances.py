"""Warped, sorted and kernel distances obey their laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from regrasp.sim2real.distances import dtw, median_distance, mmd2, permutation_p, wasserstein
from regrasp.sim2real.metrics import mae

FAST = settings(max_examples=40, deadline=None, derandomize=True)
NUMBERS = st.floats(-10, 10, width=32)
SIGNALS = arrays(np.float64, (12, 2), elements=NUMBERS)
SAMPLE = arrays(np.float64, 15, elements=NUMBERS)


def _plain_dtw(a, b, band):
    best = np.full((len(a), len(b)), np.inf)
    for i in range(len(a)):
        for j in range(max(0, i - band), min(len(b), i + band + 1)):
            before = [
                best[x, y] for x, y in ((i - 1, j), (i, j - 1), (i - 1, j - 1)) if min(x, y) >= 0
            ]
            best[i, j] = abs(a[i] - b[j]) + (min(before) if before else 0.0)
    return best[-1, -1] / len(a)


@FAST
@given(SIGNALS, SIGNALS, st.integers(0, 5))
def test_dtw_is_the_cheapest_path_of_the_plain_recursion(a, b, band):
    found = dtw(a, b, band)
    expected = [_plain_dtw(a[:, i], b[:, i], band) for i in range(2)]
    np.testing.assert_allclose(found, expected, atol=1e-9)


@FAST
@given(SIGNALS, SIGNALS, st.integers(0, 5))
def test_dtw_is_symmetric_and_never_above_the_aligned_error(a, b, band):
    np.testing.assert_allclose(dtw(a, b, band), dtw(b, a, band), atol=1e-9)
    assert (dtw(a, b, band) <= mae(a, b, False) + 1e-9).all()
    assert (dtw(a, b, band + 1) <= dtw(a, b, band) + 1e-9).all()
    np.testing.assert_allclose(dtw(a, b, 0), mae(a, b, False), atol=1e-9)


def test_dtw_hides_a_delay():
    t = np.arange(0, 6, 0.02)
    late = np.sin(t - 0.1)
    assert mae(np.sin(t), late) > 0.05
    assert dtw(np.sin(t), late, 8) < 0.1 * mae(np.sin(t), late)


@FAST
@given(SAMPLE, SAMPLE, NUMBERS, st.randoms(use_true_random=False))
def test_wasserstein_is_of_the_sorted_values(a, b, shift, random):
    assert wasserstein(a, b) == pytest.approx(np.abs(np.sort(a) - np.sort(b)).mean(), abs=1e-9)
    mixed = a.copy()
    random.shuffle(mixed)
    assert wasserstein(a, mixed) == pytest.approx(0, abs=1e-12)
    assert wasserstein(a, a + shift) == pytest.approx(abs(shift), abs=1e-6)


@FAST
@given(st.integers(0, 1000))
def test_mmd_is_symmetric_and_unbiased_about_zero(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(12, 3)), rng.normal(size=(9, 3))
    assert mmd2(a, b, 1.5) == pytest.approx(mmd2(b, a, 1.5))
    assert mmd2(a, a + 9, 1.5) > 0.1


def test_mmd_of_one_law_is_zero_on_average():
    rng = np.random.default_rng(0)
    found = [mmd2(rng.normal(size=(10, 2)), rng.normal(size=(10, 2)), 1.5) for _ in range(400)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))


def _gap(a, b):
    return mmd2(a, b, 2.0)


def test_permutation_p_is_uniform_under_the_null_and_small_otherwise():
    rng = np.random.default_rng(1)
    null = [
        permutation_p(_gap, rng.normal(size=(8, 2)), rng.normal(size=(8, 2)), rng, 39)
        for _ in range(120)
    ]
    assert 0.38 < np.mean(null) < 0.62
    assert np.mean(np.array(null) <= 0.1) < 0.22
    a = rng.normal(size=(12, 2))
    assert permutation_p(_gap, a, a + 3, rng, 99) == 0.01
    assert permutation_p(_gap, a, a + 3, rng, 99, paired=True) <= 0.02
    assert permutation_p(_gap, a, a, rng, 99, paired=True) == 1.0


def test_the_kernel_is_as_wide_as_the_rows_are_apart():
    assert median_distance(np.array([[0.0], [1.0], [2.0]])) == 1.0
    assert median_distance(np.zeros((4, 2))) == 1.0
