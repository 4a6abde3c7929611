"""Eight different things lie on the table, some of them touching; they go into a tray between the arms.

The tray is fixed to the table: that is cheaper than one more body with eight others in it, and nobody
can shove it under the things.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from regrasp.assets import SIDES
from regrasp.assets.things import THINGS, Thing, add_thing
from regrasp.envs.task import Initial, Task
from regrasp.envs.tasks.parts import RESTING_M, TABLE_TOP_M, matrix, six, split, upright
from regrasp.envs.view import View, Watch
from regrasp.errors import InputError, check_positive, check_within

WALL_M = 0.004
"""Thickness of the tray's walls."""
FLOOR_M = 0.003
"""Thickness of its floor."""
LEAN_RAD = 0.25
"""A thing that touches another lies beside it within this of the y axis."""
PRESS_M = 0.0002
"""How far things that touch overlap at the start."""
TRAY = ("tray_floor", "tray_left", "tray_right", "tray_front", "tray_back")
LINKS = ("upper_forearm_link", "wrist_link")
"""An arm's forearm runs straight from the first to the second, its hand from there to the gripper site."""


class TidyCarry(NamedTuple):
    """Since when everything has rested in the tray."""

    at: Float[Array, "things 3"]
    """Where the things were then (m)."""
    rest_s: Float[Array, ""]


