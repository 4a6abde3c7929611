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
        assert carry.left <= 0
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


# ---- late chunks, means of chunks, faster chunks ----


def play_through(executor: Executor, chunks: list[jnp.ndarray]) -> np.ndarray:
    """What is played when these chunks come, each as soon as it is due."""
    carry, played = executor.start(ACTION), []
    for chunk in chunks:
        carry = executor.load(carry, chunk)
        for _ in range(executor.execute):
            carry, action = executor.play(carry)
            played.append(float(action[0]))
    return np.array(played)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.integers(0, 3))
def test_while_a_chunk_is_on_its_way_the_old_one_is_played(execute: int, delay: int):
    executor = Executor(6, execute, delay=delay)
    played = play_through(executor, [numbered(100 * i, 6) for i in range(6)])
    # Of the first chunk everything: the robot waits for it.
    for step, action in enumerate(played):
        source = 0
        for chunk in range(step // execute + 1):
            if step - chunk * execute >= (delay if chunk else 0):
                source = chunk
        assert action == 100 * source + step - source * execute


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.floats(0, 2))
def test_ensembling_plays_the_weighted_mean_of_all_chunks(execute: int, fade: float):
    length, count = 6, 7
    rng = np.random.default_rng(execute)
    values = rng.normal(size=(count, length)).astype(np.float32)
    chunks = [jnp.tile(jnp.asarray(row)[:, None], (1, ACTION)) for row in values]
    played = play_through(Executor(length, execute, ensemble=fade), chunks)
    for step, action in enumerate(played):
        told = [
            values[i, step - i * execute] for i in range(count) if 0 <= step - i * execute < length
        ]
        weight = np.exp(-fade * np.arange(len(told)))
        assert action == pytest.approx(float(weight @ told / weight.sum()), abs=1e-5)


@pytest.mark.parametrize(("speed", "lead"), [(2.0, 0.0), (1.5, 0.0), (2.0, 3.0)])
def test_faster_chunks_pass_through_the_same_actions_in_less_time(speed: float, lead: float):
    executor = Executor(17, 3, speed=speed, lead=lead)
    ahead = (speed - 1) * lead
    played = play_through(executor, [numbered(0, 17)])
    np.testing.assert_allclose(played, ahead + speed * np.arange(3), atol=1e-5)
    assert executor.length == int((16 - ahead) / speed) + 1


def test_at_its_own_speed_a_chunk_is_played_as_it_is():
    assert Executor(7, 7).length == Executor(7, 7, lead=5.0).length == 7


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"delay": -1}, "delay -1"),
        ({"delay": 3}, "execute 2 and delay 3.*execute [+] delay <= 4"),
        ({"ensemble": -0.1}, r"ensemble -0\.1"),
        ({"speed": 0.5}, r"speed 0\.5"),
        ({"speed": 4.0}, "lasts for 1 control steps"),
        ({"lead": -1.0}, r"lead -1"),
    ],
)
def test_what_a_chunk_cannot_do_is_refused(changes: dict, says: str):
    with pytest.raises(InputError, match=says):
        Executor(4, 2, **changes)


@pytest.mark.parametrize(("chunk", "execute"), [(4, 0), (4, 5), (0, 0)])
def test_chunks_that_cannot_be_played_are_refused(chunk: int, execute: int):
    with pytest.raises(InputError, match="1 <= execute <= chunk"):
        Executor(chunk, execute)
