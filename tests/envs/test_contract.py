"""What an environment promises: seeds, resets, ends."""

from pathlib import Path

import numpy as np
import pytest
from tests.envs.conftest import make_env

from regrasp import BatchEnv
from regrasp.envs import TASKS
from regrasp.envs.tasks.transfer_cube import TransferCube
from regrasp.errors import InputError


def home(env: BatchEnv) -> np.ndarray:
    return np.repeat(env.control.home[None], env.num_envs, axis=0)


def run(env: BatchEnv, seed: int, steps: int) -> list:
    """Everything that an environment returns over some random steps."""
    rng = np.random.default_rng(seed)
    heard: list = [env.reset(seed=seed)[0]]
    for _ in range(steps):
        actions = rng.uniform(env.control.low, env.control.high, (env.num_envs, 14))
        heard.append(env.step(actions)[:4])
    heard.append(env.take().row)
    return heard


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return np.array_equal(a, b)


def test_same_seed_same_run_and_another_seed_another(randomised: BatchEnv):
    first = run(randomised, 3, 10)
    assert same(run(randomised, 3, 10), first)
    assert not same(run(randomised, 4, 10)[0], first[0])


def test_observations_fit_their_space_and_noise_its_level(randomised: BatchEnv):
    obs, _ = randomised.reset(seed=0)
    assert obs in randomised.observation_space
    clean = np.asarray(randomised.view().body_pos["cube"])
    noise = np.array([randomised.observe()["cube_pos"] - clean])
    assert 0.001 < noise.std() < 0.006
    np.testing.assert_array_equal(randomised.observe()["cube_pos"], obs["cube_pos"])


def test_partial_reset_touches_its_rows_alone(randomised: BatchEnv):
    run(randomised, 0, 5)
    before, mask = randomised.take(), np.arange(8) % 3 == 0
    fields = {name: array.copy() for name, array in before.fields.items()}
    randomised.reset(options={"reset_mask": mask})
    after = randomised.take()
    for kept, now in [(before.row, after.row), *((fields[n], after.fields[n]) for n in fields)]:
        np.testing.assert_array_equal(kept[~mask], now[~mask])
    for name in before.carry:
        np.testing.assert_array_equal(before.carry[name][~mask], after.carry[name][~mask])
    assert (before.row[mask] != after.row[mask]).any(axis=1).all()
    assert (after.carry["step"][mask] == 0).all()


def test_horizon_truncates_and_starts_again_in_the_same_step(short: BatchEnv):
    first, _ = short.reset(seed=0)
    obs, info, last = first, {}, first
    for step in range(1, 2 * short.horizon + 1):
        obs, _, terminated, truncated, info = short.step(home(short))
        assert not terminated.any()
        assert truncated.all() == truncated.any() == (step % short.horizon == 0)
        assert ("final_obs" in info) == truncated.any()
        if not truncated.any():
            last = obs
    assert (short.take().carry["step"] == 0).all()
    for row in range(short.num_envs):
        final = info["final_obs"][row]
        # The final observation ends the episode, and what is returned beside it starts the next.
        np.testing.assert_allclose(final["cube_pos"], last["cube_pos"][row], atol=1e-3)
        assert np.abs(obs["cube_pos"][row] - final["cube_pos"]).max() > 1e-3
        assert np.abs(obs["cube_pos"][row] - first["cube_pos"][row]).max() > 1e-3
    assert same(short.observe(), obs)


def test_only_finished_rows_start_again(short: BatchEnv):
    """A row that fails on its own starts again; the others go on as if nothing had happened."""
    short.reset(seed=0)
    kept = short.take()
    fallen = kept.row.copy()
    fallen[1, 1 + short.model.joint("cube").qposadr[0] + 2] = -0.5
    short.restore(kept)
    for _ in range(2):
        short.step(home(short))
    untouched = short.take()
    short.restore(type(kept)(fallen, kept.carry, kept.fields, kept.task, kept.fingerprint))
    _, _, terminated, truncated, info = short.step(home(short))
    assert terminated.tolist() == [False, True, False]
    assert not truncated.any()
    assert [final is not None for final in info["final_obs"]] == [False, True, False]
    assert info["final_obs"][1]["cube_pos"][2] < -0.4
    assert info["final_info"]["_success"].tolist() == [False, True, False]
    assert not info["final_info"]["success"].any()
    short.step(home(short))
    np.testing.assert_array_equal(short.take().row[[0, 2]], untouched.row[[0, 2]])
    assert short.take().carry["step"].tolist() == [2, 1, 2]


