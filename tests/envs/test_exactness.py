"""Kept states give the same future bit for bit, as `regrasp certify` sees it; and it sees what is not so."""

import contextlib
import io
import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import regrasp
from regrasp import cli
from regrasp.envs import TASKS
from regrasp.envs import certify as certifying
from regrasp.envs.certify import CertifyConfig, Checks, certify
from regrasp.envs.cpu_world import CpuWorld
from regrasp.envs.world import WORLDS
from regrasp.errors import InputError

CHECKS = (
    "same_again",
    "two_threads",
    "other_rows",
    "batch_of_one",
    "saved_and_loaded",
    "another_process",
    "taking_changes_nothing",
    "restored_on_the_way",
    "fork_repeats",
    "derived_fields",
    "same_key_same_episode",
    "another_start_differs",
)
MAKE = partial(regrasp.make, randomize="table")
TINY = CertifyConfig(("transfer_cube",), ("cpu",), rows=3, steps=4, seconds=0.1)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """What the command says of few rows."""
    small = ("--rows", "16", "--steps", "30", "--seconds", "0.5")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        cli.main(["certify", "--tasks", "transfer_cube", "--backends", "cpu", *small, "--json"])
    return json.loads(out.getvalue())


def test_all_checks_are_run(document: dict[str, Any]):
    assert tuple(document["certificates"][0]["checks"]) == CHECKS


@pytest.mark.parametrize("check", CHECKS)
def test_exact(document: dict[str, Any], check: str):
    assert document["certificates"][0]["checks"][check] is True


def test_the_document(document: dict[str, Any]):
    (one,) = document["certificates"]
    assert document["passed"] is True
    assert (one["task"], one["backend"], one["rows"], one["steps"]) == (
        "transfer_cube",
        "cpu",
        16,
        30,
    )
    assert (one["promised"], one["exact"], one["unavailable"]) == (True, True, "")
    (growth,) = one["growth"].values()
    assert set(growth) == {"micro_s", "milli_s", "largest", "within_s"}
    assert growth["within_s"] == pytest.approx(0.5)
    assert growth["largest"] >= 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_exact_everywhere_on_the_cpu(task: str):
    found = certify(CertifyConfig((task,), ("cpu",), rows=16, steps=30, seconds=0.5), MAKE)
    assert {name for name, held in found.found[0].checks.items() if held is not True} == set()


class Faulty(CpuWorld):
    """An engine that puts one row back a little beside where it was."""

    def put_rows(self, rows: np.ndarray, states: np.ndarray) -> None:
        beside = states.copy()
        beside[-1, 1] += 1e-9
        super().put_rows(rows, beside)


@dataclass(frozen=True)
class Moody:
    """Makes another scene in every process but this one."""

    home: int

    def __call__(self, task: str, *args: Any, **options: Any) -> regrasp.BatchEnv:
        return MAKE(task if os.getpid() == self.home else "lift_pot", *args, **options)


def test_engines_and_scenes_that_are_not_exact_are_found_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(WORLDS, "cpu", Faulty)
    checks = Checks(TINY, "transfer_cube", "cpu", Moody(os.getpid()))
    assert not checks.another_process()
    assert not checks.same_again()
    assert not checks.other_rows()
    assert not checks.saved_and_loaded()
    assert not checks.fork_repeats()
    assert checks.derived_fields()
    growth = checks.growth(exact=False)
    assert set(growth) == {"in one batch", "batch of one", "1 nrad added"}
    assert 1e-12 < (growth["in one batch"].largest or 0) < 1e-3


def no_such_engine(*_: Any) -> Any:
    raise RuntimeError("no such device\nand much more")


def test_an_engine_that_cannot_run_is_listed(monkeypatch: pytest.MonkeyPatch):
    for backend in ("mjx", "warp"):
        monkeypatch.setitem(WORLDS, backend, no_such_engine)
    monkeypatch.setattr(certifying, "HEADS", {})
    told = []
    found = certify(
        CertifyConfig(("transfer_cube",), rows=3, steps=4, seconds=0.1),
        MAKE,
        lambda *now: told.append(now),
    )
    assert [one.unavailable for one in found.found] == ["", "no such device", "no such device"]
    assert found.passed
    assert "warp cannot be used here: no such device (transfer_cube)" in str(found)
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1][:2] == (6, 6)


def test_an_engine_that_was_asked_for_must_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(WORLDS, "warp", no_such_engine)
    with pytest.raises(InputError, match=r"^warp cannot be used here: no such device$"):
        certify(CertifyConfig(("transfer_cube",), ("warp",)), MAKE)


def test_a_mistake_in_a_scene_is_not_taken_for_a_missing_engine():
    with pytest.raises(InputError, match=r"^unknown randomization 'tabel'"):
        certify(TINY, partial(regrasp.make, randomize="tabel"))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (CertifyConfig(("transfer_cub",)), "unknown task 'transfer_cub': did you mean"),
        (CertifyConfig(backends=("gpu",)), "unknown backend 'gpu'.*choose one of cpu, mjx, warp"),
        (CertifyConfig(rows=2), "rows 2: choose 3 or more"),
        (CertifyConfig(steps=1), "steps 1: choose 2 or more"),
        (CertifyConfig(seconds=0.0), "seconds 0.0: choose a number above 0"),
    ],
)
def test_what_cannot_be_certified_is_refused(config: CertifyConfig, says: str):
    with pytest.raises(InputError, match=says):
        certify(config, MAKE)


def test_a_broken_promise_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    from regrasp.envs.certificate import Certificate, Certificates

    broken = Certificate("transfer_cube", "cpu", True, checks={"same_again": False})
    monkeypatch.setattr(certifying, "certify", lambda *_: Certificates((broken,)))
    with pytest.raises(SystemExit) as stop:
        cli.main(["certify", "--json"])
    assert stop.value.code == 1
    assert json.loads(capsys.readouterr().out)["passed"] is False
    with pytest.raises(SystemExit):
        cli.main(["certify", "--markdown"])
    assert capsys.readouterr().out.startswith("| task ")
