"""How far one control step on MJX ends from the same step on the CPU engine.

    python -m benchmarks.parity --backends warp

The states are those of a teacher at work under the task's table, contacts and all; every state is put
into both engines, and both play the same action. Exit code 1: a difference is above its bound.
"""

import sys
from dataclasses import dataclass, replace
from typing import Any

import mujoco
import numpy as np
import tyro
from gymnasium.vector import AutoresetMode
from jaxtyping import Float, Float32
from rich.console import Console
from rich.table import Table

import regrasp
from benchmarks.common import Result, chosen, guarded, note, report
from regrasp import BatchEnv, Snapshot
from regrasp.envs import episode_keys
from regrasp.rl.experts import load_expert

QUANTILES = {"median": 0.5, "p90": 0.9, "largest": 1.0}
BOUNDS = {
    "mjx": {
        "arm position": (1e-5, 2e-4, 3e-3),
        "finger position": (1e-4, 4e-4, 2e-3),
        "object position": (1e-5, 4e-4, 5e-3),
        "object rotation": (1e-4, 1e-2, 0.3),
        "arm velocity": (1e-4, 1e-2, 0.2),
        "object velocity": (3e-4, 2e-2, 0.5),
    },
    "warp": {
        "arm position": (2e-6, 5e-5, 3e-3),
        "finger position": (1e-4, 2e-4, 1e-3),
        "object position": (1e-5, 2e-4, 5e-3),
        "object rotation": (1e-4, 1e-2, 0.3),
        "arm velocity": (1e-4, 5e-3, 0.2),
        "object velocity": (3e-4, 1e-2, 0.5),
    },
}
"""Backend -> quantity -> bounds on its quantiles, in every task: about twice what was measured."""
UNITS = {
    "arm position": "rad",
    "finger position": "m",
    "object position": "m",
    "object rotation": "rad",
    "arm velocity": "rad/s",
    "object velocity": "m/s",
}


@dataclass(frozen=True)
class Parity:
    """Compare one control step between engines."""

    tasks: tuple[str, ...] = ()
    """Which tasks; none: all."""
    backends: tuple[str, ...] = ("mjx", "warp")
    states: int = 100
    """For each task."""
    rows: int = 20
    """States compared at a time."""
    seed: int = 0
    json: bool = False
    """Print one JSON list."""


def working_states(
    task: str, count: int, seed: int, rows: int = 20
) -> tuple[Snapshot, Float32[np.ndarray, "count action"]]:
    """States at random moments of a teacher's episodes under the table, and its next actions."""
    env = regrasp.make(task, rows, randomize="table", autoreset=AutoresetMode.DISABLED)
    expert, rng = load_expert(task), np.random.default_rng(seed)
    env.begin(np.asarray(episode_keys(seed, "train", 0, rows)))
    expert.start(env.view(), np.arange(rows))
    moments = rng.random((env.horizon, rows))
    kept: list[tuple[float, Snapshot, np.ndarray]] = []
    for step in range(env.horizon):
        if env.done.all():
            break
        actions = expert.act(step, env.view())
        for row in np.flatnonzero((moments[step] < 8 * count / moments.size) & ~env.done):
            kept.append((moments[step, row], env.take(int(row)), actions[row]))
        env.step(actions)
    picked = [kept[i] for i in rng.permutation(len(kept))[:count]]
    return Snapshot.concatenate([s for _, s, _ in picked]), np.array([a for *_, a in picked])


def differences(
    here: BatchEnv,
    there: BatchEnv,
    states: Snapshot,
    actions: Float32[np.ndarray, "states action"],
) -> dict[str, Float[np.ndarray, " states"]]:
    """The largest difference of each quantity after one step, for every state that has not ended."""
    rows, parts = here.num_envs, []
    carry = {**states.carry, "step": np.zeros_like(states.carry["step"])}
    states = replace(states, carry=carry)
    for first in range(0, len(states) - rows + 1, rows):
        part = slice(first, first + rows)
        ends = []
        for env in (here, there):
            env.restore(states[part])
            _, _, terminated, truncated, _ = env.step(actions[part])
            ends.append((env.take().row, terminated | truncated))
        (a, over), (b, also) = ends
        parts.append(_compare(here.model, a, b, ~(over | also)))
    return {name: np.concatenate([part[name] for part in parts]) for name in UNITS}


