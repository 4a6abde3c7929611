"""One simulation as a plain Gymnasium environment."""

from typing import Any

import gymnasium
import numpy as np

from regrasp.envs.batch_env import BatchEnv
from regrasp.errors import unknown


class SingleEnv(gymnasium.Env):
    """A `BatchEnv` of one row (autoreset DISABLED) behind Gymnasium's single-environment face."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(self, batch: BatchEnv, render_mode: str | None = None):
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise unknown("render mode", render_mode, self.metadata["render_modes"])
        self.batch = batch
        self.render_mode = render_mode
        self.observation_space = batch.single_observation_space
        self.action_space = batch.single_action_space
        self._camera: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        obs, info = self.batch.reset(seed=seed)
        return _first(obs), _first(info)

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = self.batch.step(np.asarray(action)[None])
        return _first(obs), float(reward[0]), bool(terminated[0]), bool(truncated[0]), _first(info)

    def render(self) -> Any:
        if self.render_mode is None:
            return None
        if self._camera is None:
            from regrasp.envs.render import Camera

            self._camera = Camera(self.batch)
        return self._camera.frame(0)

    def close(self) -> None:
        if self._camera is not None:
            self._camera.close()
            self._camera = None


def _first(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value[0] if value.ndim > 1 else value[0].item() for name, value in values.items()}
