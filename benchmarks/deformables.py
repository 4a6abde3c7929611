"""What the models of cable, clip and cloth get right: how they bend under their own weight, snap, and rest.

    python -m benchmarks.deformables

- Overhang: a strip is clamped level at one end and hangs over by twice its bending length (Peirce, 1930; ASTM
  D1388): c = (rigidity / weight)^(1/3), both per metre of length. The line from the edge to the tip then
  falls by 41.5 degrees, whatever it is made of. Rigidity is E I of a rod, E t^3 / (12 (1 - nu^2)) of a sheet.
- Swing: let go level, it swings; damping takes energy and nothing may add any, so every swing is smaller
  than the one before. The largest ratio of two swings.
- Clip: the force that presses a cable in, and that pulls it out, beside the statics of a rigid cylinder that
  slides between two sprung wires with Coulomb's friction.
- Drift: what lies on the table moves how far in a while.

With --warp instead: how far MuJoCo Warp, from home and in float32, comes from the CPU engine in the scenes of
the three tasks; the lump 200 times as heavy, so that it flows. On a CPU it compiles for minutes at first.

At several resolutions and time steps; those of the tasks are marked. Not modelled, so not measured: how far
a cable stretches, and that it does not pass through itself; weave (a cloth as stiff along as across the
threads), hysteresis of bending, air.
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import mujoco
import numpy as np
import tyro
from jaxtyping import Float
from rich.console import Console
from rich.table import Table

from benchmarks.common import Result, guarded, report
from regrasp.assets.cable import Cable, Clip
from regrasp.assets.cloth import Cloth
from regrasp.assets.surroundings import TABLE_TOP_M
from regrasp.envs import load_task
from regrasp.envs.tasks.fold_towel import TOWEL
from regrasp.envs.tasks.route_cable import CABLE, CLIP
from regrasp.envs.world import home_qpos
from regrasp.errors import check_positive

PEIRCE_RAD = np.radians(41.5)
"""Of a strip that hangs over by twice its bending length."""
CLAMP_KG = 1e6
"""What is clamped hardly moves, for its inertia, and has no weight."""
HEIGHT_M, WIDE_M = 1.0, 0.08
"""Of strips above the table, and of strips of cloth."""
TIMESTEPS_S = (0.008, 0.004, 0.002)
HOUSE_TIMESTEP_S = 0.004
SNAP_N_PER_S = 1.0
LEVEL_N_PER_M, LEVEL_NS_PER_M = 5.0, 0.1
"""What keeps a piece that is pushed into a clip level, at each of its vertices."""
WAYS = {"in": False, "out": True}
"""Of a cable through a clip."""
PIECES = {"at a vertex": 7, "between two": 8}
"""How many vertices pieces have whose middle is there."""
GRAVITY = 9.81
WEIGHTS = {"press_dough": 200.0, "route_cable": 1.0, "fold_towel": 1.0}
"""Scenes that MuJoCo Warp is tried on, and how many times their weight things have."""
ENGINES = ("cpu", "warp")
WARP_STEPS, WARP_CONTACTS, WARP_CONSTRAINTS = 50, 400, 2000


@dataclass(frozen=True)
class Deformables:
    """Bend, swing and rest cables and cloths."""

    seconds: float = 6.0
    """For how long strips swing before they are measured."""
    rest_s: float = 10.0
    """For how long they lie on the table."""
    warp: bool = False
    """Compare the tasks' scenes on MuJoCo Warp with the CPU engine instead."""
    json: bool = False
    """Print one JSON list."""

    def __post_init__(self) -> None:
        check_positive(self, ("seconds", "rest_s"))


class Strip(NamedTuple):
    """One thing at one resolution."""

    name: str
    thing: Cable | Cloth
    pieces: int
    """Its length over that of an edge, from clamp to tip. A vertex bends for the half edges beside it and has
    their weight, so the clamp is half an edge before the last clamped vertex, the tip half an edge behind the
    last one."""
    house: bool
    """At the resolution of its task."""


class Hung(NamedTuple):
    """How a strip behaved."""

    angle_rad: float
    """From the edge to the tip."""
    growth: float
    """Largest ratio of a swing to the one before."""


