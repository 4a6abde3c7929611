"""The page as a whole."""

from pathlib import Path
from string import Template

from regrasp.errors import InputError
from regrasp.files import whole
from regrasp.sim2real.report import background, reality, results, summary, words
from regrasp.sim2real.report.data import Run, read_run
from regrasp.sim2real.report.markup import Html, join, tag, text

TEMPLATE = Path(__file__).with_name("page.html")
SECTIONS = {
    "How often it succeeds": results.success,
    "How soon it succeeds": results.times,
    "How it was learned": results.training,
    "What it looks like": results.films,
    "What differs between episodes": background.randomisation,
    "How far simulation is from a real arm": reality.reality,
    "Where these numbers come from": background.provenance,
}


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write one self-contained page about a run folder; what the folder lacks, the page says.

    Args:
        run: the run folder.
        out: the file to write; None for `report.html` in the run folder.

    Returns:
        Path of the page.

    Raises:
        InputError: no such folder, a malformed file in it, or a place that cannot be written to.
    """
    run = Path(run)
    out = run / "report.html" if out is None else Path(out)
    if out.is_dir():
        raise InputError(f"{out} is a folder: name a file, such as {out / 'report.html'}")
    page = _page(read_run(run))
    with whole(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out


def _page(run: Run) -> str:
    if run.about_reality_alone:
        return _filled("a real arm", [_alone(run), tag("section", reality.reality(run))])
    sections = (tag("section", tag("h2", name), make(run)) for name, make in SECTIONS.items())
    return _filled(run.facts.task or "a run", [_header(run), *sections])


def _filled(subject: str, parts: list[Html]) -> str:
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=text(f"regrasp: {subject}"), body=join(parts)
    )


def _alone(run: Run) -> Html:
    """The head of a page about recordings alone."""
    if run.gap is not None:
        over = f"{run.gap.arm} · simulation against recordings"
    elif run.coverage is not None:
        over = f"{run.coverage.get('arm')} · simulation against recordings"
    else:
        over = "a policy on recordings"
    return tag(
        "header",
        tag("p", f"regrasp · {over}", class_="over"),
        tag("h1", summary.headline(run)),
    )


def _header(run: Run) -> Html:
    facts = run.facts
    seed = "" if facts.seed is None else f"seed {facts.seed}"
    over = " · ".join(part for part in ("regrasp", facts.task, seed, facts.started) if part)
    physics = "table" if words.verdict(run, "table") else "nominal"
    lead = f"{words.verdict(run, physics)} {words.times(run, physics)}".strip()
    return tag(
        "header",
        tag("p", over, class_="over"),
        tag("h1", words.headline(run)),
        tag("p", lead, class_="lead") if lead else "",
    )
