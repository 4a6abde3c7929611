"""Every check of the exactness benchmark, on fewer rows."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECKS = (
    "another_start_differs",
    "same_again",
    "two_threads",
    "batch_of_one",
    "other_rows",
    "saved_and_loaded",
    "another_process",
    "taking_changes_nothing",
    "restored_on_the_way",
    "fork_repeats",
    "derived_fields",
    "same_key_same_episode",
)


@pytest.fixture(scope="module")
def outcome() -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.exactness", "--json"]
    small = ["--rows", "48", "--before", "30", "--steps", "30"]
    out = subprocess.run(command + small, cwd=ROOT, capture_output=True, text=True, check=False)
    assert out.returncode in (0, 1), out.stderr
    return {figure["metric"]: figure["value"] for figure in json.loads(out.stdout)}


def test_all_checks_are_run(outcome: dict[str, float]):
    assert set(outcome) == {f"exact_{check}" for check in CHECKS}


@pytest.mark.parametrize("check", CHECKS)
def test_exact(outcome: dict[str, float], check: str):
    assert outcome[f"exact_{check}"] == 1
