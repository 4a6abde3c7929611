"""The ViperX 300s beside its published figures, and what its servos and shapes do."""

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrasp.assets import SIDES, aloha, load_arm
from regrasp.errors import InputError

# Figures published with the ALOHA 2 model of MuJoCo Menagerie (BSD-3-Clause): mass (kg), centre of
# mass (m), orientation (wxyz) and moments (kg m^2) of the inertia.
BODIES = {
    "base_link": (
        0.969034,
        (-0.0534774, -0.000562575, 0.0205961),
        (-0.00292324, 0.712517, 0.00480387, 0.701633),
        (0.0071633, 0.00602451, 0.00169819),
    ),
    "shoulder_link": (
        0.798614,
        (0.000259233, -3.3552e-06, 0.0116129),
        (-0.476119, 0.476083, 0.52279, 0.522826),
        (0.00120156, 0.00113744, 0.0009388),
    ),
    "upper_arm_link": (
        0.792592,
        (0.0206949, 4e-10, 0.226459),
        (0.0, 0.0728458, 0.0, 0.997343),
        (0.00911338, 0.008925, 0.000759317),
    ),
    "upper_forearm_link": (
        0.322228,
        (0.105723, 0.0, 0.0),
        (-0.000621631, 0.704724, 0.0105292, 0.709403),
        (0.00144107, 0.00134228, 0.000152047),
    ),
    "lower_forearm_link": (
        0.414823,
        (0.0513477, 0.00680462, 0.0),
        (-0.702604, -0.0796724, -0.702604, 0.0796724),
        (0.0005911, 0.000546493, 0.000155707),
    ),
    "wrist_link": (
        0.115395,
        (0.046743, -7.6652e-06, 0.010565),
        (-0.00100191, 0.544586, 0.0026583, 0.8387),
        (5.45707e-05, 4.63101e-05, 4.32692e-05),
    ),
    "gripper_link": (
        0.251652,
        (0.0395662, -2.56311e-07, 0.00400649),
        (0.62033, 0.619916, -0.339682, 0.339869),
        (0.000689546, 0.000650316, 0.000468142),
    ),
    "gripper_base": (
        0.42158,
        (0.000182154, -0.0341589, -0.0106026),
        (0.435286, 0.557074, -0.551539, 0.442718),
        (0.00110438, 0.000790537, 0.000469727),
    ),
    "left_finger_link": (
        0.0862937,
        (0.0143478, -0.0284791, 0.0122897),
        (0.535486, 0.458766, -0.450407, 0.547651),
        (5.86848e-05, 4.46887e-05, 1.8397e-05),
    ),
    "right_finger_link": (
        0.0862932,
        (0.0143711, 0.0284792, 0.0121421),
        (0.461317, 0.537615, -0.545478, 0.447894),
        (5.86828e-05, 4.46887e-05, 1.83949e-05),
    ),
}
TOTAL_KG = 4.2585049

# The same source: range, home (rad; m for the finger), kp, kv, damping, armature, friction loss,
# force limit.
JOINTS = {
    "waist": ((-3.14158, 3.14158), 0, 43, 0, 5.76, 0, 0, 35),
    "shoulder": ((-1.85005, 1.25664), -0.96, 265, 0, 20, 0.395, 2, 144),
    "elbow": ((-1.76278, 1.6057), 1.16, 227, 0, 18.49, 0.383, 1.15, 59),
    "forearm_roll": ((-3.14158, 3.14158), 0, 78, 0, 6.78, 0.14, 0, 22),
    "wrist_angle": ((-1.8675, 2.23402), -0.3, 37, 0, 6.28, 0.008, 0, 35),
    "wrist_rotate": ((-3.14158, 3.14158), 0, 10.4, 0, 1.2, 0, 0, 35),
    "left_finger": ((0, 0.041), 0.0084, 2000, 124, 40, 0.243, 0, 35),
}
FINGER_TARGETS_M = (0.002, 0.037)
HOME_SITES_M = {"left": (-0.1679, -0.019, 0.3302), "right": (0.1679, -0.019, 0.3302)}


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return aloha().spec().compile()