def _compare(model: mujoco.MjModel, a: Any, b: Any, live: Any) -> dict[str, np.ndarray]:
    kinds = model.jnt_type
    q, v = slice(1, 1 + model.nq), slice(1 + model.nq, 1 + model.nq + model.nv)
    dq, dv = (a[live, q] - b[live, q]), (a[live, v] - b[live, v])
    free = np.flatnonzero(kinds == int(mujoco.mjtJoint.mjJNT_FREE))
    at = {
        name: model.jnt_qposadr[kinds == int(getattr(mujoco.mjtJoint, f"mjJNT_{kind}"))]
        for name, kind in (("arm", "HINGE"), ("finger", "SLIDE"))
    }
    dofs = model.jnt_dofadr[kinds == int(mujoco.mjtJoint.mjJNT_HINGE)]
    place = model.jnt_qposadr[free][:, None] + np.arange(3)
    turn = model.jnt_qposadr[free][:, None] + np.arange(3, 7)
    speed = model.jnt_dofadr[free][:, None] + np.arange(3)
    return {
        "arm position": np.abs(dq[:, at["arm"]]).max(1),
        "finger position": np.abs(dq[:, at["finger"]]).max(1),
        "object position": np.abs(dq[:, place]).max((1, 2)),
        # Half the angle between nearby unit quaternions is the length of their difference.
        "object rotation": 2 * np.linalg.norm(dq[:, turn], axis=2).max(1),
        "arm velocity": np.abs(dv[:, dofs]).max(1),
        "object velocity": np.abs(dv[:, speed]).max((1, 2)),
    }


def quantiles(differing: dict[str, Float[np.ndarray, " _"]]) -> dict[str, dict[str, float]]:
    """Quantity -> quantile -> value."""
    return {
        name: {q: float(np.quantile(values, share)) for q, share in QUANTILES.items()}
        for name, values in differing.items()
    }


def above(backend: str, found: dict[str, dict[str, float]]) -> list[str]:
    """What is above its bound, in words."""
    return [
        f"{name}, {quantile}: {value:.2g} {UNITS[name]}, bound {bound:.2g}"
        for name, values in found.items()
        for (quantile, value), bound in zip(values.items(), BOUNDS[backend][name], strict=True)
        if value > bound
    ]


def main() -> int:
    config = tyro.cli(Parity, description=__doc__)
    table = Table(title=f"one control step beside the CPU engine, {config.states} states")
    for head in ("task", "backend", "quantity", *QUANTILES, "unit"):
        table.add_column(head, justify="right" if head in QUANTILES else "left")
    results, wrong = [], []
    for task in chosen(config.tasks):
        states, actions = working_states(task, config.states, config.seed)
        here = regrasp.make(task, config.rows, randomize="table")
        for backend in config.backends:
            note(f"{task} on {backend}: compiling")
            there = regrasp.make(task, config.rows, backend=backend, randomize="table")
            found = quantiles(differences(here, there, states, actions))
            wrong += [f"{task} on {backend}: {words}" for words in above(backend, found)]
            for name, values in found.items():
                cells = [f"{value:.1e}" for value in values.values()]
                table.add_row(task, backend, name, *cells, UNITS[name])
                results += [
                    Result(
                        f"{task}_{backend}_{name.replace(' ', '_')}_{q}", x, UNITS[name], "lower"
                    )
                    for q, x in values.items()
                ]
    if config.json:
        report(results, title="parity", as_json=True)
    else:
        Console().print(table)
    for words in wrong:
        note(f"above its bound: {words}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(guarded(main))