def bending_length_m(thing: Cable | Cloth) -> float:
    """Cube root of rigidity over weight, per metre of a rod, or per square metre of a sheet."""
    if isinstance(thing, Cable):
        rigidity = thing.young_pa * np.pi * thing.radius_m**4 / 4
        weight = thing.mass_kg / thing.length_m * GRAVITY
    else:
        rigidity = thing.young_pa * thing.sheet_m**3 / (12 * (1 - thing.poisson**2))
        weight = thing.mass_kg / np.prod(thing.size_m) * GRAVITY
    return float(np.cbrt(rigidity / weight))


def strips() -> Iterator[Strip]:
    """Cable and cloth, with coarse to fine pieces over twice their bending length."""
    over = 2 * bending_length_m(CABLE)
    house = round(over / CABLE.edge_m)
    for pieces in (house // 2, house, house * 3 // 2):
        piece, vertices = over / pieces, pieces + 1
        density = CABLE.mass_kg / CABLE.length_m
        cable = replace(
            CABLE,
            length_m=pieces * piece,
            vertices=vertices,
            mass_kg=density * piece * vertices,
        )
        yield Strip("cable", cable, pieces, pieces == house)
    over = 2 * bending_length_m(TOWEL)
    house = round(over / TOWEL.cells_m[0])
    density = TOWEL.mass_kg / np.prod(TOWEL.size_m)
    for pieces in (house, 2 * house, 4 * house):
        piece = over / pieces
        vertices, across = pieces + 1, max(2, round(WIDE_M / piece))
        cloth = replace(
            TOWEL,
            size_m=(pieces * piece, across * piece),
            vertices=(vertices, across + 1),
            mass_kg=density * piece * vertices * across * piece,
            radius_m=0.002,
        )
        yield Strip("cloth", cloth, pieces, pieces == house)


def scene(thing: Cable | Cloth, timestep_s: float, height_m: float) -> mujoco.MjSpec:
    """A table and the thing above it, level, with its first edge at x = 0."""
    spec = mujoco.MjSpec()
    spec.option.timestep = timestep_s
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    table = spec.worldbody.add_geom(name="table", type=mujoco.mjtGeom.mjGEOM_BOX)
    table.size, table.pos = (2, 2, 0.2), (0, 0, TABLE_TOP_M - 0.2)
    if isinstance(thing, Cable):
        thing.add(spec, "strip", (0.0, 0.0, height_m), (0.0, 0.0, 0.0, 1.0))
    else:
        thing.add(spec, "strip", height_m, (0.0, 0.0, 0.0, 1.0))
    return spec


def hang(strip: Strip, timestep_s: float, seconds: float) -> Hung:
    """Let a strip swing over an edge."""
    spec = scene(strip.thing, timestep_s, HEIGHT_M)
    across = 1 if isinstance(strip.thing, Cable) else strip.thing.vertices[1]
    for number in range(2 * across):
        body = spec.body(f"strip_{number}")
        body.mass, body.gravcomp = CLAMP_KG, 1
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    clamp = grid(data, strip.thing)[:2].mean(axis=(0, 1))
    tips = []
    for _ in range(round(seconds / timestep_s)):
        mujoco.mj_step(model, data)
        last, end = grid(data, strip.thing)[-2:].mean(axis=1)
        tips.append(end + (end - last) / 2 - clamp)
    x, _, z = tips[-1]
    return Hung(float(np.arctan2(-z, x)), growth(np.array(tips)[:, 2]))


def growth(heights: Float[np.ndarray, " steps"]) -> float:
    """The largest ratio of a swing to the one before; swings of less than 3 mm are rest."""
    turns = np.flatnonzero(np.diff(np.sign(np.diff(heights)))) + 1
    swings = np.abs(np.diff(heights[[0, *turns]]))
    rests = np.flatnonzero(swings < 3e-3)
    swings = swings[: rests[0]] if len(rests) else swings
    return float((swings[1:] / swings[:-1]).max()) if len(swings) > 1 else 0.0


def grid(data: mujoco.MjData, thing: Cable | Cloth) -> Float[np.ndarray, "along across 3"]:
    """Vertices along the strip and across it."""
    across = 1 if isinstance(thing, Cable) else thing.vertices[1]
    return np.asarray(data.flexvert_xpos).reshape(-1, across, 3)


def drift_m(thing: Cable | Cloth, timestep_s: float, seconds: float) -> float:
    """How far a vertex goes that lies on the table, once it has settled for a second."""
    spec = scene(thing, timestep_s, TABLE_TOP_M + thing.radius_m)
    model = spec.compile()
    data = mujoco.MjData(model)
    for _ in range(round(1 / timestep_s)):
        mujoco.mj_step(model, data)
    mujoco.mj_forward(model, data)
    before = data.flexvert_xpos.copy()
    for _ in range(round(seconds / timestep_s)):
        mujoco.mj_step(model, data)
    return float(np.linalg.norm(data.flexvert_xpos - before, axis=1).max())


def statics_n(clip: Clip, out: bool) -> float:
    """What it takes at most to slide a rigid cylinder slowly into a clip, or out of it.

    In the plane of the far jaw, y outwards, about its hinge; the near one does the same. At every height of
    the cylinder the jaw is turned until its wire just touches. Along the common normal acts N, against the
    motion friction times N, and their moment is the spring's.
    """
    jaw = clip.jaw_yz_m - clip.jaw_yz_m[0]
    gap_m, most_n = clip.for_m + clip.wire_m, 0.0
    for height_m in np.linspace(clip.seat_m, clip.lip_m + clip.flare_m, 600):
        axis = np.array([0.0, height_m]) - clip.jaw_yz_m[0]
        low, high = 0.0, 1.0
        for _ in range(40):
            turned = (low + high) / 2
            off_m = np.linalg.norm(axis - nearest(jaw @ turn(turned), axis))
            low, high = (turned, high) if off_m < gap_m else (low, turned)
        if high < 1e-6:
            continue
        near = nearest(jaw @ turn(high), axis)
        normal = (axis - near) / gap_m
        along = np.array([-normal[1], normal[0]])
        motion = np.array([0.0, 1.0 if out else -1.0])
        force = normal - clip.friction * along * np.sign(along @ motion)
        y, z = near + normal * clip.wire_m
        lever_m = y * force[1] - z * force[0]
        if lever_m <= 0:
            return np.inf
        most_n = max(most_n, -2 * clip.spring_nm * high / lever_m * float(force @ motion))
    return most_n


def turn(angle_rad: float) -> Float[np.ndarray, "2 2"]:
    """Rows of y and z times this lean outwards."""
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[cos, -sin], [sin, cos]])


