"""Advantages, against hand-computed ones and their own laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from regrasp.errors import InputError
from regrasp.rl.advantage import GROUP, gae, group_advantage, informative, leave_one_out, normalised

outcomes = arrays(
    np.float64, st.tuples(st.integers(1, 5), st.integers(2, 9)), elements=st.sampled_from([0, 1])
)


def test_leave_one_out_by_hand():
    """Three of four succeeded: a success is worth 1 - 2/3, the failure 0 - 1."""
    success = np.array([[1, 1, 0, 1], [0, 0, 1, 0], [1, 1, 1, 1]], float)
    wanted = [[1 / 3, 1 / 3, -1, 1 / 3], [-1 / 3, -1 / 3, 1, -1 / 3], [0, 0, 0, 0]]
    np.testing.assert_allclose(leave_one_out(success), wanted, atol=1e-6)


@given(outcomes)
def test_leave_one_out_is_what_a_rollout_adds_to_the_others(success: np.ndarray):
    found = leave_one_out(success)
    for i in range(success.shape[1]):
        others = np.delete(success, i, axis=1).mean(axis=1)
        np.testing.assert_allclose(found[:, i], success[:, i] - others, atol=1e-9)


@given(outcomes)
def test_normalised_groups_have_unit_spread(success: np.ndarray):
    found = normalised(success)[informative(success)]
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(found.std(axis=1), 1, atol=1e-9)


@given(outcomes, st.sampled_from(sorted(GROUP)))
def test_groups_of_one_outcome_teach_nothing(success: np.ndarray, kind: str):
    dull = np.array([len(set(group)) == 1 for group in success.tolist()])
    np.testing.assert_array_equal(informative(success), ~dull)
    assert not group_advantage(kind, success)[dull].any()


def test_gae_by_hand():
    """One row of three decisions, one of two; discount 0.5, trace 0.5."""
    reward = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    value = np.array([[0.2, 0.4], [0.4, 0.6], [0.8, 9.0]])
    running = np.array([[True, True], [True, True], [True, False]])
    last, middle = 1 - 0.8, 0.5 * 0.8 - 0.4
    first = 0.5 * 0.4 - 0.2
    middle += 0.25 * last
    first += 0.25 * middle
    other = 1 - 0.6
    wanted = [[first, 0.5 * 0.6 - 0.4 + 0.25 * other], [middle, other], [last, 0]]
    np.testing.assert_allclose(gae(reward, value, running, np.zeros(2), 0.5, 0.5), wanted)


@given(st.integers(0, 1000))
def test_with_full_traces_gae_is_return_minus_value(seed: int):
    rng = np.random.default_rng(seed)
    reward, value = rng.normal(size=(2, 6, 4))
    running = np.arange(6)[:, None] < rng.integers(1, 7, 4)
    reward *= running
    returns = np.cumsum(reward[::-1], axis=0)[::-1]
    found = gae(reward, value, running, np.zeros(4), 1.0, 1.0)
    np.testing.assert_allclose(found, np.where(running, returns - value, 0), atol=1e-9)


@given(st.integers(0, 1000), st.integers(1, 5), st.sampled_from([0.0, 1.0]))
def test_a_window_that_knows_what_comes_after_it_is_as_good_as_the_whole(
    seed: int, cut: int, trace: float
):
    rng = np.random.default_rng(seed)
    reward, value = rng.normal(size=(2, 6, 4))
    running = np.arange(6)[:, None] < rng.integers(1, 7, 4)
    reward, value, discount = reward * running, value * running, 0.9
    whole = gae(reward, value, running, np.zeros(4), discount, trace)
    # Without a trace the critic's word is all that counts, with a full one all that will come.
    after = value[cut] + trace * whole[cut]
    window = gae(reward[:cut], value[:cut], running[:cut], after, discount, trace)
    np.testing.assert_allclose(window, whole[:cut], atol=1e-9)


@pytest.mark.parametrize("call", [lambda: group_advantage("median", np.ones((1, 2)))])
def test_unknown_advantages_are_refused(call):
    with pytest.raises(InputError, match=r"'median'.*leave_one_out.*normalised"):
        call()


def test_discounts_beyond_one_are_refused():
    with pytest.raises(InputError, match=r"discount 1\.1"):
        gae(np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1), bool), np.zeros(1), 1.1, 1.0)
