"""The page about a real arm: made of the figures alone, with a run around it or without."""

import json

import numpy as np
import pytest

from regrasp.errors import InputError
from regrasp.randomization import LogNormal, Row, Table, joint_field
from regrasp.sim2real import Log, coverage_of, gap_of, plots, replay
from regrasp.sim2real.kept import keep_coverage
from regrasp.sim2real.measure_coverage import Example
from regrasp.sim2real.plots_detail import draw_causes, draw_ranks, draw_when, draw_where
from regrasp.sim2real.report import write_report


@pytest.fixture(scope="module")
def figures(arm):
    """A gap in detail and a coverage, of a softer and rougher arm."""
    logs = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        t = np.arange(0, 3, 0.02)
        knots = rng.uniform(0.1, 0.9, (6, 4))
        cmd = np.stack([np.interp(t, [0, 1, 2, 3], row) for row in knots], axis=1)
        logs.append(Log(f"made {seed}", arm.joint_names, t, cmd, np.repeat(cmd[:1], len(t), 0)))
    other = arm.with_servos({name: {"kp": 12.0, "frictionloss": 0.2} for name in arm.joint_names})
    logs = [
        Log(log.name, log.joints, log.t, log.cmd, q)
        for log, q in zip(logs, replay(logs, other), strict=True)
    ]
    table = Table(
        *(
            Row(joint_field("servo stiffness", joint, arm), LogNormal(1.0, 0.2), "test")
            for joint in arm.joint_names
        )
    )
    coverage = coverage_of(logs, arm, table, "test", members=6)
    gap = gap_of(logs, arm, detail=True)
    nominal = replay(logs[:1], arm)[0]
    return gap, coverage, Example(logs[0], np.stack([nominal, nominal + 0.01, nominal]), nominal)


@pytest.fixture
def folder(figures, tmp_path):
    gap, coverage, example = figures
    keep_coverage(tmp_path, coverage, example)
    (tmp_path / "gap.json").write_text(json.dumps(gap.to_json()))
    (tmp_path / "gap_replay.svg").write_bytes(plots.draw_replay(example.log, example.nominal))
    return tmp_path


def test_a_folder_of_figures_alone_makes_a_page_about_the_arm(folder, figures):
    page = write_report(folder).read_text(encoding="utf-8")
    gap, coverage, _ = figures
    assert f"{gap.rmse_rad:.4f}" in page
    for word in ("How far", "Where", "Why", "What to do", "Randomisation"):
        assert f"<dt>{word}</dt>" in page
    for name, joint in coverage.joints.items():
        assert joint.verdict.verdict in page
        assert name.replace("_", " ") in page
    assert "How often it succeeds" not in page
    assert page.count("<svg") == 7
    assert gap.detail is not None
    cause = gap.detail["joints"]["shoulder_lift"]["causes"][0]
    assert cause["words"].split(",")[0] in page


def test_either_alone_is_enough(folder):
    for name in ("coverage.json", "coverage_replay.svg"):
        (folder / name).unlink()
    assert "regrasp coverage LOGS" in write_report(folder).read_text(encoding="utf-8")


def test_a_broken_file_is_refused_by_name(folder):
    document = json.loads((folder / "coverage.json").read_text())
    del document["joints"]["elbow_flex"]["verdict"]
    (folder / "coverage.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="lacks a part"):
        write_report(folder)


def test_drawings_do_not_depend_on_anything_but_the_figures(figures):
    gap, coverage, _ = figures
    assert gap.detail is not None
    joints, covered = gap.detail["joints"], coverage.to_json()["joints"]
    for draw in (
        lambda: draw_causes(joints),
        lambda: draw_where(joints),
        lambda: draw_when(joints, gap.gripper, 0.02),
        lambda: draw_ranks(covered),
    ):
        assert draw() == draw()
    assert draw_causes(joints, "png").startswith(b"\x89PNG")


def test_the_verbs_refuse_in_one_line(tmp_path, capsys):
    from regrasp.cli import main

    for words, message in (
        (["coverage", str(tmp_path), "--members", "2"], "choose at least 3"),
        (["coverage", str(tmp_path / "none")], "no log at"),
        (["fit", str(tmp_path / "none"), "--out", str(tmp_path / "t.json")], "no log at"),
        (["gap", str(tmp_path / "none"), "--brief"], "no log at"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
