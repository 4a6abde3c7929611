"""Which states to try from: those whose success is uncertain, walking back to the start of the task.

The expected share of a group that teaches something peaks where success is near one half, so moments are
chosen in proportion to p (1 - p), with p the estimated success of their phase.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

BINS = 12
"""Phases of an episode that are told apart."""
FORGET = 0.8
"""Weight of an old estimate after an iteration."""


class CurriculumState(NamedTuple):
    """Discounted successes and rollouts of every phase; the last entry is the task's own start."""

    successes: Float[np.ndarray, " bins"]
    tries: Float[np.ndarray, " bins"]


class Choice(NamedTuple):
    """Where the groups of one iteration start."""

    moment: Int[np.ndarray, " groups"]
    """Index of a kept state; -1: a fresh start of the task."""
    bin: Int[np.ndarray, " groups"]
    phase: Float[np.ndarray, " groups"]
    """0: start of the episode, 1: its end."""


class Curriculum:
    """Chooses kept states and learns from how they went."""

    def __init__(self, phases: Float[np.ndarray, " moments"], groups: int, start_groups: int):
        self._phases, self._groups, self._start_groups = phases, groups, start_groups
        self._bin = np.minimum((phases * BINS).astype(int), BINS - 1)

    def start(self) -> CurriculumState:
        """Nothing known: one success and one failure for every phase."""
        return CurriculumState(np.full(BINS + 1, 1.0), np.full(BINS + 1, 2.0))

    def choose(self, state: CurriculumState, key: Array) -> Choice:
        """Draw the groups' starts: some always at the task's own, the rest where success is uncertain."""
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        rate = state.successes / state.tries
        weight = rate * (1 - rate)
        counts = np.bincount(self._bin, minlength=BINS)
        weight[:BINS] *= counts > 0
        free = rng.choice(BINS + 1, self._groups - self._start_groups, p=weight / weight.sum())
        bins = np.concatenate([np.full(self._start_groups, BINS), free])
        moment = np.array(
            [-1 if b == BINS else rng.choice(np.flatnonzero(self._bin == b)) for b in bins]
        )
        phase = np.where(moment < 0, 0.0, self._phases[np.maximum(moment, 0)])
        return Choice(moment, bins, phase)

    def learn(
        self, state: CurriculumState, choice: Choice, success: Float[np.ndarray, " groups"]
    ) -> CurriculumState:
        """Update the estimates with the success rates of the groups."""
        successes, tries = state.successes.copy(), state.tries.copy()
        for b in np.unique(choice.bin):
            here = choice.bin == b
            successes[b] = FORGET * successes[b] + success[here].sum()
            tries[b] = FORGET * tries[b] + here.sum()
        # No estimate ever reaches 0 or 1: no phase is given up for good.
        return CurriculumState(np.maximum(successes, 0.05), np.maximum(tries, successes + 0.05))
