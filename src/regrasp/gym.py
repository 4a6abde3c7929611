"""The front door: environments by name, here and in Gymnasium's registry."""

from typing import Any

import gymnasium

IDS = {
    "transfer_cube": "regrasp/TransferCube-v0",
    "hand_over": "regrasp/HandOver-v0",
    "lift_pot": "regrasp/LiftPot-v0",
    "peg_insertion": "regrasp/PegInsertion-v0",
    "tidy": "regrasp/Tidy-v0",
    "press_dough": "regrasp/PressDough-v0",
    "fold_towel": "regrasp/FoldTowel-v0",
    "route_cable": "regrasp/RouteCable-v0",
}


def register() -> None:
    """Put every task into Gymnasium's registry."""
    for task, name in IDS.items():
        if name not in gymnasium.registry:
            gymnasium.register(
                name,
                entry_point="regrasp.gym:make_single",
                vector_entry_point="regrasp.gym:make_vector",
                kwargs={"task": task},
            )


def make(
    task: str,
    num_envs: int = 1,
    *,
    backend: str = "cpu",
    threads: int = 0,
    randomize: Any = "nominal",
    observe: str = "state",
    workcell: str = "aloha",
    seed: int = 0,
    **options: Any,
) -> Any:
    """Build a vectorised environment.

    Args:
        task: a task's name, such as "transfer_cube".
        num_envs: simulations.
        backend: the engine; "cpu" is exact, float64, on all cores; "mjx" and "warp" are float32,
            for an accelerator.
        threads: of the engine; 0: one per core.
        randomize: "nominal", "table" (the task's own), or a `Table`.
        observe: "state": joints and object poses.
        workcell: whose arms do it: "aloha", "so101", or the file of a table.
        seed: of everything random.
        options: passed on to `BatchEnv`: role, autoreset, executor.

    Returns:
        A `BatchEnv`.

    Raises:
        InputError: an unknown name, or a number out of range.
    """
    from regrasp.envs import BatchEnv, load_task
    from regrasp.errors import unknown
    from regrasp.randomization import randomizer_for

    if observe != "state":
        raise unknown("observation", observe, ["state"])
    found = load_task(task, workcell)
    randomizer = randomizer_for(task, randomize, workcell)
    return BatchEnv(
        found,
        num_envs,
        backend=backend,
        randomizer=randomizer,
        threads=threads,
        seed=seed,
        **options,
    )


def make_vector(task: str, num_envs: int, **options: Any) -> Any:
    """What `gymnasium.make_vec` calls."""
    return make(task, num_envs, **options)


def make_single(task: str, render_mode: str | None = None, **options: Any) -> gymnasium.Env:
    """What `gymnasium.make` calls."""
    from regrasp.envs.single_env import SingleEnv

    options.setdefault("threads", 1)
    from gymnasium.vector import AutoresetMode

    return SingleEnv(make(task, 1, autoreset=AutoresetMode.DISABLED, **options), render_mode)
