"""Cloning: all the ways that were shown are learned, and an interruption changes no bit."""

import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regrasp.envs import load_task
from regrasp.errors import InputError
from regrasp.rl.clone import CloneConfig, Samples, clone, policy_for, read_lines, samples
from regrasp.rl.conditions import CONDITIONS
from regrasp.rl.policies import FAMILIES, LAST_COMMAND, FlowPolicy, Noise, Params

CONFIG = CloneConfig(updates=1300, batch=128, learning_rate=3e-3, average=0.99, held_out=0.2)
"""Checkpoints are written after 1000 updates."""
FORK = FlowPolicy((("side", 1),), (-1,), chunk=2, knots=2, steps=5, width=32, depth=1)


@dataclass
class Stopped(Exception):
    """Raised in the middle of training."""

    done: int


def stop_at(step: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, note: str) -> None:
        if done >= step:
            raise Stopped(done)

    return progress


@pytest.fixture(scope="module")
def shown() -> Samples:
    """Pass on the left (-1) or on the right (+1), never through the middle; ten episodes."""
    rng = np.random.default_rng(0)
    side = rng.choice([-1.0, 1.0], 400)[:, None] + rng.normal(0, 0.05, (400, 1))
    obs = rng.normal(size=(400, 1)).astype(np.float32)
    return Samples(obs, np.repeat(side, 2, axis=1).astype(np.float32), np.repeat(np.arange(10), 40))


@pytest.fixture(scope="module")
def trained(shown: Samples, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Params]:
    folder = tmp_path_factory.mktemp("clone") / "run"
    return folder, clone(FORK, shown, CONFIG, folder)


def bits(params: Params) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params)]


def test_both_ways_are_sampled_and_their_mean_is_not(trained):
    _, params = trained
    noise = jax.random.normal(jax.random.key(0), (1000, FORK.latent_size))
    passed = np.asarray(FORK.act(params, jnp.zeros((1000, 1)), noise))[:, :, 0]
    left, right = (passed < -0.7).all(axis=1), (passed > 0.7).all(axis=1)
    assert left.mean() > 0.35
    assert right.mean() > 0.35
    assert (np.abs(passed) < 0.4).any(axis=1).mean() < 0.1


