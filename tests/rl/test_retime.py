"""Faster demonstrations: the same way in less time, and only what succeeds when it is played."""

from pathlib import Path

import numpy as np
import pytest

from regrasp.errors import InputError
from regrasp.rl.episodes import Episodes
from regrasp.rl.retime import (
    SHOWN,
    Pace,
    RetimeConfig,
    Way,
    _slower,
    fastest,
    played_at,
    retime,
    servo_lag_s,
    times_at,
    way_of,
)

DT_S = 0.02


@pytest.fixture
def swing() -> Way:
    """Two seconds: one arm joint swings, its gripper closes in the middle."""
    t = np.arange(100) * DT_S
    joint, grip = np.sin(t), np.clip((t - 0.9) * 5, 0, 1)
    command = np.stack([joint, grip], axis=1)
    return way_of(command, command, np.array([True, False]), DT_S, careful_s=0.2)


def test_at_its_own_pace_nothing_changes(swing: Way):
    np.testing.assert_allclose(times_at(swing, SHOWN, DT_S, 4.0), np.arange(100) * DT_S, atol=1e-9)
    again = played_at(swing, SHOWN, 0.05, DT_S, 4.0)
    np.testing.assert_allclose(again[6:-6, 0], swing.command[6 : len(again) - 6, 0], atol=0.01)


def test_twice_the_pace_takes_half_the_time_along_the_same_way(swing: Way):
    twice = Pace(2.0, 2.0, np.inf)
    found = played_at(swing, twice, 0.0, DT_S, 4.0)
    assert len(found) == pytest.approx(50, abs=1)
    np.testing.assert_allclose(found[6:-6, 0], swing.command[::2][6 : len(found) - 6, 0], atol=0.02)


def test_it_is_slow_where_the_gripper_moves_and_where_joints_are_fast(swing: Way):
    pace = Pace(3.0, 1.0, np.inf)
    rate = DT_S / np.diff(times_at(swing, pace, DT_S, 4.0))
    careful = swing.careful[:-1]
    assert rate[careful].min() == pytest.approx(1, abs=0.05)
    assert rate[~careful].max() == pytest.approx(3, abs=0.05)
    limited = Pace(3.0, 3.0, 0.8)
    rate = DT_S / np.diff(times_at(swing, limited, DT_S, 4.0))
    assert (rate * swing.load[:-1])[6:-6].max() < 0.8 * 1.1


def test_commands_run_ahead_by_the_lag_of_the_servos(swing: Way):
    twice = Pace(2.0, 2.0, np.inf)
    ahead = played_at(swing, twice, 0.1, DT_S, 4.0) - played_at(swing, twice, 0.0, DT_S, 4.0)
    np.testing.assert_allclose(ahead[5:-5, 0], 0.1 * swing.velocity[::2][5:-5, 0], atol=0.02)
    assert not ahead[:, 1].any()


@pytest.mark.parametrize("lag_s", [0.0, 0.06, 0.2])
def test_the_lag_of_a_servo_is_found(lag_s: float):
    t = np.arange(300) * DT_S
    reached = np.stack([np.sin(t), np.cos(0.7 * t)], axis=1)
    ahead = np.stack([np.cos(t), -0.7 * np.sin(0.7 * t)], axis=1)
    noise = np.random.default_rng(0).normal(0, 0.005, reached.shape)
    sagging = reached + lag_s * ahead + [0.03, -0.02]
    assert servo_lag_s(sagging, reached + noise, DT_S) == pytest.approx(lag_s, abs=0.01)


def test_a_margin_makes_slower_but_not_slower_than_was_shown():
    assert _slower(Pace(3.0, 1.1, 2.4), 1.2) == pytest.approx((2.5, 1.0, 2.0))
    assert _slower(SHOWN, 1.5)[:2] == (1.0, 1.0)


def test_the_shortest_demonstrations(demos: Episodes):
    assert fastest(demos, 1.0).tolist() == list(range(len(demos)))
    one = fastest(demos, 0.1)
    assert one.tolist() == [int(np.argmin(demos.lengths))]
    with pytest.raises(InputError, match=r"share 0"):
        fastest(demos, 0.0)


def test_real_demonstrations_become_faster_and_still_succeed(demos: Episodes, tmp_path: Path):
    told = []
    config = RetimeConfig(rounds=2, tries=4)
    found = retime(demos, tmp_path / "fast", config, lambda *progress: told.append(progress))
    assert found.success.all()
    assert len(found) >= len(demos) - 1
    assert np.median(found.lengths) < 0.8 * np.median(demos.lengths)
    assert found.meta["retimed"]["rounds"] == 2
    starts = {found.snapshots(i).row[0].tobytes() for i in range(len(found))}
    assert starts <= {demos.snapshots(i).row[0].tobytes() for i in range(len(demos))}
    assert told[-1][:2] == (2 * len(demos), 2 * len(demos))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rounds": 0}, "rounds 0"),
        ({"fastest": 0.5}, r"fastest 0\.5"),
        ({"margin": 0.9}, r"margin 0\.9"),
    ],
)
def test_bad_settings_are_refused(changes: dict, says: str):
    with pytest.raises(InputError, match=says):
        RetimeConfig(**changes)
