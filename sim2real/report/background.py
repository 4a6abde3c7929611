"""The sections about the world and the run: what differed, how real it is, where it comes from."""

from pathlib import Path

from regrasp.sim2real import plots
from regrasp.sim2real.gap import Gap
from regrasp.sim2real.report import words
from regrasp.sim2real.report.data import Run
from regrasp.sim2real.report.markup import Html, drawing, figure, join, table, tag
from regrasp.sim2real.report.results import absent

HARDWARE = {
    "cpu": "processor",
    "cores": "cores",
    "memory_gib": "memory (GiB)",
    "platform": "system",
}
SEEDS = (
    "Demonstrating, training and evaluating draw from streams of random numbers of their own, "
    "made from the seed and the purpose. They never overlap, even at the same seed: no evaluated "
    "episode was demonstrated or trained on."
)


def randomisation(run: Run) -> Html:
    """The table that randomised physics is drawn from."""
    if not run.facts.table:
        return absent(run, "The table of randomised quantities has not been recorded.", "table")
    keys = ("field", "distribution", "unit")
    rows = [
        (
            *(row.get(key, words.BLANK) for key in keys),
            row.get("numbers", words.BLANK),
            row.get("source", words.BLANK),
        )
        for row in run.facts.table
    ]
    inner = table((*keys, "numbers drawn", "source of the range"), rows, numeric=[3])
    said = (
        "Under randomised physics every episode draws these anew, independently of each other; "
        "under nominal physics none of them applies. Where things start differs under both."
    )
    return join([tag("p", said), tag("div", inner, class_="wide")])


def reality(run: Run) -> Html:
    """The gap between simulation and recordings of a real arm."""
    gap = run.gap
    if gap is None:
        return absent(run, "The gap to a real arm has not been measured.", "gap")
    bars_alt = "Error of the replay per joint, beside the real arm's own noise"
    replay_alt = "Commands, the real arm and its replay in simulation, joint by joint"
    replay_caption = "The liveliest seconds of one recording, replayed from its commands alone."
    pairs = f"{gap.floor.pairs} pairs of recordings" if gap.floor.pairs else "no recordings"
    note = (
        f"Medians over {len(gap.recordings)} recordings; servo figures: {Path(gap.params).name}. "
        f"The floor is one run's own noise, from {pairs} of the same commands. Lags: the real and "
        f"the simulated joint behind the commands, and the real behind the simulated."
    )
    return join(
        [
            tag("p", words.about_gap(gap)),
            _joint_table(gap),
            tag("p", note, class_="note"),
            figure(
                drawing(plots.draw_gap(gap), "bars", bars_alt),
                "RMSE of the replay and the real arm's own noise.",
            ),
            figure(drawing(run.replay, "replay", replay_alt), replay_caption)
            if run.replay
            else absent(run, "No replay has been drawn.", "gap"),
            _recording_table(gap),
        ]
    )


def provenance(run: Run) -> Html:
    """Versions, seeds, hardware, time and the command."""
    facts = run.facts
    evaluated = sorted({e.seed for e in run.evaluations.values() if e.seed is not None})
    origins = [
        ("task", facts.task or words.BLANK),
        ("started", facts.started or words.BLANK),
        ("seed of the run", words.BLANK if facts.seed is None else facts.seed),
        ("seed of the evaluations", ", ".join(map(str, evaluated)) or words.BLANK),
        *((HARDWARE.get(name, name), _cell(value)) for name, value in facts.hardware.items()),
    ]
    versions = table(("package", "version"), list(facts.versions.items()), numeric=[1])
    unknown = absent(run, "The versions have not been recorded.", "version")
    beside = [
        tag("div", tag("h3", "Run"), table((), origins, numeric=[])),
        tag("div", tag("h3", "Time per stage"), _stages(run)),
        tag("div", tag("h3", "Versions"), versions if facts.versions else unknown),
    ]
    skipped = [(row.get("what", words.BLANK), row.get("why", words.BLANK)) for row in facts.skipped]
    return join(
        [
            tag("p", SEEDS),
            tag("div", *beside, class_="beside"),
            tag("h3", "Left out"),
            table(("what", "why"), skipped, numeric=[])
            if skipped
            else tag("p", "Nothing is recorded as left out."),
            tag("h3", "To do it again"),
            tag("pre", facts.command)
            if facts.command
            else absent(run, "The command has not been recorded.", "command"),
        ]
    )


def _joint_table(gap: Gap) -> Html:
    head = (
        *("joint", "unit", "RMSE", "MAE", "floor", "RMSE / floor"),
        *("real lag", "sim lag", "real behind sim"),
    )
    rows = []
    for (name, joint), floor in zip(gap.joints.items(), gap.floor.single_rmse, strict=True):
        lags = (joint.lag_real_s, joint.lag_sim_s, joint.lag_s)
        ratio = joint.rmse_rad / floor if floor > 0 else float("nan")
        rows.append(
            (
                name.replace("_", " "),
                "0..1" if name == gap.gripper else "rad",
                *(words.figure(x, ".4f") for x in (joint.rmse_rad, joint.mae_rad, floor)),
                words.figure(ratio, ".1f"),
                *(words.figure(1e3 * lag, ".0f", "\u00a0ms") for lag in lags),
            )
        )
    return tag("div", table(head, rows, numeric=range(2, 9)), class_="wide")


def _recording_table(gap: Gap) -> Html:
    head = ("recording", "length", *(name.replace("_", " ") for name in gap.joints))
    rows = [
        (
            recording.name.replace("_", " "),
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


def _stages(run: Run) -> Html:
    seconds = run.facts.seconds
    if not seconds:
        return absent(run, "The time per stage has not been recorded.", "seconds")
    rows = [(stage, words.duration(value)) for stage, value in seconds.items()]
    rows.append((tag("b", "all"), tag("b", words.duration(sum(seconds.values())))))
    return table(("stage", "wall time"), rows, numeric=[1])


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
