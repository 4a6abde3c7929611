"""Films: whole or not at all, and without a word."""

import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from regrasp.envs import BatchEnv
from regrasp.errors import InputError
from regrasp.rl import video
from regrasp.rl.video import AFTER_FRAMES, EVERY, film

pytestmark = pytest.mark.usefixtures("drawn")


class Still:
    """Stays where it is."""

    noise_size = 14

    def chunks(self, obs: dict[str, np.ndarray], noise: np.ndarray) -> np.ndarray:
        pose = np.insert(np.insert(obs["joint_pos"], 6, 0.5, axis=1), 13, 0.5, axis=1)
        return np.repeat(pose[:, None], 4, axis=1).astype(np.float32)


@pytest.fixture
def env(nudge: Callable[..., BatchEnv]) -> BatchEnv:
    return nudge(1, 4)


def test_a_film_shows_every_episode(env: BatchEnv, tmp_path: Path, capfd):
    path, told = tmp_path / "video" / "still.mp4", []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ended = film(env, Still(), path, 2, 0, lambda *progress: told.append(progress))
    assert ended == [False, False]
    assert told == [(1, 2, "failed"), (2, 2, "failed")]
    assert capfd.readouterr() == ("", "")
    assert [p.name for p in path.parent.iterdir()] == ["still.mp4"]
    raw = ("-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    seen = subprocess.run(
        (get_ffmpeg_exe(), "-v", "error", *raw), stdout=subprocess.PIPE, check=True
    )
    frames = np.frombuffer(seen.stdout, np.uint8).reshape(-1, 360, 480, 3)
    assert len(frames) == 2 * (env.horizon // EVERY + AFTER_FRAMES)
    assert frames.std() > 10


def test_a_film_that_cannot_be_written_is_refused(
    env: BatchEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The encoder gives up, as it does on a full disk."""
    encoder = tmp_path / "encoder"
    encoder.write_text("#!/bin/sh\necho '[muxer] No space left on device' >&2\nexit 1\n")
    encoder.chmod(0o700)
    monkeypatch.setattr(video, "get_ffmpeg_exe", lambda: str(encoder))
    with pytest.raises(InputError, match=r"cannot write the film still\.mp4: No space left"):
        film(env, Still(), tmp_path / "video" / "still.mp4", 2, 0)
    assert not list((tmp_path / "video").iterdir())
