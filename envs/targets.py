"""Actions that mean nothing: what environments are tried with."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32

from regrasp.envs.batch_env import BatchEnv

EVERY_S = 0.5
"""How long random joint targets are held."""


def random_targets(
    env: BatchEnv, rng: np.random.Generator, hold_s: float = EVERY_S
) -> Iterator[Float32[np.ndarray, "envs action"]]:
    """Actions without end: joint targets over the full range, new ones every `hold_s`."""
    hold = max(1, round(hold_s / env.task.control_dt_s))
    low, high = env.control.low, env.control.high
    while True:
        targets = rng.uniform(low, high, (env.num_envs, len(low))).astype(np.float32)
        for _ in range(hold):
            yield targets
