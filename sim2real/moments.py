"""A moment of a recording as a `Snapshot`, so that what works from a state works from a real one."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float

from regrasp.assets.arm import Arm
from regrasp.envs import BatchEnv
from regrasp.envs.snapshot import Snapshot, fingerprint
from regrasp.envs.world import INTEGRATION
from regrasp.errors import InputError, unknown
from regrasp.sim2real.log import Log
from regrasp.sim2real.replay import build_model, velocities

Poses = Mapping[str, Float[np.ndarray, "_"]]
"""Joint of an object -> its position in qpos: x, y, z and a unit quaternion (w, x, y, z) if free."""


def arm_moment(log: Log, arm: Arm, time_s: float) -> Snapshot:
    """An arm by itself at a moment of a log: the model is that of `build_model`.

    Args:
        log: a log of that arm.
        arm: the arm.
        time_s: time after the log's first stamp (s); the last sample not later than it is taken.

    Raises:
        InputError: the log is of another arm, or does not last so long.
    """
    log.check_arm(arm)
    model, row = build_model(arm), _row(log, time_s)
    data = mujoco.MjData(model)
    data.time = time_s
    _place(model, data, arm, log, row, "")
    _command(model, data, arm, log, row, "")
    return Snapshot(_state(model, data), {}, {}, "replay", fingerprint(model))


def real_moment(
    env: BatchEnv,
    logs: Mapping[str, Log],
    time_s: float,
    objects: Poses | None = None,
    row: int = 0,
) -> Snapshot:
    """The moment of a recording in an environment's scene, to be restored and forked there.

    Joints, their velocities and the commands in force come from the logs; objects stand at rest
    where they were seen. Everything else (the episode's key, its task carry, its physics) is that
    of the environment's row, which has to be started.

    Args:
        env: a started environment, whose arms were recorded.
        logs: by side, as in joint names: {"left": log, "right": log}; an arm without one stays as
            it is in the row.
        time_s: time after each log's first stamp (s).
        objects: where objects were, in the scene's frame; those not named stay as in the row.
        row: whose episode this becomes.

    Raises:
        InputError: a log of another arm or too short, or an object that the scene lacks.
    """
    kept, arm = env.take(row), env.workcell.arm
    data = mujoco.MjData(env.model)
    mujoco.mj_setState(env.model, data, kept.row, INTEGRATION)
    sent = np.array(kept.carry["control.sent"])
    held = np.array(kept.carry["control.held"])
    names = env.workcell.action_names
    for side, log in logs.items():
        prefix = f"{side}/"
        if not any(name.startswith(prefix) for name in names):
            raise unknown("side", side, sorted({name.partition("/")[0] for name in names}))
        log.check_arm(arm)
        at = _row(log, time_s)
        _place(env.model, data, arm, log, at, prefix)
        _command(env.model, data, arm, log, at, prefix)
        columns = [i for i, name in enumerate(names) if name.startswith(prefix)]
        sent[..., columns] = log.cmd[at]
        target = log.cmd[at].copy()
        target[-1] = arm.position(target[-1])
        held[columns] = target
    for name, pose in (objects or {}).items():
        _stand(env.model, data, name, pose)
    # What was seen before, where observations are late, is not what the row has seen.
    past = np.full_like(kept.carry["past"], np.nan)
    carry = {**kept.carry, "control.sent": sent, "control.held": held, "past": past}
    return replace(kept, row=_state(env.model, data), carry=carry)


def _row(log: Log, time_s: float) -> int:
    if not 0 <= time_s <= log.duration_s:
        raise InputError(
            f"log {log.name}: no moment at {time_s:g} s; choose 0 to {log.duration_s:.2f} s"
        )
    return int(np.searchsorted(log.t - log.t[0], time_s + 1e-9, side="right")) - 1


def _place(
    model: mujoco.MjModel, data: mujoco.MjData, arm: Arm, log: Log, row: int, prefix: str
) -> None:
    """Joints and velocities of one arm."""
    q, qd = log.q[row].copy(), velocities(log)[row]
    q[-1] = arm.position(q[-1])
    qd[-1] *= arm.position(1.0) - arm.position(0.0)
    joints = [f"{prefix}{name}" for name in arm.joint_names]
    if arm.gripper.follower is not None:
        joints.append(f"{prefix}{arm.gripper.follower}")
        q, qd = np.append(q, q[-1]), np.append(qd, qd[-1])
    for name, position, velocity in zip(joints, q, qd, strict=True):
        data.joint(name).qpos[0], data.joint(name).qvel[0] = position, velocity


def _command(
    model: mujoco.MjModel, data: mujoco.MjData, arm: Arm, log: Log, row: int, prefix: str
) -> None:
    """The servos' targets."""
    target = log.cmd[row].copy()
    target[-1] = arm.position(target[-1])
    for name, value in zip(arm.joint_names, target, strict=True):
        data.ctrl[model.actuator(f"{prefix}{name}").id] = value


def _stand(model: mujoco.MjModel, data: mujoco.MjData, name: str, pose: Any) -> None:
    """An object at rest at a pose."""
    known = {model.joint(i).name for i in range(model.njnt)}
    if name not in known:
        raise unknown("joint of an object", name, sorted(known))
    joint, pose = data.joint(name), np.asarray(pose, float)
    if pose.shape != joint.qpos.shape or not np.isfinite(pose).all():
        raise InputError(
            f"pose of {name!r} has shape {pose.shape}: give {joint.qpos.shape[0]} finite numbers, "
            "position then quaternion (w, x, y, z)"
        )
    if len(pose) == 7:
        length = float(np.linalg.norm(pose[3:]))
        if abs(length - 1) > 0.01:
            raise InputError(f"pose of {name!r}: its quaternion has length {length:.3g}, needs 1")
        pose = np.concatenate([pose[:3], pose[3:] / length])
    joint.qpos[:], joint.qvel[:] = pose, 0


def _state(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    # What the solver remembers belongs to where things were before.
    data.qacc_warmstart[:] = 0
    row = np.zeros(mujoco.mj_stateSize(model, INTEGRATION))
    mujoco.mj_getState(model, data, row, INTEGRATION)
    return row
