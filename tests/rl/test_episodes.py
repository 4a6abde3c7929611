"""Episodes on disk: what is written is read, any step is restored, damage is refused by name."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from regrasp import BatchEnv
from regrasp.envs import load_task
from regrasp.envs.tasks.transfer_cube import TransferCube
from regrasp.errors import InputError
from regrasp.rl import lerobot
from regrasp.rl.episodes import HEADER, Episode, Episodes, EpisodeWriter, Header

WIDTH = sum(int(np.prod(shape)) for _, shape in TransferCube().terms.values())
"""Numbers in the joined observation."""

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
TERMS = {"angles": ("rad", (2, 3)), "grip": ("1", (1,)), "height": ("m", ())}


def header() -> Header:
    return Header("transfer_cube", 50.0, TERMS, ("a", "b"), "robot", {"seed": 3})


def episode(rng: np.random.Generator, steps: int, success: bool = True) -> Episode:
    obs = {n: rng.normal(size=(steps, *s)).astype(np.float32) for n, (_, s) in TERMS.items()}
    return Episode(obs, rng.normal(size=(steps, 2)).astype(np.float32), success)


def same(a: Episode, b: Episode) -> bool:
    terms = a.obs.keys() == b.obs.keys() and all(np.array_equal(a.obs[k], b.obs[k]) for k in a.obs)
    return terms and np.array_equal(a.action, b.action) and a.success == b.success


# ---- round trips ----


def test_what_is_written_is_read(tmp_path: Path, rng: np.random.Generator):
    written = [episode(rng, 7), episode(rng, 1, success=False), episode(rng, 12)]
    with EpisodeWriter.to(tmp_path / "set", header()) as writer:
        assert [writer.add(one) for one in written] == [0, 1, 2]
    found = Episodes.open(tmp_path / "set")
    assert all(same(a, b) for a, b in zip(found, written, strict=True))
    assert same(found[-1], written[-1])
    assert (found.task, found.fps, dict(found.terms)) == ("transfer_cube", 50.0, TERMS)
    assert found.meta["seed"] == 3
    assert found.header.actions == ("a", "b")
    assert [line["steps"] for line in found.table()] == [7, 1, 12]
    assert "3 episodes of transfer_cube, 2 successful" in str(found)


def test_arrays_are_the_episodes_in_a_row(demos: Episodes):
    obs, action, episode_index, frame_index = demos.arrays()
    assert len(action) == demos.lengths.sum()
    for i, one in enumerate(demos):
        assert np.array_equal(action[episode_index == i], one.action)
        assert np.array_equal(frame_index[episode_index == i], np.arange(one.length))
        assert all(np.array_equal(obs[name][episode_index == i], one.obs[name]) for name in obs)
    assert {array.dtype for array in (*obs.values(), action)} == {np.dtype(np.float32)}


@pytest.mark.parametrize(("number", "step", "row"), [(0, 0, 5), (3, 150, 0), (4, 300, 7)])
def test_any_step_can_be_restored(
    demos: Episodes, randomised: BatchEnv, number: int, step: int, row: int
):
    """In another batch and row, the stored actions lead through the stored states to success."""
    env, one, kept = randomised, demos[number], demos.snapshots(number)
    env.reset(seed=9)
    obs = env.restore(kept[step], rows=[row])
    success = False
    for t in range(step, one.length):
        now = env.take(row)
        assert np.array_equal(now.row, kept.row[t])
        assert all(np.array_equal(now.carry[name], kept.carry[name][t]) for name in now.carry)
        assert all(np.array_equal(now.fields[name], kept.fields[name][t]) for name in now.fields)
        for name, values in one.obs.items():
            np.testing.assert_allclose(obs[name][row], values[t], atol=1e-6)
        actions = np.repeat(env.control.home[None], env.num_envs, axis=0)
        actions[row] = one.action[t]
        assert not success
        obs, _, _, _, info = env.step(actions)
        success = bool(info["success"][row])
    assert success


def test_a_nominal_environment_restores_them_too(demos: Episodes, nominal: BatchEnv):
    one, kept = demos[1], demos.snapshots(1)
    nominal.reset()
    nominal.restore(kept[300], rows=[2])
    for t in range(300, one.length):
        assert np.array_equal(nominal.take(2).row, kept.row[t])
        nominal.step(np.repeat(one.action[t][None], nominal.num_envs, axis=0))


# ---- LeRobot's layout ----


def test_the_layout_is_lerobots(demos: Episodes, demos_path: Path):
    info = json.loads((demos_path / "meta/info.json").read_text())
    frames = int(demos.lengths.sum())
    assert info["codebase_version"] == "v3.0"
    assert info["splits"] == {"train": f"0:{len(demos)}"}
    assert (info["fps"], info["total_episodes"], info["total_frames"]) == (50, len(demos), frames)
    assert info["data_path"].format(chunk_index=0, file_index=0) == DATA
    assert info["features"]["observation.state"]["shape"] == [WIDTH]
    data = pq.read_table(demos_path / DATA)
    assert data.column_names == list(info["features"])
    for name, feature in info["features"].items():
        kind = pa.from_numpy_dtype(feature["dtype"])
        width = feature["shape"][0]
        assert data[name].type == (kind if width == 1 else pa.list_(kind, width))
        assert feature["names"] is None or len(feature["names"]) == width
    assert data["index"].to_pylist() == list(range(frames))
    np.testing.assert_allclose(data["timestamp"], np.asarray(data["frame_index"]) / 50, rtol=1e-6)


def test_loaders_find_episodes_tasks_and_statistics(demos: Episodes, demos_path: Path):
    table = pq.read_table(demos_path / EPISODES)
    starts = np.concatenate([[0], np.cumsum(demos.lengths)])
    assert table["dataset_from_index"].to_pylist() == starts[:-1].tolist()
    assert table["dataset_to_index"].to_pylist() == starts[1:].tolist()
    assert table["tasks"].to_pylist() == [["transfer cube"]] * len(demos)
    np.testing.assert_allclose(table["stats/action/mean"][2].as_py(), demos[2].action.mean(0), 1e-4)
    tasks = pq.read_schema(demos_path / "meta/tasks.parquet")
    assert tasks.pandas_metadata["index_columns"] == ["task"]
    stats = json.loads((demos_path / "meta/stats.json").read_text())
    _, action, _, _ = demos.arrays()
    assert stats["action"]["count"] == [len(action)]
    assert stats["action"]["max"] == pytest.approx(action.max(axis=0).tolist())
    assert stats["action"]["q50"] == pytest.approx(np.median(action, axis=0).tolist(), abs=1e-6)


def test_lists_of_any_length_are_read(demos_path: Path, tmp_path: Path):
    """Other writers store plain lists in several files."""
    path = copy(demos_path, tmp_path)
    table = pq.read_table(path / DATA)
    for name in ("action", "observation.state"):
        column = table[name].cast(pa.list_(pa.float32()))
        table = table.set_column(table.column_names.index(name), name, column)
    pq.write_table(table.slice(0, 700), path / DATA)
    pq.write_table(table.slice(700), path / "data/chunk-000/file-001.parquet")
    assert all(
        same(a, b) for a, b in zip(Episodes.open(path), Episodes.open(demos_path), strict=True)
    )


# ---- damage ----


def copy(path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(path, tmp_path / "copy"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def set_column(path: Path, name: str, values: list) -> None:
    table = pq.read_table(path)
    kind = table.schema.field(name).type
    column = table.column_names.index(name)
    pq.write_table(table.set_column(column, name, pa.array(values, kind)), path)


def first_action_nan(path: Path) -> None:
    values = pq.read_table(path / DATA)["action"].to_pylist()
    values[3][5] = float("nan")
    set_column(path / DATA, "action", values)


def a_frame_less(path: Path) -> None:
    table = pq.read_table(path / DATA)
    pq.write_table(table.slice(0, len(table) - 1), path / DATA)


def a_frame_twice(path: Path) -> None:
    frame = pq.read_table(path / DATA)["frame_index"].to_pylist()
    set_column(path / DATA, "frame_index", [frame[0], *frame[:-1]])


def no_terms(path: Path) -> None:
    edit(path / HEADER, terms={"cube_pos": {"unit": "m", "shape": [3]}})


def no_actions(path: Path) -> None:
    table = pq.read_table(path / DATA)
    pq.write_table(table.drop_columns(["action"]), path / DATA)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda p: (p / "meta/info.json").unlink(), "no episodes at"),
        (lambda p: (p / HEADER).unlink(), "has no meta/regrasp.json"),
        (lambda p: (p / DATA).unlink(), "no data/"),
        (lambda p: (p / EPISODES).unlink(), "no meta/episodes"),
        (lambda p: (p / "meta/tasks.parquet").unlink(), "no meta/tasks.parquet"),
        (lambda p: cut(p / "meta/info.json"), "cannot be read"),
        (lambda p: cut(p / HEADER), "cannot be read"),
        (lambda p: cut(p / DATA), "cannot be read"),
        (lambda p: cut(p / EPISODES), "cannot be read"),
        (lambda p: (p / HEADER).write_text("[" * 100_000), "nested"),
        (lambda p: edit(p / "meta/info.json", codebase_version="v2.1"), "v2.1"),
        (lambda p: edit(p / "meta/info.json", fps=0), "fps"),
        (lambda p: edit(p / "meta/info.json", features={}), "observation.state|action"),
        (lambda p: edit(p / HEADER, format=99), "format 99"),
        (no_terms, f"{WIDTH} numbers in observation.state, 3 in its terms"),
        (no_actions, "no column 'action'"),
        (first_action_nan, "'action' is not finite in row 3"),
        (a_frame_less, "episode 4 has"),
        (a_frame_twice, "frames are not numbered"),
    ],
)
def test_damage_is_refused_by_name(demos_path: Path, tmp_path: Path, damage, says: str):
    path = copy(demos_path, tmp_path)
    damage(path)
    with pytest.raises(InputError, match=says) as refusal:
        Episodes.open(path)
    assert "\n" not in str(refusal.value)


def test_wrong_counts_are_warned_of(demos_path: Path, tmp_path: Path):
    path = copy(demos_path, tmp_path)
    edit(path / "meta/info.json", total_frames=7)
    with pytest.warns(UserWarning, match="total_frames 7"):
        assert len(Episodes.open(path)) == 5


def test_too_much_is_refused_before_it_is_read(demos_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lerobot, "MAX_NUMBERS", 1000)
    with pytest.raises(InputError, match="more than 1000 numbers"):
        Episodes.open(demos_path)


def test_snapshots_that_do_not_fit_are_refused(demos_path: Path, tmp_path: Path):
    path = copy(demos_path, tmp_path)
    found, folder = Episodes.open(path), path / "snapshots"
    (folder / "episode-000000.npz").unlink()
    cut(folder / "episode-000001.npz")
    shutil.copy(folder / "episode-000003.npz", folder / "episode-000002.npz")
    for number, says in ((0, "no snapshot"), (1, "not a whole snapshot"), (2, "does not hold")):
        with pytest.raises(InputError, match=says):
            found.snapshots(number)
    for number in (5, -6):
        with pytest.raises(InputError, match="choose 0 to 4"):
            found.snapshots(number)


# ---- writing ----


def test_an_episode_that_does_not_fit_is_refused(tmp_path: Path, rng: np.random.Generator, demos):
    one = episode(rng, 4)
    short = Episode(one.obs, one.action[:3], True)
    lost = Episode({n: v for n, v in one.obs.items() if n != "grip"}, one.action, True)
    broken = Episode(one.obs, np.full_like(one.action, np.nan), True)
    for bad, says in ((short, "observations"), (lost, "observations"), (broken, "not finite")):
        with pytest.raises(InputError, match=says), EpisodeWriter.to(tmp_path / "s", header()) as w:
            w.add(bad)
    kept = demos.snapshots(0)
    with (
        pytest.raises(InputError, match=f"4 steps but {len(kept)} snapshots"),
        EpisodeWriter.to(tmp_path / "s", header()) as w,
    ):
        w.add(one, kept)
    with pytest.raises(InputError, match="no episodes"), EpisodeWriter.to(tmp_path / "s", header()):
        pass
    assert not list(tmp_path.iterdir())


def test_a_failed_writer_keeps_what_was_there(tmp_path: Path, rng: np.random.Generator):
    path, first = tmp_path / "set", episode(rng, 3)
    with EpisodeWriter.to(path, header()) as writer:
        writer.add(first)

    def interrupted() -> None:
        with EpisodeWriter.to(path, header()) as writer:
            writer.add(episode(rng, 5))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert same(Episodes.open(path)[0], first)
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_killed_writer_leaves_nothing_half_written(tmp_path: Path):
    script = (
        "import os, sys, numpy as np\n"
        "from regrasp.rl.episodes import Episode, EpisodeWriter, Header\n"
        "header = Header('t', 50.0, {'x': ('m', (1,))}, ('a',))\n"
        "with EpisodeWriter.to(sys.argv[1], header) as writer:\n"
        "    writer.add(Episode({'x': np.zeros((3, 1))}, np.zeros((3, 1)), True))\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "set")], timeout=60)
    assert done.returncode == -9
    assert not (tmp_path / "set").exists()
    with pytest.raises(InputError, match="no episodes at"):
        Episodes.open(tmp_path / "set")


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path, rng: np.random.Generator):
    (tmp_path / "thesis.txt").write_text("years of work")
    with (
        pytest.raises(InputError, match="something else"),
        EpisodeWriter.to(tmp_path, header()) as writer,
    ):
        writer.add(episode(rng, 3))
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"task": "hand_over"}, "task 'hand_over', transfer_cube has 'transfer_cube'"),
        ({"robot": "so101"}, "robot 'so101', transfer_cube has 'viperx300s'"),
        ({"fps": 25.0}, r"rate \(Hz\) 25\.0, transfer_cube has 50"),
        ({"action_meaning": "joint velocities"}, "action meaning 'joint velocities'"),
        ({"actions": ("a", "b")}, r"actions 2 \(a, b\), transfer_cube has 14"),
        ({"terms": {"joint_pos": ("rad", (6,))}}, "observations joint_pos"),
    ],
)
def test_what_a_task_cannot_be_cloned_from_is_refused(demos: Episodes, changes: dict, says: str):
    demos.header.check("transfer_cube", load_task("transfer_cube"))
    with pytest.raises(InputError, match=says):
        replace(demos.header, **changes).check("transfer_cube", load_task("transfer_cube"))


def test_the_meaning_of_actions_is_kept(demos: Episodes, tmp_path: Path):
    header = replace(demos.header, action_meaning="joint velocities in rad/s")
    with EpisodeWriter.to(tmp_path / "set", header) as writer:
        writer.add(demos[0])
    assert Episodes.open(tmp_path / "set").header.action_meaning == "joint velocities in rad/s"
