"""Control: commands reach the servos one latency after they were sent, within the limits."""

import jax
import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrasp import BatchEnv
from regrasp.assets import aloha
from regrasp.envs.control import MAX_LATENCY_S, Control
from regrasp.envs.randomizer import Settings

SUBSTEPS, TIMESTEP_S = 4, 0.005
CONTROL = Control(aloha(), SUBSTEPS, TIMESTEP_S)
SEND = jax.jit(CONTROL.send)
GRIPPERS = list(aloha().gripper_columns)
ARMS = [i for i in range(14) if i not in GRIPPERS]


def arrivals(actions: np.ndarray, latency_s: float) -> np.ndarray:
    """Servo targets at every physics substep."""
    carry, targets = CONTROL.start(), []
    for action in actions:
        carry, command = SEND(carry, action, Settings(command_latency_s=latency_s))
        for substep in range(SUBSTEPS):
            targets.append(command.before if substep < command.switch else command.after)
    return np.array(jax.device_get(targets))


def in_metres(actions: np.ndarray) -> np.ndarray:
    targets = np.array(actions, np.float32)
    targets[:, GRIPPERS] = aloha().arm.position(targets[:, GRIPPERS])
    return targets


@settings(max_examples=30, deadline=None)
@given(latency_s=st.floats(0, 0.06), seed=st.integers(0, 100))
def test_commands_arrive_one_latency_later_to_the_substep(latency_s: float, seed: int):
    rng = np.random.default_rng(seed)
    actions = rng.uniform(CONTROL.low, CONTROL.high, (6, 14)).astype(np.float32)
    held = np.repeat(in_metres(actions), SUBSTEPS, axis=0)
    late = round(latency_s / TIMESTEP_S)
    home = np.repeat(in_metres(CONTROL.home[None]), late, axis=0)
    expected = np.concatenate([home, held])[: len(held)]
    np.testing.assert_allclose(arrivals(actions, latency_s), expected, atol=1e-6)


def test_latency_is_held_up_to_its_maximum_and_no_longer():
    actions = np.repeat(CONTROL.high[None], 8, axis=0)
    first = [
        int(np.argmax(arrivals(actions, s)[:, 0] > 0)) * TIMESTEP_S for s in (MAX_LATENCY_S, 1.0)
    ]
    assert first == pytest.approx([MAX_LATENCY_S, MAX_LATENCY_S])


def test_actions_are_clipped_to_the_limits():
    far = np.full((1, 14), 100, np.float32)
    for action, limit in ((far, CONTROL.high), (-far, CONTROL.low)):
        np.testing.assert_allclose(arrivals(action, 0.0)[-1], in_metres(limit[None])[0], atol=1e-6)


def test_limits_are_the_joints_own_and_openings_run_from_0_to_1():
    model = aloha().spec().compile()
    ranges = np.array([model.joint(name).range for name in aloha().action_names])
    np.testing.assert_allclose(CONTROL.low[ARMS], ranges[ARMS, 0], rtol=1e-6)
    np.testing.assert_allclose(CONTROL.high[ARMS], ranges[ARMS, 1], rtol=1e-6)
    assert CONTROL.low[GRIPPERS].tolist() == [0, 0]
    assert CONTROL.high[GRIPPERS].tolist() == [1, 1]


def test_the_engine_gets_the_commands_when_they_arrive(nominal: BatchEnv):
    """A row with a latency moves, bit for bit, as MuJoCo does when told so many substeps later."""
    nominal.reset(seed=0)
    kept = nominal.take()
    latencies = np.array([0, 1, 2, 4, 5, 7, 10, 15])
    kept.carry["settings"][:, 0] = latencies * TIMESTEP_S
    nominal.restore(kept)
    rng = np.random.default_rng(0)
    actions = rng.uniform(CONTROL.low, CONTROL.high, (6, 14)).astype(np.float32)
    for action in actions:
        nominal.step(np.repeat(action[None], 8, axis=0))
    for row, late in enumerate(latencies):
        targets = arrivals(actions, late * TIMESTEP_S)
        data = mujoco.MjData(nominal.model)
        mujoco.mj_setState(
            nominal.model, data, kept.row[row], int(mujoco.mjtState.mjSTATE_INTEGRATION)
        )
        for target in targets:
            data.ctrl[:] = target
            mujoco.mj_step(nominal.model, data)
        np.testing.assert_array_equal(nominal.row_data(row).qpos, data.qpos)
        np.testing.assert_array_equal(nominal.row_data(row).qvel, data.qvel)


def test_home_holds_the_arms(nominal: BatchEnv):
    """The home action keeps every joint within what gravity and friction allow."""
    nominal.reset(seed=0)
    before = np.asarray(nominal.view().joint_pos)
    for _ in range(25):
        nominal.step(np.repeat(nominal.control.home[None], 8, axis=0))
    assert np.abs(np.asarray(nominal.view().joint_pos) - before).max() < 0.1
