"""Shows of one task, made once for each file; every test finds them as if they had just been made."""

import pytest

from regrasp.view import Show, ViewConfig
from regrasp.view.actors import Actor

TASK = "transfer_cube"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Show, Actor]]:
    """By who acts, with whoever it was at first."""
    folder = tmp_path_factory.mktemp("by hand") / "demos"
    shows = {
        "policy": Show(TASK, ViewConfig(policy=TASK, ghosts=4)),
        "expert": Show(TASK, ViewConfig(record=folder)),
    }
    return {name: (show, show.actor) for name, show in shows.items()}


@pytest.fixture
def show(made: dict[str, tuple[Show, Actor]]) -> Show:
    """The shipped policy under nominal physics, at the start of episode 0."""
    return _fresh(*made["policy"])


@pytest.fixture
def taught(made: dict[str, tuple[Show, Actor]]) -> Show:
    """The scripted expert under nominal physics, at the start of episode 0."""
    return _fresh(*made["expert"])


def _fresh(show: Show, actor: Actor) -> Show:
    show.clear()
    show.recorder.drop()
    show.actor = actor
    show.begin(0)
    return show
