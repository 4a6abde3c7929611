"""A recorded moment is a state like any other: restored, forked, saved, gone on from."""

import mujoco
import numpy as np
import pytest

import regrasp
from regrasp.envs.snapshot import Snapshot
from regrasp.envs.world import INTEGRATION
from regrasp.errors import InputError
from regrasp.sim2real import Log
from regrasp.sim2real.moments import arm_moment, real_moment
from regrasp.sim2real.replay import build_model, replay, velocities


@pytest.fixture(scope="module")
def env():
    made = regrasp.make("transfer_cube", num_envs=2, seed=3)
    made.reset()
    return made


@pytest.fixture(scope="module")
def viper_log(env):
    arm = env.workcell.arm
    t = np.arange(0, 2, 0.02)
    home = np.array([*(joint.home for joint in arm.joints[:-1]), 0.5])
    wave = home + 0.1 * np.sin(3 * t)[:, None]
    return Log("wave", arm.joint_names, t, wave + 0.02, wave)


def test_a_real_moment_is_restored_as_it_was_recorded(env, viper_log):
    cube = np.array([0.05, 0.1, 0.04, 1.0, 0.0, 0.0, 0.0])
    moment = real_moment(env, {"left": viper_log}, 1.0, {"cube": cube})
    env.restore(moment, [0])
    data, arm = env.row_data(0), env.workcell.arm
    for i, name in enumerate(arm.joint_names[:-1]):
        assert data.joint(f"left/{name}").qpos[0] == viper_log.q[50, i]
        assert data.joint(f"left/{name}").qvel[0] == pytest.approx(velocities(viper_log)[50, i])
        assert data.ctrl[env.model.actuator(f"left/{name}").id] == viper_log.cmd[50, i]
    finger = data.joint(f"left/{arm.joint_names[-1]}").qpos[0]
    assert arm.opening(finger) == pytest.approx(viper_log.q[50, -1])
    np.testing.assert_array_equal(data.joint("cube").qpos, cube)
    # Of a row nothing is changed that is not said.
    other = env.take(1)
    fresh = real_moment(env, {}, 0.0, row=1)
    size = 1 + env.model.nq + env.model.nv
    np.testing.assert_array_equal(fresh.row[:size], other.row[:size])
    assert not np.array_equal(fresh.row[:size], moment.row[:size])
    for name in ("key", "control.sent", "control.held"):
        np.testing.assert_array_equal(fresh.carry[name], other.carry[name])


def test_a_real_moment_is_seen_as_it_was_recorded_also_where_observations_are_late(viper_log):
    env = regrasp.make("transfer_cube", num_envs=2, seed=3, randomize="table")
    env.reset()
    assert env.take(0).carry["past"].shape[0] > 0
    seen = env.restore(real_moment(env, {"left": viper_log}, 1.0), [0, 1])["joint_pos"]
    size = len(env.workcell.arm.joints) - 1
    # Off by no more than encoders are.
    np.testing.assert_allclose(seen[:, :size], np.tile(viper_log.q[50, :size], (2, 1)), atol=0.05)


def test_copies_of_a_real_moment_have_one_future(env, viper_log, tmp_path):
    moment = real_moment(env, {"left": viper_log, "right": viper_log}, 0.5)
    moment.save(tmp_path / "moment.npz")
    env.fork(Snapshot.load(tmp_path / "moment.npz"))
    action = np.tile(viper_log.cmd[25].astype(np.float32), 2)
    for _ in range(5):
        env.step(np.stack([action, action]))
    np.testing.assert_array_equal(env.state_row(0), env.state_row(1))
    # The servos were already told where to go: the arms go on, they do not jump home.
    name = env.workcell.arm.joint_names[1]
    assert env.row_data(0).joint(f"left/{name}").qpos[0] == pytest.approx(
        viper_log.q[25, 1], abs=0.05
    )


def test_an_arm_by_itself_goes_on_as_its_replay(make_log, arm):
    log = make_log(3.0)
    (q,) = replay([log], arm)
    own = Log(log.name, log.joints, log.t, log.cmd, q)
    model, moment = build_model(arm), arm_moment(own, arm, 1.0)
    data = mujoco.MjData(model)
    mujoco.mj_setState(model, data, moment.row, INTEGRATION)
    for row in range(50, 75):
        data.ctrl[:] = log.cmd[row]
        data.ctrl[-1] = arm.position(log.cmd[row, -1])
        mujoco.mj_step(model, data, round(0.02 / model.opt.timestep))
    ends = [data.joint(name).qpos[0] for name in arm.joint_names]
    ends[-1] = arm.opening(ends[-1])
    np.testing.assert_allclose(ends, q[75], atol=2e-3)


def test_refusals(env, viper_log, make_log, arm):
    with pytest.raises(InputError, match=r"no moment at 9 s; choose 0 to 1\.98 s"):
        real_moment(env, {"left": viper_log}, 9.0)
    with pytest.raises(InputError, match="unknown side"):
        real_moment(env, {"middle": viper_log}, 0.0)
    with pytest.raises(InputError, match="unknown joint of an object"):
        real_moment(env, {}, 0.0, {"ball": np.zeros(7)})
    with pytest.raises(InputError, match="quaternion has length 0"):
        real_moment(env, {}, 0.0, {"cube": np.zeros(7)})
    with pytest.raises(InputError, match="give 7 finite numbers"):
        real_moment(env, {}, 0.0, {"cube": np.zeros(3)})
    with pytest.raises(InputError, match="choose the arm recorded"):
        arm_moment(viper_log, arm, 0.0)
