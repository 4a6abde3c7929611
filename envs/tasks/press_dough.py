"""The right arm presses a lump of dough to a wanted width and sets it down on a mark.

Staged reward, one for each: between the tips of a gripper, of the wanted width, at the mark, left there
in peace.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float

from regrasp.assets import SIDES
from regrasp.assets.dough import (
    CORNERS,
    MOST_STRAIN,
    RIM_M,
    Dough,
    add_dough,
    corner,
    corner_joints,
    corner_m,
)
from regrasp.assets.objects import add_contact_sensor
from regrasp.envs.task import Initial, Task
from regrasp.envs.tasks.parts import (
    BOX_SYMMETRIES,
    RESTING_M,
    TABLE_TOP_M,
    add_arm_sensors,
    nearest_symmetric,
    six,
    solid,
    split,
    squeezed,
    tips,
    untouched,
)
from regrasp.envs.view import View, Watch
from regrasp.errors import InputError, check_positive, check_within

NAME = "dough"
BODIES = tuple(corner(NAME, at) for at in CORNERS)
"""The corners of the lump."""
DOUGH = Dough()
"""Soft modelling dough."""
MARKS = ("mark_right", "mark_left")
"""Two strips on the table, low and high in y: the lump is to lie between them, as wide as their distance."""
SLOWEST_PER_S = 0.1
"""Rate of strain at which dough must flow freely: 5 mm/s across a lump."""
OVERSHOOT = 3.0
"""By how many times the yield strain it may be strained while it flows that fast."""
GRIP_N = 12.0
"""What a tip presses with at most, with some to spare."""
PRESSURE = 1.3
"""Pressure of flow between two tips, which are smaller than what they press on, over the stress of flow."""


class Shape(NamedTuple):
    """A lump as its corners show it, in the world frame."""

    middle: Float[Array, "3"]
    """Mean of the corners (m)."""
    rotation: Float[Array, "3 3"]
    """Its axes as columns: along its length, its width and its height."""
    size: Float[Array, "3"]
    """Length, width and height: between the middles of opposite faces (m)."""


class PressDoughCarry(NamedTuple):
    """For how long the lump has lain as it should, at rest and untouched (s)."""

    rest_s: Float[Array, ""]


@dataclass(frozen=True)
class PressDough(Task):
    """Press a lump of dough to a wanted width, and leave it on a mark.

    It is squeezed across its width; the two strips of the mark show how wide it is to be. Success: for
    `rest_s` its width is within `tolerance_m` of that, its centre within `mark_radius_m` of the mark, no
    corner moves faster than `still_m_s`, and neither arm touches anything. Only friction holds it.
    """

    horizon_s: float = 14.0
    length_m: float = 0.058
    width_m: float = 0.048
    """Of the lump at the start: what is pressed."""
    height_m: float = 0.036
    mass_kg: float = 0.08
    """Mass of the lump."""
    dough: Dough = DOUGH
    """What it is made of."""
    start_x_m: tuple[float, float] = (0.03, 0.17)
    """The lump's centre starts between these, in x."""
    start_y_m: tuple[float, float] = (-0.14, -0.07)
    """The lump's centre starts between these, in y."""
    start_yaw_rad: tuple[float, float] = (-0.6, 0.6)
    """The lump starts turned by an angle between these; at 0 its width lies along y."""
    mark_x_m: tuple[float, float] = (0.03, 0.17)
    """The middle of the mark lies between these, in x."""
    mark_y_m: tuple[float, float] = (0.03, 0.09)
    """The middle of the mark lies between these, in y."""
    wanted_m: tuple[float, float] = (0.037, 0.044)
    """The wanted width lies between these."""
    tolerance_m: float = 0.0015
    """Success: the width is at most this far from what is wanted."""
    mark_radius_m: float = 0.015
    """Success: the centre is at most this far from the mark's, horizontally."""
    rest_s: float = 0.4
    """Success: as it should be, at rest and untouched for this long."""
    still_m_s: float = 0.02
    """At rest: every corner slower than this."""
    low_m: float = -0.1
    """Failure: the lump below this height (it fell off the table)."""

    seen: ClassVar = {
        "dough_pos": ("m", (3,)),
        "dough_rot": ("rot", (6,)),
        "dough_size": ("m", (3,)),
        "mark_pos": ("m", (2,)),
        "wanted_share": ("1", (1,)),
    }

    def __post_init__(self) -> None:
        above_zero = ("horizon_s", "mass_kg", "tolerance_m", "mark_radius_m", "rest_s", "still_m_s")
        check_positive(self, above_zero)
        cell = self.workcell()
        # The open fingers go down beside it with some room, and the lump is longer than a tip is wide.
        check_within(self, ("width_m",), 0.03, cell.arm.hand.opens_m - 0.008)
        check_within(self, ("length_m",), 0.04, 0.08)
        check_within(self, ("height_m",), 0.025, 0.05)
        narrowest = self.width_m - MOST_STRAIN * (self.width_m - 2 * RIM_M)
        check_within(self, ("wanted_m",), narrowest, self.width_m - 2 * self.tolerance_m)
        half_x, half_y = cell.table_half_m - self.length_m
        check_within(self, ("start_x_m", "mark_x_m"), -half_x, half_x)
        check_within(self, ("start_y_m", "mark_y_m"), -half_y, half_y)
        check_within(self, ("start_yaw_rad",), -1.0, 1.0)
        self._check_dough()

    def _check_dough(self) -> None:
        """Refuse dough that sags by itself, that no gripper can press, or that the timestep makes another."""
        dough = self.dough
        check_positive(dough, ("young_pa", "flow_pa", "friction"))
        check_within(dough, ("poisson",), 0.0, 0.45)
        check_within(dough, ("damping_s",), 0.0, 0.1)
        check_within(dough, ("friction",), 0.2, 1.5)
        weight_pa = 9.81 * self.mass_kg / (self.length_m * self.width_m)
        pressed_pa = GRIP_N / (PRESSURE * self.length_m * self.height_m)
        check_within(dough, ("flow_pa",), 1.5 * weight_pa, pressed_pa)
        # Stiffness is integrated implicitly and never unstable, but a step strains the lump elastically
        # before it lets it flow: what is too stiff flows like something far tougher.
        stiffest_pa = (
            OVERSHOOT * dough.flow_pa / ((dough.damping_s + self.timestep_s) * SLOWEST_PER_S)
        )
        if not dough.young_pa <= stiffest_pa:
            raise InputError(
                f"young_pa {dough.young_pa:g}: with flow_pa {dough.flow_pa:g} and damping_s "
                f"{dough.damping_s:g} the largest that steps of {self.timestep_s:.3g} s can hold is "
                f"{stiffest_pa:.3g}"
            )
        if not dough.young_pa >= 20 * dough.flow_pa:
            raise InputError(
                f"young_pa {dough.young_pa:g}: with flow_pa {dough.flow_pa:g} choose at least "
                f"{20 * dough.flow_pa:g}, below which it springs back by more than 5 %"
            )

    @property
    def size_m(self) -> tuple[float, float, float]:
        """Length, width and height of the lump at the start."""
        return self.length_m, self.width_m, self.height_m

    def scene(self) -> mujoco.MjSpec:
        cell = self.workcell()
        spec = cell.spec()
        arms = [geom for side in SIDES for geom in solid(spec, side)]
        add_dough(spec, NAME, self.size_m, self.mass_kg, self.dough, arms)
        for name, sign in zip(MARKS, (-1, 1), strict=True):
            self._add_strip(spec, name, sign)
        for side in SIDES:
            for tip in tips(side):
                add_contact_sensor(spec, f"{NAME}-{tip}", tip, None, normal=True)
        add_arm_sensors(spec, cell)
        for body in BODIES:
            sensor = spec.add_sensor(name=f"{body}_velocity")
            sensor.type = mujoco.mjtSensor.mjSENS_FRAMELINVEL
            sensor.objtype, sensor.objname = mujoco.mjtObj.mjOBJ_BODY, body
        return spec

    def watch(self) -> Watch:
        return Watch(
            sites=tuple(f"{side}/gripper" for side in SIDES),
            bodies=(*BODIES, *MARKS),
            sensors=tuple(s.name for s in self.scene().sensors),
        )

    def initial(self, key: Array) -> Initial:
        keys = jax.random.split(key, 6)
        ranges = (
            *(self.start_x_m, self.start_y_m, self.start_yaw_rad),
            *(self.mark_x_m, self.mark_y_m, self.wanted_m),
        )
        x, y, yaw, mark_x, mark_y, wanted = (
            jax.random.uniform(k, (), jnp.float32, *r) for k, r in zip(keys, ranges, strict=True)
        )
        z = jnp.float32(RESTING_M + self.height_m / 2)
        cos, sin, zero = jnp.cos(yaw), jnp.sin(yaw), jnp.zeros_like(yaw)
        turn = jnp.array([[cos, -sin, zero], [sin, cos, zero], [zero, zero, 1]])
        qpos = {}
        for at in CORNERS:
            first = jnp.array(corner_m(self.size_m, at), jnp.float32)
            slides = jnp.stack([x, y, z]) + turn @ first - first
            qpos |= dict(zip(corner_joints(NAME, at), slides[:, None], strict=True))
        for name, sign in zip(MARKS, (-1, 1), strict=True):
            qpos |= {f"{name}_x": mark_x[None], f"{name}_y": (mark_y + sign * wanted / 2)[None]}
        return Initial(qpos, PressDoughCarry(jnp.float32(0)))

    def update(self, view: View, carry: PressDoughCarry) -> PressDoughCarry:
        rest = self._shaped(view) & self._at_mark(view) & self._at_rest(view) & untouched(view)
        return PressDoughCarry(jnp.where(rest, carry.rest_s + self.control_dt_s, 0.0))

    def observe(self, view: View, carry: PressDoughCarry) -> dict[str, Array]:
        arms, grippers = split(view.joint_pos)
        lump = shape(view)
        return {
            "joint_pos": arms,
            "gripper": grippers,
            "target": view.target,
            "dough_pos": lump.middle,
            "dough_rot": six(nearest_symmetric(lump.rotation, BOX_SYMMETRIES)),
            "dough_size": lump.size,
            "mark_pos": mark(view)[:2],
            # An order, not a measurement: it comes without noise.
            "wanted_share": wanted(view)[None] / self.width_m,
        }

    def reward(self, view: View, carry: PressDoughCarry) -> dict[str, Array]:
        shaped = self._shaped(view)
        return {
            "squeezed": (shaped | self._squeezed(view)) * 1.0,
            "shaped": shaped * 1.0,
            "placed": (shaped & self._at_mark(view)) * 1.0,
            "left": self.success(view, carry) * 1.0,
        }

    def metrics(self, view: View, carry: PressDoughCarry) -> dict[str, Array]:
        return {"width_error_m": jnp.abs(shape(view).size[1] - wanted(view))}

    def success(self, view: View, carry: PressDoughCarry) -> Bool[Array, ""]:
        return carry.rest_s >= self.rest_s - 1e-4

    def failure(self, view: View, carry: PressDoughCarry) -> Bool[Array, ""]:
        return shape(view).middle[2] < self.low_m

    def _add_strip(self, spec: mujoco.MjSpec, name: str, sign: int) -> None:
        """A strip on two slides, so that the mark belongs to the state; nothing touches or moves it."""
        body = spec.worldbody.add_body(name=name, pos=(0, 0, TABLE_TOP_M), gravcomp=1)
        for axis, way in (("x", (1, 0, 0)), ("y", (0, 1, 0))):
            body.add_joint(name=f"{name}_{axis}", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=way)
        half_m = np.array([0.6 * self.length_m, 0.002, 0.0008])
        strip = body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_BOX, size=half_m)
        strip.pos = (0, sign * half_m[1], 0)
        strip.mass = 0.01
        strip.rgba = (0.20, 0.45, 0.75, 1.0)
        strip.contype, strip.conaffinity = 0, 0

    def _shaped(self, view: View) -> Bool[Array, ""]:
        """Whether the lump is as wide as is wanted."""
        return jnp.abs(shape(view).size[1] - wanted(view)) <= self.tolerance_m

    def _at_mark(self, view: View) -> Bool[Array, ""]:
        """Whether the lump lies on the table at the mark."""
        lump = shape(view)
        miss_m = jnp.linalg.norm((lump.middle - mark(view))[:2])
        half_m = jnp.abs(lump.rotation[2]) @ lump.size / 2
        lies = lump.middle[2] < TABLE_TOP_M + half_m + 0.003
        return (miss_m <= self.mark_radius_m) & lies

    def _at_rest(self, view: View) -> Bool[Array, ""]:
        speeds = jnp.stack([view.sensor[f"{body}_velocity"] for body in BODIES])
        return jnp.max(jnp.sum(speeds**2, axis=1)) < self.still_m_s**2

    @staticmethod
    def _squeezed(view: View) -> Bool[Array, ""]:
        """Whether the lump is between the tips of a gripper that press from opposite sides."""
        middle = shape(view).middle
        held = jnp.array(False)
        for side in SIDES:
            near = jnp.sum((view.site_pos[f"{side}/gripper"] - middle) ** 2) < 0.04**2
            held |= squeezed(view, NAME, side) & near
        return held


