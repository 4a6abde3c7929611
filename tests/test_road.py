"""The road: stages in order, done once, under settings that are kept."""

import json
import shlex
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.recordings import write_sage

from regrasp import road
from regrasp.assets import WORKCELLS
from regrasp.envs import BatchEnv, Executor, Snapshot
from regrasp.errors import InputError
from regrasp.randomization import table_for
from regrasp.record import Record, from_settings, hardware
from regrasp.rl.bundle import load_bundle
from regrasp.rl.clone import CloneConfig
from regrasp.rl.demonstrate import DemonstrateConfig
from regrasp.rl.episodes import Episodes, EpisodeWriter
from regrasp.rl.evaluate import Evaluation
from regrasp.rl.generate import GenerateConfig
from regrasp.rl.improve_config import ImproveConfig
from regrasp.rl.retime import RetimeConfig
from regrasp.road import ExportConfig, JudgeConfig, Road, judge_bundle, kept_moments


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its time and content."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def settings(folder: Path, stage: str) -> dict[str, Any]:
    return json.loads((folder / stage / "config.json").read_text())


@pytest.fixture
def run(finished, tmp_path: Path) -> Road:
    """A copy of the finished run, to be changed."""
    return Road("transfer_cube", 3, Path(shutil.copytree(finished.folder, tmp_path / "run")))


# ---- a finished run ----


def test_every_stage_leaves_its_results(finished):
    found = set(everything(finished.folder))
    stages = {"clone/params.npz", "improve/params.npz", "demos/meta/info.json", "report.html"}
    bundles = {
        f"bundle/{p}/policy.{kind}" for p in ("clone", "improved") for kind in ("json", "onnx")
    }
    policies = ("demonstrator", "clone", "improved")
    judged = {f"eval/{policy}-{p}.json" for policy in policies for p in ("nominal", "table")}
    assert stages | bundles | judged | {"run.json"} <= found
    assert not [name for name in found if "checkpoint" in name or "/." in name]


def test_the_record_says_what_ran_and_what_was_left_out(finished):
    record = json.loads((finished.folder / "run.json").read_text())
    assert (record["task"], record["seed"]) == ("transfer_cube", 3)
    assert {part["what"] for part in record["skipped"]} == {"the videos", "the gap to a real arm"}
    assert {"demos", "clone", "improve", "export", "eval"} <= set(record["seconds"])
    assert min(record["seconds"].values()) > 0
    assert {row["field"] for row in record["table"]} >= {"cube mass", "command latency"}
    assert shlex.split(record["command"])[1:-2] == list(finished.command)
    assert record["versions"]["mujoco"].startswith("4.")


def test_the_record_has_the_table_of_the_arms_that_were_used(tmp_path: Path):
    tables = []
    for cell in WORKCELLS:
        Record(tmp_path / cell).describe("transfer_cube", 0, "", [], cell)
        tables.append(json.loads((tmp_path / cell / "run.json").read_text())["table"])
        wanted = table_for("transfer_cube", cell).to_json()
        assert tables[-1] == json.loads(json.dumps(wanted))
    assert tables[0] != tables[1]


def test_the_runs_seed_is_every_training_stages(finished):
    assert json.loads((finished.folder / "demos.json").read_text())["seed"] == 3
    assert [settings(finished.folder, s)["seed"] for s in ("clone", "improve")] == [3, 3]
    assert (
        settings(finished.folder, "eval")["seed"] == JudgeConfig().seed
    )  # The same for every run.


def test_a_bundle_says_what_its_policy_came_out_of(finished):
    for name, stages in {"clone": ["clone"], "improved": ["clone", "improve"]}.items():
        told = json.loads((finished.folder / "bundle" / name / "policy.json").read_text())
        origin = told["provenance"]
        assert (origin["policy"], origin["seed"]) == (name, 3)
        assert [stage for stage in ("clone", "improve") if stage in origin] == stages
        for stage in stages:
            assert origin[stage] == settings(finished.folder, stage)
        shown = origin["demonstrations"]
        asked = json.loads((finished.folder / "demos.json").read_text())
        assert shown["episodes"] == shown["config"]["episodes"] == 2
        assert shown["config"] == {n: asked[n] for n in shown["config"]}
        assert shown["manner"] == Episodes.open(finished.folder / "demos").meta["manner"]


