"""Draws the pictures of scenes: each workcell in the middle of a hand-over, tasks at work, and the live view.

    python -m docs.images.make

The scripted experts play an episode each; those of the workcells are taken when both grippers have the cube.
That of the YAM needs its files of MuJoCo Menagerie.
The view is a screenshot of a headless Chromium.
"""

import threading
import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from benchmarks.browser import browser_tab
from gymnasium.vector import AutoresetMode
from PIL import Image

import regrasp
from regrasp.envs import BatchEnv, View, episode_keys
from regrasp.envs.render import Camera
from regrasp.errors import InputError
from regrasp.rl.demonstrate import seeds
from regrasp.rl.experts import load_expert
from regrasp.view import Show, ViewConfig
from regrasp.view.config import free_port
from regrasp.view.page import Page

OUT = {
    "aloha": Path(__file__).with_name("handover.png"),
    "so101": Path(__file__).with_name("so101.png"),
    str(Path(__file__).parents[2] / "examples" / "yam.json"): Path(__file__).with_name("yam.png"),
}
"""A picture of each workcell."""
TASKS_OUT = Path(__file__).with_name("tasks.png")
MOMENTS_S = {
    "transfer_cube": (1.5, 5.0),
    "hand_over": (5.6, 8.3),
    "peg_insertion": (2.5, 6.5),
    "lift_pot": (2.4, 4.4),
    "press_dough": (4.0, 8.5),
    "fold_towel": (4.5, 7.0),
    "route_cable": (5.5, 11.5),
    "tidy": (8.0, 18.0),
}
"""Two moments of every task's episode."""
TOWEL_OUT = Path(__file__).with_name("so101-towel.png")
TOWEL_S = (2.9, 4.7, 5.7, 9.0)
"""Moments of two small arms folding a towel."""
SMALL = (320, 240)
"""Width and height of each of those, in pixels."""
VIEW_OUT = Path(__file__).with_name("view.png")
BEFORE_S, AFTER_S = 1.6, 1.4
"""Of the episode before its fork, and of its ghosts."""
DRAWN, SHOWN = (1280, 720), (800, 450)
"""Width and height in pixels, before and after smoothing."""
SETTLE_S = 15.0
"""A browser that draws in software has everything on its page by then."""
WAIT_STEPS = 12
"""Control steps from the left gripper's first touch to the picture."""


def main() -> None:
    for workcell, out in OUT.items():
        try:
            env = regrasp.make("transfer_cube", 1, role="demonstrate", workcell=workcell)
        except InputError as error:
            print(f"{out} stays as it is: {error}")
            continue
        play_to_handover(env)
        with Camera(env, None, *DRAWN) as camera:
            picture = Image.fromarray(camera.frame(0))
        save(picture.resize(SHOWN, Image.Resampling.LANCZOS), out)
    draw_tasks()
    draw_towel()
    draw_view()


def draw_tasks() -> None:
    """One column of two pictures for every task."""
    width, height = SMALL
    sheet = Image.new("RGB", (width * len(MOMENTS_S), height * 2))
    for column, (task, moments) in enumerate(MOMENTS_S.items()):
        env = regrasp.make(task, 1, role="demonstrate", autoreset=AutoresetMode.DISABLED)
        for row, picture in enumerate(shots(env, task, moments)):
            sheet.paste(picture, (column * width, row * height))
    save(sheet, TASKS_OUT)


def draw_towel() -> None:
    """A row of pictures."""
    width, height = SMALL
    sheet = Image.new("RGB", (width * len(TOWEL_S), height))
    still = AutoresetMode.DISABLED
    env = regrasp.make("fold_towel", 1, role="demonstrate", workcell="so101", autoreset=still)
    for column, picture in enumerate(shots(env, "fold_towel", TOWEL_S)):
        sheet.paste(picture, (column * width, 0))
    save(sheet, TOWEL_OUT)


def draw_view() -> None:
    """The page of a policy that was forked while it reached, and its ghosts a little later."""
    show = Show("transfer_cube", ViewConfig(policy="transfer_cube"))
    page = Page(show, show.config.host, free_port(show.config.host, 0))
    page.paused = True
    while show.time_s < BEFORE_S:
        show.advance()
    show.fork(show.config.ghosts, own_physics=True)
    while show.time_s < BEFORE_S + AFTER_S:
        show.advance()
    done = threading.Event()
    served = threading.Thread(target=page.run, args=(done.is_set,))
    served.start()
    try:
        with browser_tab(*DRAWN) as tab:
            tab.goto(page.url)
            tab.locator("canvas").first.wait_for()
            tab.get_by_role("button", name="Play").wait_for()
            # It tells that it draws in software.
            tab.locator("[class*=Notification-closeButton]").click()
            time.sleep(SETTLE_S)
            shot = Image.open(BytesIO(tab.screenshot())).convert("RGB")
    finally:
        done.set()
        served.join()
        page.close()
    save(shot, VIEW_OUT)


def shots(env: BatchEnv, task: str, moments_s: Sequence[float]) -> list[Image.Image]:
    """Pictures of these moments of the expert's episode."""
    width, height = SMALL
    expert = load_expert(task, "flawless", env.task)
    env.begin(np.asarray(episode_keys(1, "demonstrate", 0, 1)))
    expert.start(env.view(), np.zeros(1, int))
    wanted, found = [round(t / env.task.control_dt_s) for t in moments_s], []
    with Camera(env, None, 2 * width, 2 * height) as camera:
        for step in range(max(wanted) + 1):
            if step in wanted:
                picture = Image.fromarray(camera.frame(0))
                found.append(picture.resize(SMALL, Image.Resampling.LANCZOS))
            env.step(expert.act(step, env.view()))
    return found


def save(picture: Image.Image, out: Path) -> None:
    picture.save(out, optimize=True)
    print(f"{out} ({out.stat().st_size} bytes)")


def play_to_handover(env: BatchEnv) -> None:
    """Leave the environment's one row with both grippers on the cube."""
    keys = np.asarray(episode_keys(0, "demonstrate", 0, 1))
    expert = load_expert("transfer_cube", "flawless", env.task)
    env.begin(keys)
    expert.start(env.view(), seeds(keys))
    touched = 0
    for step in range(env.horizon):
        env.step(expert.act(step, env.view()))
        touched += both_touch(env.view())
        if touched > WAIT_STEPS:
            return
    raise SystemExit("the arms never met: the expert has changed, choose another episode")


def both_touch(view: View) -> bool:
    """Whether tips of both grippers touch the cube."""
    tips = ("left_tip", "right_tip")
    return all(
        any(view.sensor[f"cube-{side}/{tip}"][0, 0] > 0 for tip in tips)
        for side in ("left", "right")
    )


if __name__ == "__main__":
    main()
