"""The how-tos run: their code is executed as it stands."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import regrasp
from regrasp.assets import load_arm
from regrasp.envs import episode_keys
from regrasp.errors import InputError
from regrasp.rl.evaluate import play_episodes
from regrasp.rl.experts import load_expert
from regrasp.sim2real import replay
from regrasp.sim2real.log import Refused

HOWTOS = Path(__file__).parents[1] / "docs" / "howto"


def played(name: str) -> dict[str, Any]:
    """What the how-to's Python blocks define, run one after another."""
    text = (HOWTOS / name).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert blocks
    names: dict[str, Any] = {"__name__": "howto"}
    for block in blocks:
        exec(compile(block, name, "exec"), names)
    return names


def test_add_a_task():
    env = played("add-a-task.md")["env"]
    rows = [env.state_row(row) for row in range(env.num_envs)]
    assert all(np.array_equal(row, rows[0]) for row in rows)
    ball = np.asarray(env.view().body_pos["ball"])
    env.step(np.tile(env.control.home, (env.num_envs, 1)))
    np.testing.assert_allclose(env.view().body_pos["ball"], ball, atol=1e-6)


def test_add_a_randomised_field():
    env = played("add-a-randomised-field.md")["env"]
    nominal = env.model.dof_damping
    factors = np.array([env.row_model(row).dof_damping for row in range(4)])[:, nominal > 0]
    factors /= nominal[nominal > 0]
    assert (factors >= 0.5).all()
    assert (factors <= 2).all()
    assert len(np.unique(factors)) > 14


def test_add_a_log_format(tmp_path: Path):
    names, arm = played("add-a-log-format.md"), load_arm("so101")
    path = tmp_path / "wave.deg.csv"
    t = np.arange(0, 1.5, 0.02)[:, None]
    cmd = np.concatenate([20 * np.sin(3 * t + np.arange(5)), 50 + 0 * t], axis=1)
    head = ["t", *(f"{part}.{name}" for part in ("cmd", "q") for name in arm.joint_names)]
    table = np.concatenate([t, cmd, cmd], axis=1)
    np.savetxt(path, table, delimiter=",", header=",".join(head), comments="")
    assert names["accepts"](path)
    (log,) = names["read"](path, arm)
    assert np.abs(log.cmd[:, 0]).max() == pytest.approx(np.radians(20), rel=1e-2)
    assert log.cmd[0, -1] == pytest.approx(0.5)
    assert replay([log], arm)[0].shape == log.q.shape
    path.write_text("t,cmd.shoulder_pan\n0,1\n")
    (refused,) = names["read"](path, arm)
    assert isinstance(refused, Refused)
    assert "cmd.shoulder_lift" in refused.reason


def test_add_an_arm():
    """The small arm is taught to do the task by the teacher of all others."""
    names = played("add-an-arm.md")
    file = str(names["folder"] / "crane.json")
    assert names["env"].single_action_space.shape == (12,)
    env = regrasp.make("transfer_cube", 2, workcell=file, autoreset=AutoresetMode.DISABLED)
    keys = episode_keys(0, "demonstrate", 0, 2)
    env.begin(np.asarray(keys))
    moment = env.take()
    expert = load_expert("transfer_cube", "flawless", env.task)
    assert play_episodes(env, expert, keys, 0, 0).success.all()
    env.restore(moment)
    assert np.array_equal(env.take().row, moment.row)
    with pytest.raises(InputError, match="crane cannot do 'hand_over'"):
        regrasp.make("hand_over", workcell=file)


def test_look_into_a_simulation():
    names = played("look-into-a-simulation.md")
    show, ghosts = names["show"], names["ghosts"]
    assert (show.step, ghosts.step) == (20, 40)
    assert ghosts.spread_m > 0
    assert show.numbers["cube mass"] == 2
