"""Control: commands reach the servos one latency after they were sent, within the limits."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from regrasp import BatchEnv
from regrasp.assets import aloha
from regrasp.assets.workcell import TIMESTEP_S
from regrasp.envs.control import MAX_LATENCY_S, Control, play
from regrasp.envs.randomizer import Settings

SUBSTEPS = round(0.02 / TIMESTEP_S)
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


def deliveries(latency_s: float, jitter_s: float, drop: float, seed: int, steps: int = 40):
    """Numbers of the commands in force at every substep (-1: home), and switches per period."""
    rng = np.random.default_rng(seed)
    settings = Settings(*(jnp.float32(number) for number in (latency_s, jitter_s, drop)))
    actions = np.tile(CONTROL.home, (steps, 1))
    actions[:, 0] = np.arange(1, steps + 1) / steps  # The waist tells which command it is.
    carry, waist = CONTROL.start(), []
    for action in actions:
        carry, command = SEND(carry, action, settings, rng.uniform(size=2).astype(np.float32))
        assert 0 <= command.switch < SUBSTEPS
        for substep in range(SUBSTEPS):
            target = command.before if substep < command.switch else command.after
            waist.append(float(target[0]))
    return np.round(np.array(waist) * steps).astype(int) - 1


@settings(max_examples=30, deadline=None)
@given(
    latency_s=st.floats(0, 0.1),
    jitter_s=st.floats(0, 0.04),
    drop=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 100),
)
def test_no_command_overtakes_another(latency_s: float, jitter_s: float, drop: float, seed: int):
    """Nor comes before its latency; without losses none is later than latency and jitter allow."""
    served = deliveries(latency_s, jitter_s, drop, seed)
    assert (np.diff(served) >= 0).all()
    sent = np.arange(len(served)) // SUBSTEPS
    due = served * SUBSTEPS + round(latency_s / TIMESTEP_S)
    came = served >= 0
    assert (np.arange(len(served))[came] >= due[came] - 1).all()
    if drop == 1:
        assert not came.any()
    if drop == 0:
        latest = (latency_s + jitter_s) / TIMESTEP_S
        assert (served >= sent - 1 - np.ceil((latest + 1) / SUBSTEPS)).all()


@settings(max_examples=20, deadline=None)
@given(latency_s=st.floats(0, 0.1), seed=st.integers(0, 100))
def test_without_jitter_and_losses_chance_changes_nothing(latency_s: float, seed: int):
    served = deliveries(latency_s, 0.0, 0.0, seed)
    np.testing.assert_array_equal(served, deliveries(latency_s, 0.0, 0.0, seed + 1))


def test_lost_commands_are_as_many_as_their_probability_says():
    served = deliveries(0.0, 0.0, 0.25, 0, steps=400)
    assert len(set(served) - {-1}) == pytest.approx(300, abs=45)


def dragged(held: float, target: float, width: float) -> float:
    return float(play(*(jax.numpy.float32(x)[None] for x in (held, target, width)))[0])


@settings(max_examples=50, deadline=None)
@given(held=st.floats(-3, 3, width=32), target=st.floats(-3, 3, width=32), width=st.floats(0, 0.5))
def test_backlash_moves_the_joint_by_the_ends_of_the_gap_alone(held, target, width):
    # Where rounding decides which side of the gap's end it is, nothing is claimed.
    assume(abs(abs(held - target) - width / 2) > 1e-5)
    moved = dragged(held, target, width)
    inside = abs(held - target) <= width / 2
    if inside:
        assert moved == pytest.approx(held, abs=1e-6)
    else:
        assert abs(moved - target) == pytest.approx(width / 2, abs=1e-6)
        assert (moved - held) * (target - held) > 0
    assert dragged(moved, target, width) == pytest.approx(moved, abs=1e-6)
    if width == 0:
        assert moved == np.float32(target)


def test_offsets_shift_what_arm_joints_are_told():
    offset = np.where(CONTROL.is_arm, np.linspace(-0.01, 0.01, 14), 0).astype(np.float32)
    settings = Settings(joint_offset_rad=jax.numpy.asarray(offset))
    _, command = SEND(CONTROL.start(settings), jax.numpy.asarray(CONTROL.home), settings)
    home = in_metres(CONTROL.home[None])[0]
    np.testing.assert_allclose(command.after - home, offset, atol=1e-6)
    np.testing.assert_array_equal(command.before, command.after)
