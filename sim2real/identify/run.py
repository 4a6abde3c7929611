"""Identification from recordings to a parameter file, in steps that are kept as they end."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from regrasp.assets.arm import Arm, load_arm
from regrasp.errors import InputError
from regrasp.files import read_json, write_json
from regrasp.sim2real.identify import choose
from regrasp.sim2real.identify.config import IdentifyConfig
from regrasp.sim2real.identify.fit import Unknowns, started
from regrasp.sim2real.identify.pieces import cut, folds, session_name, session_of
from regrasp.sim2real.identify.quick import Loads, loads_of
from regrasp.sim2real.identify.refine import Linear, Noise, doubted, linearised, refine
from regrasp.sim2real.identify.sample import ends_of
from regrasp.sim2real.identify.settle import settle
from regrasp.sim2real.identify.terms import LADDER, PLAIN
from regrasp.sim2real.identify.uncertainty import (
    HELD,
    MEANT,
    Gain,
    Uncertainty,
    gains_of,
    information,
    uncertainty_of,
)
from regrasp.sim2real.log import Log
from regrasp.sim2real.readers import read_logs
from regrasp.sim2real.replay import replay
from regrasp.sim2real.units import ReadConfig

Tell = Callable[[int, int, str], None]
NOMINAL = IdentifyConfig()
REPLAYED = 6
"""Units of progress that an iteration on the whole arm counts as."""
CAUTION = (
    f"intervals are meant as {MEANT:.0%} and held {HELD:.0%} of the figures of known servos, whose errors "
    "the figures explain; of a real arm they know less: trust the error on recordings that were not fitted"
)


@dataclass(frozen=True)
class Figure:
    """One fitted figure in its own unit (rad, N m, s, m), with its interval: see `uncertainty.HELD`."""

    of: str
    """Joint or body."""
    name: str
    value: float
    low: float
    high: float
    at_bound: bool
    """Whether it ended at an end of its range."""


@dataclass(frozen=True)
class Identified:
    """An identified arm: what was fitted, how surely, and how it was chosen."""

    arm: str
    recordings: tuple[tuple[str, str], ...]
    """Name and source of what was fitted."""
    figures: tuple[Figure, ...]
    condition: dict[str, float]
    """cond(J^T J) of each joint's terms, columns scaled; priors left out."""
    rmse_rad: dict[str, float]
    """Median over the pieces that were fitted, per joint; the gripper's in rad too."""
    rungs: dict[str, str]
    """Set of terms of each joint."""
    ladder: dict[str, tuple[choose.Rung, ...]]
    """How the sets fared on held-out pieces, per joint."""
    shared: dict[str, float]
    """Held-out error (rad, mean over arm joints) without and with what joints share."""
    next: tuple[Gain, ...]
    """Candidates by what recording them would add, the best first."""
    seconds: float
    params: dict[str, Any] = field(repr=False)
    """What the parameter file holds."""

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        document = asdict(self)
        document["intervals"] = CAUTION
        document["at_bounds"] = [f"{f.of} {f.name}" for f in self.figures if f.at_bound]
        return document

    def __str__(self) -> str:
        rows = [("", "figure", "value", "interval", "")]
        for f in self.figures:
            interval = f"{f.low:.4g} to {f.high:.4g}"
            rows.append(
                (f.of, f.name, f"{f.value:.4g}", interval, "at bound" if f.at_bound else "")
            )
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        lines.append(CAUTION)
        lines.append(
            "median RMSE of what was fitted (rad): "
            + ", ".join(f"{name} {value:.4f}" for name, value in self.rmse_rad.items())
        )
        lines.append("terms: " + "; ".join(f"{j}: {r}" for j, r in self.rungs.items()))
        lines.append(
            "conditioning of J'J, scaled: "
            + ", ".join(f"{name} {value:.3g}" for name, value in self.condition.items())
        )
        if self.shared:
            lines.append(
                "held-out error (rad): "
                + ", ".join(f"{name} {value:.5f}" for name, value in self.shared.items())
            )
        for gain in self.next[:5]:
            lines.append(
                f"record next: {gain.name} ({gain.source}): {gain.d_optimal:.2f} nats, "
                f"variances {100 * gain.a_optimal:.1f} % less"
            )
        return "\n".join(lines)


