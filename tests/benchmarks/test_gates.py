"""What the benchmarks decide on: objects through the table, and ratios against baselines."""

import mujoco
import numpy as np
import pytest
from benchmarks import accelerator, baselines
from benchmarks.common import Result
from benchmarks.physics import finer
from benchmarks.stability import Table
from benchmarks.throughput import Throughput

from regrasp.envs import TASKS, load_task
from regrasp.errors import InputError

SCENE = """<mujoco><worldbody>
  <geom name="table" type="box" size="0.6 0.4 0.02" pos="0 0 -0.02"/>
  <body name="thing"><freejoint/><geom size="0.02 0.02 0.02" pos="0 0 0.03" type="box"/></body>
</worldbody></mujoco>"""


def watch(*path: tuple[float, float], fresh_at: int = -1) -> Table:
    """A table under which an object's frame went this way (x, z)."""
    table = Table(mujoco.MjModel.from_xml_string(SCENE), 1, 0.005)
    for step, (x, z) in enumerate(path):
        table.look(np.array([[x, 0, z, 1, 0, 0, 0]]), np.array([step == fresh_at]))
    return table


def test_an_object_through_the_table_counts_once():
    table = watch((0, 0.0), (0, -0.04), (0, -0.06), (0, -0.09))
    assert table.through == 1
    assert table.lowest_m[0] == pytest.approx(-0.06)


def test_the_centre_of_mass_counts_not_the_frame():
    assert watch((0, 0.0), (0, -0.03)).through == 0


def test_falling_off_an_edge_is_allowed():
    assert watch((0.5, 0.0), (0.65, 0.0), (0.65, -0.06), (0.5, -0.09)).through == 0


def test_a_new_episode_starts_above():
    assert watch((0.65, -0.06), (0, 0.0), (0, -0.06), fresh_at=1).through == 1


@pytest.mark.parametrize("dof", ["full", "trilinear"])
def test_all_that_is_soft_is_looked_at_where_it_is(dof: str):
    spec = mujoco.MjSpec.from_string(SCENE)
    root = spec.worldbody.add_body(name="soft", pos=(0.1, 0, 0.1), quat=(0.8, 0, 0, 0.6))
    root.make_flex(
        "soft", type="grid", dim=3, dof=dof, count=[3, 2, 2], spacing=[0.05] * 3, mass=0.01
    )
    model = spec.compile()
    table, data = Table(model, 1, 0.005), mujoco.MjData(model)
    assert table.names == ["thing"] + ["soft"] * (12 if dof == "full" else 8)
    data.qpos[7:] = np.random.default_rng(0).normal(0, 0.01, model.nq - 7)
    never = np.array([False])
    for height, through in ((0.03, 0), (-0.2, len(table.names) - 1)):
        data.qpos[9::3] += height
        mujoco.mj_forward(model, data)
        table.look(data.qpos[None], never)
        assert table.lowest_m[1:].min() == pytest.approx(data.flexvert_xpos[:, 2].min())
        assert table.through == through


@pytest.mark.parametrize("name", TASKS)
def test_a_finer_step_leaves_contacts_as_they_are(name: str):
    task = load_task(name)
    usual, fine = (one.scene().compile() for one in (task, finer(task)))
    assert fine.opt.timestep == pytest.approx(usual.opt.timestep / 2)
    for field in ("geom_solref", "geom_solimp", "flex_solref", "flex_solimp"):
        np.testing.assert_array_equal(getattr(fine, field), getattr(usual, field), err_msg=field)


def test_a_sweep_has_no_baseline():
    with pytest.raises(InputError, match="sweep with gate"):
        Throughput(sweep=True, gate=True)
    with pytest.raises(InputError, match="sweep with update"):
        Throughput(sweep=True, update=True)


def test_baselines_hold_ratios_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(baselines, "FOLDER", tmp_path)
    kept = [Result("a_ratio", 0.9, "1", "higher"), Result("a_time", 3.0, "ms", "lower")]
    with pytest.raises(InputError, match="--update"):
        baselines.worse(kept)
    baselines.update(kept)
    assert baselines.worse(kept) == []
    assert baselines.worse([Result("a_ratio", 0.82, "1", "higher")]) == []
    assert len(baselines.worse([Result("a_ratio", 0.8, "1", "higher")])) == 1
    assert baselines.worse([Result("a_time", 9.0, "ms", "lower")]) == []


def test_an_accelerator_is_held_to_its_baseline_and_to_the_target(tmp_path, monkeypatch):
    monkeypatch.setattr(baselines, "FOLDER", tmp_path)

    def ratio(value: float) -> list[Result]:
        return [Result("a_peer_ratio", value, "1", "higher", "some device")]

    baselines.update(ratio(2.0), "some device")
    assert accelerator.missed(ratio(2.0)) == []
    assert len(accelerator.missed(ratio(1.5))) == 1
    assert len(accelerator.missed(ratio(0.5))) == 2


def test_what_an_accelerator_cannot_measure_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"sizes \(8, 0\): choose one or more, each 1 or more"):
        accelerator.Accelerator(sizes=(8, 0))
    with pytest.raises(InputError, match="blocks 0"):
        accelerator.Accelerator(blocks=0)
    with pytest.raises(InputError, match=r"no scene .*make one with --copy"):
        accelerator.scene(tmp_path / "none.xml")


def test_what_is_only_to_be_looked_at_is_left_out_of_a_scene(tmp_path):
    seen = '<mesh name="m" vertex="0 0 0 1 0 0 0 1 0 0 0 1"/>'
    collides = 'contype="0" conaffinity="0"'
    text = (
        f"<mujoco><asset>{seen}</asset><worldbody><body><freejoint/>"
        f'<inertial mass="1" pos="0 0 0" diaginertia="1 1 1"/><geom size="1"/>'
        f'<geom type="mesh" mesh="m" {collides}/></body></worldbody></mujoco>'
    )
    path = tmp_path / "scene.xml"
    path.write_text(text)
    model = accelerator.scene(path).compile()
    assert (model.ngeom, model.nmesh, model.body_mass[1]) == (1, 0, 1)
    path.write_text(text.replace(collides, ""))
    with pytest.raises(InputError, match="the mesh m collides"):
        accelerator.scene(path)
