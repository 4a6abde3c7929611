"""Short films of policies."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe
from jaxtyping import UInt8

from regrasp.envs import BatchEnv, episode_keys
from regrasp.envs.render import Camera
from regrasp.errors import InputError
from regrasp.files import whole
from regrasp.rl.evaluate import play_episodes

EVERY = 2
"""Control steps per frame."""
AFTER_FRAMES = 12
"""The last picture of an episode stays for this many frames."""


def film(
    env: BatchEnv,
    actor: Any,
    path: Path,
    episodes: int,
    seed: int,
    progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> list[bool]:
    """Film evaluation episodes one after another, in real time, as MP4.

    Args:
        env: one row, autoreset DISABLED, with the actor's executor.
        actor: a chunk policy or a teacher, as for `evaluate`.
        path: where the film goes.
        episodes: how many; the first ones of the seed.
        seed: of the evaluation episodes.
        progress: called after every episode.

    Returns:
        Which episodes succeeded.
    """
    fps = round(1 / env.task.control_dt_s / EVERY)
    ended = []
    with (
        Camera(env) as camera,
        whole(path) as temporary,
        developed(temporary, camera.frame(0).shape, fps) as add,
    ):

        def shoot(step: int) -> None:
            if step % EVERY == 0:
                add(camera.frame(0))

        for episode in range(episodes):
            outcomes = play_episodes(
                env,
                actor,
                episode_keys(seed, "evaluate", episode, 1),
                seed,
                episode,
                shoot,
                noise=getattr(actor, "noise", 0.0),
            )
            ended.append(bool(outcomes.success[0]))
            last = camera.frame(0)
            for _ in range(AFTER_FRAMES):
                add(last)
            progress(episode + 1, episodes, "succeeded" if ended[-1] else "failed")
    return ended


@contextmanager
def developed(
    path: Path, shape: tuple[int, ...], fps: float, loss: int = 20
) -> Iterator[Callable[[UInt8[np.ndarray, "height width 3"]], object]]:
    """Frames into an MP4 (H.264): call with one after another.

    Args:
        path: the file.
        shape: of a frame (height, width, 3), both even.
        fps: frames per second.
        loss: constant rate factor of the encoder, 0 to 51: more is smaller and worse.

    Raises:
        InputError: the encoder could not write it.
    """
    height, width, _ = shape
    raw = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {fps} -i -"
    encoded = f"-an -c:v libx264 -pix_fmt yuv420p -crf {loss} -movflags +faststart"
    command = [get_ffmpeg_exe(), "-loglevel", "error", *raw.split(), *encoded.split(), str(path)]
    # A group of its own: Ctrl-C is for us alone.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
    ) as encoder:
        frames, complaints = cast(IO[bytes], encoder.stdin), cast(IO[bytes], encoder.stderr)
        # An encoder that gives up closes the pipe, and has said why.
        with suppress(BrokenPipeError):
            yield lambda frame: frames.write(frame.tobytes())
        with suppress(BrokenPipeError):
            frames.close()
        said = complaints.read().decode(errors="replace").strip()
        if encoder.wait() != 0:
            reason = said.splitlines()[0].rpartition("] ")[2] if said else "the encoder stopped"
            raise InputError(f"cannot write the film {path.name}: {reason}; run again")
