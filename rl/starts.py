"""Where the rollouts of an iteration start.

Groups share a start: one that the pool draws, of kept states and of the task's own starts, or, of those that
go on, where the first of their own tries ended. Beside the groups, fresh starts are played once each.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from regrasp.envs import BatchEnv, Snapshot
from regrasp.envs.keys import numbered_keys
from regrasp.rl.bridge import Bridge, between
from regrasp.rl.curriculum import Choice, Fresh, Pool, PoolState
from regrasp.rl.improve_config import PROGRESS, ImproveConfig


class Walk(NamedTuple):
    """Where the groups that go on stand."""

    states: dict[str, Any]
    """The arrays of their snapshots."""
    going: Bool[np.ndarray, " onward"]
    """They go on from there, and do not begin anew."""
    vain: Int[np.ndarray, " onward"]
    """Windows in a row without success."""


class StartsState(NamedTuple):
    """What is known of starts, and where groups have come to."""

    pool: PoolState
    walk: Walk


class Starts:
    """Chooses where rows start, puts them there, and learns from how they went."""

    def __init__(self, env: BatchEnv, moments: Snapshot, phases: Any, config: ImproveConfig):
        """Set up.

        Args:
            env: whose rows are put; every row must have been started.
            moments: kept mid-episode states to start from; an empty stack: starts alone.
            phases: when in its episode each was kept, 0 (start) to 1.
            config: how.
        """
        self._env, self._config = env, config
        if not config.curriculum:
            moments, phases = moments[np.arange(0)], phases[:0]
        self._moments = env.fitting(moments)
        firsts = np.flatnonzero(np.asarray(phases) == 0)
        self._bridge = Bridge(env, self._moments[firsts]) if len(firsts) else None
        self._pool = Pool(np.asarray(phases), config.places if config.fresh else 0)
        self._first_tries = np.arange(config.onward) * config.tries
        self._like = env.take(self._first_tries)

    @property
    def shown(self) -> bool:
        """There are kept states."""
        return len(self._moments) > 0

    def begin(self) -> StartsState:
        """Nothing known; groups that go on do so from kept states at first, of many phases."""
        rows, rng = self._first_tries, np.random.default_rng(self._config.seed)
        walks = bool(len(rows)) and self.shown
        if walks:
            few = len(self._moments) < len(rows)
            picked = rng.choice(len(self._moments), len(rows), replace=few)
            self._env.restore(self._moments[picked], rows)
        walk = Walk(
            _arrays(self._env.take(rows)), np.full(len(rows), walks), np.zeros(len(rows), int)
        )
        return StartsState(self._pool.begin(), walk)

    def choose(
        self, state: StartsState, numbers: Int[np.ndarray, " rows"], key: Array
    ) -> tuple[Choice, Fresh]:
        """Where the groups start, and the fresh starts that fill the other rows.

        Args:
            state: what is known.
            numbers: of the episodes that may be started.
            key: of the choice.
        """
        config, pool, onward = self._config, state.pool, self._config.onward
        # With neither kept states nor starts yet, all other rows are fresh starts.
        known = self.shown or (pool.start >= 0).any() or not config.curriculum
        groups = config.groups if known else onward
        states = groups * (1 if config.identical else config.tries)
        free = config.rows - groups * config.tries
        fresh = self._pool.fresh(pool, numbers[:free], jax.random.fold_in(key, 0))
        own, nowhere = numbers[free : free + states].copy(), np.full(states, -1)
        own[:onward] = np.where(state.walk.going, -1, own[:onward])
        choice = Choice(nowhere, nowhere, own, np.ones(states))
        if config.curriculum:
            drawn = self._pool.choose(pool, states - onward, key)
            pairs = zip(choice, drawn, strict=True)
            choice = Choice(*(np.concatenate([a[:onward], b]) for a, b in pairs))
        return choice, fresh

    def put(
        self,
        state: StartsState,
        choice: Choice,
        fresh: Fresh,
        numbers: Int[np.ndarray, " rows"],
        key: Array,
    ) -> dict[str, np.ndarray]:
        """Put every row where it starts; returns what is seen there."""
        env, config = self._env, self._config
        stack = self._stack(state, choice, fresh)
        noise = jax.random.split(jax.random.fold_in(key, 0), env.num_envs)
        keys = np.asarray(jax.random.key_data(noise))
        if config.physics == "try":
            others = np.setdiff1d(numbers, fresh.number)
            env.begin(numbered_keys(config.seed, "train", np.concatenate([others, fresh.number])))
            # Fresh starts have physics of their own already.
            share = np.repeat([float(state.pool.reach), 0.0], [len(others), len(fresh.number)])
            stack = between(stack, stack, env.take(), share)
        return env.fork(stack, keys=keys)

    def learn(
        self,
        state: StartsState,
        choice: Choice,
        fresh: Fresh,
        won: Bool[np.ndarray, " rows"],
        ended: Bool[np.ndarray, " rows"],
    ) -> StartsState:
        """Take in how the rows went, which stand where they ended."""
        known, cut = choice.state >= 0, len(won) - len(fresh.number)
        tries = won[:cut].reshape(len(known), cut // max(1, len(known)))
        # A start that was not played to its end shows progress, but not whether it would have succeeded.
        told = ended[cut:] | (self._config.reward == PROGRESS)
        played = Fresh(*(part[told] for part in fresh))
        pool = self._pool.learn(
            state.pool, choice.state[known], tries[known], played, won[cut:][told]
        )
        rows = self._first_tries
        vain = np.where(tries[: len(rows)].any(axis=1), 0, state.walk.vain + 1)
        going = ~ended[rows] & ((vain < self._config.stuck) | (self._config.stuck == 0))
        walk = Walk(_arrays(self._env.take(rows)), going, np.where(going, vain, 0))
        return StartsState(pool, walk)

    def phases(self, choice: Choice) -> Float[np.ndarray, " groups"]:
        """When in an episode the chosen states were kept; 0 for others."""
        return self._pool.phase_of(choice)

    def _stack(self, state: StartsState, choice: Choice, fresh: Fresh) -> Snapshot:
        """The state of every row, in order."""
        env, going = self._env, state.walk.going
        numbers = np.concatenate([choice.start[choice.start >= 0], fresh.number])
        parts = [self._moments[choice.moment[choice.moment >= 0]]] if self.shown else []
        if going.any():
            parts.append(replace(self._like, **state.walk.states)[going])
        if len(numbers):
            index, keys = (
                np.arange(len(numbers)),
                numbered_keys(self._config.seed, "train", numbers),
            )
            share = np.concatenate([choice.share[choice.start >= 0], fresh.share])
            bridge = self._bridge if (share < 1).any() else None
            env.begin(keys, index, qpos=bridge.starts(keys, numbers, share) if bridge else None)
            own = env.take(index)
            parts.append(bridge.physics(own, numbers, share) if bridge else own)
        stack = Snapshot.concatenate(parts)
        # In the stack moments come first, then what goes on; in the rows groups are in their own order.
        kind = np.select([choice.moment >= 0, choice.start < 0], [0, 1], 2)
        order = np.argsort(np.argsort(kind, kind="stable"), kind="stable")
        once = len(fresh.number)
        copies = (self._config.rows - once) // max(1, len(order))
        return stack[np.concatenate([np.repeat(order, copies), len(order) + np.arange(once)])]


def _arrays(stack: Snapshot) -> dict[str, Any]:
    """What differs between snapshots of one environment."""
    return {"row": stack.row, "carry": dict(stack.carry), "fields": dict(stack.fields)}