def at_home(model: mujoco.MjModel) -> mujoco.MjData:
    """Both arms at home, held there by their servos."""
    data = mujoco.MjData(model)
    for name, position in aloha().home_qpos().items():
        data.joint(name).qpos = position
    for name in aloha().action_names:
        data.actuator(name).ctrl = data.joint(name).qpos
    mujoco.mj_forward(model, data)
    return data


def drive(model: mujoco.MjModel, targets: dict[str, float], seconds: float) -> mujoco.MjData:
    """From home, with some servo targets elsewhere."""
    data = at_home(model)
    for name, target in targets.items():
        data.actuator(name).ctrl = target
    mujoco.mj_step(model, data, round(seconds / model.opt.timestep))
    mujoco.mj_forward(model, data)
    return data


def touching(model: mujoco.MjModel, data: mujoco.MjData) -> set[frozenset[str]]:
    """Pairs of geoms in contact, by name."""
    return {frozenset(model.geom(g).name for g in pair) for pair in data.contact.geom}


def inertia(moments: np.ndarray, quat: np.ndarray) -> np.ndarray:
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, np.array(quat) / np.linalg.norm(quat))
    axes = matrix.reshape(3, 3)
    return axes @ np.diag(moments) @ axes.T


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", BODIES)
def test_inertia_is_the_published_one(model: mujoco.MjModel, side: str, name: str):
    mass, com, quat, moments = BODIES[name]
    body = model.body(f"{side}/{name}")
    assert body.mass == pytest.approx(mass, rel=1e-9)
    np.testing.assert_allclose(body.ipos, com, atol=1e-9)
    # The published moments have six digits.
    np.testing.assert_allclose(
        inertia(body.inertia, body.iquat), inertia(np.array(moments), np.array(quat)), atol=1e-9
    )


def test_nothing_else_has_mass(model: mujoco.MjModel):
    assert sum(mass for mass, *_ in BODIES.values()) == pytest.approx(TOTAL_KG, rel=1e-9)
    assert model.body_mass.sum() == pytest.approx(2 * TOTAL_KG, rel=1e-9)


@pytest.mark.parametrize("side", SIDES)
def test_joints_servos_and_home_are_the_published_ones(model: mujoco.MjModel, side: str):
    arm = load_arm("viperx300s")
    assert arm.joint_names == tuple(JOINTS)
    for joint in arm.joints:
        limits, home, kp, kv, damping, armature, frictionloss, force = JOINTS[joint.name]
        built, servo = model.joint(f"{side}/{joint.name}"), model.actuator(f"{side}/{joint.name}")
        np.testing.assert_allclose(built.range, limits)
        assert joint.home == home
        figures = (built.damping[0], built.armature[0], built.frictionloss[0])
        assert figures == (damping, armature, frictionloss)
        assert (servo.gainprm[0], servo.biasprm[1], servo.biasprm[2]) == (kp, -kp, -kv)
        np.testing.assert_allclose(servo.forcerange, (-force, force))
        targets = FINGER_TARGETS_M if joint.name == "left_finger" else limits
        np.testing.assert_allclose(servo.ctrlrange, targets)


def test_actions_are_left_arm_first(model: mujoco.MjModel):
    names = [f"{side}/{joint}" for side in SIDES for joint in JOINTS]
    assert [model.actuator(i).name for i in range(model.nu)] == names
    assert list(aloha().action_names) == names
    assert [names[i] for i in aloha().gripper_columns] == ["left/left_finger", "right/left_finger"]


@pytest.mark.parametrize("side", SIDES)
def test_gripper_at_home_is_where_the_real_one_is(model: mujoco.MjModel, side: str):
    np.testing.assert_allclose(
        at_home(model).site(f"{side}/gripper").xpos, HOME_SITES_M[side], atol=1e-4
    )


def test_nothing_touches_at_home(model: mujoco.MjModel):
    assert touching(model, at_home(model)) == set()


@given(st.floats(-0.5, 1.5))
def test_opening_and_position_are_inverse(opening: float):
    arm = load_arm("viperx300s")
    assert arm.opening(arm.position(opening)) == pytest.approx(opening, abs=1e-12)


