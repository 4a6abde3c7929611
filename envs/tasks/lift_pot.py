"""Both arms lift a pot by its handles, level enough that the balls in it stay in.

The staged reward is in the manner of the ALOHA simulation benchmark (Zhao et al., 2023): touched 1,
gripped 2, raised 3, lifted 4, held 5.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float

from regrasp.assets import SIDES
from regrasp.assets.objects import add_contact_sensor
from regrasp.envs.task import Initial, Task
from regrasp.envs.tasks.parts import (
    RESTING_M,
    TABLE_TOP_M,
    matrix,
    six,
    split,
    squeezed,
    tips,
    touched,
    upright,
)
from regrasp.envs.view import View, Watch
from regrasp.errors import InputError, check_positive, check_within

POT = (
    *("pot_bottom", "pot_left", "pot_right", "pot_front", "pot_back"),
    *("left_handle", "right_handle"),
)
"""The pot's geoms."""
RAISED_M = 0.01
"""A pot whose bottom is as high as this does not stand on the table."""
FACING = -0.9
"""Contact normals of two tips that squeeze a round handle have a cosine below this. A handle that lies in
the groove between two fingers, carried and not squeezed, reaches -0.7 before it falls through."""
GRIP_WIDTH_M = 0.045
"""Handles up to this thick go between the fingers with room to spare."""
BELOW_BRIM_M = 0.012
"""How far the upper edge of a handle lies below the brim."""
GAP_M = 0.003
"""Between balls, and between them and the walls, at the start: their sizes may differ a little."""
DROP_M = 0.0005
"""Balls start this far above the bottom, for the same reason."""
REACH_M = 0.3
"""The arms take hold of handles whose ends are this far from the workcell's middle, in x, or nearer."""
REACH_Y_M = (-0.15, 0.12)
"""The pot stands between these where the arms are to reach both of its handles."""
REACH_YAW_RAD = 0.6
"""A pot turned further has its handles in the other arm's way."""
MANY = 8
"""Balls; every one costs contacts."""
NEAR_M = 0.11
"""Handles whose ends are nearer to the pot's middle than this have no room for two hands."""
FINGER_M = 0.04
"""A shorter handle has no room for the fingers beside the wall."""
NARROW_M, WIDE_M = 0.03, 0.12
"""Half the width of a pot that arms and table have room for."""
HIGHEST_M = 0.2
"""The arms lift no pot higher than this."""
ROLLING_M = 0.0005
"""Rolling friction of a ball: a slope of this over its radius lets it start."""


class LiftPotCarry(NamedTuple):
    """For how long the pot has been held level at its height (s)."""

    held_s: Float[Array, ""]


