"""Cloth: a sheet of triangles with a thickness, which stretches, bends, and is held by friction alone."""

from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Float

from regrasp.assets.flexes import prepare, touch
from regrasp.errors import InputError, check_each_within, check_positive, check_within

STIFFEST = 3000.0
"""The largest stretching stiffness over a vertex's inertia in one timestep, E t dt^2 / m; see
`Cloth.check_timestep`."""


@dataclass(frozen=True)
class Cloth:
    """A rectangular sheet. Vertex (i, j) is the one in column i along x and row j along y.

    The engine gives every vertex the same mass: edges and corners are heavier than those of a cloth.
    """

    size_m: tuple[float, float] = (0.28, 0.28)
    """Edges along x and y."""
    vertices: tuple[int, int] = (9, 9)
    """How many along each edge."""
    mass_kg: float = 0.08
    radius_m: float = 0.004
    """Half of the thickness with which it collides."""
    young_pa: float = 3e5
    """Young's modulus."""
    poisson: float = 0.2
    """Poisson's ratio."""
    sheet_m: float = 0.0028
    """Thickness with which it stretches (proportional) and bends (its cube)."""
    damping_s: float = 0.02
    """Damping over stiffness."""
    friction: float = 1.0
    """Sliding friction, against everything that has no priority over it."""

    def __post_init__(self) -> None:
        check_positive(self, ("mass_kg", "young_pa", "sheet_m", "friction"))
        check_each_within(self, ("size_m",), 0.05, 1.0)
        check_within(self, ("radius_m",), 0.002, 0.006)
        check_within(self, ("poisson",), 0.0, 0.49)
        check_within(self, ("damping_s",), 0.0, 1.0)
        check_within(self, ("friction",), 0.05, 1.5)
        if min(self.vertices) < 2:
            raise InputError(f"vertices {self.vertices}: choose at least 2 along each edge")
        narrowest = min(self.cells_m)
        if narrowest < 3 * self.radius_m:
            raise InputError(
                f"vertices {self.vertices}: cells of {narrowest:.3g} m overlap at radius_m "
                f"{self.radius_m}: choose fewer, or a radius of at most {narrowest / 3:.3g}"
            )

    @property
    def cells_m(self) -> tuple[float, float]:
        """Edges of one cell of the mesh."""
        (width, length), (columns, rows) = self.size_m, self.vertices
        return width / (columns - 1), length / (rows - 1)

    @property
    def flat_m(self) -> Float[np.ndarray, "columns rows 3"]:
        """The vertices of the flat sheet about its middle."""
        (width, length), (columns, rows) = self.size_m, self.vertices
        x, y = np.linspace(-width, width, columns) / 2, np.linspace(-length, length, rows) / 2
        return np.stack([*np.meshgrid(x, y, indexing="ij"), np.zeros((columns, rows))], axis=-1)

    def check_timestep(self, timestep_s: float) -> None:
        """Refuse a sheet that is too stiff for its timestep.

        Raises:
            InputError: says the largest modulus that goes.
        """
        vertex_kg = self.mass_kg / (self.vertices[0] * self.vertices[1])
        most = STIFFEST * vertex_kg / (self.sheet_m * timestep_s**2)
        if self.young_pa > most:
            raise InputError(
                f"young_pa {self.young_pa:.3g}: the engine cannot hold it at timestep_s {timestep_s:.3g} "
                f"with vertices of {1000 * vertex_kg:.2g} g and sheet_m {self.sheet_m}: choose at most "
                f"{most:.3g}"
            )

    def add(
        self,
        spec: mujoco.MjSpec,
        name: str,
        height_m: float,
        rgba: tuple[float, float, float, float],
        contact_time_s: float | None = None,
    ) -> None:
        """Put it in a scene, flat, with its middle above the origin.

        The engine's integrator becomes the one that solves elasticity implicitly. The table must be there.

        Args:
            spec: the scene.
            name: of the flex; its vertices are the bodies `name_0`, `name_1`, ... column by column.
            height_m: of the sheet's middle plane.
            rgba: its colour.
            contact_time_s: time constant of its contacts (s); None: the shortest that the timestep allows.
        """
        self.check_timestep(spec.option.timestep)
        prepare(spec)
        root = spec.worldbody.add_body(name=name, pos=(0, 0, height_m))
        flex = root.make_flex(
            name,
            type="grid",
            dim=2,
            dof="full",
            count=[*self.vertices, 1],
            spacing=[*self.cells_m, 1.0],
            mass=self.mass_kg,
            radius=self.radius_m,
            elastic2d=3,  # It stretches and bends.
        )
        flex.young, flex.poisson = self.young_pa, self.poisson
        flex.thickness, flex.damping = self.sheet_m, self.damping_s
        touch(flex, self.friction, contact_time_s or 2 * spec.option.timestep)
        flex.rgba = rgba
