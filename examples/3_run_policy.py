"""An exported policy acts for one episode: python examples/3_run_policy.py [BUNDLE].

BUNDLE is the folder of a bundle or of a run, such as runs/transfer_cube-0, or the name of one that ships.
The runner itself needs numpy and onnxruntime alone; regrasp is here only to have a world to act in.
"""

import sys

import gymnasium

import regrasp  # noqa: F401  (puts the tasks into Gymnasium's registry)
from regrasp.rl.bundle import load_bundle
from regrasp.rl.runner import Player

player = Player(load_bundle(sys.argv[1] if len(sys.argv) > 1 else "runs/transfer_cube-0"))
env = gymnasium.make("regrasp/TransferCube-v0")
obs, info = env.reset(seed=0)
over, steps = False, 0
while not over:
    obs, reward, terminated, truncated, info = env.step(player.act(obs))
    steps += 1
    over = terminated or truncated
print(f"{'success' if info['success'] else 'no success'} after {steps * 0.02:.2f} s")
