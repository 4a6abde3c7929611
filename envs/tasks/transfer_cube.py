"""The right arm picks up a cube and hands it to the left arm.

The staged reward is that of the ALOHA simulation benchmark (Zhao et al., 2023): touched 1,
lifted 2, touched by the other 3, transferred 4.
"""

from dataclasses import dataclass
from itertools import permutations, product
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float

from regrasp.assets import SIDES, Workcell, aloha
from regrasp.assets.objects import add_contact_sensor, add_cube
from regrasp.envs.task import Initial, Task
from regrasp.envs.view import View, Watch

TABLE_TOP_M = -0.0009
OPPOSITE = -0.5
"""Contact normals whose cosine is below this press from opposite sides."""


class TransferCubeCarry(NamedTuple):
    """For how long the left gripper has held the cube alone (s)."""

    held_s: Float[Array, ""]


@dataclass(frozen=True)
class TransferCube(Task):
    """Hand a cube from the right gripper to the left one."""

    horizon_s: float = 8.0
    half_size_m: float = 0.02
    """Half the edge of the cube."""
    mass_kg: float = 0.05
    """Mass of the cube."""
    start_x_m: tuple[float, float] = (0.0, 0.2)
    """The cube starts between these, in x."""
    start_y_m: tuple[float, float] = (-0.12, 0.08)
    """The cube starts between these, in y."""
    start_yaw_rad: tuple[float, float] = (-np.pi, np.pi)
    """The cube starts turned by an angle between these."""
    hold_s: float = 0.2
    """Success: held by the left gripper alone for this long."""
    low_m: float = -0.1
    """Failure: the cube below this height (it fell off the table)."""

    terms: ClassVar = {
        "joint_pos": ("rad", (12,)),
        "gripper": ("1", (2,)),
        "target": ("1", (14,)),
        "cube_pos": ("m", (3,)),
        "cube_rot": ("rot", (6,)),
    }

    def workcell(self) -> Workcell:
        return aloha()

    def scene(self) -> mujoco.MjSpec:
        spec = self.workcell().spec()
        add_cube(spec, "cube", self.half_size_m, self.mass_kg, (0.86, 0.18, 0.14, 1.0))
        for geom in ("table", *self._tips("left"), *_solid(spec, "right")):
            add_contact_sensor(
                spec, f"cube-{geom}", "cube", geom, normal=geom in self._tips("left")
            )
        return spec

    def watch(self) -> Watch:
        sensors = [s.name for s in self.scene().sensors]
        return Watch(
            sites=tuple(f"{side}/gripper" for side in SIDES),
            bodies=("cube",),
            sensors=tuple(sensors),
        )

    def initial(self, key: Array) -> Initial:
        keys = jax.random.split(key, 3)
        ranges = (self.start_x_m, self.start_y_m, self.start_yaw_rad)
        x, y, yaw = (
            jax.random.uniform(k, (), jnp.float32, *r) for k, r in zip(keys, ranges, strict=True)
        )
        z = jnp.float32(TABLE_TOP_M + self.half_size_m)
        zero = jnp.float32(0)
        pose = jnp.stack([x, y, z, jnp.cos(yaw / 2), zero, zero, jnp.sin(yaw / 2)])
        return Initial({"cube": pose}, TransferCubeCarry(zero))

    def update(self, view: View, carry: TransferCubeCarry) -> TransferCubeCarry:
        held = self._held_by_left(view) & ~self._on_table(view) & ~self._touched_by_right(view)
        return TransferCubeCarry(jnp.where(held, carry.held_s + self.control_dt_s, 0.0))

    def observe(self, view: View, carry: TransferCubeCarry) -> dict[str, Array]:
        arms, grippers = _split(view.joint_pos)
        rotation = nearest_symmetric(_matrix(view.body_quat["cube"]))
        return {
            "joint_pos": arms,
            "gripper": grippers,
            "target": view.target,
            "cube_pos": view.body_pos["cube"],
            "cube_rot": rotation[:, :2].T.ravel(),
        }

    def reward(self, view: View, carry: TransferCubeCarry) -> dict[str, Array]:
        touched = self._touched(view, self._tips("right"))
        other = self._touched(view, self._tips("left"))
        off = ~self._on_table(view)
        return {
            "touched": (touched | other) * 1.0,
            "lifted": ((touched | other) & off) * 1.0,
            "shared": (other & off) * 1.0,
            "transferred": self.success(view, carry) * 1.0,
        }

    def success(self, view: View, carry: TransferCubeCarry) -> Bool[Array, ""]:
        return carry.held_s >= self.hold_s - 1e-4

    def failure(self, view: View, carry: TransferCubeCarry) -> Bool[Array, ""]:
        return view.body_pos["cube"][2] < self.low_m

    def _held_by_left(self, view: View) -> Array:
        """Both tips touch the cube from opposite sides: what lies on top of them is not held."""
        first, second = (view.sensor[f"cube-{tip}"] for tip in self._tips("left"))
        return (first[0] > 0) & (second[0] > 0) & (first[1:] @ second[1:] < OPPOSITE)

    def _on_table(self, view: View) -> Array:
        return self._touched(view, ("table",))

    def _touched_by_right(self, view: View) -> Array:
        names = [n.removeprefix("cube-") for n in view.sensor if n.startswith("cube-right/")]
        return self._touched(view, tuple(names))

    @staticmethod
    def _touched(view: View, geoms: tuple[str, ...]) -> Array:
        return jnp.any(jnp.stack([view.sensor[f"cube-{geom}"][0] > 0 for geom in geoms]))

    @staticmethod
    def _tips(side: str) -> tuple[str, str]:
        return f"{side}/left_tip", f"{side}/right_tip"


def nearest_symmetric(rotation: Float[Array, "3 3"]) -> Float[Array, "3 3"]:
    """The rotation nearest to the identity among those that leave a plain cube looking the same."""
    candidates = rotation @ _CUBE_SYMMETRIES
    return candidates[jnp.argmax(jnp.trace(candidates, axis1=1, axis2=2))]


def _symmetries() -> Float[np.ndarray, "24 3 3"]:
    signed = [
        np.eye(3)[list(order)] * np.array(signs)[:, None]
        for order in permutations(range(3))
        for signs in product((1, -1), repeat=3)
    ]
    return np.array([m for m in signed if np.linalg.det(m) > 0], np.float32)


_CUBE_SYMMETRIES = _symmetries()


def _matrix(quat: Float[Array, "4"]) -> Float[Array, "3 3"]:
    w, x, y, z = quat
    return jnp.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _split(joint_pos: Float[Array, "14"]) -> tuple[Float[Array, "12"], Float[Array, "2"]]:
    """Arm joints and gripper openings of an action-ordered vector."""
    return jnp.concatenate([joint_pos[:6], joint_pos[7:13]]), joint_pos[jnp.array([6, 13])]


def _solid(spec: mujoco.MjSpec, side: str) -> list[str]:
    """The colliding geoms of one arm."""
    return [g.name for g in spec.geoms if g.name.startswith(f"{side}/")]
