"""MJX engines: the same simulations in float32, massively parallel on an accelerator.

A simulation is its state row here too; what MJX derives from it lives within one control period.
"""

import importlib.util
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Float64, Int, Shaped
from mujoco.batch import Batch

from regrasp import xla
from regrasp.assets import Workcell
from regrasp.envs.cpu_world import derived_from
from regrasp.envs.randomizer import nominal
from regrasp.envs.view import Watch, Window
from regrasp.envs.world import INTEGRATION, home_row
from regrasp.errors import InputError

IMPLEMENTATIONS = {"jax": ("mujoco.mjx",), "warp": ("mujoco.mjx", "warp")}
"""Implementation -> modules it needs."""
CONSTRAINTS_PER_CONTACT = 4
OTHER_CONSTRAINTS = 64
"""Room for joint limits, joint friction and couplings."""
SOLVER_ITERATIONS = 10
"""Of the solver, and of its line search: a batch waits for its slowest row. Of `hand_over` under its teacher
99 % of rows need 9 or fewer, and one control step ends as near to the CPU engine's as with 100."""
_STATE = {
    "TIME": "time",
    "QPOS": "qpos",
    "QVEL": "qvel",
    "WARMSTART": "qacc_warmstart",
    "CTRL": "ctrl",
    "QFRC_APPLIED": "qfrc_applied",
    "XFRC_APPLIED": "xfrc_applied",
    "EQ_ACTIVE": "eq_active",
}
"""Parts of the integration state that these models have, and MJX's names for them."""
_NOT_READ = {"body_sameframe", "geom_sameframe", "site_sameframe"}
"""Model fields that MJX does not look at: they only speed the CPU engine up."""

Fields = dict[str, Array]


class Seen(NamedTuple):
    """One simulation after a control period."""

    row: Float[Array, " nstate"]
    block: Float[Array, " size"]
    overflow: Bool[Array, ""]
    """There was no room for some of its contacts."""


