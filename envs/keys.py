"""Random keys: one per simulation, never overlapping between roles."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt32

from regrasp.errors import InputError, unknown

ROLES = {"train": 0, "evaluate": 1, "demonstrate": 2}


def role_key(seed: int, role: str) -> Array:
    """The key from which everything random of one role comes.

    Args:
        seed: a non-negative integer.
        role: train, evaluate or demonstrate. The same seed gives different roles unrelated keys.

    Raises:
        InputError: a negative seed, or an unknown role.
    """
    if role not in ROLES:
        raise unknown("role", role, ROLES)
    if not 0 <= seed < 2**32:
        raise InputError(f"seed {seed} is out of range: choose one from 0 to {2**32 - 1}")
    return jax.random.fold_in(jax.random.key(seed), ROLES[role])


def episode_keys(seed: int, role: str, first: int, count: int) -> UInt32[Array, "count 2"]:
    """The raw keys of episodes `first` to `first + count - 1` of a role."""
    return numbered_keys(seed, role, np.arange(first, first + count))


def numbered_keys(
    seed: int, role: str, numbers: Int[np.ndarray, " count"]
) -> UInt32[Array, "count 2"]:
    """The raw keys of these episodes of a role."""
    key = role_key(seed, role)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.asarray(numbers, jnp.uint32))
    return jax.random.key_data(keys)


def wrap(raw: UInt32[Array, "... 2"]) -> Array:
    """Raw key data, which is what snapshots store, as a key that `jax.random` takes."""
    return jax.random.wrap_key_data(raw)
