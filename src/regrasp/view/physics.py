"""The randomised numbers of the one simulation that is shown, and how they are changed while it runs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt32

from regrasp.envs import BatchEnv, Snapshot, Write
from regrasp.envs.mechanics import streams
from regrasp.envs.randomizer import apply
from regrasp.envs.snapshot import table_of
from regrasp.errors import InputError, unknown
from regrasp.randomization import Table
from regrasp.randomization.fields import FACTOR
from regrasp.randomization.table import Row

Numbers = Mapping[str, Float[np.ndarray, " _"]]
"""Row of the table -> its numbers for one simulation."""


@dataclass(frozen=True)
class Knob:
    """One row of a table as something that can be turned."""

    name: str
    unit: str
    low: float
    high: float
    nominal: float

    @classmethod
    def of(cls, row: Row) -> "Knob":
        """The row's own range, which the nominal number is made part of."""
        nominal = 1.0 if row.field.unit == FACTOR else 0.0
        low, high = min(row.distribution.low, nominal), max(row.distribution.high, nominal)
        if row.distribution.low == row.distribution.high:
            high = max(high, 2 * row.distribution.high)
        return cls(row.name, row.field.unit, low, high, nominal)


class Physics:
    """A task's table as knobs, of which some may be turned at any moment."""

    def __init__(self, env: BatchEnv, table: Table):
        """Rows that the environment cannot play are left out.

        Args:
            env: where it is shown.
            table: the task's.
        """
        self._env, self._table = env, table
        late = "observation_latency_s"
        # What is observed late must have been remembered from the start of the episode on.
        remembers = np.shape(env.take(0).carry["past"])[0] > 0
        self.knobs = {
            row.name: Knob.of(row)
            for row in table.rows
            if row.field.setting is None or row.field.setting.name != late or remembers
        }

    @cached_property
    def _writes(self) -> tuple[Write, ...]:
        return self._table.writes(self._env.model)

    def nominal(self) -> dict[str, np.ndarray]:
        """The numbers of nominal physics."""
        return {
            row.name: np.full(row.field.count, Knob.of(row).nominal, np.float32)
            for row in self._table.rows
        }

    def drawn(self, key: UInt32[np.ndarray, "2"]) -> dict[str, np.ndarray]:
        """The numbers of the episode of this raw key, under the table; nominal where there is no knob."""
        drawn = self._table.numbers(streams(jnp.asarray(key))[1])
        found = {name: np.asarray(values) for name, values in drawn.items()}
        return {n: v if n in self.knobs else self.nominal()[n] for n, v in found.items()}

    def turned(self, numbers: Numbers, name: str, value: float) -> dict[str, np.ndarray]:
        """The numbers with one knob turned: all that it stands for get this value.

        Raises:
            InputError: there is no such knob, or the value is out of its range.
        """
        if name not in self.knobs:
            raise unknown("field", name, self.knobs)
        knob = self.knobs[name]
        if not knob.low <= value <= knob.high:
            raise InputError(f"{name} {value:g}: choose {knob.low:g} to {knob.high:g} {knob.unit}")
        return {**numbers, name: np.full_like(numbers[name], value)}

    def put(self, snapshot: Snapshot, numbers: Numbers) -> Snapshot:
        """The same state under these numbers: model fields, timing and sensing."""
        draw = self._table.draw({name: jnp.asarray(v) for name, v in numbers.items()})
        fields = apply(
            self._env.model, self._writes, {n: np.asarray(v)[None] for n, v in draw.fields.items()}
        )
        settings = np.asarray(draw.settings.pack(self._env.workcell.action_size))
        return replace(
            snapshot,
            fields={name: values[0] for name, values in fields.items()},
            carry={**snapshot.carry, "settings": settings},
            table=table_of(self._table),
        )