@pytest.fixture(scope="module")
def interrupted(shown: Samples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    with pytest.raises(Stopped):
        clone(FORK, shown, CONFIG, folder, stop_at(1200))
    return folder


def test_an_interrupted_run_ends_with_the_same_bits(
    shown: Samples, trained, interrupted: Path, tmp_path: Path
):
    folder = shutil.copytree(interrupted, tmp_path / "run")
    assert not (folder / "params.npz").exists()
    told = []
    params = clone(FORK, shown, CONFIG, folder, lambda done, total, note: told.append(done))
    assert told == [1100, 1200, 1300]
    assert bits(params) == bits(trained[1])
    ours, theirs = (read_lines(f / "metrics.jsonl") for f in (folder, trained[0]))
    assert [m["step"] for m in ours] == list(range(100, 1400, 100))
    assert [m["loss"] for m in ours] == [m["loss"] for m in theirs]
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["metrics.jsonl", "params.npz", "tensorboard"]


@pytest.mark.parametrize("content", ['{"step": 100', None])
def test_a_checkpoint_without_its_metrics_is_refused(
    shown: Samples, interrupted: Path, tmp_path: Path, content: str | None
):
    folder = shutil.copytree(interrupted, tmp_path / "run")
    (folder / "metrics.jsonl").unlink()
    if content is not None:
        (folder / "metrics.jsonl").write_text(content)
    with pytest.raises(InputError, match=r"metrics\.jsonl cannot be read"):
        clone(FORK, shown, CONFIG, folder)


@pytest.mark.parametrize("only", [None, 9])
def test_as_many_steps_as_asked_for_on_whatever_there_is(
    shown: Samples, tmp_path: Path, only: int | None
):
    """Of ten episodes the last alone may be left, as the fastest: it is learned from, not held out."""
    if only is not None:
        shown = shown._replace(episode=np.full_like(shown.episode, only))
    params = clone(FORK, shown, replace(CONFIG, updates=130), tmp_path)
    lines = read_lines(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [100, 130]
    assert all(np.isfinite(line["loss"]) for line in lines)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def test_losses_fall_also_where_only_watched(trained):
    """To what no network can know: which of the two ways it is that the noise covers."""
    lines = read_lines(trained[0] / "metrics.jsonl")
    assert lines[-1]["held_out_loss"] < 0.9 * lines[0]["held_out_loss"]
    rng = np.random.default_rng(0)
    side, time = rng.choice([-1.0, 1.0], 200_000), rng.random(200_000)
    noise = rng.normal(size=(200_000, FORK.latent_size))
    point = (1 - time)[:, None] * noise + (time * side)[:, None]
    likeliest = np.tanh(
        time * point.sum(axis=1) / (1 - time) ** 2
    )  # The mean of -1 and 1, as likely as seen.
    least = np.mean((side - likeliest) ** 2)
    assert np.mean([line["loss"] for line in lines[-5:]]) == pytest.approx(least, rel=0.05)


def test_a_finished_folder_is_read_and_not_redone(shown: Samples, trained):
    folder, params = trained
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = clone(FORK, shown, CONFIG, folder, stop_at(0))
    assert bits(again) == bits(params)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_the_seed_decides(shown: Samples, trained, tmp_path: Path):
    told = []

    def listen(done: int, total: int, note: str) -> None:
        told.append(note)
        raise Stopped(done)

    with pytest.raises(Stopped):
        clone(FORK, shown, replace(CONFIG, seed=1), tmp_path, listen)
    first = read_lines(trained[0] / "metrics.jsonl")[0]["loss"]
    assert told != [f"loss {first:.3f}"]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_nothing_is_made_of_the_last_command_unless_asked_for(family: str, tmp_path: Path):
    """What was commanded tells everything here, and nothing else does."""
    terms = (("joint_pos", 1), (LAST_COMMAND, 1))
    policy = FAMILIES[family](terms, (0,), chunk=2, knots=2, width=16, depth=1)
    rng, episode = np.random.default_rng(0), np.repeat(np.arange(10), 20)
    command = rng.normal(size=(200, 1)).astype(np.float32)
    obs = {"joint_pos": np.zeros_like(command), LAST_COMMAND: command}
    data = samples(policy, obs, 3 * command, episode)
    other = jnp.asarray(data.obs) + jnp.asarray([0.0, 1.0])
    for told in (False, True):
        config = replace(CONFIG, family=family, updates=200, last_command=told)
        params = clone(policy, data, config, tmp_path / str(told))
        found = [
            policy.act(params, o, jnp.zeros((200, policy.noise_size)))
            for o in (jnp.asarray(data.obs), other)
        ]
        assert (np.abs(found[1] - found[0]).max() > 1e-3) == told


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_deaf_policy_makes_nothing_of_some_entries_and_something_of_all_others(family: str):
    """Whatever its weights are; it does see what the chunk is relative to, which no weight reads."""
    terms = (("a", 2), (LAST_COMMAND, 3), ("b", 1))
    policy = FAMILIES[family](terms, (-1, -1, -1), chunk=4, knots=2, width=16, depth=2)
    rng = np.random.default_rng(0)
    params = policy.init(
        jax.random.key(0),
        rng.normal(size=(50, 6)).astype(np.float32),
        rng.normal(size=(50, 6)).astype(np.float32),
    )
    net = jax.tree.map(
        lambda w: jnp.asarray(0.3 * rng.normal(size=w.shape), w.dtype), params["net"]
    )
    columns = policy.columns(LAST_COMMAND)
    params = {**params, "net": net}
    deaf = policy.deaf(params, columns)
    obs = jnp.asarray(rng.normal(size=6), jnp.float32)

    def told(params: Params, obs: jax.Array) -> jax.Array:
        """The log-likelihood of choices, which is smooth in what is seen for every family."""
        choice = policy.explore(deaf, jnp.zeros(6), jax.random.key(1), Noise())[1]
        return policy.log_prob(params, obs, choice, Noise()).sum()

    heard = np.asarray(jax.grad(told, argnums=1)(params, obs))
    left = np.asarray(jax.grad(told, argnums=1)(deaf, obs))
    assert (np.abs(heard) > 1e-6).all()
    assert (left[columns] == 0).all()
    assert (np.abs(np.delete(left, np.r_[columns])) > 1e-6).all()
    changed = jax.tree.map(lambda a, b: not np.array_equal(a, b), params, deaf)
    assert sum(jax.tree.leaves(changed)) == 1


def test_what_is_no_command_must_not_be_named_as_one(monkeypatch: pytest.MonkeyPatch):
    task = load_task("transfer_cube")
    monkeypatch.setattr(type(task), "terms", {**task.terms, LAST_COMMAND: ("m", (3,))})
    with pytest.raises(InputError, match="target must be the last command, 14 numbers"):
        policy_for(task, CONFIG)


def test_the_last_command_is_seen_from_the_joints():
    policy = FlowPolicy(
        (("a", 2), ("joint_pos", 2), (LAST_COMMAND, 3)), (2, -1, 3), chunk=2, knots=2
    )
    obs = {
        "a": jnp.ones(2),
        "joint_pos": jnp.array([1.0, 2.0]),
        LAST_COMMAND: jnp.array([5.0, 6.0, 7.0]),
    }
    assert policy.join(obs).tolist() == [1, 1, 1, 2, 5 - 1, 6, 7 - 2]
    assert policy.columns(LAST_COMMAND) == slice(4, 7)


def test_chunks_hold_the_last_action_of_their_episode():
    policy = FlowPolicy((("side", 1),), (-1,), chunk=4, knots=4)
    action = np.arange(8, dtype=np.float32)[:, None]
    obs = {"side": 10 + np.arange(8, dtype=np.float32)[:, None]}
    found = samples(policy, obs, action, np.array([0, 0, 0, 0, 0, 1, 1, 1]))
    chunks = [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 4], [3, 4, 4, 4], [4, 4, 4, 4]]
    chunks += [[5, 6, 7, 7], [6, 7, 7, 7], [7, 7, 7, 7]]
    np.testing.assert_allclose(found.latent, chunks, atol=1e-5)
    assert found.obs[:, 0].tolist() == list(range(10, 18))


def test_the_policy_of_a_task_is_relative_to_its_own_joints():
    """Left and right arm joints follow themselves, grippers nothing."""
    task = load_task("transfer_cube")
    policy = policy_for(task, CloneConfig(chunk=12, knots=4))
    assert dict(policy.terms) == {n: np.prod(shape) for n, (_, shape) in task.terms.items()}
    before = [size for _, size in policy.terms[: list(task.terms).index("joint_pos")]]
    joints = [sum(before) + i for i in range(12)]
    assert policy.relative_to == (*joints[:6], -1, *joints[6:], -1)
    assert (policy.chunk, policy.latent_size) == (12, 4 * 14)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"updates": 0}, "updates 0"),
        ({"batch": -1}, "batch -1"),
        ({"learning_rate": 0.0}, "learning_rate 0"),
        ({"learning_rate": float("nan")}, "learning_rate nan"),
        ({"knots": 1}, "knots 1"),
        ({"chunk": 8, "knots": 9}, "knots 9"),
        ({"chunk": 6}, "execute 8 of a chunk of 6"),
        ({"execute": -1}, "execute -1"),
        ({"ensemble": -0.1}, "ensemble -0.1"),
        ({"ensemble": float("nan")}, "ensemble nan"),
        ({"held_out": 1.0}, "held_out 1"),
    ],
)
def test_bad_settings_are_refused(changes: dict, says: str):
    with pytest.raises(InputError, match=says):
        CloneConfig(**changes)


