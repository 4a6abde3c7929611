"""A hand that pulls a body towards a point, as if by a damped spring."""

import mujoco
import numpy as np
from jaxtyping import Float

from regrasp.envs import BatchEnv
from regrasp.errors import InputError, unknown

PULL_HZ = 3.0
"""How fast a pulled body follows, if nothing else holds it."""
MOST_N = 40.0
"""The hand pulls no harder."""


class Hand:
    """Pulls one body of a single simulation at its centre of mass."""

    def __init__(self, env: BatchEnv):
        self._env, self._data = env, mujoco.MjData(env.model)
        self._body: str | None = None
        self._target = np.zeros(3)
        self._last: np.ndarray | None = None
        model = env.model
        moved = [i for i in range(1, model.nbody) if model.body_weldid[i] != 0]
        self.bodies = tuple(model.body(i).name for i in moved if model.body(i).name)
        """Those that can be pulled."""

    @property
    def body(self) -> str | None:
        """The one that is pulled now."""
        return self._body

    def place(self, body: str) -> Float[np.ndarray, "3"]:
        """Where a body's centre of mass is (m)."""
        data = self._env.row_data(0, self._data)
        return data.xipos[self._env.model.body(body).id].copy()

    def pull(self, body: str, target: Float[np.ndarray, "3"]) -> None:
        """Pull a body's centre of mass to a point of the world frame (m), until it is let go.

        Raises:
            InputError: the body cannot be moved, or the point is not finite.
        """
        if body not in self.bodies:
            raise unknown("body that moves", body, self.bodies)
        if not np.isfinite(target).all():
            raise InputError(f"cannot pull {body} to {list(target)}: give a finite point")
        if body != self._body:
            self.let_go()
            self._body, self._last = body, None
        self._target = np.asarray(target, float)

    def let_go(self) -> None:
        """Pull nothing any more."""
        if self._body is not None:
            self._env.pull(self._body, np.zeros((1, 3), np.float32))
            self._body = None

    def apply(self) -> None:
        """Set the force for the next control step."""
        if self._body is None:
            return
        model, index = self._env.model, self._env.model.body(self._body).id
        place, rate = self.place(self._body), 2 * np.pi * PULL_HZ
        speed = 0 if self._last is None else (place - self._last) / self._env.task.control_dt_s
        self._last = place
        mass = model.body_subtreemass[index]
        force = mass * (rate**2 * (self._target - place) - 2 * rate * speed)
        if _is_free(model, index):
            force = force - mass * model.opt.gravity
        size = np.linalg.norm(force)
        if size > MOST_N:
            force = force * MOST_N / size
        self._env.pull(self._body, force[None].astype(np.float32))


def _is_free(model: mujoco.MjModel, body: int) -> bool:
    joint = model.body_jntadr[body]
    return joint >= 0 and model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE
