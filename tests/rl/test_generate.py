"""Demonstrations made of one: its way is carried over to other starts, and kept where it succeeds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from scipy.spatial.transform import Rotation

from regrasp.envs import BatchEnv, episode_keys, load_task
from regrasp.errors import InputError
from regrasp.randomization import randomizer_for
from regrasp.rl.demonstrate import seeds
from regrasp.rl.episodes import Episodes, EpisodeWriter
from regrasp.rl.experts.script import FLAWLESS, HUMAN
from regrasp.rl.generate import (
    LEAVE_M,
    Follower,
    GenerateConfig,
    aimed,
    generate,
    hurried,
)

ROWS = 4


@pytest.fixture(scope="module")
def follower(demos: Episodes) -> Follower:
    """Without slips: it does exactly what was shown."""
    return Follower(demos, FLAWLESS)


@pytest.fixture(scope="module")
def env() -> BatchEnv:
    return BatchEnv(
        load_task("transfer_cube"),
        ROWS,
        randomizer=randomizer_for("transfer_cube", "table"),
        autoreset=AutoresetMode.DISABLED,
    )


def test_the_right_hand_takes_the_cube_and_the_left_one_from_it(
    follower: Follower, demos: Episodes
):
    assert len(follower.shown) == len(demos)
    for shown in follower.shown:
        first, second = shown.takes
        assert [(t.side, t.body, t.resting) for t in shown.takes] == [
            ("right", "cube", True),
            ("left", "cube", False),
        ]
        for take, grip in ((first, 13), (second, 6)):
            assert shown.action[take.step, grip] < 1 <= shown.action[: take.step, grip].max() + 1e-6
            assert take.look <= take.lead <= take.step <= take.until <= take.end
        assert first.end <= second.step


def test_from_its_own_start_a_demonstration_is_repeated(
    follower: Follower, demos: Episodes, env: BatchEnv
):
    env.restore(demos.snapshots(1)[np.zeros(ROWS, int)])
    follower.start(env.view(), np.arange(ROWS))
    for step, action in enumerate(demos[1].action):
        found = follower.act(step, env.view())
        np.testing.assert_allclose(found[0], action, atol=2e-5)
        env.step(found)


def test_at_the_grasp_the_hand_is_where_it_was_shown_to_the_object(
    follower: Follower, env: BatchEnv
):
    keys = np.asarray(episode_keys(3, "demonstrate", 0, ROWS))
    env.begin(keys)
    view = env.view()
    follower.start(view, seeds(keys))
    follower.act(0, view)
    same = Rotation.create_group("O").as_matrix()
    for row in range(ROWS):
        here = np.asarray(view.body_pos["cube"][row], float)
        turn = Rotation.from_quat(np.asarray(view.body_quat["cube"][row], float), scalar_first=True)
        found = follower.rows[row]
        step = found.shown.takes[0].step
        carried = _beside(follower, found.plan[:, 1], step, here, turn.as_matrix())
        cube = found.shown.position["cube"][0], found.shown.axes["cube"][0]
        shown = _beside(follower, found.shown.reached, step, *cube)
        # As it was shown, up to a turn after which the cube looks the same.
        assert np.linalg.norm(carried - same @ shown, axis=1).min() < 1.5e-3


def test_a_hand_aims_beside_what_was_shown_in_its_own_axes(demos: Episodes, env: BatchEnv):
    keys = np.asarray(episode_keys(3, "demonstrate", 0, ROWS))
    env.begin(keys)
    view, places, aim = env.view(), [], np.array([-0.002, 0.004, 0.003])
    for aims in (0 * aim, aim):
        follower = Follower(demos, FLAWLESS)
        follower.shown = [shown._replace(aims=np.stack([aims, aims])) for shown in follower.shown]
        follower.start(view, seeds(keys))
        follower.act(0, view)
        hand = follower.reach["right"]
        steps = [row.shown.takes[0].step for row in follower.rows]
        places.append(
            [
                hand.place(row.plan[step, 1, 7:13])
                for row, step in zip(follower.rows, steps, strict=True)
            ]
        )
    for (plain, axes), (beside, _) in zip(*places, strict=True):
        np.testing.assert_allclose(axes.T @ (beside - plain), aim, atol=1e-3)


def test_the_aim_is_where_success_is_likely():
    rng = np.random.default_rng(0)
    tries = rng.normal(size=(4000, 2))
    best = np.array([1.0, 0.0])
    odds = 2 - ((tries - best) ** 2).sum(axis=1)
    found = aimed(tries, rng.uniform(size=4000) < 1 / (1 + np.exp(-odds)))
    assert 0.5 < found[0] <= 1.1  # It costs something to leave 0.
    assert abs(found[1]) < 0.1
    few = aimed(tries[:8], rng.uniform(size=8) < 0.5)
    assert np.abs(few).max() < 1.5
    assert np.abs(aimed(tries, rng.uniform(size=4000) < 0.7)).max() < 0.3
    np.testing.assert_allclose(aimed(tries[:50], np.ones(50, bool)), 0, atol=0.3)
    assert not aimed(tries[:0], np.zeros(0, bool)).any()


def test_a_demonstration_that_no_probe_followed_aims_as_shown(demos: Episodes):
    follower = Follower(demos)
    follower.probe(1, 0)
    unmoved = [not shown.aims.any() for shown in follower.shown]
    assert len(demos) > 1
    assert sum(unmoved) >= len(demos) - 1


def _beside(
    follower: Follower, path: np.ndarray, step: int, position: np.ndarray, axes: np.ndarray
) -> np.ndarray:
    """Where the right hand is as seen from an object (m)."""
    hand, _ = follower.reach["right"].place(path[step, 7:13])
    return axes.T @ (hand - position)


def test_after_its_end_the_hand_that_let_go_goes_back(follower: Follower, demos: Episodes):
    for shown, length in zip(follower.shown, demos.lengths, strict=True):
        end, after = shown.reached[length - 1], shown.reached[-1]
        np.testing.assert_array_equal(end[:7], after[:7])
        (here, axes), (there, _) = (follower.reach["right"].place(at[7:13]) for at in (end, after))
        np.testing.assert_allclose(there - here, -LEAVE_M * axes[:, 0], atol=1e-3)


def test_one_demonstration_becomes_several(demos: Episodes, tmp_path: Path):
    with EpisodeWriter.to(tmp_path / "one", demos.header) as writer:
        writer.add(demos[0], demos.snapshots(0))
    one = Episodes.open(tmp_path / "one")
    config = GenerateConfig(3, probes=8, seed=2)
    made = [generate(one, tmp_path / name, config) for name in ("a", "b")]
    assert all(len(m) == 3 and m.success.all() for m in made)
    origin = dict(made[0].meta["generated"])
    aims = np.array(origin.pop("aims_m"))
    assert aims.shape == (1, 2, 3)
    assert 0 < np.abs(aims).max() < 0.01
    assert origin == {
        "of": 1,
        "fingerprint": demos.meta["fingerprint"],
        "episodes": 3,
        "fastest": 1.3,
        "probes": 8,
        "seed": 2,
    }
    for i in range(3):
        assert made[0][i].action.tobytes() == made[1][i].action.tobytes()
        assert made[0].snapshots(i).row.tobytes() == made[1].snapshots(i).row.tobytes()
    cubes = np.stack([m.obs["cube_pos"][0] for m in made[0]])
    apart = np.linalg.norm(cubes[:, None] - cubes[None], axis=2)[np.triu_indices(3, 1)]
    assert apart.min() > 0.01
    counts = made[0].meta["demonstrations"]
    assert counts["successes"] == 3 <= counts["attempts"]


def test_where_nobody_takes_anything_nothing_is_carried_over(demos: Episodes, tmp_path: Path):
    short = replace(
        demos[0], obs={k: v[:20] for k, v in demos[0].obs.items()}, action=demos[0].action[:20]
    )
    with EpisodeWriter.to(tmp_path / "short", demos.header) as writer:
        writer.add(short, demos.snapshots(0)[np.arange(20)])
    with pytest.raises(InputError, match="no hand takes an object"):
        Follower(Episodes.open(tmp_path / "short"))
    with pytest.raises(InputError, match="episodes 0"):
        GenerateConfig(episodes=0)
    with pytest.raises(InputError, match=r"fastest 0\.9"):
        GenerateConfig(fastest=0.9)
    with pytest.raises(InputError, match="probes -1"):
        GenerateConfig(probes=-1)


def test_tries_differ_in_slips_and_pace(demos: Episodes, env: BatchEnv):
    env.restore(demos.snapshots(1)[np.zeros(ROWS, int)])
    follower = Follower(demos, HUMAN, fastest=1.5)
    follower.start(env.view(), np.arange(ROWS))
    ends = np.stack([row.plan[-1, 1] for row in follower.rows])
    assert len(np.unique(ends.round(6), axis=0)) == ROWS
    again = Follower(demos, HUMAN, fastest=1.5)
    again.start(env.view(), np.arange(ROWS)[::-1])
    for one, other in zip(follower.rows, again.rows[::-1], strict=True):
        np.testing.assert_array_equal(one.plan, other.plan)


def test_a_hurried_plan_leads_by_the_lag():
    t = np.arange(200) * 0.02
    path = np.stack([np.sin(t), np.cos(t)], axis=1)
    plan = np.stack([path + 0.1, path], axis=1)
    np.testing.assert_array_equal(hurried(plan, 1.0, 0.1, 0.02), plan)
    fast = hurried(plan, 2.0, 0.1, 0.02)
    assert len(fast) == 101
    np.testing.assert_array_equal(fast[:-1, 1], path[::2])
    velocity = np.stack([np.cos(t), -np.sin(t)], axis=1)[::2]
    np.testing.assert_allclose(
        (fast[:, 0] - fast[:, 1])[1:-2], 0.1 + 0.1 * velocity[1:-1], atol=1e-3
    )
