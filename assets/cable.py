"""A cable that bends and twists, and clips that it is pressed into; only friction holds it in a hand."""

import math
from dataclasses import dataclass
from itertools import pairwise

import mujoco
import numpy as np
from jaxtyping import Float

from regrasp.assets.flexes import prepare, touch
from regrasp.errors import InputError, check_within

HARDEST_IMPEDANCE = (0.999, 0.9999, 0.001, 0.5, 2.0)
"""Of the equality that keeps the length of edges: softer, a finger squeezes one to nothing, and it bursts. Of
what a clip touches: softer, a cable of light vertices sinks into its wires instead of parting them."""
FOOT_M, SEAT_M = 0.006, 0.006
"""Height of a clip's foot, and of the round floor above it."""
JAWS = {"near": -1, "far": 1}
"""The jaws of a clip, by the sign of their y."""


@dataclass(frozen=True)
class Cable:
    """A straight elastic rod of round section, which passes through itself.

    At its usual mass and a contact time of 8 ms it stretches by 1.5 % under 10 N, whatever its modulus; its
    material would by 2.1 %.
    """

    length_m: float = 0.48
    vertices: int = 25
    """Along its length, the ends included."""
    mass_kg: float = 0.045
    radius_m: float = 0.005
    """Half of the thickness with which it collides, bends (its fourth power) and twists."""
    young_pa: float = 6e6
    """Young's modulus. A rubber-sheathed cable is softer than its rubber: strands slide."""
    poisson: float = 0.4
    """Poisson's ratio."""
    damping_s: float = 0.02
    """Damping over stiffness."""
    friction: float = 0.6
    """Sliding friction, against everything that has no priority over it."""
    rolling_nms: float = 5e-3
    """Drag of the whole cable against spinning about its axis (N m s/rad). A real one, never quite straight
    nor round, does not roll off a table that is not quite level; in place of rolling friction at every
    contact, it creeps at 0.05 mm/s down a slope of 0.02 rad."""

    def __post_init__(self) -> None:
        check_within(self, ("mass_kg",), 0.001, 1.0)
        check_within(self, ("young_pa",), 1e4, 3e11)
        check_within(self, ("rolling_nms",), 0.0, 1.0)
        check_within(self, ("length_m",), 0.1, 2.0)
        check_within(self, ("radius_m",), 0.002, 0.01)
        check_within(self, ("poisson",), 0.0, 0.49)
        check_within(self, ("damping_s",), 0.0, 1.0)
        check_within(self, ("friction",), 0.05, 1.5)
        if self.vertices < 3:
            raise InputError(f"vertices {self.vertices}: choose at least 3")
        if self.edge_m < 2 * self.radius_m:
            most = 1 + int(self.length_m / (2 * self.radius_m))
            raise InputError(
                f"vertices {self.vertices}: pieces of {self.edge_m:.3g} m are shorter than the cable is "
                f"thick, {2 * self.radius_m:.3g} m: choose at most {most}"
            )

    @property
    def edge_m(self) -> float:
        """Distance between neighbouring vertices."""
        return self.length_m / (self.vertices - 1)

    @property
    def straight_m(self) -> Float[np.ndarray, "vertices 3"]:
        """The vertices of the straight cable along x, about its middle."""
        along = np.linspace(-self.length_m, self.length_m, self.vertices) / 2
        return np.stack([along, 0 * along, 0 * along], axis=1)

    def add(
        self,
        spec: mujoco.MjSpec,
        name: str,
        pos: tuple[float, float, float],
        rgba: tuple[float, float, float, float],
        contact_time_s: float | None = None,
    ) -> None:
        """Put it in a scene, straight along x.

        The engine's integrator becomes the one that solves elasticity implicitly. The table must be there.

        Args:
            spec: the scene.
            name: of the flex.
            pos: of its middle (m).
            rgba: its colour.
            contact_time_s: time constant of its contacts (s); None: the shortest that the timestep allows.
        """
        contact_time_s = contact_time_s or 2 * spec.option.timestep
        prepare(spec)
        edges = self.vertices - 1
        flex = spec.worldbody.add_body(name=name, pos=pos).make_flex(
            name,
            type="grid",
            dim=1,
            dof="full",
            count=[self.vertices, 1, 1],
            spacing=[self.edge_m, 1.0, 1.0],
            mass=self.mass_kg,
            radius=self.radius_m,
            equality=1,  # It hardly stretches.
        )
        flex.young, flex.poisson, flex.damping = self.young_pa, self.poisson, self.damping_s
        touch(flex, self.friction, contact_time_s)
        flex.selfcollide = mujoco.mjtFlexSelf.mjFLEXSELF_NONE
        flex.rgba = rgba
        edge = next(eq for eq in spec.equalities if eq.name1 == name)
        edge.solref, edge.solimp = (contact_time_s, 1.0), HARDEST_IMPEDANCE
        # How far each edge is twisted: hinges that the engine finds by their names.
        spin = self.mass_kg / edges * self.radius_m**2 / 2
        for number in [*map(str, range(edges - 1)), ""]:
            twist = f"{name}_twist_{number}".rstrip("_")
            body = spec.worldbody.add_body(name=twist, mass=1e-9, explicitinertial=True)
            body.inertia = (spin, spin, spin)
            hinge = body.add_joint(name=twist, axis=(1, 0, 0))
            hinge.damping[0] = self.rolling_nms / edges


@dataclass(frozen=True)
class Clip:
    """Two springy jaws of bent wire on a foot: a cable pressed down between them snaps in."""

    seat_m: float = 0.019
    """Height of the axis of a seated cable above the table."""
    for_m: float = 0.005
    """Radius of the cable that it is for."""
    wire_m: float = 0.002
    """Radius of the wire."""
    snap_m: float = 0.001
    """By how much a cable pushes either lip aside as it goes in."""
    spring_nm: float = 2.0
    """Stiffness of a jaw about its foot (N m/rad). By its statics 3.3 N press a cable in, 4.4 pull it out."""
    friction: float = 0.15
    """Sliding friction of wire and foot, whatever the cable's: polished steel. Rough wire would hold a cable
    half-way between the lips."""
    flare_m: float = 0.008
    """How far the jaws lead outwards above their lips, to either side."""

    def __post_init__(self) -> None:
        check_within(self, ("for_m",), 0.002, 0.01)
        check_within(self, ("wire_m",), 0.001, 0.004)
        check_within(self, ("snap_m",), 1e-4, 0.3 * self.for_m)
        check_within(self, ("seat_m",), self.for_m + SEAT_M + FOOT_M, 0.06)
        check_within(self, ("spring_nm",), 0.05, 20.0)
        check_within(self, ("friction",), 0.01, 0.2)
        check_within(self, ("flare_m",), 0.002, 0.02)

    @property
    def lip_m(self) -> float:
        """Height of the lips above the table."""
        return self.seat_m + self.for_m + 0.001

    @property
    def past_m(self) -> float:
        """Height above the table below which a cable counts as past the lips.

        Half a millimetre above where it would touch them as points. The wires below lean inwards and push it
        further down, since their friction is less than their slope of a third.
        """
        apart_m = self.for_m + self.wire_m
        return self.lip_m - math.sqrt(apart_m**2 - (apart_m - self.snap_m) ** 2) + 5e-4

    @property
    def jaw_yz_m(self) -> Float[np.ndarray, "4 2"]:
        """Foot, belly, lip and end of the far jaw's wire: y and z from the clip's middle on the table.

        It bends about the foot, under the cable: pushed outwards its lip sinks, so that a cable that comes
        down parts the jaws more easily than one that comes up.
        """
        belly = (self.for_m + self.wire_m + 0.002, self.seat_m - 0.003)
        lip = self.for_m + self.wire_m - self.snap_m
        end = (lip + self.flare_m, self.lip_m + self.flare_m)
        return np.array([(0.0, FOOT_M), belly, (lip, self.lip_m), end])

    def geoms(self, name: str) -> tuple[str, ...]:
        """What the cable touches of the clip of this name."""
        wires = (f"{name}_{side}_{part}" for side in JAWS for part in range(3))
        return f"{name}_foot", f"{name}_seat", *wires

    def add(
        self,
        spec: mujoco.MjSpec,
        name: str,
        pos: tuple[float, float, float],
        rgba: tuple[float, float, float, float],
        contact_time_s: float | None = None,
    ) -> None:
        """Put it in a scene, for a cable along x.

        Args:
            spec: the scene.
            name: of the foot; the jaws are the bodies `name_near` and `name_far`, by their y.
            pos: of its middle on the table (m).
            rgba: the colour of the foot.
            contact_time_s: time constant of its contacts (s); None: the shortest that the timestep allows.
        """
        contact_time_s = contact_time_s or 2 * spec.option.timestep
        prepare(spec)
        foot = spec.worldbody.add_body(name=name, pos=pos)
        wide, floor_m = self.for_m + 0.003, self.seat_m - self.for_m - SEAT_M / 2
        base = foot.add_geom(name=f"{name}_foot", type=mujoco.mjtGeom.mjGEOM_BOX, rgba=rgba)
        base.pos, base.size = (0, 0, FOOT_M / 2), (0.012, wide + 0.006, FOOT_M / 2)
        self._finish(base, contact_time_s)
        # The floor is round, so that a cable touches it at one point.
        seat = foot.add_geom(name=f"{name}_seat", rgba=rgba)
        _wire(seat, (0.0, -wide, floor_m), (0.0, wide, floor_m), SEAT_M / 2)
        self._finish(seat, contact_time_s)
        for side, sign in JAWS.items():
            jaw = foot.add_body(name=f"{name}_{side}", pos=(0, 0, FOOT_M))
            hinge = jaw.add_joint(name=f"{name}_{side}", axis=(1, 0, 0))
            hinge.stiffness[0], hinge.damping[0], hinge.armature = self.spring_nm, 1e-3, 2e-6
            # They grow out of one foot; the contacts inside would jam them, or trip them over for good.
            spec.add_exclude(bodyname1=name, bodyname2=f"{name}_{side}")
            points = [(0.0, float(sign * y), float(z - FOOT_M)) for y, z in self.jaw_yz_m]
            for part, (start, end) in enumerate(pairwise(points)):
                geom = jaw.add_geom(name=f"{name}_{side}_{part}", rgba=(0.75, 0.76, 0.78, 1))
                _wire(geom, start, end, self.wire_m)
                self._finish(geom, contact_time_s)
        spec.add_exclude(bodyname1=f"{name}_near", bodyname2=f"{name}_far")

    def _finish(self, geom: mujoco.MjsGeom, contact_time_s: float) -> None:
        touch(geom, self.friction, contact_time_s)
        geom.priority, geom.solimp = 1, HARDEST_IMPEDANCE


def _wire(
    geom: mujoco.MjsGeom,
    start: tuple[float, float, float],
    end: tuple[float, float, float],
    radius_m: float,
) -> None:
    geom.type = mujoco.mjtGeom.mjGEOM_CAPSULE
    geom.fromto = (*start, *end)
    geom.size = (radius_m, 0, 0)
