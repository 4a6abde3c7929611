"""The other side of `benchmarks.peer`: EnvPool in a process and an environment of its own.

Reads commands from stdin and answers on stdout, one JSON object per line; only NumPy and EnvPool are
imported. Started by `benchmarks.peer`, not by hand.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import envpool  # pyright: ignore[reportMissingImports]
import numpy as np

SCENE = "mujoco/playground/assets/mujoco_playground/_src/manipulation/aloha/xmls/mjx_hand_over.xml"
"""Of the scene, inside the package with its assets."""

Block = Callable[[list[np.ndarray]], dict[str, int]]
"""Plays these actions, one control step each; returns how episodes ended."""


def main() -> None:
    settings = json.loads(sys.argv[1])
    pool = envpool.make_gymnasium(settings.pop("task"), **settings)
    play = asynchronous(pool) if pool.is_async else synchronous(pool)
    batch = pool.config["batch_size"] or pool.config["num_envs"]
    rng = np.random.default_rng(settings["seed"])
    low, high = pool.action_space.low, pool.action_space.high
    answer(facts(pool))
    for line in sys.stdin:
        count = json.loads(line)["steps"] * pool.config["num_envs"] // batch
        actions = [rng.uniform(low, high, (batch, len(low))) for _ in range(count)]
        begin = time.perf_counter()
        ended = play(actions)
        answer({"seconds": time.perf_counter() - begin, "steps": count * batch, **ended})


def synchronous(pool: Any) -> Block:
    """Gymnasium's vector `step`: all environments, then all again."""
    pool.reset()

    def play(actions: list[np.ndarray]) -> dict[str, int]:
        terminated = truncated = 0
        for action in actions:
            _, _, end, cut, _ = pool.step(action)
            terminated, truncated = terminated + int(end.sum()), truncated + int(cut.sum())
        return {"terminated": terminated, "truncated": truncated}

    return play


def asynchronous(pool: Any) -> Block:
    """EnvPool's own way: whichever environments are ready first are sent on.

    Nothing is under way between two blocks: the other side must have the machine for itself.
    """
    groups = pool.config["num_envs"] // pool.config["batch_size"]
    pool.async_reset()
    waiting = [pool.recv()[-1]["env_id"].copy() for _ in range(groups)]

    def play(actions: list[np.ndarray]) -> dict[str, int]:
        terminated = truncated = 0
        for step in range(len(actions) + groups):
            if step >= groups:
                _, _, end, cut, info = pool.recv()
                terminated, truncated = terminated + int(end.sum()), truncated + int(cut.sum())
                waiting.append(info["env_id"].copy())
            if step < len(actions):
                pool.send(actions[step], waiting.pop(0))
        return {"terminated": terminated, "truncated": truncated}

    return play


def facts(pool: Any) -> dict[str, float]:
    """Control period and physics time step: as the pool says, and as its scene does."""
    config = pool.config
    option = ElementTree.parse(Path(config["base_path"]) / SCENE).getroot().find("option")
    scene = {} if option is None else option.attrib
    return {
        "control_dt_s": config["ctrl_dt"],
        "timestep_s": config["sim_dt"],
        "scene_timestep_s": float(scene.get("timestep", "nan")),
        "solver_iterations": float(scene.get("iterations", "nan")),
        "threads": config["num_threads"],
        "horizon_s": config["max_episode_steps"] * config["ctrl_dt"],
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def answer(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main()
