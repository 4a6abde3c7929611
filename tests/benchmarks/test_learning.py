"""The learning benchmark: every experiment is its own, resumes, and is told and drawn."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.learning import __main__ as learning
from benchmarks.learning.draw import draw
from benchmarks.learning.experiments import STUDIES, Experiment

from regrasp.envs import load_task
from regrasp.errors import InputError
from regrasp.rl.clone import CloneConfig, policy_for
from regrasp.rl.demonstrate import DemonstrateConfig
from regrasp.rl.evaluate import PlayConfig
from regrasp.rl.improve_config import ImproveConfig
from regrasp.rl.surrogate import SurrogateConfig


def test_names_are_unique_and_plays_are_possible():
    every = [one for study in STUDIES.values() for one in study]
    assert len({one.name for one in every}) == len(every)
    for one in every:
        trained = policy_for(load_task(one.task), one.clone).executor
        for play in one.plays:
            play.executor(trained, 0.02)


def test_variants_of_improvement_differ_in_the_improvement_alone():
    clones = {repr(one.clone) for one in STUDIES["identity"]}
    assert len(clones) == 1
    assert len({repr(one.improve) for one in STUDIES["identity"]}) == len(STUDIES["identity"])


def test_there_is_no_such_study():
    with pytest.raises(InputError, match="'clone': did you mean 'clones'"):
        learning.Learning(studies=("clone",))
    with pytest.raises(InputError, match="experiment 'improve-transfer_cub-0'"):
        learning.Learning(only=("improve-transfer_cub-0",))
    with pytest.raises(InputError, match="experiment 'speed-critic'"):
        learning.Learning(studies=("few",), only=("speed-critic",))


@pytest.mark.slow
def test_an_experiment_is_run_judged_told_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.setattr(learning, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(learning, "ROWS", 2)
    one = Experiment(
        "speed-tiny",
        "transfer_cube",
        demos=DemonstrateConfig(episodes=2),
        clone=CloneConfig(updates=100, batch=32, width=16, depth=1),
        improve=ImproveConfig(
            iterations=1,
            groups=1,
            tries=2,
            fresh=2,
            update=SurrogateConfig(minibatch=16),
            judge_episodes=2,
        ),
        plays=(PlayConfig(), PlayConfig(execute=6, delay_ms=40.0, continued=True)),
        drift=True,
    )
    config = learning.Learning(episodes=2, folder=tmp_path / "runs")
    found = learning.run(one, config)
    assert [(j["policy"], j["physics"]) for j in found["judged"]] == [
        *[("clone", "table"), ("clone", "nominal")],
        *[("improved", "table"), ("improved", "nominal")] * 2,
    ]
    assert found["demonstrations"]["fastest_tenth_s"] <= found["demonstrations"]["median_s"]
    experts = learning.experts_of("transfer_cube", config)
    # Again: nothing is done twice.
    monkeypatch.setattr(learning, "evaluate", None)
    assert learning.run(one, config)["judged"] == found["judged"]
    assert learning.experts_of("transfer_cube", config) == experts
    # The clone that it was improved from is another one now.
    other = replace(one, clone=replace(one.clone, updates=200))
    monkeypatch.setattr(learning, "judgements", lambda *_: [])
    with pytest.raises(InputError, match=r"clone stage with other settings \(updates 100 -> 200\)"):
        learning.run(other, config)
    learning.beside([found], experts)
    assert set(found["experts"]) == {"human", "flawless"}
    assert all(("paired" in j) == (j["physics"] == "table") for j in found["judged"])
    learning.told("speed", [found])
    assert "speed-tiny" in capsys.readouterr().out
    late = {**found, "name": "clone-tiny-flow"}
    for study, pictures in (
        ("speed", {"speed-curves.png", "speed.png"}),
        ("clones", {"drift.png"}),
    ):
        results = [found] if study == "speed" else [late]
        results = [
            {k: v for k, v in r.items() if study == "speed" or k != "curve"} for r in results
        ]
        made = draw(study, results, experts, config.folder)
        assert pictures <= {path.name for path in made}
    learning.keep("speed", [found])
    learning.keep("speed", [{**found, "name": "speed-other"}])
    kept = json.loads((tmp_path / "results" / "speed.json").read_text())
    assert [r["name"] for r in kept] == ["speed-tiny", "speed-other"]
    assert "success" not in kept[0]["judged"][0]


def test_pairs_are_of_the_same_starts():
    one, other = ({"success": won} for won in ([1, 1, 0, 0, 1], [1, 0, 1, 1]))
    assert learning.paired(one, other) == {"alone": 1, "other_alone": 2}
    assert learning.paired(one, one) == {"alone": 0, "other_alone": 0}


def test_data_is_shared_where_demonstrations_are_equal():
    one = STUDIES["speed"][0]
    assert one.data == replace(one, name="x", source="retimed").data
    assert STUDIES["one"][0].data != one.data
