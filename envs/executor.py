"""Plays chunks of actions, one control step at a time, for one simulation."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from regrasp.errors import InputError


class ExecutorCarry(NamedTuple):
    """The action buffer and what is left of it.

    The buffer turns as it is played, its next action first: what is pending does not depend on `execute`.
    """

    chunk: Float[Array, "chunk action"]
    left: Int[Array, ""]
    """Actions still to be played; 0: a new chunk is due."""


@dataclass(frozen=True)
class Executor:
    """Receding-horizon execution.

    Of each chunk the first `execute` actions are played, then a new one is due.
    """

    chunk: int
    """Actions in a chunk."""
    execute: int
    """Actions played before the next chunk."""

    def __post_init__(self) -> None:
        if not 1 <= self.execute <= self.chunk:
            raise InputError(
                f"execute {self.execute} of a chunk of {self.chunk}: choose 1 <= execute <= chunk"
            )

    def start(self, action_size: int) -> ExecutorCarry:
        """Nothing loaded: a chunk is due."""
        return ExecutorCarry(jnp.zeros((self.chunk, action_size), jnp.float32), jnp.int32(0))

    def load(self, carry: ExecutorCarry, chunk: Float[Array, "chunk action"]) -> ExecutorCarry:
        """Take a new chunk where one is due; keep playing the old one elsewhere."""
        new = ExecutorCarry(chunk.astype(jnp.float32), jnp.int32(self.execute))
        return jax.tree.map(lambda a, b: jnp.where(carry.left == 0, a, b), new, carry)

    def play(self, carry: ExecutorCarry) -> tuple[ExecutorCarry, Float[Array, " action"]]:
        """The next action; with nothing loaded, the last one again."""
        waiting = carry.left > 0
        action = jnp.where(waiting, carry.chunk[0], carry.chunk[-1])
        chunk = jnp.where(waiting, jnp.roll(carry.chunk, -1, axis=0), carry.chunk)
        return ExecutorCarry(chunk, jnp.maximum(carry.left - 1, 0)), action
