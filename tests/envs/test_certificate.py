"""What certificates look like, and how differences are timed."""

import json
from dataclasses import replace

import numpy as np
import pytest

from regrasp.envs.certificate import HEADS, Certificate, Certificates
from regrasp.envs.certify import Checks
from regrasp.envs.divergence import Growth

GROWTH = Growth(micro_s=0.04, milli_s=None, largest=3e-5, within_s=2.0)
HELD = dict.fromkeys(HEADS, True)
CPU = Certificate(
    "transfer_cube", "cpu", True, "2 CPU threads", 64, 60, HELD, {"1 nrad added": GROWTH}
)
MJX = Certificate(
    "peg_insertion",
    "mjx",
    False,
    "some GPU",
    64,
    60,
    {**HELD, "two_threads": None, "batch_of_one": False},
    {"in one batch": GROWTH},
)
WARP = Certificate("peg_insertion", "warp", False, unavailable="not installed")
ALL = Certificates((CPU, MJX, WARP))


def test_every_check_has_a_column():
    assert set(HEADS) == {name for name in vars(Checks) if not name.startswith("_")} - {"growth"}


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_lines_fit_and_line_up(width: int):
    lines = ALL.text(width).splitlines()
    assert max(map(len, lines)) <= width
    heads = [i for i, line in enumerate(lines) if line.startswith("task ") and " keys" in line]
    (at,) = heads
    column = lines[at].index("keys")
    assert [line[column : column + 3].strip() for line in lines[at + 2 : at + 5]] == [
        "yes",
        "yes",
        "-",
    ]


def test_a_wide_terminal_has_one_table():
    text = ALL.text(200)
    assert all(head in text.splitlines()[0] for head in HEADS.values())


def test_the_notes_say_what_was_tried():
    text = ALL.text(200)
    assert "cpu: 64 rows, 60 control steps, 2 CPU threads (transfer_cube)" in text
    assert "warp cannot be used here: not installed (peg_insertion)" in text


def test_markdown_is_a_table():
    lines = ALL.markdown().splitlines()
    table = lines[: lines.index("")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert len({len(line) for line in table}) == 1
    assert cells[0] == ["task", "engine", *HEADS.values()]
    assert set("".join(cells[1])) == {"-"}
    assert cells[2] == ["transfer_cube", "cpu", *["yes"] * len(HEADS)]
    assert cells[3][3:6] == ["-", "yes", "no"]
    assert cells[4] == ["peg_insertion", "warp", *["-"] * len(HEADS)]
    assert any("| in one batch |" in line for line in lines)


def test_only_promises_can_be_broken():
    assert ALL.passed
    assert not MJX.exact
    assert not WARP.exact
    assert not Certificates((replace(MJX, promised=True),)).passed


def test_json_is_json():
    document = json.loads(json.dumps(ALL.to_json(), allow_nan=False))
    assert [one["exact"] for one in document["certificates"]] == [True, False, False]
    assert document["certificates"][1]["checks"]["two_threads"] is None


def test_times_of_growth():
    growth = Growth.of(np.array([0.0, 1e-7, 2e-6, 5e-4, 2e-3]), dt_s=0.02)
    assert (growth.micro_s, growth.milli_s) == pytest.approx((0.06, 0.1))
    assert (growth.largest, growth.within_s) == pytest.approx((2e-3, 0.1))
    assert growth.words() == ("0.06 s", "0.1 s", "2.0e-03")


def test_no_growth():
    growth = Growth.of(np.zeros(100), dt_s=0.02)
    assert (growth.micro_s, growth.milli_s, growth.largest) == (None, None, 0.0)
    assert growth.words() == ("> 2 s", "> 2 s", "0.0e+00")


def test_a_simulation_that_breaks_down_differs():
    growth = Growth.of(np.array([0.0, np.nan]), dt_s=0.5)
    assert (growth.micro_s, growth.milli_s, growth.largest) == (1.0, 1.0, None)
    assert growth.words()[2] == "broke down"
