"""Where an arm's tip is and what gravity asks of its joints, at measured or simulated positions."""

from collections.abc import Callable
from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float

from regrasp.assets.arm import Arm
from regrasp.sim2real.replay import build_model

TIPS = ("gripper_frame", "gripper")
"""Sites that stand for the end effector, the first that an arm has."""


class Poses(NamedTuple):
    """What follows from joint positions alone."""

    tip_m: Float[np.ndarray, "time 3"]
    """Position of the end effector in the frame of the arm's base."""
    turn: Float[np.ndarray, "time 3 3"]
    """Its orientation."""
    load: Float[np.ndarray, "time joints"]
    """Torque (N m; N for a slide) that holds each joint against gravity, positive upwards in q."""


def poses(arm: Arm, q: Float[np.ndarray, "time joints"]) -> Poses:
    """Forward kinematics and gravity at positions in a log's units."""
    model = build_model(arm)
    data = mujoco.MjData(model)
    dofs = np.array([model.joint(name).dofadr[0] for name in arm.joint_names])
    place = placing(model, arm)
    site = tip_site(model)
    tip, turn = np.empty((len(q), 3)), np.empty((len(q), 3, 3))
    load, force = np.empty((len(q), len(dofs))), np.zeros(model.nv)
    for i, row in enumerate(np.asarray(q, float)):
        place(data, row)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_rne(model, data, 0, force)
        tip[i], turn[i] = data.site_xpos[site], data.site_xmat[site].reshape(3, 3)
        load[i] = force[dofs]
    return Poses(tip, turn, load)


def placing(
    model: mujoco.MjModel, arm: Arm
) -> Callable[[mujoco.MjData, Float[np.ndarray, "joints"]], None]:
    """What puts an arm at positions in a log's units: call with data of the model, and one row."""
    columns = np.array([model.joint(name).qposadr[0] for name in arm.joint_names])
    follower = arm.gripper.follower
    mirrored = None if follower is None else model.joint(follower).qposadr[0]

    def place(data: mujoco.MjData, row: Float[np.ndarray, "joints"]) -> None:
        position = np.append(row[:-1], arm.position(row[-1]))
        data.qpos[columns] = position
        if mirrored is not None:
            data.qpos[mirrored] = position[-1]

    return place


def tip_site(model: mujoco.MjModel) -> int:
    """The site that stands for the end effector; the last one if none has a known name."""
    names = [model.site(i).name for i in range(model.nsite)]
    return next((names.index(name) for name in TIPS if name in names), len(names) - 1)


def turned_rad(
    first: Float[np.ndarray, "time 3 3"], second: Float[np.ndarray, "time 3 3"]
) -> Float[np.ndarray, "time"]:
    """Angle (rad) of the rotation that leads from one orientation to the other."""
    relative = np.einsum("tij,tik->tjk", first, second)
    # By the sine and the cosine: either alone is blunt somewhere.
    axis = np.stack(
        [
            relative[:, 2, 1] - relative[:, 1, 2],
            relative[:, 0, 2] - relative[:, 2, 0],
            relative[:, 1, 0] - relative[:, 0, 1],
        ],
        axis=1,
    )
    trace = np.trace(relative, axis1=1, axis2=2)
    return np.arctan2(np.linalg.norm(axis, axis=1), trace - 1)
