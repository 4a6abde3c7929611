"""Shapes and types are checked while the tests run; environments are built once and shared."""

import numpy as np
import pytest
from jaxtyping import install_import_hook

with install_import_hook(
    ["regrasp.assets", "regrasp.envs", "regrasp.randomization"], "beartype.beartype"
):
    import regrasp
    from regrasp import BatchEnv
    from regrasp.envs.tasks.transfer_cube import TransferCube

from gymnasium.vector import AutoresetMode

SHORT_S = 0.2
"""Horizon of the short episodes: ten control steps."""


@pytest.fixture(scope="session")
def randomised() -> BatchEnv:
    """Eight rows under the task's table; finished rows stay as they are."""
    return regrasp.make(
        "transfer_cube", 8, threads=1, randomize="table", autoreset=AutoresetMode.DISABLED
    )


@pytest.fixture(scope="session")
def nominal() -> BatchEnv:
    """Eight rows of nominal physics; finished rows stay as they are."""
    return regrasp.make("transfer_cube", 8, threads=1, autoreset=AutoresetMode.DISABLED)


@pytest.fixture(scope="session")
def short() -> BatchEnv:
    """Three rows of short episodes that start again in the same step."""
    return BatchEnv(TransferCube(horizon_s=SHORT_S), 3, threads=1)


@pytest.fixture(scope="session")
def frozen() -> BatchEnv:
    """Three rows of short episodes that stay where they end."""
    task = TransferCube(horizon_s=SHORT_S)
    return BatchEnv(task, 3, threads=1, autoreset=AutoresetMode.DISABLED)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
