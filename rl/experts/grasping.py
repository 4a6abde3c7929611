"""Where a gripper that points down can take a thing among others, from the shapes and where they are now."""

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from regrasp.assets.things import Part, Thing

GROUND_M, BELOW_M, BITE_M = 0.006, 0.012, 0.007
"""The gripper site stays this far above the ground, aims this far below the middle of what it takes, and
ends at least so far below it. The tips end 2.5 mm above the site."""
TIP_M = 0.0025
SINK_M = 0.003
"""A hand may be this much too low."""
HALF_WIDTH_M, THICKNESS_M, LENGTH_M = 0.009, 0.010, 0.04
"""Of a tip: along the fingers' sides, in the direction in which they close, and upwards."""
WIDEST_M, OPEN_M = 0.046, 0.0586
"""Of what is taken; of the gap between open tips."""
SQUARE_RAD, ASKEW_RAD = (0.0,), (-0.3, 0.3, -0.6, 0.6)
"""A gripper closes square to the sides of a part or, if something is in the way, askew: the part turns."""
ROOMS_M = (0.009, 0.0065, 0.004)
"""Gaps that are tried between an open tip and what it takes, best first."""
BRUSH_M = 0.005
"""How far into a neighbour the tips may aim where there is no other way: it gives way."""
NEIGHBOUR_M = 0.1
"""Points further away than this are in nobody's way."""
TIGHT_M, WIDE_M = 0.003, 0.01
"""The tips keep the first distance from everything else, and rather the second."""
LEVEL = 0.35
"""Axes whose vertical component is smaller count as horizontal."""
SPACING_M = 0.007
"""Distance between points on a surface, about."""


class Grasp(NamedTuple):
    """A gripper that points down and closes."""

    pos_m: Float[np.ndarray, "3"]
    """Of the gripper site."""
    yaw_rad: float
    """Closing along y turned by this angle about the vertical."""
    width_m: float
    """Of what is between the tips."""
    room_m: float
    """Between an open tip and what it takes: all that there is, where nothing else is near."""
    cost_m: float
    """Low is good."""


def grasps(
    thing: Thing,
    pos: Float[np.ndarray, "3"],
    rotation: Float[np.ndarray, "3 3"],
    others: Float[np.ndarray, "n 3"],
    ground_m: float,
) -> list[Grasp]:
    """Ways to take a thing, best first.

    Args:
        thing: its shape.
        pos: its origin (m).
        rotation: its axes as columns.
        others: points on the surfaces of what should not be touched (m).
        ground_m: height of what it lies on.
    """
    own = pos + surface(thing) @ rotation.T
    others = others[(np.abs(others - pos) < NEIGHBOUR_M).all(axis=1)]
    for spread, tight in ((SQUARE_RAD, TIGHT_M), (ASKEW_RAD, 0.001), (SQUARE_RAD, -BRUSH_M)):
        found = []
        for site, across in _places(thing, pos, rotation, ground_m, spread):
            grasp = _fit(site, across, own, others, pos, tight)
            if grasp is not None:
                found.append(grasp)
        if found:
            return sorted(found, key=lambda grasp: grasp.cost_m)
    return []


def _places(
    thing: Thing, pos: np.ndarray, rotation: np.ndarray, ground_m: float, spread: tuple[float, ...]
) -> Iterator[tuple[Float[np.ndarray, "3"], Float[np.ndarray, "2"]]]:
    """Where the gripper site may be, and which way it may close: across a part, or askew by so much."""
    for part in thing.parts:
        middle = pos + rotation @ part.pos_m
        for square, offset in product(_directions(part, rotation), _offsets(part, rotation)):
            if abs(square @ offset[:2]) > 0.5 * np.linalg.norm(offset):
                continue
            at = middle + offset
            lowest = max(ground_m + GROUND_M, at[2] - BELOW_M)
            highest = max(at[2] - BITE_M, lowest)
            for askew, low in product(spread, np.arange(lowest, highest + 1e-4, 0.002)):
                c, s = np.cos(askew), np.sin(askew)
                across = np.array([c * square[0] - s * square[1], s * square[0] + c * square[1]])
                yield np.array([*at[:2], low]), across


