"""Replay: the logged commands, at their logged times, through the arm's model."""

import os
from collections.abc import Sequence

import mujoco
import numpy as np
from jaxtyping import Float
from mujoco.batch import Batch

from regrasp.assets.arm import Arm
from regrasp.envs.cpu_world import write_no_log_file
from regrasp.errors import InputError
from regrasp.sim2real.log import Log

TIMESTEP_S = 0.002
CHUNK = 2500
"""Substeps per rollout call: bounds memory, and lets short logs leave before long ones."""


def replay(
    logs: Sequence[Log], arm: Arm, *, timestep_s: float = TIMESTEP_S, threads: int = 0
) -> list[Float[np.ndarray, "time joints"]]:
    """Simulate each log open loop and return its joint positions at the log's stamps.

    A simulation starts at rest at the first measured positions. At each substep the servos get
    the latest command whose stamp is not later than the simulation's time. Positions between
    substeps are interpolated linearly. Logs run side by side and do not affect one another.

    Args:
        logs: logs of that arm, of any lengths.
        arm: the arm, with the servo figures to try; it stands alone, with gravity.
        timestep_s: length of a substep (s).
        threads: threads to use; 0 takes every core.

    Returns:
        Per log, positions in the log's units (rad, gripper 0..1), one row per stamp.

    Raises:
        InputError: a log is not of this arm, or its simulation becomes unstable.
    """
    if not logs:
        return []
    for log in logs:
        log.check_arm(arm)
    write_no_log_file()
    model = build_model(arm, timestep_s)
    batch = Batch(model, nsim=len(logs), nthread=threads or _cores())
    columns = _start(batch, model, logs, arm)
    steps = np.array([int(np.ceil(log.duration_s / timestep_s)) for log in logs])
    paths = [np.empty((n + 1, len(arm.joints))) for n in steps]
    for row, path in enumerate(paths):
        path[0] = batch.bind("qpos")[row, columns]
    for begin in range(0, int(steps.max()), CHUNK):
        rows = np.flatnonzero(steps > begin).tolist()
        count = min(CHUNK, int(steps.max()) - begin)
        control = np.stack([_controls(logs[row], arm, begin, count, timestep_s) for row in rows])
        qpos = batch.rollout(count, control, record=("qpos",), ids=rows)["qpos"][..., columns]
        for row, positions in zip(rows, qpos, strict=True):
            into = paths[row][begin + 1 : begin + 1 + count]
            into[:] = positions[: len(into)]
    _check_stable(batch, logs)
    return [_sampled(log, arm, p, timestep_s) for log, p in zip(logs, paths, strict=True)]


def build_model(arm: Arm, timestep_s: float = TIMESTEP_S) -> mujoco.MjModel:
    """The arm alone, on its base, with gravity.

    Args:
        arm: the arm, with its servo figures.
        timestep_s: length of a substep (s).
    """
    spec = arm.spec()
    spec.option.timestep = timestep_s
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    return spec.compile()


def hold(log: Log, times_s: Float[np.ndarray, "substeps"]) -> Float[np.ndarray, "substeps joints"]:
    """The command in force at each time: the latest not stamped later (zero-order hold).

    Args:
        log: whose commands.
        times_s: times after the log's first stamp (s); earlier ones get the first command.
    """
    # Stamps and substeps are both rounded: a nanosecond decides ties for the command.
    index = np.searchsorted(log.t - log.t[0], times_s + 1e-9, side="right") - 1
    return log.cmd[np.maximum(index, 0)]


def _controls(log: Log, arm: Arm, begin: int, count: int, timestep_s: float) -> np.ndarray:
    """Servo targets (count, joints) for the substeps from `begin` on, in the joints' own units."""
    controls = hold(log, (begin + np.arange(count)) * timestep_s).copy()
    controls[:, -1] = arm.position(controls[:, -1])
    return controls


def _start(batch: Batch, model: mujoco.MjModel, logs: Sequence[Log], arm: Arm) -> np.ndarray:
    """Put every simulation at its log's first measured positions; columns of the joints in qpos."""
    columns = np.array([model.joint(name).qposadr[0] for name in arm.joint_names])
    first = np.stack([log.q[0] for log in logs])
    first[:, -1] = arm.position(first[:, -1])
    qpos = batch.bind("qpos")
    qpos[:, columns] = first
    if arm.gripper.follower is not None:
        qpos[:, model.joint(arm.gripper.follower).qposadr[0]] = first[:, -1]
    return columns


def _sampled(log: Log, arm: Arm, path: np.ndarray, timestep_s: float) -> np.ndarray:
    """Positions at the log's stamps, from the path (substeps + 1, joints) at every substep."""
    times = np.arange(len(path)) * timestep_s
    q = np.stack([np.interp(log.t - log.t[0], times, column) for column in path.T], axis=1)
    q[:, -1] = arm.opening(q[:, -1])
    return q


def _check_stable(batch: Batch, logs: Sequence[Log]) -> None:
    warned = np.asarray(batch.warning).reshape(len(logs), -1).sum(axis=1) > 0
    if warned.any():
        log = logs[int(np.argmax(warned))]
        raise InputError(
            f"the replay of log {log.name} is unstable with these servo figures: "
            f"use softer ones, more damping or a shorter timestep"
        )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
