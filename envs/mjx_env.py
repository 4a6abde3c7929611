"""The functional face: one simulation on MJX as pure functions, which trainers in JAX vmap and jit."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from regrasp.envs.control import Control
from regrasp.envs.mechanics import Carry, mechanics_of
from regrasp.envs.mjx_world import Constants, Fields, Physics
from regrasp.envs.randomizer import Nominal, Randomizer, apply
from regrasp.envs.task import Task
from regrasp.envs.view import Window
from regrasp.envs.world import home_row


class Simulation(NamedTuple):
    """Everything that one simulation is: plain arrays, which any wrapper may select from."""

    row: Float[Array, " nstate"]
    """MuJoCo's integration state."""
    fields: Fields
    """Randomised model fields and what derives from them."""
    carry: Carry


@struct.dataclass
class EnvState:
    """What `MjxEnv` returns; the fields are those that Brax's wrappers and trainers use."""

    pipeline_state: Simulation
    obs: Float[Array, " obs"]
    reward: Float[Array, ""]
    done: Float[Array, ""]
    """1 where the episode ended in success or failure, or the simulation broke."""
    metrics: dict[str, Array]
    """success, failure, unstable (not finite, or no room for some contacts), and the task's own."""
    info: dict[str, Any] = struct.field(default_factory=dict)


class MjxEnv:
    """Pure `reset(key)` and `step(state, action)` of one simulation.

    Episodes are those of `BatchEnv`: the same key starts the same episode on every engine.
    Observations are the task's terms side by side in one vector; actions are joint targets. The
    horizon is left to the caller (`episode_length=env.horizon` in Brax). `vmap` it: Brax's
    trainers do, and take it as it is.
    """

    def __init__(
        self,
        task: Task,
        *,
        impl: str = "jax",
        randomizer: Randomizer | None = None,
        sims: int = 4096,
    ):
        """Put the task's model on the device.

        Args:
            task: what to do.
            impl: of MJX: jax or warp.
            randomizer: what differs between episodes; none: nothing.
            sims: most simulations that will run side by side; warp's contacts share one buffer.

        Raises:
            InputError: MJX is not installed or cannot run here, or a value is out of range.
        """
        randomizer = randomizer or Nominal()
        spec = task.scene()
        randomizer.check(spec)
        self.task, self.impl = task, impl
        self.model: mujoco.MjModel = spec.compile()
        window = Window(self.model, task.workcell(), task.watch())
        self._physics = Physics(spec, window, impl, task.contacts, sims)
        self._mechanics = mechanics_of(task, self.model, window, randomizer)
        self._writes = randomizer.writes(self.model)
        fields = tuple(sorted({write.field for write in self._writes}))
        self._constants = Constants(self.model, fields)
        self._read = [name for name in self._constants.names if self._physics.reads(name)]
        self._home = jnp.asarray(home_row(self.model, task.workcell()), jnp.float32)
        self._pushed = np.array([self.model.body(n).id for n in self._mechanics.pushed], int)

    @property
    def horizon(self) -> int:
        """Control steps after which an episode should be truncated."""
        return self._mechanics.horizon

    @property
    def observation_size(self) -> int:
        return sum(int(np.prod(shape)) for _, shape in self.task.terms.values())

    @property
    def action_size(self) -> int:
        return self.control.workcell.action_size

    @property
    def control(self) -> Control:
        """How actions reach the servos, and their limits."""
        return self._mechanics.control

    @property
    def dt(self) -> float:
        """Control period (s)."""
        return self.task.control_dt_s

    @property
    def backend(self) -> str:
        return f"mjx-{self.impl}"

    @property
    def unwrapped(self) -> "MjxEnv":
        return self

    def reset(self, rng: Array) -> EnvState:
        """Start the episode of a key (typed, or raw uint32 of shape (2,))."""
        raw = jax.random.key_data(rng) if jnp.issubdtype(rng.dtype, jax.dtypes.prng_key) else rng
        start = self._mechanics.begin(raw)
        row = self._home
        for name, position in start.qpos.items():
            first = 1 + self.model.joint(name).qposadr[0]  # Time stands first.
            row = row.at[first : first + len(position)].set(position)
        fields = self._fields(start.fields)
        still = jnp.zeros(self.action_size)
        push = jnp.zeros((len(self._pushed), 3))
        seen = self._physics.advance(fields, row, still, still, jnp.int32(0), push, self._pushed, 0)
        carry = self._mechanics.first(start.carry, seen.block)
        zero = jnp.float32(0)
        names = (*_METRICS, *self._mechanics.metric_names())
        return EnvState(
            pipeline_state=Simulation(seen.row, fields, carry),
            obs=self._flat(self._mechanics.observe(carry, seen.block)),
            reward=zero,
            done=zero,
            metrics={name: zero for name in names},  # noqa: C420
        )

    def step(self, state: EnvState, action: Float[Array, " action"]) -> EnvState:
        """Advance by one control period."""
        sim, on = state.pipeline_state, jnp.bool_(True)
        carry, command = self._mechanics.send(sim.carry, action, on)
        seen = self._physics.advance(
            sim.fields,
            sim.row,
            command.before,
            command.after,
            command.switch,
            command.push,
            self._pushed,
            self.control.substeps,
        )
        carry, outcome = self._mechanics.look(carry, seen.block, on)
        broken = seen.overflow | ~jnp.all(jnp.isfinite(seen.row))
        success = outcome.success & ~broken
        metrics = {
            "success": success,
            "failure": outcome.failure & ~broken,
            "unstable": broken,
            **outcome.metrics,
        }
        # A broken simulation must not spoil what is learned from the others.
        obs = jnp.nan_to_num(self._flat(outcome.obs), posinf=0.0, neginf=0.0)
        return state.replace(
            pipeline_state=Simulation(seen.row, sim.fields, carry),
            obs=obs,
            reward=jnp.where(broken, 0.0, outcome.reward),
            done=(success | outcome.failure | broken).astype(jnp.float32),
            metrics={**state.metrics, **{n: m.astype(jnp.float32) for n, m in metrics.items()}},
        )

    def _flat(self, obs: dict[str, Array]) -> Float[Array, " obs"]:
        return jnp.concatenate([jnp.ravel(obs[name]) for name in self.task.terms])

    def _fields(self, draw: dict[str, Array]) -> Fields:
        """Model fields of a sample; what MuJoCo derives from them is computed on the host."""
        if not self._read:
            return {}
        shapes = {
            name: jax.ShapeDtypeStruct(value.shape[1:], jnp.float32)
            for name, value in self._constants.compute({}, 1).items()
            if name in self._read
        }
        return jax.pure_callback(self._on_host, shapes, draw, vmap_method="broadcast_all")

    def _on_host(self, draw: dict[str, Any]) -> dict[str, np.ndarray]:
        numbers = {name: np.asarray(value) for name, value in draw.items()}
        lead = next(iter(numbers.values())).shape[:-1]
        flat = {name: value.reshape(-1, value.shape[-1]) for name, value in numbers.items()}
        count = len(next(iter(flat.values())))
        values = self._constants.compute(apply(self.model, self._writes, flat), count)
        return {
            name: values[name].reshape(*lead, *values[name].shape[1:]).astype(np.float32)
            for name in self._read
        }


_METRICS = ("success", "failure", "unstable")
