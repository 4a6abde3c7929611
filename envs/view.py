"""What a task sees of one simulation."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float, Float32

from regrasp.assets import Workcell


class View(NamedTuple):
    """One simulation as a task sees it: float32, world frame, m, rad, s.

    The arrays are those that the task's `Watch` names.
    """

    joint_pos: Float[Array, " action"]
    """Commanded joints in action order (rad); grippers as normalised opening."""
    joint_vel: Float[Array, " action"]
    """Their velocities (rad/s; openings 1/s)."""
    target: Float[Array, " action"]
    """The last command sent, in action units; it need not have arrived."""
    site_pos: dict[str, Float[Array, "3"]]
    body_pos: dict[str, Float[Array, "3"]]
    body_quat: dict[str, Float[Array, "4"]]
    """Orientation as a unit quaternion, w first."""
    sensor: dict[str, Float[Array, " _"]]
    flex: dict[str, Float[Array, "_ 3"]] = {}  # noqa: RUF012
    """Where the vertices of cloths, cables and other flexes are, in the order of the model."""


@dataclass(frozen=True)
class Watch:
    """The sites, bodies, sensors and flexes that a task's functions look at, by name."""

    sites: tuple[str, ...] = ()
    bodies: tuple[str, ...] = ()
    sensors: tuple[str, ...] = ()
    flexes: tuple[str, ...] = ()


class Window:
    """Gathers watched engine arrays into a float32 block per simulation; makes Views of blocks.

    One block means one transfer to JAX per step.
    """

    def __init__(self, model: mujoco.MjModel, workcell: Workcell, watch: Watch):
        joints = [model.joint(name) for name in workcell.action_names]
        self._watch = watch
        self._gripper_columns = list(workcell.gripper_columns)
        self._closed = workcell.arm.position(0.0)
        self._travel = workcell.arm.position(1.0) - self._closed
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._qvel = np.array([joint.dofadr[0] for joint in joints])
        self._sites = np.array([model.site(name).id for name in watch.sites], int)
        self._bodies = np.array([model.body(name).id for name in watch.bodies], int)
        sensors = [model.sensor(name) for name in watch.sensors]
        self._sensors = np.array(
            [i for s in sensors for i in range(s.adr[0], s.adr[0] + s.dim[0])], int
        )
        self._sensor_sizes = [int(s.dim[0]) for s in sensors]
        spans = [flex_vertices(model, name) for name in watch.flexes]
        self._flex_sizes = [span.stop - span.start for span in spans]
        self._vertices = np.array([i for span in spans for i in range(span.start, span.stop)], int)
        n, s, b = len(joints), len(self._sites), len(self._bodies)
        self.size = 2 * n + 3 * s + 7 * b + len(self._sensors) + 3 * len(self._vertices)

    def gather(
        self,
        qpos: Any,
        qvel: Any,
        site_xpos: Any,
        xpos: Any,
        xquat: Any,
        sensordata: Any,
        flexvert_xpos: Any = None,
    ) -> Any:
        """The watched entries of MuJoCo's arrays, side by side.

        Args:
            qpos: (..., nq), and the others alike; all NumPy or all JAX.
            flexvert_xpos: may be left out where no flex is watched.

        Returns:
            (..., size), float32.
        """
        flat = (*qpos.shape[:-1], -1)
        parts = [
            qpos[..., self._qpos],
            qvel[..., self._qvel],
            site_xpos[..., self._sites, :].reshape(flat),
            xpos[..., self._bodies, :].reshape(flat),
            xquat[..., self._bodies, :].reshape(flat),
            sensordata[..., self._sensors],
        ]
        if len(self._vertices):
            parts.append(flexvert_xpos[..., self._vertices, :].reshape(flat))
        xp = np if isinstance(qpos, np.ndarray) else jnp
        return xp.concatenate(parts, axis=-1, dtype=np.float32)

    def view(self, block: Float32[Array, " size"]) -> View:
        """One simulation's block as a View (pure, for use under jit and vmap).

        `target` is left for the mechanics to fill: the engine does not know it.
        """
        n, sites, bodies = len(self._qpos), self._watch.sites, self._watch.bodies
        cuts = np.cumsum(
            [n, n, 3 * len(sites), 3 * len(bodies), 4 * len(bodies), len(self._sensors)]
        )
        pos, vel, site, xpos, xquat, sensor, vertices = (
            block[a:b] for a, b in zip([0, *cuts], [*cuts, self.size], strict=True)
        )
        grippers = np.array(self._gripper_columns)
        pos = pos.at[grippers].set((pos[grippers] - self._closed) / self._travel)
        vel = vel.at[grippers].divide(self._travel)
        ends = np.cumsum([0, *self._sensor_sizes])
        bounds = np.cumsum([0, *self._flex_sizes])
        vertices = vertices.reshape(-1, 3)
        return View(
            joint_pos=pos,
            joint_vel=vel,
            target=jnp.zeros_like(pos),
            site_pos=dict(zip(sites, site.reshape(-1, 3), strict=True)),
            body_pos=dict(zip(bodies, xpos.reshape(-1, 3), strict=True)),
            body_quat=dict(zip(bodies, xquat.reshape(-1, 4), strict=True)),
            sensor={
                name: sensor[ends[i] : ends[i + 1]] for i, name in enumerate(self._watch.sensors)
            },
            flex={
                name: vertices[bounds[i] : bounds[i + 1]]
                for i, name in enumerate(self._watch.flexes)
            },
        )


def flex_vertices(model: mujoco.MjModel, name: str) -> slice:
    """Where the vertices of a flex stand among those of all flexes."""
    flex = flex_id(model, name)
    first = int(model.flex_vertadr[flex])
    return slice(first, first + int(model.flex_vertnum[flex]))


def flex_id(model: mujoco.MjModel, name: str) -> int:
    """The number of a flex; -1: there is none of that name."""
    return mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_FLEX, name)