def nearest(points: Float[np.ndarray, "points 2"], to: Float[np.ndarray, "2"]) -> np.ndarray:
    """The point of a line of straight pieces that is nearest to another one."""
    start, way = points[:-1], np.diff(points, axis=0)
    share = np.clip(((to - start) * way).sum(1) / (way * way).sum(1), 0, 1)
    near = start + share[:, None] * way
    return near[np.linalg.norm(near - to, axis=1).argmin()]


def snapped_n(clip: Clip, out: bool, vertices: int, timestep_s: float) -> float:
    """What it takes in the engine: a growing force pushes a short, stiff, weightless piece, kept level."""
    cable = replace(
        CABLE,
        length_m=CABLE.edge_m * (vertices - 1),
        vertices=vertices,
        mass_kg=CABLE.mass_kg * vertices / CABLE.vertices,
        young_pa=100 * CABLE.young_pa,
    )
    apart_m = clip.for_m + clip.wire_m
    touching_m = clip.lip_m + math.sqrt(apart_m**2 - (apart_m - clip.snap_m) ** 2)
    spec = scene(cable, timestep_s, TABLE_TOP_M + (clip.seat_m if out else touching_m))
    clip.add(spec, "clip", (0.0, 0.0, TABLE_TOP_M), (1.0, 0.0, 0.0, 1.0))
    model = spec.compile()
    model.opt.gravity[:] = 0
    data = mujoco.MjData(model)
    force_n, sign = 0.0, 1 if out else -1
    through_m = TABLE_TOP_M + (clip.lip_m + cable.radius_m if out else clip.seat_m + 1e-3)
    mujoco.mj_forward(model, data)
    heights = data.flexvert_xpos[:, 2].copy()
    while sign * (heights.mean() - through_m) < 0:
        force_n += SNAP_N_PER_S * timestep_s
        before, heights = heights, data.flexvert_xpos[:, 2].copy()
        tipped = LEVEL_N_PER_M * (heights - heights.mean())
        tipping = LEVEL_NS_PER_M * (heights - before - (heights - before).mean()) / timestep_s
        pushed = sign * force_n / cable.vertices - tipped - tipping
        data.xfrc_applied[model.flex_vertbodyid, 2] = pushed
        mujoco.mj_step(model, data)
    return force_n


