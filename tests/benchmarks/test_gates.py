"""What the benchmarks decide on: objects through the table, and ratios against baselines."""

import mujoco
import numpy as np
import pytest
from benchmarks import baselines
from benchmarks.common import Result
from benchmarks.stability import Table

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
