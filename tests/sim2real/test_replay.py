"""Replay gives a recording of the model itself back, and keeps logs apart."""

import mujoco
import numpy as np
import pytest

from regrasp.assets.arm import load_arm
from regrasp.errors import InputError
from regrasp.sim2real import Log, replay
from regrasp.sim2real.replay import build_model, hold


def _recording(arm, log):
    """What the arm's model does under a log's commands, by a plain loop, at its stamps."""
    model = build_model(arm)
    data = mujoco.MjData(model)
    columns = [model.joint(name).qposadr[0] for name in arm.joint_names]
    first = log.q[0].copy()
    first[-1] = arm.position(first[-1])
    data.qpos[columns] = first
    if arm.gripper.follower:
        data.joint(arm.gripper.follower).qpos = first[-1]
    times, path = [0.0], [data.qpos[columns].copy()]
    while times[-1] < log.duration_s:
        latest = max(i for i, stamp in enumerate(log.t - log.t[0]) if stamp <= data.time + 1e-9)
        data.ctrl[:] = log.cmd[latest]
        data.ctrl[-1] = arm.position(log.cmd[latest, -1])
        mujoco.mj_step(model, data)
        times.append(data.time)
        path.append(data.qpos[columns].copy())
    q = np.stack([np.interp(log.t - log.t[0], times, x) for x in np.array(path).T], axis=1)
    q[:, -1] = arm.opening(q[:, -1])
    return q


def test_a_recording_of_the_model_replays_to_itself(make_log, arm):
    rough = make_log(t=np.cumsum(0.02 + 0.003 * np.sin(np.arange(100))) + 5.0)
    q = _recording(arm, rough)
    assert np.ptp(q[:, 0]) > 0.1
    log = Log(name="itself", joints=rough.joints, t=rough.t, cmd=rough.cmd, q=q)
    (simulated,) = replay([log], arm)
    np.testing.assert_allclose(simulated, q, atol=1e-9)


def test_an_arm_with_a_sliding_gripper_and_a_follower_replays_too():
    viper = load_arm("viperx300s")
    t = np.arange(0, 1.2, 0.02)
    home = [joint.home for joint in viper.joints[:-1]]
    wave = 0.1 * np.sin(3 * t)[:, None] + np.array([*home, 0.5])
    log = Log(name="v", joints=viper.joint_names, t=t, cmd=wave, q=np.roll(wave, 2, axis=0))
    (simulated,) = replay([log], viper)
    np.testing.assert_allclose(simulated, _recording(viper, log), atol=1e-9)


def test_a_replay_depends_on_no_other_log_nor_on_threads(make_log, arm):
    logs = [make_log(seconds, seed) for seed, seconds in enumerate((2.0, 7.3, 1.2, 5.1))]
    together = replay(logs, arm, threads=2)
    for log, q in zip(logs, together, strict=True):
        assert q.shape == log.q.shape
        np.testing.assert_array_equal(replay([log], arm, threads=1)[0], q)
    backwards = replay(logs[::-1], arm, threads=1)[::-1]
    for one, other in zip(together, backwards, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_command_holds_from_its_stamp_to_the_next(make_log):
    log = make_log(t=10 + 0.02 * np.arange(100))
    times = np.array([0.0, 0.019, 0.02, 0.0399, 0.04, 99.0])
    np.testing.assert_array_equal(hold(log, times), log.cmd[[0, 0, 1, 1, 2, 99]])


def test_a_replay_starts_at_rest_where_the_real_arm_was(make_log, arm):
    log = make_log()
    (simulated,) = replay([log], arm)
    np.testing.assert_allclose(simulated[0], log.q[0], atol=1e-12)


def test_finer_steps_hardly_change_it(make_log, arm):
    log = make_log()
    (coarse,), (fine,) = replay([log], arm), replay([log], arm, timestep_s=0.0005)
    assert np.abs(coarse - fine).max() < 1e-3


def test_no_logs_no_replays(arm):
    assert replay([], arm) == []


def test_refusals(make_log, arm, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="6 joints, but viperx300s has 7"):
        replay([make_log()], load_arm("viperx300s"))
    # The engine writes its warnings to a file in the current folder.
    monkeypatch.chdir(tmp_path)
    wild = {"kp": 1e9, "armature": 0.0, "damping": 0.0, "force_limit": 1e12}
    shaky = arm.with_servos(dict.fromkeys(arm.joint_names, wild))
    with pytest.raises(InputError, match="replay of log waves is unstable"):
        replay([make_log()], shaky)
