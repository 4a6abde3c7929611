"""The critic: it learns how likely success is, and advantages from it are right on average."""

import jax
import numpy as np
import pytest

from regrasp.errors import InputError
from regrasp.rl.critic import Critic, CriticConfig

NORM = {"obs_mean": np.zeros(2, np.float32), "obs_std": np.ones(2, np.float32)}


def test_it_learns_the_chance_of_success():
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(4096, 2)).astype(np.float32)
    chance = 1 / (1 + np.exp(-2 * obs[:, 0]))
    won = (rng.uniform(size=len(obs)) < chance).astype(np.float32)
    critic = Critic(2, NORM, CriticConfig(passes=30, minibatch=512, width=32))
    state = critic.start(jax.random.key(0))
    np.testing.assert_allclose(critic.values(state, obs), 0.5, atol=1e-6)
    state = critic.fit(state, obs, won[:, None], rng)
    fresh = rng.normal(size=(500, 2)).astype(np.float32)
    error = critic.values(state, fresh)[:, 0] - 1 / (1 + np.exp(-2 * fresh[:, 0]))
    assert np.abs(error).mean() < 0.06


def test_it_learns_sums_of_any_size_one_for_each_arm():
    rng = np.random.default_rng(0)

    def truth(obs: np.ndarray) -> np.ndarray:
        return np.stack([3 * obs[:, 0] - 2, np.abs(obs[:, 1])], axis=1)

    obs, fresh = rng.normal(size=(2, 4096, 2)).astype(np.float32)
    config = CriticConfig(learning_rate=0.003, passes=40, minibatch=512, width=32)
    critic = Critic(2, NORM, config, outputs=2, chance=False)
    state = critic.start(jax.random.key(0))
    assert not critic.values(state, obs).any()
    target = truth(obs) + rng.normal(size=(len(obs), 2))
    state = critic.fit(state, obs, target, rng)
    assert np.abs(critic.values(state, fresh) - truth(fresh)).mean() < 0.15
    # Nor does it tell ever more of what lies ever further off.
    far = np.array([[1e3, 0], [1e6, 0]], np.float32)
    assert np.abs(np.diff(critic.values(state, far), axis=0)).max() == 0


def test_fewer_decisions_than_a_minibatch_teach_too():
    critic = Critic(
        2, NORM, CriticConfig(learning_rate=0.03, passes=50, minibatch=64, width=8, depth=1)
    )
    state = critic.start(jax.random.key(0))
    obs = np.zeros((5, 2), np.float32)
    state = critic.fit(state, obs, np.ones((5, 1)), np.random.default_rng(0))
    assert critic.values(state, obs).min() > 0.6


@pytest.mark.parametrize(
    ("changes", "says"), [({"passes": 0}, "passes 0"), ({"trace": 1.5}, r"trace 1\.5")]
)
def test_bad_settings_are_refused(changes: dict, says: str):
    with pytest.raises(InputError, match=says):
        CriticConfig(**changes)
