"""Teachers, demonstrations and bundles in another workcell than ALOHA's."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import regrasp
from regrasp import assets as package
from regrasp.assets import ALOHA, WORKCELLS, load_workcell
from regrasp.envs import episode_keys, load_task
from regrasp.envs.tasks import able
from regrasp.errors import InputError
from regrasp.rl.bundle import BUNDLES, load_bundle, workcell_of
from regrasp.rl.demonstrate import DemonstrateConfig, demonstrate
from regrasp.rl.episodes import Episodes
from regrasp.rl.evaluate import play_episodes
from regrasp.rl.experts import load_expert
from regrasp.rl.experts.ik import Reach
from regrasp.rl.experts.script import FLAWLESS
from regrasp.road import JudgeConfig, Road, judge_bundle

OTHERS = [(task, cell) for cell in WORKCELLS if cell != ALOHA for task in able(cell)]
ONE = JudgeConfig(episodes=1, rows=1)


@pytest.mark.parametrize(("task", "cell"), OTHERS)
def test_the_teacher_shows_the_task_there(task: str, cell: str):
    env = regrasp.make(task, 4, workcell=cell, threads=1, autoreset=AutoresetMode.DISABLED)
    keys = episode_keys(0, "demonstrate", 0, 4)
    assert play_episodes(env, load_expert(task, "flawless", env.task), keys, 0, 0).success.all()


def changed(folder: Path, **changes) -> str:
    """The table of the SO-101 with some parts of it changed."""
    assets = Path(package.__file__).parent
    table = json.loads((assets / "so101.json").read_text())
    path = folder / "mine.json"
    path.write_text(json.dumps({**table, "model": str(assets / "so101.xml"), **changes}))
    return str(path)


@pytest.mark.parametrize("task", ["route_cable", "lift_pot", "peg_insertion"])
def test_a_teacher_asks_for_the_poses_of_another_arm(task: str, tmp_path: Path):
    cell = json.loads((Path(package.__file__).parent / "so101.json").read_text())["workcell"]
    path = changed(tmp_path, workcell={**cell, "tasks": {task: {}}})
    env = regrasp.make(task, 1, workcell=path, threads=1, autoreset=AutoresetMode.DISABLED)
    keys = episode_keys(0, "demonstrate", 0, 1)
    with pytest.raises(
        InputError, match=r"have 6 joint angles, the arm of .*mine\.json has 5: .*over_rad"
    ):
        play_episodes(env, load_expert(task, "flawless", env.task), keys, 0, 0)
    wrong = {task: {"expert": {"over_rad": "down"}}}
    path = changed(tmp_path, workcell={**cell, "tasks": wrong})
    with pytest.raises(InputError, match=f"figure over_rad of the expert of {task} is 'down'"):
        load_expert(task, "flawless", load_task(task, path))


def test_the_table_of_the_example_fits_tasks_and_teachers():
    """Its model is one of MuJoCo Menagerie, whose files are not here."""
    path = str(Path(__file__).parents[2] / "examples" / "yam.json")
    assert set(able(path)) == {"transfer_cube", "hand_over"}
    for task in able(path):
        assert load_expert(task, "flawless", load_task(task, path)).manner == FLAWLESS


def test_a_task_that_is_none_is_refused(tmp_path: Path):
    cell = json.loads((Path(package.__file__).parent / "so101.json").read_text())["workcell"]
    cell["tasks"]["transfer_cub"] = {}
    with pytest.raises(InputError, match=r"transfer_cub.*transfer_cube"):
        load_task("transfer_cube", changed(tmp_path, workcell=cell))


def test_a_teacher_leads_a_servo_that_damps_as_one_whose_joint_does(tmp_path: Path):
    joints = json.loads((Path(package.__file__).parent / "so101.json").read_text())["joints"]
    for joint in joints:
        servo = joint["servo"]
        servo |= {"kv": servo["kv"] + servo["damping"], "damping": 0.0}
    said = []
    for cell in ("so101", changed(tmp_path, joints=joints)):
        env = regrasp.make("transfer_cube", 1, workcell=cell, threads=1)
        teacher = load_expert("transfer_cube", "flawless", env.task)
        env.begin(np.asarray(episode_keys(0, "demonstrate", 0, 1)))
        view = env.view()
        teacher.start(view, np.zeros(1, int))
        said.append(np.stack([teacher.act(step, view) for step in range(60)]))
    assert np.abs(np.diff(said[0], axis=0)).max() > 0.01
    np.testing.assert_allclose(said[0], said[1], atol=1e-6)


def test_what_a_model_compensates_is_no_sag(tmp_path: Path):
    assets = Path(package.__file__).parent
    text = (assets / "so101.xml").read_text().replace("<body ", '<body gravcomp="1" ')
    (tmp_path / "light.xml").write_text(text)
    heavy = Reach(load_workcell("so101"), "right")
    light = Reach(load_workcell(changed(tmp_path, model="light.xml")), "right")
    assert np.abs(heavy.command(heavy.home) - heavy.home).max() > 0.01
    np.testing.assert_allclose(light.command(light.home), light.home, atol=1e-9)


def test_who_cannot_reach_is_told_by_how_much(tmp_path: Path):
    cell = json.loads((Path(package.__file__).parent / "so101.json").read_text())["workcell"]
    cell["tasks"]["transfer_cube"]["expert"]["meet_m"] = [0.0, 0.0, 0.9]
    table = changed(tmp_path, workcell=cell)
    with pytest.raises(InputError, match=r"0 of 10 attempts .* up to \d{3} mm out of reach"):
        demonstrate("transfer_cube", tmp_path / "demos", DemonstrateConfig(1), workcell=table)


def test_demonstrations_know_their_workcell(tmp_path: Path):
    demonstrate("transfer_cube", tmp_path / "demos", DemonstrateConfig(1), workcell="so101")
    found = Episodes.open(tmp_path / "demos")
    assert (found.workcell, found.header.robot) == ("so101", "so101")
    found.header.check("transfer_cube", load_task("transfer_cube", "so101"))
    with pytest.raises(InputError, match=r"workcell 'so101'.*'aloha'"):
        found.header.check("transfer_cube", load_task("transfer_cube"))
    with pytest.raises(InputError, match=r"workcell 'so101'.*'aloha'"):
        Road("transfer_cube", folder=tmp_path).shown()
    assert len(Road("transfer_cube", folder=tmp_path, workcell="so101").shown()) == 1


# ---- bundles ----


def test_a_bundle_for_another_workcell_is_refused_by_name():
    with pytest.raises(InputError, match="commands the workcell 'aloha', not 'so101'"):
        judge_bundle("transfer_cube", None, "nominal", ONE, workcell="so101")


def bundle_of(cell: str, folder: Path) -> Path:
    """A shipped bundle that says it was made for another workcell."""
    shutil.copytree(BUNDLES / "transfer_cube", folder)
    meta = json.loads((folder / "policy.json").read_text())
    (folder / "policy.json").write_text(json.dumps({**meta, "workcell": cell}))
    return folder


def test_a_bundles_own_workcell_is_the_default(tmp_path: Path):
    runner = load_bundle(bundle_of("so101", tmp_path / "bundle"))
    assert workcell_of(runner) == workcell_of(runner, "so101") == "so101"
    with pytest.raises(InputError, match="commands the workcell 'so101', not 'aloha'"):
        workcell_of(runner, ALOHA)
    assert workcell_of(load_bundle("transfer_cube")) == ALOHA


def test_a_bundle_for_a_workcell_that_is_not_here_asks_for_its_table(tmp_path: Path):
    runner = load_bundle(bundle_of("crane", tmp_path / "bundle"))
    with pytest.raises(InputError, match=r"'crane'.*--workcell FILE.json"):
        workcell_of(runner)
