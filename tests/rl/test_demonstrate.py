"""Demonstrating: a function of its seed, with every attempt counted."""

from pathlib import Path

import numpy as np
import pytest

from regrasp.envs import episode_keys
from regrasp.envs.tasks.transfer_cube import TransferCube
from regrasp.errors import InputError
from regrasp.rl import demonstrate as module
from regrasp.rl.demonstrate import DemonstrateConfig, DemonstrationResult, demonstrate, seeds
from regrasp.rl.episodes import Episodes
from regrasp.rl.experts.transfer_cube import TransferCubeExpert


class Clumsy(TransferCubeExpert):
    """Does not move in its first attempts."""

    def __init__(self, frozen: int):
        super().__init__(TransferCube())
        self.frozen, self.started = frozen, 0

    def start(self, view, seeds):
        super().start(view, seeds)
        self.still = np.arange(len(seeds)) + self.started < self.frozen
        self.started += len(seeds)

    def act(self, step, view):
        home = np.asarray(view.joint_pos, np.float32)
        return np.where(self.still[:, None], home, super().act(step, view)).astype(np.float32)


@pytest.fixture(scope="module")
def stumbled(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemonstrationResult, list]:
    """Two demonstrations on two threads by an expert that fails once, and the progress told."""
    told = []
    result = demonstrate(
        "transfer_cube",
        tmp_path_factory.mktemp("stumbled") / "set",
        DemonstrateConfig(episodes=2, threads=2),
        lambda done, total, note: told.append((done, total)),
        expert=Clumsy(frozen=1),
    )
    return result, told


def test_the_same_seed_gives_the_same_bytes(stumbled, demos: Episodes):
    """An attempt is the same in a batch of one, two or five, and on one thread or two."""
    again = Episodes.open(stumbled[0].path)
    for stored, attempt in ((0, 1), (1, 2)):
        one, other = again[stored], demos[attempt]
        assert one.action.tobytes() == other.action.tobytes()
        assert all(one.obs[name].tobytes() == other.obs[name].tobytes() for name in one.obs)
        assert again.snapshots(stored).row.tobytes() == demos.snapshots(attempt).row.tobytes()


def test_the_set_says_how_it_was_made(demonstrated: DemonstrationResult, demos: Episodes):
    meta = demos.meta
    assert (meta["role"], meta["seed"]) == ("demonstrate", 0)
    assert {row["field"] for row in meta["table"]} >= {"cube mass", "command latency"}
    assert meta["manner"]["slip_m"] > 0
    assert meta["demonstrations"] == demonstrated.to_json()
    assert meta["demonstrations"]["successes"] == len(demos) == demonstrated.successes
    assert meta["demonstrations"]["attempts"] == len(demonstrated.attempts)
    assert demos.success.all()
    assert [line["time_s"] for line in demos.table()] == list(demonstrated.times_s)


def test_failures_are_counted_but_not_stored(stumbled):
    result, told = stumbled
    assert [a.outcome for a in result.attempts] == ["timeout", "success", "success"]
    assert [a.number for a in result.attempts] == [0, 1, 2]
    assert result.attempts[0].time_s == 8.0
    assert (result.rate.successes, result.rate.episodes) == (2, 3)
    assert len(Episodes.open(result.path)) == 2
    assert told == sorted(told)
    assert told[-1] == (2, 2)


def test_a_hopeless_expert_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "load_task", lambda *_: TransferCube(horizon_s=0.2))
    config = DemonstrateConfig(episodes=2, randomize="nominal", threads=1)
    with pytest.raises(InputError, match="0 of 20 attempts"):
        demonstrate("transfer_cube", tmp_path / "set", config, expert=Clumsy(frozen=100))
    assert not list(tmp_path.iterdir())


def test_every_episode_has_its_own_slips():
    keys = np.asarray(episode_keys(0, "demonstrate", 0, 64))
    own = seeds(keys)
    assert len(set(own.tolist())) == 64
    assert own.min() >= 0
    assert np.array_equal(own[:7], seeds(keys[:7]))


@pytest.mark.parametrize(
    ("task", "changes", "says"),
    [
        ("transfer_cub", {}, "did you mean 'transfer_cube'"),
        ("transfer_cube", {"manner": "humn"}, "did you mean 'human'"),
        ("transfer_cube", {"randomize": "tabel"}, "did you mean 'table'"),
        ("transfer_cube", {"seed": -1}, "seed -1"),
        ("transfer_cube", {"episodes": 0}, "episodes >= 1"),
    ],
)
def test_bad_input_is_refused(tmp_path: Path, task: str, changes: dict, says: str):
    with pytest.raises(InputError, match=says):
        demonstrate(task, tmp_path / "set", DemonstrateConfig(**{"episodes": 1, **changes}))
    assert not list(tmp_path.iterdir())