def identify(
    paths: Iterable[str | Path],
    arm: str = "so101",
    out: str | Path | None = None,
    config: IdentifyConfig = NOMINAL,
    candidates: Iterable[str | Path] = (),
    tell: Tell = lambda done, total, note: None,
    read: ReadConfig = ReadConfig(),  # noqa: B008
) -> Identified:
    """Fit an arm's servos to recordings and write the parameter file.

    Args:
        paths: recordings, in any format that a reader knows, or folders of them.
        arm: name of the arm that was recorded.
        out: parameter file to write; steps that have ended are kept beside it until it is whole.
        config: settings.
        candidates: recordings whose commands may be recorded next, to be ranked.
        tell: called with steps done, steps in all, and a note.
        read: what the recordings do not say themselves.

    Raises:
        InputError: bad recordings, or an arm or settings that do not exist.
    """
    nominal = load_arm(arm)
    logs = read_logs(paths, nominal, read)
    others = read_logs(candidates, nominal, read) if (candidates := list(candidates)) else []
    kept = None if out is None else Path(out).with_name(Path(out).name + ".partial.json")
    found = identify_logs(logs, nominal, config, others, tell, kept)
    if out is not None:
        write_json(out, found.params)
    if kept is not None:
        kept.unlink(missing_ok=True)
    return found


def identify_logs(
    logs: Sequence[Log],
    arm: Arm,
    config: IdentifyConfig = NOMINAL,
    candidates: Sequence[Log] = (),
    tell: Tell = lambda done, total, note: None,
    kept: Path | None = None,
) -> Identified:
    """Fit an arm to logs in memory; arguments as for `identify`.

    Args:
        kept: file in which steps that have ended are kept, to go on from.
    """
    began = time.monotonic()
    pieces = cut(logs, config.piece_s, config.total_s)
    if not pieces:
        raise InputError("no piece of these recordings moves: give recordings with motion")
    split = folds(pieces, config.folds)
    steps = _Steps(kept, _fingerprint(pieces, arm, config), tell, _total(arm, config, len(split)))
    loads = loads_of(pieces, arm)
    rungs, ladder, guesses = _chosen(arm, loads, split, config, steps)
    terms = tuple((*PLAIN, *LADDER[rung]) for rung in rungs)
    unknowns, shared = Unknowns(arm, terms), {}
    if config.shared and len({p.name for p in pieces}) > 1:
        unknowns, shared = _with_shared(unknowns, guesses, pieces, split[0], config, steps)
    linear, noise, ends = _refined(
        unknowns, started(unknowns, guesses), pieces, config, steps, "whole arm"
    )
    sure = uncertainty_of(unknowns, linear, noise, pieces, ends)
    gains = _ranked(unknowns, linear, noise, candidates, config)
    steps.finish()
    rmse = np.median([np.sqrt((e**2).mean(axis=0)) for e in linear.error], axis=0)
    return Identified(
        arm=arm.name,
        recordings=tuple(dict.fromkeys((piece.name, piece.source) for piece in pieces)),
        figures=_figures(unknowns, linear, sure),
        condition=dict(zip(arm.joint_names, sure.condition.tolist(), strict=True)),
        rmse_rad=dict(zip(arm.joint_names, rmse.tolist(), strict=True)),
        rungs=dict(zip(arm.joint_names, rungs, strict=True)),
        ladder=dict(zip(arm.joint_names, map(tuple, ladder), strict=True)),
        shared=shared,
        next=tuple(gains),
        seconds=time.monotonic() - began,
        params=_params(unknowns, linear, sure, pieces),
    )


