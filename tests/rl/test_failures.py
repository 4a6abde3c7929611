"""Failures: what is shown is what failed, sorted by how far it got."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from regrasp.envs import BatchEnv, Executor, load_task
from regrasp.errors import InputError
from regrasp.rl.evaluate import evaluate
from regrasp.rl.experts import load_expert
from regrasp.rl.failures import Failure, Failures, Kind, look_at_failures

CHUNK = 4


class Choosy:
    """Turns the left waist, which is success here, where the cube lies on one side; else stays."""

    noise_size = 1

    def chunks(self, obs: dict[str, np.ndarray], noise: np.ndarray) -> np.ndarray:
        pose = np.insert(np.insert(obs["joint_pos"], 6, 0.5, axis=1), 13, 0.5, axis=1)
        pose[:, 0] += np.where(obs["cube_pos"][:, 1] > 0, 0.2, 0.0)
        return np.repeat(pose[:, None], CHUNK, axis=1).astype(np.float32)


def test_what_failed_is_sorted_and_filmed(
    nudge: Callable[..., BatchEnv], drawn: None, tmp_path: Path
):
    env, labels = nudge(3, CHUNK), ("choosy", "nudge", "nominal")
    judged = evaluate(env, Choosy(), episodes=7, seed=4, labels=labels)
    assert 0 < judged.success.sum() < 7
    found = look_at_failures(env, Choosy(), judged.success, tmp_path, seed=4, clips=1)
    assert [one.episode for one in found.found] == list(np.flatnonzero(~judged.success))
    assert {one.kind for one in found.found} == {Kind("prize", "prize", "out of time")}
    assert all(one.time_s == pytest.approx(env.task.horizon_s) for one in found.found)
    first = found.found[0].episode
    names = {"failures.json", "failures.png", f"reached-prize-out-of-time-{first:04d}.mp4"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert json.loads((tmp_path / "failures.json").read_text()) == found.to_json()


def test_an_older_folder_of_failures_is_replaced_and_no_other(
    nudge: Callable[..., BatchEnv], drawn: None, tmp_path: Path
):
    env, out = nudge(2, CHUNK), tmp_path / "out"
    look_at_failures(env, Choosy(), np.zeros(2, bool), out, seed=4, clips=2)
    assert len(list(out.glob("*.mp4"))) >= 1
    look_at_failures(env, Choosy(), np.ones(2, bool), out, seed=4)
    assert [path.name for path in out.iterdir()] == ["failures.json"]
    (tmp_path / "mine.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(InputError, match="holds something else than failures"):
            look_at_failures(env, Choosy(), np.ones(2, bool), place, seed=4)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_where_nothing_failed_nothing_is_filmed(
    nudge: Callable[..., BatchEnv], drawn: None, tmp_path: Path
):
    found = look_at_failures(nudge(2, CHUNK), Choosy(), np.ones(5, bool), tmp_path, seed=0)
    assert str(found) == "no failures in 5 episodes"
    assert [path.name for path in tmp_path.iterdir()] == ["failures.json"]


def test_kinds_are_in_the_order_of_their_number():
    dropped, late = Kind("lifted", "nothing", "failed"), Kind("touched", "touched", "out of time")
    ones = [Failure(i, late if i % 3 else dropped, 1.0) for i in range(9)]
    failures = Failures(20, tuple(ones))
    assert [(kind, len(own)) for kind, own in failures.kinds()] == [(late, 6), (dropped, 3)]
    lines = str(failures).splitlines()
    assert lines[0] == "9 failures in 20 episodes:"
    assert "reached touched, out of time" in lines[1]
    assert "reached lifted, at the end nothing, failed" in lines[2]


def test_fewer_than_no_clips_are_refused(nudge: Callable[..., BatchEnv], tmp_path: Path):
    with pytest.raises(InputError, match="clips -1"):
        look_at_failures(nudge(1, CHUNK), Choosy(), np.ones(1, bool), tmp_path, seed=0, clips=-1)


def test_the_terms_of_a_reward_keep_their_order_and_make_it_up():
    task = load_task("transfer_cube")
    executor = Executor(1, 1)
    env = BatchEnv(task, 2, threads=1, autoreset=AutoresetMode.DISABLED, executor=executor)
    env.reset(seed=1)
    expert = load_expert("transfer_cube", "flawless")
    expert.start(env.view(), np.arange(2))
    seen = []
    for step in range(env.horizon):
        _, reward, *_ = env.step(expert.act(step, env.view()))
        terms = env.reward_terms()
        if env.done.any():
            break
        assert list(terms) == ["touched", "lifted", "shared", "transferred"]
        np.testing.assert_allclose(reward, sum(terms.values()))
        seen.append(terms["shared"])
    assert np.max(seen) == 1
