"""The right arm picks up a peg, the left arm a socket, and the peg goes into the socket in the air.

The staged reward is that of the ALOHA simulation benchmark (Zhao et al., 2023): both touched 1, both held
in the air 2, the peg touches the socket 3, the peg touches the pin inside the socket 4.
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
    BAR_SYMMETRIES,
    BOX_SYMMETRIES,
    OPPOSITE,
    RESTING_M,
    TABLE_TOP_M,
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
from regrasp.errors import InputError, check_positive, check_within

WALLS = ("socket_top", "socket_bottom", "socket_left", "socket_right")
PIN_RADIUS_M = 0.005
FRICTION = (0.3, 0.005, 0.0001)
"""Smooth plastic on itself. Rubber tips rule their own friction."""
_PROUD_M = 0.001
"""The side walls stand out by this much, so that a finger tip meets one wall and not the edges of three."""
_GRASP_M = 0.05
"""Widest object that goes between the finger tips with room to spare."""


class PegInsertionCarry(NamedTuple):
    """What has happened so far."""

    met: Bool[Array, ""]
    """Both have been held in the air, apart, and neither has been down since."""
    inserted_s: Float[Array, ""]
    """For how long the peg has touched the pin (s)."""


@dataclass(frozen=True)
class PegInsertion(Task):
    """Insert a square peg into a square channel, both in the air.

    The channel is open at both ends, with a pin halfway: either end of the peg goes into either end of the
    socket. Success: the peg, held by the right gripper, touches the pin of the socket, held by the left one,
    both in the air for `hold_s`; and both have been there apart before. A peg put in on the table does not
    count.
    """

    horizon_s: float = 12.0
    timestep_s: float = 0.005
    """Longer steps, with softer contacts, lose one insertion in forty."""
    contact_time_s: float = 0.01
    clearance_m: float = 0.005
    """Inner width of the channel minus width of the peg: the sum of the gaps on both sides."""
    peg_length_m: float = 0.12
    peg_width_m: float = 0.02
    """Width and height of the peg."""
    socket_length_m: float = 0.10
    wall_m: float = 0.006
    """Thickness of the socket's walls."""
    peg_mass_kg: float = 0.04
    socket_mass_kg: float = 0.06
    peg_x_m: tuple[float, float] = (0.10, 0.20)
    """The peg's centre starts between these, in x."""
    peg_y_m: tuple[float, float] = (-0.12, 0.08)
    """The peg's centre starts between these, in y."""
    socket_x_m: tuple[float, float] = (-0.20, -0.10)
    """The socket's centre starts between these, in x."""
    socket_y_m: tuple[float, float] = (-0.12, 0.08)
    """The socket's centre starts between these, in y."""
    start_yaw_rad: tuple[float, float] = (-0.5, 0.5)
    """Each starts turned by an angle between these; at 0 its axis points from arm to arm."""
    lift_m: float = 0.02
    """In the air: the lowest corner is higher than this above the table."""
    hold_s: float = 0.2
    """Success: the pin is touched for this long."""
    low_m: float = -0.1
    """Failure: peg or socket below this height (it fell off the table)."""

    seen: ClassVar = {
        "peg_pos": ("m", (3,)),
        "peg_rot": ("rot", (6,)),
        "socket_pos": ("m", (3,)),
        "socket_rot": ("rot", (6,)),
    }

    def __post_init__(self) -> None:
        check_positive(self, ("peg_mass_kg", "socket_mass_kg", "horizon_s", "hold_s", "lift_m"))
        check_within(self, ("clearance_m",), 0.0005, 0.018)
        check_within(self, ("peg_width_m",), 0.012, 0.03)
        check_within(self, ("wall_m",), 0.005, 0.01)
        check_within(self, ("peg_length_m", "socket_length_m"), 0.08, 0.16)
        check_within(self, ("start_yaw_rad",), -0.6, 0.6)
        check_within(self, ("peg_y_m", "socket_y_m"), -0.14, 0.10)
        check_within(self, ("peg_x_m",), self.peg_length_m / 2 + 0.02, 0.21)
        check_within(self, ("socket_x_m",), -0.21, -self.socket_length_m / 2 - 0.02)
        width = 2 * self.socket_half_size_m[1]
        if width > _GRASP_M:
            raise InputError(
                f"clearance_m {self.clearance_m}: the socket is {width:.3f} m wide; choose peg_width_m, "
                f"clearance_m and wall_m for at most {_GRASP_M} m, which a gripper takes"
            )

    @property
    def channel_m(self) -> float:
        """Inner width of the channel."""
        return self.peg_width_m + self.clearance_m

    @property
    def peg_half_size_m(self) -> Float[np.ndarray, "3"]:
        """Half the peg's size; its axis is x."""
        return np.array([self.peg_length_m, self.peg_width_m, self.peg_width_m]) / 2

    @property
    def socket_half_size_m(self) -> Float[np.ndarray, "3"]:
        """Half the socket's outer size; its axis is x, and it rests on the side towards -z."""
        outer = self.channel_m + 2 * self.wall_m
        return np.array([self.socket_length_m, outer + 2 * _PROUD_M, outer]) / 2

    def scene(self) -> mujoco.MjSpec:
        spec = self.workcell().spec()
        self._add_peg(spec)
        self._add_socket(spec)
        for tip in tips("right"):
            add_contact_sensor(spec, f"peg-{tip}", "peg", tip, normal=True)
        for wall in WALLS:
            for tip in tips("left"):
                add_contact_sensor(spec, f"{wall}-{tip}", wall, tip, normal=True)
        for geom in ("pin", *WALLS):
            add_contact_sensor(spec, f"peg-{geom}", "peg", geom)
        return spec

    def watch(self) -> Watch:
        return Watch(
            sites=tuple(f"{side}/gripper" for side in SIDES),
            bodies=("peg", "socket"),
            sensors=tuple(s.name for s in self.scene().sensors),
        )

    def initial(self, key: Array) -> Initial:
        ranges = (self.peg_x_m, self.peg_y_m, self.start_yaw_rad)
        ranges += (self.socket_x_m, self.socket_y_m, self.start_yaw_rad)
        low, high = np.array(ranges, np.float32).T
        x, y, yaw, x2, y2, yaw2 = jax.random.uniform(key, (6,), jnp.float32, low, high)
        z, z2 = (jnp.float32(RESTING_M + half) for half in self._resting_m)
        start = {"peg": upright(x, y, z, yaw), "socket": upright(x2, y2, z2, yaw2)}
        return Initial(start, PegInsertionCarry(jnp.bool_(False), jnp.float32(0)))

    def update(self, view: View, carry: PegInsertionCarry) -> PegInsertionCarry:
        held = self._held(view)
        met = self._in_the_air(view) & (carry.met | (held & ~self._entered(view)))
        inserted = held & met & touched(view, "peg", ("pin",))
        return PegInsertionCarry(met, jnp.where(inserted, carry.inserted_s + self.control_dt_s, 0))

    def observe(self, view: View, carry: PegInsertionCarry) -> dict[str, Array]:
        arms, grippers = split(view.joint_pos)
        peg, socket = (matrix(view.body_quat[body]) for body in ("peg", "socket"))
        return {
            "joint_pos": arms,
            "gripper": grippers,
            "target": view.target,
            "peg_pos": view.body_pos["peg"],
            "peg_rot": six(nearest_symmetric(peg, BAR_SYMMETRIES)),
            "socket_pos": view.body_pos["socket"],
            "socket_rot": six(nearest_symmetric(socket, BOX_SYMMETRIES)),
        }

    def reward(self, view: View, carry: PegInsertionCarry) -> dict[str, Array]:
        peg = touched(view, "peg", tips("right"))
        socket = jnp.any(jnp.stack([touched(view, wall, tips("left")) for wall in WALLS]))
        held = self._held(view)
        return {
            "touched": (peg & socket) * 1.0,
            "held": held * 1.0,
            "met": (held & touched(view, "peg", ("pin", *WALLS))) * 1.0,
            "inserted": self.success(view, carry) * 1.0,
        }

    def success(self, view: View, carry: PegInsertionCarry) -> Bool[Array, ""]:
        return carry.inserted_s >= self.hold_s - 1e-4

    def failure(self, view: View, carry: PegInsertionCarry) -> Bool[Array, ""]:
        heights = [view.body_pos[body][2] for body in ("peg", "socket")]
        return jnp.min(jnp.stack(heights)) < self.low_m

    @property
    def _resting_m(self) -> tuple[float, float]:
        """Heights of the centres of peg and socket above what they rest on."""
        return float(self.peg_half_size_m[2]), float(self.socket_half_size_m[2])

    def _held(self, view: View) -> Bool[Array, ""]:
        """The peg between the right tips, the socket between the left ones, both in the air."""
        on_walls = [
            jnp.stack([view.sensor[f"{wall}-{tip}"] for wall in WALLS]) for tip in tips("left")
        ]
        found = (on_walls[0][:, :1] > 0) & (on_walls[1][:, 0] > 0)
        facing = on_walls[0][:, 1:] @ on_walls[1][:, 1:].T < OPPOSITE
        return squeezed(view, "peg", "right") & jnp.any(found & facing) & self._in_the_air(view)

    def _in_the_air(self, view: View) -> Bool[Array, ""]:
        """Whether the lowest corners of both are clear of the table."""
        sizes = {"peg": self.peg_half_size_m, "socket": self.socket_half_size_m}
        lowest = [
            view.body_pos[body][2] - jnp.abs(matrix(view.body_quat[body])[2]) @ half_size
            for body, half_size in sizes.items()
        ]
        return jnp.min(jnp.stack(lowest)) > TABLE_TOP_M + self.lift_m

    def _entered(self, view: View) -> Bool[Array, ""]:
        """Whether an end of the peg is inside the channel."""
        along = matrix(view.body_quat["peg"])[:, 0] * self.peg_length_m / 2
        centre = view.body_pos["peg"] - view.body_pos["socket"]
        ends = jnp.stack([centre + along, centre - along]) @ matrix(view.body_quat["socket"])
        room = np.array([self.socket_length_m, self.channel_m, self.channel_m]) / 2
        return jnp.any(jnp.all(jnp.abs(ends) < room, axis=1))

    def _add_peg(self, spec: mujoco.MjSpec) -> None:
        body = spec.worldbody.add_body(name="peg", pos=(0, 0, self._resting_m[0]))
        body.add_freejoint(name="peg")
        geom = body.add_geom(
            name="peg", type=mujoco.mjtGeom.mjGEOM_BOX, size=self.peg_half_size_m, friction=FRICTION
        )
        geom.mass, geom.rgba = self.peg_mass_kg, (0.86, 0.18, 0.14, 1)
        # The second bit is for the pin.
        geom.contype = 3

    def _add_socket(self, spec: mujoco.MjSpec) -> None:
        body = spec.worldbody.add_body(name="socket", pos=(0, 0, self._resting_m[1]))
        body.add_freejoint(name="socket")
        half, inner = self.socket_half_size_m, self.channel_m / 2
        side, flat = (half[1] - inner) / 2, self.wall_m / 2
        boxes = {
            "socket_top": ((0, 0, inner + flat), (half[0], inner + self.wall_m, flat)),
            "socket_bottom": ((0, 0, -inner - flat), (half[0], inner + self.wall_m, flat)),
            "socket_left": ((0, -inner - side, 0), (half[0], side, inner)),
            "socket_right": ((0, inner + side, 0), (half[0], side, inner)),
        }
        for name, (pos, size) in boxes.items():
            geom = body.add_geom(
                name=name, type=mujoco.mjtGeom.mjGEOM_BOX, pos=pos, size=size, friction=FRICTION
            )
            geom.mass, geom.rgba = self.socket_mass_kg / len(boxes), (0.16, 0.38, 0.66, 1)
        # Nothing but the peg meets the pin; a bar through the walls carries it, for looks.
        pin = body.add_geom(
            name="pin",
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            size=(PIN_RADIUS_M, 0, 0),
            friction=FRICTION,
        )
        pin.mass, pin.rgba, pin.contype, pin.conaffinity = 0, (0.9, 0.75, 0.2, 1), 0, 2
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            fromto=(0, -half[1] - 0.0005, 0, 0, half[1] + 0.0005, 0),
            size=(0.003, 0, 0),
            mass=0,
            rgba=(0.9, 0.75, 0.2, 1),
            contype=0,
            conaffinity=0,
            group=2,
        )