# ---- what a policy is told beside ----


def test_the_speed_of_an_episode_is_against_the_median():
    episode = np.repeat([0, 1, 2], [10, 20, 40])
    told = CONDITIONS["speed"](np.zeros((70, 1)), episode, 4)
    np.testing.assert_allclose(told[[0, 15, 69]], [2.0, 1.0, 0.5])


def test_pausing_is_no_advantage():
    """One observation says how far one is along the way; in the middle of it, half of them pause."""
    way = np.concatenate([np.arange(50), np.full(50, 50), np.arange(50, 100)]) / 100
    obs = np.concatenate([way] * 8)[:, None].astype(np.float32)
    obs += np.random.default_rng(0).normal(0, 0.002, obs.shape).astype(np.float32)
    episode = np.repeat(np.arange(8), 150)
    told = CONDITIONS["advantage"](obs, episode, 5).reshape(8, 150)
    assert told[:, 55:90].mean() < told[:, 5:40].mean() - 0.15
    assert abs(told.mean()) < 1e-3


def test_a_condition_is_learned_and_asked_for():
    config = CloneConfig(speed=1.4, advantage=1.0)
    policy = policy_for(load_task("transfer_cube"), config)
    assert policy.wanted == (("speed", 1.4), ("advantage", 1.0))
    strange = FlowPolicy((("side", 1),), (-1,), chunk=2, knots=2, wanted=(("mood", 1.0),))
    given = {"side": np.zeros((4, 1))}
    with pytest.raises(InputError, match="unknown condition 'mood'"):
        samples(strange, given, np.zeros((4, 1)), np.zeros(4, int))
    told = samples(strange, given, np.zeros((4, 1)), np.zeros(4, int), {"mood": np.arange(4.0)})
    np.testing.assert_array_equal(told.obs[:, 1], np.arange(4.0))


def test_asking_for_more_than_was_shown_is_warned_of():
    given, episode = {"side": np.zeros((70, 1))}, np.repeat([0, 1, 2], [10, 20, 40])

    def told(asked: float):
        policy = FlowPolicy((("side", 1),), (-1,), chunk=2, knots=2, wanted=(("speed", asked),))
        samples(policy, given, np.zeros((70, 1)), episode)

    with pytest.warns(UserWarning, match="speed 2.5 is asked for.*choose at most 2$"):
        told(2.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told(2.0)


@pytest.mark.parametrize("changes", [{"speed": -1.0}, {"advantage": -0.5}, {"fastest": 1.5}])
def test_conditions_that_mean_nothing_are_refused(changes: dict):
    with pytest.raises(InputError, match=next(iter(changes))):
        CloneConfig(**changes)
