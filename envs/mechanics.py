"""What happens in one simulation between engine calls: pure functions that every engine's face vmaps."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from regrasp.envs.control import Command, Control, ControlCarry
from regrasp.envs.executor import Executor, ExecutorCarry
from regrasp.envs.keys import wrap
from regrasp.envs.randomizer import Draw, Grown, Randomizer, Settings, off, where
from regrasp.envs.task import Initial, Task
from regrasp.envs.view import View, Window
from regrasp.errors import InputError

MAX_OBSERVATION_LATENCY_S = 0.1
_COMMANDS, _PUSHES = 1, 2
"""Streams of a step's key, beside that of the observation noise."""


class Carry(NamedTuple):
    """What one simulation remembers outside the engine."""

    key: UInt32[Array, "2"]
    step: Int[Array, ""]
    """Control steps since the start of the episode."""
    control: ControlCarry
    executor: ExecutorCarry
    task: Any
    settings: Float[Array, " settings"]
    """Timing and sensing of this episode: `Settings`, packed."""
    past: Float[Array, "depth size"]
    """The last blocks, newest first, where observations may be late."""


class Start(NamedTuple):
    """How one episode starts."""

    qpos: dict[str, Array]
    """Joint name -> position, for the joints that are not at home."""
    fields: dict[str, Array]
    """Randomised numbers, by row of the table."""
    carry: Carry


class Outcome(NamedTuple):
    """What one control step led to."""

    obs: dict[str, Array]
    reward: Float[Array, ""]
    success: Bool[Array, ""]
    failure: Bool[Array, ""]
    truncated: Bool[Array, ""]
    metrics: dict[str, Array]
    """What the task reports beside."""


