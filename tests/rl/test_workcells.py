"""Teachers, demonstrations and bundles in another workcell than ALOHA's."""

import json
import shutil
from pathlib import Path

import pytest
from gymnasium.vector import AutoresetMode

import regrasp
from regrasp import assets as package
from regrasp.assets import ALOHA, WORKCELLS
from regrasp.envs import episode_keys, load_task
from regrasp.envs.tasks import able
from regrasp.errors import InputError
from regrasp.rl.bundle import BUNDLES, load_bundle, workcell_of
from regrasp.rl.demonstrate import DemonstrateConfig, demonstrate
from regrasp.rl.episodes import Episodes
from regrasp.rl.evaluate import play_episodes
from regrasp.rl.experts import load_expert
from regrasp.road import JudgeConfig, Road, judge_bundle

OTHERS = [(task, cell) for cell in WORKCELLS if cell != ALOHA for task in able(cell)]
ONE = JudgeConfig(episodes=1, rows=1)


@pytest.mark.parametrize(("task", "cell"), OTHERS)
def test_the_teacher_shows_the_task_there(task: str, cell: str):
    env = regrasp.make(task, 4, workcell=cell, threads=1, autoreset=AutoresetMode.DISABLED)
    keys = episode_keys(0, "demonstrate", 0, 4)
    assert play_episodes(env, load_expert(task, "flawless", env.task), keys, 0, 0).success.all()


@pytest.mark.parametrize("task", ["route_cable", "lift_pot", "peg_insertion"])
def test_a_teacher_asks_for_the_poses_of_another_arm(task: str, tmp_path: Path):
    assets = Path(package.__file__).parent
    table = json.loads((assets / "so101.json").read_text())
    table["model"] = str(assets / "so101.xml")
    table["workcell"]["tasks"] = {task: {}}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(table))
    env = regrasp.make(task, 1, workcell=str(path), threads=1, autoreset=AutoresetMode.DISABLED)
    keys = episode_keys(0, "demonstrate", 0, 1)
    with pytest.raises(
        InputError, match=r"have 6 joint angles, the arm of .*mine\.json has 5: .*over_rad"
    ):
        play_episodes(env, load_expert(task, "flawless", env.task), keys, 0, 0)
    table["workcell"]["tasks"] = {task: {"expert": {"over_rad": "down"}}}
    path.write_text(json.dumps(table))
    with pytest.raises(InputError, match=f"figure over_rad of the expert of {task} is 'down'"):
        load_expert(task, "flawless", load_task(task, str(path)))


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