class Physics:
    """One simulation on MJX: pure functions, to be vmapped."""

    def __init__(self, spec: mujoco.MjSpec, window: Window, impl: str, contacts: int, sims: int):
        """Put the model on the device.

        Args:
            spec: the scene.
            window: what blocks hold.
            impl: jax or warp.
            contacts: room for contacts in one simulation.
            sims: simulations that will be run side by side; warp's contacts share one buffer.

        Raises:
            InputError: the implementation is not installed, or this process cannot run it.
        """
        check_installed(impl)
        from mujoco import mjx

        if impl == "warp":
            import warp

            warp.config.log_level = warp.LOG_WARNING  # It would name every kernel on stdout.
        if spec.flexes:
            raise InputError(
                f"flex {spec.flexes[0].name!r}: MJX has no cloth or other flex that this library could "
                "run: use backend 'cpu'"
            )
        self._mjx, self._impl, self._window, self._contacts = mjx, impl, window, contacts
        bounded = _bounded(spec, contacts)
        # First, as it refuses what the engine would ignore without a word.
        self._layout = _layout(bounded)
        self.model = mjx.put_model(bounded, impl=impl)
        room: dict[str, Any] = {}
        if impl == "warp":
            # It would print a line for every row in every step.
            self.model = self.model.tree_replace({"opt._impl.warn_overflow": 0})
            constraints = CONSTRAINTS_PER_CONTACT * contacts + OTHER_CONSTRAINTS
            room = {"naconmax": contacts * sims, "njmax": constraints}
        self._blank = mjx.make_data(bounded, impl=impl, **room)
        self._pairs = _pair_groups(spec.compile(), mjx) if impl == "jax" else []

    def advance(
        self,
        fields: Fields,
        row: Float[Array, " nstate"],
        before: Float[Array, " action"],
        after: Float[Array, " action"],
        switch: Int[Array, ""],
        push: Float[Array, "pushed 3"],
        pushed: Int[np.ndarray, " pushed"],
        steps: Int[Array, ""] | int,
    ) -> Seen:
        """Advance by some physics steps; with none, only look.

        MJX derives positions and sensors at the start of a step. So one more step is made, whose
        end is thrown away.
        """
        model = self.with_fields(fields)
        data = self._load(row)
        force = data.xfrc_applied.at[pushed, :3].set(push) if len(pushed) else data.xfrc_applied
        data = data.replace(xfrc_applied=force)

        def body(i: Any, carry: Any) -> Any:
            data, _, overflow = carry
            ctrl = jnp.where(steps == 0, data.ctrl, jnp.where(i < switch, before, after))
            data = data.replace(ctrl=ctrl)
            kept = self._row(data)
            data = self._mjx.step(model, data)
            return data, kept, overflow | self._overflows(model, data)

        start = data, self._row(data), jnp.zeros((), bool)
        data, row, overflow = jax.lax.fori_loop(0, steps + 1, body, start)
        at = {name: part for name, part in self._parts(row).items() if name in ("qpos", "qvel")}
        block = self._window.gather(
            **at,
            site_xpos=data.site_xpos,
            xpos=data.xpos,
            xquat=data.xquat,
            sensordata=data.sensordata,
        )
        return Seen(self._unpushed(row), block, overflow)

    def with_fields(self, fields: Fields) -> Any:
        """The model with other values in some fields."""
        values = {}
        for name, value in fields.items():
            target = self.model
            for part in name.split("."):
                target = getattr(target, part)
            values[name] = jnp.asarray(value, target.dtype).reshape(target.shape)
        return self.model.tree_replace(values)

    def reads(self, field: str) -> bool:
        """Whether the engine has this model field."""
        target: Any = self.model
        for part in field.split("."):
            target = getattr(target, part, None)
        return isinstance(target, jax.Array)

    def _load(self, row: Float[Array, " nstate"]) -> Any:
        parts = self._parts(row)
        return self._blank.replace(
            **{name: part.astype(getattr(self._blank, name).dtype) for name, part in parts.items()}
        )

    def _parts(self, row: Float[Array, " nstate"]) -> dict[str, Array]:
        return {
            name: row[start:end].reshape(getattr(self._blank, name).shape)
            for name, (start, end) in self._layout.items()
        }

    def _row(self, data: Any) -> Float[Array, " nstate"]:
        return jnp.concatenate(
            [jnp.ravel(getattr(data, name)).astype(jnp.float32) for name in self._layout]
        )

    def _unpushed(self, row: Float[Array, " nstate"]) -> Float[Array, " nstate"]:
        start, end = self._layout["xfrc_applied"]
        return row.at[start:end].set(0)

    def _overflows(self, model: Any, data: Any) -> Bool[Array, ""]:
        if self._impl == "warp":
            from mujoco.mjx.third_party.mujoco_warp import OverflowType

            # A solver that stops early is not a lack of room.
            solver = OverflowType.ITERATIONS | OverflowType.LS_ITERATIONS
            return (data._impl.overflow & int(OverflowType.ALL & ~solver)) > 0
        over = jnp.zeros((), bool)
        contact = data._impl.contact
        for dim in np.unique(contact.dim):
            group = contact.dist[contact.dim == dim]
            if len(group) >= self._contacts:
                over |= jnp.all(group < 0)
        for pairs in self._pairs:
            if len(pairs) > self._contacts:
                first, second = pairs.T
                apart = jnp.linalg.norm(data.geom_xpos[first] - data.geom_xpos[second], axis=-1)
                near = apart < model.geom_rbound[first] + model.geom_rbound[second]
                over |= near.sum() > self._contacts
        return over