@dataclass(frozen=True)
class Mechanics:
    """Task, control, executor and randomizer at work in one simulation.

    Blocks are what an engine hands over of one simulation: see `Window`.
    """

    task: Task
    control: Control
    executor: Executor
    randomizer: Randomizer
    window: Window
    used: frozenset[str] = frozenset()
    """Settings that may differ from zero; what the others stand for is left out of the program."""
    pushed_kg: tuple[tuple[str, float], ...] = ()
    """Bodies that may be pushed, with their nominal masses."""
    depth: int = 0
    """Blocks remembered; 0 where no observation can be late."""

    @property
    def horizon(self) -> int:
        """Control steps after which an episode is truncated."""
        return round(self.task.horizon_s / self.task.control_dt_s)

    @property
    def pushed(self) -> tuple[str, ...]:
        """Bodies that may be pushed."""
        return tuple(name for name, _ in self.pushed_kg)

    def able(
        self, used: frozenset[str], pushed_kg: tuple[tuple[str, float], ...], latency_s: float
    ) -> "Mechanics":
        """These mechanics, or ones that can play such settings too."""
        pushed = dict(self.pushed_kg) | dict(pushed_kg)
        periods = round(min(latency_s, MAX_OBSERVATION_LATENCY_S) / self.task.control_dt_s)
        more = replace(
            self,
            used=self.used | used,
            pushed_kg=tuple(pushed.items()),
            depth=max(self.depth, periods + 1 if periods else 0),
        )
        return self if more == self else more

    def begin(self, raw: UInt32[Array, "2"]) -> Start:
        """The episode of a raw key: the same on every engine."""
        initial_key, draw_key, key = streams(raw)
        start = self.task.initial(initial_key)
        draw: Draw = self.randomizer.sample(draw_key)
        packed = draw.settings.pack(self.control.workcell.action_size)
        carry = Carry(
            key=jax.random.key_data(key),
            step=jnp.int32(0),
            control=self.control.start(draw.settings),
            executor=self.executor.start(self.control.workcell.action_size),
            task=start.carry,
            settings=packed,
            past=jnp.zeros((self.depth, self.window.size)),
        )
        return Start(_rested(start, draw.size), draw.fields, carry)

    def first(self, carry: Carry, block: Float[Array, " size"]) -> Carry:
        """The carry with the first block of an episode: nothing older can be observed."""
        return carry._replace(past=jnp.broadcast_to(block, carry.past.shape))

    def carry_shapes(self) -> Carry:
        """A carry's shapes and types."""
        return jax.eval_shape(self.begin, jax.ShapeDtypeStruct((2,), jnp.uint32)).carry

    def metric_names(self) -> tuple[str, ...]:
        """What the task reports beside."""
        block = jax.ShapeDtypeStruct((self.window.size,), jnp.float32)
        metrics = jax.eval_shape(
            lambda carry, block: self.task.metrics(self.see(carry, block), carry.task),
            self.carry_shapes(),
            block,
        )
        return tuple(metrics)

    def reward_terms(self, carry: Carry, block: Float[Array, " size"]) -> tuple[Array, ...]:
        """The terms of the reward, in the task's order: see `term_names`."""
        return tuple(self.task.reward(self.see(carry, block), carry.task).values())

    def term_names(self) -> tuple[str, ...]:
        """The names of the reward's terms, in the task's order, which a traced dict would lose."""
        names: list[str] = []

        def note(carry: Carry, block: Float[Array, " size"]) -> None:
            names.extend(self.task.reward(self.see(carry, block), carry.task))

        jax.eval_shape(
            note, self.carry_shapes(), jax.ShapeDtypeStruct((self.window.size,), jnp.float32)
        )
        return tuple(names)

    def load(self, carry: Carry, chunk: Float[Array, "chunk action"]) -> Carry:
        """Hand over a chunk, which is taken if one is due."""
        return carry._replace(executor=self.executor.load(carry.executor, chunk))

    def play(self, carry: Carry) -> tuple[Carry, Float[Array, " action"]]:
        """The next action of the chunk."""
        executor, action = self.executor.play(carry.executor)
        return carry._replace(executor=executor), action

    def send(
        self, carry: Carry, action: Float[Array, " action"], active: Bool[Array, ""]
    ) -> tuple[Carry, Command]:
        """Send an action to the servos; a simulation that is not active remembers nothing of it."""
        settings, chance = self.settings(carry), None
        if not (off(settings.command_jitter_s) and off(settings.command_drop)):
            chance = jax.random.uniform(self._key(carry, _COMMANDS), (2,))
        control, command = self.control.send(carry.control, action, settings, chance)
        if self.pushed_kg and not off(settings.push_rate_hz):
            command = command._replace(push=self._push(carry, settings))
        return where(active, carry._replace(control=control), carry), command

    def look(
        self, carry: Carry, block: Float[Array, " size"], active: Bool[Array, ""]
    ) -> tuple[Carry, Outcome]:
        """Judge the end of a control step, by what is true; return what is observed of it."""
        view = self.see(carry, block)
        after = carry._replace(step=carry.step + 1, task=self.task.update(view, carry.task))
        if self.depth:
            after = after._replace(past=jnp.concatenate([block[None], carry.past[:-1]]))
        after = where(active, after, carry)
        success, failure = self.task.success(view, after.task), self.task.failure(view, after.task)
        reward = sum(self.task.reward(view, after.task).values(), jnp.float32(0))
        return after, Outcome(
            obs=self.observe(after, block),
            reward=jnp.where(active, reward, 0.0),
            success=success,
            failure=failure & ~success,
            truncated=(after.step >= self.horizon) & ~success & ~failure,
            metrics=self.task.metrics(view, after.task),
        )

    def see(self, carry: Carry, block: Float[Array, " size"]) -> View:
        """What is true, now: the engine's view with what Control knows."""
        return self.window.view(block)._replace(target=carry.control.sent[0])

    def measure(self, carry: Carry, block: Float[Array, " size"]) -> View:
        """What the sensors say: late, with joint offsets, encoder steps and a misplaced camera.

        Joint angles, poses of watched bodies and vertices of flexes are measured; sites, velocities,
        openings and contact sensors are only late. What was sent is never late.
        """
        settings = self.settings(carry)
        if self.depth:
            age = self._periods(settings.observation_latency_s)
            block = carry.past[jnp.clip(age, 0, self.depth - 1)]
        view = self.see(carry, block)
        joints = view.joint_pos
        if not off(settings.joint_offset_rad):
            joints = joints - settings.joint_offset_rad
        if not off(settings.encoder_step_rad):
            step = jnp.where(self.control.is_arm, settings.encoder_step_rad, 0)
            joints = quantised(joints, step)
        view = view._replace(joint_pos=joints)
        if off(settings.camera_shift_m) and off(settings.camera_turn_rad):
            return view
        turn = _quaternion(jnp.broadcast_to(jnp.asarray(settings.camera_turn_rad), 3))
        return view._replace(
            body_pos={
                name: _turned(turn, pos) + settings.camera_shift_m
                for name, pos in view.body_pos.items()
            },
            body_quat={name: _product(turn, quat) for name, quat in view.body_quat.items()},
            flex={
                name: jax.vmap(partial(_turned, turn))(points) + settings.camera_shift_m
                for name, points in view.flex.items()
            },
        )

    def observe(self, carry: Carry, block: Float[Array, " size"]) -> dict[str, Array]:
        """The observation terms of what is measured, with white noise in their own units."""
        clean = self.task.observe(self.measure(carry, block), carry.task)
        settings = self.settings(carry)
        level = {
            "rad": settings.angle_noise_rad,
            "rot": settings.angle_noise_rad,
            "m": settings.position_noise_m,
            "1": 0.0,
        }
        terms = self.task.terms
        if all(off(level[unit]) for unit, _ in terms.values()):
            return {name: clean[name].reshape(shape) for name, (_, shape) in terms.items()}
        sizes = np.cumsum([0] + [int(np.prod(shape)) for _, shape in terms.values()])
        key = jax.random.fold_in(wrap(carry.key), carry.step)
        noise = jax.random.normal(key, (int(sizes[-1]),))
        return {
            name: clean[name] + level[unit] * noise[sizes[i] : sizes[i + 1]].reshape(shape)
            for i, (name, (unit, shape)) in enumerate(terms.items())
        }

    def settings(self, carry: Carry) -> Settings:
        """Timing and sensing of this episode."""
        return Settings.unpack(carry.settings, self.control.workcell.action_size, self.used)

    def _push(self, carry: Carry, settings: Settings) -> Float[Array, "pushed 3"]:
        """Each body is pushed now and then, horizontally, for this control period."""
        codes = np.array([zlib.crc32(name.encode()) for name in self.pushed], np.uint32)
        key = self._key(carry, _PUSHES)
        luck = jax.vmap(lambda code: jax.random.uniform(jax.random.fold_in(key, code), (2,)))(codes)
        dt_s = self.task.control_dt_s
        mass_kg = np.array([mass for _, mass in self.pushed_kg], np.float32)
        force = jnp.where(
            luck[:, 0] < settings.push_rate_hz * dt_s, settings.push_speed_m_s * mass_kg / dt_s, 0.0
        )
        angle = 2 * np.pi * luck[:, 1]
        return jnp.stack([force * jnp.cos(angle), force * jnp.sin(angle), 0 * force], axis=1)

    def _periods(self, seconds: Any) -> Int[Array, ""]:
        return jnp.round(jnp.asarray(seconds) / self.task.control_dt_s).astype(jnp.int32)

    def _key(self, carry: Carry, stream: int) -> Array:
        return jax.random.fold_in(jax.random.fold_in(wrap(carry.key), carry.step), stream)


