"""Identification of the one joint that moves in a recording of a Dynamixel arm.

    python -m benchmarks.dynamixel --json

A WidowX 200 turns its waist, a Dynamixel of ALOHA's own family, by 2 pi. The axis is vertical and the rest
of the arm stands still: the joint is a mass on a line, and the servo's law is fitted to it as `regrasp
identify` does before it turns to a whole arm. Which terms are included is chosen within the first half of
the recording; what is printed is the error on the second half, which nothing was fitted to.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro

from benchmarks.common import Result, guarded, note, report
from regrasp.assets.arm import Arm, Gripper, Joint, Servo
from regrasp.errors import InputError
from regrasp.sim2real import find_data
from regrasp.sim2real.identify.choose import FAR, fitted
from regrasp.sim2real.identify.quick import GRID_S, Loads, errors_of, unloaded
from regrasp.sim2real.identify.terms import LADDER, PLAIN, TERMS, nominal_place
from regrasp.sim2real.log import Log, Refused
from regrasp.sim2real.readers import bags
from regrasp.sim2real.replay import hold

BAG = "interbotix_wx200/waist_diagnostics.bag"
WAIST = Servo(kp=18.9, kv=0.0, damping=0.85, armature=0.1, frictionloss=0.1, force_limit=4.1)
"""An XM430-W350 at the firmware's P = 800: stiffness and back-EMF derived from its data sheet, its stall
torque, and a rotor inertia of 8e-7 kg m^2 behind 353.5 : 1."""
INERTIA_KGM2 = 0.03
"""Of the folded arm about the waist: 1.5 kg at 0.14 m."""
RUNGS = ("plain", "stribeck", "profile", "force limit", "backlash")


@dataclass(frozen=True)
class Dynamixel:
    """Fit the waist of a WidowX 200 to half of a recording, and judge it on the other half."""

    piece_s: float = 8.0
    """Length of the pieces (s); each starts where the joint turns round."""
    json: bool = False
    """Print one JSON list."""


def read_waist(path: Path) -> Log:
    """The recording, of which nothing but the waist moves.

    Raises:
        InputError: it is no log.
    """
    (log,) = bags.read(path, None)
    if isinstance(log, Refused):
        raise InputError(log.reason)
    return log


def pieces(path: Path, piece_s: float) -> Loads:
    """The recording in pieces that start where the joint turns round."""
    log = read_waist(path)
    waist = log.joints.index("waist")
    t = log.t - log.t[0]
    grid = np.arange(0, log.duration_s, GRID_S)
    real = np.interp(grid, t, log.q[:, waist])
    speed = np.abs(np.convolve(np.gradient(real, GRID_S), np.ones(9) / 9, "same"))
    size, recorded, at = round(piece_s / GRID_S), [], 5
    while at + size < len(grid):
        near = slice(at, at + round(4 / GRID_S))
        first = at + int(np.argmin(speed[near]))
        if first + size >= len(grid):
            break
        inside = slice(first, first + size)
        # Commands at the pieces' own stamps, and the one that is in force where a piece begins.
        sent = hold(log, grid[inside])[:, [waist]]
        recorded.append((grid[inside] - grid[first], sent, real[inside, None]))
        at = first + size // 2
    loads = unloaded(recorded)
    return replace(loads, mass=np.full(loads.mass.shape, INERTIA_KGM2))


def main() -> int:
    config = tyro.cli(Dynamixel)
    folder = find_data()
    if folder is None or not (folder / BAG).is_file():
        raise InputError(f"no {BAG}: set REGRASP_DATA to a folder that holds it")
    loads = pieces(folder / BAG, config.piece_s)
    joint = Joint("waist", (-np.pi, np.pi), 0.0, WAIST)
    arm = Arm("wx200", "data sheets", (joint,), Gripper(0, 1, None), ())
    count = loads.weight.shape[1]
    first, second = np.arange(count) < count // 2, np.arange(count) >= count // 2 + 1
    early = first & (np.arange(count) % 2 == 0)
    stock = errors_of(arm, 0, (), np.zeros((1, 0)), loads)[0]
    held = {}
    for rung in RUNGS:
        _, errors = _fit(arm, rung, loads, early)
        held[rung] = float(errors[first & ~early].mean())
        note(f"{rung}: held-out error {held[rung]:.5f} rad")
    best = min(held, key=lambda rung: held[rung])
    z, errors = _fit(arm, best, loads, first)
    for name, value in zip((*PLAIN, *LADDER[best]), z, strict=True):
        note(f"  {name} {float(TERMS[name].value(value, WAIST)):.4g}")
    note(f"chosen: {best}; {int(second.sum())} pieces judged")
    results = [
        Result("waist RMSE, nominal servo", float(np.median(stock[second])), "rad", "lower"),
        Result("waist RMSE, identified", float(np.median(errors[second])), "rad", "lower"),
    ]
    report(results, title="Dynamixel waist", as_json=config.json)
    return 0


def _fit(arm: Arm, rung: str, loads: Loads, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    names = (*PLAIN, *LADDER[rung])
    start = np.array([nominal_place(name, WAIST) for name in names])
    return fitted(arm, 0, names, loads, train, start, FAR)


if __name__ == "__main__":
    sys.exit(guarded(main))
