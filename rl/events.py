"""Metrics for TensorBoard, beside the JSON lines that everything else reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter


class Events:
    """Writes numbers by name and step; in a run that goes on, TensorBoard forgets what is done again."""

    def __init__(self, folder: Path, done: int = 0):
        """Open the event files in `folder`/tensorboard.

        Args:
            folder: of a stage.
            done: the last step that counts of what was written before.
        """
        purge = done + 1 if done else 0
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=purge)

    def add(self, step: int, row: Mapping[str, Any], under: str = "") -> None:
        """Every number of a row of metrics; what is nested is named with a slash."""
        for name, value in row.items():
            if isinstance(value, Mapping):
                self.add(step, value, f"{under}{name}/")
            elif isinstance(value, int | float):
                self._writer.add_scalar(under + name, value, step)

    def close(self) -> None:
        """Write what is still to be written."""
        self._writer.close()
