"""Which states to try from: a pool of kept states and of the task's own starts.

For each state the pool counts successes and tries, discounted as the policy changes, on top of what is known
of its kind: kept states of the same phase, or starts. The chance of success is then a Beta distribution, and
the variance of one more try that it predicts, E[p (1 - p)], says how much a group would teach there. Early on
that is the end of an episode; as the end is mastered, states before it take over, and at last the starts that
the policy still finds hard.

Where hardly any start of the task succeeds, they are drawn nearer to the demonstrated ones, and back again as
the policy learns: `reach` is how far.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

PHASES = 12
"""Kinds of kept states: parts of an episode. The starts are a kind of their own, the last."""
FORGET = 0.8
"""Weight of an older count after an iteration."""
PRIOR_TRIES = 4.0
"""What is known of a kind counts as this many tries of every state."""
TOO_FAR, NEAR_ENOUGH = 0.1, 0.6
"""Shares of fresh starts that succeed, below and above which starts are drawn in or let out."""
DRAW_IN, LET_OUT = 0.7, 1.15
"""Factors of the reach."""
LEAST = 0.1
"""Of the reach: drawn in farther, starts would hardly differ."""


class PoolState(NamedTuple):
    """What is known; the entries are the kept states, then the places for starts."""

    wins: Float[np.ndarray, " states"]
    tries: Float[np.ndarray, " states"]
    start: Int[np.ndarray, " places"]
    """Number of the episode whose start is kept in each place; -1: the place is empty."""
    kind_wins: Float[np.ndarray, " kinds"]
    kind_tries: Float[np.ndarray, " kinds"]
    share: Float[np.ndarray, " places"]
    """Of the way from a demonstrated start to the episode's own: see `bridge`."""
    place: Int[np.ndarray, ""]
    """Where the next start goes: the oldest is replaced."""
    reach: Float[np.ndarray, ""]
    """The largest share that fresh starts have."""


class Choice(NamedTuple):
    """Where the groups of one iteration start."""

    state: Int[np.ndarray, " groups"]
    """Entry of the pool."""
    moment: Int[np.ndarray, " groups"]
    """Index of a kept state; -1: a start."""
    start: Int[np.ndarray, " groups"]
    """Number of the episode to start; -1: a kept state."""
    share: Float[np.ndarray, " groups"]
    """How far a start is the episode's own; 1 for kept states."""


class Fresh(NamedTuple):
    """Starts that are played once each."""

    number: Int[np.ndarray, " fresh"]
    """Of the episode."""
    share: Float[np.ndarray, " fresh"]
    """How far they are the episode's own: see `bridge`."""


