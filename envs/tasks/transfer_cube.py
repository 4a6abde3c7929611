"""The right arm picks up a cube and hands it to the left arm.

The staged reward is that of the ALOHA simulation benchmark (Zhao et al., 2023): touched 1,
lifted 2, touched by the other 3, transferred 4.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float

from regrasp.assets import SIDES
from regrasp.assets.objects import add_contact_sensor, add_cube
from regrasp.envs.task import Initial, Task
from regrasp.envs.tasks.parts import (
    RESTING_M,
    matrix,
    nearest_symmetric,
    six,
    solid,
    split,
    squeezed,
    tips,
    touched,
    upright,
    watched_contacts,
)
from regrasp.envs.view import View, Watch


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

    seen: ClassVar = {
        "cube_pos": ("m", (3,)),
        "cube_rot": ("rot", (6,)),
    }

    def scene(self) -> mujoco.MjSpec:
        spec = self.workcell().spec()
        add_cube(spec, "cube", self.half_size_m, self.mass_kg, (0.86, 0.18, 0.14, 1.0))
        for geom in ("table", *tips("left"), *solid(spec, "right")):
            add_contact_sensor(spec, f"cube-{geom}", "cube", geom, normal=geom in tips("left"))
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
        z = jnp.float32(RESTING_M + self.half_size_m)
        return Initial({"cube": upright(x, y, z, yaw)}, TransferCubeCarry(jnp.float32(0)))

    def update(self, view: View, carry: TransferCubeCarry) -> TransferCubeCarry:
        right = watched_contacts(view, "cube", "right")
        held = squeezed(view, "cube", "left") & ~self._on_table(view)
        held &= ~touched(view, "cube", right)
        return TransferCubeCarry(jnp.where(held, carry.held_s + self.control_dt_s, 0.0))

    def observe(self, view: View, carry: TransferCubeCarry) -> dict[str, Array]:
        arms, grippers = split(view.joint_pos)
        return {
            "joint_pos": arms,
            "gripper": grippers,
            "target": view.target,
            "cube_pos": view.body_pos["cube"],
            "cube_rot": six(nearest_symmetric(matrix(view.body_quat["cube"]))),
        }

    def reward(self, view: View, carry: TransferCubeCarry) -> dict[str, Array]:
        first = touched(view, "cube", tips("right"))
        other = touched(view, "cube", tips("left"))
        off = ~self._on_table(view)
        return {
            "touched": (first | other) * 1.0,
            "lifted": ((first | other) & off) * 1.0,
            "shared": (other & off) * 1.0,
            "transferred": self.success(view, carry) * 1.0,
        }

    def success(self, view: View, carry: TransferCubeCarry) -> Bool[Array, ""]:
        return carry.held_s >= self.hold_s - 1e-4

    def failure(self, view: View, carry: TransferCubeCarry) -> Bool[Array, ""]:
        return view.body_pos["cube"][2] < self.low_m

    @staticmethod
    def _on_table(view: View) -> Bool[Array, ""]:
        return touched(view, "cube", ("table",))
