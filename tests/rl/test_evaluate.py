"""Judging: a function of its seed, with failures that cost the whole horizon."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from regrasp.envs import BatchEnv, Executor, episode_keys
from regrasp.errors import InputError
from regrasp.rl.evaluate import Evaluation, PlayConfig, evaluate
from regrasp.rl.experts import FLAWLESS
from regrasp.rl.stats import wilson

CHUNK = 5
LABELS = ("restless", "nudge", "nominal")


class Restless:
    """Wanders about home at random, and remembers what it saw when its episodes began."""

    noise_size = 14

    def __init__(self, size_rad: float = 0.1):
        self.size_rad = size_rad
        self.starts: list[np.ndarray] = []
        self.noises: list[np.ndarray] = []

    def chunks(self, obs: dict[str, np.ndarray], noise: np.ndarray) -> np.ndarray:
        if (obs["joint_pos"][:, 0] == obs["joint_pos"][0, 0]).all():
            self.starts.append(obs["cube_pos"])
        self.noises.append(noise)
        size = self.size_rad * np.eye(1, 14)[0]
        home = np.insert(np.insert(obs["joint_pos"], 6, 0.5, axis=1), 13, 0.5, axis=1)
        return np.repeat((home + size * noise)[:, None], CHUNK, axis=1).astype(np.float32)


class Teacher:
    """Turns the left waist in every other row, and counts its steps."""

    manner = FLAWLESS

    def start(self, view: Any, seeds: np.ndarray) -> None:
        self.seeds, self.home = seeds, np.asarray(view.joint_pos)
        self.steps: list[int] = []

    def act(self, step: int, view: Any) -> np.ndarray:
        self.steps.append(step)
        goal = 0.3 * (np.arange(len(self.home)) % 2)
        return (self.home + goal[:, None] * np.eye(1, 14)).astype(np.float32)


@pytest.fixture(scope="module")
def env(nudge: Callable[..., BatchEnv]) -> BatchEnv:
    return nudge(8, CHUNK)


@pytest.fixture(scope="module")
def judged(env: BatchEnv) -> tuple[Evaluation, Restless]:
    policy = Restless()
    return evaluate(env, policy, episodes=20, seed=5, labels=LABELS), policy


def test_the_same_seed_gives_the_same_numbers(env: BatchEnv, judged):
    again = evaluate(env, Restless(), episodes=20, seed=5, labels=LABELS)
    assert again.to_json() == judged[0].to_json()
    other = evaluate(env, Restless(), episodes=20, seed=6, labels=LABELS)
    assert other.times_s.tolist() != again.times_s.tolist()


def test_fewer_episodes_are_the_first_of_more(env: BatchEnv, judged):
    """Also where the last batch is not full."""
    fewer = evaluate(env, Restless(), episodes=11, seed=5, labels=LABELS)
    assert len(fewer.success) == 11
    assert fewer.times_s.tolist() == judged[0].times_s[:11].tolist()


def test_failures_take_the_whole_horizon_and_successes_less(env: BatchEnv, judged):
    found, _ = judged
    assert 0 < found.success.sum() < 20
    assert (found.times_s[~found.success] == env.task.horizon_s).all()
    assert (found.times_s[found.success] > 0).all()
    assert (found.times_s[found.success] < env.task.horizon_s).any()
    steps = found.times_s / env.task.control_dt_s
    np.testing.assert_allclose(steps, steps.round(), atol=1e-6)
    assert found.rate == wilson(int(found.success.sum()), 20)


def test_every_policy_gets_the_same_starts_and_noise(env: BatchEnv, judged):
    calm = Restless(size_rad=0.0)
    found = evaluate(env, calm, episodes=8, seed=5, labels=LABELS)
    assert not found.success.any()
    assert found.median_time_s == env.task.horizon_s
    np.testing.assert_array_equal(calm.starts[0], judged[1].starts[0])
    np.testing.assert_array_equal(calm.noises[0], judged[1].noises[0])
    assert len({noise.tobytes() for noise in calm.noises}) == len(calm.noises)


def test_starts_are_those_of_evaluation_and_of_no_other_role(env: BatchEnv, judged):
    def cubes(role: str) -> np.ndarray:
        env.begin(episode_keys(5, role, 0, 8))
        return env.observe()["cube_pos"]

    np.testing.assert_array_equal(judged[1].starts[0], cubes("evaluate"))
    keys = [tuple(k) for role in ("train", "evaluate", "demonstrate") for k in _keys(role)]
    assert len(set(keys)) == len(keys)
    for role in ("train", "demonstrate"):
        assert (judged[1].starts[0] != cubes(role)).any(axis=1).all()


def _keys(role: str) -> list[list[int]]:
    return np.asarray(episode_keys(5, role, 0, 500)).tolist()


def test_a_teacher_acts_at_every_step(env: BatchEnv):
    teacher = Teacher()
    found = evaluate(env, teacher, episodes=8, seed=0, labels=LABELS)
    assert found.success.tolist() == [False, True] * 4
    assert teacher.steps == list(range(env.horizon))
    assert len(set(teacher.seeds.tolist())) == 8


def test_progress_is_told_to_the_end(env: BatchEnv):
    told = []
    evaluate(
        env,
        Restless(),
        episodes=11,
        seed=5,
        labels=LABELS,
        progress=lambda done, total, note: told.append((done, total)),
    )
    assert told == [(8, 11), (11, 11)]


def test_metrics_are_those_of_the_last_step(env: BatchEnv, judged):
    """A success is told by an angle: beyond it are the successes alone, as they were when they ended."""
    found = judged[0]
    turned = found.metrics["turned_rad"]
    assert turned.shape == (20,)
    np.testing.assert_array_equal(turned > env.task.goal_rad, found.success)
    assert turned.max() < 20 * env.task.goal_rad
    mean = found.means["turned_rad"]
    assert mean.low < mean.mean < mean.high
    assert f"turned_rad {mean}" in str(found)
    broken = replace(found, metrics={"turned_rad": np.full(20, np.nan)})
    data = json.loads(json.dumps(broken.to_json(), allow_nan=False))
    assert data["means"]["turned_rad"] == {"mean": None, "low": None, "high": None}
    assert np.isnan(Evaluation.from_json(data).metrics["turned_rad"]).all()


def test_plain_data_and_back(judged):
    found = judged[0]
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    again = Evaluation.from_json(data)
    assert again.to_json() == data
    np.testing.assert_array_equal(again.success, found.success)
    np.testing.assert_allclose(again.times_s, found.times_s, atol=1e-4)
    wanted = {"successes", "episodes", "rate", "low", "high", "median_time_s"}
    assert wanted <= set(data)


@pytest.mark.parametrize("lost", ["success", "times_s", "seed"])
def test_data_that_lacks_something_are_refused(judged, lost: str):
    data = judged[0].to_json()
    del data[lost]
    with pytest.raises(InputError, match=f"lacks '{lost}'"):
        Evaluation.from_json(data)


@pytest.mark.parametrize("episodes", [0, -5])
def test_no_episodes_are_refused(env: BatchEnv, episodes: int):
    with pytest.raises(InputError, match=f"episodes {episodes}"):
        evaluate(env, Restless(), episodes=episodes, seed=0, labels=LABELS)


# ---- how chunks are played ----


@pytest.mark.parametrize(
    ("play", "want"),
    [
        ({}, Executor(16, 4, ensemble=0.1)),
        ({"execute": 2, "ensemble": 0.5}, Executor(16, 2, ensemble=0.5)),
        ({"newest": True}, Executor(16, 4)),
        ({"newest": True, "execute": 16}, Executor(16, 16)),
        ({"delay_ms": 60.0}, Executor(16, 4, delay=3, ensemble=0.1)),
        ({"continued": True}, Executor(16, 4)),
        ({"continued": True, "ensemble": 0.0}, Executor(16, 4, ensemble=0.0)),
    ],
)
def test_chunks_are_played_as_the_policy_says_unless_told_otherwise(play: dict, want: Executor):
    trained = Executor(16, 4, ensemble=0.1)
    assert PlayConfig(**play).executor(trained, 0.02) == want


@pytest.mark.parametrize(
    ("play", "says"),
    [
        ({"newest": True, "ensemble": 0.1}, r"newest with ensemble 0\.1: choose either"),
        ({"continued": True, "speed": 2.0}, r"continued with speed 2\.0: choose either"),
        ({"delay_ms": 30.0}, r"delay_ms 30\.0: choose a multiple of 20"),
        ({"delay_ms": float("inf")}, "delay_ms inf"),
        ({"delay_ms": float("nan")}, "delay_ms nan"),
        ({"ensemble": float("inf")}, "ensemble inf"),
        ({"execute": 17}, "execute 17 of a chunk of 16"),
    ],
)
def test_impossible_ways_of_playing_are_refused(play: dict, says: str):
    with pytest.raises(InputError, match=says):
        PlayConfig(**play).executor(Executor(16, 4), 0.02)