class Pool:
    """Chooses states and learns from how they went."""

    def __init__(self, phases: Float[np.ndarray, " moments"], places: int):
        """Kept states by when in their episode they were kept (0 to 1), and room for starts."""
        self.phases = np.asarray(phases, float)
        self._moments = len(self.phases)
        self._shown = bool((self.phases == 0).any())  # Only to these can other starts be drawn in.
        kinds = np.minimum((self.phases * PHASES).astype(int), PHASES - 1)
        self._kind = np.concatenate([kinds, np.full(places, PHASES)])

    def begin(self) -> PoolState:
        """Nothing known: one success and one failure of every kind."""
        states = len(self._kind)
        return PoolState(
            wins=np.zeros(states),
            tries=np.zeros(states),
            start=np.full(states - self._moments, -1),
            kind_wins=np.full(PHASES + 1, 1.0),
            kind_tries=np.full(PHASES + 1, 2.0),
            share=np.ones(states - self._moments),
            place=np.array(0),
            reach=np.array(1.0),
        )

    def choose(self, state: PoolState, groups: int, key: Array) -> Choice:
        """Draw different states by the square of how much a group would teach there.

        Many states of one kind do not count more than few; starts count as much as all kept states together.
        """
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        weight = self._teaching(state) ** 2
        counts = np.bincount(self._kind, weight > 0, PHASES + 1)
        say = np.where(np.arange(PHASES + 1) < PHASES, 1.0, PHASES)
        weight *= (say / np.maximum(counts, 1))[self._kind]
        some = min(groups, int((weight > 0).sum()))
        chosen = np.zeros(0, int)
        if some:
            chosen = rng.choice(len(weight), some, replace=False, p=weight / weight.sum())
            chosen = np.resize(chosen, groups)
        is_start = chosen >= self._moments
        place = np.where(is_start, chosen - self._moments, 0)
        return Choice(
            state=chosen,
            moment=np.where(is_start, -1, chosen),
            start=np.where(is_start, state.start[place] if len(state.start) else -1, -1),
            share=np.where(is_start, state.share[place] if len(state.start) else 1.0, 1.0),
        )

    def fresh(self, state: PoolState, number: Int[np.ndarray, " fresh"], key: Array) -> Fresh:
        """These starts within the reach, evenly over an area."""
        if state.reach == 1:
            return Fresh(number, np.ones(len(number)))
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        return Fresh(number, state.reach * np.sqrt(rng.random(len(number))))

    def learn(
        self,
        state: PoolState,
        chosen: Int[np.ndarray, " groups"],
        success: Bool[np.ndarray, "groups tries"],
        fresh: Fresh,
        fresh_success: Bool[np.ndarray, " fresh"],
    ) -> PoolState:
        """Take an iteration in.

        Args:
            state: what was known.
            chosen: entries of the pool that were tried.
            success: how their tries ended.
            fresh: starts that were played once each; they enter the pool.
            fresh_success: how they ended.
        """
        wins, tries = FORGET * state.wins, FORGET * state.tries
        start, shares = state.start.copy(), state.share.copy()
        kind_wins, kind_tries = FORGET * state.kind_wins, FORGET * state.kind_tries
        np.add.at(wins, chosen, success.sum(axis=1))
        np.add.at(tries, chosen, success.shape[1])
        # States are chosen where success is uncertain; only the fresh starts are a fair sample of theirs.
        moments = chosen < self._moments
        if moments.any():
            np.add.at(kind_wins, self._kind[chosen[moments]], success[moments].mean(axis=1))
            np.add.at(kind_tries, self._kind[chosen[moments]], 1.0)
        kind_wins[PHASES] += fresh_success.sum() / 16
        kind_tries[PHASES] += len(fresh_success) / 16
        played = list(zip(*fresh, fresh_success, strict=True))
        place, newest = int(state.place), played[len(played) - min(len(played), len(start)) :]
        for number, far, won in newest:
            entry = self._moments + place
            start[place], shares[place] = number, far
            wins[entry], tries[entry] = float(won), 1.0
            place = (place + 1) % len(start)
        reach = float(state.reach)
        if len(played) and self._shown:
            rate = fresh_success.mean()
            reach *= DRAW_IN if rate < TOO_FAR else LET_OUT if rate > NEAR_ENOUGH else 1.0
        return PoolState(
            wins,
            tries,
            start,
            kind_wins,
            kind_tries,
            shares,
            np.array(place),
            np.array(np.clip(reach, LEAST, 1.0)),
        )

    def phase_of(self, choice: Choice) -> Float[np.ndarray, " groups"]:
        """When in an episode the chosen states were kept; 0 for starts."""
        if not self._moments:
            return np.zeros(len(choice.moment))
        return np.where(choice.moment < 0, 0.0, self.phases[np.maximum(choice.moment, 0)])

    def _beta(self, state: PoolState) -> tuple[np.ndarray, np.ndarray]:
        """Parameters of every state's Beta distribution; no chance is ever taken for 0 or 1."""
        rate = np.clip(state.kind_wins / state.kind_tries, 0.02, 0.98)[self._kind]
        return (
            PRIOR_TRIES * rate + state.wins,
            PRIOR_TRIES * (1 - rate) + state.tries - state.wins,
        )

    def _teaching(self, state: PoolState) -> np.ndarray:
        """E[p (1 - p)] of every state; 0 for empty places."""
        won, lost = self._beta(state)
        total = won + lost
        value = won * lost / (total * (total + 1))
        empty = np.concatenate([np.zeros(self._moments, bool), state.start < 0])
        return np.where(empty, 0.0, value)
