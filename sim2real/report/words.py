"""What the numbers say, in sentences made from them."""

import math
from collections.abc import Sequence

from scipy.stats import binomtest

from regrasp.sim2real.gap import Gap
from regrasp.sim2real.report.data import Run

UNDER = {"table": "under randomised physics", "nominal": "under nominal physics"}
BLANK = "\u2013"
"""Stands for a figure that is not known."""


def percent(share: float) -> str:
    """A share as "97.4 %"."""
    return f"{100 * share:.1f}\u00a0%" if math.isfinite(share) else BLANK


def interval(low: float, high: float) -> str:
    """A range of shares as "95.6 to 98.5"."""
    known = math.isfinite(low) and math.isfinite(high)
    return f"{100 * low:.1f} to {100 * high:.1f}" if known else "not known"


def figure(value: float, form: str, unit: str = "") -> str:
    """A number with its unit, or the sign for an unknown one."""
    return f"{value:{form}}{unit}" if math.isfinite(value) else BLANK


def duration(seconds: float) -> str:
    """Seconds as "2 h 03 min", "1 min 35 s" or "4.2 s"."""
    if not math.isfinite(seconds):
        return BLANK
    if seconds < 60:
        return f"{seconds:.1f}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}\u00a0min {rest:02d}\u00a0s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}\u00a0h {minutes % 60:02d}\u00a0min"


def headline(run: Run) -> str:
    """The one sentence to remember."""
    physics = (
        "table"
        if any((p, "table") in run.evaluations for p in ("improved", "clone"))
        else "nominal"
    )
    improved, clone = (run.evaluations.get((p, physics)) for p in ("improved", "clone"))
    if improved is None and clone is None:
        return "No learned policy has been evaluated yet."
    first, name = (improved, "improved") if improved is not None else (clone, "cloned")
    assert first is not None
    sentence = (
        f"The {name} policy succeeds in {percent(first.rate)} of {first.episodes} fresh episodes "
        f"{UNDER[physics]} (95\u00a0% interval {interval(first.low, first.high)})"
    )
    if improved is None:
        return f"{sentence}; no improved policy has been evaluated there."
    if clone is None:
        return f"{sentence}; its clone has not been evaluated there."
    return f"{sentence}, its clone in {percent(clone.rate)} ({interval(clone.low, clone.high)})."


def verdict(run: Run, physics: str) -> str:
    """Whether improvement helped under one physics; empty where that is not known."""
    improved, clone = (run.evaluations.get((p, physics)) for p in ("improved", "clone"))
    if improved is None or clone is None:
        return ""
    points = 100 * (improved.rate - clone.rate)
    if improved.low > clone.high:
        said = f"the two intervals do not overlap: improvement gained {points:.1f} points."
    elif improved.high < clone.low:
        said = (
            f"the two intervals do not overlap: improvement made it worse, by {-points:.1f} points."
        )
    elif math.isnan(points + improved.low + improved.high + clone.low + clone.high):
        said = "the intervals are not known, so the two cannot be told apart."
    else:
        change = "higher" if points > 0 else "lower"
        said = "the two intervals overlap: by them alone the two policies cannot be told apart" + (
            f", although the improved one's rate is {abs(points):.1f} points {change}."
            if points
            else "."
        )
    return f"{UNDER[physics].capitalize()}, {said}"


def times(run: Run, physics: str) -> str:
    """How soon the two policies succeed; empty where that is not known."""
    improved, clone = (run.evaluations.get((p, physics)) for p in ("improved", "clone"))
    if improved is None or clone is None:
        return ""
    soon, before = improved.median_time_s, clone.median_time_s
    if math.isnan(soon + before):
        return ""
    return f"The median time to success is {soon:.2f}\u00a0s; the clone's is {before:.2f}\u00a0s."


def paired(run: Run, physics: str) -> str:
    """The same starts held against each other, where both policies had the same ones."""
    improved, clone = (run.evaluations.get((p, physics)) for p in ("improved", "clone"))
    if improved is None or clone is None:
        return ""
    same = improved.seed is not None and improved.seed == clone.seed
    if not same or not improved.success or len(improved.success) != len(clone.success):
        return ""
    pairs = list(zip(improved.success, clone.success, strict=True))
    won, lost = pairs.count((True, False)), pairs.count((False, True))
    if not won + lost:
        return f"On each of the {len(pairs)} starts that they share, both fared alike."
    chance = binomtest(won, won + lost).pvalue
    odds = "less than 0.001" if chance < 0.001 else f"{chance:.3f}"
    return (
        f"Of the {len(pairs)} starts that they share, {won} went well only with the improved "
        f"policy and {lost} only with the clone; if both were equally good, a split as uneven as "
        f"that would have a probability of {odds}."
    )


def about_gap(gap: Gap) -> str:
    """What the gap says, in plain words."""
    names = [name for name in gap.joints if name != gap.gripper]
    rmse = {name: gap.joints[name].rmse_rad for name in names}
    known = [name for name in names if math.isfinite(rmse[name])]
    if not known:
        return "The recordings say nothing about the arm's joints."
    worst = max(known, key=lambda name: rmse[name])
    return " ".join(
        [
            f"Given the commands of {len(gap.recordings)} recordings, the simulated {gap.arm} is "
            f"typically {_angle(gap.rmse_rad)} from where the real one was, averaged over its "
            f"{len(names)} arm joints.",
            f"The worst is {plain(worst)}, {_angle(rmse[worst])} off.",
            *_against_floor(gap, known, worst),
            *_about_lags(gap, known),
            f"This is about the {gap.arm} and the motions recorded; it says nothing of other arms, "
            f"or of contact that was not recorded.",
        ]
    )


def _against_floor(gap: Gap, names: Sequence[str], worst: str) -> list[str]:
    single = dict(zip(gap.joints, gap.floor.single_rmse, strict=True))
    times = {name: gap.joints[name].rmse_rad / single[name] for name in names if single[name] > 0}
    if not times:
        return [
            "No motion was recorded twice, so how much of it is the arm's own noise is unknown."
        ]
    said = ["The real arm does not repeat itself exactly either."]
    if math.isfinite(gap.floor_rad) and gap.floor_rad > 0:
        ratio = gap.rmse_rad / gap.floor_rad
        said.append(
            f"One run's own noise is {_angle(gap.floor_rad)} on average, "
            f"and the simulation is off by {ratio:.1f} times as much."
        )
    most = max(times, key=lambda name: times[name])
    if worst in times:
        said.append(f"At {plain(worst)} the error is {times[worst]:.1f} times the noise there.")
    if most != worst:
        said.append(f"Set against its own noise, {plain(most)} is worst: {times[most]:.1f} times.")
    if all(value <= 1 for value in times.values()):
        said.append("By these recordings it cannot be told from the real arm.")
    return said


def _about_lags(gap: Gap, names: Sequence[str]) -> list[str]:
    lags = {name: gap.joints[name].lag_s for name in names}
    known = [name for name in names if math.isfinite(lags[name])]
    if not known:
        return []
    most = max(known, key=lambda name: abs(lags[name]))
    side = "behind" if lags[most] >= 0 else "ahead of"
    return [
        f"In time they differ most at {plain(most)}, where the real joint is "
        f"{1e3 * abs(lags[most]):.0f}\u00a0ms {side} the simulated one."
    ]


def _angle(value: float) -> str:
    return f"{value:.4f}\u00a0rad ({math.degrees(value):.2f}°)"


def plain(name: str) -> str:
    """A joint's or recording's name as words."""
    return name.replace("_", " ")
