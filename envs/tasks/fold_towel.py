"""Both arms fold a towel in two, edge to edge.

The towel comes down to the table from the height of a rod, which then lies under its near edge and leaves
room for a finger beneath. It is a cloth that only friction holds. Staged reward, one for each: an edge
lifted, brought over the other half, folded, lying there untouched.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float

from regrasp.assets import SIDES
from regrasp.assets.cloth import Cloth
from regrasp.envs.task import Initial, Task
from regrasp.envs.tasks.parts import TABLE_TOP_M, add_arm_sensors, split, untouched
from regrasp.envs.view import View, Watch
from regrasp.errors import InputError, check_each_within, check_positive, check_within

WIDEST_CELL_M = 0.04
"""A finger tip is 18 mm wide: of cells wider than two of them it may find no vertex to hold."""
TOWEL = Cloth(friction=0.6)
"""A thick towel, 1 kg/m2; finger tips have a friction of their own."""
ANGLES = 30
"""In how many directions the towel's outline is measured."""


class FoldTowelCarry(NamedTuple):
    """How the towel lies."""

    laid_m: Float[Array, "vertices 3"]
    """Where its vertices were when it came to rest, or are now if it is not at rest."""
    rest_s: Float[Array, ""]
    """For how long it has lain folded, at rest and untouched (s)."""