def test_a_policy_improved_in_another_folder_knows_its_clone_and_what_that_was_shown(
    finished, tmp_path: Path
):
    """Neither settings nor demonstrations lie in the folder itself, but for those of the clone."""
    config = from_settings(CloneConfig, settings(finished.folder, "clone"))
    there = Road("transfer_cube", 5, tmp_path / "there")
    shutil.copytree(finished.folder / "clone", there.folder / "clone")
    brought = asdict(replace(config, data=str(finished.folder / "demos")))
    (there.folder / "clone" / "config.json").write_text(json.dumps(brought))
    there.improve(ImproveConfig(iterations=1, groups=1, tries=2, fresh=1, judge_episodes=2))
    told = json.loads((there.export()["improved"] / "policy.json").read_text())["provenance"]
    # But for where on this machine.
    assert told["clone"] == {**brought, "data": "run/demos"}
    assert told["improve"] == settings(there.folder, "improve")
    shown = Episodes.open(finished.folder / "demos")
    assert told["demonstrations"] == {
        "episodes": 2,
        **{n: shown.meta[n] for n in ("version", "config", "manner")},
    }


def test_an_improved_policy_is_improved_further_in_a_folder_of_its_own(finished, tmp_path: Path):
    small = ImproveConfig(iterations=1, groups=1, tries=2, fresh=1, judge_episodes=2, seed=5)
    there = Road("transfer_cube", 5, tmp_path / "there")
    there.improve(replace(small, speed=1.5), start=finished.folder)
    there.improve(replace(small, speed=1.5))  # As what it started from is known.
    first, second = (
        (finished.folder / "improve" / "params.npz").read_bytes(),
        (there.folder / "clone" / "params.npz").read_bytes(),
    )
    assert first == second
    other = tmp_path / "other"
    shutil.copytree(finished.folder / "improve", other / "improve")
    (other / "improve" / "params.npz").write_bytes(b"of another run")
    with pytest.raises(InputError, match=r"goes on from another run than .*other: choose another"):
        there.improve(replace(small, speed=1.5), start=other)
    told = json.loads((there.export()["improved"] / "policy.json").read_text())["provenance"]
    assert told["start"]["improve"] == settings(finished.folder, "improve")
    assert told["improve"] == settings(there.folder, "improve") != told["start"]["improve"]


@pytest.mark.parametrize(
    ("task", "start", "says"),
    [
        ("transfer_cube", "nowhere", "no finished improvement in nowhere.*regrasp improve"),
        ("lift_pot", None, "transfer_cube"),
    ],
)
def test_what_cannot_be_gone_on_from_is_refused(
    finished, tmp_path: Path, task: str, start: str | None, says: str
):
    there = Road(task, 5, tmp_path / "there")
    with pytest.raises(InputError, match=says):
        there.improve(ImproveConfig(), start=Path(start) if start else finished.folder)
    assert not (there.folder / "clone").exists()


def test_a_clone_is_not_taken_the_place_of(run: Road, finished):
    before = everything(run.folder)
    with pytest.raises(InputError, match="a clone of its own: choose another --folder"):
        run.improve(
            from_settings(ImproveConfig, settings(run.folder, "improve")), start=finished.folder
        )
    assert everything(run.folder) == before


def test_finished_stages_are_not_done_again(run: Road):
    before, spent = everything(run.folder), run.record.spent()
    demos = json.loads((run.folder / "demos.json").read_text())
    run.demos(DemonstrateConfig(**demos))
    run.clone(from_settings(CloneConfig, settings(run.folder, "clone")))
    run.improve(from_settings(ImproveConfig, settings(run.folder, "improve")))
    run.export()
    run.judge(JudgeConfig(**settings(run.folder, "eval")))
    after = everything(run.folder)
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == ["seconds.json"]
    assert [run.record.spent()[stage] for stage in ("clone", "improve")] == [
        spent[stage] for stage in ("clone", "improve")
    ]


