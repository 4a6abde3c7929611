"""Parameter files: what they may hold, and that it reaches the arm."""

import json

import numpy as np
import pytest

from regrasp.errors import InputError
from regrasp.sim2real import with_params


@pytest.fixture
def write(tmp_path):
    def write(**fields):
        path = tmp_path / "p.json"
        path.write_text(json.dumps({"arm": "so101", "servos": {}, **fields}))
        return path

    return write


def test_figures_and_masses_reach_the_arm(arm, write):
    link = {"log_mass": 0.1, "shift_m": [0.0, 0.01, 0.0]}
    servo = {"offset": -0.01, "latency_s": 0.02, "motor_friction": 0.4}
    fitted = with_params(arm, write(servos={"elbow_flex": servo}, links={"gripper": link}))
    elbow = fitted.joints[2].servo
    assert (elbow.offset, elbow.latency_s, elbow.motor_friction) == (-0.01, 0.02, 0.4)
    before, after = (a.spec().compile().body("gripper") for a in (arm, fitted))
    np.testing.assert_allclose(after.mass, before.mass * np.exp(0.1))
    np.testing.assert_allclose(after.inertia, before.inertia * np.exp(0.1))
    np.testing.assert_allclose(after.ipos - before.ipos, [0.0, 0.01, 0.0], atol=1e-12)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"servos": {"elbow_flex": {"kp": -1}}}, "kp of elbow_flex is -1"),
        ({"servos": {"elbow_flex": {"creep": 0.0}}}, "creep of elbow_flex is 0.0"),
        ({"servos": {"elbow_flex": {"stribeck_speed": 0}}}, "stribeck_speed of elbow_flex is 0"),
        ({"servos": {"elbow_flex": {"offset": "x"}}}, "offset of elbow_flex is 'x'"),
        ({"links": []}, "links is not"),
        ({"links": {"gripper": {"log_mass": 9}}}, "log_mass of gripper is 9"),
        ({"links": {"gripper": {"shift_m": [0, 1]}}}, "shift_m of gripper"),
        ({"links": {"hand": {"log_mass": 0}}}, "unknown body of so101 'hand'"),
        ({"links": {"gripper": {"mass": 0}}}, "unknown link figure 'mass'"),
    ],
)
def test_refusals(arm, write, fields, words):
    with pytest.raises(InputError, match=words):
        with_params(arm, write(**fields))
