"""A table: what differs between episodes, by how much, and why."""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
from jaxtyping import Array

from regrasp.envs import Draw, Settings, Write
from regrasp.envs.randomizer import Grown
from regrasp.errors import InputError, unknown
from regrasp.randomization.distributions import Distribution
from regrasp.randomization.fields import KINDS, Field


@dataclass(frozen=True)
class Row:
    """One randomised quantity."""

    field: Field
    distribution: Distribution
    source: str
    """Where the range comes from."""

    @property
    def name(self) -> str:
        return self.field.name

    @property
    def idle(self) -> bool:
        """Whether this is a setting that is always zero."""
        return self.distribution.low == self.distribution.high == 0

    def check(self, allowed: tuple[float, float]) -> None:
        """Refuse a range that cannot be simulated."""
        low, high = self.distribution.low, self.distribution.high
        if low < allowed[0] or high > allowed[1]:
            raise InputError(
                f"{self.name} {low:g} to {high:g}: choose a range within "
                f"{allowed[0]:g} to {allowed[1]:g}"
            )


class Table:
    """Rows that are sampled independently for every episode. What it prints is what it samples."""

    def __init__(self, *rows: Row):
        """Check the rows.

        Raises:
            InputError: two rows of one name, or a range that cannot be simulated.
        """
        names = [row.name for row in rows]
        for name in names:
            if names.count(name) > 1:
                raise InputError(
                    f"{name!r} stands in {names.count(name)} rows of the table: keep one"
                )
        for row in rows:
            row.check(row.field.range)
        self.rows = rows
        if not self.pushed and "push_rate_hz" in self.used:
            raise InputError("push rate: no row says what is pushed: add one of push_speed")

    @property
    def used(self) -> frozenset[str]:
        """The settings that may differ from zero."""
        return frozenset(r.field.setting.name for r in self.rows if r.field.setting and not r.idle)

    @property
    def pushed(self) -> tuple[str, ...]:
        """Bodies that may be pushed."""
        return tuple(body for row in self.rows for body in row.field.pushed)

    @property
    def observation_latency_s(self) -> float:
        """The longest."""
        late = [
            row.distribution.high
            for row in self.rows
            if row.field.setting and row.field.setting.name == "observation_latency_s"
        ]
        return max(late, default=0.0)

    def check(self, spec: mujoco.MjSpec) -> None:
        """Refuse names that a scene lacks, before it is compiled.

        Raises:
            InputError: names the row's thing and those that there are.
        """
        known = {kind: {one.name for one in getattr(spec, many)} for kind, many in KINDS.items()}
        for row in self.rows:
            for kind, name in row.field.names:
                if name not in known[kind]:
                    raise unknown(kind, name, filter(None, known[kind]))

    def numbers(self, key: Array) -> dict[str, Array]:
        """One simulation's numbers by row. They depend on the key and the row's name alone."""
        return {
            row.name: row.distribution.sample(
                jax.random.fold_in(key, zlib.crc32(row.name.encode())), row.field.count
            )
            for row in self.rows
        }

    def sample(self, key: Array) -> Draw:
        """One simulation's numbers, sorted by where they go."""
        return self.draw(self.numbers(key))

    def draw(self, drawn: Mapping[str, Array]) -> Draw:
        """These numbers, one array for each row, sorted by where they go."""
        fields, settings, size = {}, {}, {}
        for row in self.rows:
            numbers = drawn[row.name]
            if row.field.setting is None:
                fields[row.name] = numbers
            elif not row.idle:
                name, value = row.field.setting.name, row.field.setting.value(numbers)
                # Rows of single joints share a setting: each is zero where the others are not.
                settings[name] = settings[name] + value if name in settings else value
            if row.field.grown is not None:
                joint, floor_m = row.field.grown
                size[joint] = Grown(numbers[0], jnp.float32(floor_m))
        return Draw(fields, Settings(**settings), size)

    def writes(self, model: mujoco.MjModel) -> tuple[Write, ...]:
        """How the samples change this model.

        Raises:
            InputError: the model lacks something, or a range cannot be simulated with it.
        """
        for row in self.rows:
            if row.field.range_of is not None:
                row.check(row.field.range_of(model))
        return tuple(write for row in self.rows for write in row.field.writes(model, row.name))

    def replaced(self, *rows: Row, without: Iterable[str] = ()) -> "Table":
        """This table with rows put in place of those of the same name, or added, or left out."""
        new = {row.name: row for row in (*self.rows, *rows)}
        return Table(*(row for name, row in new.items() if name not in set(without)))

    def to_json(self) -> list[dict[str, Any]]:
        """The rows as plain data, for reports, snapshots and run folders."""
        return [
            {
                "field": row.name,
                "distribution": str(row.distribution),
                "unit": row.field.unit,
                "numbers": row.field.count,
                "per": row.field.each,
                "derived": list(row.field.derived),
                "pushed": list(row.field.pushed),
                "source": row.source,
            }
            for row in self.rows
        ]

    def __str__(self) -> str:
        head = ("field", "distribution", "unit", "per", "derived", "source")
        body = [
            (*(r[name] for name in head[:4]), _brief(r["derived"]), r["source"])
            for r in self.to_json()
        ]
        widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in [head, tuple("-" * width for width in widths), *body]
        ]
        return "\n".join(lines)


def _brief(names: list[str]) -> str:
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else "".join(names)
