"""Rolls chunks of actions out in an environment until every row has finished."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from regrasp.envs import BatchEnv

ActChunk = Callable[
    [dict[str, Float32[np.ndarray, "rows _"]], int], Float32[np.ndarray, "rows chunk action"]
]
"""(observations of all rows, number of the decision) -> chunks of all rows."""


@dataclass(frozen=True)
class Outcomes:
    """How the rows ended."""

    success: Bool[np.ndarray, " rows"]
    steps: Int[np.ndarray, " rows"]
    """Control steps from the start of the rollout to the end of the row's episode."""
    unstable: Bool[np.ndarray, " rows"]
    ended: Bool[np.ndarray, " rows"]
    """The row's episode is over; else the rollout was, before it."""
    env_steps: int
    """Control steps simulated, over all rows."""
    metrics: dict[str, Float[np.ndarray, " rows"]] = field(default_factory=dict)
    """What the task reported of each row's last step, by name."""


class Track:
    """Adds up how the rows end, step by step."""

    def __init__(self, env: BatchEnv):
        self._env = env
        self._running = ~env.done
        self._success = np.zeros(env.num_envs, bool)
        self._unstable = np.zeros(env.num_envs, bool)
        self._steps = np.zeros(env.num_envs, int)
        self._metrics: dict[str, np.ndarray] = {}

    def step(self, result: tuple[Any, ...]) -> Any:
        """Take in what the environment's `step` or `play` returned; gives back the observations."""
        obs, _, _, _, info = result
        self._success |= self._running & info["success"]
        self._unstable |= self._running & info["unstable"]
        self._steps += self._running
        # Of rows that have finished the last step is reported ever again.
        self._metrics = {name: np.array(info[name], float) for name in self._env.metrics}
        self._running = ~self._env.done
        return obs

    def outcomes(self) -> Outcomes:
        steps = int(self._steps.sum())
        ended = ~self._running
        return Outcomes(self._success, self._steps, self._unstable, ended, steps, self._metrics)


def rollout(
    env: BatchEnv,
    act: ActChunk,
    obs: dict[str, np.ndarray],
    on_step: Callable[[int], None] | None = None,
    steps: int = 0,
) -> Outcomes:
    """Play chunks from where the rows stand, all that run at a chunk boundary, until all have finished.

    Args:
        env: with autoreset DISABLED; finished rows stay frozen.
        act: the policy.
        obs: the observations now.
        on_step: called after every control step with its number.
        steps: control steps after which rows that have not finished are halted; 0: the horizon.
    """
    track = Track(env)
    decision = 0
    for step in range(steps or env.horizon):
        if env.done.all():
            break
        if env.due[~env.done].all():
            env.load(act(obs, decision))
            decision += 1
        obs = track.step(env.play())
        if on_step is not None:
            on_step(step)
    env.halt()
    return track.outcomes()


def times_s(outcomes: Outcomes, dt_s: float, horizon_s: float) -> Float[np.ndarray, " rows"]:
    """Time to success; a failure counts as the horizon."""
    return np.where(outcomes.success, outcomes.steps * dt_s, horizon_s)
