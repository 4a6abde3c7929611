"""Drift: distances from the demonstrated states, and what is usual among them."""

from collections.abc import Callable

import numpy as np
import pytest

from regrasp.envs import BatchEnv
from regrasp.errors import InputError
from regrasp.rl.drift import Drift, Neighbours, drift
from regrasp.rl.episodes import Episodes


@pytest.fixture(scope="module")
def known(demos: Episodes) -> Neighbours:
    return Neighbours(demos)


def test_demonstrated_states_are_no_distance_away(known: Neighbours):
    assert known.distance(known.states[:300]).max() < 1e-2
    median, most, nearly_all = known.usual()
    assert 0 < median < most < nearly_all


def test_the_distance_grows_with_how_far_a_state_is_off(known: Neighbours):
    rng = np.random.default_rng(0)
    states = known.states[::40]
    spread = known.states.std(axis=0) + 1e-3
    way = spread * rng.choice([-1.0, 1.0], states.shape)
    far = [known.distance((states + k * way).astype(np.float32)).mean() for k in (0.0, 3.0, 10.0)]
    assert far[0] < 0.01
    assert 0.5 < far[1] < 3.01
    # Far away, the nearest neighbour hardly matters.
    assert far[2] == pytest.approx(10, rel=0.2)


def test_another_demonstration_is_further_than_ones_own(known: Neighbours, demos: Episodes):
    _, _, index, _ = demos.arrays()
    own = known.distance(known.states[:50])
    others = known.distance(known.states[:50], np.asarray(index[:50]))
    assert (others >= own - 1e-6).all()
    assert others.mean() > 0.01


def test_of_many_states_some_of_every_demonstration_are_compared_with(
    known: Neighbours, demos: Episodes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("regrasp.rl.drift.MOST", len(known.states) // 3)
    fewer = Neighbours(demos)
    assert len(fewer.states) <= len(known.states) / 3
    assert set(fewer._episode) == set(known._episode)
    assert (fewer.distance(known.states[:60]) >= known.distance(known.states[:60]) - 1e-2).all()


def test_one_demonstration_has_no_others(demos: Episodes, monkeypatch: pytest.MonkeyPatch):
    obs, action, index, step = demos.arrays()
    monkeypatch.setattr(demos, "arrays", lambda: (obs, action, 0 * index, step))
    with pytest.raises(InputError, match="1 demonstration"):
        Neighbours(demos)


def test_a_policy_that_goes_astray_drifts(known: Neighbours, nudge: Callable[..., BatchEnv]):
    class Away:
        noise_size = 1

        def chunks(self, obs, noise):
            rows = len(noise)
            return np.full((rows, 4, 14), -0.4, np.float32)

    found = drift(nudge(3, 4, goal_rad=9.0), Away(), known, seed=0)
    assert found.distance.shape == (3, len(found.times_s))
    assert found.times_s[1] == pytest.approx(4 * 0.02)
    assert found.median[-1] > found.median[0]
    assert not found.success.any()
    plain = found.to_json()
    assert len(plain["median"]) == len(plain["outside"]) == len(plain["times_s"])


def test_success_against_drift():
    distance = np.array([[0.1, 0.1], [0.2, np.nan], [0.9, 0.9], [1.0, 1.2]])
    success = np.array([True, True, False, False])
    found = Drift(np.arange(2.0), distance, success, np.array([0.1, 0.2, 0.5]))
    assert [one[1] for one in found.success_by_drift(2)] == [1.0, 0.0]
    np.testing.assert_allclose(found.outside, [0.5, 2 / 3])