class MjxWorld:
    """N simulations on MJX behind the face of `World`."""

    def __init__(
        self,
        spec: mujoco.MjSpec,
        workcell: Workcell,
        watch: Watch,
        num_sims: int,
        threads: int,
        contacts: int,
        *,
        impl: str,
    ):
        del threads  # XLA's business.
        self.model: mujoco.MjModel = spec.compile()
        self.window = Window(self.model, workcell, watch)
        self._physics = Physics(spec, self.window, impl, contacts, num_sims)
        self._constants = Constants(self.model)
        self._home = home_row(self.model, workcell)
        self._rows = np.zeros((num_sims, len(self._home)), np.float32)
        self._block = np.zeros((num_sims, self.window.size), np.float32)
        self._fields: dict[str, np.ndarray] = {}
        self._on_device: dict[str, Array] | None = None
        self._pushed = np.zeros(0, int)
        self._overflow, self._broken = np.zeros(num_sims, bool), np.zeros(num_sims, bool)
        self._compile()

    @property
    def num_sims(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> Float64[np.ndarray, "sims nstate"]:
        return self._rows.astype(np.float64)

    @property
    def fields(self) -> Mapping[str, Shaped[np.ndarray, "sims ..."]]:
        return {name: self._fields[name] for name in self._constants.fields}

    @property
    def warnings(self) -> Int[np.ndarray, " sims"]:
        return self._overflow.astype(int) + self._broken

    @property
    def overflow(self) -> Bool[np.ndarray, " sims"]:
        return self._overflow.copy()

    def start(
        self, rows: Int[np.ndarray, " k"], qpos: Mapping[str, Float32[np.ndarray, "k _"]]
    ) -> None:
        states = np.repeat(self._home[None], len(rows), axis=0)
        for name, values in qpos.items():
            joint = self.model.joint(name)
            first = 1 + joint.qposadr[0]  # Time stands first.
            states[:, first : first + joint.qpos0.size] = values
        self.put_rows(rows, states)

    def put_rows(
        self, rows: Int[np.ndarray, " k"], states: Float64[np.ndarray, "k nstate"]
    ) -> None:
        self._rows[rows] = states
        self._overflow[rows] = self._broken[rows] = False

    def refresh(self, rows: Int[np.ndarray, " k"]) -> None:
        still = np.zeros((self.num_sims, self.model.nu), np.float32)
        seen = self._run(still, still, np.zeros(self.num_sims, np.int32), None, 0)
        self._rows[rows] = np.asarray(seen.row)[rows]
        self._block[rows] = np.asarray(seen.block)[rows]

    def step(
        self,
        before: Float32[np.ndarray, "sims action"],
        after: Float32[np.ndarray, "sims action"],
        switch: Int[np.ndarray, " sims"],
        substeps: int,
        active: Int[np.ndarray, " k"] | None = None,
        push: Float32[np.ndarray, "sims pushed 3"] | None = None,
    ) -> None:
        seen = self._run(before, after, switch, push, substeps)
        row, block, overflow = (np.asarray(part) for part in seen)
        on = np.arange(self.num_sims) if active is None else active
        self._rows[on], self._block[on] = row[on], block[on]
        self._overflow[on] |= overflow[on]
        self._broken[on] |= ~np.isfinite(row[on]).all(axis=1)

    def block(self, rows: Int[np.ndarray, " k"] | None = None) -> Float32[np.ndarray, "k size"]:
        return self._block if rows is None else self._block[rows]

    def use_pushes(self, bodies: Iterable[str]) -> None:
        self._pushed = np.array([self.model.body(name).id for name in bodies], int)
        self._compile()

    def use_fields(self, fields: Iterable[str]) -> None:
        names = sorted({*self._constants.fields, *fields})
        if names == list(self._constants.fields):
            return
        for name in names:
            if name not in _NOT_READ and not self._physics.reads(name):
                raise InputError(
                    f"this engine has no model field {name!r}: leave it out, or use backend 'cpu'"
                )
        self._constants = Constants(self.model, tuple(names))
        for name, value in self._constants.compute({}, 1).items():
            if name not in self._fields:
                self._fields[name] = np.repeat(value, self.num_sims, axis=0)
        self._on_device = None

    def put_fields(
        self, rows: Int[np.ndarray, " k"], fields: Mapping[str, Shaped[np.ndarray, "n ..."]]
    ) -> None:
        self.use_fields(fields)
        if not self._constants.fields:
            return
        count = len(next(iter(fields.values()))) if fields else 1
        for name, values in self._constants.compute(fields, count).items():
            self._fields[name][rows] = np.repeat(values, len(rows) // count, axis=0)
        self._on_device = None

    def row_model(self, row: int) -> mujoco.MjModel:
        return self._constants.model({name: array[row] for name, array in self.fields.items()})

    def row_data(self, row: int, data: mujoco.MjData | None = None) -> mujoco.MjData:
        model = self.row_model(row)
        data = mujoco.MjData(model) if data is None else data
        mujoco.mj_setState(model, data, self._rows[row].astype(np.float64), INTEGRATION)
        mujoco.mj_forward(model, data)
        return data

    def _compile(self) -> None:
        pushed = self._pushed

        def one(fields: Fields, row: Any, before: Any, after: Any, switch: Any, push: Any, n: Any):
            return self._physics.advance(fields, row, before, after, switch, push, pushed, n)

        self._advance = jax.jit(jax.vmap(one, (0, 0, 0, 0, 0, 0, None)))

    def _run(self, before: Any, after: Any, switch: Any, push: Any, steps: int) -> Seen:
        if self._on_device is None:
            self._on_device = {
                name: jnp.asarray(array, jnp.float32)
                for name, array in self._fields.items()
                if self._physics.reads(name)
            }
        if push is None or push.shape[1] != len(self._pushed):
            push = np.zeros((self.num_sims, len(self._pushed), 3), np.float32)
        return self._advance(
            self._on_device, self._rows, before, after, switch, push, np.int32(steps)
        )


class Constants:
    """Randomised fields with what MuJoCo derives from them, by the CPU engine."""

    def __init__(self, model: mujoco.MjModel, fields: tuple[str, ...] = ()):
        self._model = model
        self.fields = fields
        """The randomised ones."""
        self.derived = tuple(derived_from(model, fields))
        self.names = (*self.fields, *self.derived)
        """Both."""
        self._batches: dict[int, tuple[Batch, dict[str, np.ndarray]]] = {}

    def compute(
        self, fields: Mapping[str, Shaped[np.ndarray, "n ..."]], count: int
    ) -> dict[str, Shaped[np.ndarray, "n ..."]]:
        """Randomised and derived fields of n models; fields not given are nominal."""
        batch, arrays = self._batch(count)
        for name in self.fields:
            arrays[name][:] = fields.get(name, nominal(self._model, name))
        if self.derived:
            batch.set_const()
        return {name: array.copy() for name, array in arrays.items()}

    def model(self, fields: Mapping[str, Shaped[np.ndarray, "..."]]) -> mujoco.MjModel:
        """One model with these fields."""
        self.compute({name: value[None] for name, value in fields.items()}, 1)
        return self._batch(1)[0].get_model(0)

    def _batch(self, count: int) -> tuple[Batch, dict[str, np.ndarray]]:
        if count not in self._batches:
            batch = Batch(self._model, count, 1)
            arrays = {name: batch.expand(name) for name in self.names}
            self._batches[count] = batch, arrays
        return self._batches[count]


def check_installed(impl: str) -> None:
    """Find out whether an implementation of MJX can run in this process.

    Raises:
        InputError: it cannot; the message says what to do.
    """
    for module in IMPLEMENTATIONS[impl]:
        if importlib.util.find_spec(module) is None:
            raise InputError(
                f"MJX impl {impl} needs the module {module}: pip install 'regrasp[mjx]'"
            )
    if jax.default_backend() == "cpu" and not xla.chosen():
        raise InputError(
            "MJX on the CPU hangs without an XLA option that must be set before JAX first computes: "
            f"import regrasp before that, or set XLA_FLAGS={xla.option()}"
        )


def _bounded(spec: mujoco.MjSpec, contacts: int) -> mujoco.MjModel:
    """The scene with MJX's bounds: on the solver, and on contacts, which `jax` reads from the model."""
    copy = spec.copy()
    copy.option.iterations = copy.option.ls_iterations = SOLVER_ITERATIONS
    for name in ("max_geom_pairs", "max_contact_points"):
        copy.add_numeric(name=name, data=[contacts])
    return copy.compile()


def _pair_groups(model: mujoco.MjModel, mjx: Any) -> list[Int[np.ndarray, "pairs 2"]]:
    """Pairs of shapes that may touch, in the groups to which MJX applies its bound."""
    contact = mjx.make_data(model, impl="jax")._impl.contact
    geoms = np.asarray(contact.geom)
    groups: dict[tuple, set[tuple[int, int]]] = {}
    for (first, second), dim in zip(geoms.tolist(), np.asarray(contact.dim), strict=True):
        kinds = tuple(sorted((model.geom_type[first], model.geom_type[second])))
        groups.setdefault((*kinds, int(dim)), set()).add((first, second))
    return [np.array(sorted(pairs)) for pairs in groups.values()]


def _layout(model: mujoco.MjModel) -> dict[str, tuple[int, int]]:
    """Where each part of the integration state stands in a row."""
    layout, start = {}, 0
    for bit in range(int(mujoco.mjtState.mjNSTATE)):
        if not (1 << bit) & INTEGRATION:
            continue
        size = mujoco.mj_stateSize(model, 1 << bit)
        name = mujoco.mjtState(1 << bit).name.removeprefix("mjSTATE_")
        if size and name not in _STATE:
            raise InputError(
                f"this model keeps {name.lower()} in its state, which MJX does not: use backend 'cpu'"
            )
        if size:
            layout[_STATE[name]] = start, start + size
        start += size
    return layout
