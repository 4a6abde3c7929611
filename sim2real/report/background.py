"""The sections about the world and the run: what differed, and where it comes from."""

from regrasp.sim2real.report import words
from regrasp.sim2real.report.data import Run
from regrasp.sim2real.report.markup import Html, join, table, tag
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


def _stages(run: Run) -> Html:
    seconds = run.facts.seconds
    if not seconds:
        return absent(run, "The time per stage has not been recorded.", "seconds")
    rows = [(stage, words.duration(value)) for stage, value in seconds.items()]
    rows.append((tag("b", "all"), tag("b", words.duration(sum(seconds.values())))))
    return table(("stage", "wall time"), rows, numeric=[1])


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
