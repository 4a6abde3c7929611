"""Where the hands are, from measured joints, and where things lie as seen from them.

A policy that is told of things in the frame of the world has to learn the arms' kinematics to a few
millimetres before it can aim; told of them as each hand sees them, it aims by subtraction.
"""

from typing import NamedTuple

import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float

from regrasp.assets import SIDES, Workcell

Numbers = tuple[float, ...]
PLACE, SEEN = 9, 6
"""Numbers that tell of a hand, and of a thing as a hand sees it."""
FAR_M, NEAR_M = 0.1, 0.02
"""Where hands see things is told in two units: a coarse one up to five of it, a fine one up to two."""


class Joint(NamedTuple):
    """One joint of an arm: what is before it, and about which axis it turns."""

    pos: Numbers
    """From the joint before (m), 3 numbers."""
    rot: Numbers
    """The rotation there, row by row, 9 numbers."""
    axis: Numbers
    """A unit vector, 3 numbers."""


class Arm(NamedTuple):
    """From the world to the gripper site."""

    joints: tuple[Joint, ...]
    pos: Numbers
    """Of the site, from the last joint (m)."""
    rot: Numbers


def arms_of(workcell: Workcell) -> tuple[Arm, ...]:
    """The arms of a workcell, left and right: one after the other, their joints are those of `joint_pos`."""
    model = workcell.spec().compile()
    return tuple(_arm(model, side) for side in SIDES)


def _arm(model: mujoco.MjModel, side: str) -> Arm:
    site = model.site(f"{side}/gripper").id
    chain, body = [], int(model.site_bodyid[site])
    while body:
        chain.append(body)
        body = int(model.body_parentid[body])
    joints, pos, rot = [], np.zeros(3), np.eye(3)
    for body in reversed(chain):
        pos = pos + rot @ model.body_pos[body]
        rot = rot @ _matrix(model.body_quat[body])
        first, count = int(model.body_jntadr[body]), int(model.body_jntnum[body])
        for joint in range(first, first + count):
            anchor = model.jnt_pos[joint]
            joints.append(Joint(*map(_numbers, (pos + rot @ anchor, rot, model.jnt_axis[joint]))))
            pos, rot = -anchor, np.eye(3)
    pos = pos + rot @ model.site_pos[site]
    rot = rot @ _matrix(model.site_quat[site])
    return Arm(tuple(joints), _numbers(pos), _numbers(rot))


def hand(
    arm: Arm, joint_pos: Float[Array, "... joints"]
) -> tuple[Float[Array, "... 3"], Float[Array, "... 3 3"]]:
    """Position (m, world frame) and rotation of the gripper site, from the arm's joints (rad)."""
    lead = joint_pos.shape[:-1]
    pos, rot = jnp.zeros((*lead, 3)), jnp.broadcast_to(jnp.eye(3), (*lead, 3, 3))
    for i, joint in enumerate(arm.joints):
        x, y, z = joint.axis
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]], np.float32)
        angle = joint_pos[..., i, None, None]
        turned = (
            np.eye(3, dtype=np.float32)
            + jnp.sin(angle) * cross
            + (1 - jnp.cos(angle)) * (cross @ cross)
        )
        pos = pos + _times(rot, _array(joint.pos, 1))[..., 0]
        rot = _times(_times(rot, _array(joint.rot, 3)), turned)
    pos = pos + _times(rot, _array(arm.pos, 1))[..., 0]
    return pos, _times(rot, _array(arm.rot, 3))


def from_hands(
    arms: tuple[Arm, ...],
    joint_pos: Float[Array, "... joints"],
    things: Float[Array, "... things 3"],
) -> tuple[Float[Array, "... places"], Float[Array, "... things seen"]]:
    """Where the hands are, and where each thing lies from each of them.

    Args:
        arms: of the workcell.
        joint_pos: of all arms (rad).
        things: positions (m, world frame).

    Returns:
        Of every hand PLACE numbers, its position and two columns of its rotation; and of every thing SEEN
        numbers for every hand, its position in the hand's frame in both units.
    """
    places, seen, first = [], [], 0
    for arm in arms:
        pos, rot = hand(arm, joint_pos[..., first : first + len(arm.joints)])
        first += len(arm.joints)
        places += [pos / FAR_M, rot[..., :, :2].reshape(*rot.shape[:-2], 6)]
        off = things - pos[..., None, :]
        own = (off[..., :, :, None] * rot[..., None, :, :]).sum(axis=-2)
        seen += [jnp.clip(own / FAR_M, -5, 5), jnp.clip(own / NEAR_M, -2, 2)]
    return jnp.concatenate(places, axis=-1), jnp.concatenate(seen, axis=-1)


def _times(a: Array, b: Array | np.ndarray) -> Array:
    # A sum of products: matrices so small are slow to multiply one by one.
    return (a[..., :, :, None] * b[..., None, :, :]).sum(axis=-2)


def _array(numbers: Numbers, columns: int) -> Float[np.ndarray, "3 columns"]:
    return np.array(numbers, np.float32).reshape(3, columns)


def _matrix(quat: np.ndarray) -> np.ndarray:
    found = np.zeros(9)
    mujoco.mju_quat2Mat(found, quat)
    return found.reshape(3, 3)


def _numbers(values: np.ndarray) -> Numbers:
    return tuple(np.ravel(values).tolist())
