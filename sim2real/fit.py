"""A randomisation fitted to logs: how servo figures are distributed, not which one fits best.

The likelihood is that of an ensemble, as in DROPO (Tiboni et al., RAS 2023): at each step the
measured position under a Gaussian of the ensemble's mean and variance. It punishes an ensemble that
is too narrow and one that is too wide. An ensemble is drawn from the present distributions, and at
each step a plane is laid through its members over the logarithms of their figures; with planes the
likelihood of any other distributions has a closed form, and its best place is found at once. The
next ensemble is drawn there, so the planes hold where they are used.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from regrasp.assets.arm import Arm
from regrasp.envs.control import MAX_LATENCY_S
from regrasp.errors import InputError, check_positive
from regrasp.progress import Progress
from regrasp.randomization import Constant, LogNormal, Table, row_json, table_of, write_table
from regrasp.sim2real.ensemble import Simulate, draw_ensemble, table_replay
from regrasp.sim2real.log import Log, stretch
from regrasp.sim2real.simulate import cores

FIGURES = ("servo stiffness", "servo damping", "joint friction")
"""Fitted for every joint. Inertia is not: at the pace of these servos no log shows it."""
LATENCY = "command latency"
MOVE, GROW, SHRINK = 1.5, 2.0, 0.4
"""A round may move a median by so many sigmas, and multiply a sigma by at most and at least this."""
SIGMA_RANGE = (0.02, 1.0)
CREEP = 1e-3
"""Of the engine's: with more, replays drift to their targets where the real arm sticks for minutes."""
CUT = 2.5
"""Distributions end at so many sigmas."""
FACTOR_RANGE, LATENCY_RANGE_S = (0.02, 8.0), (0.002, 0.06)
"""Of the medians."""
PRIOR = 0.02
"""Weight of the arm's own figures: what no log shows stays as it is."""
INSIDE = 0.92
"""Share of the fitted samples that the central 90 % band is to hold: others fit a little worse."""
BAND = 0.9


@dataclass(frozen=True)
class FitConfig:
    """How a randomisation is fitted."""

    members: int = 16
    """Of each ensemble; 6 or more, or no plane could be laid through them."""
    rounds: int = 4
    """Ensembles, one after the other."""
    widenings: int = 2
    """Ensembles after those, to set the spread of each joint by what its band really holds."""
    seconds: float = 12.0
    """Of each log, a stretch that begins anywhere."""
    every: int = 5
    """Every so many samples are looked at: neighbours say the same."""
    sigma: float = 0.5
    """Spread of the logarithm of every figure at first."""
    friction: float = 3.0
    """Median factor of every joint's friction at first: small servos have more than models say."""
    latency_s: float = 0.02
    """Median latency of commands at first (s)."""
    angle_noise_rad: float = 0.0015
    """Noise of measured angles (rad), which is not fitted: an encoder step of the SO-101."""
    timestep_s: float = 0.004
    """Of the simulations (s)."""
    seed: int = 0
    """Of the draws."""

    def __post_init__(self) -> None:
        names = (
            "members",
            "rounds",
            "seconds",
            "every",
            "sigma",
            "friction",
            "latency_s",
            "timestep_s",
        )
        check_positive(self, names)
        least = len(FIGURES) + 3  # The figures, the latency, a constant, and what is left over.
        if self.members < least or not 0 <= self.seed < 2**32:
            raise InputError(
                f"members {self.members} and seed {self.seed}: choose at least {least} members, and a seed "
                "from 0 to 4294967295"
            )


@dataclass(frozen=True)
class Fit:
    """A fitted randomisation. `table()` plugs into `regrasp.randomization`."""

    arm: str
    figures: dict[str, LogNormal]
    """By the name of a row: a joint and a figure, or the latency (s)."""
    angle_noise_rad: float
    log_likelihood: tuple[float, ...]
    """Of each round's ensemble: mean over logs and joints, per step."""
    logs: tuple[str, ...]
    servos: dict[str, dict[str, float]]
    """Figures that the factors are relative to, where they are not the arm's own."""

    def rows(self) -> list[dict[str, Any]]:
        """The table's rows as plain data."""
        return _rows(self.figures, self.angle_noise_rad, f"fitted to {len(self.logs)} logs")

    def table(self, arm: Arm, prefixes: Sequence[str] = ("",)) -> Table:
        """The table, for an arm by itself or for scenes that put prefixes before its joints."""
        return table_of(self.rows(), arm, prefixes)

    def write(self, path: str | Path, arm: Arm) -> None:
        """Write the table, whole or not at all; `read_table` reads it."""
        notes = {"log_likelihood": list(self.log_likelihood), "logs": list(self.logs)}
        write_table(path, arm, self.rows(), self.servos, source="fitted to logs", fit=notes)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "arm": self.arm,
            "rows": self.rows(),
            "log_likelihood": list(self.log_likelihood),
            "logs": list(self.logs),
        }

    def __str__(self) -> str:
        lines = [f"{name:<32} {found}" for name, found in self.figures.items()]
        course = " -> ".join(f"{value:.3f}" for value in self.log_likelihood)
        return "\n".join([*lines, f"log-likelihood per step and joint, round by round: {course}"])