def _fit(
    site: np.ndarray,
    across: np.ndarray,
    own: np.ndarray,
    others: np.ndarray,
    pos: np.ndarray,
    tight: float,
) -> Grasp | None:
    """The tips about what is between them, if it is not too wide and they do not stand on it."""
    axes = np.stack([across, [-across[1], across[0]]], axis=1)
    own_uv = (own[:, :2] - site[:2]) @ axes
    above = own[:, 2] > site[2] + TIP_M - SINK_M
    between = (np.abs(own_uv[:, 1]) <= HALF_WIDTH_M) & above & (own[:, 2] < site[2] + LENGTH_M)
    if between.sum() < 2:
        return None
    low, high = own_uv[between, 0].min(), own_uv[between, 0].max()
    width, middle = high - low, (high + low) / 2
    if not 0.008 < width <= WIDEST_M:
        return None
    near = others[others[:, 2] > site[2] - SINK_M]
    uv = (near[:, :2] - site[:2]) @ axes - [middle, 0]
    # What sticks out of the thing itself, beside the tips, may be in their way too.
    own_uv = (own_uv - [middle, 0])[above]
    sticks_out = np.abs(own_uv[:, 0]) > width / 2 + 0.001
    uv = np.concatenate([uv, own_uv[sticks_out]])
    for room in ROOMS_M:
        if width + 2 * room < OPEN_M and _clearance(own_uv, width, room) > 0:
            clearance = _clearance(uv, width, room)
            if clearance > tight:
                break
    else:
        return None
    at = np.array([*site[:2] + axes @ [middle, 0], site[2]])
    # Far from the middle things turn in the hand; a tip in a narrow gap may land on the neighbour.
    cost = np.linalg.norm((at - pos)[:2]) + (ROOMS_M[0] - room) + 2 * max(WIDE_M - clearance, 0)
    cost += 0.5 * width + 0.3 * max(site[2] + BELOW_M - pos[2], 0)
    # How a thing is taken does not depend on it, but who aims badly is glad of all the room there is.
    widest = (OPEN_M - width) / 2
    if _clearance(uv, width, widest) > TIGHT_M and _clearance(own_uv, width, widest) > 0:
        room = widest
    return Grasp(at, float(np.arctan2(-across[0], across[1])), width, room, float(cost))


def _clearance(uv: Float[np.ndarray, "n 2"], width: float, room: float) -> float:
    """Distance (m) of the nearest point from where the tips are, open and closing; negative: inside.

    Points are given across and along, from the middle between the tips.
    """
    if not len(uv):
        return np.inf
    depth = np.abs(uv[:, 0]) - width / 2
    across = np.maximum(0.001 - depth, depth - room - THICKNESS_M)
    return float(np.maximum(across, np.abs(uv[:, 1]) - HALF_WIDTH_M).min())


def _directions(part: Part, rotation: np.ndarray) -> Iterator[Float[np.ndarray, "2"]]:
    """Horizontal directions in which two sides of a part face each other."""
    if part.radius_m == 0:
        level = [axis for axis in rotation.T if abs(axis[2]) < LEVEL]
    elif part.half_m[0] and abs(rotation[2, 0]) < 1 - LEVEL:
        level = [np.array([-rotation[1, 0], rotation[0, 0]])]
    else:
        level = [np.array([np.cos(a), np.sin(a)]) for a in np.arange(12) * np.pi / 12]
    for axis in level:
        yield axis[:2] / np.linalg.norm(axis[:2])


def _offsets(part: Part, rotation: np.ndarray) -> Iterator[Float[np.ndarray, "3"]]:
    """Where along a part to take it: in the middle, and towards the ends of what is long."""
    yield np.zeros(3)
    for axis, half in zip(rotation.T, part.half_m, strict=True):
        spare = half - HALF_WIDTH_M / 2
        if spare > 0.002 and abs(axis[2]) < LEVEL:
            yield spare * axis
            yield -spare * axis


@cache
def surface(thing: Thing) -> Float[np.ndarray, "n 3"]:
    """Points on the surface of a thing, in its own frame (m)."""
    points = [p.pos_m + cloud(p.half_m, p.radius_m) for p in thing.parts]
    return np.concatenate(points)


def cloud(half: tuple[float, float, float], radius: float) -> Float[np.ndarray, "n 3"]:
    """Points on the surface of a box whose edges are rounded by growing it by a radius (m)."""
    grids = [np.linspace(-h, h, 2 + int(2 * h / SPACING_M)) if h else np.zeros(1) for h in half]
    core = np.array(list(product(*grids)))
    if radius == 0:
        on_a_face = (np.abs(np.abs(core) - half) < 1e-9).any(axis=1)
        return core[on_a_face]
    # A spiral over the sphere.
    n = 12 + int(4 * np.pi * (radius / SPACING_M) ** 2)
    z = 1 - (2 * np.arange(n) + 1) / n
    turn = np.pi * (1 + 5**0.5) * np.arange(n)
    flat = np.sqrt(1 - z * z)
    ball = radius * np.stack([flat * np.cos(turn), flat * np.sin(turn), z], axis=1)
    return (core[:, None] + ball).reshape(-1, 3)
