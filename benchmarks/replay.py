"""How long it takes to replay recordings, and to ask where and why they differ.

    python -m benchmarks.replay RECORDINGS

Wall time and processor time, the fastest of a few runs: other work on the machine adds to the former.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.common import Result, guarded, report
from regrasp.assets.arm import load_arm
from regrasp.errors import check_positive
from regrasp.sim2real import gap_of, read_logs, replay, replay_windows


@dataclass(frozen=True)
class Replay:
    """Measure replays."""

    recordings: tyro.conf.Positional[tuple[Path, ...]]
    """Recordings, or folders of them."""
    arm: str = "so101"
    repeats: int = 3
    """The fastest of so many runs counts."""
    json: bool = False
    """Print one JSON list."""

    def __post_init__(self) -> None:
        check_positive(self, ("repeats",))


def fastest(run: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Wall and processor seconds of the fastest run."""
    found = []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        run()
        found.append((time.perf_counter() - wall, time.process_time() - processor))
    return min(wall for wall, _ in found), min(processor for _, processor in found)


def main() -> int:
    """Run the benchmark."""
    config = tyro.cli(Replay, description=__doc__)
    arm = load_arm(config.arm)
    logs = read_logs(config.recordings, arm)
    work = {
        "replay, open loop": lambda: replay(logs, arm),
        "replay, windows of 1 s every 2 s": lambda: replay_windows(logs, arm, 50, 100),
        "gap in detail": lambda: gap_of(logs, arm, detail=True),
    }
    results = []
    for name, run in work.items():
        wall, processor = fastest(run, config.repeats)
        title = f"{name}, {len(logs)} recordings"
        results += [
            Result(f"{title}: wall time", wall, "s", "lower"),
            Result(f"{title}: processor time", processor, "s", "lower"),
        ]
    report(results, title="Replay", as_json=config.json)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
