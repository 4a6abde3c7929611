"""Draws the README's pictures: each workcell in the middle of a hand-over, and every task at work.

    python docs/images/make.py

The scripted experts play an episode each; those of the workcells are taken when both grippers have the cube.
"""

from pathlib import Path

import numpy as np
from gymnasium.vector import AutoresetMode
from PIL import Image

import regrasp
from regrasp.envs import BatchEnv, View, episode_keys
from regrasp.envs.render import Camera
from regrasp.rl.demonstrate import seeds
from regrasp.rl.experts import load_expert

OUT = {
    "aloha": Path(__file__).with_name("handover.png"),
    "so101": Path(__file__).with_name("so101.png"),
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
SMALL = (320, 240)
"""Width and height of each of those, in pixels."""
DRAWN, SHOWN = (1280, 720), (800, 450)
"""Width and height in pixels, before and after smoothing."""
WAIT_STEPS = 12
"""Control steps from the left gripper's first touch to the picture."""


def main() -> None:
    for workcell, out in OUT.items():
        env = regrasp.make("transfer_cube", 1, role="demonstrate", workcell=workcell)
        play_to_handover(env)
        with Camera(env, None, *DRAWN) as camera:
            picture = Image.fromarray(camera.frame(0))
        picture.resize(SHOWN, Image.Resampling.LANCZOS).save(out, optimize=True)
        print(f"{out} ({out.stat().st_size} bytes)")
    draw_tasks()


def draw_tasks() -> None:
    """One column of two pictures for every task."""
    width, height = SMALL
    sheet = Image.new("RGB", (width * len(MOMENTS_S), height * 2))
    for column, (task, moments) in enumerate(MOMENTS_S.items()):
        env = regrasp.make(task, 1, role="demonstrate", autoreset=AutoresetMode.DISABLED)
        expert = load_expert(task, "flawless")
        env.begin(np.asarray(episode_keys(1, "demonstrate", 0, 1)))
        expert.start(env.view(), np.zeros(1, int))
        wanted = [round(t / env.task.control_dt_s) for t in moments]
        with Camera(env, None, 2 * width, 2 * height) as camera:
            for step in range(max(wanted) + 1):
                if step in wanted:
                    picture = Image.fromarray(camera.frame(0))
                    small = picture.resize(SMALL, Image.Resampling.LANCZOS)
                    sheet.paste(small, (column * width, wanted.index(step) * height))
                env.step(expert.act(step, env.view()))
    sheet.save(TASKS_OUT, optimize=True)
    print(f"{TASKS_OUT} ({TASKS_OUT.stat().st_size} bytes)")


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
