"""The executor plays the first actions of each chunk, in order, and then asks for more."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrasp.envs import Executor
from regrasp.errors import InputError

ACTION = 3


def numbered(start: int, length: int) -> jnp.ndarray:
    """A chunk whose actions say their own number."""
    return jnp.arange(start, start + length, dtype=jnp.float32)[:, None] * jnp.ones(ACTION)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))))
def test_each_chunk_is_played_in_order_and_then_one_is_due(sizes: tuple[int, int]):
    executor = Executor(*sizes)
    carry, played = executor.start(ACTION), []
    for number in range(3):
        assert carry.left == 0
        carry = executor.load(carry, numbered(100 * number, executor.chunk))
        for _ in range(executor.execute):
            assert carry.left > 0
            carry, action = executor.play(carry)
            played.append(float(action[0]))
    assert played == [100 * n + i for n in range(3) for i in range(executor.execute)]


@pytest.mark.parametrize("played", [0, 1])
def test_a_chunk_that_is_not_due_is_not_taken(played: int):
    executor = Executor(4, 2)
    carry = executor.load(executor.start(ACTION), numbered(0, 4))
    for _ in range(played):
        carry, _ = executor.play(carry)
    kept = executor.load(carry, numbered(100, 4))
    np.testing.assert_array_equal(kept.chunk, carry.chunk)
    assert kept.left == carry.left == 2 - played


def test_the_last_action_is_repeated_until_a_chunk_comes():
    executor = Executor(4, 2)
    carry = executor.load(executor.start(ACTION), numbered(0, 4))
    played = []
    for _ in range(5):
        carry, action = executor.play(carry)
        played.append(float(action[0]))
    assert played == [0, 1, 1, 1, 1]
    assert carry.left == 0


@pytest.mark.parametrize(("chunk", "execute"), [(4, 0), (4, 5), (0, 0)])
def test_chunks_that_cannot_be_played_are_refused(chunk: int, execute: int):
    with pytest.raises(InputError, match="1 <= execute <= chunk"):
        Executor(chunk, execute)
