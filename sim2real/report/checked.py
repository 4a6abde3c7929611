"""Files and figures of a run folder, checked as they are read; refusals name the file."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regrasp.errors import InputError
from regrasp.files import read_json

MAX_BYTES = 64 * 2**20
"""Files larger than this are refused: a page that holds them would not open."""


@dataclass(frozen=True)
class Table:
    """A JSON object out of a file. What is absent or null is NaN or empty, never an error."""

    values: dict[str, Any]
    path: Path

    def number(self, key: str) -> float:
        """A number; NaN for null and for what is not finite."""
        return self._as_number(self.values.get(key), key)

    def numbers(self, key: str) -> list[float]:
        """A list of numbers."""
        return [self._as_number(value, f"one of {key}") for value in self.list(key)]

    def count(self, key: str) -> int:
        """A whole number, which has to be there."""
        number = self.number(key)
        if number < 0 or not number.is_integer():
            raise self._refusal(self.values.get(key), key, "whole number")
        return int(number)

    def text(self, key: str) -> str | None:
        """Words, or whatever else stands there, as text."""
        value = self.values.get(key)
        return None if value is None else str(value)

    def list(self, key: str) -> list[Any]:
        """A list."""
        return self._of_kind(self.values.get(key), list, key)

    def table(self, key: str) -> "Table":
        """An object within this one."""
        return Table(self._of_kind(self.values.get(key), dict, key), self.path)

    def tables(self, key: str) -> "list[Table]":
        """A list of objects."""
        return [
            Table(self._of_kind(value, dict, f"one of {key}"), self.path)
            for value in self.list(key)
        ]

    def _as_number(self, value: Any, key: str) -> float:
        if value is None:
            return float("nan")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._refusal(value, key, "number")
        return float(value) if abs(value) <= sys.float_info.max else float("nan")

    def _of_kind(self, value: Any, kind: type, key: str) -> Any:
        if value is None:
            return kind()
        if not isinstance(value, kind):
            raise self._refusal(value, key, "list" if kind is list else "{name: value}")
        return value

    def _refusal(self, value: Any, key: str, needed: str) -> InputError:
        words = repr(value)
        words = words if len(words) <= 60 else f"{words[:57]}..."
        return InputError(f"{self.path}: {key} is {words}, needs a {needed}; make the file again")


def bytes_in(path: Path) -> bytes:
    """What a file of a reasonable size holds."""
    if path.stat().st_size > MAX_BYTES:
        raise InputError(
            f"{path} is larger than {MAX_BYTES >> 20} MiB: make it smaller, or remove it"
        )
    return path.read_bytes()


def table_in(path: Path, kind: str) -> Table:
    """The JSON object that a file holds; `kind` says what it is in words."""
    bytes_in(path)
    return _table(read_json(path, kind), path)


def lines_in(path: Path) -> Iterator[Table]:
    """The objects of a file of one JSON object a line."""
    for place, line in enumerate(bytes_in(path).decode(errors="replace").splitlines(), 1):
        try:
            if line.strip():
                yield _table(json.loads(line), path)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}, line {place}, is not JSON: {error}; repair or remove that line"
            ) from None


def _table(value: Any, path: Path) -> Table:
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no {{name: value}}; make the file again")
    return Table(value, path)
