"""Committed baselines: ratios of things measured side by side, one file for each kind of machine."""

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import Result, device, note
from regrasp.errors import InputError
from regrasp.files import read_json, write_json

FOLDER = Path(__file__).with_name("baselines")
TOLERANCE = 0.1
"""A ratio may be worse than its baseline by this share."""


def path_of(machine: str) -> Path:
    """The file of a kind of machine."""
    return FOLDER / f"{re.sub('[^a-z0-9]+', '_', machine.lower()).strip('_')}.json"


def ratios(results: Sequence[Result]) -> dict[str, float]:
    """What may be kept: figures without a unit whose name says that they are ratios."""
    return {
        result.metric: round(result.value, 4)
        for result in results
        if result.unit == "1" and result.metric.endswith("_ratio")
    }


def update(results: Sequence[Result], machine: str | None = None) -> Path:
    """Make these ratios the baseline; those of metrics not measured now stay."""
    path = path_of(machine or device())
    kept = read_json(path, "baseline") if path.exists() else {}
    merged = dict(sorted({**kept, **ratios(results)}.items()))
    write_json(path, merged)
    return path


def worse(results: Sequence[Result], machine: str | None = None) -> list[str]:
    """What has become worse than the baseline, in words.

    Raises:
        InputError: there is no baseline for this kind of machine.
    """
    path = path_of(machine or device())
    if not path.exists():
        raise InputError(
            f"there is no baseline {path.name}: make one with --update, on a quiet machine"
        )
    kept, found = read_json(path, "baseline"), []
    better = {result.metric: result.better for result in results}
    for metric, value in ratios(results).items():
        if metric not in kept:
            note(f"{metric} has no baseline yet")
        elif is_worse(value, float(kept[metric]), better[metric]):
            found.append(f"{metric} is {value:.3f}, its baseline {kept[metric]:.3f}")
    return found


def is_worse(value: float, kept: float, better: str) -> bool:
    """Whether a ratio is beyond the tolerance, on the bad side."""
    if better == "higher":
        return value < kept * (1 - TOLERANCE)
    return value > kept * (1 + TOLERANCE)
