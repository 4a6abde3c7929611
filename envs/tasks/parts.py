"""What several tasks share: names of the arms' parts, contacts, rotations."""

from itertools import permutations, product

import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float

from regrasp.assets import SIDES
from regrasp.assets.objects import add_tree_sensors
from regrasp.assets.surroundings import TABLE_TOP_M
from regrasp.assets.workcell import Workcell
from regrasp.envs.view import View

RESTING_M = TABLE_TOP_M - 1e-4
"""Where the underside of a thing on the table starts: pressed in a little, as it will lie. Exactly at the
surface, rounding would decide whether it touches."""
OPPOSITE = -0.5
"""Contact normals whose cosine is below this press from opposite sides."""


def tips(side: str) -> tuple[str, str]:
    """The two finger tips of an arm (geoms)."""
    return f"{side}/left_tip", f"{side}/right_tip"


def solid(spec: mujoco.MjSpec, side: str) -> list[str]:
    """The colliding geoms of one arm."""
    own = [g for g in spec.geoms if g.name.startswith(f"{side}/")]
    return [g.name for g in own if g.contype or g.conaffinity]


def add_arm_sensors(spec: mujoco.MjSpec, cell: Workcell) -> None:
    """What `untouched` asks, of both arms."""
    root = cell.arm.spec().worldbody.first_body().name
    for side in SIDES:
        add_tree_sensors(spec, side, f"{side}/{root}")


def untouched(view: View) -> Bool[Array, ""]:
    """Whether neither arm touches anything but itself."""
    alone = [view.sensor[side][0] <= view.sensor[f"{side}-own"][0] for side in SIDES]
    return alone[0] & alone[1]


def fingers(cell: Workcell, side: str) -> tuple[str, ...]:
    """The geoms with which an arm holds things, its tips included."""
    return tuple(f"{side}/{name}" for name in cell.arm.hand.fingers)


def hand(cell: Workcell, side: str) -> tuple[str, ...]:
    """All geoms of an arm's hand on which a thing may lie."""
    return (*fingers(cell, side), *(f"{side}/{name}" for name in cell.arm.hand.palm))


def touched(view: View, geom: str, others: tuple[str, ...]) -> Bool[Array, ""]:
    """Whether a geom touches any of these, by the contact sensors `geom-other`."""
    return jnp.any(jnp.stack([view.sensor[f"{geom}-{other}"][0] > 0 for other in others]))


def watched_contacts(view: View, geom: str, side: str) -> tuple[str, ...]:
    """The geoms of one arm for which there is a contact sensor with `geom`."""
    start = f"{geom}-{side}/"
    return tuple(n.removeprefix(f"{geom}-") for n in view.sensor if n.startswith(start))


def squeezed(view: View, geom: str, side: str, opposite: float = OPPOSITE) -> Bool[Array, ""]:
    """Whether both tips of an arm press a geom from opposite sides: what lies on them is not held.

    Needs the sensors `geom-tip` of both tips, with normals whose cosine is to be below `opposite`.
    """
    first, second = (view.sensor[f"{geom}-{tip}"] for tip in tips(side))
    return (first[0] > 0) & (second[0] > 0) & (first[1:] @ second[1:] < opposite)


def split(joint_pos: Float[Array, " action"]) -> tuple[Float[Array, " arms"], Float[Array, "2"]]:
    """Arm joints and gripper openings of an action-ordered vector: each arm's gripper is its last entry."""
    each = joint_pos.shape[0] // 2
    arms = jnp.concatenate([joint_pos[: each - 1], joint_pos[each:-1]])
    return arms, joint_pos[jnp.array([each - 1, 2 * each - 1])]


def matrix(quat: Float[Array, "4"]) -> Float[Array, "3 3"]:
    """The rotation of a unit quaternion, w first."""
    w, x, y, z = quat
    return jnp.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def six(rotation: Float[Array, "3 3"]) -> Float[Array, "6"]:
    """A rotation as its first two columns: continuous, unlike a quaternion (Zhou et al., 2019)."""
    return rotation[:, :2].T.ravel()


def upright(
    x: Float[Array, ""], y: Float[Array, ""], z: Float[Array, ""], yaw: Float[Array, ""]
) -> Float[Array, "7"]:
    """A free joint's position (m), turned by yaw (rad) about the vertical."""
    zero = jnp.zeros_like(yaw)
    return jnp.stack([x, y, z, jnp.cos(yaw / 2), zero, zero, jnp.sin(yaw / 2)])


def nearest_symmetric(
    rotation: Float[Array, "3 3"], symmetries: Float[np.ndarray, "_ 3 3"] | None = None
) -> Float[Array, "3 3"]:
    """The rotation nearest to the identity among those after which an object looks the same.

    `symmetries` are the object's own, a plain cube's by default.
    """
    candidates = rotation @ (_CUBE_SYMMETRIES if symmetries is None else symmetries)
    return candidates[jnp.argmax(jnp.trace(candidates, axis1=1, axis2=2))]


def _symmetries() -> Float[np.ndarray, "24 3 3"]:
    signed = [
        np.eye(3)[list(order)] * np.array(signs)[:, None]
        for order in permutations(range(3))
        for signs in product((1, -1), repeat=3)
    ]
    return np.array([m for m in signed if np.linalg.det(m) > 0], np.float32)


_CUBE_SYMMETRIES = _symmetries()
BAR_SYMMETRIES = _CUBE_SYMMETRIES[np.abs(_CUBE_SYMMETRIES[:, 0, 0]) == 1]
"""Of a bar with a square cross-section, along x."""
BOX_SYMMETRIES = _CUBE_SYMMETRIES[np.trace(np.abs(_CUBE_SYMMETRIES), axis1=1, axis2=2) == 3]
"""Of a box with three different edges."""
