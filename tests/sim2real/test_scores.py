"""Scores of ensembles: fair, proper, and calibrated where the truth is one more draw."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chisquare, norm

from regrasp.errors import InputError
from regrasp.sim2real.scores import (
    band,
    energy_score,
    envelope_share,
    fair_crps,
    inside,
    log_likelihood,
    ranks,
)

FAST = settings(max_examples=50, deadline=None, derandomize=True)
NUMBERS = st.floats(-10, 10, width=32)
MEMBERS = arrays(np.float64, (7, 4), elements=NUMBERS)
TRUTH = arrays(np.float64, 4, elements=NUMBERS)


@FAST
@given(MEMBERS, TRUTH)
def test_crps_is_its_definition(members, truth):
    pairs = np.abs(members[:, None] - members[None]).sum(axis=(0, 1))
    expected = np.abs(members - truth).mean(axis=0) - pairs / (2 * 7 * 6)
    np.testing.assert_allclose(fair_crps(members, truth), expected, atol=1e-9)


@FAST
@given(TRUTH, TRUTH)
def test_identical_members_leave_the_absolute_error(one, truth):
    np.testing.assert_allclose(fair_crps(np.stack([one] * 5), truth), np.abs(one - truth))
    score = energy_score(np.stack([one] * 5), truth)
    assert score == pytest.approx(np.linalg.norm(one - truth))


@FAST
@given(MEMBERS, TRUTH, st.floats(-5, 5), st.floats(0.1, 5), st.permutations(range(7)))
def test_crps_moves_with_its_arguments_and_scales_with_them(members, truth, shift, scale, order):
    score = fair_crps(members, truth)
    np.testing.assert_allclose(fair_crps(members[order], truth), score, atol=1e-9)
    moved = fair_crps(scale * members + shift, scale * truth + shift)
    np.testing.assert_allclose(moved, scale * score, atol=1e-8)


@FAST
@given(MEMBERS, TRUTH)
def test_the_energy_score_of_numbers_is_the_crps(members, truth):
    np.testing.assert_allclose(
        energy_score(members[..., None], truth[..., None]), fair_crps(members, truth), atol=1e-9
    )


def _mean_scores(score, spread, shift, dims=1, draws=4000):
    rng = np.random.default_rng(3)
    members = shift + spread * rng.normal(size=(8, draws, dims))
    truth = rng.normal(size=(draws, dims))
    return float(np.mean(score(members, truth)))


@pytest.mark.parametrize(("spread", "shift"), [(0.5, 0), (2.0, 0), (1.0, 1.0)])
def test_scores_are_proper(spread, shift):
    """On average no other ensemble does better than one of the truth's own law."""
    right = _mean_scores(lambda m, y: fair_crps(m, y)[..., 0], 1.0, 0.0)
    assert _mean_scores(lambda m, y: fair_crps(m, y)[..., 0], spread, shift) > right
    right = _mean_scores(energy_score, 1.0, 0.0, 3)
    assert _mean_scores(energy_score, spread, shift, 3) > right
    likely = _mean_scores(lambda m, y: log_likelihood(m, y, 0.1), 1.0, 0.0, 2)
    assert _mean_scores(lambda m, y: log_likelihood(m, y, 0.1), spread, shift, 2) < likely


def test_the_crps_is_fair_for_any_number_of_members():
    """Its mean does not depend on how many draws stand for a law."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=40000)
    few, many = (fair_crps(rng.normal(size=(m, 40000)), truth).mean() for m in (2, 16))
    # Of a standard normal law by itself: 1 / sqrt(pi).
    assert few == pytest.approx(1 / np.sqrt(np.pi), abs=0.02)
    assert many == pytest.approx(1 / np.sqrt(np.pi), abs=0.01)


def test_ranks_of_one_more_draw_are_uniform_and_the_band_holds_its_share():
    rng = np.random.default_rng(5)
    pool = np.round(rng.normal(size=(20, 8000)), 1)  # With ties.
    members, truth = pool[1:], pool[0]
    found = ranks(members, truth, rng)
    assert chisquare(np.bincount(found, minlength=20)).pvalue > 0.01
    smooth = rng.normal(size=(20, 8000))
    low, high = smooth[1:].min(axis=0), smooth[1:].max(axis=0)
    share = ((smooth[0] > low) & (smooth[0] < high)).mean()
    assert share == pytest.approx(envelope_share(19), abs=0.01)
    assert inside(smooth[1:], smooth[0], 0.8).mean() == pytest.approx(0.8, abs=0.02)


@FAST
@given(MEMBERS, TRUTH)
def test_ranks_count_members_below_and_bands_are_nested(members, truth):
    rank = ranks(members, truth, np.random.default_rng(0))
    assert ((members < truth).sum(axis=0) <= rank).all()
    assert (rank <= (members <= truth).sum(axis=0)).all()
    (low, high), (lower, higher) = band(members, 0.5), band(members, 0.7)
    assert (lower <= low).all()
    assert (high <= higher).all()


@FAST
@given(st.floats(-3, 3), st.floats(0.1, 3), st.floats(-3, 3), st.floats(0.1, 2))
def test_the_likelihood_is_gaussian(mean, spread, truth, noise):
    members = mean + spread * np.array([-1.0, 1.0, -1.0, 1.0])[:, None] * np.sqrt(3 / 4)
    scale = np.sqrt(spread**2 + noise**2)
    found = log_likelihood(members, np.array([truth]), noise)
    assert found == pytest.approx(norm.logpdf(truth, mean, scale), abs=1e-9)


def test_one_member_is_no_ensemble():
    with pytest.raises(InputError, match="at least 2 members"):
        fair_crps(np.zeros((1, 3)), np.zeros(3))
