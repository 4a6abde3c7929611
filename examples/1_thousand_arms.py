"""A thousand pairs of arms at once, each with its own physics: python examples/1_thousand_arms.py."""

import time

import regrasp

env = regrasp.make("transfer_cube", num_envs=1000, randomize="table", seed=0)
obs, info = env.reset()
started, steps = time.monotonic(), 25
for _ in range(steps):
    obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
rate = steps * env.num_envs / (time.monotonic() - started)
print({name: values.shape for name, values in obs.items()})
print(f"{rate:.0f} control steps per second, {rate * env.task.control_dt_s:.0f} times real time")
