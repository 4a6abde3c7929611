"""Tasks in another workcell than ALOHA's: what they promise there, and what is refused."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import regrasp
from regrasp import BatchEnv
from regrasp import assets as assets_package
from regrasp.assets import ALOHA, WORKCELLS, load_workcell
from regrasp.envs import TASKS, load_task
from regrasp.envs.certify import CertifyConfig, certify
from regrasp.envs.tasks import able
from regrasp.errors import InputError
from regrasp.randomization import table_for

ASSETS = Path(assets_package.__file__).parent
OTHERS = [(task, cell) for cell in WORKCELLS if cell != ALOHA for task in able(cell)]
MAKE = partial(regrasp.make, randomize="table")


@pytest.fixture(scope="module", params=OTHERS, ids="-".join)
def env(request: pytest.FixtureRequest) -> BatchEnv:
    task, cell = request.param
    return MAKE(task, 4, workcell=cell, threads=1, autoreset=AutoresetMode.DISABLED)


def test_aloha_can_do_everything_and_the_so101_what_its_table_says():
    assert able() == tuple(TASKS)
    assert set(able("so101")) == {"transfer_cube", "hand_over", "fold_towel"}


def test_observations_and_actions_are_those_of_its_arms(env: BatchEnv):
    joints = env.workcell.arm.joint_names
    assert env.single_action_space.shape == (2 * len(joints),)
    obs, _ = env.reset(seed=0)
    assert obs in env.observation_space
    assert obs["joint_pos"].shape == (4, 2 * len(joints) - 2)
    assert obs["target"].shape == (4, 2 * len(joints))
    # At home the observed joints are home's, but for noise and offsets.
    home = env.control.home[env.control.is_arm]
    np.testing.assert_allclose(obs["joint_pos"], np.tile(home, (4, 1)), atol=0.05)


def test_objects_start_on_the_table_and_at_rest(env: BatchEnv):
    env.reset(seed=1)
    before = {name: np.array(pos) for name, pos in env.view().body_pos.items()}
    lay = {name: np.array(points) for name, points in env.view().flex.items()}
    assert before or lay
    half = env.workcell.table_half_m
    for _ in range(10):
        env.step(np.tile(env.control.home, (4, 1)))
    for name, pos in env.view().body_pos.items():
        assert (np.abs(before[name][:, :2]) < half).all()
        np.testing.assert_allclose(pos, before[name], atol=2e-3)
    for name, points in env.view().flex.items():
        # A cloth comes down from the height of a rod, and bends over it: straight, and onto the table.
        assert (np.abs(lay[name][..., :2]) < half).all()
        way = points.mean(axis=1) - lay[name].mean(axis=1)
        np.testing.assert_allclose(way[:, :2], 0, atol=0.015)
        assert (way[:, 2] < 0).all()
        assert np.min(points[..., 2]) > 0


def test_its_arms_servos_are_what_differs(env: BatchEnv):
    env.reset(seed=2)
    for row in range(4):
        factor = env.row_model(row).actuator_gainprm[:, 0] / env.model.actuator_gainprm[:, 0]
        assert ((factor > 0.6) & (factor < 1.31)).all()
        assert len(np.unique(factor)) == env.model.nu


@pytest.mark.parametrize(("task", "cell"), OTHERS)
def test_kept_states_have_the_same_future(task: str, cell: str):
    config = CertifyConfig((task,), ("cpu",), rows=6, steps=20, seconds=0.2, workcell=cell)
    found = certify(config, MAKE)
    assert found.passed, str(found)


def test_a_kept_state_of_another_workcell_is_refused(env: BatchEnv, randomised: BatchEnv):
    env.reset(seed=0)
    randomised.reset(seed=0)
    with pytest.raises(InputError, match="another model"):
        env.restore(randomised.take(0))


@pytest.mark.parametrize("task", sorted(set(TASKS) - set(able("so101"))))
def test_a_task_that_cannot_be_done_is_refused_by_name(task: str):
    wanted = f"so101 cannot do '{task}': choose transfer_cube or hand_over or fold_towel"
    for refused in (partial(MAKE, task), partial(table_for, task), partial(load_task, task)):
        with pytest.raises(InputError, match=wanted):
            refused(workcell="so101")
    with pytest.raises(InputError, match=wanted):
        certify(CertifyConfig((task,), workcell="so101"), MAKE)


def table_of_a_towel(folder: Path, towel: Any, **figures: Any) -> str:
    """A table of SO-101 arms that fold another towel."""
    found = json.loads((ASSETS / "so101.json").read_text())
    found["model"] = str(ASSETS / "so101.xml")
    figures = {"towel": towel, "rod_m": 0.028, **figures}
    found["workcell"]["tasks"] = {"fold_towel": {"task": figures}}
    (folder / "mine.json").write_text(json.dumps(found))
    return str(folder / "mine.json")


def test_a_thing_of_a_task_is_told_in_part(tmp_path: Path):
    cell = table_of_a_towel(tmp_path, {"size_m": [0.2, 0.24]})
    task, other = load_task("fold_towel", cell), load_task("fold_towel")
    assert task.rod_m == 0.028
    assert task.towel == replace(other.towel, size_m=(0.2, 0.24))


def test_a_part_that_a_thing_does_not_have_is_refused_by_name(tmp_path: Path):
    cell = table_of_a_towel(tmp_path, {"size": [0.2, 0.24]})
    with pytest.raises(InputError, match=r"part of the figure towel 'size': did you mean 'size_m'"):
        load_task("fold_towel", cell)


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({"start_x_m": [0.05]}, r"figure start_x_m is \(0\.05,\): give it as its default"),
        ({"start_x_m": 0.05}, r"figure start_x_m is 0\.05: give it as its default"),
        ({"start_x_m": ["a", "b"]}, r"figure start_x_m is \('a', 'b'\)"),
        ({"rod_m": "0.02"}, r"figure rod_m is '0\.02': give it as its default is given, 0\.017"),
        ({"rod_m": True}, "figure rod_m is True"),
        ({"rod_m": {"size_m": 1}}, "figure rod_m is {'size_m': 1}"),
        ({"towel": {"size_m": 0.2}}, r"part size_m of the figure towel is 0\.2"),
        ({"towel": 3}, "figure towel is 3"),
    ],
)
def test_figures_of_another_kind_are_refused_by_name(
    tmp_path: Path, figures: dict[str, Any], says: str
):
    with pytest.raises(InputError, match=says):
        load_task("fold_towel", table_of_a_towel(tmp_path, **{"towel": {}, **figures}))


def test_an_unknown_workcell_is_refused_with_the_choices():
    with pytest.raises(InputError, match=r"so100.*did you mean 'so101'"):
        MAKE("hand_over", workcell="so100")


def test_figures_in_a_workcell_stay_within_the_tasks_limits():
    """The bar starts beyond the other arm's reach on every workcell."""
    for cell in WORKCELLS:
        task, arms = load_task("hand_over", cell), load_workcell(cell)
        for x in task.start_x_m:
            for y in task.start_y_m:
                assert np.linalg.norm(arms.base_m("left") - [x, y]) > arms.reach_m + 0.02
