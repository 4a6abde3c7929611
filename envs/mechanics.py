"""What happens in one simulation between engine calls: pure functions that every engine's face vmaps."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from regrasp.envs.control import Command, Control, ControlCarry
from regrasp.envs.executor import Executor, ExecutorCarry
from regrasp.envs.keys import wrap
from regrasp.envs.randomizer import Draw, Randomizer
from regrasp.envs.task import Task
from regrasp.envs.view import View


class Carry(NamedTuple):
    """What one simulation remembers outside the engine."""

    key: UInt32[Array, "2"]
    step: Int[Array, ""]
    """Control steps since the start of the episode."""
    control: ControlCarry
    executor: ExecutorCarry
    task: Any
    noise_rad: Float[Array, ""]
    noise_m: Float[Array, ""]


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


@dataclass(frozen=True)
class Mechanics:
    """Task, control, executor and randomizer at work in one simulation."""

    task: Task
    control: Control
    executor: Executor
    randomizer: Randomizer

    @property
    def horizon(self) -> int:
        """Control steps after which an episode is truncated."""
        return round(self.task.horizon_s / self.task.control_dt_s)

    def begin(self, raw: UInt32[Array, "2"]) -> Start:
        """The episode of a raw key: the same on every engine."""
        initial_key, draw_key, key = jax.random.split(wrap(raw), 3)
        start = self.task.initial(initial_key)
        draw: Draw = self.randomizer.sample(draw_key)
        carry = Carry(
            key=jax.random.key_data(key),
            step=jnp.int32(0),
            control=self.control.start(draw.latency_s),
            executor=self.executor.start(self.control.workcell.action_size),
            task=start.carry,
            noise_rad=draw.noise_rad,
            noise_m=draw.noise_m,
        )
        return Start(start.qpos, draw.fields, carry)

    def carry_shapes(self) -> Carry:
        """A carry's shapes and types."""
        return jax.eval_shape(self.begin, jax.ShapeDtypeStruct((2,), jnp.uint32)).carry

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
        control, command = self.control.send(carry.control, action)
        return _where(active, carry._replace(control=control), carry), command

    def look(self, carry: Carry, view: View, active: Bool[Array, ""]) -> tuple[Carry, Outcome]:
        """Judge the end of a control step."""
        view = self.see(carry, view)
        after = carry._replace(step=carry.step + 1, task=self.task.update(view, carry.task))
        after = _where(active, after, carry)
        success, failure = self.task.success(view, after.task), self.task.failure(view, after.task)
        reward = sum(self.task.reward(view, after.task).values(), jnp.float32(0))
        return after, Outcome(
            obs=self.observe(after, view),
            reward=jnp.where(active, reward, 0.0),
            success=success,
            failure=failure & ~success,
            truncated=(after.step >= self.horizon) & ~success & ~failure,
        )

    def see(self, carry: Carry, view: View) -> View:
        """The engine's view with what Control knows."""
        return view._replace(target=carry.control.sent[0])

    def observe(self, carry: Carry, view: View) -> dict[str, Array]:
        """The observation terms, with white noise in their own units."""
        clean = self.task.observe(self.see(carry, view), carry.task)
        level = {
            "rad": carry.noise_rad,
            "rot": carry.noise_rad,
            "m": carry.noise_m,
            "1": jnp.float32(0),
        }
        terms = self.task.terms
        sizes = np.cumsum([0] + [int(np.prod(shape)) for _, shape in terms.values()])
        key = jax.random.fold_in(wrap(carry.key), carry.step)
        noise = jax.random.normal(key, (int(sizes[-1]),))
        return {
            name: clean[name] + level[unit] * noise[sizes[i] : sizes[i + 1]].reshape(shape)
            for i, (name, (unit, shape)) in enumerate(terms.items())
        }


def _where(condition: Bool[Array, ""], yes: Carry, no: Carry) -> Carry:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