@dataclass(frozen=True)
class LiftPot(Task):
    """Lift a pot with two hands and spill nothing.

    The pot's frame: at the middle of its bottom, x along the handles to the right arm, z up.
    """

    horizon_s: float = 8.0
    lift_m: float = 0.15
    """Success: all of the bottom this far above the table."""
    tilt_max_rad: float = np.pi / 18
    """Success: the pot leans by less than this."""
    hold_s: float = 0.5
    """Success: held so for this long."""
    balls: int = 3
    """Balls in the pot."""
    ball_radius_m: float = 0.014
    ball_mass_kg: float = 0.012
    """Mass of one ball: hard wood."""
    half_size_m: tuple[float, float] = (0.07, 0.06)
    """Half the outer length of the pot along the handles, and across."""
    height_m: float = 0.07
    """From the bottom to the brim."""
    wall_m: float = 0.006
    """Thickness of walls and bottom."""
    handle_m: float = 0.055
    """How far a handle sticks out."""
    handle_radius_m: float = 0.012
    mass_kg: float = 0.4
    """Mass of the empty pot."""
    start_x_m: tuple[float, float] = (-0.05, 0.05)
    """The middle of the pot starts between these, in x."""
    start_y_m: tuple[float, float] = (-0.07, 0.03)
    """The middle of the pot starts between these, in y."""
    start_yaw_rad: tuple[float, float] = (-0.4, 0.4)
    """The pot starts turned by an angle between these."""
    low_m: float = -0.1
    """Failure: the pot below this height (it fell off the table)."""

    seen: ClassVar = {
        "pot_pos": ("m", (3,)),
        "pot_rot": ("rot", (6,)),
        "balls_pos": ("m", (3,)),
    }

    def __post_init__(self):
        _check(self)

    @property
    def handle_height_m(self) -> float:
        """Of the handles' axes above the bottom."""
        return self.height_m - BELOW_BRIM_M - self.handle_radius_m

    @property
    def ring_m(self) -> tuple[float, float]:
        """The balls start on a circle of a radius between these."""
        room = min(self.half_size_m) - self.wall_m - self.ball_radius_m - GAP_M
        if self.balls == 1:
            return 0.0, room
        return (self.ball_radius_m + GAP_M / 2) / float(np.sin(np.pi / self.balls)), room

    @property
    def ball_names(self) -> tuple[str, ...]:
        return tuple(f"ball_{i}" for i in range(self.balls))

    def scene(self) -> mujoco.MjSpec:
        spec = self.workcell().spec()
        _add_pot(spec, self)
        for name in self.ball_names:
            _add_ball(spec, name, self)
        for side in SIDES:
            for tip in tips(side):
                add_contact_sensor(spec, f"{side}_handle-{tip}", f"{side}_handle", tip, normal=True)
        return spec

    def watch(self) -> Watch:
        return Watch(
            sites=tuple(f"{side}/gripper" for side in SIDES),
            bodies=("pot", *self.ball_names),
            sensors=tuple(f"{side}_handle-{tip}" for side in SIDES for tip in tips(side)),
        )

    def initial(self, key: Array) -> Initial:
        keys = jax.random.split(key, 5)
        ranges = (self.start_x_m, self.start_y_m, self.start_yaw_rad, (0.0, 2 * np.pi), self.ring_m)
        x, y, yaw, first, radius = (
            jax.random.uniform(k, (), jnp.float32, *r) for k, r in zip(keys, ranges, strict=True)
        )
        qpos = {"pot": upright(x, y, jnp.float32(RESTING_M), yaw)}
        z = jnp.float32(RESTING_M + self.wall_m + self.ball_radius_m + DROP_M)
        for i, name in enumerate(self.ball_names):
            angle = yaw + first + 2 * np.pi * i / self.balls
            across, along = radius * jnp.sin(angle), radius * jnp.cos(angle)
            qpos[name] = upright(x + along, y + across, z, yaw)
        return Initial(qpos, LiftPotCarry(jnp.float32(0)))

    def update(self, view: View, carry: LiftPotCarry) -> LiftPotCarry:
        return LiftPotCarry(jnp.where(self._lifted(view), carry.held_s + self.control_dt_s, 0.0))

    def observe(self, view: View, carry: LiftPotCarry) -> dict[str, Array]:
        arms, grippers = split(view.joint_pos)
        return {
            "joint_pos": arms,
            "gripper": grippers,
            "target": view.target,
            "pot_pos": view.body_pos["pot"],
            "pot_rot": six(matrix(view.body_quat["pot"])),
            # All balls are alike: their centre, in the pot's frame, says how the load lies.
            "balls_pos": self._balls(view).mean(axis=0),
        }

    def reward(self, view: View, carry: LiftPotCarry) -> dict[str, Array]:
        touch = [touched(view, f"{side}_handle", tips(side)) for side in SIDES]
        gripped = self._gripped(view)
        return {
            "touched": (touch[0] | touch[1]) * 1.0,
            "gripped": gripped * 1.0,
            "raised": (gripped & (self._clearance_m(view) >= RAISED_M)) * 1.0,
            "lifted": self._lifted(view) * 1.0,
            "held": self.success(view, carry) * 1.0,
        }

    def success(self, view: View, carry: LiftPotCarry) -> Bool[Array, ""]:
        return carry.held_s >= self.hold_s - 1e-4

    def failure(self, view: View, carry: LiftPotCarry) -> Bool[Array, ""]:
        # Beside the pot or under it; one that hops above the brim may still fall back.
        x, y, z = self._balls(view).T
        outside = (jnp.abs(x) > self.half_size_m[0]) | (jnp.abs(y) > self.half_size_m[1]) | (z < 0)
        return (view.body_pos["pot"][2] < self.low_m) | jnp.any(outside)

    def _lifted(self, view: View) -> Bool[Array, ""]:
        """Gripped by both handles, high enough, level, and all balls in it.

        What two closed grippers hold by the handles at that height stands on nothing else: table
        and arms are out of its bottom's reach.
        """
        level = matrix(view.body_quat["pot"])[2, 2] > np.cos(self.tilt_max_rad)
        high = self._clearance_m(view) >= max(self.lift_m, RAISED_M)
        return self._gripped(view) & level & high & self._filled(view)

    @staticmethod
    def _gripped(view: View) -> Bool[Array, ""]:
        """Whether each gripper squeezes its own handle."""
        left, right = (squeezed(view, f"{side}_handle", side, FACING) for side in SIDES)
        return left & right

    def _clearance_m(self, view: View) -> Float[Array, ""]:
        """Height of the lowest corner of the bottom above the table."""
        slope = matrix(view.body_quat["pot"])[2, :2]
        lower = jnp.abs(slope) @ jnp.array(self.half_size_m)
        return view.body_pos["pot"][2] - lower - TABLE_TOP_M

    def _filled(self, view: View) -> Bool[Array, ""]:
        """Whether all balls are between the walls, with their centres below the brim."""
        x, y, z = self._balls(view).T
        inside = (jnp.abs(x) < self.half_size_m[0]) & (jnp.abs(y) < self.half_size_m[1])
        return jnp.all(inside & (z > 0) & (z < self.height_m))

    def _balls(self, view: View) -> Float[Array, "balls 3"]:
        """Centres of the balls in the pot's frame (m)."""
        centres = jnp.stack([view.body_pos[name] for name in self.ball_names])
        return (centres - view.body_pos["pot"]) @ matrix(view.body_quat["pot"])


