"""What holds of every policy family: chunks, likelihoods and modes."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regrasp.envs import Executor, load_task
from regrasp.errors import InputError
from regrasp.rl.clone import CloneConfig, Samples, clone, policy_for
from regrasp.rl.policies import (
    FAMILIES,
    GaussianPolicy,
    Held,
    Noise,
    Policy,
    ResidualPolicy,
    TokenPolicy,
    token,
)
from regrasp.rl.policies.hands import PLACE, SEEN
from regrasp.rl.runner import holding

TERMS = (("cube_pos", 1), ("joint_pos", 2))


def made(family: str, **changes: Any) -> Policy:
    small: dict[str, Any] = {"chunk": 8, "knots": 3, "width": 16, "depth": 1}
    return FAMILIES[family](TERMS, (1, -1), **{**small, **changes})


def weights(policy: Policy, seed: int = 0):
    """Random ones everywhere, normalised by random data."""
    rng = np.random.default_rng(seed)
    obs = rng.normal(0.3, 2, (50, policy.obs_size)).astype(np.float32)
    latent = rng.normal(-0.2, 0.5, (50, policy.latent_size)).astype(np.float32)
    params = policy.init(jax.random.key(seed), obs, latent)

    def shake(leaf):
        return leaf + jnp.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype)

    return {**params, "net": jax.tree.map(shake, params["net"])}


@pytest.fixture(params=sorted(FAMILIES))
def policy(request: pytest.FixtureRequest) -> Policy:
    return made(request.param)


@pytest.fixture
def obs(policy: Policy) -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).normal(size=policy.obs_size), jnp.float32)


def test_a_chunk_is_a_function_of_observation_and_noise(policy: Policy, obs: jax.Array):
    params, rng = weights(policy), np.random.default_rng(2)
    noise = jnp.asarray(rng.normal(size=(5, policy.noise_size)), jnp.float32)
    chunks = policy.act(params, jnp.broadcast_to(obs, (5, len(obs))), noise)
    assert chunks.shape == (5, policy.chunk, policy.action_size)
    alone = jnp.stack([policy.act(params, obs, one) for one in noise])
    np.testing.assert_allclose(chunks, alone, atol=1e-5)
    assert np.abs(np.diff(chunks, axis=0)).max() > 1e-3


def test_what_was_never_seen_so_far_away_drowns_nothing(policy: Policy, obs: jax.Array):
    params, noise = weights(policy), jnp.zeros(policy.noise_size)
    far, further, near = (
        policy.act(params, obs.at[0].set(value), noise) for value in (1e2, 1e6, 1.0)
    )
    np.testing.assert_allclose(far, further, atol=1e-6)
    assert np.abs(np.asarray(far - near)).max() > 1e-3


@pytest.mark.parametrize(("speed", "lead"), [(1.0, 3.0), (1.5, 0.0), (1.7, 2.0), (3.0, 1.0)])
def test_a_faster_policy_plays_the_same_chunks_as_a_faster_executor(
    policy: Policy, obs: jax.Array, speed: float, lead: float
):
    params, noise = weights(policy), jnp.ones(policy.noise_size)
    executor = Executor(policy.chunk, 1, speed=speed, lead=lead)
    chunk = policy.act(params, obs, noise)
    played, loaded = [], executor.load(executor.start(policy.action_size), chunk)
    for step in range(executor.length):
        played.append(loaded.chunk[step])
    fast = policy.faster(speed, lead)
    assert (fast.chunk, fast.latent_size) == (executor.length, policy.latent_size)
    np.testing.assert_allclose(fast.act(params, obs, noise), jnp.stack(played), atol=1e-5)
    corrected, more = ResidualPolicy.on(fast, params, jax.random.key(0))
    np.testing.assert_allclose(corrected.act(more, obs, noise), jnp.stack(played), atol=1e-5)


def test_the_ratio_of_a_policy_to_itself_is_one_whatever_it_tried(policy: Policy, obs: jax.Array):
    """And choices that another policy finds likelier do not make up for it: ratios average to one."""
    params, noise = weights(policy), Noise(sigma=1.0)
    other = {**params, "net": jax.tree.map(lambda leaf: 1.05 * leaf, params["net"])}

    def ratio(key: jax.Array) -> jax.Array:
        _, trace = policy.explore(params, obs, key, noise)
        theirs, ours = (policy.log_prob(p, obs, trace, noise).sum() for p in (other, params))
        return jnp.exp(theirs - ours)

    ratios = np.asarray(jax.jit(jax.vmap(ratio))(jax.random.split(jax.random.key(1), 5000)), float)
    assert ratios.std() > 0.01
    assert ratios.mean() == pytest.approx(1, abs=4 * ratios.std() / len(ratios) ** 0.5)


def test_an_explored_chunk_lies_where_its_choices_say(policy: Policy, obs: jax.Array):
    params, noise = weights(policy), Noise()
    keys = jax.random.split(jax.random.key(3), 50)
    chunks, _ = jax.vmap(lambda k: policy.explore(params, obs, k, noise))(keys)
    again, _ = jax.vmap(lambda k: policy.explore(params, obs, k, noise))(keys)
    np.testing.assert_array_equal(chunks, again)
    latent = policy.encode(np.tile(obs, (50, 1)), np.asarray(chunks))
    back = policy.decode(
        params, jnp.tile(obs, (50, 1)), policy._target(params, jnp.asarray(latent))
    )
    np.testing.assert_allclose(back, chunks, atol=1e-4)


def test_conditions_that_are_not_given_are_those_wanted(policy: Policy):
    asked = type(policy)(TERMS, (1, -1), chunk=8, knots=3, wanted=(("speed", 1.5),))
    terms = {"cube_pos": jnp.ones((2, 1)), "joint_pos": jnp.zeros((2, 2))}
    np.testing.assert_allclose(asked.flat(terms)[:, -1], 1.5)
    np.testing.assert_allclose(asked.flat({**terms, "speed": jnp.full((2, 1), 0.7)})[:, -1], 0.7)
    assert asked.obs_size == 4


# ---- what is pending ----


def weights_below(policy: Policy) -> tuple[Policy, Any]:
    """The policy, or corrections on top of it that are not nothing."""
    below = weights(policy)
    above, params = ResidualPolicy.on(policy, below, jax.random.key(0), width=8, depth=1)
    shaken = jax.tree.map(lambda leaf: leaf + 0.1, params["net"])
    return above, {**params, "net": shaken}


@pytest.mark.parametrize("corrected", [False, True])
def test_a_chunk_goes_on_from_what_is_pending(policy: Policy, obs: jax.Array, corrected: bool):
    asked, params = weights_below(policy) if corrected else (policy, weights(policy))
    still = jnp.zeros(asked.noise_size)
    free = asked.act(params, obs, still)
    pending = free + 0.3
    for delay, near in ((0, 0.3), (3, 0.08)):
        gain = holding(asked.basis, delay, 5)
        held = asked.act(params, obs, still, Held(pending, gain))
        off = np.abs(held - pending)
        assert off[: delay or 1].max() < near + 1e-6
        assert off[delay or 1].max() < 0.3
    nothing = asked.act(params, obs, still, Held(pending, 0 * gain))
    np.testing.assert_allclose(nothing, free, atol=1e-5)


@pytest.mark.parametrize(("delay", "known"), [(0, 5), (3, 5), (5, 8), (8, 8)])
def test_what_will_be_played_binds_more_than_what_was_meant(delay: int, known: int):
    basis = made("flow").basis
    gain = holding(basis, delay, known)
    assert gain.shape == (3, 8)
    assert not gain[:, known:].any()
    moved = basis @ gain @ np.ones(8)
    if delay:
        assert moved[:delay].min() > 0.7
    assert moved[0] >= moved[-1] - 1e-6


# ---- corrections ----


def test_corrections_start_at_nothing_and_stay_small(policy: Policy, obs: jax.Array):
    params = weights(policy)
    asked, own = ResidualPolicy.on(policy, params, jax.random.key(0), width=8, depth=1)
    noise = jax.random.normal(jax.random.key(1), (policy.noise_size,))
    np.testing.assert_allclose(
        asked.act(own, obs, noise), policy.act(params, obs, noise), atol=1e-5
    )
    wild = {**own, "net": jax.tree.map(lambda leaf: leaf + 50.0, own["net"])}
    assert np.abs(asked.correction(wild, obs)).max() <= asked.reach
    key = jax.random.key(2)
    chunk, drawn = asked.explore(own, obs, key, Noise(sigma=0.5))
    still = policy.act(params, obs, jnp.zeros(policy.noise_size))
    added = asked.encode(np.asarray(obs)[None], np.asarray(chunk)[None])
    below = asked.encode(np.asarray(obs)[None], np.asarray(still)[None])
    np.testing.assert_allclose((added - below)[0] / own["latent_std"], drawn, atol=1e-3)


# ---- tokens ----


def test_token_probabilities_add_up_over_all_chunks():
    """Two tokens of four values: the sixteen chunks are all that there is."""
    policy = TokenPolicy((("side", 1),), (-1,), chunk=2, knots=2, width=8, depth=1, bins=4)
    params = weights(policy)
    every = jnp.stack(jnp.meshgrid(jnp.arange(4), jnp.arange(4), indexing="ij"), -1).reshape(-1, 2)
    probs = jax.vmap(lambda t: policy.log_prob(params, jnp.ones(1), t, Noise()).sum())(every)
    assert float(jnp.exp(probs).sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("scale", [0.1, 3.0, 300.0])
def test_bins_of_a_mixture_are_differences_of_what_is_below_and_stay_finite(scale: float):
    raw = jnp.asarray(scale * np.random.default_rng(0).normal(size=(40, 3 * token.PIECES)))
    edges = jnp.array([-token.FAR, *np.linspace(-1, 1, 33)[1:-1], token.FAR])

    def logs(raw: jax.Array) -> jax.Array:
        mixture = token.Mixture.of(raw[:, None], 1.3)
        return mixture.log_between(edges[:-1], edges[1:])

    np.testing.assert_allclose(jnp.exp(logs(raw)).sum(-1), 1, atol=1e-4)
    below = token.Mixture.of(raw[:, None], 1.3).below(edges)
    np.testing.assert_allclose(jnp.exp(logs(raw)), jnp.diff(below), atol=1e-4)
    assert np.isfinite(logs(raw)).all()
    assert np.isfinite(jax.grad(lambda r: logs(r).sum())(raw)).all()


def test_tokens_are_drawn_as_often_as_their_likelihood_says():
    policy = TokenPolicy((("side", 1),), (-1,), chunk=2, knots=2, width=8, depth=1, bins=3)
    params, noise = weights(policy), Noise(temperature=1.7)
    keys = jax.random.split(jax.random.key(0), 20_000)
    _, tokens = jax.jit(jax.vmap(lambda k: policy.explore(params, jnp.ones(1), k, noise)))(keys)
    counts = np.bincount(np.asarray(tokens) @ [3, 1], minlength=9) / len(keys)
    every = jnp.array([(i, j) for i in range(3) for j in range(3)])
    exact = jax.vmap(lambda t: policy.log_prob(params, jnp.ones(1), t, noise).sum())(every)
    np.testing.assert_allclose(counts, np.exp(exact), atol=0.015)


def test_a_token_does_not_see_those_after_it():
    policy = made("token")
    params, obs = weights(policy), jnp.ones(3)
    assert isinstance(policy, TokenPolicy)
    tokens = jnp.arange(policy.latent_size) * 7 % policy.bins
    for place in range(policy.latent_size):
        changed = tokens.at[place].set((tokens[place] + 40) % policy.bins)
        one, two = (policy.log_prob(params, obs, t, Noise()) for t in (tokens, changed))
        np.testing.assert_array_equal(one[:place], two[:place])
        assert (np.abs(one - two)[place:] > 1e-6).any()


def test_latents_survive_as_tokens_within_a_bin():
    policy = made("token", bins=256)
    assert isinstance(policy, TokenPolicy)
    rng = np.random.default_rng(0)
    latent = rng.normal(0.5, 2, (200, policy.latent_size)).astype(np.float32)
    params = policy.init(jax.random.key(0), rng.normal(size=(200, 3)).astype(np.float32), latent)
    normal = policy._target(params, jnp.asarray(latent))
    tokens = jax.vmap(lambda one: policy.tokens(params, one))(latent)
    back = policy.latent(params, tokens)
    # Fine near the mean, coarse far from it.
    np.testing.assert_allclose(back, normal, atol=0.1)
    near = np.abs(normal) < 0.5
    assert np.abs(back - normal)[near].max() < 0.01


# ---- modes ----


@pytest.mark.parametrize("family", ["flow", "token"])
def test_two_ways_are_both_learned_and_their_mean_is_not(family: str, tmp_path):
    """Pass on the left or on the right, never through the middle."""
    rng = np.random.default_rng(0)
    side = rng.choice([-1.0, 1.0], 400)[:, None] + rng.normal(0, 0.05, (400, 1))
    policy = FAMILIES[family]((("side", 1),), (-1,), chunk=2, knots=2, width=32, depth=1)
    obs, chunks = rng.normal(size=(400, 1)), np.repeat(side, 2, axis=1)[:, :, None]
    data = Samples(
        obs.astype(np.float32),
        policy.encode(obs.astype(np.float32), chunks.astype(np.float32)),
        np.repeat(np.arange(10), 40),
    )
    config = CloneConfig(updates=1300, batch=128, learning_rate=3e-3, average=0.99)
    params = clone(policy, data, config, tmp_path)
    noise = jax.random.normal(jax.random.key(0), (1000, policy.noise_size))
    passed = np.asarray(policy.act(params, jnp.zeros((1000, 1)), noise))[:, :, 0]
    left, right = (passed < -0.7).all(axis=1), (passed > 0.7).all(axis=1)
    assert left.mean() > 0.35
    assert right.mean() > 0.35
    assert (np.abs(passed) < 0.4).any(axis=1).mean() < 0.1


# ---- several things alike ----


def test_one_of_several_things_is_found_and_not_their_blend(tmp_path):
    """Go where the marked one of six things is: a linear map of them all goes somewhere between."""
    rng = np.random.default_rng(0)
    place, marked = rng.normal(size=(4000, 6)), np.eye(6)[rng.integers(0, 6, 4000)]
    obs = np.concatenate([place, marked], axis=1).astype(np.float32)
    goal = (place * marked).sum(axis=1)
    chunks = np.repeat(goal[:, None], 2, axis=1)[:, :, None].astype(np.float32)
    config = CloneConfig(updates=800, batch=256, learning_rate=3e-3, average=0.99)
    off = {}
    for alike in ((), (("place", 6), ("marked", 6))):
        terms = (("place", 6), ("marked", 6))
        policy = GaussianPolicy(terms, (-1,), chunk=2, knots=2, width=32, depth=1, alike=alike)
        data = Samples(obs, policy.encode(obs, chunks), np.repeat(np.arange(10), 400))
        params = clone(policy, data, config, tmp_path / str(len(alike)))
        gone = policy.act(params, jnp.asarray(obs[-400:]), jnp.zeros((400, policy.noise_size)))
        off[bool(alike)] = float(
            np.sqrt(np.mean((np.asarray(gone)[:, :, 0] - chunks[-400:, :, 0]) ** 2))
        )
    assert off[True] < 0.25
    assert off[False] > 1.5 * off[True]


def test_every_family_attends_to_things(policy: Policy, obs: jax.Array):
    """What is told of things reaches the chunk, and through attention alone."""
    alike = replace(policy, alike=(("joint_pos", 2),))
    params = weights(alike)
    assert any("kinds" in str(path) for path, _ in jax.tree.leaves_with_path(params["net"]))
    assert not any("kinds" in str(path) for path, _ in jax.tree.leaves_with_path(weights(policy)))
    noise = jnp.zeros(policy.noise_size)
    moved = obs.at[2].add(1.0)  # Nothing is relative to this entry's neighbour.
    assert np.abs(alike.act(params, obs, noise) - alike.act(params, moved, noise)).max() > 1e-4
    deaf = alike.deaf(params, alike.columns("joint_pos"))
    same = alike.act(deaf, moved, noise) - alike.act(deaf, obs, noise)
    np.testing.assert_allclose(
        same, alike.act(params, moved, noise) - alike.act(params, obs, noise), atol=1e-5
    )


def test_every_thing_has_its_own_numbers():
    """Of each task that has things alike: all of them, in every term, each number once."""
    tasks = [load_task(name) for name in ("tidy", "transfer_cube")]
    tidy, cube = (policy_for(task, CloneConfig(width=8, depth=1)) for task in tasks)
    assert cube.things == ()
    assert cube.net_size == cube.obs_size
    hands = len(tidy.arms)
    assert np.shape(tidy.things) == (8, 3 + 6 + 1 + hands * SEEN)
    columns = [tidy.columns(name) for name in ("thing_pos", "thing_rot", "placed")]
    every = np.concatenate([np.arange(c.start, c.stop) for c in columns])
    from_hands = np.arange(tidy.obs_size + hands * PLACE, tidy.net_size)
    assert sorted(np.ravel(tidy.things)) == sorted([*every, *from_hands])
    pos, rot, placed = columns
    third = [
        *range(pos.start + 6, pos.start + 9),
        *range(rot.start + 12, rot.start + 18),
        placed.start + 2,
        *from_hands[2 * hands * SEEN :][: hands * SEEN],
    ]
    assert tidy.things[2] == tuple(third)
    uneven = (("thing_pos", 5),)
    with pytest.raises(InputError, match=r"thing_pos holds 24 numbers.*5 things"):
        replace(tidy, alike=uneven).things  # noqa: B018
