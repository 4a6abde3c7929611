"""Plays chunks of actions, one control step at a time, for one simulation."""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from regrasp.errors import InputError

NOTHING = -1
"""`left` before the first chunk: there is nothing old to be played while a chunk is on its way."""


class ExecutorCarry(NamedTuple):
    """The action buffer and what is left of it.

    The buffer turns as it is played, its next action first: what is pending does not depend on `execute`.
    """

    chunk: Float[Array, "length action"]
    left: Int[Array, ""]
    """Actions still to be played; 0 or less: a new chunk is due."""
    covered: Int[Array, " length"] | None = None
    """By how many chunks each action is covered, with ensembling."""


@dataclass(frozen=True)
class Executor:
    """Receding-horizon execution: of each chunk `execute` actions are played, then a new one is due.

    A policy takes time: with a `delay`, the first actions of a new chunk come too late and those of the old
    one are played instead. `Policy.act` can be told of them, so that what it adds fits.
    """

    chunk: int
    """Actions in a chunk."""
    execute: int
    """Control steps from one chunk to the next."""
    delay: int = 0
    """Control steps from an observation to the first action that can follow from it."""
    ensemble: float | None = None
    """Play the weighted mean of all chunks that cover a control step; of each chunk the weight is exp(-this)
    times that of the one before (temporal ensembling: ACT, Zhao et al., 2023, where it is 0.01)."""
    speed: float = 1.0
    """Actions of a chunk per control step: 2 plays chunks of 50 Hz as if they were of 100 Hz."""
    lead: float = 0.0
    """By how many control steps servos trail: faster, commands must run ahead of them by more."""

    def __post_init__(self) -> None:
        if not 1 <= self.execute <= self.chunk:
            raise InputError(
                f"execute {self.execute} of a chunk of {self.chunk}: choose 1 <= execute <= chunk"
            )
        if not (1 <= self.speed <= 4 and self.lead >= 0):
            raise InputError(
                f"speed {self.speed} and lead {self.lead}: choose 1 <= speed <= 4 and lead >= 0"
            )
        if self.ensemble is not None and not 0 <= self.ensemble < np.inf:
            raise InputError(f"ensemble {self.ensemble}: choose 0 or more, such as 0.01")
        if not 0 <= self.delay <= self.length - self.execute:
            raise InputError(
                f"execute {self.execute} and delay {self.delay}: a chunk of {self.chunk} lasts for "
                f"{self.length} control steps, choose delay >= 0 and execute + delay <= {self.length}"
            )

    @property
    def length(self) -> int:
        """Control steps that a chunk lasts."""
        return int((self.chunk - 1 - self._ahead) / self.speed + 1e-6) + 1

    @property
    def _ahead(self) -> float:
        return (self.speed - 1) * self.lead

    def start(self, action_size: int) -> ExecutorCarry:
        """Nothing loaded: a chunk is due."""
        covered = None if self.ensemble is None else jnp.zeros(self.length, jnp.int32)
        chunk = jnp.zeros((self.length, action_size), jnp.float32)
        return ExecutorCarry(chunk, jnp.int32(NOTHING), covered)

    def load(self, carry: ExecutorCarry, chunk: Float[Array, "chunk action"]) -> ExecutorCarry:
        """Take a new chunk where one is due; keep playing the old one elsewhere."""
        new, covered = self._paced(chunk.astype(jnp.float32)), carry.covered
        if covered is not None:
            weight = jnp.exp(-self.ensemble * covered)[:, None]  # type: ignore[operator]
            before = jnp.sum(
                jnp.exp(-self.ensemble * np.arange(self.length))  # type: ignore[operator]
                * (jnp.arange(self.length) < covered[:, None]),
                axis=1,
            )[:, None]
            new = (before * carry.chunk + weight * new) / (before + weight)
        late = (jnp.arange(self.length) < self.delay) & (carry.left != NOTHING)
        due = carry.left <= 0
        keep_old = (late | ~due)[:, None]
        return ExecutorCarry(
            jnp.where(keep_old, carry.chunk, new),
            jnp.where(due, self.execute, carry.left).astype(jnp.int32),
            None if covered is None else jnp.where(due, covered + 1, covered),
        )

    def play(self, carry: ExecutorCarry) -> tuple[ExecutorCarry, Float[Array, " action"]]:
        """The next action; with nothing loaded, the last one again."""
        waiting = carry.left > 0
        action = jnp.where(waiting, carry.chunk[0], carry.chunk[-1])
        chunk = jnp.where(waiting, jnp.roll(carry.chunk, -1, axis=0), carry.chunk)
        left, covered = jnp.where(waiting, carry.left - 1, carry.left), carry.covered
        if covered is not None:
            # What was played comes round again as the end of the next chunk: nothing is known of it.
            covered = jnp.where(waiting, jnp.roll(covered, -1).at[-1].set(0), covered)
        return ExecutorCarry(chunk, left, covered), action

    def _paced(self, chunk: Float[Array, "chunk action"]) -> Float[Array, "length action"]:
        """The chunk at the pace at which it is played."""
        if self.speed == 1:
            return chunk
        at = self._ahead + self.speed * np.arange(self.length)
        low = np.minimum(at.astype(int), self.chunk - 2)
        share = (at - low)[:, None].astype(np.float32)
        return jnp.asarray((1 - share) * chunk[low] + share * chunk[low + 1])
