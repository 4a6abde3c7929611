"""The verbs for looking: a live view in the browser, and films."""

import json as jsonlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import tyro

from regrasp.assets import ALOHA
from regrasp.errors import InputError
from regrasp.terminal import STDERR, Flat, answer, bars
from regrasp.view.config import ViewConfig, free_port


def view(
    task: tyro.conf.Positional[str],
    config: Flat[ViewConfig] = ViewConfig(),
    json: bool = False,
) -> None:
    """Look into a task, live, in the browser: stop it, turn it back, fork it, pull things, drive the arms.

    Ctrl-C ends it.

    Args:
        task: Name of the task, such as transfer_cube.
        config: What is looked at, and where its page is.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    if find_spec("viser") is None:
        raise InputError("the page needs viser: pip install 'regrasp[view]'")
    from regrasp.view.beside import Beside
    from regrasp.view.page import Page
    from regrasp.view.show import Show

    port = free_port(config.host, config.port)
    beside = Beside.read(config)
    page = Page(Show(task, config), config.host, port, beside)
    told = {"url": page.url, "task": task, "policy": page.show.actor.name}
    # At once, so that a program that reads it can open the page.
    print(jsonlib.dumps(told) if json else f"{page.url}  (Ctrl-C ends it)", flush=True)
    try:
        page.run()
    except KeyboardInterrupt:
        STDERR.print("ended")
    finally:
        page.close()


@dataclass(frozen=True)
class VideoConfig:
    """What is filmed."""

    policy: str = "expert"
    """Who acts: expert, or a bundle: its folder, that of a run, or the name of a shipped one."""
    workcell: str = ALOHA
    """Whose arms do it: aloha, so101, or the file of a table."""
    episodes: int = 2
    """How many, one after another: the first ones of the seed."""
    seed: int = 0
    """Of the episodes: those that `regrasp eval` judges on."""
    randomize: str = "nominal"
    """Physics, timing and sensing of episodes: nominal, or table (the task's own)."""


def video(
    task: tyro.conf.Positional[str],
    out: Path,
    config: Flat[VideoConfig] = VideoConfig(),
    json: bool = False,
) -> None:
    """Film episodes of a task, in real time, as MP4.

    Args:
        task: Name of the task, such as transfer_cube.
        out: The file to write, .mp4.
        config: What is filmed.
        json: Print one JSON document on stdout, everything else on stderr.
    """
    from gymnasium.vector import AutoresetMode

    from regrasp.envs import BatchEnv, load_task
    from regrasp.envs.render import check_rendering
    from regrasp.randomization import randomizer_for
    from regrasp.rl.video import film
    from regrasp.view.actors import load_filmed

    if out.suffix != ".mp4":
        raise InputError(f"out {out}: choose a name that ends in .mp4")
    if config.episodes < 1:
        raise InputError(f"episodes {config.episodes}: choose 1 or more")
    found, randomizer = (
        load_task(task, config.workcell),
        randomizer_for(task, config.randomize, config.workcell),
    )
    actor, executor = load_filmed(task, config.policy, config.workcell)
    check_rendering()
    env = BatchEnv(
        found, 1, randomizer=randomizer, autoreset=AutoresetMode.DISABLED, executor=executor
    )
    with bars() as progress:
        ended = film(env, actor, out, config.episodes, config.seed, progress("film"))
    told = f"{out}: {sum(ended)} of {len(ended)} episodes succeed"
    answer(json, {"film": str(out), "success": ended}, told)