def _chosen(
    arm: Arm, loads: Loads, split: list[Any], config: IdentifyConfig, steps: "_Steps"
) -> tuple[list[str], list[list[choose.Rung]], list[dict[str, float]]]:
    """Rung of each joint, how the rungs fared, and where its terms start."""

    def one(joint: int) -> tuple[str, list[choose.Rung], dict[str, float]]:
        name, rung, rungs = arm.joints[joint].name, config.rung, []
        if config.choose:
            rung, rungs = choose.climb(arm, joint, loads, split, steps.once)
        guess = steps.once(
            f"{name}/guess/{rung}", lambda: choose.first_guess(arm, joint, rung, loads, {})
        )
        return rung, rungs, guess

    # Two joints at a time: the compiled simulation lets go of the interpreter.
    with ThreadPoolExecutor(2 if config.threads != 1 else 1) as pool:
        found = list(pool.map(one, range(len(arm.joints))))
    return [f[0] for f in found], [f[1] for f in found], [f[2] for f in found]


def _with_shared(
    plain: Unknowns,
    guesses: list[dict[str, float]],
    pieces: list[Log],
    fold: tuple[np.ndarray, np.ndarray],
    config: IdentifyConfig,
    steps: "_Steps",
) -> tuple[Unknowns, dict[str, float]]:
    """Corrections of masses and a drooping supply, where they help on held-out pieces."""
    train, held = ([p for p, m in zip(pieces, mask, strict=True) if m] for mask in fold)
    options = {
        "servos alone": plain,
        "masses": replace(plain, bodies=_moving(plain.arm)),
        "supply droop": replace(plain, droop=True),
    }
    errors = {}
    for name, unknowns in options.items():

        def score(unknowns: Unknowns = unknowns, name: str = name) -> list[float]:
            x = started(unknowns, guesses)
            linear, _ = refine(
                unknowns,
                x,
                train,
                iterations=2,
                threads=config.threads,
                tell=lambda done, cost: steps.note(f"{name}, try {done}"),
            )
            found = replay(held, unknowns.arm_at(linear.x), threads=config.threads, contacts=False)
            return [
                float(np.sqrt(((q - log.q) ** 2).mean(axis=0))[:-1].mean())
                for q, log in zip(found, held, strict=True)
            ]

        errors[name] = np.array(steps.once(f"shared/{name}", score, REPLAYED))
    base = errors["servos alone"]
    bodies, droop = (
        bool((base - errors[name]).mean() > (base - errors[name]).std() / np.sqrt(len(base)))
        for name in ("masses", "supply droop")
    )
    chosen = replace(plain, bodies=options["masses"].bodies if bodies else (), droop=droop)
    return chosen, {name: float(error.mean()) for name, error in errors.items()}


def _refined(
    unknowns: Unknowns,
    x: np.ndarray,
    pieces: list[Log],
    config: IdentifyConfig,
    steps: "_Steps",
    note: str,
) -> tuple[Linear, Noise, np.ndarray]:
    """The fit of the whole arm, and ends of intervals by the posteriors of single joints."""

    def fit() -> dict[str, Any]:
        linear, _, posteriors = settle(
            unknowns,
            x,
            pieces,
            rounds=config.rounds,
            iterations=config.iterations,
            threads=config.threads,
            tell=lambda done, cost: steps.note(f"{note}, step {done}"),
        )
        return {"x": linear.x.tolist(), "ends": ends_of(posteriors, MEANT).tolist()}

    found = steps.once(f"refine/{note}", fit, REPLAYED * (config.iterations + config.rounds))
    best, ends = np.array(found["x"]), np.array(found["ends"])
    linear, noise = refine(unknowns, best, pieces, iterations=1, threads=config.threads)
    return linear, doubted(noise), ends


def _ranked(
    unknowns: Unknowns,
    linear: Linear,
    noise: Noise,
    candidates: Sequence[Log],
    config: IdentifyConfig,
) -> list[Gain]:
    if not candidates:
        return []
    share = max(config.piece_s, config.total_s / len(candidates))
    logs = [one for log in candidates for one in cut([log], share, share)[:1]]
    step = np.full(len(linear.x), 0.03)
    step[unknowns.shared] = 0.3
    there = linearised(unknowns, linear.x, step, logs, config.threads)
    return gains_of(unknowns, information(unknowns, linear, noise), there, noise, logs)


