"""The CPU engine: many simulations of one model, exact, on all cores."""

from collections.abc import Iterable, Mapping
from functools import cached_property

import mujoco
import numpy as np
from jaxtyping import Float32, Float64, Int, Shaped
from mujoco.batch import MODEL_FIELDS, Batch

from regrasp.assets import Workcell
from regrasp.envs.randomizer import nominal
from regrasp.envs.view import Watch, Window
from regrasp.errors import InputError

_VEL = int(mujoco.mjtStage.mjSTAGE_VEL)
_NONE = int(mujoco.mjtStage.mjSTAGE_NONE)


class CpuWorld:
    """Simulations as rows of `mujoco.batch`, float64, exact at any thread count, row, batch size.

    The batch is persistent and every step ends with positions, velocities and sensors of the new
    state: the next step goes on from them, so fresh observations cost nothing.
    """

    def __init__(
        self, model: mujoco.MjModel, workcell: Workcell, watch: Watch, num_sims: int, threads: int
    ):
        if model.opt.enableflags & int(mujoco.mjtEnableBit.mjENBL_SLEEP):
            raise InputError(
                "this model enables sleep, whose state no snapshot can hold: disable it"
            )
        write_no_log_file()
        self.model = model
        self.batch = Batch(model, num_sims, threads, persistent=True)
        self.window = Window(model, workcell, watch)
        self._pushed = np.zeros(0, int)
        self._home = np.array(model.qpos0)
        for name, position in workcell.home_qpos().items():
            self._home[model.joint(name).qposadr[0]] = position
        names = ("qpos", "qvel", "ctrl", "xfrc_applied")
        names += ("site_xpos", "xpos", "xquat", "sensordata")
        self._bound = {name: self.batch.bind(name) for name in names}

    @property
    def num_sims(self) -> int:
        return self.batch.nsim

    @property
    def rows(self) -> Float64[np.ndarray, "sims nstate"]:
        """The full integration state of every simulation, live."""
        return self.batch.state

    @property
    def warnings(self) -> Int[np.ndarray, " sims"]:
        """Engine warnings of each simulation since its row was started."""
        return self.batch.warning[..., 1].sum(axis=1)

    def start(
        self, rows: Int[np.ndarray, " k"], qpos: Mapping[str, Float32[np.ndarray, "k _"]]
    ) -> None:
        """Put simulations at home, at rest, with the given joints elsewhere."""
        self.batch.reset(rows, stage=_NONE)
        self._bound["qpos"][rows] = self._home
        for name, values in qpos.items():
            joint = self.model.joint(name)
            first = joint.qposadr[0]
            self._bound["qpos"][rows, first : first + joint.qpos0.size] = values
        self.refresh(rows)

    def put_rows(
        self, rows: Int[np.ndarray, " k"], states: Float64[np.ndarray, "k nstate"]
    ) -> None:
        """Write full states; what these simulations did before is forgotten, their warnings too.

        A push ends with its control period: no state brings one along.
        Their fields may be put next; then `refresh` must be called.
        """
        self.batch.reset(rows, stage=_NONE)
        self.rows[rows] = states
        self._bound["xfrc_applied"][rows] = 0

    def refresh(self, rows: Int[np.ndarray, " k"]) -> None:
        """Recompute what is derived from the state, after rows were written."""
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
        """Advance by one control period, with the servo targets changing once inside it.

        Args:
            before: servo targets until substep `switch`.
            after: servo targets from then on.
            switch: 0 <= switch < substeps.
            substeps: physics steps in the period.
            active: the simulations to step (sorted), or all.
            push: forces on the bodies of `use_pushes` (N, world frame), or none.
        """
        if active is not None and not len(active):
            return
        pushing = push is not None and bool(push.any())
        if pushing:
            self._bound["xfrc_applied"][:, self._pushed, :3] = push
        ctrl = self._bound["ctrl"]
        rows = np.arange(self.num_sims) if active is None else active
        # A command that does not change needs no switch: the same bits, in fewer engine calls.
        switch = np.where((before == after).all(axis=1), 0, switch)[rows]
        mixed = int(switch.max(initial=0))
        if mixed:
            early = np.arange(mixed)[:, None] < switch[:, None, None]
            targets = np.where(early, before[rows, None], after[rows, None])
            self.batch.rollout(mixed, targets, record=(), ids=rows)
        ctrl[rows] = after[rows]
        self.batch.step(rows, nstep=substeps - mixed, stage=_VEL)
        if pushing:
            self._bound["xfrc_applied"][:, self._pushed, :3] = 0

    def block(self, rows: Int[np.ndarray, " k"] | None = None) -> Float32[np.ndarray, "k size"]:
        """What the task watches, one block per simulation."""
        names = ("qpos", "qvel", "site_xpos", "xpos", "xquat", "sensordata")
        arrays = (self._bound[name] for name in names)
        return self.window.gather(*(a if rows is None else a[rows] for a in arrays))

    def use_pushes(self, bodies: Iterable[str]) -> None:
        """Name the bodies that `step` may push, in its order."""
        self._pushed = np.array([self.model.body(name).id for name in bodies], int)

    def use_fields(self, fields: Iterable[str]) -> None:
        """Give these model fields a value per simulation (where they have none yet)."""
        new = [name for name in fields if name not in self.fields]
        for name in new:
            self.fields[name] = self.batch.expand(name)
        if new:
            for name in _derived_from(self.model, tuple(sorted(self.fields))):
                self._derived[name] = self.batch.expand(name)

    @cached_property
    def fields(self) -> dict[str, np.ndarray]:
        """Randomised model fields, (sims, ...), live; read them, and write through `put_fields`."""
        return {}

    @cached_property
    def _derived(self) -> dict[str, np.ndarray]:
        return {}

    def put_fields(
        self, rows: Int[np.ndarray, " k"], fields: Mapping[str, Shaped[np.ndarray, "n ..."]]
    ) -> None:
        """Set the randomised fields of simulations and recompute what depends on them.

        Args:
            rows: simulations, sorted.
            fields: field -> values; n divides k, and each value serves k / n consecutive rows.
                Fields in use but not given take the model's own values.
        """
        self.use_fields(fields)
        if not self.fields:
            return
        count = len(next(iter(fields.values()))) if fields else 1
        repeat = len(rows) // count
        for name, array in self.fields.items():
            values = fields.get(name)
            if values is None:
                array[rows] = nominal(self.model, name)
            else:
                array[rows] = np.repeat(values, repeat, axis=0)
        if self._derived:
            # The constants depend on the fields alone: compute them once per value and copy.
            firsts = rows[::repeat]
            self.batch.set_const(firsts)
            for array in self._derived.values():
                if repeat > 1:
                    array[rows] = np.repeat(array[firsts], repeat, axis=0)


def write_no_log_file() -> None:
    """Keep MuJoCo from writing MUJOCO_LOG.TXT where the user stands: unstable rows are counted here."""
    config = mujoco.MjLogConfig.get()
    config.logto_file = False
    mujoco.MjLogConfig.set(config)


def _derived_from(model: mujoco.MjModel, fields: tuple[str, ...]) -> list[str]:
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