def mechanics_of(
    task: Task,
    model: mujoco.MjModel,
    window: Window,
    randomizer: Randomizer,
    executor: Executor | None = None,
) -> Mechanics:
    """The mechanics of a task in a compiled scene.

    Raises:
        InputError: the control period is not a whole number of physics steps, or the scene has
            another timestep than the task.
    """
    if abs(model.opt.timestep - task.timestep_s) > 1e-9:
        raise InputError(
            f"timestep_s {task.timestep_s:.3g}, but the scene steps by {model.opt.timestep} s: "
            "leave the timestep to the workcell"
        )
    substeps = task.control_dt_s / task.timestep_s
    if abs(substeps - round(substeps)) > 1e-6 or substeps < 1:
        raise InputError(
            f"control_dt_s {task.control_dt_s} is not a whole number of "
            f"{task.timestep_s:.3g} s physics steps"
        )
    control = Control(task.workcell(), round(substeps), model.opt.timestep)
    executor = executor or Executor(chunk=1, execute=1)
    mechanics = Mechanics(task, control, executor, randomizer, window)
    masses = body_masses(model, randomizer.pushed)
    return mechanics.able(randomizer.used, masses, randomizer.observation_latency_s)


def streams(raw: UInt32[Array, "2"]) -> Array:
    """The keys of one episode: of its start, of its draw of the randomizer, and of its steps."""
    return jax.random.split(wrap(raw), 3)


def body_masses(model: mujoco.MjModel, bodies: Iterable[str]) -> tuple[tuple[str, float], ...]:
    """Bodies with their nominal masses (kg)."""
    return tuple((name, float(model.body(name).mass[0])) for name in bodies)


def quantised(values: Float[Array, " n"], step: Float[Array, " n"]) -> Float[Array, " n"]:
    """Whole multiples of a step; values whose step is 0 stay as they are."""
    return jnp.where(step > 0, jnp.round(values / jnp.where(step > 0, step, 1)) * step, values)


def _rested(start: Initial, size: dict[str, Grown]) -> dict[str, Array]:
    """Start positions where what has grown rests on what it rested on."""
    qpos = dict(start.qpos)
    for joint, grown in size.items():
        if joint not in qpos:
            raise InputError(f"joint {joint!r} has no start position: this task cannot resize it")
        z = grown.floor_m + grown.factor * (qpos[joint][2] - grown.floor_m)
        qpos[joint] = qpos[joint].at[2].set(z)
    return qpos


def _quaternion(turn: Float[Array, "3"]) -> Float[Array, "4"]:
    """The unit quaternion, w first, of a rotation vector (rad)."""
    angle = jnp.sqrt(jnp.sum(turn**2))
    # sinc is smooth where there is no turn at all.
    return jnp.concatenate([jnp.cos(angle / 2)[None], turn / 2 * jnp.sinc(angle / 2 / jnp.pi)])


def _turned(quat: Float[Array, "4"], vector: Float[Array, "3"]) -> Float[Array, "3"]:
    twice = 2 * jnp.cross(quat[1:], vector)
    return vector + quat[0] * twice + jnp.cross(quat[1:], twice)


def _product(a: Float[Array, "4"], b: Float[Array, "4"]) -> Float[Array, "4"]:
    w = a[0] * b[0] - a[1:] @ b[1:]
    return jnp.concatenate([w[None], a[0] * b[1:] + b[0] * a[1:] + jnp.cross(a[1:], b[1:])])