def on_warp(task: str) -> list[Result]:
    """From home, all targets at home: where the flex is, how fast it gets, and what it touches."""
    import mujoco_warp
    import warp

    warp.config.log_level = warp.LOG_WARNING
    found = load_task(task)
    model = found.scene().compile()
    model.opt.gravity[2] *= WEIGHTS[task]
    data = mujoco.MjData(model)
    data.qpos[:] = home_qpos(model, found.workcell())
    mujoco.mj_forward(model, data)
    data.ctrl[:] = data.actuator_length
    theirs = mujoco_warp.put_model(model)
    twin = mujoco_warp.put_data(
        model, data, nworld=1, nconmax=WARP_CONTACTS, njmax=WARP_CONSTRAINTS
    )
    off_m, fastest, contacts = 0.0, np.zeros(2), np.zeros(2)
    for _ in range(WARP_STEPS):
        mujoco.mj_step(model, data)
        mujoco_warp.step(theirs, twin)
        off_m = max(off_m, np.abs(twin.flexvert_xpos.numpy()[0] - data.flexvert_xpos).max())
        fastest = np.maximum(fastest, np.abs([data.qvel, twin.qvel.numpy()[0]]).max(axis=1))
        contacts = np.maximum(contacts, [data.ncon, twin.nacon.numpy()[0]])
    return [
        Result(f"{task}_vertex_off", 1e3 * off_m, "mm", "lower"),
        *(
            Result(f"{task}_fastest_{e}", float(v), "m/s or rad/s", "lower")
            for e, v in zip(ENGINES, fastest, strict=True)
        ),
        *(
            Result(f"{task}_contacts_{e}", float(n), "1", "lower")
            for e, n in zip(ENGINES, contacts, strict=True)
        ),
    ]


def main() -> int:
    config = tyro.cli(Deformables, description=__doc__)
    if config.warp:
        found = [one for task in WEIGHTS for one in on_warp(task)]
        report(found, title="on MuJoCo Warp", as_json=config.json)
        return 0
    results: list[Result] = []
    table = Table(title="overhang by twice the bending length; 41.5 degrees are meant")
    for head in ("strip", "pieces", "time step", "angle", "swing on swing"):
        table.add_column(head, justify="left" if head == "strip" else "right")
    for strip in strips():
        for timestep_s in TIMESTEPS_S:
            hung = hang(strip, timestep_s, config.seconds)
            house = strip.house and timestep_s == HOUSE_TIMESTEP_S
            table.add_row(
                strip.name,
                str(strip.pieces),
                f"{1e3 * timestep_s:g} ms",
                f"{np.degrees(hung.angle_rad):.1f}" + (" *" if house else "  "),
                f"{hung.growth:.2f}",
            )
            if house:
                off = np.degrees(abs(hung.angle_rad - PEIRCE_RAD))
                results.append(Result(f"{strip.name}_overhang_off", float(off), "deg", "lower"))
                results.append(Result(f"{strip.name}_swing_on_swing", hung.growth, "1", "lower"))
    snaps = Table(title="force that snaps a cable into a clip and out of it")
    for head in ("way", "time step", "statics", *PIECES):
        snaps.add_column(head, justify="left" if head == "way" else "right")
    for way, out in WAYS.items():
        meant = statics_n(CLIP, out)
        for timestep_s in TIMESTEPS_S:
            house = timestep_s == HOUSE_TIMESTEP_S
            forces = {at: snapped_n(CLIP, out, n, timestep_s) for at, n in PIECES.items()}
            shown = [f"{force:.1f} N" + (" *" if house else "  ") for force in forces.values()]
            snaps.add_row(way, f"{1e3 * timestep_s:g} ms", f"{meant:.1f} N", *shown)
            if house:
                results += [
                    Result(
                        f"clip_{way}_{at.replace(' ', '_')}_off",
                        abs(force / meant - 1),
                        "1",
                        "lower",
                    )
                    for at, force in forces.items()
                ]
    for name, thing in (("cable", CABLE), ("cloth", TOWEL)):
        drift = drift_m(thing, HOUSE_TIMESTEP_S, config.rest_s)
        results.append(Result(f"{name}_drift_in_{config.rest_s:g}_s", 1e3 * drift, "mm", "lower"))
    if not config.json:
        Console().print(table)
        Console().print(snaps)
        Console().print("* as in the task")
    report(results, title="deformables", as_json=config.json)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
