"""What a policy would have done on recordings: in a sentence, a drawing and a table."""

from math import isfinite

from regrasp.sim2real.report import words
from regrasp.sim2real.report.checked import Table
from regrasp.sim2real.report.data import Run
from regrasp.sim2real.report.markup import Html, drawing, figure, table, tag

NEAR = 1.1
"""Within this ratio a policy is about as far off as holding the last command."""


def on_logs(run: Run, found: Table) -> list[Html]:
    """The actions of a policy on logged observations, against the logged commands."""
    # Of a page about nothing else it is the headline already.
    heads = run.about_reality_alone and run.gap is None and run.coverage is None
    alt = "Error over the episode and over a chunk, and the worst joint's commands"
    caption = (
        "Error of the actions along the episode and along a chunk, with 95\u00a0% intervals over "
        "episodes; below, the joint that is furthest off, in the log in which it is."
    )
    return [
        tag("h3", "What a policy would have done"),
        *([] if heads else [tag("p", headline(found))]),
        tag("p", _ahead(found)),
        figure(drawing(run.open_loop_drawing, "open-loop", alt), caption)
        if run.open_loop_drawing
        else tag("p", "Nothing has been drawn of it.", class_="missing"),
        _joint_table(found),
        tag("p", _limits(found), " ", _latency(found), class_="note"),
    ]


def headline(found: Table) -> str:
    """How far its actions are from what was commanded."""
    arms = found.table("arms")
    logs, name = len(found.list("logs")), str(found.text("bundle"))
    off = words.figure(arms.number("rmse"), ".4f", "\u00a0rad")
    ends = _interval(arms)
    span = "" if ends == words.BLANK else f" (95\u00a0% interval {ends})"
    return (
        f"On the observations of {logs} {'log' if logs == 1 else 'logs'}, the actions of {name} are "
        f"{off}{span} from the commands that were given (RMSE)."
    )


def _ahead(found: Table) -> str:
    """What the policy knows of later commands, beside whoever holds still."""
    ahead = found.tables("look_ahead")
    if not ahead:
        return ""
    last = ahead[-1]
    own, held = (last.table(name).number("rmse") for name in ("error", "holding"))
    time = words.figure(last.number("time_s"), ".2f", "\u00a0s")
    if not (isfinite(own) and isfinite(held)):
        return ""
    if own * NEAR < held:
        said = f"it knows more than to hold still, which is {held:.4f} off"
    elif own > held * NEAR:
        said = f"to hold the last command would be nearer, at {held:.4f}"
    else:
        said = f"to hold the last command is about as near, at {held:.4f}"
    return f"At the end of a chunk, {time} ahead, it is {own:.4f}\u00a0rad off; {said}."


def _joint_table(found: Table) -> Html:
    head = (
        *("joint", "unit", "RMSE", "95\u00a0%", "MAE", "bias", "worst"),
        *("jerk", "logged", "beyond range", "too fast"),
    )
    joints = found.table("joints")
    rows = []
    for name in joints.values:
        joint = joints.table(name)
        error = joint.table("error")
        rows.append(
            (
                words.plain(name),
                str(joint.text("unit")),
                words.figure(error.number("rmse"), ".4f"),
                _interval(error),
                words.figure(error.number("mae"), ".4f"),
                *(words.figure(joint.number(key), ".4f") for key in ("bias", "worst")),
                *(words.figure(joint.number(key), ".0f") for key in ("jerk", "jerk_logged")),
                *(joint.count(key) for key in ("beyond_range", "too_fast")),
            )
        )
    inner = tag("div", table(head, rows, numeric=range(2, len(head))), class_="wide")
    return tag("details", tag("summary", "Joint by joint"), inner)


def _limits(found: Table) -> str:
    joints = found.table("joints")
    parts = [joints.table(name) for name in joints.values]
    beyond, fast, own, logged = (
        sum(part.count(key) for part in parts)
        for key in ("beyond_range", "too_fast", "beyond_range_logged", "too_fast_logged")
    )
    arc, arc_logged = (
        words.figure(found.number(key), ".2f") for key in ("arc_length", "arc_length_logged")
    )
    return (
        f"Of {found.count('steps') * len(parts)} actions {beyond} are beyond a joint's range and "
        f"{fast} faster than its motor (of the commands {own} and {logged}). Smoothness, as spectral "
        f"arc length: {arc}, commands {arc_logged}."
    )


def _latency(found: Table) -> str:
    latency = found.table("latency")
    median, p99, period = (
        words.figure(latency.number(key), ".1f", "\u00a0ms")
        for key in ("median_ms", "p99_ms", "period_ms")
    )
    return f"A chunk takes {median} (99\u00a0%: {p99}) of a step of {period}, on one thread here."


def _interval(error: Table) -> str:
    ends = error.numbers("rmse_interval")
    if len(ends) != 2 or not all(isfinite(end) for end in ends):
        return words.BLANK
    return f"{ends[0]:.4f} to {ends[1]:.4f}"
