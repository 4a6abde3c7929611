"""Whether the engine stays sound under random full-range joint targets.

    python -m benchmarks.stability --hours 1

Exit code 1 on any engine warning (a row that warned is reset, and counts once for each warning).
"""

import sys
from dataclasses import dataclass, field

import mujoco
import numpy as np
import tyro

import regrasp
from benchmarks.common import Result, note, random_targets, report
from regrasp import BatchEnv

LOOKED_AT = 4
"""Rows whose contacts are looked at in each control step, in turn."""


@dataclass(frozen=True)
class Stability:
    """Simulate randomised environments for long and count engine warnings."""

    task: str = "transfer_cube"
    envs: int = 256
    hours: float = 1.0
    """Simulated time, summed over all environments."""
    hours_per_env: float | None = None
    """Simulated time of each environment, instead of `hours`."""
    threads: int = 0
    seed: int = 0
    json: bool = False
    """Print one JSON list."""

    def steps(self, control_dt_s: float) -> int:
        hours = self.hours_per_env or self.hours / self.envs
        return int(np.ceil(hours * 3600 / control_dt_s))


@dataclass
class Extremes:
    """The worst that was seen."""

    model: mujoco.MjModel
    speed: dict[str, float] = field(default_factory=lambda: {"hinge": 0.0, "slide": 0.0})
    """Highest joint speed (rad/s, m/s), free joints left out."""
    depth_m: float = 0.0
    """Deepest penetration."""
    pair: str = "nothing"
    """Which geoms that was."""

    def look(self, env: BatchEnv, step: int) -> None:
        """Speeds of all rows, and contacts of some."""
        nq, nv = self.model.nq, self.model.nv
        qvel = np.abs(env.take().row[:, 1 + nq : 1 + nq + nv]).max(axis=0)
        kinds = self.model.jnt_type[self.model.dof_jntid]
        for name in self.speed:
            kind = getattr(mujoco.mjtJoint, f"mjJNT_{name.upper()}")
            self.speed[name] = max(self.speed[name], float(qvel[kinds == kind].max(initial=0)))
        for row in (step * LOOKED_AT + np.arange(LOOKED_AT)) % env.num_envs:
            self._contacts(env.row_data(int(row)))

    def _contacts(self, data: mujoco.MjData) -> None:
        if not data.ncon:
            return
        deepest = int(np.argmin(data.contact.dist))
        if -data.contact.dist[deepest] > self.depth_m:
            self.depth_m = float(-data.contact.dist[deepest])
            names = [self.model.geom(geom).name for geom in data.contact.geom[deepest]]
            self.pair = " and ".join(names)


def measure(config: Stability) -> list[Result]:
    """Simulate, and count."""
    env = regrasp.make(
        config.task, config.envs, threads=config.threads, randomize="table", seed=config.seed
    )
    env.reset()
    source = random_targets(env, np.random.default_rng(config.seed))
    steps = config.steps(env.task.control_dt_s)
    warned, worst = 0, Extremes(env.model)
    for step in range(steps):
        info = env.step(next(source))[-1]
        warned += int(info["unstable"].sum())
        worst.look(env, step)
        if step % 500 == 499:
            note(f"{step + 1} of {steps} control steps, {warned} warnings")
    note(f"deepest penetration between {worst.pair}")
    hours = steps * env.task.control_dt_s * config.envs / 3600
    return [
        Result("simulated_time", hours, "h", "higher"),
        Result("engine_warnings", warned, "1", "lower"),
        Result("max_hinge_speed", worst.speed["hinge"], "rad/s", "lower"),
        Result("max_slide_speed", worst.speed["slide"], "m/s", "lower"),
        Result("deepest_penetration", worst.depth_m * 1e3, "mm", "lower"),
    ]


def main() -> int:
    config = tyro.cli(Stability, description=__doc__)
    results = measure(config)
    report(results, title="stability", as_json=config.json)
    return int(any(r.value > 0 for r in results if r.metric == "engine_warnings"))


if __name__ == "__main__":
    sys.exit(main())
