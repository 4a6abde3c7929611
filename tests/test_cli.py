"""The command line: bad input is one line and exit code 2, and leaves nothing behind."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import regrasp.files
from regrasp import cli, terminal
from regrasp.assets.arm import load_arm
from regrasp.envs import Snapshot
from regrasp.errors import InputError

REGRASP = (sys.executable, "-m", "regrasp")
Refuse = Callable[..., str]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refuse(here: Path, capfd: pytest.CaptureFixture[str]) -> Refuse:
    """Runs a command that must be refused; returns its one line."""

    def run(*args: Any) -> str:
        before = files(here)
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main([str(arg) for arg in args])
        out, err = capfd.readouterr()
        assert stop.value.code == 2
        assert out == ""
        assert err.startswith("regrasp: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        assert "Traceback" not in err
        assert files(here) == before
        return err

    return run


@pytest.fixture
def run_folder(finished, here: Path) -> Path:
    return Path(shutil.copytree(finished.folder, here / "run"))


# ---- names and numbers ----


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("runn transfer_cube", "unknown verb 'runn': did you mean 'run'?"),
        (
            "frobnicate",
            "choose one of certify, clone, coverage, demos, eval, export, film, fit, gap, generate, "
            "identify, improve, logs, open-loop, plot, randomization, report, retime, run",
        ),
        ("certify --tasks transfer_cub", "unknown task 'transfer_cub': did you mean"),
        (
            "certify --backends gpu",
            "unknown backend 'gpu': did you mean 'cpu'? choose one of cpu, mjx, warp",
        ),
        ("run transfer_cub", "unknown task 'transfer_cub': did you mean 'transfer_cube'?"),
        ("demos transfer_cub", "unknown task 'transfer_cub'"),
        ("eval hand_over --task transfer_cub", "unknown task 'transfer_cub'"),
        ("gap nowhere --arm so100", "unknown arm 'so100': did you mean 'so101'?"),
        ("identify nowhere --out p.json", "no log at nowhere"),
        ("identify nowhere --out p.json --rung best", "unknown rung 'best'"),
        ("identify nowhere --out p.json --folds 0", "folds 0"),
        (
            "demos transfer_cube --randomize tabel",
            "unknown randomization 'tabel': did you mean 'table'?",
        ),
        ("eval hand_over --randomize tabel", "unknown randomization 'tabel'"),
        ("demos transfer_cube --manner humn", "unknown manner 'humn': did you mean 'human'?"),
        ("demos transfer_cube --episodes -3", "episodes -3"),
        ("run transfer_cube --demos.episodes 0", "episodes 0"),
        ("run transfer_cube --judge.episodes -1", "episodes -1"),
        ("clone transfer_cube --updates -100", "updates -100"),
        ("improve transfer_cube --tries -2", "tries -2"),
        ("improve transfer_cube --advantage gea", "unknown advantage 'gea': did you mean 'gae'?"),
        ("eval transfer_cube --delay-ms 15", "delay_ms 15.0: choose a multiple of 20"),
        ("eval transfer_cube --delay-ms 700", "a chunk of 32 lasts for 32 control steps"),
        ("eval transfer_cube --speed 9", "speed 9.0"),
        ("plot nowhere", "nowhere holds no judged iterations"),
        ("plot nowhere --out curves.gif", "a name that ends in .png or .svg"),
        (
            "improve transfer_cube --iterations 1.5",
            "'1.5' for --iterations: choose a whole number.",
        ),
        ("clone transfer_cube --ensemble abc", "'abc' for --ensemble: choose None or a number."),
        ("run transfer_cube --clone.ensemble abc", "'abc' for --clone.ensemble: choose None or a"),
        ("gap nowhere --rate-hz fast", "'fast' for --rate-hz: choose a number. Samples per second"),
        (
            "open-loop a b --resampl",
            "options: --resampl; perhaps you meant: --resample, --no-",
        ),
        ("clone transfer_cube --updates", "regrasp: Missing value for argument '--updates'"),
        ("demos transfer_cube --seed -1", "seed -1 is out of range"),
        ("demos transfer_cube --seed 4294967296", "seed 4294967296 is out of range"),
        ("demos transfer_cube --colour red", "--colour"),
        ("demos", "regrasp: Missing from regrasp demos: STR Name of the task"),
        ("clone transfer_cube", "run `regrasp demos transfer_cube` first"),
        ("clone transfer_cube --source retimed", "run `regrasp retime transfer_cube` first"),
        ("clone transfer_cube --fastest 0", "fastest 0.0"),
        ("retime transfer_cube", "run `regrasp demos transfer_cube` first"),
        ("export transfer_cube", "run `regrasp clone transfer_cube` first"),
        ("report transfer_cube", "no run at runs/transfer_cube-0"),
    ],
)
def test_what_cannot_be_meant_is_refused(refuse: Refuse, command: str, says: str):
    assert says in refuse(*command.split())


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]):
    for args in ([], ["--help"], ["gap", "--help"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(args)
        assert not stop.value.code
        assert capsys.readouterr().out.startswith("usage: regrasp")


# ---- files ----


def test_bundles_that_are_none(refuse: Refuse, run_folder: Path):
    assert "no bundle at nowhere" in refuse("eval", "nowhere")
    bundle = run_folder / "bundle" / "clone"
    text = (bundle / "policy.json").read_text()
    digest = json.loads(text)["sha256"]["policy.onnx"]
    (bundle / "policy.json").write_text(text.replace(digest, "0" * 64))
    assert f"has checksum {digest[:12]}" in refuse("eval", bundle)
    (bundle / "policy.json").write_text(text[:100])
    assert "is not JSON" in refuse("eval", bundle)
    meta = json.loads(text)
    meta["observations"][0]["shape"] = [11]
    (bundle / "policy.json").write_text(json.dumps(meta))
    assert "'joint_pos' has shape (1, 12), this policy takes (1, 11)" in refuse(
        "eval", bundle, "--episodes", 1
    )
    (bundle / "policy.json").unlink()
    assert "no bundle at" in refuse("eval", bundle)


def test_figures_that_are_none(refuse: Refuse):
    """And the task says itself what its figures are, and within what bounds."""
    for said in ("clearance_m", "clearance_m=thin", "clearance_m 0.002"):
        assert f"figures '{said}': choose NAME=NUMBER" in refuse(
            "eval", "transfer_cube", "--figures", said
        )
    assert "unknown figure of transfer_cube 'horizon': did you mean 'horizon_s'" in refuse(
        "eval", "transfer_cube", "--figures", "horizon=3"
    )


@pytest.fixture
def write_log(here: Path) -> Callable[..., Path]:
    """Writes one recording as npz; arrays may be replaced, or joints added."""

    def write(joints: int = 6, **changes: Any) -> Path:
        t = np.arange(0, 2, 0.02)
        cmd = 0.5 + 0.3 * np.sin(2 * t[:, None] + np.arange(joints))
        run = {"t": t, "cmd": cmd, "q": 0.9 * cmd, **changes}
        path = here / "log.npz"
        np.savez(path, **{f"wave__0__{name}": values for name, values in run.items()})
        return path

    return write


def test_logs_that_are_none(refuse: Refuse, write_log: Callable[..., Path]):
    assert "no log at nowhere" in refuse("gap", "nowhere")
    path = write_log()
    path.write_bytes(path.read_bytes()[:-400])
    assert "log.npz is not an npz" in refuse("gap", path)
    broken = np.full((100, 6), 0.5)
    broken[7, 2] = np.nan
    assert "q of elbow_flex is nan at sample 7" in refuse("gap", write_log(q=broken))
    assert "needs (100, 6)" in refuse("gap", write_log(joints=8))
    assert "no log" in refuse("gap", Path(__file__))
    assert "parameter file" in refuse("gap", write_log(), "--params", "nowhere")


def test_a_gap_is_one_json_document(write_log, here: Path, capfd: pytest.CaptureFixture[str]):
    before = set(files(here)) | {str(write_log())}
    cli.main(["gap", "log.npz", "--json"])
    out, _ = capfd.readouterr()
    found = json.loads(out)
    assert out.count("\n") == 1
    assert set(found["joints"]) == set(load_arm("so101").joint_names)
    assert found["rmse_rad"] > 0
    assert set(files(here)) == before


def test_a_run_is_one_json_document(finished):
    assert finished.stdout.count("\n") == 1
    found = json.loads(finished.stdout)
    assert found["report"] == str(finished.folder / "report.html")
    names = [(one["policy"], one["physics"]) for one in found["evaluations"]]
    assert len(set(names)) == len(names) == 6
    assert all(one["episodes"] == 2 for one in found["evaluations"])


def test_judging_answers_in_the_same_way(run_folder: Path, capfd: pytest.CaptureFixture[str]):
    capfd.readouterr()
    cli.main(["eval", str(run_folder), "--episodes", "1", "--seed", "4", "--json"])
    out, err = capfd.readouterr()
    found = json.loads(out)
    assert out.count("\n") == 1
    assert "eval" in err
    wanted = ("episodes", "seed", "physics", "policy", "task")
    assert [found[name] for name in wanted] == [1, 4, "nominal", "run", "transfer_cube"]
    assert 0 <= found["low"] <= found["rate"] <= found["high"] <= 1


# ---- runs ----


def test_other_settings_than_those_of_the_run(refuse: Refuse, run_folder: Path):
    at = ("transfer_cube", "--seed", 3, "--folder", run_folder)
    assert "updates 100 -> 8" in refuse("clone", *at, "--updates", 8)
    assert "episodes 2 -> 7" in refuse("demos", *at, "--episodes", 7)
    assert "tries 2 -> 5" in refuse("improve", *at, "--tries", 5)
    again = ("run", *at, "--no-video", "--demos.episodes", 2, "--clone.updates", 9)
    assert "updates 100 -> 9" in refuse(*again)


def test_a_checkpoint_that_is_cut_short(refuse: Refuse, run_folder: Path):
    path = run_folder / "clone" / "params.npz"
    path.write_bytes(path.read_bytes()[:-500])
    shutil.rmtree(run_folder / "bundle")
    assert "params.npz is not whole" in refuse("export", "transfer_cube", "--folder", run_folder)


def test_demonstrations_of_another_model_or_version(refuse: Refuse, run_folder: Path):
    shutil.rmtree(run_folder / "improve")
    at = ("improve", "transfer_cube", "--folder", run_folder)
    kept = sorted((run_folder / "demos" / "snapshots").iterdir())
    replace(Snapshot.load(kept[0]), fingerprint="another").save(kept[0])
    assert "of another model" in refuse(*at)
    with np.load(kept[1]) as data:
        arrays = dict(data)
    meta = json.loads(str(arrays["meta"]))
    arrays["meta"] = np.array(json.dumps({**meta, "format": 99}))
    np.savez(kept[1], **arrays)
    kept[0].unlink()
    shutil.copy(kept[1], kept[0])
    assert "has format 99, this version reads" in refuse(*at)
    kept[0].write_bytes(kept[0].read_bytes()[:1000])
    assert "is not a whole snapshot" in refuse(*at)


# ---- the disk ----


def test_a_folder_that_cannot_be_written(refuse: Refuse, here: Path):
    (here / "taken").write_text("a file")
    for verb in ("demos", "run"):
        video = ["--no-video"] if verb == "run" else []
        said = refuse(verb, "transfer_cube", *video, "--folder", here / "taken" / "run")
        assert "cannot write" in said
        assert "choose another folder" in said


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_belongs_to_others(refuse: Refuse, here: Path):
    locked = here / "locked"
    locked.mkdir(mode=0o500)
    assert "Permission denied" in refuse("demos", "transfer_cube", "--folder", locked / "run")


@pytest.mark.parametrize("kind", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(refuse: Refuse, run_folder: Path, monkeypatch: pytest.MonkeyPatch, kind: int):
    """Wherever it is noticed: when a file is written, or only when it is put in its place."""
    at = ("transfer_cube", "--seed", 3, "--folder", run_folder)
    shutil.rmtree(run_folder / "bundle")
    shutil.rmtree(run_folder / "clone")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(kind, os.strerror(kind))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        assert "no space left to write" in refuse("clone", *at, "--updates", 100)
    with monkeypatch.context() as patch:
        patch.setattr(regrasp.files.os, "replace", full)
        assert "free some disk space" in refuse("clone", *at, "--updates", 100)


@pytest.fixture
def tiny_disk(here: Path) -> Iterator[Path]:
    """A disk of 64 kB; only root may make one."""
    folder = here / "disk"
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder)
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(("umount", folder), check=True)


def test_a_disk_that_fills_up(tiny_disk: Path, capfd: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        cli.main(["demos", "transfer_cube", "--episodes", "1", "--folder", str(tiny_disk / "run")])
    assert stop.value.code == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert "no space left to write" in err.splitlines()[-1]
    assert set(files(tiny_disk)) <= {str(tiny_disk / "run" / "demos.json")}


# ---- pictures ----


@pytest.fixture
def blind(here: Path) -> dict[str, str]:
    """An environment in which OpenGL finds no driver."""
    nothing = {"__EGL_VENDOR_LIBRARY_DIRS": str(here), "LIBGL_DRIVERS_PATH": str(here)}
    return {**os.environ, **nothing, "MUJOCO_GL": "egl", "REGRASP_DATA": str(here)}


@pytest.mark.parametrize("binding", ["egl", "osmesa"])
def test_without_pictures_a_run_says_so_before_it_starts(
    blind: dict[str, str], here: Path, binding: str
):
    before = files(here)
    command = (*REGRASP, "run", "transfer_cube")
    done = subprocess.run(
        command, env={**blind, "MUJOCO_GL": binding}, cwd=here, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("regrasp: cannot render here")
    assert done.stderr.count("\n") == 1
    assert "libegl1" in done.stderr
    assert "--no-video" in done.stderr
    assert files(here) == before
    assert not (here / "runs").exists()


def test_without_pictures_a_run_goes_on_if_it_is_told_to(
    blind: dict[str, str], finished, run_folder: Path
):
    """A finished run is walked again: only what was lost is done."""
    (run_folder / "report.html").unlink()
    command = (*REGRASP, *finished.command, "--folder", str(run_folder))
    done = subprocess.run(command, env=blind, cwd=run_folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["evaluations"]
    assert found == json.loads(finished.stdout)["evaluations"]
    assert (run_folder / "report.html").exists()


# ---- interruptions ----


def test_an_interruption_is_one_line_and_its_own_code(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("regrasp.road.demonstrate", interrupted)
    with pytest.raises(SystemExit) as stop:
        cli.main(["demos", "transfer_cube"])
    assert stop.value.code == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "regrasp: interrupted; the same command goes on from here\n"


def test_ctrl_c_within_a_finaliser_is_heard_after_it(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    class Finalised:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def interrupted(*_: Any, **__: Any) -> None:
        Finalised()
        terminal.heed_interrupt()

    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr("regrasp.road.demonstrate", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as stop:
            cli.main(["demos", "transfer_cube"])
    finally:
        signal.signal(signal.SIGINT, handler)
    assert stop.value.code == 130
    assert capsys.readouterr().err == ("regrasp: interrupted; the same command goes on from here\n")


def test_a_file_does_not_replace_a_folder(here: Path):
    kept = here / "results" / "gap.json"
    kept.parent.mkdir()
    kept.write_text("{}")
    with (
        pytest.raises(InputError, match=r"results is a folder: choose the name of a file"),
        regrasp.files.whole(here / "results") as temporary,
    ):
        temporary.write_text("a table")
    assert files(here) == {str(kept): b"{}"}
    with regrasp.files.whole(here / "results") as temporary:
        temporary.mkdir()
    assert files(here) == {}
    assert [path.name for path in here.iterdir()] == ["results"]


def test_ctrl_c_leaves_nothing_half_written(here: Path):
    folder = here / "run"
    command = (*REGRASP, "demos", "transfer_cube", "--episodes", "300", "--folder", str(folder))
    process = subprocess.Popen(command, cwd=here, stderr=subprocess.PIPE, text=True)
    with process_ended(process):
        # The episodes, not their settings: `.demos.json.` and more.
        until(lambda: any(p.name.count(".") == 2 for p in folder.glob(".demos.*")), process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "regrasp: interrupted; the same command goes on from here"
    assert {path.name for path in folder.iterdir()} == {"demos.json", "seconds.json"}


@pytest.mark.slow
def test_a_killed_improvement_ends_with_the_same_bytes(finished, tmp_path: Path):
    """Killed twice, at moments of its own choosing, and started again by the same command."""
    shutil.copytree(finished.folder, tmp_path / "killed")
    shutil.rmtree(tmp_path / "killed" / "improve")
    shutil.copytree(tmp_path / "killed", tmp_path / "undisturbed")
    settings = "--seed 3 --iterations 3 --groups 48 --tries 4 --fresh 0 --update.minibatch 32"

    def improve(name: str) -> subprocess.Popen[bytes]:
        at = ("--checkpoint-every", "1", "--folder", str(tmp_path / name))
        command = (*REGRASP, "improve", "transfer_cube", *settings.split(), *at)
        return subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)

    killed = tmp_path / "killed" / "improve"
    for iteration in (1, 2):
        with improve("killed") as process, process_ended(process):
            # The first line is of what was there before.
            until(lambda n=iteration: lines(killed / "metrics.jsonl") > n, process)
            time.sleep(0.3)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert not (killed / "params.npz").exists()
        assert (killed / "checkpoint.npz").exists()
    for name in ("killed", "undisturbed"):
        assert improve(name).wait(300) == 0
    ours, theirs = (tmp_path / name / "improve" for name in ("killed", "undisturbed"))
    assert (ours / "params.npz").read_bytes() == (theirs / "params.npz").read_bytes()
    rows = [json.loads(line) for line in (theirs / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [0, 1, 2, 3]
    assert sum(row["shift"] > 0 for row in rows[1:]) >= 2
    assert {path.name for path in ours.iterdir()} == {path.name for path in theirs.iterdir()}


@contextlib.contextmanager
def process_ended(process: subprocess.Popen) -> Iterator[None]:
    """Whatever happens, the process does not outlive the test."""
    try:
        yield
    finally:
        process.kill()


def until(true: Callable[[], bool], process: subprocess.Popen, seconds: float = 120) -> None:
    """Wait for something that a process does."""
    give_up = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, "the process ended too early"
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.05)


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0
