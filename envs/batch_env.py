"""Task x world x control x randomizer: a Gymnasium vector environment with states to keep."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Array, Bool, Float, Float32, Int, UInt32

from regrasp.envs.executor import NOTHING, Executor
from regrasp.envs.keys import role_key, wrap
from regrasp.envs.mechanics import Carry, Mechanics, Outcome, Start, body_masses, mechanics_of
from regrasp.envs.randomizer import Nominal, Randomizer, Settings, apply, nominal
from regrasp.envs.snapshot import Snapshot, check_fit, fingerprint, pushed_by, table_of, with_depth
from regrasp.envs.task import Task
from regrasp.envs.view import View
from regrasp.envs.world import World, load_world
from regrasp.errors import InputError, unknown

Obs = dict[str, Float32[np.ndarray, "envs _"]]
RESET_ROWS = 16
"""Rows per call of the reset functions.

Always the same program, so that a key gives the same bits in any batch.
"""


class BatchEnv(VectorEnv):
    """Many simulations of one task.

    Observations are named float32 terms; actions are joint targets.

    Autoreset is Gymnasium's SAME_STEP, or DISABLED: then a finished row is frozen (its reward is 0
    and its state does not change) until it is reset or restored.

    `info["success"]` is boolean, one per environment, for the step just taken.

    Attributes:
        engine_s: wall time that the engine has taken for steps so far.
    """

    def __init__(
        self,
        task: Task,
        num_envs: int,
        *,
        backend: str = "cpu",
        randomizer: Randomizer | None = None,
        threads: int = 0,
        seed: int = 0,
        role: str = "train",
        autoreset: AutoresetMode = AutoresetMode.SAME_STEP,
        executor: Executor | None = None,
    ):
        """Build the environment; `reset` starts it.

        Args:
            task: what to do.
            num_envs: simulations.
            backend: the engine: cpu (exact), mjx or warp.
            randomizer: what differs between episodes; none: nominal physics, no latency, no noise.
            threads: of the engine; 0 means one per core.
            seed: of everything random; see `role`.
            role: train, evaluate or demonstrate: the same seed gives each role other episodes.
            autoreset: SAME_STEP or DISABLED.
            executor: how chunks are played by `play`.

        Raises:
            InputError: a value out of range.
        """
        if num_envs < 1 or threads < 0:
            raise InputError(
                f"num_envs {num_envs} and threads {threads}: choose num_envs >= 1 and threads >= 0"
            )
        if autoreset not in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED):
            raise InputError(f"autoreset {autoreset}: choose SAME_STEP or DISABLED")
        self.task, self.num_envs, self.autoreset = task, num_envs, autoreset
        randomizer = randomizer or Nominal()
        self.backend = backend
        self.workcell = task.workcell()
        scene = task.scene()
        randomizer.check(scene)
        self._pulls: dict[str, np.ndarray] = {}
        self._world: World = load_world(
            backend, scene, self.workcell, task.watch(), num_envs, threads, task.contacts
        )
        self.model: mujoco.MjModel = self._world.model
        self.fingerprint = fingerprint(self.model)
        self.table = table_of(randomizer)
        self._writes = randomizer.writes(self.model)
        self._world.use_fields(sorted({write.field for write in self._writes}))
        self._use(mechanics_of(task, self.model, self._world.window, randomizer, executor))
        self.control, self.executor = self._mechanics.control, self._mechanics.executor
        self.substeps, self.horizon = self.control.substeps, self._mechanics.horizon
        self._spaces()
        self._seed(seed, role)
        self._done = np.ones(num_envs, bool)
        self.engine_s = 0.0
        self._started = False

    # ---- Gymnasium's face ----

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict]:
        """Start new episodes, in all rows or where `options["reset_mask"]` is true."""
        mask = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, bool)), bool)
        if mask.shape != (self.num_envs,):
            raise InputError(
                f"reset_mask has shape {mask.shape}: give one for each of {self.num_envs} rows"
            )
        if seed is not None:
            self._seed(seed, self._role)
        rows = np.flatnonzero(mask)
        self.begin(self._next_keys(rows), rows)
        return self.observe(), {"success": np.zeros(self.num_envs, bool)}

    def step(self, actions: Any) -> tuple[Obs, np.ndarray, np.ndarray, np.ndarray, dict]:
        """Advance every simulation by one control period."""
        actions = self._checked(actions)
        active = None if not self._done.any() else np.flatnonzero(~self._done)
        self._carry, command = self._send(self._carry, actions, ~self._done)
        before, after, switch, push = (np.asarray(part) for part in command)
        push = self._forces(push)
        started = time.perf_counter()
        self._world.step(before, after, switch, self.substeps, active, push)
        self.engine_s += time.perf_counter() - started
        self._carry, outcome = self._look(self._carry, self._world.block(), ~self._done)
        return self._close_step(outcome)

    def render(self) -> Any:
        """Not drawn here: see `regrasp.envs.render.Camera`."""
        raise InputError("BatchEnv does not render: use regrasp.envs.render.Camera(env).frame(row)")

    def pull(self, body: str, force_n: Any) -> None:
        """Pull a body at its centre of mass in every step from now on, until it is pulled otherwise.

        For hands and mice: a kept state brings no pull along, nor is one part of an episode.

        Args:
            body: its name.
            force_n: (envs, 3) in the world frame (N); zeros let go.

        Raises:
            InputError: there is no such body, or forces of another shape or not finite.
        """
        names = [self.model.body(i).name for i in range(1, self.model.nbody)]
        if body not in names:
            raise unknown("body", body, filter(None, names))
        force = np.asarray(force_n, np.float32)
        if force.shape != (self.num_envs, 3) or not np.isfinite(force).all():
            raise InputError(
                f"force_n has shape {force.shape}: give finite ones of shape ({self.num_envs}, 3)"
            )
        before, self._pulls[body] = self._pushed, force
        if self._pushed != before:
            self._world.use_pushes(self._pushed)

    # ---- chunks ----

    @property
    def due(self) -> Bool[np.ndarray, " envs"]:
        """Rows whose executor needs a new chunk."""
        self._need_start()
        return np.asarray(self._carry.executor.left) <= 0

    @property
    def pending(
        self,
    ) -> tuple[Float32[np.ndarray, "envs length action"], Bool[np.ndarray, " envs"]]:
        """The actions that the executor plays next unless a chunk comes, and where there are any."""
        self._need_start()
        executor = self._carry.executor
        return np.asarray(executor.chunk), np.asarray(executor.left) != NOTHING

    def load(self, chunks: Float32[np.ndarray, "envs chunk action"]) -> None:
        """Hand a chunk to each row where one is due; other rows keep theirs."""
        self._need_start()
        want = (self.num_envs, self.executor.chunk, self.workcell.action_size)
        if np.shape(chunks) != want:
            raise InputError(f"chunks have shape {np.shape(chunks)}: this environment plays {want}")
        self._carry = self._load(self._carry, chunks)

    def play(self) -> tuple[Obs, np.ndarray, np.ndarray, np.ndarray, dict]:
        """Step with the next action of every row's chunk."""
        self._need_start()
        self._carry, actions = self._play(self._carry)
        return self.step(np.asarray(actions))

    # ---- states that can be kept ----

    def begin(
        self,
        keys: UInt32[Any, "k 2"],
        rows: Int[np.ndarray, " k"] | None = None,
        *,
        qpos: Mapping[str, Float32[np.ndarray, "k _"]] | None = None,
    ) -> None:
        """Start the episodes of these raw keys in these rows (sorted; all by default).

        The same key gives the same episode at any row, in any batch.

        Args:
            keys: of the episodes.
            rows: where.
            qpos: joints that start elsewhere than their episode says: see `starts`.

        Raises:
            InputError: keys, rows or positions of another shape, or a joint that no episode moves.
        """
        rows, keys = self._checked_rows(rows), np.asarray(keys)
        if keys.shape != (len(rows), 2):
            raise InputError(
                f"keys have shape {keys.shape}: give raw keys of shape ({len(rows)}, 2)"
            )
        if not len(rows):
            return
        starts = self._draw(keys)
        carries = [start.carry for start in starts]
        draw, own = (
            {name: np.concatenate([part[name] for part in parts])[: len(rows)] for name in parts[0]}
            for parts in ([start.fields for start in starts], [start.qpos for start in starts])
        )
        for name, values in (qpos or {}).items():
            if name not in own:
                raise unknown("joint", name, own)
            if np.shape(values) != own[name].shape:
                raise InputError(
                    f"qpos of {name!r} has shape {np.shape(values)}: give {own[name].shape}"
                )
        self._start(rows)
        self._world.put_fields(rows, apply(self.model, self._writes, draw))
        self._world.start(rows, {**own, **(qpos or {})})
        self._world.refresh(rows)
        for (part, padded), carry in zip(_parts(rows), carries, strict=True):
            if self._mechanics.depth:
                carry = self._first(carry, self._world.block(padded))
            self._carry = self._scatter(
                self._carry, carry, _drop_padding(part, padded, self.num_envs)
            )
        self._done[rows] = False

    def starts(self, keys: UInt32[Any, "k 2"]) -> dict[str, Float32[np.ndarray, "k _"]]:
        """Where joints start in the episodes of these raw keys: joint name -> positions, as in `qpos`."""
        parts = [start.qpos for start in self._draw(np.asarray(keys))]
        return {
            name: np.concatenate([np.asarray(part[name]) for part in parts])[: len(keys)]
            for name in parts[0]
        }

    def take(self, row: int | Int[np.ndarray, " k"] | None = None) -> Snapshot:
        """Keep the state of one row (an integer), or a stack of several (all by default)."""
        self._need_start()
        index = np.arange(self.num_envs) if row is None else np.asarray(row)
        if index.size and (index.min() < 0 or index.max() >= self.num_envs):
            raise InputError(f"row {row} does not exist: choose 0 to {self.num_envs - 1}")
        return Snapshot(
            row=np.array(self._world.rows[index]),
            carry={name: np.array(leaf)[index] for name, leaf in _leaves(self._carry)},
            fields={name: np.array(array[index]) for name, array in self._world.fields.items()},
            task=type(self.task).__name__,
            fingerprint=self.fingerprint,
            table=self.table,
        )

    def restore(self, snapshot: Snapshot, rows: Any = None, *, physics: str = "snapshot") -> Obs:
        """Put kept states back: a single one into every row given, a stack of n into n rows.

        Args:
            snapshot: from `take`, of the same task and model.
            rows: sorted rows, or one; all by default.
            physics: "snapshot" brings its randomised fields along; "row" keeps those of the rows.

        Returns:
            The observations of all rows.

        Raises:
            InputError: the snapshot is of another model or version, or does not fit.
        """
        rows = self._checked_rows(rows)
        if snapshot.stacked and len(snapshot) != len(rows):
            raise InputError(
                f"{len(snapshot)} snapshots for {len(rows)} rows: give as many rows, "
                "or use fork to copy each"
            )
        return self._put(snapshot, rows, None, physics)

    def fork(
        self,
        snapshot: Snapshot,
        *,
        keys: UInt32[Any, "envs 2"] | None = None,
        physics: str = "snapshot",
    ) -> Obs:
        """Fill all rows with copies: n snapshots give n groups of num_envs / n consecutive rows.

        Args:
            snapshot: one, or a stack of n that divides num_envs.
            keys: raw keys, one per row, to give each copy its own noise; none: identical copies.
            physics: as for `restore`.

        Returns:
            The observations of all rows.
        """
        if not len(snapshot) or self.num_envs % len(snapshot):
            raise InputError(
                f"{len(snapshot)} snapshots do not divide {self.num_envs} rows: choose a divisor"
            )
        if keys is not None and np.shape(keys) != (self.num_envs, 2):
            raise InputError(
                f"keys have shape {np.shape(keys)}: give raw keys of shape ({self.num_envs}, 2)"
            )
        return self._put(snapshot, np.arange(self.num_envs), keys, physics)

    def observe(self) -> Obs:
        """The observations of all rows, now."""
        self._need_start()
        obs = self._observe_all(self._carry, self._world.block())
        return {name: np.array(value) for name, value in obs.items()}

    def view(self) -> View:
        """What the task sees, all rows: noiseless, for experts, audits and tests."""
        self._need_start()
        return self._view_all(self._carry, self._world.block())

    def reward_terms(self) -> dict[str, Float[np.ndarray, " envs"]]:
        """The terms of the task's reward as the rows stand now, by name, in the order of the task."""
        self._need_start()
        terms = self._terms_all(self._carry, self._world.block())
        return {name: np.array(value) for name, value in zip(self._terms, terms, strict=True)}

    def state_row(self, row: int) -> np.ndarray:
        """A copy of the engine's full state of one row, float64: what exactness is judged on."""
        return np.array(self._world.rows[row])

    def row_model(self, row: int) -> mujoco.MjModel:
        """One row's model, with its randomised fields."""
        return self._world.row_model(row)

    def row_data(self, row: int, data: mujoco.MjData | None = None) -> mujoco.MjData:
        """One row's data, for rendering or for any MuJoCo function.

        Args:
            row: which.
            data: of this model, to write into: ten times as quick as new data.
        """
        return self._world.row_data(row, data)

    @property
    def warnings(self) -> Int[np.ndarray, " envs"]:
        """Engine warnings in each row since its episode started."""
        return self._world.warnings

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what the task reports in `info` beside."""
        return self._metrics

    @property
    def done(self) -> Bool[np.ndarray, " envs"]:
        """Rows that have finished and not been reset (with autoreset DISABLED)."""
        return self._done.copy()

    def halt(self, rows: Any = None) -> None:
        """End the episodes of these rows here: they stand still until they are started or restored.

        Args:
            rows: sorted rows, or one; all by default.

        Raises:
            InputError: there are no such rows, or nothing has been started.
        """
        self._need_start()
        self._done[self._checked_rows(rows)] = True

    # ---- inside ----

    def _use(self, mechanics: Mechanics) -> None:
        """Play by these mechanics from now on."""
        self._mechanics, self._carry_shapes = mechanics, mechanics.carry_shapes()
        self._world.use_pushes(self._pushed)
        self._begin = jax.jit(jax.vmap(mechanics.begin))
        self._first = jax.jit(jax.vmap(mechanics.first))
        self._load = jax.jit(jax.vmap(mechanics.load))
        self._play = jax.jit(jax.vmap(mechanics.play))
        self._send = jax.jit(jax.vmap(mechanics.send))
        self._look = jax.jit(jax.vmap(mechanics.look))
        self._observe_all = jax.jit(jax.vmap(mechanics.observe))
        self._view_all = jax.jit(jax.vmap(mechanics.see))
        self._terms_all = jax.jit(jax.vmap(mechanics.reward_terms))
        self._terms = mechanics.term_names()
        self._metrics = mechanics.metric_names()
        self._scatter = jax.jit(_scatter)
        self._key_of = jax.jit(
            jax.vmap(
                lambda base, i: jax.random.key_data(jax.random.fold_in(wrap(base), i)), (None, 0)
            )
        )

    @property
    def _pushed(self) -> tuple[str, ...]:
        """Bodies that a step may push or pull."""
        pushed = self._mechanics.pushed
        return (*pushed, *(name for name in self._pulls if name not in pushed))

    def _forces(self, push: Float32[np.ndarray, "envs pushed 3"]) -> np.ndarray:
        """What pushes the bodies of `_pushed` in a step: the episode, and whoever pulls."""
        if not self._pulls:
            return push
        names = self._pushed
        forces = np.zeros((self.num_envs, len(names), 3), np.float32)
        forces[:, : push.shape[1]] = push
        for name, force in self._pulls.items():
            forces[:, names.index(name)] += force
        return forces

    def _spaces(self) -> None:
        unbounded = partial(gymnasium.spaces.Box, -np.inf, np.inf, dtype=np.float32)
        terms: dict[str, gymnasium.Space] = {
            name: unbounded(shape=shape) for name, (_, shape) in self.task.terms.items()
        }
        self.single_observation_space = gymnasium.spaces.Dict(terms)
        self.single_action_space = gymnasium.spaces.Box(
            self.control.low, self.control.high, dtype=np.float32
        )
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.metadata = {
            "autoreset_mode": self.autoreset,
            "render_fps": round(1 / self.task.control_dt_s),
            "render_modes": [],
        }
        self.render_mode = None

    def _seed(self, seed: int, role: str) -> None:
        self._base = jax.random.key_data(role_key(seed, role))
        self._role = role
        self._episodes = np.zeros(self.num_envs, np.int64)

    def _next_keys(self, rows: np.ndarray) -> np.ndarray:
        """Keys of the rows' next episodes: row r plays episodes r, r + num_envs, ..."""
        keys = np.zeros((len(rows), 2), np.uint32)
        for part, padded in _parts(rows):
            numbers = (self._episodes[padded] * self.num_envs + padded).astype(np.uint32)
            keys[np.searchsorted(rows, part)] = np.asarray(self._key_of(self._base, numbers))[
                : len(part)
            ]
        self._episodes[rows] += 1
        return keys

    def _draw(self, keys: np.ndarray) -> list[Start]:
        """How the episodes of these keys start, in padded parts."""
        return [self._begin(keys[padded]) for _, padded in _parts(np.arange(len(keys)))]

    def _start(self, rows: np.ndarray) -> None:
        """Make the first carry; nothing may be stepped before every row has been filled once."""
        if self._started:
            return
        if len(rows) < self.num_envs:
            raise InputError(
                f"only {len(rows)} of {self.num_envs} rows would be started: reset them all first"
            )
        self._carry = jax.tree.map(
            lambda s: jnp.zeros((self.num_envs, *s.shape), s.dtype), self._carry_shapes
        )
        self._started = True

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        if not self._started:
            return {name: leaf.shape for name, leaf in _leaves(self._carry_shapes)}
        return {name: leaf.shape[1:] for name, leaf in _leaves(self._carry)}

    def _close_step(self, outcome: Outcome) -> tuple[Obs, np.ndarray, np.ndarray, np.ndarray, dict]:
        unstable = self._world.warnings > 0
        success = np.asarray(outcome.success) & ~unstable
        terminated = success | np.asarray(outcome.failure) | unstable
        truncated = np.asarray(outcome.truncated) & ~terminated
        # What a broken simulation shows need not be a number.
        reward = np.where(unstable, 0.0, np.asarray(outcome.reward, np.float64))
        obs = {name: np.array(value) for name, value in outcome.obs.items()}
        for values in obs.values() if unstable.any() else ():
            values[unstable] = np.nan_to_num(values[unstable], posinf=0.0, neginf=0.0)
        info: dict[str, Any] = {
            "success": success,
            "unstable": unstable,
            "overflow": self._world.overflow,
            **{name: np.asarray(value) for name, value in outcome.metrics.items()},
        }
        self._done |= terminated | truncated
        if self.autoreset == AutoresetMode.SAME_STEP and self._done.any():
            self._autoreset(obs, info)
        return obs, reward, terminated, truncated, info

    def _autoreset(self, obs: Obs, info: dict[str, Any]) -> None:
        """Start new episodes in the finished rows, keeping what they ended with."""
        done = self._done.copy()
        rows = np.flatnonzero(done)
        final = np.full(self.num_envs, None, object)
        for row in rows:
            final[row] = {name: values[row].copy() for name, values in obs.items()}
        ended = {}
        for name in list(info):
            ended |= {
                name: np.where(done, info[name], 0).astype(info[name].dtype),
                f"_{name}": done,
            }
        info.update(final_obs=final, _final_obs=done, final_info=ended, _final_info=done)
        self.begin(self._next_keys(rows), rows)
        for part, padded in _parts(rows):
            # Through NumPy, which shares memory with JAX here: indexing a JAX array costs far more.
            carry = jax.tree.map(lambda leaf, index=padded: np.asarray(leaf)[index], self._carry)
            fresh = self._observe_all(carry, self._world.block(padded))
            for name, values in fresh.items():
                obs[name][part] = np.asarray(values)[: len(part)]

    def _put(self, snapshot: Snapshot, rows: np.ndarray, keys: Any, physics: str) -> Obs:
        if physics not in ("snapshot", "row"):
            raise InputError(f"physics {physics!r}: choose 'snapshot' or 'row'")
        stack = self._playable(self.at_chunk_boundary(snapshot.stack()))
        check_fit(stack, self.model, self.fingerprint, self._world.rows.shape[1], self._shapes())
        self._start(rows)
        source = np.repeat(np.arange(len(stack)), len(rows) // len(stack))
        self._world.put_rows(rows, stack.row[source])
        leaves = dict(_leaves(self._carry))
        new = [_assign(leaf, rows, stack.carry[name][source]) for name, leaf in leaves.items()]
        self._carry = jax.tree.unflatten(jax.tree.structure(self._carry), new)
        if keys is not None:
            self._carry = self._carry._replace(key=_assign(self._carry.key, rows, np.asarray(keys)))
        if physics == "snapshot":
            self._world.put_fields(rows, stack.fields)
        self._world.refresh(rows)
        self._carry = self._carry._replace(past=self._known(self._carry.past))
        self._done[rows] = False
        return self.observe()

    def _known(self, past: Array | Float32[np.ndarray, "envs depth size"]) -> Array:
        """Histories in which what is not known was as it is now."""
        unknown = np.isnan(np.asarray(past)).any(axis=-1, keepdims=True)
        if not unknown.any():
            return jnp.asarray(past)
        return jnp.asarray(np.where(unknown, self._world.block()[:, None], past))

    def _playable(self, stack: Snapshot) -> Snapshot:
        """The same states; what their settings need and this environment left out is put to use."""
        if stack.fingerprint != self.fingerprint:
            return stack  # Another model's: `check_fit` says so.
        settings, past = stack.carry.get("settings"), stack.carry.get("past")
        shapes = self._carry_shapes
        if settings is None or past is None or settings.shape[1:] != shapes.settings.shape:
            return stack  # Does not fit: `check_fit` says so.
        used = Settings.unlike_zero(settings, self.workcell.action_size)
        late = used & {"observation_latency_s"}
        mechanics = self._mechanics.able(
            used,
            body_masses(self.model, pushed_by(stack.table) if "push_rate_hz" in used else ()),
            (past.shape[1] - 1) * self.control.dt_s if late else 0.0,
        )
        if mechanics is not self._mechanics:
            self._use(mechanics)
            if self._started:
                kept = with_depth(np.asarray(self._carry.past), mechanics.depth)
                self._carry = self._carry._replace(past=self._known(kept))
        return replace(stack, carry={**stack.carry, "past": with_depth(past, mechanics.depth)})

    def fitting(self, stack: Snapshot) -> Snapshot:
        """The same states as this environment would keep them, to be stacked with its own.

        Those of another executor begin anew with this one, if no chunk is pending; as much is remembered; and
        randomised fields are those of both, nominal where the other has none.

        Raises:
            InputError: they are of another model or version, or do not fit.
        """
        if not len(stack):
            return stack
        stack = self._playable(self.at_chunk_boundary(stack))
        check_fit(stack, self.model, self.fingerprint, self._world.rows.shape[1], self._shapes())
        self._world.use_fields(sorted(stack.fields))
        usual = {name: nominal(self.model, name) for name in self._world.fields}
        fields = {
            name: stack.fields.get(name, np.repeat(value[None], len(stack), axis=0))
            for name, value in usual.items()
        }
        return replace(stack, fields=fields)

    def at_chunk_boundary(self, stack: Snapshot) -> Snapshot:
        """The same states; those of another executor begin anew with this one, if no chunk is pending."""
        anew = self.without_chunks(stack)
        alike = {k: np.shape(leaf) for k, leaf in stack.carry.items()} == {
            k: np.shape(leaf) for k, leaf in anew.carry.items()
        }
        return stack if alike or np.any(stack.carry.get("executor.left", 1) > 0) else anew

    def without_chunks(self, snapshot: Snapshot) -> Snapshot:
        """The same state or states, with nothing left to play: a chunk is due, whatever was pending."""
        empty = dict(_leaves(self.executor.start(self.workcell.action_size)))
        lead = snapshot.row.shape[:-1]
        begun = {
            f"executor.{name}": np.broadcast_to(leaf, (*lead, *np.shape(leaf))).copy()
            for name, leaf in empty.items()
        }
        others = {k: leaf for k, leaf in snapshot.carry.items() if not k.startswith("executor.")}
        return replace(snapshot, carry=others | begun)

    def _checked(self, actions: Any) -> Float32[np.ndarray, "envs action"]:
        self._need_start()
        actions = np.asarray(actions, np.float32)
        want = (self.num_envs, self.workcell.action_size)
        if actions.shape != want:
            raise InputError(f"actions have shape {actions.shape}: this environment takes {want}")
        if not np.isfinite(actions).all():
            rows = np.flatnonzero(~np.isfinite(actions).all(axis=1))
            raise InputError(
                f"actions of rows {rows[:5].tolist()} are not finite: give joint targets in rad"
            )
        return actions

    def _checked_rows(self, rows: Any) -> np.ndarray:
        if rows is None:
            return np.arange(self.num_envs)
        rows = np.atleast_1d(rows)
        sound = rows.ndim == 1 and rows.dtype.kind in "iu" and (np.diff(rows) > 0).all()
        if rows.size and not (sound and rows[0] >= 0 and rows[-1] < self.num_envs):
            raise InputError(
                f"rows {rows.tolist()}: give different rows from 0 to {self.num_envs - 1}, sorted"
            )
        return rows

    def _need_start(self) -> None:
        if not self._started:
            raise InputError("the environment has not been started: call reset() first")


def _parts(rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows in parts of RESET_ROWS, and each part padded to that size with its last row."""
    for first in range(0, len(rows), RESET_ROWS):
        part = rows[first : first + RESET_ROWS]
        yield part, np.concatenate([part, np.full(RESET_ROWS - len(part), part[-1], part.dtype)])


def _drop_padding(part: np.ndarray, padded: np.ndarray, size: int) -> np.ndarray:
    """Scatter targets: padding points outside, where it is dropped."""
    return np.where(np.arange(len(padded)) < len(part), padded, size)


def _scatter(whole: Carry, part: Carry, rows: Array) -> Carry:
    return jax.tree.map(lambda a, b: a.at[rows].set(b, mode="drop"), whole, part)


def _leaves(carry: Any) -> list[tuple[str, Any]]:
    """The arrays of a carry, or their shapes, with their paths as names."""
    return [
        (jax.tree_util.keystr(path, simple=True, separator="."), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(carry)
    ]


def _assign(leaf: Array, rows: np.ndarray, values: np.ndarray) -> Array:
    array = np.array(leaf)
    array[rows] = values
    return jnp.asarray(array)
