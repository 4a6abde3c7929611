"""The curriculum: states whose success is uncertain are tried most, and none is given up."""

import jax
import numpy as np
import pytest

from regrasp.rl.curriculum import PHASES, Fresh, Pool, PoolState

WHEN = (np.arange(10 * PHASES) + 0.5) / (10 * PHASES)
"""Ten kept states of every kind."""
MOMENTS = len(WHEN)
NO_GROUPS = np.zeros(0, int), np.zeros((0, 2), bool)
NO_FRESH = Fresh(np.zeros(0, int), np.zeros(0)), np.zeros(0, bool)


def own(number: np.ndarray) -> Fresh:
    """Starts of the task as they are."""
    return Fresh(number, np.ones(len(number)))


def known(pool: Pool, rates: np.ndarray, tries: float = 100.0) -> PoolState:
    """Every state tried so often, with these rates; starts 0, 1, ... fill their places."""
    state = pool.begin()
    return state._replace(
        wins=rates * tries,
        tries=np.full(len(rates), tries),
        start=np.arange(len(state.start)),
    )


def counts(pool: Pool, state: PoolState, draws: int = 100, groups: int = 16) -> np.ndarray:
    """How often each state is chosen."""
    keys = jax.random.split(jax.random.key(0), draws)
    chosen = np.concatenate([pool.choose(state, groups, key).state for key in keys])
    return np.bincount(chosen, minlength=len(state.wins))


def test_states_near_one_half_are_favoured():
    pool = Pool(WHEN, 0)
    rates = np.full(MOMENTS, 0.97)
    rates[:30], rates[70:80] = 0.02, 0.5
    found = counts(pool, known(pool, rates)).reshape(PHASES, 10).sum(axis=1)
    assert np.argmax(found) == 7
    assert found[7] > 5 * np.delete(found, 7).max()


def test_the_curriculum_walks_from_the_end_to_the_start():
    """As later parts of the episode are mastered, earlier ones are drawn."""
    pool = Pool(WHEN, 20)
    mean = []
    for reached in np.linspace(0.95, -0.05, 6):
        chance = 1 / (1 + np.exp(-20 * (WHEN - reached)))
        at_start = 1 / (1 + np.exp(20 * reached))
        found = counts(pool, known(pool, np.concatenate([chance, np.full(20, at_start)])))
        mean.append(np.average(np.concatenate([WHEN, np.zeros(20)]), weights=found))
    assert (np.diff(mean) < 0).all()
    assert mean[0] > 0.8
    assert mean[-1] < 0.2


def test_many_states_of_one_kind_count_no_more_than_few():
    when = np.concatenate([np.full(100, 0.1), np.full(2, 0.9)])
    pool = Pool(when, 0)
    found = counts(pool, known(pool, np.full(102, 0.5)), 500, 1)
    assert 0.8 < found[:100].sum() / found[100:].sum() < 1.25


def test_a_start_that_failed_is_drawn_more_than_one_that_succeeded():
    pool = Pool(np.zeros(0), 40)
    state = pool.begin()
    fresh, won = np.arange(40), np.arange(40) >= 4
    for _ in range(30):
        state = pool.learn(state, *NO_GROUPS, own(fresh), won)
    found = counts(pool, state, groups=1, draws=600)
    assert found[:4].mean() > 3 * found[4:].mean()
    choice = pool.choose(state, 8, jax.random.key(1))
    assert (choice.moment == -1).all()
    np.testing.assert_array_equal(choice.start, state.start[choice.state])


def test_empty_places_are_not_drawn_and_the_oldest_is_replaced():
    pool = Pool(WHEN[:5], 3)
    state = pool.begin()
    assert (pool.choose(state, 50, jax.random.key(0)).moment >= 0).all()
    for first in (0, 2, 4):
        fresh = np.array([first, first + 1])
        state = pool.learn(state, *NO_GROUPS, own(fresh), np.ones(2, bool))
    assert sorted(state.start) == [3, 4, 5]


def test_estimates_move_to_the_rates_observed():
    pool, rng = Pool(WHEN, 0), np.random.default_rng(0)
    rates = np.linspace(0.1, 0.9, MOMENTS)
    state = pool.begin()
    for key in jax.random.split(jax.random.key(0), 300):
        choice = pool.choose(state, 24, key)
        won = rng.random((24, 16)) < rates[choice.state][:, None]
        state = pool.learn(state, choice.state, won, *NO_FRESH)
    won, lost = pool._beta(state)
    mean = won / (won + lost)
    spread = np.sqrt(mean * (1 - mean) / (won + lost + 1))
    assert np.mean(np.abs(mean - rates) < 3 * spread) > 0.95
    assert np.abs(mean - rates).mean() < 0.1
    assert spread[state.tries > 10].mean() < 0.7 * spread[state.tries < 1].mean()


def test_nothing_is_given_up_for_good():
    """After any number of like outcomes every state may still be chosen."""
    pool = Pool(WHEN, 0)
    for outcome in (False, True):
        state = pool.begin()
        for key in jax.random.split(jax.random.key(0), 100):
            choice = pool.choose(state, 24, key)
            won = np.full((24, 16), outcome)
            state = pool.learn(state, choice.state, won, *NO_FRESH)
        assert (counts(pool, state, 400) > 0).mean() > 0.95


def test_the_key_decides_and_what_was_known_is_not_changed():
    pool = Pool(WHEN, 8)
    state = known(pool, np.full(MOMENTS + 8, 0.4))
    kept = jax.tree.map(np.copy, state)
    one, again, other = (pool.choose(state, 8, jax.random.key(seed)) for seed in (6, 6, 7))
    np.testing.assert_array_equal(one.state, again.state)
    assert (one.state != other.state).any()
    pool.learn(state, one.state, np.ones((8, 4), bool), own(np.arange(4)), np.ones(4, bool))
    for before, after in zip(kept, state, strict=True):
        np.testing.assert_array_equal(before, after)


def test_starts_are_drawn_in_until_some_succeed_and_let_out_again():
    """A policy whose range grows with practice: it ends at the task's own starts, whatever it began with."""
    moments = len(WHEN) + 1
    pool = Pool(np.concatenate([[0], WHEN]), 16)
    state, skill, reach = pool.begin(), 0.15, []
    for i, key in enumerate(jax.random.split(jax.random.key(0), 80)):
        fresh = pool.fresh(state, np.arange(64) + 64 * i, key)
        assert (fresh.share <= state.reach).all()
        state = pool.learn(state, *NO_GROUPS, fresh, fresh.share < skill)
        skill += 0.02 * (state.reach < 4 * skill)
        reach.append(float(state.reach))
    assert min(reach) < 0.5
    assert reach[-1] == 1
    assert (pool.fresh(state, np.arange(64), jax.random.key(1)).share == 1).all()
    choice = pool.choose(state, 200, jax.random.key(2))
    np.testing.assert_array_equal(choice.share[choice.moment >= 0], 1)
    starts = choice.moment < 0
    np.testing.assert_array_equal(choice.share[starts], state.share[choice.state[starts] - moments])


@pytest.mark.parametrize("phases", [np.zeros(0), WHEN])
def test_without_the_start_of_a_demonstration_starts_are_not_drawn_in(phases: np.ndarray):
    pool = Pool(phases, 16)
    state = pool.learn(pool.begin(), *NO_GROUPS, own(np.arange(8)), np.zeros(8, bool))
    assert state.reach == 1
    assert (pool.fresh(state, np.arange(8), jax.random.key(0)).share == 1).all()
