"""What is looked at is refused before anything is compiled, in one line that says what to do."""

import json
import shutil
import socket
from pathlib import Path

import pytest

from regrasp.cli import main
from regrasp.errors import InputError
from regrasp.rl.bundle import BUNDLES
from regrasp.view import ViewConfig
from regrasp.view.actors import bundle_for
from regrasp.view.config import free_port

HERE = "127.0.0.1"


def test_a_port_in_use_is_named_and_another_one_suggested():
    with socket.socket() as other:
        other.bind((HERE, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(
            InputError, match=f"port {port} of {HERE} is in use: choose another"
        ) as refused:
            free_port(HERE, port)
        suggested = int(str(refused.value).rpartition(" ")[2])
        assert free_port(HERE, suggested) == suggested != port


def test_port_0_is_any_that_is_free():
    assert free_port(HERE, 0) > 1023


TASK = "transfer_cube"


@pytest.mark.parametrize("host", ["nowhere.invalid", "203.0.113.7"])
def test_an_address_of_another_machine_is_refused(host: str):
    with pytest.raises(InputError, match=r"choose 127\.0\.0\.1 or 0\.0\.0\.0"):
        free_port(host, 0)


@pytest.mark.parametrize(
    "wrong", [{"ghosts": 0}, {"fps": 0}, {"speed": float("nan")}, {"port": 70000}]
)
def test_a_setting_out_of_range_is_refused(wrong: dict):
    (name,) = wrong
    with pytest.raises(InputError, match=f"{name} .*: choose"):
        ViewConfig(**wrong)


def test_a_bundle_for_another_workcell_or_task_is_refused(tmp_path: Path):
    shutil.copytree(BUNDLES / TASK, tmp_path / "other")
    path = tmp_path / "other" / "policy.json"
    meta = json.loads(path.read_text())
    meta["workcell"] = "so101"
    path.write_text(json.dumps(meta))
    with pytest.raises(InputError, match="commands the workcell 'so101', not 'aloha'"):
        bundle_for(TASK, str(tmp_path / "other"))
    assert bundle_for(TASK, str(tmp_path / "other"), "so101").meta["task"] == TASK
    with pytest.raises(InputError, match="does 'transfer_cube', not 'hand_over'"):
        bundle_for("hand_over", TASK)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("view", "juggle"), "unknown task 'juggle'"),
        (("view", "tidy", "--policy", "nobody"), "no bundle at nobody"),
        (("view", "tidy", "--snapshot", "none.npz"), "no snapshot at none.npz"),
        (("view", "tidy", "--logs", "none"), "no log at none"),
        (("view", "tidy", "--randomize", "much"), "unknown randomization 'much'"),
        (("video", "tidy", "--out", "film.gif"), "ends in .mp4"),
        (("video", "tidy", "--out", "film.mp4", "--policy", "nobody"), "no bundle at nobody"),
        (("video", "juggle", "--out", "film.mp4"), "unknown task 'juggle'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(args: tuple, said: str, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*args, *(("--port", "0") if args[0] == "view" else ())])
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
    assert said in err
