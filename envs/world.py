"""What an engine offers to an environment, and the engines by name."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import mujoco
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Shaped

from regrasp.assets import Workcell
from regrasp.envs.view import Watch, Window, flex_id, flex_vertices
from regrasp.errors import InputError, unknown


@runtime_checkable
class World(Protocol):
    """N simulations of one model.

    States are rows of MuJoCo's `mjSTATE_INTEGRATION`, whatever the engine's own precision. After
    `start` or `put_rows`, and `put_fields`, `refresh` must be called before anything is read.
    """

    model: mujoco.MjModel
    """The nominal model."""
    window: Window
    """What blocks hold."""

    @property
    def num_sims(self) -> int: ...

    @property
    def rows(self) -> Float64[np.ndarray, "sims nstate"]:
        """The full integration state of every simulation; not to be written to."""
        ...

    @property
    def fields(self) -> Mapping[str, Shaped[np.ndarray, "sims ..."]]:
        """Randomised model fields; not to be written to."""
        ...

    @property
    def warnings(self) -> Int[np.ndarray, " sims"]:
        """How often the engine warned of each simulation since its row was started."""
        ...

    @property
    def overflow(self) -> Bool[np.ndarray, " sims"]:
        """Simulations with more contacts than the engine has room for; such a rollout has failed."""
        ...

    def start(
        self, rows: Int[np.ndarray, " k"], qpos: Mapping[str, Float32[np.ndarray, "k _"]]
    ) -> None:
        """Put simulations at home, at rest, with the given joints elsewhere."""
        ...

    def put_rows(
        self, rows: Int[np.ndarray, " k"], states: Float64[np.ndarray, "k nstate"]
    ) -> None:
        """Write full states; what these simulations did before is forgotten, their warnings too.

        A push ends with its control period: no state brings one along.
        """
        ...

    def refresh(self, rows: Int[np.ndarray, " k"]) -> None:
        """Recompute what is derived from states and fields, after rows were written."""
        ...

    def step(
        self,
        before: Float32[np.ndarray, "sims action"],
        after: Float32[np.ndarray, "sims action"],
        switch: Int[np.ndarray, " sims"],
        substeps: int,
        active: Int[np.ndarray, " k"] | None = None,
        push: Float32[np.ndarray, "sims pushed 3"] | None = None,
    ) -> None:
        """Advance by one control period, with the servo targets changing once inside it.

        Args:
            before: servo targets until substep `switch`.
            after: servo targets from then on.
            switch: 0 <= switch < substeps.
            substeps: physics steps in the period.
            active: the simulations to step (sorted), or all.
            push: forces on the bodies of `use_pushes` (N, world frame), or none.
        """
        ...

    def block(self, rows: Int[np.ndarray, " k"] | None = None) -> Float32[np.ndarray, "k size"]:
        """What the task watches, one block per simulation."""
        ...

    def use_pushes(self, bodies: Iterable[str]) -> None:
        """Name the bodies that `step` may push, in its order."""
        ...

    def use_fields(self, fields: Iterable[str]) -> None:
        """Give these model fields a value per simulation (where they have none yet)."""
        ...

    def put_fields(
        self, rows: Int[np.ndarray, " k"], fields: Mapping[str, Shaped[np.ndarray, "n ..."]]
    ) -> None:
        """Set the randomised fields of simulations and recompute what depends on them.

        Args:
            rows: simulations, sorted.
            fields: field -> values; n divides k, and each value serves k / n consecutive rows.
                Fields in use but not given take the model's own values.
        """
        ...

    def row_model(self, row: int) -> mujoco.MjModel:
        """One simulation's model, with its randomised fields."""
        ...

    def row_data(self, row: int, data: mujoco.MjData | None = None) -> mujoco.MjData:
        """One simulation's data, for rendering or for any MuJoCo function; into other data, if given."""
        ...


def _cpu(*args: Any) -> World:
    from regrasp.envs.cpu_world import CpuWorld

    return CpuWorld(*args)


def _mjx(*args: Any) -> World:
    from regrasp.envs.mjx_world import MjxWorld

    return MjxWorld(*args, impl="jax")


def _warp(*args: Any) -> World:
    from regrasp.envs.mjx_world import MjxWorld

    return MjxWorld(*args, impl="warp")


WORLDS: dict[str, Callable[..., World]] = {"cpu": _cpu, "mjx": _mjx, "warp": _warp}
"""Backend -> engine. `cpu` is exact; the others run massively parallel where there is a GPU."""


def load_world(
    backend: str,
    spec: mujoco.MjSpec,
    workcell: Workcell,
    watch: Watch,
    num_sims: int,
    threads: int,
    contacts: int,
) -> World:
    """Build simulations of a scene on an engine.

    Args:
        backend: its name, see `WORLDS`.
        spec: the scene.
        workcell: whose arms they are.
        watch: what the task looks at.
        num_sims: how many.
        threads: of the CPU engine; 0: one per core.
        contacts: room for contacts in one simulation, on engines that allocate it beforehand.

    Raises:
        InputError: an unknown backend, or one that is not installed.
    """
    if backend not in WORLDS:
        raise unknown("backend", backend, WORLDS)
    return WORLDS[backend](spec, workcell, watch, num_sims, threads, contacts)


INTEGRATION = int(mujoco.mjtState.mjSTATE_INTEGRATION)


def home_row(model: mujoco.MjModel, workcell: Workcell) -> Float64[np.ndarray, " nstate"]:
    """The integration state at rest, with the arms at home."""
    data = mujoco.MjData(model)
    data.qpos[:] = home_qpos(model, workcell)
    row = np.zeros(mujoco.mj_stateSize(model, INTEGRATION))
    mujoco.mj_getState(model, data, row, INTEGRATION)
    return row


def placed(model: mujoco.MjModel, name: str) -> slice:
    """Where the positions of a joint, or of all vertices of a flex, stand in qpos.

    A vertex has three slides, along the axes of the body that the flex was made in; they count from where
    the scene puts the vertex (m).
    """
    if flex_id(model, name) >= 0:
        vertices = flex_vertices(model, name)
        bodies = model.flex_vertbodyid[vertices]
        joints = model.body_jntadr[bodies]
        if (np.diff(joints) != 3).any() or (model.body_jntnum[bodies] != 3).any():
            raise InputError(
                f"flex {name!r}: only one whose vertices all slide three ways can be placed"
            )
        first = int(model.jnt_qposadr[joints[0]])
        return slice(first, first + 3 * len(bodies))
    joint = model.joint(name)
    first = int(joint.qposadr[0])
    return slice(first, first + joint.qpos0.size)


def home_qpos(model: mujoco.MjModel, workcell: Workcell) -> Float64[np.ndarray, " nq"]:
    """The model's initial positions, with the arms at home."""
    qpos = np.array(model.qpos0)
    for name, position in workcell.home_qpos().items():
        qpos[model.joint(name).qposadr[0]] = position
    return qpos
