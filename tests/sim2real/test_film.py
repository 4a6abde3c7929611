"""Films of recordings beside their replays: which stretch, what they show, and where there are none."""

from dataclasses import replace

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrasp.assets.arm import load_arm
from regrasp.cli import main
from regrasp.errors import InputError
from regrasp.sim2real import Log, film, gap_of, kept
from regrasp.sim2real.demonstrations import to_tables
from regrasp.sim2real.film import film_replay, furthest_off, off_by, which
from regrasp.sim2real.kept import keep_gap
from regrasp.sim2real.report import write_report


def frames(path) -> np.ndarray:
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def test_the_one_that_is_furthest_off_is_shown(make_log):
    logs = [make_log(name=name) for name in ("a", "b", "a", "c")]
    off = [0.3, 0.1, 0.4, 0.9]
    assert which(logs, off) == 3
    assert which(logs, off, "a") == 2
    assert which(logs, off, "b") == 1
    with pytest.raises(InputError, match="unknown recording 'd': choose one of a, b, c"):
        which(logs, off, "d")


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(60, 200), st.floats(1.0, 6.0))
def test_no_other_stretch_is_further_off(arm, seed, samples, seconds):
    t = 0.02 * np.arange(samples)
    rng = np.random.default_rng(seed)
    q = 0.5 + 0.01 * rng.standard_normal((samples, 6)).cumsum(axis=0) / 10
    log = Log("made", arm.joint_names, t, q + 0.1 * np.sin(t)[:, None], q)
    simulated = q + rng.standard_t(3, q.shape) * 0.1
    found = furthest_off(log, simulated, seconds)
    count = found.stop - found.start
    assert count == min(samples, round(seconds / 0.02) + 1)

    def size(start: int) -> float:
        return float(np.sum((simulated - q)[start : start + count, :-1] ** 2))

    assert size(found.start) == pytest.approx(max(map(size, range(samples - count + 1))))


@pytest.mark.usefixtures("drawn")
def test_a_film_tells_how_far_off_the_replay_is(make_log, arm, tmp_path):
    log = make_log(seconds=1.5)
    off = np.full(6, 0.08)
    told: list[tuple[int, int, str]] = []
    made = film_replay(
        log, log.q + off, arm, tmp_path / "f.mp4", 1.0, lambda *done: told.append(done)
    )
    assert made.recording == "waves"
    assert made.rmse_rad == pytest.approx(0.08)
    assert off_by(log, log.q + off) == pytest.approx(0.08)
    assert 5 < made.tip_mm < 100
    assert told[-1][:2] == (20, 20)
    shown = frames(tmp_path / "f.mp4")
    assert shown.shape == (20, film.HEAD + film.HEIGHT + film.STRIP, 2 * film.WIDTH, 3)
    assert (tmp_path / "f.mp4").stat().st_size < 1.5e6 * 20 / (film.FPS * film.SECONDS)
    pictures = shown[:, film.HEAD : film.HEAD + film.HEIGHT].astype(int)
    # Something moves on both sides, and the recorded arm is blue on the right side alone.
    for side in (slice(0, film.WIDTH), slice(film.WIDTH, None)):
        assert np.abs(np.diff(pictures[:, :, side], axis=0)).max() > 60
    blue = (pictures[..., 2] - pictures[..., 0] > 40).mean(axis=(0, 1))
    assert blue[: film.WIDTH].mean() < 1e-3 < 5e-3 < blue[film.WIDTH :].mean()
    # Curves are drawn as time goes by.
    inked = (shown[:, film.HEAD + film.HEIGHT :].min(axis=-1) < 160).sum(axis=(1, 2))
    assert inked[-1] > inked[10] > inked[0]
    assert film_replay(log, log.q, arm, tmp_path / "same.mp4", 1.0).tip_mm == 0


@pytest.mark.usefixtures("drawn")
def test_an_arm_whose_gripper_slides_is_filmed_too(tmp_path):
    arm = load_arm("viperx300s")
    t = 0.02 * np.arange(60)
    q = 0.3 + 0.2 * np.sin(3 * t)[:, None] * np.ones(7)
    log = Log("slow", arm.joint_names, t, q + 0.01, q)
    found = film_replay(log, q + 0.01, arm, tmp_path / "f.mp4", 1.0)
    assert found.rmse_rad == pytest.approx(0.01)
    assert frames(tmp_path / "f.mp4").std() > 10


