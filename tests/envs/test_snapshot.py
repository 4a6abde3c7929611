"""Kept states: what a fork shares, whose physics rule, and what is refused."""

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from regrasp import BatchEnv, Snapshot
from regrasp.envs import Executor, episode_keys
from regrasp.envs.snapshot import fingerprint
from regrasp.envs.tasks.transfer_cube import TransferCube
from regrasp.errors import InputError


@pytest.fixture
def kept(randomised: BatchEnv) -> Snapshot:
    """Eight states in motion, under eight physics."""
    randomised.reset(seed=0)
    play(randomised, 10)
    return randomised.take()


def play(env: BatchEnv, steps: int, *, alike: bool = False) -> dict[str, np.ndarray]:
    """Random actions, the same in every row if `alike`; the last observation."""
    rng, obs = np.random.default_rng(1), {}
    for _ in range(steps):
        actions = rng.uniform(env.control.low, env.control.high, (env.num_envs, 14))
        obs = env.step(actions[:1].repeat(env.num_envs, axis=0) if alike else actions)[0]
    return obs


def models(env: BatchEnv) -> list[str]:
    return [fingerprint(env.row_model(row)) for row in range(env.num_envs)]


def equal(a: Snapshot, b: Snapshot) -> bool:
    return np.array_equal(a.row, b.row) and all(
        mine.keys() == theirs.keys() and all(np.array_equal(mine[n], theirs[n]) for n in mine)
        for mine, theirs in ((a.carry, b.carry), (a.fields, b.fields))
    )


def test_restore_brings_back_everything_that_take_kept(randomised: BatchEnv, kept: Snapshot):
    obs = randomised.observe()
    randomised.reset(seed=1)
    assert not equal(randomised.take(), kept)
    back = randomised.restore(kept)
    assert equal(randomised.take(), kept)
    for name, values in obs.items():
        np.testing.assert_array_equal(back[name], values)


def test_a_single_state_goes_into_the_rows_given_and_no_others(
    randomised: BatchEnv, kept: Snapshot
):
    randomised.restore(kept[5], np.array([0, 2]))
    now = randomised.take()
    for row in range(8):
        assert equal(now[row], kept[5] if row in (0, 2) else kept[row])


def test_fork_gives_identical_copies(randomised: BatchEnv, kept: Snapshot):
    randomised.fork(kept[3])
    obs = play(randomised, 5, alike=True)
    now = randomised.take()
    assert all(equal(now[row], now[0]) for row in range(8))
    assert all((values == values[0]).all() for values in obs.values())


def test_fork_of_a_stack_gives_consecutive_groups(randomised: BatchEnv, kept: Snapshot):
    randomised.fork(kept[[1, 6]])
    now = randomised.take()
    assert all(equal(now[row], kept[1 if row < 4 else 6]) for row in range(8))


def test_fork_with_keys_differs_in_noise_alone(randomised: BatchEnv, kept: Snapshot):
    """But for what commands meet on their way, and for pushes: they go by the key too."""
    keys = np.asarray(episode_keys(9, "train", 0, 8))
    kept.carry["settings"][:, [1, 2, -1]] = 0
    randomised.fork(kept[3], keys=keys)
    obs = play(randomised, 5, alike=True)
    now = randomised.take()
    assert (now.row == now.row[0]).all()
    assert all((array == array[0]).all() for array in now.fields.values())
    assert len(np.unique(obs["cube_pos"], axis=0)) == 8
    np.testing.assert_array_equal(now.carry["key"], keys)


def test_physics_of_the_snapshot_or_of_the_row(randomised: BatchEnv, kept: Snapshot):
    theirs = models(randomised)
    randomised.reset(seed=1)
    ours = models(randomised)
    assert len({*ours, *theirs}) == 16
    randomised.restore(kept, physics="row")
    assert models(randomised) == ours
    np.testing.assert_array_equal(randomised.take().row, kept.row)
    randomised.restore(kept, physics="snapshot")
    assert models(randomised) == theirs
    # One value for several rows: what derives from it is copied, and must be the same bits.
    randomised.fork(kept[[2, 7]])
    assert models(randomised) == [theirs[2]] * 4 + [theirs[7]] * 4