def fit_table(
    logs: Sequence[Log],
    arm: Arm,
    config: FitConfig = FitConfig(),
    servos: Mapping[str, Mapping[str, float]] | None = None,
    simulate: Callable[[Table], Simulate] | None = None,
    progress: Progress | None = None,
) -> Fit:
    """Fit the distributions of an arm's servo figures and of its latency to logs.

    Args:
        logs: logs of that arm; keep some back to judge the fit by.
        arm: the arm that factors are relative to.
        config: how.
        servos: the figures by which that arm differs from its nominal table, for the file.
        simulate: gives, for a table, what turns its draws into positions; None: `table_replay`.
        progress: called with rounds done, all, and a note.
    """
    rng = np.random.default_rng(config.seed)
    pieces = [stretch(log, config.seconds, rng) for log in logs]
    figures = {
        f"{j} {f}": _bell(f, config.friction if f == "joint friction" else 1.0, config.sigma)
        for j in arm.joint_names
        for f in FIGURES
    }
    figures[LATENCY] = _bell(LATENCY, config.latency_s, config.sigma)
    course, total = [], config.rounds + config.widenings
    for number in range(total):
        table = table_of(_rows(figures, config.angle_noise_rad, "while fitting"), arm)
        own = simulate(table) if simulate else table_replay(arm, table, config.timestep_s, cores())
        ensemble = draw_ensemble(pieces, arm, table, config.members, config.seed + number, own)
        planes = _planes(pieces, arm, ensemble.positions, ensemble.numbers, figures, config)
        course.append(-sum(_cost(plane, *_here(plane))[0] for plane in planes) / len(planes))
        if number < config.rounds:
            figures = _better(planes, figures)
        else:
            figures = _widened(pieces, arm, ensemble.positions, figures, config)
        if progress is not None:
            progress(number + 1, total, f"log-likelihood {course[-1]:.3f}")
    names = tuple(log.name for log in logs)
    base = {joint: dict(own) for joint, own in (servos or {}).items()}
    return Fit(arm.name, figures, config.angle_noise_rad, tuple(course), names, base)


def changed(nominal: Arm, arm: Arm) -> dict[str, dict[str, float]]:
    """The servo figures by which an arm differs from its nominal table, as a file names them.

    Raises:
        InputError: it differs in masses too, which the file of a table does not hold.
    """
    if arm.links != nominal.links:
        bodies = ", ".join(link.body for link in arm.links if link not in nominal.links)
        raise InputError(
            f"the parameters correct the masses of {bodies}, which a table does not hold: fit from "
            "parameters without links (`regrasp identify --no-shared`), or from none"
        )
    return {
        old.name: {
            figure: value
            for figure, value in vars(new.servo).items()
            if value != getattr(old.servo, figure)
        }
        for old, new in zip(nominal.joints, arm.joints, strict=True)
        if old.servo != new.servo
    }


@dataclass(frozen=True, eq=False)
class _Plane:
    """One joint's positions as planes over standardised logarithms of figures, at many steps."""

    names: tuple[str, ...]
    """Rows of the table, the latency last."""
    miss: Float[np.ndarray, "steps"]
    """Measured less the ensemble's plane at its middle."""
    slope: Float[np.ndarray, "steps figures"]
    rest: Float[np.ndarray, "steps"]
    """Variance beside the plane: noise, other joints, and what is not plane."""
    weight: Float[np.ndarray, "steps"]
    """Every log weighs the same; all together 1."""


def _planes(
    logs: Sequence[Log],
    arm: Arm,
    positions: Sequence[np.ndarray],
    numbers: Sequence[Mapping[str, np.ndarray]],
    figures: Mapping[str, LogNormal],
    config: FitConfig,
) -> list[_Plane]:
    planes = []
    for column, joint in enumerate(arm.joint_names):
        names = (*(f"{joint} {figure}" for figure in FIGURES), LATENCY)
        parts = []
        for log, members, drawn in zip(logs, positions, numbers, strict=True):
            ratios = [np.log(drawn[n][:, 0] / figures[n].median) / figures[n].sigma for n in names]
            design = np.column_stack([np.ones(len(members)), *ratios])
            seen = members[:, :: config.every, column]
            solution, *_ = np.linalg.lstsq(design, seen, rcond=None)
            left = ((seen - design @ solution) ** 2).sum(axis=0) / (len(design) - design.shape[1])
            floor = config.angle_noise_rad**2 + (1e-3) ** 2
            parts.append(
                (
                    log.q[:: config.every, column] - solution[0],
                    solution[1:].T,
                    left + floor,
                    np.full(seen.shape[1], 1 / (seen.shape[1] * len(logs))),
                )
            )
        planes.append(_Plane(names, *(np.concatenate(part) for part in zip(*parts, strict=True))))
    return planes


