"""The repeat floor: how far two runs of the same commands on the real arm are apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from regrasp.sim2real.log import Log
from regrasp.sim2real.metrics import angle_columns, rmse

SAME_COMMAND = 1e-3
"""Largest difference (rad, gripper 0..1) between commands that count as the same."""


@dataclass(frozen=True, eq=False)
class Floor:
    """No simulation can be told from the real arm below this.

    A pair's difference carries the noise of two runs. If the runs' noise is independent and
    alike, one run's own is smaller by sqrt(2); both figures are kept.
    """

    pair_rmse: Float[np.ndarray, "joints"]
    """Median over the pairs of the RMSE between two runs (rad, gripper 0..1); NaN if no pairs."""
    pairs: int
    """Pairs of runs with the same commands."""
    left_out: int
    """Pairs that carry the same name but not the same commands at the same times."""

    @property
    def single_rmse(self) -> Float[np.ndarray, "joints"]:
        """One run's share of the pair's RMSE: divided by sqrt(2)."""
        return self.pair_rmse / np.sqrt(2)


def repeat_floor(logs: Sequence[Log]) -> Floor:
    """The floor from every pair of logs that carry the same name and the same commands.

    Runs are matched row by row from their first rows and cut to the shorter one, whose end
    another edit of the motion may lack. A pair is left out if any command there differs by more
    than SAME_COMMAND or if stamps drift apart by half a sample. The same recording given twice is
    not a repeat.

    Args:
        logs: recordings of one arm; those without a repeat are passed over.
    """
    joints = len(logs[0].joints) if logs else 0
    hinges = angle_columns(joints)
    named = _namesakes(logs)
    pairs = repeat_pairs(logs)
    found = [rmse(first.q[:count], second.q[:count], hinges) for first, second, count in pairs]
    median = np.median(found, axis=0) if found else np.full(joints, np.nan)
    return Floor(pair_rmse=median, pairs=len(pairs), left_out=len(named) - len(pairs))


def repeat_pairs(logs: Sequence[Log]) -> list[tuple[Log, Log, int]]:
    """Pairs of runs with the same commands, and the rows for which they agree: `repeat_floor`."""
    counted = ((first, second, _common_rows(first, second)) for first, second in _namesakes(logs))
    return [(first, second, count) for first, second, count in counted if count]


def _namesakes(logs: Sequence[Log]) -> list[tuple[Log, Log]]:
    return [
        (first, second)
        for first, second in combinations(logs, 2)
        if first.name == second.name and not _same_recording(first, second)
    ]


def _common_rows(first: Log, second: Log) -> int:
    """Rows for which the two agree in time and command; 0 if they cannot be compared."""
    count = min(len(first.t), len(second.t))
    t_first, t_second = first.t[:count] - first.t[0], second.t[:count] - second.t[0]
    if np.abs(t_first - t_second).max() > first.period_s / 2:
        return 0
    return count if np.abs(first.cmd[:count] - second.cmd[:count]).max() <= SAME_COMMAND else 0


def _same_recording(first: Log, second: Log) -> bool:
    count = min(len(first.t), len(second.t))
    # A copy may be in single precision; encoders step by more than this.
    return bool(np.abs(first.q[:count] - second.q[:count]).max() < 1e-6)
