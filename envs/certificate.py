"""What was found out about engines and kept states, as a table, as Markdown and as JSON."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from regrasp.envs.divergence import Growth

HEADS = {
    "same_again": "again",
    "two_threads": "threads",
    "other_rows": "rows",
    "batch_of_one": "batch",
    "saved_and_loaded": "file",
    "another_process": "process",
    "taking_changes_nothing": "taking",
    "restored_on_the_way": "midway",
    "fork_repeats": "forks",
    "derived_fields": "models",
    "same_key_same_episode": "keys",
    "another_start_differs": "noticed",
}
"""Check -> head of its column."""
LEGEND = (
    "Bit for bit the same engine states under the same actions: restored again; on two threads; in other "
    "rows; in a batch of one; from a file; in another process; taken from while running; from the middle "
    "of the run; all copies of one row; models rebuilt from fields; episodes begun from keys. Noticed: a "
    "start that differs by next to nothing is seen. -: does not apply."
)
NOTES_WIDTH = 100
GAP = 3
"""Between columns, at most."""
NAMES = ("task", "engine")
GROWTH_HEADS = (*NAMES, "copies", "1 µm/µrad", "1 mm/mrad", "largest")
GROWTH_LEGEND = (
    "Copies of one state under the same actions, and such with a nanoradian added to one joint: how long "
    "until the largest difference of a joint (rad) or a position (m) exceeds a millionth and a thousandth."
)


@dataclass(frozen=True)
class Certificate:
    """One task on one engine."""

    task: str
    backend: str
    promised: bool
    """Whether this engine promises that every check holds."""
    device: str = ""
    rows: int = 0
    steps: int = 0
    """Control steps compared."""
    checks: Mapping[str, bool | None] = field(default_factory=dict)
    """Whether each held; none: it does not apply to this engine."""
    growth: Mapping[str, Growth] = field(default_factory=dict)
    """How fast what should be alike comes apart, by what was compared."""
    unavailable: str = ""
    """Why the engine cannot be used here."""

    @property
    def exact(self) -> bool:
        """Whether every check held."""
        return not self.unavailable and all(held is not False for held in self.checks.values())

    @property
    def failed(self) -> bool:
        """Whether a promise was broken."""
        return self.promised and not self.exact

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "exact": self.exact}


@dataclass(frozen=True)
class Certificates:
    """All that were asked for."""

    found: tuple[Certificate, ...]

    @property
    def passed(self) -> bool:
        """Whether every promise was kept."""
        return not any(one.failed for one in self.found)

    def to_json(self) -> dict[str, Any]:
        return {"passed": self.passed, "certificates": [one.to_json() for one in self.found]}

    def __str__(self) -> str:
        return self.text(Console().width)

    def text(self, width: int) -> str:
        """Tables no wider than this, one below the other where checks do not fit side by side."""
        heads = list(HEADS)
        each = max(map(len, HEADS.values())) + GAP
        names = sum(max(map(len, column)) + GAP for column in zip(*_names(self.found), strict=True))
        count = max(1, (width - names) // each)
        parts = [
            _aligned(_rows(self.found, heads[first : first + count]), width)
            for first in range(0, len(heads), count)
        ]
        notes = [textwrap.fill(note, min(width, NOTES_WIDTH)) for note in self._notes()]
        if growth := _growth_rows(self.found):
            parts.append(_aligned([GROWTH_HEADS, *growth], width))
        return "\n".join((*parts, *notes))

    def markdown(self) -> str:
        """The same as Markdown tables."""
        parts = [_markdown(_rows(self.found, list(HEADS)))]
        if growth := _growth_rows(self.found):
            parts.append(_markdown([GROWTH_HEADS, *growth]))
        return "\n\n".join((*parts, *self._notes()))

    def _notes(self) -> list[str]:
        sizes: dict[str, list[str]] = {}
        reasons: dict[str, list[str]] = {}
        for one in self.found:
            if one.unavailable:
                said = f"{one.backend} cannot be used here: {one.unavailable}"
                reasons.setdefault(said, []).append(one.task)
            else:
                said = f"{one.backend}: {one.rows} rows, {one.steps} control steps, {one.device}"
                sizes.setdefault(said, []).append(one.task)
        legends = [LEGEND, *([GROWTH_LEGEND] if _growth_rows(self.found) else [])]
        return legends + [f"{said} ({', '.join(t)})" for said, t in (sizes | reasons).items()]


def _rows(found: Sequence[Certificate], checks: Sequence[str]) -> list[Sequence[str]]:
    """Heads and lines; an engine that cannot be used has dashes."""
    words = {True: "yes", False: "no", None: "-"}
    return [
        (*NAMES, *(HEADS[check] for check in checks)),
        *(
            (one.task, one.backend, *(words[one.checks.get(check)] for check in checks))
            for one in found
        ),
    ]


def _names(found: Sequence[Certificate]) -> list[Sequence[str]]:
    return _rows(found, ())


def _growth_rows(found: Sequence[Certificate]) -> list[Sequence[str]]:
    return [
        (one.task, one.backend, what, *growth.words())
        for one in found
        for what, growth in one.growth.items()
    ]


def _aligned(lines: Sequence[Sequence[str]], width: int) -> str:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for head in lines[0]:
        table.add_column(head, no_wrap=head in NAMES)
    for line in lines[1:]:
        table.add_row(*line)
    out = io.StringIO()
    Console(file=out, width=width, color_system=None, force_terminal=False).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table whose source lines up too."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines
    ]
    rule = ["-" * width for width in widths]
    return "\n".join(f"| {' | '.join(line)} |" for line in (padded[0], rule, *padded[1:]))