def test_a_nominal_environment_takes_randomised_states(
    randomised: BatchEnv, nominal: BatchEnv, kept: Snapshot
):
    nominal.reset(seed=0)
    nominal.restore(kept)
    assert models(nominal) == models(randomised)
    play(randomised, 5)
    play(nominal, 5)
    np.testing.assert_array_equal(nominal.take().row, randomised.take().row)
    nominal.reset(seed=0)
    assert set(models(nominal)) == {fingerprint(nominal.model)}


def test_a_pending_chunk_is_kept():
    env = BatchEnv(TransferCube(), 2, threads=1, executor=Executor(4, 3))
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    chunks = rng.uniform(env.control.low, env.control.high, (2, 4, 14)).astype(np.float32)
    assert env.due.all()
    env.load(chunks)
    env.play()
    kept, runs = env.take(), []
    for start in (None, kept):
        if start is not None:
            env.reset()
            env.restore(start)
        assert not env.due.any()
        env.load(-chunks)  # Not due: the pending one goes on.
        env.play()
        env.play()
        assert env.due.all()
        runs.append(env.take().row)
    np.testing.assert_array_equal(runs[0], runs[1])
    turned = np.roll(chunks, -1, axis=1)  # The next action first.
    np.testing.assert_array_equal(kept.carry["executor.chunk"], turned)


@pytest.mark.parametrize("changes", [{"delay": 2}, {"ensemble": 0.1}, {"speed": 1.5}])
def test_what_an_executor_remembers_is_kept(changes: dict):
    """At a chunk boundary too: what is left of the old chunk counts."""
    env = BatchEnv(TransferCube(), 2, threads=1, executor=Executor(8, 3, **changes))
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    first, second = rng.uniform(-0.5, 0.5, (2, 2, 8, 14)).astype(np.float32)
    env.load(first)
    for _ in range(3):
        env.play()
    assert env.due.all()
    kept, runs = env.take(), []
    for start in (None, kept):
        if start is not None:
            env.reset()
            env.restore(start)
        env.load(second)
        for _ in range(3):
            env.play()
        runs.append(env.take().row)
    np.testing.assert_array_equal(runs[0], runs[1])
    other = BatchEnv(TransferCube(), 2, threads=1, executor=Executor(4, 4))
    other.reset(seed=0)
    other.restore(kept)  # Another executor begins anew.
    assert other.due.all()
    assert not other.pending[1].any()


def test_file_keeps_every_bit(kept: Snapshot, tmp_path: Path):
    for name, snapshot in (("stack", kept), ("one", kept[4])):
        snapshot.save(tmp_path / f"{name}.npz")
        loaded = Snapshot.load(tmp_path / f"{name}.npz")
        assert equal(loaded, snapshot)
        assert (loaded.task, loaded.fingerprint) == (snapshot.task, snapshot.fingerprint)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.npz", "stack.npz"]


def test_stacks_are_taken_apart_and_put_together(kept: Snapshot):
    assert equal(Snapshot.concatenate([kept[0], kept[1:5], kept[[5, 6, 7]]]), kept)
    assert (len(kept), len(kept[0]), len(kept[2:4])) == (8, 1, 2)
    with pytest.raises(InputError, match="not a stack"):
        kept[0][0]
    with pytest.raises(InputError, match="different models"):
        Snapshot.concatenate([kept, dataclasses.replace(kept, fingerprint="other")])