def test_opening_runs_from_closed_to_open():
    arm = load_arm("viperx300s")
    assert (arm.position(0.0), arm.position(1.0)) == pytest.approx(FINGER_TARGETS_M)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", JOINTS)
def test_servo_settles_within_friction_and_gravity(model: mujoco.MjModel, side: str, name: str):
    """Where a servo rests, its torque is friction and gravity: kp |error| <= friction + |bias|."""
    size = 0.01 if name == "left_finger" else 0.2
    _, home, kp, _, _, _, friction, _ = JOINTS[name]
    data = drive(model, {f"{side}/{name}": home + size}, 5.0)
    joint = data.joint(f"{side}/{name}")
    bound = (friction + abs(joint.qfrc_bias[0])) / kp
    assert abs(joint.qvel[0]) < 1e-3  # MuJoCo's friction is soft: a loaded joint creeps.
    assert abs(home + size - joint.qpos[0]) <= bound + 1e-4 * size
    assert bound < size / 2


@pytest.mark.parametrize("side", SIDES)
def test_fingers_mirror_each_other(model: mujoco.MjModel, side: str):
    data = drive(model, {f"{side}/left_finger": 0.03}, 1.0)
    left, right = (data.joint(f"{side}/{f}_finger").qpos[0] for f in SIDES)
    assert left == pytest.approx(0.03, abs=1e-3)
    assert right == pytest.approx(left, abs=1e-3)


def test_arms_cannot_pass_through_each_other(model: mujoco.MjModel):
    reach = {"shoulder": -0.2, "elbow": 0.4, "wrist_angle": -0.2}
    targets = {f"{side}/{name}": value for side in SIDES for name, value in reach.items()}
    data = drive(model, targets, 2.0)
    owners = [{name.split("/")[0] for name in pair} for pair in touching(model, data)]
    assert {"left", "right"} in owners
    assert data.site("left/gripper").xpos[0] < data.site("right/gripper").xpos[0] + 0.05


@pytest.mark.parametrize("side", SIDES)
def test_arm_cannot_pass_through_the_table(model: mujoco.MjModel, side: str):
    data = drive(model, {f"{side}/shoulder": 0.3, f"{side}/wrist_angle": 0.6}, 2.0)
    pairs = touching(model, data)
    assert any("table" in pair and any(n.startswith(f"{side}/") for n in pair) for pair in pairs)
    assert data.geom(f"{side}/left_tip").xpos[2] > -0.01


@pytest.mark.parametrize("side", SIDES)
def test_fingers_cannot_pass_through_each_other(model: mujoco.MjModel, side: str):
    data = at_home(model)
    for finger in SIDES:
        data.joint(f"{side}/{finger}_finger").qpos = -0.002
    mujoco.mj_forward(model, data)
    assert {f"{side}/left_tip", f"{side}/right_tip"} in touching(model, data)


def test_unknown_arm_joint_and_figure_are_named():
    with pytest.raises(InputError, match=r"did you mean 'viperx300s'.*so101"):
        load_arm("viperx300")
    arm = load_arm("viperx300s")
    with pytest.raises(InputError, match=r"joint of viperx300s 'hip'.*waist"):
        arm.with_servos({"hip": {"kp": 1.0}})
    with pytest.raises(InputError, match=r"servo figure 'stiffness'.*kp"):
        arm.with_servos({"waist": {"stiffness": 1.0}})


def test_with_servos_changes_what_it_names_alone():
    arm = load_arm("viperx300s")
    changed = arm.with_servos({"elbow": {"kp": 100.0, "damping": 7.0}})
    assert arm == load_arm("viperx300s")
    model, before = changed.spec().compile(), arm.spec().compile()
    elbow = model.actuator("elbow")
    assert (elbow.gainprm[0], elbow.biasprm[1], model.joint("elbow").damping[0]) == (100, -100, 7)
    others = [i for i in range(model.nu) if i != elbow.id]
    np.testing.assert_array_equal(model.actuator_gainprm[others], before.actuator_gainprm[others])