def test_recordings_are_compared_once_and_what_is_lost_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_sage(tmp_path / "data" / "sage_so101" / "wave")
    monkeypatch.setenv("REGRASP_DATA", str(tmp_path / "data"))
    road = Road("transfer_cube", 0, tmp_path / "run")
    assert road.compare(video=False) == []
    assert (tmp_path / "run" / "gap_replay.svg").exists()
    assert not (tmp_path / "run" / "gap_film.mp4").exists()
    before = everything(road.folder)
    road.compare(video=False)
    assert everything(road.folder) == before
    (road.folder / "gap_film.json").unlink()
    road.compare(video=False)
    again = everything(road.folder)
    del before["seconds.json"], again["seconds.json"]
    assert {k: v[1] for k, v in again.items()} == {k: v[1] for k, v in before.items()}


def test_a_lost_stage_is_made_again_the_same(run: Road):
    """What was judged before comes out again, number for number."""
    path = run.folder / "eval" / "improved-table.json"
    before = path.read_text()
    path.unlink()
    run.judge(JudgeConfig(**settings(run.folder, "eval")))
    assert path.read_text() == before


def test_what_is_exported_may_be_played_in_shorter_pieces(run: Road):
    known = run.folder / "bundle" / "improved" / "policy.json"
    before = json.loads(known.read_text())
    run.export(ExportConfig(execute=2))
    after = json.loads(known.read_text())
    assert after == {**before, "execute": 2}
    assert load_bundle(run.folder).execute == 2
    with pytest.raises(InputError, match="execute 1000 of a chunk of"):
        run.export(ExportConfig(execute=1000))
    assert json.loads(known.read_text()) == after
    run.export()
    assert json.loads(known.read_text()) == before


def test_a_half_export_is_smaller_and_all_but_the_same(run: Road):
    folder = run.folder / "bundle" / "improved"
    whole, before = (folder / "policy.onnx").stat().st_size, load_bundle(folder)
    run.export(ExportConfig(half=True))
    after = load_bundle(folder)
    assert (folder / "policy.onnx").stat().st_size < whole
    assert json.loads((folder / "policy.json").read_text())["weights"] == "float16"
    obs = {
        one["name"]: np.full((2, *one["shape"]), 0.1, np.float32)
        for one in after.meta["observations"]
    }
    chunks, halved = (r.chunks(obs, np.zeros((2, r.noise_size))) for r in (before, after))
    assert 0 < np.abs(chunks - halved).max() < 0.05
    run.export()


def test_threads_are_no_setting(run: Road):
    demos = json.loads((run.folder / "demos.json").read_text())
    assert len(run.demos(DemonstrateConfig(**demos, threads=2))) == 2


