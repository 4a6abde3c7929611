"""The figures of recordings in words: how far, where, why and what to do."""

from collections.abc import Mapping
from typing import Any

from regrasp.sim2real.causes import LEAST
from regrasp.sim2real.gap import Gap
from regrasp.sim2real.report import policy, words
from regrasp.sim2real.report.data import Run
from regrasp.sim2real.report.markup import Html, join, tag


def headline(run: Run) -> str:
    """The one sentence to remember of a folder that holds nothing but recordings' figures."""
    gap = run.gap
    if gap is None and run.coverage is None and run.open_loop is not None:
        return policy.headline(run.open_loop)
    if gap is None:
        verdict = (run.coverage or {}).get("verdict", "unknown")
        return f"The randomisation is {verdict} for the recordings."
    off = f"{gap.rmse_rad:.4f}\u00a0rad"
    ends = (gap.detail or {}).get("rmse_interval") or [None, None]
    span = f" (95\u00a0% interval {ends[0]:.4f} to {ends[1]:.4f})" if None not in ends else ""
    times = gap.rmse_rad / gap.floor_rad if gap.floor_rad > 0 else float("nan")
    beside = f", {times:.1f} times the real arm's own noise" if times == times else ""
    return f"The simulated {gap.arm} is typically {off}{span} from the real one{beside}."


def summary(run: Run) -> Html:
    """How far, where, why, what to do."""
    gap, coverage = run.gap, run.coverage
    detail = gap.detail if gap is not None else None
    rows: list[tuple[str, object]] = []
    if gap is not None:
        rows.append(("How far", words.about_gap(gap) + (_tip(detail) if detail else "")))
    if gap is not None and detail:
        rows.append(("Where", _where(gap, detail)))
        rows.append(("Why", _why(gap, detail)))
    if coverage is not None:
        rows.append(("Randomisation", _covered(coverage)))
    rows.append(("What to do", tag("ul", *(tag("li", step) for step in _steps(gap, coverage)))))
    cells = (join([tag("dt", name), tag("dd", said)]) for name, said in rows)
    return tag("dl", *cells, class_="summary")


def _tip(detail: Mapping[str, Any]) -> str:
    place, turn = detail["tip"]["position_mm"], detail["tip"]["turn_deg"]
    if place["rmse"] is None:
        return ""
    said = f" The end effector is {place['rmse']:.1f}\u00a0mm and {turn['rmse']:.1f}° off"
    if place["floor"] is not None:
        said += f"; two real runs differ by {place['floor']:.1f}\u00a0mm and {turn['floor']:.1f}°"
    return f"{said}."


def _where(gap: Gap, detail: Mapping[str, Any]) -> str:
    arms = {name: joint for name, joint in detail["joints"].items() if name != gap.gripper}
    worst = max(arms, key=lambda name: gap.joints[name].rmse_rad)
    regimes = {name: one for name, one in arms[worst]["regimes"].items() if one["rmse"] is not None}
    said = [f"Worst is {words.plain(worst)}."]
    if regimes:
        most = max(regimes, key=lambda name: regimes[name]["rmse"])
        least = min(regimes, key=lambda name: regimes[name]["rmse"])
        said.append(
            f"It is furthest off while {most} ({regimes[most]['rmse']:.4f}\u00a0rad) and nearest "
            f"while {least} ({regimes[least]['rmse']:.4f})."
        )
    bands = [band for band in arms[worst]["bands"] if band["share"] is not None]
    if bands:
        band = max(bands, key=lambda one: one["share"])
        said.append(
            f"{band['share']:.0%} of its error lies between {band['low_hz']:g} and "
            f"{band['high_hz']:g}\u00a0Hz."
        )
    half = detail["horizon"]["median_s"]
    limit = f"{detail['tolerance']:g}\u00a0rad"
    said.append(
        f"Half of the replays have a joint more than {limit} off after {half:.1f}\u00a0s."
        if half is not None
        else f"More than half of the replays stay within {limit} to their end."
    )
    return " ".join(said)


def _why(gap: Gap, detail: Mapping[str, Any]) -> str:
    said = []
    for name, joint in detail["joints"].items():
        cause = _cause(joint)
        if name != gap.gripper and cause is not None:
            said.append(
                f"{words.plain(name).capitalize()}: {cause['share']:.0%} of the squared error goes "
                f"with {cause['cause']}."
            )
    return " ".join(said) or "No trace of a servo figure stands out."


def _covered(coverage: Mapping[str, Any]) -> str:
    joints = coverage["joints"]
    lists = {}
    for name, joint in joints.items():
        lists.setdefault(joint["verdict"]["verdict"], []).append(words.plain(name))
    said = [f"{verdict.capitalize()} for {', '.join(names)}" for verdict, names in lists.items()]
    better = coverage["energy_score_rad"] < coverage["energy_score_nominal_rad"]
    return (
        f"{'; '.join(said)}. As a prediction of the whole arm it is "
        f"{'better' if better else 'worse'} than the nominal model alone: energy score "
        f"{coverage['energy_score_rad']:.4f} against {coverage['energy_score_nominal_rad']:.4f}"
        "\u00a0rad."
    )


def _steps(gap: Gap | None, coverage: Mapping[str, Any] | None) -> list[object]:
    steps: list[object] = []
    if gap is not None and gap.detail:
        for name, joint in gap.detail["joints"].items():
            cause = _cause(joint)
            if name != gap.gripper and cause is not None:
                steps.append(f"{words.plain(name).capitalize()}: try {cause['words']}.")
        if gap.params == "nominal":
            steps.append(
                join(
                    ["Fit the servo figures to recordings: ", tag("code", "regrasp identify LOGS")]
                )
            )
    if coverage is not None:
        advised = [
            words.plain(f["words"])
            for j in coverage["joints"].values()
            for f in j["fields"]
            if f["words"]
        ]
        steps += [f"{one[0].upper()}{one[1:]}." for one in dict.fromkeys(advised)][:6]
        if coverage["verdict"] != "right":
            steps.append(
                join(["Fit a randomisation to recordings: ", tag("code", "regrasp fit LOGS")])
            )
    elif gap is not None:
        command = f"regrasp coverage LOGS --arm {gap.arm} --out FOLDER"
        steps.append(join(["Ask whether randomisation covers the gap: ", tag("code", command)]))
    return steps


def _cause(joint: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The largest certain cause worth a sentence."""
    worth = [c for c in joint["causes"] if (c["share"] or 0) >= LEAST and c["certain"]]
    return worth[0] if worth else None
