"""The CPU engine: many simulations of one model, exact, on all cores."""

from collections.abc import Iterable, Mapping

import mujoco
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Shaped
from mujoco.batch import MODEL_FIELDS, Batch

from regrasp.assets import Workcell
from regrasp.envs.randomizer import nominal
from regrasp.envs.view import Watch, Window
from regrasp.envs.world import home_qpos, placed
from regrasp.errors import InputError

_VEL = int(mujoco.mjtStage.mjSTAGE_VEL)
_NONE = int(mujoco.mjtStage.mjSTAGE_NONE)


class CpuWorld:
    """Simulations as rows of `mujoco.batch`, float64, exact at any thread count, row, batch size.

    The batch is persistent and every step ends with positions, velocities and sensors of the new
    state: the next step goes on from them, so fresh observations cost nothing.
    """

    def __init__(
        self,
        spec: mujoco.MjSpec,
        workcell: Workcell,
        watch: Watch,
        num_sims: int,
        threads: int,
        contacts: int = 0,
    ):
        del contacts  # The engine grows as it needs.
        model = spec.compile()
        if model.opt.enableflags & int(mujoco.mjtEnableBit.mjENBL_SLEEP):
            raise InputError(
                "this model enables sleep, whose state no snapshot can hold: disable it"
            )
        write_no_log_file()
        self.model = model
        self.batch = Batch(model, num_sims, threads, persistent=True)
        self.window = Window(model, workcell, watch)
        self._pushed = np.zeros(0, int)
        self._fields: dict[str, np.ndarray] = {}
        self._derived: dict[str, np.ndarray] = {}
        self._home = home_qpos(model, workcell)
        names = ("qpos", "qvel", "ctrl", "xfrc_applied")
        names += ("site_xpos", "xpos", "xquat", "sensordata", "flexvert_xpos")
        self._bound = {name: self.batch.bind(name) for name in names}

    @property
    def num_sims(self) -> int:
        return self.batch.nsim

    @property
    def rows(self) -> Float64[np.ndarray, "sims nstate"]:
        return self.batch.state

    @property
    def warnings(self) -> Int[np.ndarray, " sims"]:
        return self.batch.warning[..., 1].sum(axis=1)

    @property
    def overflow(self) -> Bool[np.ndarray, " sims"]:
        return np.zeros(self.num_sims, bool)

    def start(
        self, rows: Int[np.ndarray, " k"], qpos: Mapping[str, Float32[np.ndarray, "k _"]]
    ) -> None:
        self.batch.reset(rows, stage=_NONE)
        self._bound["qpos"][rows] = self._home
        for name, values in qpos.items():
            self._bound["qpos"][rows, placed(self.model, name)] = values

    def put_rows(
        self, rows: Int[np.ndarray, " k"], states: Float64[np.ndarray, "k nstate"]
    ) -> None:
        self.batch.reset(rows, stage=_NONE)
        self.rows[rows] = states
        self._bound["xfrc_applied"][rows] = 0

    def refresh(self, rows: Int[np.ndarray, " k"]) -> None:
        self.batch.forward(rows, stage=_VEL)

    def step(
        self,
        before: Float32[np.ndarray, "sims action"],
        after: Float32[np.ndarray, "sims action"],
        switch: Int[np.ndarray, " sims"],
        substeps: int,
        active: Int[np.ndarray, " k"] | None = None,
        push: Float32[np.ndarray, "sims pushed 3"] | None = None,
    ) -> None:
        if active is not None and not len(active):
            return
        pushing = push is not None and bool(push.any())
        if pushing:
            self._bound["xfrc_applied"][:, self._pushed, :3] = push
        ctrl = self._bound["ctrl"]
        rows = np.arange(self.num_sims) if active is None else active
        # A command that does not change needs no switch: the same bits, in fewer engine calls.
        switch = np.where((before == after).all(axis=1), 0, switch)
        # By the substep of their switch, so that no simulation leaves the cache more than once.
        for first in range(substeps):
            group = rows[switch[rows] == first]
            if not len(group):
                continue
            if first:
                ctrl[group] = before[group]
                self.batch.step(group, nstep=first)
            ctrl[group] = after[group]
            self.batch.step(group, nstep=substeps - first, stage=_VEL)
        if pushing:
            self._bound["xfrc_applied"][:, self._pushed, :3] = 0

    def block(self, rows: Int[np.ndarray, " k"] | None = None) -> Float32[np.ndarray, "k size"]:
        names = ("qpos", "qvel", "site_xpos", "xpos", "xquat", "sensordata", "flexvert_xpos")
        arrays = (self._bound[name] for name in names)
        return self.window.gather(*(a if rows is None else a[rows] for a in arrays))

    def use_pushes(self, bodies: Iterable[str]) -> None:
        self._pushed = np.array([self.model.body(name).id for name in bodies], int)

    def use_fields(self, fields: Iterable[str]) -> None:
        new = [name for name in fields if name not in self._fields]
        for name in new:
            self._fields[name] = self.batch.expand(name)
        if new:
            for name in derived_from(self.model, tuple(sorted(self.fields))):
                self._derived[name] = self.batch.expand(name)

    @property
    def fields(self) -> dict[str, np.ndarray]:
        return self._fields

    def put_fields(
        self, rows: Int[np.ndarray, " k"], fields: Mapping[str, Shaped[np.ndarray, "n ..."]]
    ) -> None:
        self.use_fields(fields)
        if not self.fields:
            return
        count = len(next(iter(fields.values()))) if fields else 1
        repeat = len(rows) // count
        for name, array in self.fields.items():
            values = fields.get(name, nominal(self.model, name)[None])
            _fill(array, rows, np.asarray(values))
        if self._derived:
            # The constants depend on the fields alone: compute them once per value and copy.
            firsts = rows[::repeat]
            self.batch.set_const(firsts)
            for array in self._derived.values():
                if repeat > 1:
                    _fill(array, rows, array[firsts])

    def row_model(self, row: int) -> mujoco.MjModel:
        return self.batch.get_model(row)

    def row_data(self, row: int, data: mujoco.MjData | None = None) -> mujoco.MjData:
        return self.batch.get_data(row, data)


def _fill(
    array: Shaped[np.ndarray, "sims ..."],
    rows: Int[np.ndarray, " k"],
    values: Shaped[np.ndarray, "n ..."],
) -> None:
    """Write n values, each into k / n consecutive rows."""
    repeat = len(rows) // len(values)
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        # Adjacent rows are one block of memory: several times faster than by index.
        block = array[rows[0] : rows[-1] + 1]
        block.reshape(len(values), repeat, *array.shape[1:])[:] = values[:, None]
    else:
        array[rows] = np.repeat(values, repeat, axis=0)


def write_no_log_file() -> None:
    """Keep MuJoCo from writing MUJOCO_LOG.TXT where the user stands: unstable rows are counted here."""
    config = mujoco.MjLogConfig.get()
    config.logto_file = False
    mujoco.MjLogConfig.set(config)


def derived_from(model: mujoco.MjModel, fields: tuple[str, ...]) -> list[str]:
    """The fields that mj_setConst changes when these do, found by trying."""
    inputs = set(mujoco.MjModel._setconst_inputs)
    if not inputs.intersection(fields):
        return []
    probe = Batch(model, 1, 1)
    for name in fields:
        array = probe.expand(name)
        if name in inputs:
            # Uneven, so that ratios such as centres of mass change too.
            array *= np.linspace(1.01, 1.02, array.size).reshape(array.shape)
    probe.set_const()
    return [
        name
        for name in sorted(MODEL_FIELDS)
        if name not in fields and probe.expanded(name) is not None
    ]
