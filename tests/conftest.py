"""Shapes and types are checked while the tests run; what is slow to make is made once and shared."""

import contextlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import jax
import numpy as np
import pytest
from jaxtyping import install_import_hook

with install_import_hook(
    ["regrasp.assets", "regrasp.envs", "regrasp.randomization"], "beartype.beartype"
):
    import regrasp
    from regrasp import BatchEnv
    from regrasp.envs.render import check_rendering
    from regrasp.envs.tasks.transfer_cube import TransferCube

from gymnasium.vector import AutoresetMode

from regrasp.errors import InputError

hypothesis.settings.register_profile("same examples", derandomize=True)
hypothesis.settings.load_profile("same examples")

SHORT_S = 0.2
"""Horizon of the short episodes: ten control steps."""


@pytest.fixture(scope="session", autouse=True)
def compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same program is compiled once, however many environments and workers use it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(scope="session")
def drawn() -> None:
    """For tests that draw: skipped, with the reason, where the machine cannot."""
    try:
        check_rendering()
    except InputError as error:
        pytest.skip(str(error))


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


TINY = (
    *("--demos.episodes", "2", "--demos.threads", "1"),
    *("--clone.updates", "100", "--clone.batch", "32", "--clone.width", "16", "--clone.depth", "1"),
    *("--improve.iterations", "1", "--improve.groups", "2", "--improve.tries", "2"),
    *("--improve.fresh", "2", "--improve.update.minibatch", "32", "--improve.judge-episodes", "6"),
    *("--judge.episodes", "2", "--judge.rows", "2"),
)
"""Settings with which the whole road takes seconds, and nothing is learned."""


@dataclass(frozen=True)
class Run:
    """A finished run, made by the command line."""

    folder: Path
    """Not to be changed: copy it."""
    command: tuple[str, ...]
    stdout: str


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The whole road walked once, without videos and without recordings."""
    from regrasp.cli import main

    empty = tmp_path_factory.mktemp("no recordings")
    folder = tmp_path_factory.mktemp("finished") / "run"
    command = ("run", "transfer_cube", "--seed", "3", "--no-video", "--json", *TINY)
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setenv("REGRASP_DATA", str(empty))
        main([*command, "--folder", str(folder)])
    return Run(folder, command, out.getvalue())
