"""Which rows of a table are to blame: what the draws would have to be for the real episodes.

Within the ensemble of an episode a joint's traits are nearly linear in the logarithms of its
figures. That plane turns a real trait into the draw that it looks like (the mean of the posterior
of a Gaussian model), and so does it for every member, whose draws are known to be right. How the
real ones lie beside the members' says where the row should be and how wide.
"""

from dataclasses import dataclass
from math import isfinite

import numpy as np
from jaxtyping import Float

from regrasp.assets.arm import Arm
from regrasp.randomization import Row
from regrasp.sim2real.ensemble import Ensemble

SEEN = 0.15
"""A row of which the traits show less than this share of its variance cannot be judged."""
CHANGE = 1.5
"""Spreads that differ by less than this factor, either way, are let be."""


@dataclass(frozen=True)
class FieldAdvice:
    """How one row of the table should change, by one joint."""

    field: str
    seen: float
    """Share of the row's variance that the traits show, 0..1."""
    shift: float
    """How far the real draws are from the row's middle, in its standard deviations."""
    low: float
    high: float
    """95 % interval of the shift over episodes."""
    spread: float
    """Their spread over that of the row; 1 is right."""
    words: str
    """What to do; empty for nothing."""


def advice(
    pool: Float[np.ndarray, "candidates episodes joints traits"], ensemble: Ensemble, arm: Arm
) -> dict[str, tuple[FieldAdvice, ...]]:
    """Advice for every joint.

    Args:
        pool: traits, those of the real episodes first: see `coverage.pooled`.
        ensemble: whose draws they are.
        arm: the arm.
    """
    found = {}
    for column, joint in enumerate(arm.joint_names):
        rows = [row for row in ensemble.table.rows if _bears(row, joint, arm)]
        guesses = [
            _guesses(pool[:, episode, column], _ratios(rows, ensemble, episode))
            for episode in range(pool.shape[1])
        ]
        guesses = np.array([guess for guess in guesses if guess is not None])
        found[joint] = tuple(
            _advised(row, guesses[:, :, i]) for i, row in enumerate(rows) if len(guesses) >= 5
        )
    return found


def _bears(row: Row, joint: str, arm: Arm) -> bool:
    """Whether a row's numbers, one each, act on this joint."""
    noise = row.field.setting is not None and row.field.setting.name in (
        "angle_noise_rad",
        "encoder_step_rad",
    )
    others = any(row.name.startswith(f"{other} ") for other in arm.joint_names if other != joint)
    alone = row.field.count == 1 and row.distribution.low < row.distribution.high
    return alone and not noise and not others


def _ratios(rows: list[Row], ensemble: Ensemble, episode: int) -> np.ndarray:
    """Standardised draws (members, rows), by the spread of all members' together."""
    drawn = [np.stack([own[row.name][:, 0] for own in ensemble.numbers]) for row in rows]
    logs = [np.log(values) if (values > 0).all() else values for values in drawn]
    return np.stack(
        [(one[episode] - one.mean()) / max(float(one.std()), 1e-12) for one in logs], axis=1
    )


def _guesses(
    traits: Float[np.ndarray, "candidates traits"], draws: Float[np.ndarray, "members rows"]
) -> np.ndarray | None:
    """The draw that each candidate's traits look like (candidates, rows); None without traits."""
    known = np.isfinite(traits).all(axis=0)
    if not known.any() or draws.shape[1] == 0:
        return None
    traits = traits[:, known]
    members = traits[1:]
    scale = np.maximum(members.std(axis=0), 1e-9)
    y = (traits - members.mean(axis=0)) / scale
    design = np.column_stack([np.ones(len(draws)), draws])
    plane, *_ = np.linalg.lstsq(design, y[1:], rcond=None)
    left = y[1:] - design @ plane
    freedom = max(1, len(draws) - design.shape[1])
    slope, noise = plane[1:].T, left.T @ left / freedom
    inner = slope @ slope.T + noise + 1e-6 * np.eye(len(noise))
    return np.linalg.solve(inner, (y - plane[0]).T).T @ slope


def _advised(row: Row, guesses: Float[np.ndarray, "episodes candidates"]) -> FieldAdvice:
    real, members = guesses[:, 0], guesses[:, 1:]
    seen = float(np.clip(members.var(), 0, 1))
    nothing = float("nan")
    if seen < SEEN:
        return FieldAdvice(row.name, seen, nothing, nothing, nothing, nothing, "")
    # A guess is drawn to the middle by as much as the traits do not show.
    shift = float(np.median(real)) / seen
    error = 1.96 * 1.25 * float(real.std(ddof=1)) / seen / np.sqrt(len(real))
    usual = np.abs(members - np.median(members, axis=0)).mean()
    spread = float(np.abs(real - np.median(real)).mean() / max(usual, 1e-12))
    words = _words(row, shift, shift - error, shift + error, spread)
    return FieldAdvice(row.name, seen, shift, shift - error, shift + error, spread, words)


def _words(row: Row, shift: float, low: float, high: float, spread: float) -> str:
    if not isfinite(shift + spread):
        return ""
    said = []
    if abs(shift) > 0.5 and (low > 0 or high < 0):
        said.append(f"move {'up' if shift > 0 else 'down'} by {abs(shift):.1f} of its own spreads")
    if spread > CHANGE:
        said.append(f"widen x {spread:.1f}")
    elif spread < 1 / CHANGE:
        said.append(f"narrow x {spread:.1f}")
    return f"{row.name}: {', '.join(said)}" if said else ""
