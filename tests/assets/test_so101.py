"""The SO-101 carries the published figures, moves as it should and does not touch itself."""

import mujoco
import numpy as np
import pytest

from regrasp.assets.arm import load_arm

# Body -> mass (kg), centre of mass (m, body frame), principal inertias (kg m^2).
PUBLISHED = {
    "base": (
        0.147,
        (0.0137179, -5.19711e-05, 0.0334843),
        (1.3612688e-4, 1.3180728e-4, 1.1323284e-4),
    ),
    "shoulder": (
        0.100006,
        (-0.0307604, -1.66727e-05, -0.0252713),
        (8.3783551e-5, 8.1038809e-5, 2.395524e-5),
    ),
    "upper_arm": (
        0.103,
        (-0.0898471, -0.00838224, 0.0184089),
        (1.5087316e-4, 1.4248698e-4, 3.7245056e-5),
    ),
    "lower_arm": (
        0.104,
        (-0.0980701, 0.00324376, 0.0182831),
        (1.602617e-4, 1.4530364e-4, 2.8312457e-5),
    ),
    "wrist": (
        0.079,
        (-0.000103312, -0.0386143, 0.0281156),
        (3.6826479e-5, 2.7447377e-5, 1.8943443e-5),
    ),
    "gripper": (
        0.087,
        (0.000213627, 0.000245138, -0.025187),
        (4.3373493e-5, 3.7722885e-5, 2.4283922e-5),
    ),
    "moving_jaw_so101_v1": (
        0.012,
        (-0.00157495, -0.0300244, 0.0192755),
        (6.635824e-6, 5.2909201e-6, 1.8652259e-6),
    ),
}
RANGES = {
    "shoulder_pan": (-1.9198622, 1.9198622),
    "shoulder_lift": (-1.7453293, 1.7453293),
    "elbow_flex": (-1.69, 1.69),
    "wrist_flex": (-1.6580628, 1.6580627),
    "wrist_roll": (-2.7438473, 2.8412063),
    "gripper": (-0.17453298, 1.7453292),
}
STOCK = {"damping": 0.6, "frictionloss": 0.052, "armature": 0.028}


@pytest.fixture(scope="module")
def arm():
    return load_arm("so101")


@pytest.fixture(scope="module")
def model(arm):
    return arm.spec().compile()


@pytest.mark.parametrize("name", PUBLISHED)
def test_inertials_are_the_published_ones(model, name):
    mass, com, inertia = PUBLISHED[name]
    body = model.body(name)
    assert body.mass[0] == pytest.approx(mass, rel=1e-9)
    np.testing.assert_allclose(body.ipos, com, rtol=1e-9)
    np.testing.assert_allclose(body.inertia, inertia, rtol=1e-9)


def test_shapes_add_no_mass(model):
    assert model.body_mass.sum() == pytest.approx(sum(mass for mass, _, _ in PUBLISHED.values()))


def test_joints_limits_and_servos(arm, model):
    assert arm.joint_names == tuple(RANGES)
    for name, ends in RANGES.items():
        joint, servo = model.joint(name), model.actuator(name)
        np.testing.assert_allclose(joint.range, ends)
        np.testing.assert_allclose(servo.ctrlrange, ends)
        np.testing.assert_allclose(servo.forcerange, (-3.35, 3.35))
        assert (servo.gainprm[0], servo.biasprm[1], servo.biasprm[2]) == (17.8, -17.8, 0)
        for figure, value in STOCK.items():
            assert getattr(joint, figure)[0] == value


def test_gripper_spans_its_range(arm):
    assert (arm.position(0.0), arm.position(1.0)) == RANGES["gripper"]
    assert arm.opening(arm.position(0.3)) == pytest.approx(0.3)


def test_opening_the_gripper_parts_the_finger_tips(arm, model):
    data = mujoco.MjData(model)
    gaps = []
    for opening in (0.0, 0.5, 1.0):
        data.joint("gripper").qpos = arm.position(opening)
        mujoco.mj_forward(model, data)
        tips = (model.geom("left_tip").id, model.geom("right_tip").id)
        gaps.append(mujoco.mj_geomDistance(model, data, *tips, 1.0, None))
    assert gaps[0] < 0.004
    assert gaps[0] < gaps[1] < gaps[2]
    assert gaps[2] > 0.06


def test_home_is_within_limits_and_free_of_contact(arm, model):
    data = mujoco.MjData(model)
    for joint in arm.joints:
        assert joint.range[0] <= joint.home <= joint.range[1]
        data.joint(joint.name).qpos = joint.home
    mujoco.mj_forward(model, data)
    assert data.ncon == 0


def test_a_folded_arm_and_each_joint_alone_are_free_of_contact(model):
    data = mujoco.MjData(model)
    # The elbow stops short: folded fully below an upright arm, the hand meets the base.
    ranges = {**RANGES, "elbow_flex": (-1.69, 1.5)}
    poses = [np.array([0, -1.7, 1.65, 1.2, 0, 0.0])]
    poses += [
        end * unit for unit, ends in zip(np.eye(6), ranges.values(), strict=True) for end in ends
    ]
    for pose in poses:
        data.qpos[:] = pose
        mujoco.mj_forward(model, data)
        assert data.ncon == 0, pose


def test_the_servos_hold_the_arm_up(model):
    data = mujoco.MjData(model)
    for _ in range(1500):
        mujoco.mj_step(model, data)
    # A servo this soft sags: weight over stiffness, some 0.06 rad at the shoulder.
    assert np.abs(data.qpos).max() < 0.1
    assert np.abs(data.qvel).max() < 1e-3