@pytest.mark.parametrize(
    ("stage", "change", "says"),
    [
        ("demos", {"episodes": 3}, "demos stage with other settings.*episodes 2 -> 3"),
        ("clone", {"updates": 200}, "clone stage with other settings.*updates 100 -> 200"),
        ("improve", {"tries": 4}, "improve stage with other settings.*tries 2 -> 4"),
        ("judge", {"episodes": 9, "rows": 1}, "episodes 2 -> 9, rows 2 -> 1"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(
    finished, stage: str, change: dict[str, Any], says: str
):
    before = everything(finished.folder)
    road = Road("transfer_cube", 3, finished.folder)
    name = {"demos": "demos.json", "judge": "eval/config.json"}.get(stage, f"{stage}/config.json")
    kinds = {
        "demos": DemonstrateConfig,
        "clone": CloneConfig,
        "improve": ImproveConfig,
        "judge": JudgeConfig,
    }
    config = from_settings(kinds[stage], json.loads((finished.folder / name).read_text()))
    with pytest.raises(InputError, match=says):
        getattr(road, stage)(replace(config, **change))
    assert everything(finished.folder) == before


@pytest.mark.parametrize("content", ['{"updates": 100, "colour": "red"}', "[1, 2]", "{"])
def test_settings_that_are_not_ours_are_refused(run: Road, content: str):
    (run.folder / "clone" / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json"):
        run.export()
    with pytest.raises(InputError, match=r"other settings|cannot be read"):
        run.clone(CloneConfig())


# ---- faster copies ----


def test_faster_copies_are_cloned_and_improved_when_asked_for(run: Road):
    for stage in ("clone", "improve"):
        shutil.rmtree(run.folder / stage)
    fast = run.retime(RetimeConfig(rounds=1, tries=4))
    assert np.median(fast.lengths) <= np.median(run.shown().lengths)
    small = CloneConfig(
        updates=2, batch=8, width=8, depth=1, source="retimed", fastest=0.5, speed=1.2
    )
    policy, params = run.clone(small)
    assert policy.wanted == (("speed", 1.2),)
    assert np.isfinite(params["obs_mean"]).all()
    again = everything(run.folder / "retimed")
    assert len(run.retime(RetimeConfig(rounds=1, tries=4))) == len(fast)
    assert everything(run.folder / "retimed") == again
    config = ImproveConfig(iterations=1, groups=1, tries=2, fresh=1, judge_episodes=2)
    run.improve(config)
    with pytest.raises(InputError, match="retime stage with other settings"):
        run.retime(RetimeConfig(rounds=2, tries=4))


# ---- demonstrations from elsewhere ----


def test_demonstrations_from_elsewhere_are_cloned_if_they_replay(finished, tmp_path: Path):
    data = Path(shutil.copytree(finished.folder / "demos", tmp_path / "data"))
    config = CloneConfig(updates=2, batch=8, width=8, depth=1, data=str(data))
    Road("transfer_cube", 0, tmp_path / "good").clone(config)
    assert (tmp_path / "good" / "clone" / "params.npz").exists()
    episodes = Episodes.open(data)
    with EpisodeWriter.to(tmp_path / "bad", episodes.header) as writer:
        writer.add(episodes[0], episodes.snapshots(0))
        lost = replace(episodes[1], action=np.zeros_like(episodes[1].action))
        writer.add(lost, episodes.snapshots(1))
    bad = replace(config, data=str(tmp_path / "bad"))
    with pytest.raises(InputError, match=r"demonstrations 1 of .*\(1 of 2\) do not succeed"):
        Road("transfer_cube", 0, tmp_path / "never").clone(bad)
    assert not (tmp_path / "never").exists()


def test_demonstrations_of_another_task_are_refused(finished, tmp_path: Path):
    config = CloneConfig(data=str(finished.folder / "demos"))
    with pytest.raises(InputError, match="task 'transfer_cube', hand_over has 'hand_over'"):
        Road("hand_over", 0, tmp_path / "run").clone(config)


# ---- order ----


def test_a_stage_that_comes_too_early_says_which_is_first(tmp_path: Path):
    road = Road("transfer_cube", 0, tmp_path / "run")
    for stage, config, first in (
        ("clone", CloneConfig(), "regrasp demos transfer_cube"),
        ("clone", CloneConfig(source="retimed"), "regrasp retime transfer_cube"),
        ("clone", CloneConfig(source="generated"), "regrasp generate transfer_cube"),
        ("retime", RetimeConfig(), "regrasp demos transfer_cube"),
        ("generate", GenerateConfig(), "regrasp demos transfer_cube"),
        ("improve", ImproveConfig(), "regrasp clone transfer_cube"),
    ):
        with pytest.raises(InputError, match=f"run `{first}` first"):
            getattr(road, stage)(config)
    with pytest.raises(InputError, match="run `regrasp clone transfer_cube` first"):
        road.export()
    with pytest.raises(InputError, match="no run at"):
        road.report()
    assert not list(tmp_path.iterdir())


def test_demonstrations_of_another_model_are_refused(run: Road):
    shutil.rmtree(run.folder / "improve")
    head = run.folder / "demos" / "meta" / "regrasp.json"
    meta = json.loads(head.read_text())
    meta["meta"]["fingerprint"] = "of another model"
    head.write_text(json.dumps(meta))
    for path in (run.folder / "demos" / "snapshots").iterdir():
        replace(Snapshot.load(path), fingerprint="of another model").save(path)
    with pytest.raises(InputError, match="of another model or version"):
        run.improve(ImproveConfig(groups=2, tries=2, fresh=2))
    assert not (run.folder / "improve").exists()


@pytest.mark.parametrize(("task", "seed"), [("transfer_cub", 0), ("transfer_cube", -1)])
def test_an_impossible_road_is_refused(tmp_path: Path, task: str, seed: int):
    with pytest.raises(InputError, match=r"transfer_cub'|seed -1"):
        Road(task, seed, tmp_path)


# ---- parts ----


@pytest.mark.parametrize(("limit", "about"), [("KEPT", 1), ("KEPT", 16), ("MOST_KEPT", 40)])
def test_kept_moments_are_the_demonstrations_own(finished, monkeypatch, limit: str, about: int):
    episodes = Episodes.open(finished.folder / "demos")
    # As few are kept as chunks allow, but of few demonstrations more, and of many fewer.
    steps = int(sum(episodes.lengths))
    monkeypatch.setattr(road, limit, steps // about)
    every = steps // (steps // about)
    moments, phases = kept_moments(episodes, 16)
    counts = [-(-n // every) for n in episodes.lengths]
    assert len(moments) == len(phases) == sum(counts)
    assert (moments.carry["step"] % every == 0).all()
    assert phases.min() == 0
    assert phases.max() < 1
    np.testing.assert_allclose(
        phases, moments.carry["step"] / np.repeat(episodes.lengths, counts), atol=1e-6
    )
    np.testing.assert_array_equal(moments.row[1], episodes.snapshots(0).row[every])


def test_a_policy_is_improved_judged_and_run_as_it_was_trained_to_be(
    run: Road, monkeypatch: pytest.MonkeyPatch
):
    """Its bundle says how its chunks are played, and improvement plays them so."""
    asked = Executor(CloneConfig().chunk, CloneConfig().execute, ensemble=CloneConfig().ensemble)
    assert run._actor("clone")[1] == run._actor("improved")[1] == asked
    played = []

    def look(env: BatchEnv, *rest: Any) -> None:
        played.append(env.executor)
        raise KeyboardInterrupt

    config = run.record.kept("improve", ImproveConfig)
    monkeypatch.setattr(road, "Improver", look)
    run.improve(config)
    assert played == []  # What has ended is read.
    (run.folder / "improve" / "params.npz").unlink()
    with pytest.raises(KeyboardInterrupt):
        run.improve(config)
    assert played == [asked]


def test_a_bundle_is_judged_as_it_was_in_its_run(finished):
    data = json.loads((finished.folder / "eval" / "clone-nominal.json").read_text())
    config = JudgeConfig(**settings(finished.folder, "eval"))
    bundle = finished.folder / "bundle" / "clone"
    again, _ = judge_bundle(str(bundle), "transfer_cube", "nominal", config)
    assert again.to_json() == Evaluation.from_json(data).to_json()


def test_a_bundle_of_another_task_is_refused(run: Road):
    path = run.folder / "bundle" / "clone" / "policy.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "task": "fold_towel"}))
    with pytest.raises(InputError, match="does 'fold_towel', not 'transfer_cube'"):
        judge_bundle(str(path.parent), "transfer_cube", "nominal", JudgeConfig(1, 1))


def test_a_bundle_is_judged_at_another_difficulty(run: Road):
    """Shown no more than one step, nobody succeeds, and the result says what was asked."""
    bundle = str(run.folder / "bundle" / "clone")
    found, _ = judge_bundle(bundle, None, "nominal", JudgeConfig(2, 2), figures={"horizon_s": 0.02})
    assert (found.rate.successes, found.horizon_s) == (0, 0.02)
    assert found.task == "transfer_cube horizon_s=0.02"
    with pytest.raises(InputError, match="unknown figure of transfer_cube 'horizon': did you mean"):
        judge_bundle(bundle, None, "nominal", JudgeConfig(1, 1), figures={"horizon": 1.0})


def test_the_hardware_is_plain_data():
    found = hardware()
    assert json.loads(json.dumps(found)) == found
    assert found["cores"] >= 1
    assert found["memory_gib"] > 0