def _add_pot(spec: mujoco.MjSpec, task: LiftPot) -> None:
    """A box without a lid, with a bar at either end; its walls stand on its bottom."""
    (x, y), high, thick = task.half_size_m, task.height_m, task.wall_m
    body = spec.worldbody.add_body(name="pot", pos=(0, 0, TABLE_TOP_M))
    body.add_freejoint(name="pot")
    wall_z, wall_half = (high + thick) / 2, (high - thick) / 2
    boxes = {
        "pot_bottom": ((0, 0, thick / 2), (x, y, thick / 2)),
        "pot_left": ((thick / 2 - x, 0, wall_z), (thick / 2, y, wall_half)),
        "pot_right": ((x - thick / 2, 0, wall_z), (thick / 2, y, wall_half)),
        "pot_front": ((0, thick / 2 - y, wall_z), (x - thick, thick / 2, wall_half)),
        "pot_back": ((0, y - thick / 2, wall_z), (x - thick, thick / 2, wall_half)),
    }
    geoms = []
    for name, (pos, size) in boxes.items():
        geom = body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_BOX, pos=pos, size=size)
        geom.rgba = (0.23, 0.42, 0.56, 1)
        geoms.append(geom)
    radius, z = task.handle_radius_m, task.handle_height_m
    for side, sign in zip(SIDES, (-1, 1), strict=True):
        inner, outer = sign * x, sign * (x + task.handle_m - radius)
        geom = body.add_geom(name=f"{side}_handle", type=mujoco.mjtGeom.mjGEOM_CAPSULE)
        geom.fromto[:] = [inner, 0, z, outer, 0, z]
        geom.size[0] = radius
        geom.rgba = (0.12, 0.12, 0.13, 1)
        geoms.append(geom)
    for geom in geoms:
        geom.condim, geom.friction = 4, (0.8, 0.005, 0.0001)
    # Of one material: the mass goes by volume.
    volumes = [8 * float(np.prod(size)) for _, size in boxes.values()]
    length = task.handle_m - radius
    volumes += [np.pi * radius**2 * (length + 4 / 3 * radius)] * 2
    for geom, volume in zip(geoms, volumes, strict=True):
        geom.mass = task.mass_kg * volume / sum(volumes)


def _add_ball(spec: mujoco.MjSpec, name: str, task: LiftPot) -> None:
    """A free ball: body, joint and geom all have this name.

    Rolling friction brings it to rest (condim 6): a ball without would roll for ever on a level
    bottom, and damping its free joint would hold it back in the air too.
    """
    body = spec.worldbody.add_body(name=name, pos=(0, 0, task.wall_m + task.ball_radius_m))
    body.add_freejoint(name=name)
    geom = body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_SPHERE)
    geom.size[0] = task.ball_radius_m
    geom.mass = task.ball_mass_kg
    geom.rgba = (0.93, 0.58, 0.16, 1)
    geom.condim = 6
    geom.friction = (0.8, 0.005, ROLLING_M)


def _check(task: LiftPot) -> None:
    """Refuse a pot that cannot be built, filled, reached or lifted."""
    positive = ("horizon_s", "control_dt_s", "hold_s", "ball_radius_m", "ball_mass_kg", "mass_kg")
    check_positive(task, positive)
    check_within(task, ("lift_m",), RAISED_M, HIGHEST_M)
    check_within(task, ("tilt_max_rad",), 0.01, np.pi / 4)
    check_within(task, ("balls",), 1, MANY)
    check_within(task, ("wall_m",), 0.003, 0.02)
    check_within(task, ("handle_radius_m",), 0.008, GRIP_WIDTH_M / 2)
    check_within(task, ("handle_m",), FINGER_M, 0.1)
    check_within(task, ("height_m",), 2 * task.handle_radius_m + BELOW_BRIM_M, 0.12)
    (along, across), near, far = task.half_size_m, NEAR_M - task.handle_m, REACH_M - task.handle_m
    if not (near <= along <= far and NARROW_M <= across <= WIDE_M):
        raise InputError(
            f"half_size_m {task.half_size_m}: choose {near:g} to {far:g} along the handles, "
            f"{NARROW_M:g} to {WIDE_M:g} across"
        )
    low, high = task.ring_m
    if not (low <= high and task.wall_m + 2 * task.ball_radius_m <= task.height_m):
        raise InputError(
            f"balls {task.balls}, ball_radius_m {task.ball_radius_m}: they do not fit into the "
            f"pot side by side; choose fewer or smaller ones"
        )
    room_m = REACH_M - task.half_size_m[0] - task.handle_m
    check_within(task, ("start_x_m",), -room_m, room_m)
    check_within(task, ("start_y_m",), *REACH_Y_M)
    check_within(task, ("start_yaw_rad",), -REACH_YAW_RAD, REACH_YAW_RAD)
