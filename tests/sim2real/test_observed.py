"""What logs hold beside joints and commands, such as where objects are."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmarks.recordings import write_aloha, write_table

from regrasp.assets.arm import load_arm
from regrasp.rl.lerobot import Frames
from regrasp.rl.lerobot_write import write as write_frames
from regrasp.sim2real.log import Log
from regrasp.sim2real.readers import look
from regrasp.sim2real.readers.joints import terms
from regrasp.sim2real.survey import survey
from regrasp.sim2real.units import ReadConfig

PLAIN = ReadConfig(angles="rad", grippers="opening")


def logs_of(path) -> list[Log]:
    found = [one for _, one in look([path], None, PLAIN)]
    return [one for one in found if isinstance(one, Log)]


def test_terms_are_columns_with_all_their_numbers():
    rng = np.random.default_rng(0)
    columns = {
        f"{term}.{i}": rng.random(5) for term, n in (("a.b", 3), ("c", 12)) for i in range(n)
    }
    found = terms(dict(reversed(columns.items())))
    assert {term: values.shape for term, values in found.items()} == {"a.b": (5, 3), "c": (5, 12)}
    for term, values in found.items():
        for i, column in enumerate(values.T):
            np.testing.assert_array_equal(column, columns[f"{term}.{i}"])
    del columns["c.4"]
    assert set(terms(columns | {"d": rng.random(5), "e.": rng.random(5), ".0": rng.random(5)})) == {
        "a.b"
    }


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet"])
def test_tables_may_hold_what_was_observed_of_objects(tmp_path, suffix):
    path = write_table(tmp_path / f"a{suffix}")
    (plain,) = logs_of(path)
    assert plain.observed == {}
    cube = np.random.default_rng(0).random((len(plain.t), 3))
    named = {f"obs_cube_pos.{i}": column for i, column in enumerate(cube.T)}
    if suffix == ".npz":
        with np.load(path) as file:
            np.savez(path, **{**file, **named})  # type: ignore[arg-type]
    elif suffix == ".parquet":
        table = pq.read_table(path)
        for name, column in named.items():
            table = table.append_column(name, pa.array(column))
        pq.write_table(table, path)
    else:
        head, *rows = path.read_text().splitlines()
        more = [",".join(map(repr, row.tolist())) for row in cube]
        lines = [
            f"{head},{','.join(named)}",
            *(f"{a},{b}" for a, b in zip(rows, more, strict=True)),
        ]
        path.write_text("\n".join(lines))
    (log,) = logs_of(path)
    assert survey([path], config=PLAIN).to_json()["logs"][0]["observed"] == {"cube_pos": [3]}
    assert "seen     a: cube_pos" in str(survey([path], config=PLAIN))
    assert set(log.observed) == {"cube_pos"}
    np.testing.assert_array_equal(log.observed["cube_pos"], cube)
    np.testing.assert_array_equal(log.stretch(slice(10, 75)).observed["cube_pos"], cube[10:75])


def test_the_environment_of_a_lerobot_folder_is_read_by_its_names(tmp_path):
    rng = np.random.default_rng(0)
    t = np.arange(80) / 50
    q = np.stack([0.5 + 0.3 * np.sin(t + i) for i in range(6)], axis=1)
    cube = rng.random((80, 3)).astype(np.float32)
    joints = (*(f"{name}.pos" for name in load_arm("so101").joint_names[:-1]), "gripper.pos")
    frames = Frames(
        fps=50,
        lengths=np.array([80]),
        values={"observation.state": q, "action": q + 0.01, "observation.environment_state": cube},
        names={
            "observation.state": joints,
            "action": joints,
            "observation.environment_state": ("cube_pos.0", "cube_pos.1", "cube_pos.2"),
        },
    )
    write_frames(tmp_path / "set", frames)
    (log,) = logs_of(tmp_path / "set")
    np.testing.assert_array_equal(log.observed["cube_pos"], cube)


def test_a_packed_alohas_file_says_where_things_are(tmp_path):
    (log,) = logs_of(write_aloha(tmp_path / "a.hdf5", packed=True))
    np.testing.assert_array_equal(log.observed["cube_pos"], log.q[:, :3])
