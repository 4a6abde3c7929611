"""Short films of policies."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v2 as imageio

from regrasp.envs import BatchEnv, episode_keys
from regrasp.envs.render import Camera
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
        imageio.get_writer(
            temporary, fps=fps, codec="libx264", quality=6, macro_block_size=8
        ) as writer,
    ):

        def shoot(step: int) -> None:
            if step % EVERY == 0:
                writer.append_data(camera.frame(0))  # type: ignore[attr-defined]

        for episode in range(episodes):
            outcomes = play_episodes(
                env, actor, episode_keys(seed, "evaluate", episode, 1), seed, episode, shoot
            )
            ended.append(bool(outcomes.success[0]))
            last = camera.frame(0)
            for _ in range(AFTER_FRAMES):
                writer.append_data(last)  # type: ignore[attr-defined]
            progress(episode + 1, episodes, "succeeded" if ended[-1] else "failed")
    return ended
