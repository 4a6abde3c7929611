"""Both arms press a cable into two clips, one after the other.

The cable lies straight before the clips, which stand askew: between them it bends. It snaps in between
springy jaws. Staged reward, one for each: a stretch lifted, in the first clip, in both, left alone there.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from regrasp.assets import SIDES
from regrasp.assets.cable import Cable, Clip
from regrasp.envs.task import Initial, Task
from regrasp.envs.tasks.parts import TABLE_TOP_M, add_arm_sensors, split, untouched
from regrasp.envs.view import View, Watch
from regrasp.errors import InputError, check_positive, check_within

CABLE, CLIP, CLIPS = Cable(), Clip(), ("first", "second")
WIDEST_EDGE_M = 0.03
"""A cable of longer straight pieces would hardly bend between two hands and a clip."""
CLIPS_X_M, CLIPS_Y_M = 0.16, (-0.02, 0.1)
"""Clips stand within this of the middle in x, and between these in y: both hands get there."""
APART_M, SPARE_M = 0.12, 0.06
"""They are this far apart at least; beyond each, as much of the cable is left at least."""
SHOWN = 13
"""How many vertices are observed, however many there are."""


class RouteCableCarry(NamedTuple):
    """How the cable lies."""

    laid_m: Float[Array, "vertices 3"]
    """Where its vertices were when it came to rest, or are now if it is not at rest."""
    rest_s: Float[Array, ""]
    """For how long it has been in both clips, at rest and untouched (s)."""
    first: Bool[Array, ""]
    """It was in the first clip alone, at some time."""


@dataclass(frozen=True)
class RouteCable(Task):
    """Press a cable into two clips, the first one first.

    Success: for `rest_s`, the cable is past the lips of both clips, no vertex moves by more than `still_m`,
    both grippers keep `clear_m` away, and no arm touches anything. Failure: it is in the second clip without
    having been in the first alone, or hangs over the table's edge.
    """

    horizon_s: float = 20.0
    timestep_s: float = 0.004
    contact_time_s: float = 0.008

    cable: Cable = CABLE
    """What is routed."""
    clip: Clip = CLIP
    """What it is pressed into."""
    clips_m: tuple[tuple[float, float], tuple[float, float]] = ((-0.09, 0.0), (0.09, 0.03))
    """Where the first and the second clip stand, x and y."""

    start_x_m: tuple[float, float] = (-0.015, 0.015)
    """The cable's middle starts between these, in x."""
    start_y_m: tuple[float, float] = (-0.11, -0.08)
    """The cable's middle starts between these, in y."""
    start_yaw_rad: tuple[float, float] = (-0.08, 0.08)
    """The cable starts turned by an angle between these."""
    still_m: float = 0.003
    """At rest: no vertex has moved further than this."""
    clear_m: float = 0.04
    """Untouched: every gripper site is at least this far from every vertex, and no arm touches anything."""
    rest_s: float = 0.5
    """Success: in both clips, at rest and untouched for this long."""
    lifted_m: float = 0.03
    """Lifted: some of the cable is higher than this above the table."""

    seen: ClassVar = {"cable_pos": ("m", (3 * SHOWN,)), "clips_pos": ("m", (6,))}

    def __post_init__(self) -> None:
        check_positive(self, ("horizon_s", "still_m", "clear_m", "rest_s"))
        check_within(self, ("clear_m",), 0.0, 0.15)
        check_within(self.cable, ("length_m",), 0.36, 0.6)
        check_within(self, ("start_x_m",), -0.05, 0.05)
        check_within(self, ("start_y_m",), -0.15, -0.05)
        check_within(self, ("start_yaw_rad",), -0.3, 0.3)
        check_within(self, ("lifted_m",), 0.02, 0.2)
        for x, y in self.clips_m:
            if not (abs(x) <= CLIPS_X_M and CLIPS_Y_M[0] <= y <= CLIPS_Y_M[1]):
                low, high = CLIPS_Y_M
                raise InputError(
                    f"clips_m {self.clips_m}: clips stand at x from {-CLIPS_X_M} to {CLIPS_X_M} and y from "
                    f"{low} to {high}, between both hands and beside where the cable starts"
                )
        apart_m, most_m = math.dist(*self.clips_m), self.cable.length_m - 2 * SPARE_M
        if not APART_M <= apart_m <= most_m:
            raise InputError(
                f"clips_m {self.clips_m} are {apart_m:.3g} m apart: choose {APART_M} to {most_m:.3g} m, with "
                "room for a hand between them and cable left at both ends"
            )
        if self.cable.edge_m > WIDEST_EDGE_M:
            least = 1 + int(self.cable.length_m / WIDEST_EDGE_M + 1 - 1e-9)
            raise InputError(
                f"vertices {self.cable.vertices}: pieces of {self.cable.edge_m:.3g} m are too coarse to be "
                f"grasped and bent: choose at least {least}"
            )
        if self.cable.vertices % 2 == 0:
            raise InputError(
                f"vertices {self.cable.vertices}: choose an odd number, so that the cable has a middle"
            )
        if self.cable.radius_m != self.clip.for_m:
            raise InputError(
                f"radius_m {self.cable.radius_m}: the clips are for {self.clip.for_m}; choose the same"
            )

    def scene(self) -> mujoco.MjSpec:
        spec = self.workcell().spec()
        height_m = TABLE_TOP_M + self.cable.radius_m
        middle_m = (self.start_y_m[0] + self.start_y_m[1]) / 2
        dark, hard = (0.16, 0.17, 0.20, 1.0), self.contact_time_s
        self.cable.add(spec, "cable", (0.0, middle_m, height_m), dark, hard)
        for name, (x, y) in zip(CLIPS, self.clips_m, strict=True):
            colour = (0.85, 0.35, 0.2, 1.0) if name == "first" else (0.2, 0.45, 0.75, 1.0)
            self.clip.add(spec, name, (x, y, TABLE_TOP_M), colour, hard)
        add_arm_sensors(spec, self.workcell())
        return spec

    def watch(self) -> Watch:
        return Watch(
            sites=tuple(f"{side}/gripper" for side in SIDES),
            bodies=CLIPS,
            flexes=("cable",),
            sensors=tuple(s.name for s in self.scene().sensors),
        )

    def initial(self, key: Array) -> Initial:
        ranges = (self.start_x_m, self.start_y_m, self.start_yaw_rad)
        x, y, yaw = (
            jax.random.uniform(k, (), jnp.float32, *r)
            for k, r in zip(jax.random.split(key, 3), ranges, strict=True)
        )
        straight = jnp.asarray(self.cable.straight_m, jnp.float32)
        cos, sin = jnp.cos(yaw), jnp.sin(yaw)
        turn = jnp.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        middle_m = (self.start_y_m[0] + self.start_y_m[1]) / 2
        moved = straight @ turn + jnp.stack([x, y - middle_m, 0 * x]) - straight
        carry = RouteCableCarry(straight, jnp.float32(0), jnp.array(False))
        return Initial({"cable": moved.ravel()}, carry)

    def update(self, view: View, carry: RouteCableCarry) -> RouteCableCarry:
        cable = view.flex["cable"]
        moved_m = jnp.linalg.norm(cable - carry.laid_m, axis=1).max()
        first, second = self.seated(view)
        rest = first & second & self._clear(view) & (moved_m <= self.still_m)
        return RouteCableCarry(
            laid_m=jnp.where(rest, carry.laid_m, cable),
            rest_s=jnp.where(rest, carry.rest_s + self.control_dt_s, 0.0),
            first=carry.first | (first & ~second),
        )

    def observe(self, view: View, carry: RouteCableCarry) -> dict[str, Array]:
        arms, grippers = split(view.joint_pos)
        return {
            "joint_pos": arms,
            "gripper": grippers,
            "target": view.target,
            "cable_pos": jnp.ravel(view.flex["cable"][self._shown]),
            "clips_pos": jnp.concatenate([view.body_pos[name] for name in CLIPS]),
        }

    def reward(self, view: View, carry: RouteCableCarry) -> dict[str, Array]:
        first, second = self.seated(view)
        both = first & second & carry.first
        first = both | (first & ~second)
        lifted = first | (view.flex["cable"][:, 2].max() - TABLE_TOP_M > self.lifted_m)
        return {
            "lifted": lifted * 1.0,
            "first": first * 1.0,
            "both": both * 1.0,
            "placed": self.success(view, carry) * 1.0,
        }

    def metrics(self, view: View, carry: RouteCableCarry) -> dict[str, Float[Array, ""]]:
        first, second = self.seated(view)
        return {"clips": first * 1.0 + second * 1.0}

    def success(self, view: View, carry: RouteCableCarry) -> Bool[Array, ""]:
        return carry.first & (carry.rest_s >= self.rest_s - 1e-4)

    def failure(self, view: View, carry: RouteCableCarry) -> Bool[Array, ""]:
        beyond = jnp.abs(view.flex["cable"][:, :2]) > self.workcell().table_half_m
        return jnp.any(beyond) | (self._seated(view, CLIPS[1]) & ~carry.first)

    def seated(self, view: View) -> tuple[Bool[Array, ""], Bool[Array, ""]]:
        """Whether the cable lies in the first and in the second clip: some of it lies past the lips."""
        first, second = (self._seated(view, name) for name in CLIPS)
        return first, second

    def _seated(self, view: View, name: str) -> Bool[Array, ""]:
        points = view.flex["cable"] - view.body_pos[name]
        start, end = points[:-1], points[1:]
        crosses = (start[:, 0] <= 0) != (end[:, 0] <= 0)
        run = end[:, 0] - start[:, 0]
        share = -start[:, 0] / jnp.where(crosses, run, 1.0)
        through = start + share[:, None] * (end - start)
        between = jnp.abs(through[:, 1]) < self.clip.for_m
        return jnp.any(crosses & between & (through[:, 2] < self.clip.past_m))

    def _clear(self, view: View) -> Bool[Array, ""]:
        sites = jnp.stack([view.site_pos[f"{side}/gripper"] for side in SIDES])
        gaps = jnp.linalg.norm(view.flex["cable"][:, None] - sites, axis=-1)
        return (gaps.min() >= self.clear_m) & untouched(view)

    @property
    def _shown(self) -> Int[np.ndarray, "13"]:
        """Vertices that are observed, from end to end; of 25 every other one."""
        return np.linspace(0, self.cable.vertices - 1, SHOWN).round().astype(int)
