"""What the learning tests share: a handful of demonstrations, a small policy, an easy task."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from regrasp.envs import BatchEnv, Executor
from regrasp.envs.tasks.transfer_cube import TransferCube
from regrasp.rl.demonstrate import DemonstrateConfig, DemonstrationResult, demonstrate
from regrasp.rl.episodes import Episodes
from regrasp.rl.policies import FlowPolicy, Params

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


def randomly(policy: FlowPolicy, seed: int = 0) -> Params:
    """Parameters with random weights everywhere: new ones have a velocity of 0."""
    rng = np.random.default_rng(seed)
    obs = rng.normal(0.3, 2, (50, policy.obs_size)).astype(np.float32)
    latent = rng.normal(-0.2, 0.5, (50, policy.latent_size)).astype(np.float32)
    params = policy.init(jax.random.key(seed), obs, latent)

    def shake(leaf: Any) -> Any:
        return leaf + jnp.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype)

    return {**params, "net": jax.tree.map(shake, params["net"])}


@pytest.fixture(scope="session")
def random_params() -> Callable[..., Params]:
    return randomly


@pytest.fixture(scope="session")
def policy() -> FlowPolicy:
    """Two actions, the first relative to the second observation entry."""
    terms = (("cube_pos", 1), ("joint_pos", 2))
    return FlowPolicy(terms, (1, -1), chunk=7, knots=3, steps=4, width=8, depth=2)


@pytest.fixture(scope="session")
def params(policy: FlowPolicy) -> Params:
    return randomly(policy)


@dataclass(frozen=True)
class Nudge(TransferCube):
    """The same scene, where success is one arm joint turned beyond an angle: decided in a moment."""

    horizon_s: float = 0.4
    goal_rad: float = 0.02
    """Success: the left waist beyond this."""
    prize: float = 1.0
    """The environment's reward; an improver of success must not see it."""
    turned: float = 0.0
    """Reward for every radian that the waist is turned."""
    doing: str = ""
    """Ending of the reward's name: whose doing it is."""

    def success(self, view, carry):
        return view.joint_pos[0] > self.goal_rad

    def metrics(self, view, carry):
        return {"turned_rad": view.joint_pos[0]}

    def reward(self, view, carry):
        return {f"prize{self.doing}": self.prize + self.turned * view.joint_pos[0]}


@pytest.fixture(scope="session")
def nudge() -> Callable[..., BatchEnv]:
    """Makes the easy environment: rows, actions in a chunk, changes of the task."""

    def make(rows: int, chunk: int, **changes: Any) -> BatchEnv:
        return BatchEnv(
            Nudge(**changes),
            rows,
            threads=1,
            autoreset=AutoresetMode.DISABLED,
            executor=Executor(chunk, chunk),
        )

    return make
