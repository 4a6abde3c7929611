"""What a randomisation must offer to an environment; `regrasp.randomization` implements it."""

from typing import NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float, Int


class Draw(NamedTuple):
    """One simulation's sample."""

    fields: dict[str, Float[Array, " _"]]
    """Row name -> sampled numbers, which the `Write`s of that row put into the model."""
    latency_s: Float[Array, ""]
    """Command latency."""
    noise_rad: Float[Array, ""]
    """Standard deviation of observed angles."""
    noise_m: Float[Array, ""]
    """Standard deviation of observed positions."""


class Write(NamedTuple):
    """How one row's numbers change one model field.

    The nominal value times the number, or plus it, or replaced by it.
    """

    row: str
    field: str
    """MuJoCo model field."""
    entries: Int[np.ndarray, " k"]
    """Where in the flattened field."""
    source: Int[np.ndarray, " k"]
    """Which of the row's numbers goes there."""
    how: str
    """scale, add or set."""


@runtime_checkable
class Randomizer(Protocol):
    """Samples what differs between episodes, from a key, for one simulation (pure, vmapped)."""

    def sample(self, key: Array) -> Draw: ...

    def writes(self, model: mujoco.MjModel) -> tuple[Write, ...]: ...


class Nominal:
    """Nothing differs: the model as compiled, no latency, no noise."""

    def sample(self, key: Array) -> Draw:
        del key
        return Draw({}, jnp.float32(0), jnp.float32(0), jnp.float32(0))

    def writes(self, model: mujoco.MjModel) -> tuple[Write, ...]:
        del model
        return ()