def test_snapshots_that_do_not_fit_are_refused_and_change_nothing(
    randomised: BatchEnv, kept: Snapshot
):
    def changed(**parts) -> Snapshot:
        return dataclasses.replace(kept, **parts)

    without = {name: array for name, array in kept.carry.items() if name != "task.held_s"}
    before = randomised.take()
    for call, message in (
        (lambda: randomised.restore(changed(fingerprint="0" * 32)), "another model or version"),
        (lambda: randomised.restore(kept[:3]), "3 snapshots for 8 rows"),
        (lambda: randomised.restore(kept[:3], np.arange(2)), "3 snapshots for 2 rows"),
        (lambda: randomised.restore(kept[0], np.array([1, 1])), "rows"),
        (lambda: randomised.restore(kept[0], 8), "rows"),
        (lambda: randomised.restore(kept, physics="both"), "choose 'snapshot' or 'row'"),
        (lambda: randomised.restore(changed(carry=without)), "executor or task carry"),
        (lambda: randomised.restore(changed(row=kept.row[:, :-1])), "do not fit"),
        (lambda: randomised.restore(changed(fields={"gravity": kept.row})), "'gravity'"),
        (lambda: randomised.fork(kept[:3]), "3 snapshots do not divide 8 rows"),
        (lambda: randomised.fork(kept[0], keys=np.zeros((7, 2), np.uint32)), "keys have shape"),
    ):
        with pytest.raises(InputError, match=message):
            call()
        assert equal(randomised.take(), before)


def test_nothing_works_before_the_start():
    env = BatchEnv(TransferCube(), 2, threads=1)
    chunks, actions = np.zeros((2, 1, 14), np.float32), np.zeros((2, 14))
    calls = (env.take, env.observe, env.view, env.play, lambda: env.due)
    for call in (*calls, lambda: env.load(chunks), lambda: env.step(actions)):
        with pytest.raises(InputError, match="call reset"):
            call()
    with pytest.raises(InputError, match="only 1 of 2 rows"):
        env.reset(options={"reset_mask": np.array([True, False])})


def edit(path: Path, name: str, value: np.ndarray | None) -> None:
    """Replace one array of a saved snapshot, or leave it out."""
    with np.load(path) as data:
        arrays = {key: data[key] for key in data.files if key != name}
    np.savez(path, allow_pickle=True, **arrays, **({} if value is None else {name: value}))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[200:400] = b"\0" * 200
    path.write_bytes(data)


def swell(path: Path) -> None:
    """A member whose header claims far more than a machine holds."""
    header = str({"descr": "<f8", "fortran_order": False, "shape": (2**50,)}).encode()
    header = header + b" " * (118 - len(header) - 1) + b"\n"
    with zipfile.ZipFile(path, "a") as archive:
        size = len(header).to_bytes(2, "little")
        archive.writestr("field/huge.npy", b"\x93NUMPY\x01\x00" + size + header)


def meta(**changes) -> np.ndarray:
    return np.array(json.dumps({"format": 2, "task": "T", "fingerprint": "f", **changes}))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (cut, "not a whole snapshot"),
        (spoil, "not a whole snapshot"),
        (swell, "not a whole snapshot"),
        (lambda path: path.write_text("hello"), "not a whole snapshot"),
        (lambda path: edit(path, "row", None), "not a whole snapshot"),
        (lambda path: edit(path, "meta", None), "not a whole snapshot"),
        (lambda path: edit(path, "meta", np.array("{")), "not a whole snapshot"),
        (lambda path: edit(path, "meta", np.array("[1]")), "not a whole snapshot"),
        (lambda path: edit(path, "meta", np.array('{"format": 2}')), "not a whole snapshot"),
        (lambda path: edit(path, "meta", meta(format=1)), "format 1, this version reads 2"),
        (lambda path: edit(path, "row", np.array([{}], object)), "not a whole snapshot.*pickle"),
        (lambda path: path.unlink(), "no snapshot at"),
    ],
)
def test_bad_files_are_refused(kept: Snapshot, tmp_path: Path, harm, message: str):
    path = tmp_path / "kept.npz"
    kept[0].save(path)
    harm(path)
    with pytest.raises(InputError, match=message):
        Snapshot.load(path)
