"""The same moment, again and again: python examples/2_same_moment.py.

The scripted expert carries the cube into the air. That moment is then played on in 64 worlds: all alike,
with the right hand opened to 64 widths, and under 64 different physics.
"""

import numpy as np

import regrasp
from regrasp.envs import episode_keys
from regrasp.rl.demonstrate import seeds
from regrasp.rl.experts import load_expert

ROWS, SECONDS, RIGHT_GRIPPER = 64, 1.0, 13

one = regrasp.make("transfer_cube", num_envs=1)
keys = np.asarray(episode_keys(0, "train", 0, 1))
one.begin(keys)
expert = load_expert("transfer_cube")
expert.start(one.view(), seeds(keys))
action = np.zeros((1, 14), np.float32)
for step in range(160):
    action = expert.act(step, one.view())
    one.step(action)
moment = one.take(row=0)
moment.save("runs/in_the_air.npz")

env = regrasp.make("transfer_cube", num_envs=ROWS, randomize="table", seed=1)


def cube_heights(opening: np.ndarray) -> np.ndarray:
    """Heights of the cube (m) after some time of the last action, with these openings of the right hand."""
    actions = np.repeat(action, ROWS, axis=0)
    actions[:, RIGHT_GRIPPER] = opening
    for _ in range(round(SECONDS / env.task.control_dt_s)):
        env.step(actions)
    return np.asarray(env.view().body_pos["cube"])[:, 2]


env.fork(moment)
still = cube_heights(np.full(ROWS, action[0, RIGHT_GRIPPER]))
print(f"same physics, same action: {len(np.unique(still))} different height(s) of the cube")

env.fork(moment)
openings = np.linspace(action[0, RIGHT_GRIPPER], 1, ROWS)
fell = cube_heights(openings) < 0.1
print(f"same physics: the cube falls from an opening of {openings[fell].min():.2f}")

env.reset()
env.fork(moment, physics="row")
held = cube_heights(np.full(ROWS, action[0, RIGHT_GRIPPER])) > 0.1
print(f"64 different physics: held in {held.sum()} of {ROWS}")
