"""Where hands and things are, from joints: against the engine, in every workcell."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from regrasp.assets import SIDES, WORKCELLS, load_workcell
from regrasp.envs import load_task
from regrasp.rl.clone import CloneConfig, policy_for
from regrasp.rl.policies.hands import FAR_M, NEAR_M, PLACE, SEEN, arms_of, from_hands, hand


@pytest.mark.parametrize("name", WORKCELLS)
def test_a_hand_is_where_the_engine_has_it(name: str):
    """At joints anywhere within their limits, and the arms' joints are one after the other."""
    workcell = load_workcell(name)
    model, arms = workcell.spec().compile(), arms_of(workcell)
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    columns = [i for i in range(workcell.action_size) if i not in workcell.gripper_columns]
    names = [workcell.action_names[i] for i in columns]
    assert len(names) == sum(len(arm.joints) for arm in arms)
    for _ in range(20):
        joints = [model.joint(one) for one in names]
        values = np.array([rng.uniform(*joint.range) for joint in joints])
        data.qpos[[joint.qposadr[0] for joint in joints]] = values
        mujoco.mj_kinematics(model, data)
        first = 0
        for side, arm in zip(SIDES, arms, strict=True):
            pos, rot = hand(arm, jnp.asarray(values[first : first + len(arm.joints)], jnp.float32))
            first += len(arm.joints)
            site = data.site(f"{side}/gripper")
            np.testing.assert_allclose(pos, site.xpos, atol=1e-6)
            np.testing.assert_allclose(rot, site.xmat.reshape(3, 3), atol=3e-6)


def test_things_move_as_hands_see_them():
    """Along a hand's own axes, in both units, to the end of each."""
    arms = arms_of(load_workcell("aloha"))
    joints = np.random.default_rng(1).uniform(-0.5, 0.5, (4, 12)).astype(np.float32)
    frames = [hand(arm, jnp.asarray(joints[:, 6 * i :][:, :6])) for i, arm in enumerate(arms)]
    for i, (pos, rot) in enumerate(frames):
        for off in ([0.03, -0.01, 0.0], [0.0, 0.0, 0.7]):
            at = np.asarray(pos + rot @ jnp.array(off))[:, None]
            places, seen = from_hands(arms, jnp.asarray(joints), jnp.asarray(at))
            assert (places.shape, seen.shape) == ((4, 2 * PLACE), (4, 1, 2 * SEEN))
            far, near = np.split(np.asarray(seen[:, 0, i * SEEN :][:, :SEEN]), 2, axis=1)
            wanted = np.array(off)
            np.testing.assert_allclose(far - np.clip(wanted / FAR_M, -5, 5), 0, atol=1e-5)
            np.testing.assert_allclose(near - np.clip(wanted / NEAR_M, -2, 2), 0, atol=1e-4)


def test_what_is_seen_from_hands_reaches_the_chunk():
    """The same observation, with the arms standing elsewhere, means another chunk."""
    policy = policy_for(load_task("tidy"), CloneConfig(width=16, depth=1))
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(20, policy.obs_size)).astype(np.float32)
    params = policy.init(jax.random.key(0), obs, rng.normal(size=(20, policy.latent_size)))
    shake = iter(jax.random.split(jax.random.key(1), 99))
    params = jax.tree.map(
        lambda leaf: leaf + 0.1 * jax.random.normal(next(shake), leaf.shape), params
    )
    (left, right) = policy.arms
    aside = replace(policy, arms=(left._replace(pos=(0.0, 0.0, 0.1)), right))
    noise = jnp.zeros((20, policy.noise_size))
    moved = aside.act(params, jnp.asarray(obs), noise) - policy.act(params, jnp.asarray(obs), noise)
    assert np.abs(np.asarray(moved)).max(axis=(1, 2)).min() > 1e-4
