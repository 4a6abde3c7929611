"""The right arm picks up a bar and passes it in the air to the left arm, which puts it down at a goal.

Staged reward, one for each: touched by the right gripper, lifted, held by both in the air, held by the left
one alone, set down at the goal, lying there untouched.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from regrasp.assets import SIDES, Workcell
from regrasp.assets.objects import add_contact_sensor
from regrasp.envs.task import Initial, Task
from regrasp.envs.tasks.parts import (
    BAR_SYMMETRIES,
    RESTING_M,
    TABLE_TOP_M,
    fingers,
    hand,
    matrix,
    nearest_symmetric,
    six,
    split,
    squeezed,
    tips,
    touched,
    upright,
)
from regrasp.envs.view import View, Watch
from regrasp.errors import check_positive, check_within

WAITING, LIFTED, SHARED, PASSED, SET_DOWN = range(5)
"""Stages of a hand-over: see `HandOver.update`."""
_FLAT = np.cos(0.05)
"""A bar lies flat if a side of it faces up this much: within 3 degrees."""
SPARE_M = 0.02
"""How far beyond the other arm's reach the bar starts, and the goal lies."""


def watched(cell: Workcell, side: str) -> tuple[str, ...]:
    """Geoms whose contacts with the bar are watched.

    All of the left hand, which may not lie on the bar in the end; of the right one, which cannot get more
    than a finger tip to the goal, what it holds with.
    """
    return hand(cell, side) if side == "left" else fingers(cell, side)


class HandOverCarry(NamedTuple):
    """What has happened to the bar."""

    stage: Int[Array, ""]
    alone_s: Float[Array, ""]
    """For how long the left gripper has held the bar alone in the air (s)."""
    rest_s: Float[Array, ""]
    """For how long the bar has lain at the goal, at rest and untouched (s)."""


