"""Rolls chunks of actions out in an environment until every row has finished."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from regrasp.envs import BatchEnv

ActChunk = Callable[[dict[str, Float32[np.ndarray, "rows _"]], int], Float32[np.ndarray, "rows chunk action"]]
"""(observations of all rows, number of the decision) -> chunks of all rows."""


@dataclass(frozen=True)
class Outcomes:
    """How the rows ended."""

    success: Bool[np.ndarray, " rows"]
    steps: Int[np.ndarray, " rows"]
    """Control steps from the start of the rollout to the end of the row's episode."""
    unstable: Bool[np.ndarray, " rows"]
    env_steps: int
    """Control steps simulated, over all rows."""


def rollout(
    env: BatchEnv,
    act: ActChunk,
    obs: dict[str, np.ndarray],
    on_step: Callable[[int], None] | None = None,
) -> Outcomes:
    """Play chunks from where the rows stand, all at a chunk boundary, until all have finished.

    Args:
        env: with autoreset DISABLED; finished rows stay frozen.
        act: the policy.
        obs: the observations now.
        on_step: called after every control step with its number.
    """
    success = np.zeros(env.num_envs, bool)
    unstable = np.zeros(env.num_envs, bool)
    steps = np.zeros(env.num_envs, int)
    decision = 0
    for step in range(env.horizon):
        running = ~env.done
        if not running.any():
            break
        if env.due.all():
            env.load(act(obs, decision))
            decision += 1
        obs, _, _, _, info = env.play()
        success |= running & info["success"]
        unstable |= running & info["unstable"]
        steps += running
        if on_step is not None:
            on_step(step)
    return Outcomes(success, steps, unstable, int(steps.sum()))


def times_s(outcomes: Outcomes, dt_s: float, horizon_s: float) -> Float[np.ndarray, " rows"]:
    """Time to success; a failure counts as the horizon."""
    return np.where(outcomes.success, outcomes.steps * dt_s, horizon_s)
