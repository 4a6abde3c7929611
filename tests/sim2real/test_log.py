"""A log is refused by name when it cannot be a recording."""

import numpy as np
import pytest

from regrasp.assets.arm import load_arm
from regrasp.errors import InputError


def test_a_sound_log_is_kept_as_given(make_log, arm):
    log = make_log()
    log.check_arm(arm)
    assert log.duration_s == pytest.approx(1.98)
    assert log.period_s == pytest.approx(0.02)
    assert log.qd is None


def _nan(values):
    values = values.copy()
    values[7, 2] = np.nan
    return values


BAD = {
    "nan": (lambda log: {"q": _nan(log.q)}, "q of elbow_flex is nan at sample 7"),
    "infinite": (lambda log: {"cmd": _nan(log.cmd) * np.inf}, "cmd of"),
    "repeated stamp": (lambda log: {"t": np.repeat(log.t[::2], 2)}, "stamp 1 .* not later"),
    "backwards": (lambda log: {"t": log.t[::-1]}, "not later than the one before"),
    "nan stamp": (lambda log: {"t": log.t * np.nan}, "stamp 0 is nan"),
    "columns": (lambda log: {"cmd": log.cmd[:, :5]}, r"cmd has shape \(100, 5\)"),
    "rows": (lambda log: {"q": log.q[:50]}, r"q has shape \(50, 6\)"),
    "velocity": (lambda log: {"qd": log.q[:, 0]}, "qd has shape"),
    "short": (lambda log: {"t": log.t / 10}, "0.198 s long"),
    "one sample": (lambda log: {"t": log.t[:1], "cmd": log.cmd[:1], "q": log.q[:1]}, "1 samples"),
    "still": (lambda log: {"cmd": np.zeros_like(log.cmd)}, "no motion"),
    "degrees": (lambda log: {"cmd": np.degrees(log.cmd)}, "more than a full turn"),
    "percent": (lambda log: {"q": log.q * ([1] * 5 + [100])}, "not a normalised opening"),
    "action is next state": (lambda log: {"cmd": np.roll(log.q, -1, axis=0)}, "next measured"),
}


@pytest.mark.parametrize("case", BAD)
def test_refusals_name_the_log_and_the_fault(make_log, case):
    change, message = BAD[case]
    with pytest.raises(InputError, match=message) as refusal:
        make_log(name="bad_one", **change(make_log()))
    assert "bad_one" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_another_arms_log_is_refused(make_log):
    with pytest.raises(InputError, match="6 joints, but viperx300s has 7"):
        make_log().check_arm(load_arm("viperx300s"))


def test_other_joint_names_are_refused(make_log, arm):
    log = make_log(joints=("a", "b", "c", "d", "e", "f"))
    with pytest.raises(InputError, match="are not those of so101"):
        log.check_arm(arm)
