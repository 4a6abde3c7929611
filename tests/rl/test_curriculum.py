"""The curriculum: states whose success is uncertain are tried most, and none is given up."""

import jax
import numpy as np
import pytest

from regrasp.rl.curriculum import BINS, Curriculum, CurriculumState

PHASES = (np.arange(10 * BINS) + 0.5) / (10 * BINS)
"""Ten moments in every bin."""


def known(rates: np.ndarray, tries: float = 100.0) -> CurriculumState:
    """What is known after so many tries of every bin, the task's start last."""
    return CurriculumState(rates * tries, np.full(BINS + 1, tries))


def picks(curriculum: Curriculum, state: CurriculumState, draws: int = 50) -> np.ndarray:
    """Bins of all groups over many draws."""
    keys = jax.random.split(jax.random.key(0), draws)
    return np.concatenate([curriculum.choose(state, key).bin for key in keys])


def test_phases_near_one_half_are_favoured():
    rates = np.full(BINS + 1, 0.97)
    rates[:3], rates[7] = 0.03, 0.5
    counts = np.bincount(picks(Curriculum(PHASES, 16, 0), known(rates)), minlength=BINS + 1)
    assert np.argmax(counts) == 7
    assert counts[7] > 3 * np.delete(counts, 7).max()


def test_what_is_nearly_certain_either_way_is_equally_dull():
    rates = np.where(np.arange(BINS + 1) % 2, 0.1, 0.9)
    counts = np.bincount(picks(Curriculum(PHASES, 16, 0), known(rates), 200), minlength=BINS + 1)
    assert counts.min() > 0.7 * counts.mean()
    assert counts.max() < 1.3 * counts.mean()


@pytest.mark.parametrize("start_groups", [0, 3, 8])
def test_start_groups_begin_where_the_task_begins(start_groups: int):
    """However dull the start has become."""
    rates = np.full(BINS + 1, 0.5)
    rates[-1] = 0.999
    choice = Curriculum(PHASES, 8, start_groups).choose(known(rates), jax.random.key(1))
    assert choice.moment.shape == (8,)
    assert (choice.moment[:start_groups] == -1).all()
    assert (choice.phase[choice.moment == -1] == 0).all()
    assert (choice.moment == -1).sum() <= start_groups + 1


def test_a_choice_says_what_it_chose():
    choice = Curriculum(PHASES, 200, 5).choose(known(np.full(BINS + 1, 0.5)), jax.random.key(2))
    kept = choice.moment >= 0
    assert len(set(choice.moment[kept])) > 60
    np.testing.assert_array_equal(choice.phase[kept], PHASES[choice.moment[kept]])
    np.testing.assert_array_equal(choice.bin[kept], choice.moment[kept] // 10)


def test_phases_without_moments_are_left_out():
    """Also the very end, which belongs to the last bin."""
    phases = np.array([0.0, 0.5, 0.5, 1.0])
    found = Curriculum(phases, 100, 0).choose(known(np.full(BINS + 1, 0.5)), jax.random.key(0))
    assert set(found.bin) == {0, BINS // 2, BINS - 1, BINS}
    assert set(found.moment) == {-1, 0, 1, 2, 3}


def test_nothing_known_means_nothing_preferred():
    curriculum = Curriculum(PHASES, 16, 0)
    counts = np.bincount(picks(curriculum, curriculum.start(), 200), minlength=BINS + 1)
    assert counts.min() > 0.7 * counts.mean()


def test_estimates_move_to_the_rates_observed():
    curriculum = Curriculum(PHASES, 12, 2)
    rates = np.linspace(0.1, 0.9, BINS + 1)
    state = curriculum.start()
    for key in jax.random.split(jax.random.key(0), 300):
        choice = curriculum.choose(state, key)
        state = curriculum.learn(state, choice, rates[choice.bin])
    np.testing.assert_allclose(state.successes / state.tries, rates, atol=0.05)


def test_bins_that_were_not_tried_keep_their_estimates():
    curriculum = Curriculum(PHASES, 4, 0)
    before = known(np.full(BINS + 1, 0.4), tries=3.0)
    copy = jax.tree.map(np.copy, before)
    choice = curriculum.choose(before, jax.random.key(4))
    after = curriculum.learn(before, choice, np.ones(4))
    others = np.setdiff1d(np.arange(BINS + 1), choice.bin)
    for old, new, kept in zip(before, after, copy, strict=True):
        np.testing.assert_array_equal(new[others], old[others])
        np.testing.assert_array_equal(old, kept)
    rates = after.successes / after.tries
    assert (rates[choice.bin] > 0.4).all()


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_nothing_is_given_up_for_good(outcome: float):
    """After any number of like outcomes every bin may still be chosen, and one surprise is noticed."""
    curriculum = Curriculum(PHASES, 64, 1)
    state = curriculum.start()
    for key in jax.random.split(jax.random.key(0), 200):
        choice = curriculum.choose(state, key)
        state = curriculum.learn(state, choice, np.full(64, outcome))
    assert set(picks(curriculum, state)) == set(range(BINS + 1))
    before = state.successes / state.tries
    choice = curriculum.choose(state, jax.random.key(5))
    after = curriculum.learn(state, choice, np.full(64, 1 - outcome))
    moved = (after.successes / after.tries - before) * (1 - 2 * outcome)
    assert (moved[choice.bin] > 0.02).all()


def test_the_key_decides():
    curriculum = Curriculum(PHASES, 32, 4)
    one, again, other = (
        curriculum.choose(curriculum.start(), jax.random.key(seed)) for seed in (6, 6, 7)
    )
    for ours, theirs in zip(one, again, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (one.moment != other.moment).any()
