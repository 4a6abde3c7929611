"""Learning curves: runs that differ in their seed alone are one curve; nothing else is."""

import json
from pathlib import Path

import pytest

from regrasp import cli
from regrasp.errors import InputError
from regrasp.rl.curves import Run, draw_curves, together


def run_in(folder: Path, seed: int, iterations: int = 6, **changes) -> Path:
    """What an improvement leaves behind."""
    stage = folder / "improve"
    stage.mkdir(parents=True)
    settings = {"seed": seed, "tries": 16, "update": {"passes": 2}, **changes}
    (stage / "config.json").write_text(json.dumps(settings))
    rows = []
    for i in range(1, iterations + 1):
        row = {"iteration": i, "env_steps": 1000 * i, "wall_s": 2.0 * i, "start_fraction": None}
        row |= {"phase": 0.5, "success": 0.1 * i}
        if i % 2 == 0:
            row["judged"] = {"rate": 0.1 * i + 0.01 * seed, "low": 0.05 * i, "high": 0.15 * i}
        rows.append(json.dumps(row))
    (stage / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [
        run_in(tmp_path / "transfer_cube-0", 0),
        run_in(tmp_path / "transfer_cube-1", 1, iterations=8),
        run_in(tmp_path / "other-0", 0, tries=8),
    ]


def test_seeds_are_drawn_together_and_other_settings_apart(runs: list[Path]):
    groups = together(Run.read(folder) for folder in runs)
    assert list(groups) == ["tries 16 (2 seeds)", "tries 8"]
    assert [len(members) for members in groups.values()] == [2, 1]


def test_runs_of_equal_settings_are_told_by_their_names(tmp_path: Path):
    folders = [run_in(tmp_path / "a-0", 0), run_in(tmp_path / "b-0", 0)]
    assert list(together(Run.read(folder) for folder in folders)) == ["run a", "run b"]


@pytest.mark.parametrize("form", ["png", "svg"])
def test_the_picture_is_the_same_each_time(runs: list[Path], form):
    groups = together(Run.read(folder) for folder in runs)
    assert draw_curves(groups, form) == draw_curves(groups, form)


def test_the_verb_writes_a_picture(runs: list[Path], tmp_path: Path, capsys):
    out = tmp_path / "curves.png"
    cli.main(["plot", *map(str, runs), "--out", str(out), "--json"])
    assert out.read_bytes().startswith(b"\x89PNG")
    assert json.loads(capsys.readouterr().out)["curves"] == ["tries 16 (2 seeds)", "tries 8"]


def test_what_cannot_be_drawn_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="no judged iterations"):
        Run.read(tmp_path)
