"""The section about the real arm: the summary, then the detail in tables and drawings."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from regrasp.errors import InputError
from regrasp.sim2real import plots, plots_detail
from regrasp.sim2real.causes import LEAST
from regrasp.sim2real.gap import Gap
from regrasp.sim2real.report import policy, words
from regrasp.sim2real.report.data import Run
from regrasp.sim2real.report.markup import Html, drawing, figure, join, table, tag, video
from regrasp.sim2real.report.results import absent
from regrasp.sim2real.report.summary import summary

WRONG = {
    "too narrow": "the real arm is more often outside than a draw would be: widen it",
    "too wide": "the real arm is more often in the middle than a draw would be: narrow it",
    "biased": "the real arm keeps to one side: move it",
}
MALFORMED = (KeyError, TypeError, IndexError, ValueError, AttributeError)


def reality(run: Run) -> Html:
    """The gap to recordings of a real arm, how randomisation covers it, and what a policy does on them."""
    measured = run.gap is not None or run.coverage is not None
    parts: list[Html] = []
    try:
        if measured:
            parts.append(summary(run))
        elif run.open_loop is None or not run.about_reality_alone:
            # Nobody expects a gap on a page about nothing but a policy on logs.
            parts.append(absent(run, "The gap to a real arm has not been measured.", "gap"))
        if run.gap is not None:
            parts += _gap_parts(run, run.gap)
        if run.coverage is not None:
            parts += _coverage_parts(run, run.coverage)
    except MALFORMED as error:
        raise InputError(
            f"gap.json or coverage.json lacks a part ({error!r:.60}): measure it again"
        ) from None
    if run.open_loop is not None:
        parts += policy.on_logs(run, run.open_loop)
    return join(parts)


def _gap_parts(run: Run, gap: Gap) -> list[Html]:
    bars_alt = "Error of the replay per joint, beside the real arm's own noise"
    replay_alt = "Commands, the real arm and its replay in simulation, joint by joint"
    replay_caption = "The liveliest seconds of one recording, replayed from its commands alone."
    pairs = f"{gap.floor.pairs} pairs of recordings" if gap.floor.pairs else "no recordings"
    note = (
        f"Medians over {len(gap.recordings)} recordings; servo figures: {Path(gap.params).name}. "
        f"The floor is one run's own noise, from {pairs} of the same commands. Lags: the real and "
        f"the simulated joint behind the commands, and the real behind the simulated. Warped: mean "
        f"absolute error once any lag is forgiven. Intervals: 95\u00a0%, over recordings."
    )
    return [
        tag("h3", "How far, joint by joint"),
        _joint_table(gap),
        tag("p", note, class_="note"),
        _drawn(lambda: plots.draw_gap(gap), "bars", bars_alt, "RMSE and the real arm's own noise."),
        figure(drawing(run.replay, "replay", replay_alt), replay_caption)
        if run.replay
        else absent(run, "No replay has been drawn.", "gap"),
        *_film_parts(run),
        *(_detail_parts(gap, gap.detail) if gap.detail else []),
        _recording_table(gap),
    ]


def _film_parts(run: Run) -> list[Html]:
    """The film of a recording beside its replay, or why there is none."""
    filmed = run.filmed
    why = None if filmed is None else filmed.text("skipped")
    if run.film is None:
        said = f"There is no film: {why}." if why else "No recording has been filmed: "
        command = [] if why else [tag("code", "regrasp gap LOGS --out FOLDER"), "."]
        return [tag("p", join([said, *command]), class_="missing")]
    caption = (
        "The arm where it was measured, and the simulated one under the same commands, with the "
        "recorded one in blue; below, how far each joint is off."
    )
    if filmed is not None:
        begin, length, off, tip = (
            words.figure(filmed.number(key), form, f"\u00a0{unit}")
            for key, form, unit in (
                *(("start_s", ".1f", "s"), ("seconds", ".1f", "s")),
                *(("rmse_rad", ".4f", "rad"), ("tip_mm", ".1f", "mm")),
            )
        )
        name = words.plain(filmed.text("recording") or "a recording").capitalize()
        caption = (
            f"{name}, the {length} from {begin} on, in which its replay is furthest off: {off} over the "
            f"joints and {tip} at the end effector (root mean square). {caption}"
        )
    film = video(run.film, "A recording beside its replay in simulation")
    return [tag("h3", "What it looks like"), tag("div", figure(film, caption), class_="film")]


def _detail_parts(gap: Gap, detail: Mapping[str, Any]) -> list[Html]:
    joints = detail["joints"]
    where = (
        "Above, by what the commands ask of a joint; below, by frequency, with the real arm's own "
        "noise as black bars. Whiskers: 95\u00a0% intervals over recordings."
    )
    when = (
        "Left: error after the simulation was put back to a logged state, with 95\u00a0% intervals "
        "over recordings. Right: share of the replays still within the tolerance (Kaplan-Meier; "
        "recordings that end within it count while they last)."
    )
    why = (
        "Shares of the squared error that go with what each figure would leave in the motion: "
        "stiffness with the load of gravity, damping and latency with speed, friction and backlash "
        "with the direction a joint came from, inertia with acceleration. Grey is none of these."
    )
    return [
        tag("h3", "Where"),
        _drawn(
            lambda: plots_detail.draw_where(joints), "where", "Error by regime and frequency", where
        ),
        tag("h3", "When"),
        _drawn(
            lambda: plots_detail.draw_when(joints, gap.gripper, detail["tolerance"]),
            "when",
            "Growth of the error, and share of replays within tolerance",
            when,
        ),
        tag("h3", "Why"),
        _drawn(
            lambda: plots_detail.draw_causes(joints), "causes", "Causes of the error by joint", why
        ),
        _cause_table(joints),
    ]


def _coverage_parts(run: Run, coverage: Mapping[str, Any]) -> list[Html]:
    joints = coverage["joints"]
    caption = (
        "Where the real arm lies among the draws, in tenths. Flat is right, a U too narrow, a hill "
        "too wide, a slope biased. Steps are drawn, episodes are tested: a verdict is about these."
    )
    note = (
        f"{coverage['members']} draws of each of {coverage['recordings']} recordings, randomisation: "
        f"{Path(str(coverage['randomization'])).name}. Shift and spread are those of the real "
        f"episodes in units of the ensemble's; CRPS (rad, or opening) is an error of distributions, "
        f"beside that of the nominal model; p: probability of so much if the arm were a draw."
    )
    band_alt = "Commands, the real arm and the band of the randomised simulations"
    band = "One recording: the real arm, the nominal model and the band that holds 90\u00a0% of the draws."
    verdicts = (
        f"{words.plain(name)}: {WRONG[joint['verdict']['verdict']]}"
        for name, joint in joints.items()
        if joint["verdict"]["verdict"] in WRONG
    )
    return [
        tag("h3", "Whether randomisation covers it"),
        _coverage_table(joints),
        tag("p", note, class_="note"),
        tag(
            "p", "; ".join(verdicts).capitalize() or "The real arm could be one of the draws.", "."
        ),
        _drawn(
            lambda: plots_detail.draw_ranks(joints), "ranks", "Rank histograms by joint", caption
        ),
        figure(drawing(run.coverage_replay, "band", band_alt), band)
        if run.coverage_replay
        else tag("p", "No ensemble has been drawn.", class_="missing"),
        _field_table(joints),
    ]


def _joint_table(gap: Gap) -> Html:
    head = (
        *("joint", "unit", "RMSE", "95\u00a0%", "MAE", "warped", "floor", "RMSE / floor"),
        *("real lag", "sim lag", "real behind sim"),
    )
    rows = []
    details = (gap.detail or {}).get("joints", {})
    for (name, joint), floor in zip(gap.joints.items(), gap.floor.single_rmse, strict=True):
        lags = (joint.lag_real_s, joint.lag_sim_s, joint.lag_s)
        ratio = joint.rmse_rad / floor if floor > 0 else float("nan")
        low, high = details.get(name, {}).get("rmse_interval", (None, None))
        rows.append(
            (
                words.plain(name),
                "0..1" if name == gap.gripper else "rad",
                words.figure(joint.rmse_rad, ".4f"),
                f"{low:.4f} to {high:.4f}" if low is not None else words.BLANK,
                *(words.figure(x, ".4f") for x in (joint.mae_rad, joint.dtw_rad, floor)),
                words.figure(ratio, ".1f"),
                *(words.figure(1e3 * lag, ".0f", "\u00a0ms") for lag in lags),
            )
        )
    return tag("div", table(head, rows, numeric=range(2, 11)), class_="wide")


def _cause_table(joints: Mapping[str, Any]) -> Html:
    rows = [
        (
            words.plain(name),
            cause["cause"],
            words.percent(cause["share"]),
            cause["words"] if cause["certain"] else f"not certain: {cause['words']}",
        )
        for name, joint in joints.items()
        for cause in joint["causes"]
        if cause["share"] is not None and cause["share"] >= LEAST
    ]
    if not rows:
        return tag("p", "No cause takes up enough of any joint's error to be named.", class_="note")
    return tag(
        "div",
        table(("joint", "goes with", "share", "what would explain it"), rows, numeric=[2]),
        class_="wide",
    )


def _coverage_table(joints: Mapping[str, Any]) -> Html:
    head = (
        *("joint", "verdict", "shift", "spread", "p", "in 90\u00a0% band", "95\u00a0%"),
        *("in envelope", "CRPS", "nominal"),
    )
    rows = []
    for name, joint in joints.items():
        verdict = joint["verdict"]
        chances = [verdict[key] for key in ("p_bias", "p_narrow", "p_wide")]
        known = [chance for chance in chances if chance is not None]
        low, high = joint["band_interval"]
        rows.append(
            (
                words.plain(name),
                verdict["verdict"],
                _signed(verdict["shift"]),
                _maybe(verdict["spread"], ".2f"),
                _maybe(min(known) if known else None, ".4f"),
                words.percent(joint["band_share"]),
                f"{100 * low:.0f} to {100 * high:.0f}" if low is not None else words.BLANK,
                words.percent(joint["envelope_share"]),
                _maybe(joint["crps"], ".4f"),
                _maybe(joint["crps_nominal"], ".4f"),
            )
        )
    return tag("div", table(head, rows, numeric=range(2, 10)), class_="wide")


def _field_table(joints: Mapping[str, Any]) -> Html:
    rows = [
        (
            words.plain(name),
            words.plain(field["field"]),
            words.percent(field["seen"]),
            _signed(field["shift"]),
            _maybe(field["spread"], ".2f"),
            field["words"].partition(": ")[2] or words.BLANK,
        )
        for name, joint in joints.items()
        for field in joint["fields"]
    ]
    head = ("joint", "row of the table", "seen", "shift", "spread", "what to do")
    inner = tag("div", table(head, rows, numeric=(2, 3, 4)), class_="wide")
    return tag("details", tag("summary", "Every row of the randomisation"), inner)


def _recording_table(gap: Gap) -> Html:
    head = ("recording", "length", *(words.plain(name) for name in gap.joints))
    rows = [
        (
            words.plain(recording.name),
            words.figure(recording.duration_s, ".1f", "\u00a0s"),
            *(
                words.figure(recording.joints[name].rmse_rad, ".4f")
                if name in recording.joints
                else words.BLANK
                for name in gap.joints
            ),
        )
        for recording in gap.recordings
    ]
    inner = tag("div", table(head, rows, numeric=range(1, len(head))), class_="wide")
    return tag("details", tag("summary", "RMSE of every recording"), inner)


def _drawn(draw: Callable[[], bytes], name: str, alt: str, caption: str) -> Html:
    return figure(drawing(draw(), name, alt), caption)


def _maybe(value: float | None, form: str) -> str:
    return words.BLANK if value is None else f"{value:{form}}"


def _signed(value: float | None) -> str:
    return words.BLANK if value is None else f"{value:+.1f}"
