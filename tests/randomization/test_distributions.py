"""Distributions sample what they print."""

import re

import jax
import numpy as np
import pytest

from regrasp.errors import InputError
from regrasp.randomization import Constant, LogNormal, LogUniform, Uniform

SAMPLES = 10_000
DISTRIBUTIONS = (Uniform(0.5, 1.5), Uniform(0.0, 0.06), LogUniform(0.5, 2.0), LogUniform(1e-3, 1.0))


def sampled(distribution) -> np.ndarray:
    return np.asarray(distribution.sample(jax.random.key(0), SAMPLES), float)


def printed(distribution) -> tuple[float, float]:
    low, high = re.findall(r"[\d.e-]+", str(distribution).split(" ", 1)[1].replace("to", " "))
    return float(low), float(high)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_printed_range_is_the_sampled_range(distribution):
    low, high = printed(distribution)
    assert (low, high) == (distribution.low, distribution.high)
    numbers = sampled(distribution)
    rounding = 1e-6 * high
    assert low - rounding <= numbers.min() <= low + 0.01 * (high - low)
    assert high - 0.01 * (high - low) <= numbers.max() <= high + rounding


def test_log_normal_is_a_bell_of_ratios_that_ends_where_it_says():
    bell = LogNormal(2.0, 0.3, cut=2.0)
    assert bell.low == pytest.approx(2 * np.exp(-0.6))
    assert bell.high == pytest.approx(2 * np.exp(0.6))
    ratios = np.log(sampled(bell) / 2)
    assert np.abs(ratios).max() <= 0.6 + 1e-5
    assert np.median(ratios) == pytest.approx(0, abs=0.01)
    # A normal distribution cut at two sigmas has 0.88 of its spread.
    assert ratios.std() == pytest.approx(0.88 * 0.3, rel=0.03)
    assert "x/ 1.34986" in str(bell)
    for wrong in ((0.0, 0.1), (1.0, -0.1)):
        with pytest.raises(InputError, match="choose median > 0"):
            LogNormal(*wrong)


def test_uniform_fills_its_range_evenly():
    numbers = sampled(Uniform(0.5, 1.5))
    counts = np.histogram(numbers, 10, (0.5, 1.5))[0]
    assert np.abs(counts - SAMPLES / 10).max() < 5 * np.sqrt(SAMPLES / 10)


def test_log_uniform_halves_as_often_as_it_doubles():
    numbers = sampled(LogUniform(0.5, 2.0))
    counts = np.histogram(np.log2(numbers), 10, (-1, 1))[0]
    assert np.abs(counts - SAMPLES / 10).max() < 5 * np.sqrt(SAMPLES / 10)


def test_constant_is_always_its_value():
    constant = Constant(0.005)
    assert (sampled(constant) == np.float32(0.005)).all()
    assert constant.low == constant.high == 0.005
    assert "0.005" in str(constant)


@pytest.mark.parametrize(
    ("make", "low", "high"),
    [(Uniform, 1.0, 0.5), (LogUniform, 0.0, 1.0), (LogUniform, 2.0, 1.0), (LogUniform, -1.0, 1.0)],
)
def test_empty_ranges_are_refused(make, low: float, high: float):
    with pytest.raises(InputError, match="is empty"):
        make(low, high)
