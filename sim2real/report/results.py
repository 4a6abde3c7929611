"""The sections about the policies: how often, how soon, how learned, how they look."""

from regrasp.sim2real.report import figures, words
from regrasp.sim2real.report.data import PHYSICS, POLICIES, Evaluation, Run
from regrasp.sim2real.report.markup import Html, drawing, figure, join, table, tag, video

ROLES = {
    "demonstrator": "the scripted expert that recorded the demonstrations",
    "clone": "learned from the demonstrations alone",
    "improved": "the clone after trying again from identical states",
}
STAGES = {"demonstrator": "demonstrat", "clone": "clon", "improved": "improve"}
"""How the parts of a run that make them are called, or begin."""


def absent(run: Run, what: str, *parts: str) -> Html:
    """Says that a part of the run is missing, why if that is known, and what makes it.

    Args:
        run: the run.
        what: what is missing, as a sentence.
        parts: words of which one stands in the run's list of skipped parts, if it was skipped.
    """
    facts = run.facts
    whys = [
        row.get("why", "no reason is given")
        for row in facts.skipped
        if any(part in str(row.get("what")).lower() for part in parts)
    ]
    plain = f"regrasp run {facts.task or 'TASK'}"
    command = plain if whys else facts.command or plain
    reason = f" It was left out: {'; '.join(map(str, whys))}." if whys else ""
    return tag("p", what, reason, " To have it, run ", tag("code", command), ".", class_="missing")


def success(run: Run) -> Html:
    """Rates with intervals, drawn and as numbers."""
    shown = [(p, w, found) for w in PHYSICS for p in POLICIES if (found := run.result(p, w))]
    if not shown:
        return absent(run, "No policy has been evaluated.", "eval")
    head = (
        *("policy", "physics", "success", "95\u00a0% interval", "succeeded", "of"),
        *("median time", "seed"),
    )
    rows = [_result(policy, physics, found) for policy, physics, found in shown]
    alt = "Success rates: " + "; ".join(
        f"{policy} {words.percent(found.rate)} ({words.interval(found.low, found.high)}) "
        f"{words.UNDER[physics]}"
        for policy, physics, found in shown
    )
    missing = [p for p in POLICIES if run.result(p, "table") is None]
    gone = f"Not evaluated under randomised physics: {', '.join(missing)}."
    return join(
        [
            figure(
                drawing(figures.draw_rates(run), "rates", alt),
                "Marks are rates, bars their 95\u00a0% Wilson intervals.",
            ),
            table(head, rows, numeric=range(2, 8)),
            tag("p", _notes(run, shown), class_="note"),
            absent(run, gone, "eval", *(STAGES[policy] for policy in missing)) if missing else "",
            *(
                tag("p", said, " ", words.paired(run, physics))
                for physics in PHYSICS
                if (said := words.verdict(run, physics))
            ),
        ]
    )


def times(run: Run) -> Html:
    """How soon episodes succeed."""
    if not any(run.result(p, w) for p in POLICIES for w in PHYSICS):
        return absent(run, "There are no times to success.", "eval")
    caption = (
        "Share of all episodes that have succeeded by a time. A curve ends at its policy's success "
        "rate: episodes that fail never count."
    )
    alt = "Share of episodes that have succeeded by a time, for each policy and physics"
    return figure(drawing(figures.draw_times(run), "times", alt), caption)


def training(run: Run) -> Html:
    """The course of improvement and of cloning."""
    return join(
        [
            tag("h3", "Improvement from identical states"),
            _improvement(run),
            tag("h3", "Cloning"),
            _cloning(run),
        ]
    )


def films(run: Run) -> Html:
    """The films side by side."""
    if not run.videos:
        return absent(run, "There are no videos.", "video")
    shown = []
    for policy in POLICIES:
        found = run.result(policy, "table")
        rate = (
            f" It succeeds in {words.percent(found.rate)} {words.UNDER['table']}." if found else ""
        )
        caption = join([_named(policy), f": {ROLES[policy]}.{rate}"])
        data = run.videos.get(policy)
        film = video(data, f"The {policy} policy at work") if data else _no_film()
        shown.append(figure(film, caption))
    return tag("div", *shown, class_="films")


def _result(policy: str, physics: str, found: Evaluation) -> tuple[object, ...]:
    return (
        join([_named(policy), "*" if found.recorded else ""]),
        "randomised" if physics == "table" else physics,
        words.percent(found.rate),
        words.interval(found.low, found.high),
        found.successes,
        found.episodes,
        words.figure(found.median_time_s, ".2f", "\u00a0s"),
        words.BLANK if found.seed is None else found.seed,
    )


def _notes(run: Run, shown: list[tuple[str, str, Evaluation]]) -> str:
    horizons = sorted({found.horizon_s for _, _, found in shown if found.horizon_s > 0})
    limits = " or ".join(f"{horizon:g}\u00a0s" for horizon in horizons)
    said = f"Median time to success; a failure counts as the horizon{f', {limits}' * bool(limits)}."
    demos = run.demonstrations
    if any(found.recorded for _, _, found in shown):
        said += " * While recording the demonstrations, not in an evaluation of its own."
    elif demos is not None:
        said += (
            f" While it recorded demonstrations {words.UNDER['table']}, the demonstrator succeeded "
            f"in {demos.successes} of {demos.episodes} attempts ({words.percent(demos.rate)}, "
            f"{words.interval(demos.low, demos.high)})."
        )
    return said


def _improvement(run: Run) -> Html:
    if not run.improve:
        return absent(run, "No improvement has been recorded.", STAGES["improved"])
    columns = run.improve
    steps, episodes, seconds = (columns[k][-1] for k in ("env_steps", "episodes", "wall_s"))
    caption = (
        f"{words.figure(steps, ',.0f')} control steps in {words.figure(episodes, ',.0f')} tries, "
        f"{words.duration(seconds)}. Tries explore, so they may succeed less often than the same "
        f"policy does when evaluated; those that start late in an episode have less left to do. "
        f"Only tries from the task's own start (dots) are comparable with an evaluation."
    )
    alt = (
        "Success of the tries, and where in the episode they start, against control steps simulated"
    )
    return figure(drawing(figures.draw_improvement(run), "improvement", alt), caption)


def _cloning(run: Run) -> Html:
    if not run.clone:
        return absent(run, "No cloning has been recorded.", STAGES["clone"])
    columns = run.clone
    caption = f"Loss after {words.figure(columns['step'][-1], ',.0f')} updates: " + (
        f"{words.figure(columns['loss'][-1], '.4g')} on the demonstrations trained on"
    )
    held_out = columns["held_out_loss"][columns["held_out_loss"] == columns["held_out_loss"]]
    caption += f", {held_out[-1]:.4g} on those held out." if len(held_out) else "."
    alt = "Loss of cloning against updates"
    return figure(drawing(figures.draw_cloning(columns), "cloning", alt), caption)


def _named(policy: str) -> Html:
    return join([tag("span", class_=f"dot {policy}", aria_hidden="true"), tag("b", policy)])


def _no_film() -> Html:
    return tag("div", "no video", class_="empty")
