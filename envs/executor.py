"""Plays chunks of actions, one control step at a time, for one simulation."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class ExecutorCarry(NamedTuple):
    """The action buffer and how far it has been played."""

    chunk: Float[Array, "chunk action"]
    cursor: Int[Array, ""]


@dataclass(frozen=True)
class Executor:
    """Receding-horizon execution: of each chunk the first `execute` actions are played, then a new one is due."""

    chunk: int
    """Actions in a chunk."""
    execute: int
    """Actions played before the next chunk."""

    def start(self, action_size: int) -> ExecutorCarry:
        """Nothing loaded: a chunk is due."""
        return ExecutorCarry(
            jnp.zeros((self.chunk, action_size), jnp.float32), jnp.int32(self.execute)
        )

    def due(self, carry: ExecutorCarry) -> Bool[Array, ""]:
        return carry.cursor >= self.execute

    def load(self, carry: ExecutorCarry, chunk: Float[Array, "chunk action"]) -> ExecutorCarry:
        """Take a new chunk where one is due; keep playing the old one elsewhere."""
        new = ExecutorCarry(chunk.astype(jnp.float32), jnp.int32(0))
        due = self.due(carry)
        return jax.tree.map(lambda a, b: jnp.where(due, a, b), new, carry)

    def play(self, carry: ExecutorCarry) -> tuple[ExecutorCarry, Float[Array, " action"]]:
        """The next action."""
        return ExecutorCarry(carry.chunk, carry.cursor + 1), carry.chunk[carry.cursor]
