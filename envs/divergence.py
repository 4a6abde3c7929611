"""How fast states that began alike come apart under the same actions."""

from dataclasses import dataclass, replace

import mujoco
import numpy as np
from jaxtyping import Float, Float32, Float64, Int

from regrasp.envs.batch_env import BatchEnv
from regrasp.envs.snapshot import Snapshot

NUDGE_RAD = 1e-9
"""Added to one joint, to see what the scene itself makes of a difference."""
MICRO, MILLI = 1e-6, 1e-3


@dataclass(frozen=True)
class Growth:
    """The largest difference between simulations: rad of a joint, m of a finger or an object."""

    micro_s: float | None
    """Time until it exceeds 1 micrometre or microrad; none: it did not."""
    milli_s: float | None
    """Time until it exceeds 1 mm or mrad."""
    largest: float | None
    """As large as it became; none: simulations broke down."""
    within_s: float
    """As long as they were watched."""

    @classmethod
    def of(cls, differences: Float[np.ndarray, " steps"], dt_s: float) -> "Growth":
        """What a difference after each step amounts to."""
        reached = [np.flatnonzero(~(differences <= limit)) for limit in (MICRO, MILLI)]
        micro_s, milli_s = (float(dt_s * (1 + at[0])) if len(at) else None for at in reached)
        largest = float(differences.max())
        within_s = dt_s * len(differences)
        return cls(micro_s, milli_s, largest if np.isfinite(largest) else None, within_s)

    def words(self) -> tuple[str, str, str]:
        """The two times and the largest difference."""
        never = f"> {self.within_s:.3g} s"
        micro, milli = (
            never if at is None else f"{at:.3g} s" for at in (self.micro_s, self.milli_s)
        )
        return micro, milli, "broke down" if self.largest is None else f"{self.largest:.1e}"


def of_copies(
    env: BatchEnv,
    single: BatchEnv,
    start: Snapshot,
    actions: Float32[np.ndarray, "steps action"],
) -> dict[str, Growth]:
    """One state forked into every row, and alone in a batch of one: how far copies are apart."""
    env.fork(start)
    copies = play(env, np.repeat(actions[:, None], env.num_envs, axis=1))
    single.restore(start)
    alone = play(single, actions[:, None])
    return {
        "in one batch": _growth(env, copies, copies[:, :1]),
        "batch of one": _growth(env, copies[:, :1], alone),
    }


def of_nudge(
    env: BatchEnv, start: Snapshot, actions: Float32[np.ndarray, "steps rows action"]
) -> Growth:
    """The same states with one joint nudged, all rows: how sensitive the scene itself is."""
    env.restore(start)
    plain = play(env, actions)
    env.restore(nudged(env, start, NUDGE_RAD))
    return _growth(env, plain, play(env, actions))


def nudged(env: BatchEnv, start: Snapshot, angle_rad: float) -> Snapshot:
    """The same states, with the first joint a little further on."""
    row = start.row.copy()
    first = env.model.joint(env.workcell.action_names[0]).qposadr[0]
    row[..., 1 + first] += angle_rad  # Time stands first.
    return replace(start, row=row)


def play(
    env: BatchEnv, actions: Float32[np.ndarray, "steps rows action"]
) -> Float64[np.ndarray, "steps rows nstate"]:
    """The engine's full states after each of these actions."""
    states = []
    for action in actions:
        env.step(action)
        states.append(env.take().row)
    return np.array(states)


def _growth(
    env: BatchEnv,
    a: Float64[np.ndarray, "steps _ nstate"],
    b: Float64[np.ndarray, "steps _ nstate"],
) -> Growth:
    places = 1 + _lengths_and_angles(env.model)  # Time stands first.
    differences = np.abs(a[..., places] - b[..., places]).max(axis=(1, 2))
    return Growth.of(differences, env.task.control_dt_s)


def _lengths_and_angles(model: mujoco.MjModel) -> Int[np.ndarray, " n"]:
    """Where in qpos joints and object positions stand; quaternions are left out."""
    sizes = {
        mujoco.mjtJoint.mjJNT_FREE: 3,
        mujoco.mjtJoint.mjJNT_BALL: 0,
        mujoco.mjtJoint.mjJNT_HINGE: 1,
        mujoco.mjtJoint.mjJNT_SLIDE: 1,
    }
    return np.array(
        [
            first + i
            for kind, first in zip(model.jnt_type, model.jnt_qposadr, strict=True)
            for i in range(sizes[mujoco.mjtJoint(kind)])
        ],
        int,
    )