def test_disabled_freezes_finished_rows(frozen: BatchEnv):
    frozen.reset(seed=0)
    for _ in range(frozen.horizon):
        assert not frozen.done.any()
        frozen.step(home(frozen))
    assert frozen.done.all()
    frozen.reset(options={"reset_mask": np.array([False, True, False])})
    ended = frozen.take()
    _, reward, _, truncated, _ = frozen.step(home(frozen))
    now = frozen.take()
    for name in ("row", "step"):
        before = ended.row if name == "row" else ended.carry["step"][:, None]
        after = now.row if name == "row" else now.carry["step"][:, None]
        assert (before == after).all(axis=1).tolist() == [True, False, True]
    assert reward[[0, 2]].tolist() == [0, 0]
    assert truncated.tolist() == [True, False, True]


def test_a_halted_row_stands_still_until_it_is_started(frozen: BatchEnv):
    frozen.reset(seed=0)
    start = frozen.take()
    frozen.halt([1])
    for _ in range(2):
        frozen.step(home(frozen))
    assert frozen.done.tolist() == [False, True, False]
    assert frozen.take().carry["step"].tolist() == [2, 0, 2]
    np.testing.assert_array_equal(frozen.take().row[1], start.row[1])
    frozen.restore(start[1], 1)
    frozen.step(home(frozen))
    assert frozen.take().carry["step"].tolist() == [3, 1, 3]
    with pytest.raises(InputError, match="3"):
        frozen.halt([3])


def test_an_unstable_row_ends_and_is_forgotten_by_the_next_start(
    frozen: BatchEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    frozen.reset(seed=0)
    kept = frozen.take()
    broken = kept.row.copy()
    broken[2, 1 + frozen.model.nq] = np.inf
    frozen.restore(type(kept)(broken, kept.carry, kept.fields, kept.task, kept.fingerprint))
    obs, reward, terminated, _, info = frozen.step(home(frozen))
    assert terminated.tolist() == info["unstable"].tolist() == [False, False, True]
    assert np.isfinite(reward).all()
    assert reward[2] == 0
    assert all(np.isfinite(values).all() for values in obs.values())
    assert not info["success"].any()
    assert not list(tmp_path.iterdir()), "the engine keeps no log where the user stands"
    for start in (lambda: frozen.restore(kept), lambda: frozen.reset(seed=0)):
        start()
        assert frozen.warnings.sum() == 0
        assert not frozen.step(home(frozen))[2].any()


def test_random_targets_do_not_upset_the_engine(randomised: BatchEnv):
    heard = run(randomised, 1, 60)
    assert randomised.warnings.sum() == 0
    assert np.isfinite(heard[-1]).all()


@pytest.mark.parametrize("task", TASKS)
def test_nothing_starts_inside_another(task: str):
    """What overlaps pushes, jams, or holds by what its figures do not say."""
    env = make_env(task, "cpu")
    env.reset(seed=2)
    for row in range(env.num_envs):
        contacts = env._world.row_data(row).contact
        assert np.min(contacts.dist, initial=0) > -1e-3


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((3, 13)), r"shape \(3, 13\).*takes \(3, 14\)"),
        (np.zeros(14), r"shape \(14,\)"),
        (np.where(np.eye(3, 14) > 0, np.nan, 0)[[0, 1, 1]] * [[0], [1], [1]], "not finite"),
    ],
)
def test_bad_actions_are_refused_and_change_nothing(frozen: BatchEnv, actions, message: str):
    frozen.reset(seed=0)
    before = frozen.take().row
    with pytest.raises(InputError, match=message):
        frozen.step(actions)
    np.testing.assert_array_equal(frozen.take().row, before)


def test_bad_masks_rows_and_keys_are_refused(frozen: BatchEnv):
    frozen.reset(seed=0)
    keys = np.zeros((2, 2), np.uint32)
    for call, message in (
        (lambda: frozen.reset(options={"reset_mask": np.ones(2, bool)}), "reset_mask has shape"),
        (lambda: frozen.begin(keys), "keys have shape"),
        (lambda: frozen.begin(keys, np.array([2, 1])), "sorted"),
        (lambda: frozen.begin(keys, np.array([1, 3])), "rows"),
        (lambda: frozen.take(3), "row 3 does not exist: choose 0 to 2"),
        (lambda: frozen.render(), "Camera"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_control_period_must_be_whole_physics_steps():
    with pytest.raises(InputError, match=r"control_dt_s 0\.018 is not a whole number of 0\.00667"):
        BatchEnv(TransferCube(control_dt_s=0.018), 1)


def test_contacts_that_push_out_faster_than_the_engine_can_are_refused():
    with pytest.raises(InputError, match=r"contact_time_s 0\.01 with timestep_s 0\.00667"):
        BatchEnv(TransferCube(contact_time_s=0.01), 1)


def test_a_scene_must_keep_to_the_timestep_of_its_task():
    class Hasty(TransferCube):
        def scene(self):
            spec = super().scene()
            spec.option.timestep = 0.01
            return spec

    with pytest.raises(InputError, match=r"timestep_s 0\.00667, but the scene steps by 0\.01"):
        BatchEnv(Hasty(), 1)
