"""Mechanics: what is measured, when it is observed, and what pushes objects."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import regrasp
from regrasp import BatchEnv
from regrasp.envs import Settings
from regrasp.envs.mechanics import quantised
from regrasp.errors import InputError
from regrasp.randomization import (
    Constant,
    Row,
    Table,
    Uniform,
    camera_shift,
    camera_turn,
    encoder_step,
    joint_offset,
    observation_latency,
    push_rate,
    push_speed,
    table_for,
)

ARM = tuple(
    name for name in regrasp.make("transfer_cube", 1).workcell.action_names if "finger" not in name
)


def made(*rows: tuple, rows_of: int = 2, task: str = "transfer_cube") -> BatchEnv:
    table = Table(*(Row(field, distribution, "test") for field, distribution in rows))
    return regrasp.make(task, rows_of, threads=1, randomize=table)


def actions(env: BatchEnv, steps: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [
        rng.uniform(env.control.low, env.control.high, (env.num_envs, 14)).astype(np.float32)
        for _ in range(steps)
    ]


def test_settings_are_unpacked_as_they_were_packed():
    plain = Settings(
        *(
            jnp.arange(
                1.0, 1 + (14 if name.endswith("offset_rad") or name == "backlash_rad" else 3)
            )
            if name in ("joint_offset_rad", "backlash_rad", "camera_shift_m", "camera_turn_rad")
            else jnp.float32(i + 1)
            for i, name in enumerate(Settings._fields)
        )
    )
    packed = plain.pack(14)
    back = Settings.unpack(packed, 14, Settings._fields)
    for name, mine, theirs in zip(Settings._fields, back, plain, strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=name)
    assert Settings.unpack(packed, 14, ()) == Settings()
    assert Settings.unlike_zero(np.asarray(packed)[None], 14) == set(Settings._fields)
    assert Settings.unlike_zero(np.asarray(Settings().pack(14))[None], 14) == frozenset()


def test_settings_of_zero_are_nominal_to_the_bit(nominal: BatchEnv):
    """The program in which everything is possible, playing an episode in which nothing happens."""
    nominal.reset(seed=0)
    kept = nominal.take()
    full = regrasp.make("transfer_cube", 8, threads=1, randomize="table")
    full.reset(seed=1)
    # What such a state was like before is not known: it was as it is.
    for name, values in full.restore(kept).items():
        np.testing.assert_array_equal(values, nominal.observe()[name], err_msg=name)
    for action in actions(nominal, 20):
        mine, theirs = nominal.step(action), full.step(action)
        for name, values in mine[0].items():
            np.testing.assert_array_equal(theirs[0][name], values, err_msg=name)
        np.testing.assert_array_equal(mine[1], theirs[1])
    np.testing.assert_array_equal(nominal.take().row, full.take().row)


def test_a_late_moment_among_others_changes_what_is_seen_of_none():
    late, prompt = made((observation_latency(), Constant(0.041))), made()
    late.reset(seed=0)
    prompt.reset(seed=1)
    for action in actions(late, 5):
        late.step(action)
        prompt.step(action)
    before, theirs = prompt.observe(), late.observe()
    after = prompt.restore(late.take(0), 0)
    for name, values in after.items():
        np.testing.assert_array_equal(values[1:], before[name][1:], err_msg=name)
        np.testing.assert_array_equal(values[0], theirs[name][0], err_msg=name)


def test_observations_are_of_as_many_periods_ago():
    late, prompt = made((observation_latency(), Constant(0.041))), made()
    seen, past = [late.reset(seed=0)[0]], [prompt.reset(seed=0)[0]]
    for action in actions(late, 6):
        seen.append(late.step(action)[0])
        past.append(prompt.step(action)[0])
    for step, obs in enumerate(seen):
        for name in ("joint_pos", "gripper", "cube_pos", "cube_rot"):
            np.testing.assert_array_equal(obs[name], past[max(step - 2, 0)][name])
        np.testing.assert_array_equal(obs["target"], past[step]["target"])


def test_what_is_judged_is_never_late_nor_misplaced():
    rows = ((observation_latency(), Constant(0.06)), (camera_shift(), Constant(0.1)))
    wrong, right = made(*rows), made()
    wrong.reset(seed=0)
    right.reset(seed=0)
    for action in actions(wrong, 10):
        mine, theirs = wrong.step(action), right.step(action)
        for a, b in zip(mine[1:4], theirs[1:4], strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(wrong.view().body_pos["cube"], right.view().body_pos["cube"])


def test_offsets_shift_commands_and_measured_angles_alike():
    """A joint at rest measures what it was told, but for what gravity does; the truth is off."""
    env, plain = made((joint_offset(ARM), Uniform(-0.05, 0.05))), made()
    for one in (env, plain):
        obs, _ = one.reset(seed=0)
        for _ in range(100):
            obs = one.step(np.tile(one.control.home, (2, 1)))[0]
        one.last = obs
    offset = np.asarray(env.take().carry["settings"])
    offset = np.array(
        [Settings.unpack(jnp.asarray(o), 14, Settings._fields).joint_offset_rad for o in offset]
    )
    moved = np.asarray(env.view().joint_pos) - np.asarray(plain.view().joint_pos)
    # Coulomb friction holds the shoulder anywhere within 2 N m / (265 N m/rad) of its target.
    np.testing.assert_allclose(moved, offset, atol=8e-3)
    np.testing.assert_allclose(env.last["joint_pos"], plain.last["joint_pos"], atol=8e-3)
    assert np.abs(offset[:, env.control.is_arm]).max() > 0.03


def test_encoders_measure_whole_steps():
    env = made((encoder_step(), Constant(0.01)))
    obs, _ = env.reset(seed=0)
    for action in actions(env, 5):
        obs = env.step(action)[0]
    steps = obs["joint_pos"] / 0.01
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    true = np.asarray(env.view().joint_pos)[:, env.control.is_arm]
    assert 0 < np.abs(true - obs["joint_pos"]).max() <= 0.005 + 1e-6
    values = jnp.array([0.123, -0.004])
    np.testing.assert_array_equal(quantised(values, jnp.zeros(2)), values)


def test_a_misplaced_camera_moves_every_object_rigidly():
    env = made((camera_shift(), Uniform(-0.05, 0.05)), (camera_turn(), Uniform(-0.2, 0.2)))
    obs, _ = env.reset(seed=0)
    settings = Settings.unpack(jnp.asarray(env.take().carry["settings"][0]), 14, Settings._fields)
    turn = Rotation.from_rotvec(np.asarray(settings.camera_turn_rad, float))
    true = np.asarray(env.view().body_pos["cube"][0], float)
    np.testing.assert_allclose(
        obs["cube_pos"][0], turn.apply(true) + settings.camera_shift_m, atol=1e-6
    )
    quat = np.asarray(env.view().body_quat["cube"][0], float)
    seen = turn * Rotation.from_quat(quat, scalar_first=True)
    columns = obs["cube_rot"][0].reshape(2, 3)
    # Up to the cube's symmetries, each column is an axis of the cube.
    axes = np.abs(seen.as_matrix().T @ columns.T)
    np.testing.assert_allclose(np.sort(axes, axis=0)[-1], 1, atol=1e-5)


def test_a_push_gives_the_speed_that_it_states():
    rows = ((push_speed(["cube"]), Constant(0.5)), (push_rate(), Constant(50.0)))
    env = made(*rows, rows_of=4)
    env.reset(seed=0)
    before = env.take()
    forces = np.asarray(env._send(env._carry, actions(env, 1)[0], ~env.done)[1].push)
    mass = env.model.body("cube").mass[0]
    np.testing.assert_allclose(
        np.linalg.norm(forces[:, 0], axis=1) * env.control.dt_s / mass, 0.5, rtol=1e-5
    )
    assert (forces[..., 2] == 0).all()
    assert len(np.unique(forces[:, 0, 0])) == 4
    env.step(actions(env, 1)[0])
    moved = env.take().row - before.row
    assert np.abs(moved).max() > 0
    for row in range(4):
        assert not env.row_data(row).xfrc_applied.any()


def test_pushes_are_as_frequent_as_their_rate():
    env = made((push_speed(["cube"]), Constant(0.01)), (push_rate(), Constant(5.0)), rows_of=64)
    env.reset(seed=0)
    count, home = 0, np.tile(env.control.home, (64, 1))
    for _ in range(50):
        push = np.asarray(env._send(env._carry, home, ~env.done)[1].push)
        count += int((push != 0).any(axis=(1, 2)).sum())
        env.step(home)
    assert count == pytest.approx(64 * 50 * 0.02 * 5, rel=0.25)


def test_an_environment_learns_what_a_kept_state_needs():
    """A nominal environment plays a randomised state as the environment that it came from."""
    table = regrasp.make("transfer_cube", 4, threads=1, randomize="table")
    table.reset(seed=0)
    for action in actions(table, 5):
        table.step(action)
    kept = table.take()
    plain = regrasp.make("transfer_cube", 4, threads=1)
    plain.reset(seed=0)
    np.testing.assert_array_equal(plain.restore(kept)["cube_pos"], table.restore(kept)["cube_pos"])
    for action in actions(table, 30):
        mine, theirs = table.step(action)[0], plain.step(action)[0]
        for name, values in mine.items():
            np.testing.assert_array_equal(theirs[name], values, err_msg=name)
    np.testing.assert_array_equal(table.take().row, plain.take().row)


def test_what_no_row_uses_is_left_out():
    assert made()._mechanics.used == frozenset()
    env = made((observation_latency(), Constant(0.0)))
    assert env._mechanics.depth == 0
    assert env._mechanics.used == frozenset()
    assert table_for("transfer_cube").used == set(Settings._fields)


def test_a_resized_object_needs_a_start():
    from regrasp.envs.mechanics import _rested
    from regrasp.envs.randomizer import Grown
    from regrasp.envs.task import Initial

    with pytest.raises(InputError, match="joint 'pot' has no start position"):
        _rested(Initial({}, None), {"pot": Grown(jnp.float32(1), 0.0)})