@dataclass(frozen=True)
class HandOver(Task):
    """Pass a bar from the right gripper to the left one, and put it down at a goal.

    The bar starts beside the right arm, where the left one cannot reach it; the goal is beside the left arm,
    out of reach of the right one. Success: both grippers have held the bar in the air together, then the left
    one alone; the left one has let it down onto the table; for `rest_s` it lies there flat, with its centre
    within `goal_radius_m` of the goal, slower than `still_m_s` and `still_rad_s`, untouched by any hand.
    Dropped, thrown or set down on the way, it has to be passed again.
    """

    horizon_s: float = 14.0
    bar_length_m: float = 0.12
    bar_width_m: float = 0.03
    """Width and height of the bar."""
    mass_kg: float = 0.07
    """Mass of the bar."""
    start_x_m: tuple[float, float] = (0.37, 0.47)
    """The bar's centre starts between these, in x."""
    start_y_m: tuple[float, float] = (-0.30, -0.23)
    """The bar's centre starts between these, in y."""
    start_yaw_rad: tuple[float, float] = (0.8, 1.8)
    """The bar starts turned by an angle between these; at about 1.3 it points at the arm."""
    goal_x_m: tuple[float, float] = (-0.47, -0.37)
    """The goal lies between these, in x."""
    goal_y_m: tuple[float, float] = (-0.30, -0.23)
    """The goal lies between these, in y."""
    goal_radius_m: float = 0.02
    """Success: the bar's centre is at most this far from the goal, horizontally."""
    aloft_m: float = 0.01
    """In the air: the lowest corner is higher than this above the table."""
    pass_s: float = 0.1
    """Passed: held by the left gripper alone, in the air, for this long."""
    rest_s: float = 0.4
    """Success: at rest, at the goal and untouched for this long."""
    still_m_s: float = 0.02
    """At rest: slower than this."""
    still_rad_s: float = 0.2
    """At rest: turning slower than this."""
    low_m: float = -0.1
    """Failure: the bar below this height (it fell off the table)."""

    seen: ClassVar = {
        "bar_pos": ("m", (3,)),
        "bar_rot": ("rot", (6,)),
        "goal_pos": ("m", (2,)),
    }

    def __post_init__(self) -> None:
        above_zero = ("horizon_s", "mass_kg", "goal_radius_m", "pass_s", "rest_s")
        check_positive(self, (*above_zero, "still_m_s", "still_rad_s"))
        # A hand takes each end, between fingers that need some room beside it.
        cell = self.workcell()
        check_within(self, ("bar_length_m",), 0.1, 0.14)
        check_within(self, ("bar_width_m",), 0.02, cell.arm.hand.opens_m - 0.013)
        check_within(self, ("aloft_m",), 0.002, 0.05)
        # The whole bar on the table, in front of the base, and beyond the other arm's reach.
        half_x, half_y = cell.table_half_m
        front = cell.stand_m[1] - self.bar_length_m - 0.06
        check_within(self, ("start_y_m", "goal_y_m"), self.bar_length_m / 2 - half_y - 1e-9, front)
        for name, ys, sign in (("start", self.start_y_m, 1), ("goal", self.goal_y_m, -1)):
            beside = cell.stand_m[1] - max(ys)
            first = np.sqrt((cell.reach_m + SPARE_M) ** 2 - beside**2) - cell.stand_m[0]
            ends = sorted((sign * first, sign * (half_x - self.bar_length_m)))
            check_within(self, (f"{name}_x_m",), *ends)
        check_within(self, ("start_yaw_rad",), 0.7, 1.9)

    def scene(self) -> mujoco.MjSpec:
        spec = self.workcell().spec()
        body = spec.worldbody.add_body(name="bar", pos=(0, 0, self.bar_width_m / 2))
        body.add_freejoint(name="bar")
        geom = body.add_geom(name="bar", type=mujoco.mjtGeom.mjGEOM_BOX, size=self.half_size_m)
        geom.mass = self.mass_kg
        geom.rgba = (0.16, 0.42, 0.62, 1.0)
        geom.condim = 4
        geom.friction = (0.8, 0.005, 0.0001)
        self._add_goal(spec)
        for side in SIDES:
            for part in watched(self.workcell(), side):
                add_contact_sensor(spec, f"bar-{part}", "bar", part, normal=part in tips(side))
        for name, kind in (
            ("bar_velocity", mujoco.mjtSensor.mjSENS_FRAMELINVEL),
            ("bar_turning", mujoco.mjtSensor.mjSENS_FRAMEANGVEL),
        ):
            spec.add_sensor(name=name, type=kind, objtype=mujoco.mjtObj.mjOBJ_BODY, objname="bar")
        return spec

    def watch(self) -> Watch:
        sensors = [s.name for s in self.scene().sensors]
        return Watch(
            sites=tuple(f"{side}/gripper" for side in SIDES),
            bodies=("bar", "goal"),
            sensors=tuple(sensors),
        )

    def initial(self, key: Array) -> Initial:
        keys = jax.random.split(key, 5)
        ranges = (
            *(self.start_x_m, self.start_y_m, self.start_yaw_rad),
            *(self.goal_x_m, self.goal_y_m),
        )
        x, y, yaw, *goal = (
            jax.random.uniform(k, (), jnp.float32, *r) for k, r in zip(keys, ranges, strict=True)
        )
        z = jnp.float32(RESTING_M + self.bar_width_m / 2)
        zero = jnp.float32(0)
        return Initial(
            {"bar": upright(x, y, z, yaw), "goal_x": goal[0][None], "goal_y": goal[1][None]},
            HandOverCarry(jnp.int32(WAITING), zero, zero),
        )

    def update(self, view: View, carry: HandOverCarry) -> HandOverCarry:
        """Each stage follows the one before it; what breaks the hand-over sends it back."""
        left, right = (squeezed(view, "bar", side) for side in SIDES)
        cell = self.workcell()
        by_left, by_right = (touched(view, "bar", watched(cell, side)) for side in SIDES)
        aloft, stage = self._aloft(view), carry.stage
        alone_s = jnp.where(aloft & left & ~by_right, carry.alone_s + self.control_dt_s, 0.0)
        # Before it has been passed the bar may not come down; afterwards it may, in the left hand and without
        # help from the right one.
        on_the_way = ~aloft | ~(by_left | by_right)
        afterwards = jnp.where(aloft, ~by_left, by_right | ((stage == PASSED) & ~by_left))
        changes = (
            (jnp.where(stage < PASSED, on_the_way, afterwards), WAITING),
            ((stage == WAITING) & right, LIFTED),
            ((stage == LIFTED) & right & left, SHARED),
            ((stage == SHARED) & ~by_left, LIFTED),
            ((stage == SHARED) & (alone_s >= self.pass_s - 1e-4), PASSED),
            ((stage >= PASSED) & by_right, SHARED),
            ((stage == PASSED) & ~aloft & left, SET_DOWN),
            ((stage == SET_DOWN) & aloft, PASSED),
        )
        stage = jnp.select([c for c, _ in changes], [jnp.int32(s) for _, s in changes], stage)
        rest = (stage == SET_DOWN) & ~by_left & self._at_goal(view) & self._at_rest(view)
        return HandOverCarry(
            stage=stage,
            alone_s=alone_s,
            rest_s=jnp.where(rest & ~by_right, carry.rest_s + self.control_dt_s, 0.0),
        )

    def observe(self, view: View, carry: HandOverCarry) -> dict[str, Array]:
        arms, grippers = split(view.joint_pos)
        return {
            "joint_pos": arms,
            "gripper": grippers,
            "target": view.target,
            "bar_pos": view.body_pos["bar"],
            "bar_rot": six(nearest_symmetric(matrix(view.body_quat["bar"]), BAR_SYMMETRIES)),
            "goal_pos": view.body_pos["goal"][:2],
        }

    def reward(self, view: View, carry: HandOverCarry) -> dict[str, Array]:
        stage = carry.stage
        reached = (stage == SET_DOWN) & self._at_goal(view)
        return {
            "touched": ((stage >= LIFTED) | touched(view, "bar", tips("right"))) * 1.0,
            "lifted": (stage >= LIFTED) * 1.0,
            "shared": (stage >= SHARED) * 1.0,
            "passed": (stage >= PASSED) * 1.0,
            "set_down": reached * 1.0,
            "placed": self.success(view, carry) * 1.0,
        }

    def success(self, view: View, carry: HandOverCarry) -> Bool[Array, ""]:
        return carry.rest_s >= self.rest_s - 1e-4

    def failure(self, view: View, carry: HandOverCarry) -> Bool[Array, ""]:
        return view.body_pos["bar"][2] < self.low_m

    @property
    def half_size_m(self) -> Float[np.ndarray, "3"]:
        """Half the edges of the bar; its axis is x."""
        return np.array([self.bar_length_m, self.bar_width_m, self.bar_width_m]) / 2

    def _add_goal(self, spec: mujoco.MjSpec) -> None:
        """A disc on two slides, so that the goal belongs to the state; nothing touches or moves it."""
        body = spec.worldbody.add_body(name="goal", pos=(0, 0, TABLE_TOP_M), gravcomp=1)
        for name, axis in (("goal_x", (1, 0, 0)), ("goal_y", (0, 1, 0))):
            body.add_joint(name=name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis)
        disc = body.add_geom(name="goal", type=mujoco.mjtGeom.mjGEOM_CYLINDER)
        disc.size = (self.goal_radius_m, 0.001, 0)
        disc.mass = 0.01
        disc.rgba = (0.20, 0.62, 0.35, 1.0)
        disc.contype, disc.conaffinity = 0, 0

    def _aloft(self, view: View) -> Bool[Array, ""]:
        """Whether the bar is in the air, by its lowest corner: needs no contact sensor."""
        hangs_m = jnp.abs(matrix(view.body_quat["bar"])[2]) @ self.half_size_m.astype(np.float32)
        return view.body_pos["bar"][2] - hangs_m > TABLE_TOP_M + self.aloft_m

    @staticmethod
    def _miss_m(view: View) -> Float[Array, ""]:
        """Horizontal distance between the bar's centre and the goal."""
        return jnp.linalg.norm((view.body_pos["bar"] - view.body_pos["goal"])[:2])

    def _at_goal(self, view: View) -> Bool[Array, ""]:
        return self._miss_m(view) <= self.goal_radius_m

    def _at_rest(self, view: View) -> Bool[Array, ""]:
        """Whether the bar lies still and flat, on one of its long sides."""
        up = matrix(view.body_quat["bar"])[2]
        still = jnp.sum(view.sensor["bar_velocity"] ** 2) < self.still_m_s**2
        still &= jnp.sum(view.sensor["bar_turning"] ** 2) < self.still_rad_s**2
        return still & (jnp.max(jnp.abs(up[1:])) > _FLAT) & ~self._aloft(view)
