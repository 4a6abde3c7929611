"""Wilson intervals against published ones, against SciPy, and by their laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp

from regrasp.errors import InputError
from regrasp.rl.stats import mean_of, wilson

counts = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("successes", "episodes", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_intervals(successes: int, episodes: int, low: float, high: float):
    """The table of Newcombe (1998), score method without continuity correction."""
    found = wilson(successes, episodes)
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


@given(counts, st.sampled_from([0.8, 0.95, 0.99]))
def test_as_in_scipy(count: tuple[int, int], confidence: float):
    found = wilson(*count, confidence)
    theirs = binomtest(*count).proportion_ci(confidence, method="wilson")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@given(counts)
def test_laws(count: tuple[int, int]):
    successes, episodes = count
    found = wilson(successes, episodes)
    assert 0 <= found.low <= found.rate <= found.high <= 1
    # Failures are the mirror of successes.
    mirror = wilson(episodes - successes, episodes)
    assert (1 - mirror.high, 1 - mirror.low) == pytest.approx((found.low, found.high), abs=1e-12)
    # More evidence of the same kind narrows the interval, more confidence widens it.
    more, surer = wilson(4 * successes, 4 * episodes), wilson(successes, episodes, 0.99)
    assert more.high - more.low < found.high - found.low < surer.high - surer.low
    if successes < episodes:
        assert wilson(successes + 1, episodes).low > found.low


def test_as_text():
    assert str(wilson(1, 2)) == "50.0% (9.5% to 90.5%, n=2)"


@pytest.mark.parametrize("count", [(0, 0), (-1, 5), (6, 5), (0, -3)])
def test_impossible_counts_are_refused(count: tuple[int, int]):
    with pytest.raises(InputError, match=f"{count[0]} successes in {count[1]} episodes"):
        wilson(*count)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=40))
def test_means_as_in_scipy(values: list[float]):
    found = mean_of(np.array(values))
    if np.ptp(values) > 1e-3:
        wanted = ttest_1samp(values, 0).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx(
            (wanted.low, wanted.high), rel=1e-6, abs=1e-9
        )
    assert found.low <= found.mean <= found.high
    assert mean_of(np.array([*values, np.nan, np.inf])) == found


def test_means_of_little():
    assert mean_of(np.array([3.0])) == (3.0, -np.inf, np.inf)
    nothing = mean_of(np.array([np.nan]))
    assert np.isnan(nothing.mean)
    assert (nothing.low, nothing.high) == (-np.inf, np.inf)
