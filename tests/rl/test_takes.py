"""Who takes what is read from kept states."""

import numpy as np
import pytest

from regrasp.rl.takes import MOVED_M, first_moved, lasting, letting_go, symmetries, takes


@pytest.mark.parametrize(
    ("task", "counts"),
    [("transfer_cube", {"cube": 24}), ("peg_insertion", {"peg": 8, "socket": 4})],
)
def test_an_object_looks_the_same_after_its_symmetries(task: str, counts: dict[str, int]):
    found = symmetries(task)
    assert {name: len(turns) for name, turns in found.items()} == counts
    for turns in found.values():
        products = (turns[:, None] @ turns[None]).reshape(-1, 3, 3)
        gaps = np.abs(products[:, None] - turns[None]).max(axis=(2, 3)).min(axis=1)
        assert gaps.max() < 1e-6  # A group: two symmetries in a row are one.


def test_a_touch_counts_once_it_lasts():
    touch = np.zeros(50, bool)
    assert lasting(touch, 10) is None
    touch[5:9] = True  # A brush.
    touch[20:40] = True
    touch[24] = False  # A slip.
    assert lasting(touch, 10) == 20
    assert lasting(touch[:4], 10) is None


def test_a_hand_that_takes_from_the_table_looks_before_one_that_takes_from_a_hand():
    steps = np.arange(300)
    path = np.zeros((300, 3))
    path[120:, 2] = np.minimum(0.01 * (steps[120:] - 119), 0.2)
    touched = {("right", "cube"): (steps > 100) & (steps < 250), ("left", "cube"): steps > 220}
    first, second = takes({"cube": path}, touched, 0.02)
    assert (first.side, first.resting, first.step, first.look) == ("right", True, 101, 0)
    assert first.until == 121 + 10
    assert (second.side, second.resting, second.step) == ("left", False, 221)
    assert second.until == 249 + 10
    assert not takes({"cube": 0 * path}, touched, 0.02)  # It never moved: nobody took it.


def test_who_lets_go_of_what_another_hand_has_is_known():
    steps = np.arange(100)
    had = {
        ("right", "cube"): steps < 90,
        ("left", "cube"): steps > 60,
        ("right", "pot"): steps < 95,
    }
    assert letting_go(had, 20) == ["right"]
    assert letting_go(had, 5) == []  # It has long been gone.
    assert letting_go({**had, ("left", "cube"): steps < 80}, 20) == []  # Nobody has it.
    assert letting_go({**had, ("right", "cube"): steps < 101}, 20) == []  # Both have it.


def test_an_object_is_moved_once_it_is_elsewhere():
    still = np.zeros((10, 3)) + 0.4 * MOVED_M * np.random.default_rng(0).uniform(-1, 1, (10, 3))
    assert first_moved(still) is None
    pushed = still.copy()
    pushed[6:, 1] += 5 * MOVED_M
    assert first_moved(pushed) == 6