@dataclass(frozen=True)
class FoldTowel(Task):
    """Fold a towel: its near edge onto its far edge, or the other way round.

    Success: for `rest_s`, every vertex of one edge lies within `edge_m` of its partner at the opposite edge;
    the smallest rectangle around the towel is at most `footprint` of what it was; nothing of it is higher
    than `flat_m`; no vertex moves by more than `still_m`; both grippers keep `clear_m` away, and no arm
    touches anything.
    """

    horizon_s: float = 14.0
    timestep_s: float = 0.004
    contact_time_s: float = 0.008

    towel: Cloth = TOWEL
    """What is folded."""
    rod_m: float = 0.017
    """Radius of the rod."""
    over_m: float = 0.034
    """How far the towel's near edge lies beyond the rod's axis, in the middle of the starts."""

    beyond_m: float = 0.03
    """How far the rod goes beyond the towel's sides; below 0: so far its ends stay within."""

    middle_y_m: float = 0.0
    """Where the towel's middle lies in y, in the middle of the starts."""
    start_x_m: tuple[float, float] = (-0.015, 0.015)
    """The towel's middle starts between these, in x."""
    start_y_m: tuple[float, float] = (-0.006, 0.006)
    """It starts off `middle_y_m` by between these."""
    start_yaw_rad: tuple[float, float] = (-0.05, 0.05)
    """The towel starts turned by an angle between these."""
    edge_m: float = 0.04
    """Success: the edges are no further apart than this, anywhere along them."""
    footprint: float = 0.62
    """Success: share of the flat towel's area that a rectangle around it covers at most."""
    flat_m: float = 0.03
    """Success: nothing of the towel is higher than this above the table; the bend of thick cloth alone stands
    21 to 30 mm high."""
    still_m: float = 0.005
    """At rest: no vertex has moved further than this."""
    clear_m: float = 0.06
    """Untouched: every gripper site is at least this far from every vertex, and no arm touches anything."""
    rest_s: float = 1.0
    """Success: folded, at rest and untouched for this long."""
    lifted_m: float = 0.06
    """Lifted: both corners of an edge are higher than this above the table."""

    seen: ClassVar = {"towel_pos": ("m", (27,))}

    def __post_init__(self) -> None:
        above_zero = ("horizon_s", "edge_m", "flat_m", "still_m", "clear_m", "rest_s")
        check_positive(self, above_zero)
        check_within(self, ("clear_m",), 0.0, 0.15)
        check_within(self, ("flat_m",), 4 * self.towel.radius_m + 0.005, 0.1)
        check_each_within(self.towel, ("size_m",), 0.18, 0.36)
        check_within(self, ("footprint",), 0.5, 0.9)
        check_within(self, ("rod_m",), 0.012, 0.03)
        check_within(self, ("over_m",), 0.02, 0.05)
        check_within(self, ("beyond_m",), -0.08, 0.05)
        check_within(self, ("middle_y_m",), -0.1, 0.15)
        check_within(self, ("start_x_m", "start_y_m"), -0.05, 0.05)
        check_within(self, ("start_yaw_rad",), -0.2, 0.2)
        check_within(self, ("lifted_m",), 0.03, 0.2)
        widest = max(self.towel.cells_m)
        if widest > WIDEST_CELL_M:
            least = 1 + int(np.ceil(max(self.towel.size_m) / WIDEST_CELL_M - 1e-9))
            raise InputError(
                f"vertices {self.towel.vertices}: cells of {widest:.3g} m are too coarse to be "
                f"grasped by their edge: choose at least {least} along each edge"
            )
        if self.towel.vertices[0] % 2 == 0 or self.towel.vertices[1] % 2 == 0:
            raise InputError(
                f"vertices {self.towel.vertices}: choose odd numbers, so that edges have middles"
            )
        self.towel.check_timestep(self.timestep_s)

    def scene(self) -> mujoco.MjSpec:
        spec = self.workcell().spec()
        height_m = TABLE_TOP_M + 2 * self.rod_m + self.towel.radius_m
        self.towel.add(spec, "towel", height_m, (0.80, 0.30, 0.28, 1.0), self.contact_time_s)
        rod = spec.worldbody.add_geom(name="rod", type=mujoco.mjtGeom.mjGEOM_CAPSULE)
        end = self.towel.size_m[0] / 2 + self.beyond_m
        y = self.middle_y_m + self.over_m - self.towel.size_m[1] / 2
        rod.fromto = (-end, y, TABLE_TOP_M + self.rod_m, end, y, TABLE_TOP_M + self.rod_m)
        rod.size = (self.rod_m, 0, 0)
        rod.friction = (0.6, 0.005, 0.0001)
        rod.rgba = (0.45, 0.32, 0.20, 1.0)
        add_arm_sensors(spec, self.workcell())
        return spec

    def watch(self) -> Watch:
        return Watch(
            sites=tuple(f"{side}/gripper" for side in SIDES),
            flexes=("towel",),
            sensors=tuple(s.name for s in self.scene().sensors),
        )

    def initial(self, key: Array) -> Initial:
        ranges = (self.start_x_m, self.start_y_m, self.start_yaw_rad)
        x, y, yaw = (
            jax.random.uniform(k, (), jnp.float32, *r)
            for k, r in zip(jax.random.split(key, 3), ranges, strict=True)
        )
        flat = jnp.asarray(self.towel.flat_m.reshape(-1, 3), jnp.float32)
        cos, sin = jnp.cos(yaw), jnp.sin(yaw)
        turn = jnp.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        moved = flat @ turn + jnp.stack([x, self.middle_y_m + y, 0 * x]) - flat
        return Initial({"towel": moved.ravel()}, FoldTowelCarry(flat, jnp.float32(0)))

    def update(self, view: View, carry: FoldTowelCarry) -> FoldTowelCarry:
        towel = view.flex["towel"]
        moved_m = jnp.linalg.norm(towel - carry.laid_m, axis=1).max()
        rest = self._folded(view) & self._clear(view) & (moved_m <= self.still_m)
        return FoldTowelCarry(
            laid_m=jnp.where(rest, carry.laid_m, towel),
            rest_s=jnp.where(rest, carry.rest_s + self.control_dt_s, 0.0),
        )

    def observe(self, view: View, carry: FoldTowelCarry) -> dict[str, Array]:
        arms, grippers = split(view.joint_pos)
        return {
            "joint_pos": arms,
            "gripper": grippers,
            "target": view.target,
            "towel_pos": jnp.ravel(self.landmarks(view)),
        }

    def reward(self, view: View, carry: FoldTowelCarry) -> dict[str, Array]:
        folded = self._folded(view)
        over = folded | (self._apart_m(view) < self.towel.size_m[1] / 2)
        lifted = over | self._lifted(view)
        return {
            "lifted": lifted * 1.0,
            "over": over * 1.0,
            "folded": folded * 1.0,
            "placed": self.success(view, carry) * 1.0,
        }

    def metrics(self, view: View, carry: FoldTowelCarry) -> dict[str, Float[Array, ""]]:
        return {
            "apart_m": self._apart_m(view),
            "footprint": self._footprint(view),
            "height_m": self._height_m(view),
        }

    def success(self, view: View, carry: FoldTowelCarry) -> Bool[Array, ""]:
        return carry.rest_s >= self.rest_s - 1e-4

    def failure(self, view: View, carry: FoldTowelCarry) -> Bool[Array, ""]:
        """Some of it is beyond the table's edge."""
        beyond = jnp.abs(view.flex["towel"][:, :2]) > self.workcell().table_half_m
        return jnp.any(beyond)

    def landmarks(self, view: View) -> Float[Array | np.ndarray, "3 3 3"]:
        """Corners, middles of the edges and the middle: along x, along y, coordinates (m)."""
        grid = self._grid(view)
        columns, rows = (np.array([0, n // 2, n - 1]) for n in self.towel.vertices)
        return grid[columns[:, None], rows[None]]

    def _grid(self, view: View) -> Any:
        return view.flex["towel"].reshape(*self.towel.vertices, 3)

    def _apart_m(self, view: View) -> Float[Array, ""]:
        """The largest horizontal distance between partners at the near and the far edge."""
        grid = self._grid(view)
        return jnp.linalg.norm((grid[:, 0] - grid[:, -1])[:, :2], axis=1).max()

    def _height_m(self, view: View) -> Float[Array, ""]:
        """How high above the table the top of the towel is."""
        return view.flex["towel"][:, 2].max() + self.towel.radius_m - TABLE_TOP_M

    def _footprint(self, view: View) -> Float[Array, ""]:
        """Area of the smallest rectangle around the towel, over that of the flat towel."""
        angles = np.arange(ANGLES) * np.pi / 2 / ANGLES
        axes = np.array([[np.cos(angles), np.sin(angles)], [-np.sin(angles), np.cos(angles)]])
        along = jnp.einsum("vc,dca->dav", view.flex["towel"][:, :2], axes.astype(np.float32))
        spans = along.max(axis=-1) - along.min(axis=-1)
        return (spans[0] * spans[1]).min() / (self.towel.size_m[0] * self.towel.size_m[1])

    def _folded(self, view: View) -> Bool[Array, ""]:
        return (
            (self._apart_m(view) <= self.edge_m)
            & (self._footprint(view) <= self.footprint)
            & (self._height_m(view) <= self.flat_m)
        )

    def _lifted(self, view: View) -> Bool[Array, ""]:
        heights = self._grid(view)[np.array([0, -1])][:, np.array([0, -1]), 2] - TABLE_TOP_M
        return (heights.min(axis=0) > self.lifted_m).any()

    def _clear(self, view: View) -> Bool[Array, ""]:
        sites = jnp.stack([view.site_pos[f"{side}/gripper"] for side in SIDES])
        gaps = jnp.linalg.norm(view.flex["towel"][:, None] - sites, axis=-1)
        return (gaps.min() >= self.clear_m) & untouched(view)
