"""Draws the README's picture: the workcell in the middle of a hand-over.

    python docs/images/make.py

The scripted expert plays an episode; the picture is taken when both grippers have the cube.
"""

from pathlib import Path

import numpy as np
from PIL import Image

import regrasp
from regrasp.envs import BatchEnv, View, episode_keys
from regrasp.envs.render import Camera
from regrasp.rl.demonstrate import seeds
from regrasp.rl.experts import load_expert

OUT = Path(__file__).with_name("handover.png")
DRAWN, SHOWN = (1280, 720), (800, 450)
"""Width and height in pixels, before and after smoothing."""
WAIT_STEPS = 12
"""Control steps from the left gripper's first touch to the picture."""


def main() -> None:
    env = regrasp.make("transfer_cube", 1, role="demonstrate")
    play_to_handover(env)
    with Camera(env, None, *DRAWN) as camera:
        picture = Image.fromarray(camera.frame(0))
    picture.resize(SHOWN, Image.Resampling.LANCZOS).save(OUT, optimize=True)
    print(f"{OUT} ({OUT.stat().st_size} bytes)")


def play_to_handover(env: BatchEnv) -> None:
    """Leave the environment's one row with both grippers on the cube."""
    keys = np.asarray(episode_keys(0, "demonstrate", 0, 1))
    expert = load_expert("transfer_cube", "flawless")
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
