"""A table: what differs between episodes, by how much, and why."""

import zlib
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
from jaxtyping import Array

from regrasp.envs import Draw, Write
from regrasp.envs.control import MAX_LATENCY_S
from regrasp.errors import InputError
from regrasp.randomization.distributions import Distribution
from regrasp.randomization.fields import SETTINGS, Field


@dataclass(frozen=True)
class Row:
    """One randomised quantity."""

    field: Field
    distribution: Distribution
    source: str
    """Where the range comes from."""


class Table:
    """Rows that are sampled independently for every episode. What it prints is what it samples."""

    def __init__(self, *rows: Row):
        """Check the rows.

        Raises:
            InputError: two rows of one name, or a range that cannot be simulated.
        """
        names = [row.field.name for row in rows]
        for name in names:
            if names.count(name) > 1:
                raise InputError(
                    f"{name!r} stands in {names.count(name)} rows of the table: keep one"
                )
        for row in rows:
            low, high = row.distribution.low, row.distribution.high
            top = MAX_LATENCY_S if row.field.setting == "latency_s" else float("inf")
            if low < 0 or high > top:
                raise InputError(
                    f"{row.field.name} {low:g} to {high:g}: choose a range within 0 to {top:g}"
                )
        self.rows = rows

    def sample(self, key: Array) -> Draw:
        """One simulation's numbers. A row's numbers depend on the key and the row's name alone."""
        numbers = {
            row.field.name: row.distribution.sample(
                jax.random.fold_in(key, zlib.crc32(row.field.name.encode())), row.field.count
            )
            for row in self.rows
        }
        settings = {name: jnp.float32(0) for name in SETTINGS}
        fields = {}
        for row in self.rows:
            if row.field.setting is None:
                fields[row.field.name] = numbers[row.field.name]
            else:
                settings[row.field.setting] = numbers[row.field.name][0]
        return Draw(fields=fields, **settings)

    def writes(self, model: mujoco.MjModel) -> tuple[Write, ...]:
        """How the samples change this model."""
        return tuple(
            write for row in self.rows for write in row.field.writes(model, row.field.name)
        )

    def to_json(self) -> list[dict[str, Any]]:
        """The rows as plain data, for reports and run folders."""
        return [
            {
                "field": row.field.name,
                "distribution": str(row.distribution),
                "unit": row.field.unit,
                "numbers": row.field.count,
                "source": row.source,
            }
            for row in self.rows
        ]

    def __str__(self) -> str:
        head = ("field", "distribution", "unit", "per", "source")
        body = [
            (
                r["field"],
                r["distribution"],
                r["unit"],
                "joint" if r["numbers"] > 1 else "episode",
                r["source"],
            )
            for r in self.to_json()
        ]
        widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in [head, tuple("-" * width for width in widths), *body]
        ]
        return "\n".join(lines)
