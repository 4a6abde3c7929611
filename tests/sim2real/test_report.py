"""The report: what it says is what the files say, it stands alone, and it is written whole."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from regrasp.errors import InputError
from regrasp.sim2real import Log, gap_of, plots
from regrasp.sim2real.report import write_report

MP4 = b"\x00\x00\x00\x18ftypmp42" + bytes(16)
TABLE_ROW = {
    "field": "cube mass",
    "distribution": "log-uniform 0.5 to 2",
    "unit": "x nominal",
    "numbers": 1,
    "source": "scales",
}
FACTS = {
    "task": "transfer_cube",
    "seed": 3,
    "command": "regrasp run transfer_cube --seed 3",
    "started": "2025-01-01 10:00",
    "versions": {"mujoco": "4.0.1"},
    "hardware": {"cpu": "a processor", "cores": 2, "memory_gib": 7.75, "platform": "a system"},
    "seconds": {"clone": 95.0, "improve": 7385.0},
    "table": [TABLE_ROW],
    "skipped": [{"what": "video", "why": "no renderer"}],
}
RESULTS = {
    ("demonstrator", "table"): (481, 0.941, 0.976),
    ("clone", "table"): (405, 0.773, 0.842),
    ("improved", "table"): (487, 0.956, 0.985),
    ("clone", "nominal"): (452, 0.875, 0.927),
    ("improved", "nominal"): (460, 0.892, 0.942),
}


TIMES = {"times_s": [4.0] * 200, "horizon_s": 8.0}


class Page(HTMLParser):
    """The visible words, and every element with its attributes."""

    def __init__(self, source: str):
        super().__init__()
        self.elements, self._words, self._hidden = [], [], False
        self.feed(source)
        self.words = re.sub(r"\s+", " ", " ".join(self._words))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._hidden = tag in ("style", "script")

    def handle_data(self, data):
        if not self._hidden:
            self._words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def put(run, path, value):
    """Write a file of a run folder: bytes, text, JSON, or JSON lines."""
    file = run / path
    file.parent.mkdir(parents=True, exist_ok=True)
    if path.endswith(".jsonl"):
        value = "".join(json.dumps(row) + "\n" for row in value)
    elif not isinstance(value, str | bytes):
        value = json.dumps(value)
    file.write_bytes(value if isinstance(value, bytes) else value.encode())


def evaluation(successes, low, high, episodes=500, **fields):
    success = [i < successes for i in range(episodes)]
    return {
        "successes": successes,
        "episodes": episodes,
        "rate": successes / episodes,
        "low": low,
        "high": high,
        "median_time_s": 3.14,
        "horizon_s": 8.0,
        "seed": 1,
        "times_s": [2 + 0.01 * i if good else 8.0 for i, good in enumerate(success)],
        "success": success,
        **fields,
    }


def put_results(run, results):
    for (policy, physics), figures in results.items():
        put(run, f"eval/{policy}-{physics}.json", evaluation(*figures))


def page_of(run):
    return Page(write_report(run).read_text(encoding="utf-8"))


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def gap_files(arm, tmp_path_factory):
    """A gap with a floor, and the drawing of a replay."""
    folder = tmp_path_factory.mktemp("gap")
    t = np.arange(0, 3, 0.02)
    wave = 0.5 + 0.2 * np.sin(2 * t[:, None] + np.arange(6))
    log, again = (Log("wave", arm.joint_names, t, wave, wave + noise) for noise in (0.0, 0.01))
    put(folder, "gap.json", gap_of([log], arm, repeats=[again]).to_json())
    put(folder, "gap_replay.svg", plots.draw_replay(log, log.q))
    return folder


@pytest.fixture
def with_gap(run, gap_files):
    """A run folder with a gap and no more."""
    return shutil.copytree(gap_files, run, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def everything(gap_files, tmp_path_factory):
    """A run folder with everything in it, and its page; not to be changed."""
    folder = shutil.copytree(gap_files, tmp_path_factory.mktemp("everything") / "run")
    put(folder, "run.json", {**FACTS, "skipped": []})
    demos = {"attempts": 212, "successes": 200, "rate": 200 / 212, "low": 0.9, "high": 0.97}
    put(folder, "demos/meta/demonstrations.json", demos | TIMES)
    clone = [{"step": 100 * i, "loss": 1 / (i + 1), "held_out_loss": None} for i in range(9)]
    put(folder, "clone/metrics.jsonl", clone)
    put(folder, "improve/metrics.jsonl", [iteration(i) for i in range(1, 9)])
    put_results(folder, RESULTS)
    for policy in ("demonstrator", "clone", "improved"):
        put(folder, f"video/{policy}.mp4", MP4)
    write_report(folder)
    return folder


@pytest.fixture
def full(everything, run):
    """A copy of the run folder with everything in it."""
    return shutil.copytree(everything, run, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def source(everything):
    """The page about everything."""
    return (everything / "report.html").read_text(encoding="utf-8")


def iteration(i):
    return {
        "iteration": i,
        "env_steps": 9000 * i,
        "episodes": 256 * i,
        "wall_s": 60.0 * i,
        "success": 0.1 * i,
        "informative": 0.5,
        "start_fraction": 0.3,
        "phase": 0.5,
        "start_rate": None if i == 2 else 0.1 * i,
    }


def test_the_headline_and_the_table_say_what_the_files_say(source):
    words = Page(source).words
    assert (
        "The improved policy succeeds in 97.4 % of 500 fresh episodes under randomised physics "
        "(95 % interval 95.6 to 98.5), its clone in 81.0 % (77.3 to 84.2)."
    ) in words
    assert "do not overlap: improvement gained 16.4 points. The median time to success" in words
    assert "improved randomised 97.4 % 95.6 to 98.5 487 500 3.14 s 1" in words.replace("  ", " ")
    assert "the demonstrator succeeded in 200 of 212 attempts (94.3 %, 90.0 to 97.0)" in words
    assert "To have it, run" not in words


def test_everything_is_in_the_one_file(source):
    page = Page(source)
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "object", "img")
        for name in ("src", "href", "poster", "srcset"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    assert "http" not in source
    assert "@import" not in source
    assert len(page.all("video")) == 3
    for film in page.all("video"):
        assert {"controls", "muted", "loop", "playsinline", "aria-label"} <= set(film)
        assert film["src"].startswith("data:video/mp4;base64,")
    drawings = page.all("svg")
    assert len(drawings) == 6
    assert all(drawing["aria-label"] for drawing in drawings)


def test_names_within_drawings_are_unique_and_found(source):
    page = Page(source)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = re.findall(r"url\(#([^)]+)\)", source) + re.findall(r'href="#([^"]+)"', source)
    assert used
    assert set(used) <= set(ids)


def test_the_same_files_make_the_same_page(everything, source, tmp_path):
    again = write_report(everything, tmp_path / "again.html")
    assert again.read_text(encoding="utf-8") == source


def test_provenance_is_told(run):
    put(run, "run.json", {**FACTS, "skipped": []})
    words = page_of(run).words
    for told in (
        *("mujoco", "4.0.1", "a processor", "7.75", "seed of the run 3"),
        *("1 min 35 s", "2 h 03 min", "2 h 05 min", "regrasp run transfer_cube --seed 3"),
        *("never overlap", "log-uniform 0.5 to 2", "Nothing is recorded as left out"),
    ):
        assert told in words


def test_an_empty_run_says_what_is_missing(run):
    page = page_of(run)
    assert "No learned policy has been evaluated yet." in page.words
    for lack in (
        *("No policy has been evaluated", "There are no times", "No improvement has been"),
        *("No cloning has been", "There are no videos", "quantities has not been recorded"),
        *("real arm has not been measured", "versions have not", "command has not"),
    ):
        assert f"{lack}" in page.words
    assert page.words.count("To have it, run regrasp run TASK .") >= 9
    assert not page.all("svg")


def test_what_was_left_out_says_why(run):
    put(run, "run.json", FACTS)
    words = page_of(run).words
    assert (
        "no videos. It was left out: no renderer. To have it, run regrasp run transfer_cube ."
        in words
    )
    assert (
        "No cloning has been recorded. To have it, run regrasp run transfer_cube --seed 3" in words
    )


def test_demonstrations_stand_in_for_the_demonstrator(run):
    demos = {"attempts": 20, "successes": 10, "rate": 0.5, "low": 0.3, "high": 0.7}
    put(run, "demos/meta/demonstrations.json", demos | {"times_s": [4.0] * 10, "horizon_s": 8.0})
    words = page_of(run).words
    assert "demonstrator * randomised 50.0 % 30.0 to 70.0 10 20 6.00 s" in words
    assert "While recording the demonstrations" in words


VERDICTS = {
    "overlap: by them alone the two policies cannot be told apart, although the improved one's "
    "rate is 2.0 points higher": ((410, 0.78, 0.85), (400, 0.76, 0.83)),
    "although the improved one's rate is 2.0 points lower": ((400, 0.76, 0.83), (410, 0.78, 0.85)),
    "overlap: by them alone the two policies cannot be told apart. The": (
        (400, 0.76, 0.83),
        (400, 0.76, 0.83),
    ),
    "do not overlap: improvement made it worse, by 40.0 points": (
        (200, 0.36, 0.44),
        (400, 0.76, 0.83),
    ),
    "the intervals are not known": ((400, None, None), (300, 0.5, 0.7)),
}


@pytest.mark.parametrize("verdict", VERDICTS)
def test_verdicts_are_honest(run, verdict):
    improved, clone = VERDICTS[verdict]
    put_results(run, {("improved", "table"): improved, ("clone", "table"): clone})
    words = page_of(run).words
    assert verdict in words
    assert "gained" not in words


def test_shared_starts_are_held_against_each_other(run):
    won = evaluation(405, 0.77, 0.84)
    put(run, "eval/clone-table.json", won)
    flipped = {**evaluation(405, 0.77, 0.84), "success": won["success"][::-1]}
    put(run, "eval/improved-table.json", flipped)
    told = "Of the 500 starts that they share, 95 went well only with the improved policy and 95"
    assert told in page_of(run).words
    put(run, "eval/improved-table.json", {**flipped, "seed": 2})
    assert "starts that they share" not in page_of(run).words


@pytest.mark.parametrize(
    ("present", "headline"),
    [
        (("improved", "table"), "The improved policy succeeds in 97.4 %"),
        (("clone", "table"), "The cloned policy succeeds in 81.0 %"),
        (("improved", "nominal"), "of 500 fresh episodes under nominal physics"),
    ],
)
def test_part_of_the_evaluations(run, present, headline):
    put_results(run, {present: RESULTS[present]})
    assert headline in page_of(run).words


def test_text_from_files_is_escaped(full):
    evil = '<script>alert("x")</script>'
    row = {**TABLE_ROW, "source": evil}
    facts = {**FACTS, "task": evil, "command": evil, "versions": {evil: evil}, "table": [row]}
    put(
        full,
        "run.json",
        {**facts, "hardware": {evil: evil}, "skipped": [{"what": evil, "why": evil}]},
    )
    gap = json.loads((full / "gap.json").read_text())
    gap |= {
        "arm": evil,
        "params": evil,
        "joints": {evil: gap["joints"]["gripper"], **gap["joints"]},
    }
    put(full, "gap.json", gap)
    page = page_of(full)
    assert not page.all("script")
    assert evil in page.words


def test_drawings_cannot_run_or_load_anything(with_gap):
    put(
        with_gap,
        "gap_replay.svg",
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        'viewBox="0 0 1 1" onload="alert(1)"><script>alert(1)</script>'
        '<image href="http://example.com/a.png"/><use xlink:href="http://example.com/b#c"/>'
        '<path d="M0 0" style="fill:url(http://example.com/d)" onclick="alert(1)"/>'
        "<text>kept</text></svg>",
    )
    source = write_report(with_gap).read_text()
    assert "alert" not in source
    assert "example.com" not in source
    assert "<text>kept</text>" in source


def test_unknown_figures_are_blanks(full):
    put(full, "eval/clone-table.json", evaluation(405, None, float("nan"), median_time_s=None))
    rows = [{"env_steps": 10, "success": None}, {"env_steps": 20, "success": 0.5}]
    put(full, "improve/metrics.jsonl", rows)
    put(full, "clone/metrics.jsonl", [{"step": 0, "loss": None}])
    words = page_of(full).words
    assert "clone randomised 81.0 % not known 405 500 \u2013 1" in words
    assert not re.search(r"\bnan\b", words, re.IGNORECASE)


def test_the_gap_is_told_in_words(with_gap):
    gap = json.loads((with_gap / "gap.json").read_text())
    arm = [name for name in gap["joints"] if name != "gripper"]
    for name in arm:
        gap["joints"][name] |= {"rmse_rad": 0.01, "floor_pair_rad": 0.005 * 2**0.5}
    gap["joints"]["elbow_flex"] |= {"rmse_rad": 0.06}
    gap["joints"]["wrist_flex"] |= {"floor_pair_rad": 0.0005 * 2**0.5, "lag_s": -0.25}
    put(with_gap, "gap.json", gap)
    words = page_of(with_gap).words
    assert "is typically 0.0200 rad (1.15°) from where the real one was" in words
    assert "The worst is elbow flex, 0.0600 rad (3.44°) off." in words
    assert "At elbow flex the error is 12.0 times the noise there." in words
    assert "Set against its own noise, wrist flex is worst: 20.0 times." in words
    assert "at wrist flex, where the real joint is 250 ms ahead of the simulated one" in words


def test_a_gap_without_repeats_says_so(with_gap, make_log, arm):
    put(with_gap, "gap.json", gap_of([make_log(3.0)], arm).to_json())
    (with_gap / "gap_replay.svg").unlink()
    words = page_of(with_gap).words
    assert "how much of it is the arm's own noise is unknown" in words
    assert "No replay has been drawn." in words


BAD = {
    "run.json": ["{", "[]", {"seconds": {"clone": "long"}}, {"table": [3]}, {"versions": []}],
    "eval/clone-table.json": [
        "",
        evaluation(405, 0.7, 0.8, rate=0.2),
        evaluation(405, 0.7, 0.8, times_s=[1.0]),
        evaluation(405, "low", 0.8),
        {"episodes": 3},
    ],
    "demos/meta/demonstrations.json": ["nonsense", {"attempts": 1, "successes": 2, "rate": 2}],
    "clone/metrics.jsonl": [[{"loss": 1}], [3]],
    "improve/metrics.jsonl": [[{"env_steps": "many", "success": 1}]],
    "gap.json": ["{}", {"joints": {"elbow": 3}, "repeat_pairs": 0, "repeat_pairs_left_out": 0}],
    "gap_replay.svg": ["not svg"],
    "video/clone.mp4": [b"not a film"],
}


@pytest.mark.parametrize(("path", "value"), [(p, v) for p, values in BAD.items() for v in values])
def test_malformed_files_are_named_and_leave_the_old_page(full, path, value):
    page = full / "report.html"
    page.write_text("the old page")
    put(full, path, value)
    name = "replay" if path == "gap_replay.svg" else path.rpartition("/")[2]
    with pytest.raises(InputError, match=re.escape(name)) as error:
        write_report(full)
    assert "\n" not in str(error.value)
    assert page.read_text() == "the old page"
    assert not list(full.glob(".report*"))


def test_a_broken_line_is_named(run):
    (run / "clone").mkdir()
    (run / "clone" / "metrics.jsonl").write_text('{"step": 1, "loss": 2}\n{"step": 2, "lo')
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2"):
        write_report(run)


def test_where_the_page_goes(run, tmp_path):
    assert write_report(run) == run / "report.html"
    assert write_report(run, tmp_path / "new" / "page.html").is_file()
    with pytest.raises(InputError, match="is a folder"):
        write_report(run, tmp_path)
    with pytest.raises(InputError, match="no run folder"):
        write_report(tmp_path / "nothing")


def test_long_training_is_drawn_with_its_wall_time(run):
    steps = np.arange(1, 50) * 90_000
    rows = [
        {"env_steps": int(n), "success": 0.5, "wall_s": float(n) / 100, "episodes": 5}
        for n in steps
    ]
    put(run, "improve/metrics.jsonl", rows)
    words = page_of(run).words
    assert "control steps simulated (millions)" in words
    assert "wall time (h)" in words
    assert "4,410,000 control steps in 5 tries, 12 h 15 min" in words
