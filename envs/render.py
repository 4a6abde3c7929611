"""Pictures of simulations."""

from typing import Any

import mujoco
import numpy as np
from jaxtyping import UInt8

from regrasp.envs.batch_env import BatchEnv
from regrasp.errors import InputError, unknown


def check_rendering() -> None:
    """Find out whether this machine can draw.

    Raises:
        InputError: it cannot; the message names the Debian package.
    """
    try:
        renderer = mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8, 8)
        renderer.close()
    except Exception as error:  # PyOpenGL raises many kinds, AttributeError among them.
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InputError(
            f"cannot render here ({reason}): install the Debian package libegl1 "
            "(apt-get install libegl1 libopengl0 libgl1-mesa-dri), or leave pictures out "
            "(--no-video of run and gap)"
        ) from None


class Camera:
    """Draws rows of an environment from a camera of the workcell, or from the standard view."""

    def __init__(self, env: BatchEnv, name: str | None = None, width: int = 480, height: int = 360):
        """Open a renderer.

        Raises:
            InputError: an unknown camera, or no rendering here.
        """
        cameras = [env.model.camera(i).name for i in range(env.model.ncam)]
        if name is not None and name not in cameras:
            raise unknown("camera", name, cameras)
        check_rendering()
        self._env = env
        self._camera: Any = name if name is not None else _standard_view(*env.workcell.stand_m)
        self._renderer = mujoco.Renderer(env.model, height, width)
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0

    def frame(self, row: int = 0) -> UInt8[np.ndarray, "height width 3"]:
        """One row as it stands now."""
        self._renderer.update_scene(self._env.row_data(row), self._camera)
        return self._renderer.render().copy()

    def close(self) -> None:
        self._renderer.close()

    def __enter__(self) -> "Camera":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _standard_view(x_m: float, y_m: float, _: float) -> mujoco.MjvCamera:
    """From the front, above; the further away, the further apart the arms stand."""
    camera = mujoco.MjvCamera()
    camera.lookat = (0.0, y_m, 0.3 * x_m)
    camera.distance, camera.azimuth, camera.elevation = 2.67 * x_m, 90.0, -22.0
    return camera