@dataclass(frozen=True)
class Tidy(Task):
    """Put everything into the tray, with both arms."""

    horizon_s: float = 50.0
    contacts: int = 96
    objects: int = len(THINGS)
    """How many things, the first of the list; 1 to 8."""
    touching: int = 2
    """Pairs that touch at the start, at most; 0 to 4."""
    tray_half_m: tuple[float, float] = (0.105, 0.1485)
    """Half the inner edges of the tray in x and y: a sheet of A4 paper."""
    tray_y_m: float = -0.02
    """Where its middle lies in y; in x it is 0."""
    wall_m: float = 0.03
    """Height of its walls above the table."""
    start_x_m: tuple[float, float] = (0.11, 0.30)
    """Things start between these, as a whole, at the right of the tray and mirrored at its left."""
    start_y_m: tuple[float, float] = (-0.20, 0.16)
    """They start between these in y."""
    height_m: float = 0.04
    """In the tray: the thing's origin at most this high above the floor of the tray."""
    clear_m: float = 0.11
    """Out of hand: no forearm's and no hand's middle line nearer to the thing's origin than this."""
    lifted_m: float = 0.03
    """Lifted: this much higher than it rests on the table, and not further than `held_m` from a gripper."""
    held_m: float = 0.06
    """See there."""
    still_m: float = 0.002
    """At rest: nothing moves further than this."""
    hold_s: float = 0.5
    """Success: everything in the tray, out of hand and at rest for this long."""
    low_m: float = -0.1
    """Failure: something below this height (it fell off the table)."""

    seen: ClassVar = {
        "thing_pos": ("m", (3 * len(THINGS),)),
        "thing_rot": ("rot", (6 * len(THINGS),)),
        "placed": ("1", (len(THINGS),)),
    }
    alike: ClassVar = dict.fromkeys(seen, len(THINGS))

    def __post_init__(self) -> None:
        check_within(self, ["objects"], 1, len(THINGS))
        check_within(self, ["touching"], 0, len(THINGS) // 2)
        check_within(self, ["tray_y_m"], -0.06, 0.04)
        check_within(self, ["wall_m"], 0.01, 0.06)
        check_within(self, ["start_x_m"], 0.0, 0.31)
        check_within(self, ["start_y_m"], -0.21, 0.19)
        check_positive(self, ["height_m", "clear_m", "lifted_m", "held_m", "still_m", "hold_s"])
        for half, low, high in zip(self.tray_half_m, (0.08, 0.12), (0.15, 0.17), strict=True):
            if not low <= half <= high:
                raise InputError(
                    f"tray_half_m {self.tray_half_m}: choose 0.08 to 0.15 in x and 0.12 to 0.17 in y"
                )
        inner, outer = self.start_x_m
        if inner < self.tray_half_m[0] + WALL_M:
            raise InputError(
                f"start_x_m {self.start_x_m}: begin outside of the tray, "
                f"at {self.tray_half_m[0] + WALL_M:g} or more"
            )
        need_x, need_y = _needed_m()
        if outer - inner < need_x or self.start_y_m[1] - self.start_y_m[0] < need_y:
            raise InputError(
                f"start_x_m {self.start_x_m} and start_y_m {self.start_y_m}: {len(THINGS)} things "
                f"need {need_x:.3f} m in x and {need_y:.3f} m in y"
            )

    @property
    def things(self) -> tuple[Thing, ...]:
        """Those that there are."""
        return THINGS[: self.objects]

    @property
    def floor_m(self) -> float:
        """Height of the tray's floor in the world frame."""
        return TABLE_TOP_M + FLOOR_M

    def scene(self) -> mujoco.MjSpec:
        spec = self.workcell().spec()
        (x, y), wall = self.tray_half_m, WALL_M / 2
        rise = self.wall_m / 2
        boxes = (
            ((0, 0, FLOOR_M / 2), (x + WALL_M, y + WALL_M, FLOOR_M / 2)),
            ((-x - wall, 0, rise), (wall, y + WALL_M, rise)),
            ((x + wall, 0, rise), (wall, y + WALL_M, rise)),
            ((0, -y - wall, rise), (x, wall, rise)),
            ((0, y + wall, rise), (x, wall, rise)),
        )
        origin = np.array([0, self.tray_y_m, TABLE_TOP_M])
        for name, (pos, half) in zip(TRAY, boxes, strict=True):
            geom = spec.worldbody.add_geom(
                name=name, type=mujoco.mjtGeom.mjGEOM_BOX, pos=origin + pos, size=half
            )
            geom.rgba, geom.friction = (0.32, 0.38, 0.46, 1), (0.6, 0.005, 0.0001)
        for thing in self.things:
            add_thing(spec, thing)
        return spec

    def watch(self) -> Watch:
        links = [f"{side}/{link}" for side in SIDES for link in LINKS]
        return Watch(
            sites=tuple(f"{side}/gripper" for side in SIDES),
            bodies=(*(thing.name for thing in self.things), *links),
        )

    def initial(self, key: Array) -> Initial:
        keys = jax.random.split(key, 4)
        # What is not there is placed too, last, and left out.
        order = jax.random.permutation(keys[0], self.objects)
        pairs = jnp.append(order, jnp.arange(self.objects, len(THINGS))).reshape(-1, 2)
        # Two strips on either side of the tray; the first ones hold the pairs that touch.
        right = jnp.array([0, 1]) ^ jax.random.bernoulli(keys[1]).astype(int)
        outer = jax.random.bernoulli(keys[2], shape=(2,)).astype(int)
        strips = jnp.stack([jnp.tile(right, 2), jnp.append(outer, 1 - outer)], axis=1)
        touch = jnp.arange(len(pairs)) < min(self.touching, self.objects // 2)
        placed = jax.vmap(self._strip)(jax.random.split(keys[3], len(pairs)), pairs, strips, touch)
        poses = jnp.zeros((len(THINGS), 3)).at[pairs].set(placed)[: self.objects]
        rest = RESTING_M + jnp.array([thing.rest_m for thing in self.things], jnp.float32)
        free = jax.vmap(upright)(poses[:, 0], poses[:, 1], rest, poses[:, 2])
        qpos = {thing.name: free[i] for i, thing in enumerate(self.things)}
        return Initial(qpos, TidyCarry(free[:, :3], jnp.float32(0)))

    def _strip(
        self, key: Array, pair: Int[Array, "2"], strip: Int[Array, "2"], touch: Bool[Array, ""]
    ) -> Float[Array, "2 3"]:
        """Where two things lie in a strip along y: x, y (m) and yaw (rad).

        Each has its own half of the strip, or they touch, somewhere in it.
        """
        right, outer = strip
        width = (self.start_x_m[1] - self.start_x_m[0]) / 2
        length = self.start_y_m[1] - self.start_y_m[0]
        u = jax.random.uniform(key, (8,), jnp.float32)
        yaw, lean = 2 * np.pi * u[:2], LEAN_RAD * (2 * u[2] - 1)
        reach = jnp.array([thing.reach_m for thing in THINGS])[pair][:, None]
        # Apart: each about the middle of its half, as far off as there is room.
        own = jnp.array([width, length / 2]) - 2 * reach
        apart = jnp.array([[0, -length / 4], [0, length / 4]]) + (u[3:7].reshape(2, 2) - 0.5) * own
        # Touching: about their common middle, and moved together.
        way = jnp.stack([-jnp.sin(lean), jnp.cos(lean)])
        between = jnp.stack([-way, way]) * (touching_distance(pair, yaw, way) - PRESS_M) / 2
        low, high = jnp.min(between - reach, axis=0), jnp.max(between + reach, axis=0)
        common = jnp.maximum(jnp.array([width, length]) - (high - low), 0)
        together = between - (low + high) / 2 + (u[3:5] - 0.5) * common
        middle_x = self.start_x_m[0] + (0.5 + outer) * width
        middle = jnp.stack([jnp.where(right, middle_x, -middle_x), sum(self.start_y_m) / 2])
        at = middle + jnp.where(touch, together, apart)
        return jnp.concatenate([at, yaw[:, None]], axis=1)

    def update(self, view: View, carry: TidyCarry) -> TidyCarry:
        at = self._positions(view)
        still = jnp.all(jnp.linalg.norm(at - carry.at, axis=1) <= self.still_m)
        resting = still & jnp.all(self.placed(view))
        return TidyCarry(
            jnp.where(resting, carry.at, at),
            jnp.where(resting, carry.rest_s + self.control_dt_s, 0.0),
        )

    def placed(self, view: View) -> Bool[Array, " things"]:
        """Which things are in the tray and out of hand."""
        at = self._positions(view)
        away = jnp.ones(self.objects, bool)
        for side in SIDES:
            elbow, wrist = (view.body_pos[f"{side}/{link}"] for link in LINKS)
            for start, end in ((elbow, wrist), (wrist, view.site_pos[f"{side}/gripper"])):
                away &= _distance(at, start, end) >= self.clear_m
        return self._inside(view) & away

    def observe(self, view: View, carry: TidyCarry) -> dict[str, Array]:
        """What is not there is seen as lying placed at the origin."""
        arms, grippers = split(view.joint_pos)
        absent = len(THINGS) - self.objects
        quats = jnp.stack([view.body_quat[thing.name] for thing in self.things])
        symmetries = jnp.asarray(_SYMMETRIES[: self.objects])
        turns = jnp.array([thing.turns for thing in self.things])
        rotations = jax.vmap(canonical)(jax.vmap(matrix)(quats), symmetries, turns)
        nothing = jnp.tile(six(jnp.eye(3)), absent)
        return {
            "joint_pos": arms,
            "gripper": grippers,
            "target": view.target,
            "thing_pos": jnp.pad(self._positions(view).ravel(), (0, 3 * absent)),
            "thing_rot": jnp.append(jax.vmap(six)(rotations).ravel(), nothing),
            "placed": jnp.pad(self.placed(view) * 1.0, (0, absent), constant_values=1.0),
        }

    def reward(self, view: View, carry: TidyCarry) -> dict[str, Array]:
        """What is taken up and put down on each side is the doing of the arm that stands there."""
        right = self._positions(view)[:, 0] > 0
        up, down = self._inside(view) | self._lifted(view), self.placed(view)
        sides = {"left": ~right, "right": right}
        return {
            **{f"lifted_{side}": jnp.sum((up & here) * 1.0) for side, here in sides.items()},
            **{f"placed_{side}": jnp.sum((down & here) * 1.0) for side, here in sides.items()},
            "tidy": self.success(view, carry) * 1.0,
        }

    def metrics(self, view: View, carry: TidyCarry) -> dict[str, Array]:
        """The share of the things that are in the tray."""
        return {"placed": jnp.mean(self.placed(view) * 1.0)}

    def success(self, view: View, carry: TidyCarry) -> Bool[Array, ""]:
        return carry.rest_s >= self.hold_s - 1e-4

    def failure(self, view: View, carry: TidyCarry) -> Bool[Array, ""]:
        return jnp.any(self._positions(view)[:, 2] < self.low_m)

    def _inside(self, view: View) -> Bool[Array, " things"]:
        """Which things are in the tray, in a hand or not."""
        at = self._positions(view)
        from_middle = jnp.abs(at[:, :2] - jnp.array([0, self.tray_y_m]))
        low = (at[:, 2] > TABLE_TOP_M) & (at[:, 2] <= self.floor_m + self.height_m)
        return jnp.all(from_middle <= jnp.array(self.tray_half_m), axis=1) & low

    def _lifted(self, view: View) -> Bool[Array, " things"]:
        """Which things are up in a hand."""
        at = self._positions(view)
        rest = TABLE_TOP_M + jnp.array([thing.rest_m for thing in self.things])
        hands = jnp.stack([view.site_pos[f"{side}/gripper"] for side in SIDES])
        near = jnp.linalg.norm(at[:, None] - hands, axis=2) <= self.held_m
        return (at[:, 2] > rest + self.lifted_m) & near.any(axis=1)

    def _positions(self, view: View) -> Float[Array, "things 3"]:
        return jnp.stack([view.body_pos[thing.name] for thing in self.things])


def canonical(
    rotation: Float[Array, "3 3"], symmetries: Float[Array, "n 3 3"], turns: Int[Array, ""]
) -> Float[Array, "3 3"]:
    """The rotation nearest to the identity among those after which a thing looks the same.

    For `turns` see `Thing`; about its x axis a thing is turned by the best angle.
    """
    candidates = rotation @ symmetries
    x, y, z = (candidates[:, :, i] for i in range(3))
    cos, sin = y[:, 1] + z[:, 2], z[:, 1] - y[:, 2]
    size = jnp.maximum(jnp.hypot(cos, sin), 1e-9)
    cos, sin = (
        jnp.where(turns == 1, v / size, still)[:, None] for v, still in ((cos, 1), (sin, 0))
    )
    candidates = jnp.stack([x, cos * y + sin * z, cos * z - sin * y], axis=2)
    nearest = candidates[jnp.argmax(jnp.trace(candidates, axis1=1, axis2=2))]
    return jnp.where(turns == 2, jnp.eye(3), nearest)


def touching_distance(
    pair: Int[Array, "2"], yaw: Float[Array, "2"], way: Float[Array, "2"]
) -> Float[Array, ""]:
    """How far apart (m) two things must stand on a table, one from the other along `way`, just to touch.

    Convex shapes A at the origin and B at t * way overlap where, for every direction n,
    t n.way <= h_A(n) + h_B(-n), with h the support functions. Of the directions we take the sides of the
    shapes, at many elevations, and enough others for what is round.
    """
    half, radius, pos, there = (jnp.asarray(a)[pair] for a in _PARTS)
    rest = jnp.array([thing.rest_m for thing in THINGS])[pair]
    # Directions: (n, 3).
    azimuth = jnp.concatenate(
        [jnp.linspace(0, 2 * np.pi, 64, endpoint=False)]
        + [y + jnp.arange(4) * np.pi / 2 for y in (yaw[0], yaw[1])]
    )
    elevation = jnp.linspace(-np.pi / 3, np.pi / 3, 13)
    a, e = (g.ravel() for g in jnp.meshgrid(azimuth, elevation))
    n = jnp.stack([jnp.cos(a) * jnp.cos(e), jnp.sin(a) * jnp.cos(e), jnp.sin(e)], axis=1)

    def support(i: int, n: Float[Array, "n 3"]) -> Float[Array, "parts n"]:
        c, s = jnp.cos(yaw[i]), jnp.sin(yaw[i])
        turned = jnp.stack([c * n[:, 0] + s * n[:, 1], c * n[:, 1] - s * n[:, 0], n[:, 2]])
        centre = pos[i] + jnp.array([0, 0, 1]) * rest[i]
        return centre @ turned + half[i] @ jnp.abs(turned) + radius[i][:, None]

    reach = support(0, n)[:, None] + support(1, -n)[None]  # first parts, second parts, n
    along = n[:, :2] @ way
    bound = reach / jnp.where(jnp.abs(along) < 1e-3, 1e-3, along)
    high = jnp.min(jnp.where(along > 1e-3, bound, jnp.inf), axis=-1)
    low = jnp.max(jnp.where(along < -1e-3, bound, -jnp.inf), axis=-1)
    meets = (high > low) & there[0][:, None] & there[1][None]
    return jnp.max(jnp.where(meets, high, 0.0))


def _padded(
    things: tuple[Thing, ...],
) -> tuple[tuple[np.ndarray, ...], Float[np.ndarray, "things n 3 3"]]:
    """Of all things, as many each: parts (half, radius, pos, whether it is there) and symmetries."""
    most = max(len(thing.parts) for thing in things)
    half, pos = np.zeros((2, len(things), most, 3), np.float32)
    radius = np.zeros((len(things), most), np.float32)
    there = np.zeros((len(things), most), bool)
    alike = np.tile(np.eye(3, dtype=np.float32), (len(things), max(map(_ways, things)), 1, 1))
    for i, thing in enumerate(things):
        alike[i, : _ways(thing)] = thing.symmetries
        for j, part in enumerate(thing.parts):
            half[i, j], radius[i, j], pos[i, j] = part
            there[i, j] = True
    return (half, radius, pos, there), alike


def _ways(thing: Thing) -> int:
    return len(thing.symmetries)


_PARTS, _SYMMETRIES = _padded(THINGS)


def _needed_m() -> tuple[float, float]:
    """Room that the strips of things need on one side: two widths in x, two things in y."""
    reach = max(thing.reach_m for thing in THINGS)
    return 2 * (2 * reach + 2 * reach * np.sin(LEAN_RAD)), 4 * reach


def _distance(
    points: Float[Array, "n 3"], start: Float[Array, "3"], end: Float[Array, "3"]
) -> Float[Array, " n"]:
    """From points to a line segment."""
    way = end - start
    share = jnp.clip((points - start) @ way / (way @ way + 1e-12), 0, 1)
    return jnp.linalg.norm(points - start - share[:, None] * way, axis=1)
