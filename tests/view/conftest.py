"""Shows of one task, made when first asked for; the page needs viser, and a browser is asked for by name."""

from pathlib import Path

import pytest

from regrasp.view import Show, ViewConfig

TASK = "transfer_cube"


@pytest.fixture(scope="module")
def show() -> Show:
    """The shipped policy under nominal physics."""
    return Show(TASK, ViewConfig(policy=TASK, ghosts=4))


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Show:
    """The scripted expert under nominal physics."""
    folder = tmp_path_factory.mktemp("by hand") / "demos"
    return Show(TASK, ViewConfig(record=Path(folder)))