def _here(plane: _Plane) -> tuple[np.ndarray, np.ndarray]:
    """The distributions that the ensemble was drawn from: no shift, sigmas as they are."""
    return np.zeros(len(plane.names)), np.ones(len(plane.names))


def _cost(
    plane: _Plane, shift: np.ndarray, sigma: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Minus the mean log-likelihood, and its gradients by the shifts and the sigmas."""
    off = plane.miss - plane.slope @ shift
    variance = plane.rest + plane.slope**2 @ sigma**2
    cost = plane.weight @ (0.5 * off**2 / variance + 0.5 * np.log(2 * np.pi * variance))
    by_variance = plane.weight * 0.5 * (1 / variance - off**2 / variance**2)
    by_shift = -(plane.weight * off / variance) @ plane.slope
    return float(cost), by_shift, 2 * sigma * (by_variance @ plane.slope**2)


def _better(planes: Sequence[_Plane], figures: Mapping[str, LogNormal]) -> dict[str, LogNormal]:
    """The distributions of the greatest likelihood under the planes, not too far away."""
    names = list(figures)
    places = [np.array([names.index(name) for name in plane.names]) for plane in planes]
    count = len(names)
    spread = np.array([figure.sigma for figure in figures.values()])
    own = np.array(
        [0.0 if name == LATENCY else np.log(figure.median) for name, figure in figures.items()]
    )

    def cost(x: np.ndarray) -> tuple[float, np.ndarray]:
        shift, sigma = x[:count], np.exp(x[count:])
        # The arm's own figures are where a median's logarithm is zero.
        off = x + np.concatenate([own / spread, np.zeros(count)])
        total, gradient = PRIOR * float(off @ off), 2 * PRIOR * off
        for plane, at in zip(planes, places, strict=True):
            value, by_shift, by_sigma = _cost(plane, shift[at], sigma[at])
            total += value
            gradient[at] += by_shift
            gradient[count + at] += by_sigma * sigma[at]
        return total, gradient

    bounds = [(-MOVE, MOVE)] * count + [(np.log(SHRINK), np.log(GROW))] * count
    found = minimize(cost, np.zeros(2 * count), jac=True, method="L-BFGS-B", bounds=bounds).x
    return {
        name: _bell(
            name, old.median * np.exp(old.sigma * found[i]), old.sigma * np.exp(found[count + i])
        )
        for i, (name, old) in enumerate(figures.items())
    }


def _widened(
    logs: Sequence[Log],
    arm: Arm,
    positions: Sequence[np.ndarray],
    figures: Mapping[str, LogNormal],
    config: FitConfig,
) -> dict[str, LogNormal]:
    """Spreads scaled, joint by joint, so that the band holds its share of the measured samples.

    A Gaussian law at every step is a model too: what it leaves out, friction that sticks above all,
    shows in how far the samples lie from the ensemble's mean, in its own standard deviations.
    """
    wanted = NormalDist().inv_cdf(0.5 + BAND / 2)
    scaled = dict(figures)
    for column, joint in enumerate(arm.joint_names):
        far, weight = [], []
        for log, members in zip(logs, positions, strict=True):
            seen, real = members[:, :: config.every, column], log.q[:: config.every, column]
            far.append(
                np.abs(real - seen.mean(axis=0)) / np.maximum(seen.std(axis=0, ddof=1), 1e-5)
            )
            weight.append(np.full(len(real), 1 / len(real)))
        order = np.argsort(every := np.concatenate(far))
        share = np.cumsum(np.concatenate(weight)[order]) / len(logs)
        reach = float(every[order][np.searchsorted(share, INSIDE)])
        factor = float(np.clip(reach / wanted, SHRINK, GROW))
        for figure in FIGURES:
            old = figures[f"{joint} {figure}"]
            scaled[f"{joint} {figure}"] = _bell(figure, old.median, old.sigma * factor)
    return scaled


def _bell(name: str, median: float, sigma: float) -> LogNormal:
    """A distribution of these figures that can be simulated."""
    low, high = LATENCY_RANGE_S if name == LATENCY else FACTOR_RANGE
    median = float(np.clip(median, low, high))
    top = MAX_LATENCY_S if name == LATENCY else np.inf
    widest = min(SIGMA_RANGE[1], float(np.log(top / median)) / CUT)
    return LogNormal(median, float(np.clip(sigma, SIGMA_RANGE[0], widest)), CUT)


def _rows(figures: Mapping[str, LogNormal], noise_rad: float, source: str) -> list[dict[str, Any]]:
    rows = []
    for name, found in figures.items():
        joint, _, figure = name.partition(" ")
        own = (LATENCY, None) if name == LATENCY else (figure, joint)
        rows.append(row_json(*own, found, source))
    joints = dict.fromkeys(name.partition(" ")[0] for name in figures if name != LATENCY)
    rows += [
        row_json("joint creep", joint, Constant(CREEP), "geared servos do not creep")
        for joint in joints
    ]
    noise = row_json("angle noise", None, Constant(noise_rad), "an encoder step")
    return [*rows, noise]
