"""Identification judged on motions and days that it has not seen: cross-validation over recordings.

    python -m benchmarks.held_out RECORDINGS

Motions are dealt out to folds. For each fold the arm is identified on the other motions, of other days than
the fold's, and replayed on the fold's own: neither motion nor day was fitted, offsets included. Recordings of
a single day leave motions alone to be held out. Figures are root mean squares of simulated minus measured
position (rad), beside those of the nominal arm.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.common import Result, guarded, note, report
from regrasp.assets.arm import load_arm
from regrasp.errors import InputError
from regrasp.files import write_json
from regrasp.sim2real.gap import RecordingGap, gap_of
from regrasp.sim2real.identify import IdentifyConfig
from regrasp.sim2real.identify.pieces import folds, session_name
from regrasp.sim2real.identify.run import identify_logs
from regrasp.sim2real.log import Log
from regrasp.sim2real.params import with_params
from regrasp.sim2real.readers import read_logs


@dataclass(frozen=True)
class HeldOut:
    """Identify on some motions and days, and judge on others."""

    recordings: tyro.conf.Positional[tuple[Path, ...]]
    """Recordings, or folders of them."""
    arm: str = "so101"
    folds: int = 3
    """Parts that motions are dealt out to."""
    identify: IdentifyConfig = field(default_factory=IdentifyConfig)
    folder: Path = Path("runs/held-out")
    """Where parameter files are kept, and fits go on from."""
    json: bool = False
    """Print one JSON list."""


def judged(config: HeldOut, logs: Sequence[Log]) -> list[tuple[Log, RecordingGap, RecordingGap]]:
    """Every held-out recording, its gap with identified servos, and with nominal ones."""
    arm = load_arm(config.arm)
    found = []
    for k, (train, held) in enumerate(folds(logs, config.folds)):
        if (train & held).any():
            raise InputError(
                f"folds {config.folds} of {len(logs)} recordings leave no motion that is not fitted: "
                "choose 2 or more, and give recordings of at least 2 motions"
            )
        file = config.folder / f"{config.arm}-{k}.json"
        fitted = identify_logs(
            [log for log, mine in zip(logs, train, strict=True) if mine],
            arm,
            config.identify,
            tell=_teller(f"fold {k + 1}"),
            kept=file.with_suffix(".partial.json"),
        )
        write_json(file, fitted.params)
        mine = [log for log, kept_back in zip(logs, held, strict=True) if kept_back]
        gap, stock = gap_of(mine, with_params(arm, file)), gap_of(mine, arm)
        days = ", ".join(sorted({session_name(log) for log in mine}))
        terms = "; ".join(sorted(set(fitted.rungs.values())))
        note(
            f"fold {k + 1}: {len(mine)} recordings ({days}) held out: "
            f"{gap.rmse_rad:.4f} rad, nominal {stock.rmse_rad:.4f}; "
            f"{fitted.seconds:.0f} s on {int(train.sum())} others; terms: {terms}"
        )
        found += list(zip(mine, gap.recordings, stock.recordings, strict=True))
    return found


def _teller(fold: str) -> Callable[[int, int, str], None]:
    last = [""]

    def tell(done: int, total: int, text: str) -> None:
        if text != last[0]:
            last[0] = text
            note(f"{fold}: {done}/{total} {text}")

    return tell


def shown(
    found: Sequence[tuple[Log, RecordingGap, RecordingGap]], arm_joints: Sequence[str]
) -> Table:
    """Every motion, worst first."""
    table = Table(title="motions that were not fitted, RMSE in rad")
    for head in ("motion", "day", "arm", *arm_joints, "nominal arm"):
        table.add_column(head, justify="left" if head in ("motion", "day") else "right")
    for log, gap, stock in sorted(found, key=lambda row: -row[1].rmse_rad):
        joints = (f"{gap.joints[name].rmse_rad:.4f}" for name in arm_joints)
        table.add_row(
            log.name, session_name(log), f"{gap.rmse_rad:.4f}", *joints, f"{stock.rmse_rad:.4f}"
        )
    return table


def main() -> int:
    """Run the benchmark."""
    config = tyro.cli(HeldOut, description=__doc__)
    arm = load_arm(config.arm)
    found = judged(config, read_logs(config.recordings, arm))
    joints = arm.joint_names[:-1]
    results = []
    for who, gaps in (
        ("identified", [gap for _, gap, _ in found]),
        ("nominal", [stock for _, _, stock in found]),
    ):
        medians = [float(np.median([gap.joints[name].rmse_rad for gap in gaps])) for name in joints]
        results += [
            Result(f"{who}: mean of the joints' medians", float(np.mean(medians)), "rad", "lower"),
            *(
                Result(f"{who}: median of {name}", median, "rad", "lower")
                for name, median in zip(joints, medians, strict=True)
            ),
        ]
    results.append(Result("recordings held out", float(len(found)), "count", "higher"))
    Console(width=160, stderr=config.json).print(shown(found, joints))
    report(results, title="Held-out motions and days", as_json=config.json)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