def _figures(unknowns: Unknowns, linear: Linear, sure: Uncertainty) -> tuple[Figure, ...]:
    columns = (unknowns.values(x) for x in (linear.x, sure.low, sure.high))
    return tuple(
        Figure(of, name, float(v), float(low), float(high), bool(at))
        for (of, name), v, low, high, at in zip(
            unknowns.labels, *columns, sure.at_bounds, strict=True
        )
    )


def _params(
    unknowns: Unknowns, linear: Linear, sure: Uncertainty, pieces: Sequence[Log]
) -> dict[str, Any]:
    """The parameter file: figures to six digits, intervals, and what they were fitted to."""
    servos = {
        joint: {name: float(f"{value:.6g}") for name, value in figures.items()}
        for joint, figures in unknowns.servos(linear.x).items()
    }
    links = {
        body: {
            "log_mass": float(f"{link['log_mass']:.6g}"),
            "shift_m": [float(f"{x:.6g}") for x in link["shift_m"]],
        }
        for body, link in unknowns.links(linear.x).items()
    }
    intervals: dict[str, dict[str, list[float]]] = {}
    for f in _figures(unknowns, linear, sure):
        intervals.setdefault(f.of, {})[f.name] = [float(f"{x:.6g}") for x in (f.low, f.high)]
    motions = sorted({f"{log.name} ({session_name(log)})" for log in pieces})
    document = {
        "arm": unknowns.arm.name,
        "source": "regrasp identify",
        "servos": servos,
        "fit": {"recordings": motions, "intervals": intervals, "caution": CAUTION},
    }
    return document | ({"links": links} if links else {})


def _moving(arm: Arm) -> tuple[str, ...]:
    """Bodies beyond the second joint: what lies before only turns about gravity's own axis."""
    spec = arm.spec()
    jointed = [body.name for body in spec.bodies if body.joints]
    return tuple(jointed[1:5])


def _total(arm: Arm, config: IdentifyConfig, split: int) -> int:
    fits = len(arm.joints) * (1 + (len(LADDER) * split if config.choose else 0))
    return fits + REPLAYED * (config.iterations + config.rounds + (3 if config.shared else 0))


def _fingerprint(pieces: Sequence[Log], arm: Arm, config: IdentifyConfig) -> str:
    digest = hashlib.sha256(json.dumps([repr(arm), asdict(replace(config, threads=0))]).encode())
    for log in pieces:
        # Folds are by motion and session.
        digest.update(f"{log.name}\n{session_of(log)}\n".encode())
        for array in (log.t, log.cmd, log.q):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class _Steps:
    """Remembers what has been computed, in a file if one is given, and counts it."""

    def __init__(self, path: Path | None, fingerprint: str, tell: Tell, total: int):
        self._path, self._tell, self._total, self._done = path, tell, total, 0
        self._lock, self._note = Lock(), ""
        self._kept: dict[str, Any] = {"of": fingerprint, "steps": {}}
        if path is not None and path.is_file():
            kept = read_json(path, "progress of an identification")
            if isinstance(kept, dict) and kept.get("of") == fingerprint:
                self._kept = kept

    def once(self, key: str, compute: Callable[[], Any], units: int = 1) -> Any:
        """What was kept under `key`, else what `compute` makes, kept."""
        if key not in self._kept["steps"]:
            value = compute()
            with self._lock:
                self._kept["steps"][key] = value
                if self._path is not None:
                    write_json(self._path, self._kept)
        with self._lock:
            self._done += units
            self.note(key)
        return self._kept["steps"][key]

    def note(self, text: str) -> None:
        """Say what goes on."""
        self._tell(min(self._done, self._total - 1), self._total, text)

    def finish(self) -> None:
        """All is done."""
        self._tell(self._total, self._total, "done")
