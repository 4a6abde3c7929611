"""The flow policy: its chunks, its likelihood and its loss, against independent computations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from regrasp.rl.policies import FlowPolicy, Noise, Params
from regrasp.rl.policies.policy import STD_FLOOR

SIGMA = 0.3


def velocity(policy: FlowPolicy, params: Params, obs: jax.Array, point: jax.Array, time: float):
    """On the straight way from a point to where it ends."""
    return (policy.end(params, obs, point, jnp.float32(time)) - point) / (1 - time)


@pytest.fixture
def obs(policy: FlowPolicy, rng: np.random.Generator) -> jax.Array:
    return jnp.asarray(rng.normal(size=policy.obs_size), jnp.float32)


# ---- chunks ----


@given(st.integers(2, 40).flatmap(lambda c: st.tuples(st.just(c), st.integers(2, c))))
def test_knots_share_every_action(sizes: tuple[int, int]):
    """A partition of unity that begins at the first knot and ends at the last."""
    chunk, knots = sizes
    basis = FlowPolicy((("joint_pos", 1),), (0,), chunk=chunk, knots=knots).basis
    np.testing.assert_allclose(basis.sum(axis=1), 1, atol=1e-6)
    assert (basis >= 0).all()
    assert ((basis > 0).sum(axis=1) <= 2).all()
    np.testing.assert_allclose(basis[[0, -1]], np.eye(knots)[[0, -1]], atol=1e-6)


def test_piecewise_linear_chunks_survive_the_round_trip(
    policy: FlowPolicy, params: Params, rng: np.random.Generator
):
    obs = rng.normal(size=(20, policy.obs_size)).astype(np.float32)
    knots = rng.normal(size=(20, policy.knots, policy.action_size)).astype(np.float32)
    chunks = policy.basis @ knots
    latent = policy.encode(obs, chunks)
    normal = (latent - params["latent_mean"]) / params["latent_std"]
    np.testing.assert_allclose(policy.decode(params, jnp.asarray(obs), normal), chunks, atol=1e-5)


def test_other_chunks_become_the_nearest(policy: FlowPolicy, rng: np.random.Generator):
    """What is lost is at right angles to all that the knots can say."""
    obs = np.zeros((20, policy.obs_size), np.float32)
    chunks = rng.normal(size=(20, policy.chunk, policy.action_size)).astype(np.float32)
    knots = policy.encode(obs, chunks).reshape(20, policy.knots, policy.action_size)
    lost = chunks - policy.basis @ knots
    assert np.abs(lost).max() > 0.1
    np.testing.assert_allclose(policy.basis.T @ lost, 0, atol=1e-5)


def test_only_relative_actions_follow_the_joints(policy: FlowPolicy, params: Params, obs):
    latent = jnp.ones(policy.latent_size)
    moved = policy.decode(params, obs + jnp.array([10.0, 0.5, 20.0]), latent)
    shift = moved - policy.decode(params, obs, latent)
    np.testing.assert_allclose(shift, np.tile([0.5, 0], (policy.chunk, 1)), atol=1e-5)


def test_demonstrated_joints_drop_out_of_relative_knots(
    policy: FlowPolicy, rng: np.random.Generator
):
    """A chunk shown elsewhere, from joints moved along, is the same latent."""
    obs = rng.normal(size=(5, policy.obs_size)).astype(np.float32)
    chunks = rng.normal(size=(5, policy.chunk, 2)).astype(np.float32)
    elsewhere = policy.encode(obs + [[0, 0.5, 0]], chunks + [0.5, 0])
    np.testing.assert_allclose(elsewhere, policy.encode(obs, chunks), atol=1e-5)


def test_terms_are_joined_in_the_policys_order(policy: FlowPolicy):
    terms = {"joint_pos": np.array([2.0, 3.0]), "cube_pos": np.array([1.0]), "other": np.ones(4)}
    assert policy.flat(terms).tolist() == [1, 2, 3]


# ---- acting ----


def test_acting_is_euler_integration(policy: FlowPolicy, params: Params, obs, rng):
    noise = jnp.asarray(rng.normal(size=policy.latent_size), jnp.float32)
    point = noise
    for step in range(policy.steps):
        slope = velocity(policy, params, obs, point, step / policy.steps)
        assert float(jnp.abs(slope).max()) > 0.05
        point = point + slope / policy.steps
    chunk = policy.act(params, obs, noise)
    np.testing.assert_allclose(chunk, policy.decode(params, obs, point), atol=1e-6)
    assert chunk.shape == (policy.chunk, policy.action_size)


def test_rows_do_not_see_each_other(policy: FlowPolicy, params: Params, rng):
    obs = jnp.asarray(rng.normal(size=(6, policy.obs_size)), jnp.float32)
    noise = jnp.asarray(rng.normal(size=(6, policy.latent_size)), jnp.float32)
    alone = jnp.stack([policy.act(params, *one) for one in zip(obs, noise, strict=True)])
    np.testing.assert_allclose(policy.act(params, obs, noise), alone, atol=1e-5)


def before(policy: FlowPolicy, params: Params, obs, start) -> jax.Array:
    """Where the flow is before its last step."""
    point = start
    for step in range(policy.steps - 1):
        slope = velocity(policy, params, obs, point, step / policy.steps)
        point = point + slope / policy.steps
    return point


def last(policy: FlowPolicy, params: Params, obs, point) -> jax.Array:
    """Where the last step leads from there."""
    slope = velocity(policy, params, obs, point, (policy.steps - 1) / policy.steps)
    return point + slope / policy.steps


def test_exploring_without_noise_is_acting(policy: FlowPolicy, params: Params, obs):
    key, cold = jax.random.key(3), Noise(1e-9, 1e-9)
    chunk, points = policy.explore(params, obs, key, cold)
    still = jnp.zeros(policy.latent_size)
    np.testing.assert_allclose(chunk, policy.act(params, obs, still), atol=1e-6)
    np.testing.assert_allclose(points[0], before(policy, params, obs, still), atol=1e-6)


def test_a_noisy_policy_acts_as_it_explores(policy: FlowPolicy, params: Params, obs):
    noise = Noise(sigma=0.4, temperature=0.3)
    loud, key = policy.noisy(noise), jax.random.key(5)
    assert (policy.noise, loud.noise) == (0, 1)
    assert loud.noise_size == 2 * policy.noise_size == 2 * policy.latent_size
    drawn = [jax.random.normal(k, (policy.latent_size,)) for k in jax.random.split(key)]
    tried, _ = policy.explore(params, obs, key, noise)
    acted = loud.act(params, obs, jnp.concatenate(drawn))
    np.testing.assert_allclose(acted, tried, atol=1e-5)
    still = jnp.zeros(policy.latent_size)
    quiet = loud.act(params, obs, jnp.concatenate([still, still]))
    np.testing.assert_allclose(quiet, policy.act(params, obs, still), atol=1e-6)


def test_exploring_adds_the_noise_it_says(policy: FlowPolicy, params: Params, obs):
    """Around the end of a flow that itself starts from less than its whole noise."""
    keys = jax.random.split(jax.random.key(0), 2000)
    explore = jax.jit(jax.vmap(lambda k: policy.explore(params, obs, k, Noise(SIGMA, 0.5))))
    chunks, points = explore(keys)
    ends = jax.vmap(lambda point: last(policy, params, obs, point))(points[:, 0])
    off = np.asarray(points[:, 1] - ends)
    decoded = jax.vmap(lambda point: policy.decode(params, obs, point))(points[:, 1])
    np.testing.assert_allclose(chunks, decoded, atol=1e-6)
    assert off.std() == pytest.approx(SIGMA, rel=0.03)
    assert abs(off.mean()) < 0.03 * off.std()


def test_the_temperature_scales_what_the_flow_starts_from(policy: FlowPolicy, params: Params, obs):
    """Every point before the end lies on the flow from a start that is normal with that deviation."""
    key = jax.random.key(3)
    start = jax.random.normal(jax.random.split(key)[0], (policy.latent_size,))
    for temperature in (0.7, 1.4):
        _, points = policy.explore(params, obs, key, Noise(SIGMA, temperature))
        np.testing.assert_allclose(
            points[0], before(policy, params, obs, temperature * start), atol=1e-5
        )


# ---- likelihood ----


def test_likelihood_is_the_gaussian_one(policy: FlowPolicy, params: Params, obs, rng):
    """Of any end after any point, up to the constant of the normal distribution."""
    points = jnp.asarray(rng.normal(size=(2, policy.latent_size)), jnp.float32)
    mean = last(policy, params, obs, points[0])
    exact = (norm.logpdf(points[1], mean, SIGMA) - norm.logpdf(0, 0, SIGMA)).sum()
    found = float(jnp.sum(policy.log_prob(params, obs, points, Noise(SIGMA))))
    assert found == pytest.approx(float(exact), rel=1e-5)


def test_likelihood_ratios_average_to_one(policy: FlowPolicy, params: Params, obs):
    """Importance weights of another policy on ways of this one: true of exact likelihoods alone."""
    other = {**params, "net": jax.tree.map(lambda leaf: 1.05 * leaf, params["net"])}

    def weight(key: jax.Array) -> jax.Array:
        _, path = policy.explore(params, obs, key, Noise(1.0))
        pair = (policy.log_prob(p, obs, path, Noise(1.0)) for p in (other, params))
        theirs, ours = (jnp.sum(one) for one in pair)
        return jnp.exp(theirs - ours)

    keys = jax.random.split(jax.random.key(1), 5000)
    weights = np.asarray(jax.jit(jax.vmap(weight))(keys), float)
    assert weights.std() > 0.1
    assert weights.mean() == pytest.approx(1, abs=4 * weights.std() / len(weights) ** 0.5)


# ---- loss ----


def test_gradient_of_the_loss_is_that_of_finite_differences(policy: FlowPolicy, params: Params):
    rng = np.random.default_rng(2)
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        obs, latent = rng.normal(size=policy.obs_size), rng.normal(size=policy.latent_size)

        @jax.jit
        def loss(net):
            found = {**exact, "net": net}
            return policy.loss(found, jnp.asarray(obs), jnp.asarray(latent), jax.random.key(0))

        gradient = jax.jit(jax.grad(loss))(exact["net"])
        for _ in range(5):
            way = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), exact["net"])
            ahead, behind = (
                loss(jax.tree.map(lambda leaf, d, h=h: leaf + h * d, exact["net"], way))
                for h in (1e-6, -1e-6)
            )
            parts = jax.tree.map(lambda g, d: jnp.sum(g * d), gradient, way)
            assert float(ahead - behind) / 2e-6 == pytest.approx(
                float(sum(jax.tree.leaves(parts))), rel=1e-6
            )


def test_ending_in_the_mean_costs_the_spread_of_the_data(policy: FlowPolicy, rng):
    """A new network ends in the mean, from everywhere: the loss is then the squared distance to it."""
    obs = rng.normal(size=(9, policy.obs_size)).astype(np.float32)
    latent = rng.normal(size=(9, policy.latent_size)).astype(np.float32)
    new = policy.init(jax.random.key(0), obs, latent)
    target = (latent[0] - latent.mean(0)) / (latent.std(0) + STD_FLOOR)
    loss = policy.loss(new, jnp.asarray(obs[0]), jnp.asarray(latent[0]), jax.random.key(1))
    assert float(loss) == pytest.approx(np.mean(target**2), rel=1e-5)