def test_what_cannot_be_filmed_is_refused(make_log, arm, tmp_path):
    for seconds in (0.0, np.nan, 1e4):
        with pytest.raises(InputError, match="choose 1 to 600"):
            film_replay(make_log(), make_log().q, arm, tmp_path / "f.mp4", seconds)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def recordings(make_log, arm, tmp_path):
    """Two recordings on disk, and their gap."""
    logs = [make_log(seconds=2, seed=seed, name=f"waves {seed}") for seed in (0, 1)]
    paths = to_tables(logs, tmp_path / "recordings")
    return paths, gap_of(logs, arm)


@pytest.mark.usefixtures("drawn")
def test_a_report_holds_the_film(recordings, tmp_path):
    paths, gap = recordings
    folder = tmp_path / "kept"
    keep_gap(folder, gap, paths, recording="waves-0")
    page = write_report(folder).read_text(encoding="utf-8")
    assert page.count("data:video/mp4;base64,") == 1
    assert "Waves-0, the 2.0\u00a0s from 0.0\u00a0s on" in page
    with pytest.raises(InputError, match="unknown recording"):
        keep_gap(folder, gap, paths, recording="other")
    # The figures are there, the film of something else is not.
    assert (folder / "gap.json").exists()
    assert not (folder / "gap_film.mp4").exists()
    assert "No recording has been filmed" in write_report(folder).read_text(encoding="utf-8")


def test_a_report_without_a_film_says_why(recordings, tmp_path, monkeypatch):
    paths, gap = recordings
    keep_gap(tmp_path / "kept", gap, paths, video=False)
    page = write_report(tmp_path / "kept").read_text(encoding="utf-8")
    assert "There is no film: it was not asked for." in page

    def nothing() -> None:
        raise InputError("cannot render here (no EGL)")

    monkeypatch.setattr(kept, "check_rendering", nothing)
    keep_gap(tmp_path / "kept", gap, paths)
    page = write_report(tmp_path / "kept").read_text(encoding="utf-8")
    assert "There is no film: cannot render here (no EGL)." in page
    assert "<video" not in page


@pytest.mark.usefixtures("drawn")
def test_the_verb_films_and_refuses_in_one_line(recordings, tmp_path, capsys):
    paths, _ = recordings
    given = list(map(str, paths))
    main(["film", *given, "--out", str(tmp_path / "f.mp4"), "--seconds", "1"])
    assert "rad, " in capsys.readouterr().out
    assert len(frames(tmp_path / "f.mp4")) == 20
    for words, message in (
        ([*given, "--out", "f.gif"], "ends in .mp4"),
        ([*given, "--out", "f.mp4", "--recording", "none"], "unknown recording"),
        ([str(tmp_path / "none"), "--out", "f.mp4"], "no log at"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["film", *words])
        assert stop.value.code == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1


def test_gap_takes_what_recordings_do_not_say(make_log, tmp_path, capsys):
    """As `logs` does: here angles in degrees."""
    log = make_log()
    deg = {
        f"{k}_{n}": np.degrees(c) if n != "gripper" else c
        for k, v in (("cmd", log.cmd), ("q", log.q))
        for n, c in zip(log.joints, v.T, strict=True)
    }
    np.savez(tmp_path / "a.npz", t=log.t, **deg)  # type: ignore[arg-type]
    with pytest.raises(SystemExit):
        main(["gap", str(tmp_path / "a.npz"), "--brief"])
    assert "give --angles" in capsys.readouterr().err
    units = ["--angles", "deg", "--grippers", "opening"]
    main(["gap", str(tmp_path / "a.npz"), "--brief", *units])
    said = capsys.readouterr().out
    to_tables([replace(log, name="rad")], tmp_path)
    main(["gap", str(tmp_path / "rad.npz"), "--brief"])
    assert capsys.readouterr().out == said
