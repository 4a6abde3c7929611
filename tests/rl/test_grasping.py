"""Grasps: as wide as there is room for, clear of what else is there, and the same from whatever side."""

import numpy as np
import pytest

from regrasp.assets.things import THINGS, Thing
from regrasp.rl.experts.grasping import OPEN_M, ROOMS_M, TIGHT_M, grasps, surface

AT = np.array([0.2, 0.05, 0.02])


def turn(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def lone(thing: Thing, angle: float = 0.0):
    return grasps(thing, AT, turn(angle), np.zeros((0, 3)), 0.0)


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.name)
def test_a_hand_opens_as_wide_as_it_can_about_what_stands_alone(thing: Thing):
    best = lone(thing)[0]
    assert best.width_m + 2 * best.room_m == pytest.approx(OPEN_M)


def test_a_neighbour_leaves_less_room_and_is_not_touched():
    thing, gap = THINGS[0], 0.012
    best = lone(thing)[0]
    across = np.array([-np.sin(best.yaw_rad), np.cos(best.yaw_rad), 0])
    # A wall on both sides of where the fingers would be.
    beside = best.width_m / 2 + best.room_m + gap
    along = np.linspace(-0.05, 0.05, 21)[:, None] * [across[1], -across[0], 0]
    wall = np.concatenate([along + side * beside * across + [0, 0, 0.01] for side in (-1, 1)])
    near = [g for g in grasps(thing, AT, np.eye(3), AT + wall, 0.0) if g.pos_m[0] == best.pos_m[0]]
    same = [g for g in near if abs(np.sin(g.yaw_rad - best.yaw_rad)) < 0.1]
    assert same
    for grasp in same:
        assert grasp.room_m < best.room_m
        assert grasp.room_m in ROOMS_M
        assert beside - grasp.width_m / 2 - grasp.room_m - 0.01 > TIGHT_M


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.name)
@pytest.mark.parametrize("angle", [0.3, 1.2, 2.9])
def test_grasps_turn_with_the_thing(thing: Thing, angle: float):
    """What is best costs the same, to how finely surfaces are sampled."""
    assert lone(thing, angle)[0].cost_m == pytest.approx(lone(thing)[0].cost_m, abs=0.002)


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.name)
def test_fingers_do_not_come_down_on_what_they_take(thing: Thing):
    for grasp in lone(thing, 0.7):
        c, s = np.cos(grasp.yaw_rad), np.sin(grasp.yaw_rad)
        own = AT + surface(thing) @ turn(0.7).T - grasp.pos_m
        across = np.abs(own[:, 1] * c - own[:, 0] * s)
        along = np.abs(own[:, 0] * c + own[:, 1] * s)
        inner = grasp.width_m / 2 + grasp.room_m
        under = (own[:, 2] > 0) & (along < 0.009) & (across > inner) & (across < inner + 0.01)
        assert not under.any()
