"""A handful of demonstrations, made once."""

from pathlib import Path

import pytest

from regrasp.rl.demonstrate import DemonstrateConfig, DemonstrationResult, demonstrate
from regrasp.rl.episodes import Episodes

DEMOS = 5


@pytest.fixture(scope="session")
def demonstrated(tmp_path_factory: pytest.TempPathFactory) -> DemonstrationResult:
    """The result of demonstrating under the table."""
    path = tmp_path_factory.mktemp("demos") / "set"
    return demonstrate("transfer_cube", path, DemonstrateConfig(episodes=DEMOS, threads=1))


@pytest.fixture(scope="session")
def demos(demonstrated: DemonstrationResult) -> Episodes:
    """What was demonstrated, read back; not to be changed on disk."""
    return Episodes.open(demonstrated.path)


@pytest.fixture(scope="session")
def demos_path(demonstrated: DemonstrationResult) -> Path:
    return demonstrated.path