def shape(view: View) -> Shape:
    """The lump as it is now."""
    corners = jnp.stack([view.body_pos[body] for body in BODIES]).reshape(2, 2, 2, 3)
    edges = jnp.stack(
        [
            jnp.mean(corners[1] - corners[0], (0, 1)),
            jnp.mean(corners[:, 1] - corners[:, 0], (0, 1)),
            jnp.mean(corners[:, :, 1] - corners[:, :, 0], (0, 1)),
        ]
    )
    size = jnp.linalg.norm(edges, axis=1)
    # Sheared, its edges are not at right angles; the width keeps its direction.
    y = edges[1] / size[1]
    x = edges[0] - (edges[0] @ y) * y
    x = x / jnp.linalg.norm(x)
    rotation = jnp.stack([x, y, jnp.cross(x, y)], axis=1)
    return Shape(jnp.mean(corners, (0, 1, 2)), rotation, size + 2 * RIM_M)


def mark(view: View) -> Float[Array, "3"]:
    """The middle of the mark (m)."""
    return jnp.add(view.body_pos[MARKS[0]], view.body_pos[MARKS[1]]) / 2


def wanted(view: View) -> Float[Array, ""]:
    """The wanted width (m)."""
    return jnp.linalg.norm(view.body_pos[MARKS[1]] - view.body_pos[MARKS[0]])
