"""A joint on its own: the servo's law with the arm as a load, fast enough to try ten thousand.

The load of a joint, gravity and the other joints' motion, is taken from the recording by inverse
dynamics instead of being simulated, so that joints come apart and every one is a mass on a line. It finds
the region; `refine` then fits the whole simulated arm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from regrasp.assets.arm import Arm
from regrasp.sim2real.identify.terms import TERMS
from regrasp.sim2real.log import Log
from regrasp.sim2real.replay import build_model, hold

DT_S = 0.005
EVERY = 4
"""Substeps between samples."""
SMOOTH = 9
"""Samples (of 20 ms) that velocities and accelerations of recordings are smoothed over."""


@dataclass(frozen=True, eq=False)
class Loads:
    """Recordings on one grid, samples first; `cmd`, `bias` and `mass` at every substep."""

    cmd: np.ndarray
    """(substeps, logs, joints) rad."""
    bias: np.ndarray
    """Torque of gravity and of the other joints' motion (N m)."""
    mass: np.ndarray
    """Diagonal of the mass matrix without armature (kg m^2)."""
    q: np.ndarray
    """(samples, logs, joints), measured (rad)."""
    weight: np.ndarray
    """(samples, logs): 1 within a log, 0 after its end."""


def loads_of(logs: Sequence[Log], arm: Arm, motions: Sequence[np.ndarray] | None = None) -> Loads:
    """Recordings as loads of single joints.

    Args:
        logs: recordings.
        arm: the arm, with its masses.
        motions: what the arm does, in the logs' units and at their stamps, if not what they measured:
            a simulation of them, say, which has no noise to smooth.
    """
    width = SMOOTH if motions is None else 3
    model = build_model(arm)
    data = mujoco.MjData(model)
    dofs = np.array([model.joint(name).dofadr[0] for name in arm.joint_names])
    columns = np.array([model.joint(name).qposadr[0] for name in arm.joint_names])
    step = DT_S * EVERY
    samples = int(max(log.duration_s for log in logs) / step) + 1
    shape = (samples, len(logs), len(dofs))
    q, bias, mass, weight = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape[:2])
    cmd = np.zeros((samples * EVERY, *shape[1:]))
    for i, log in enumerate(logs):
        times = np.arange(samples) * step
        weight[:, i] = times <= log.duration_s
        real = np.stack([np.interp(times, log.t - log.t[0], x) for x in log.q.T], axis=1)
        told = hold(log, np.arange(samples * EVERY) * DT_S).copy()
        real[:, -1], told[:, -1] = arm.position(real[:, -1]), arm.position(told[:, -1])
        q[:, i], cmd[:, i] = real, told
        if motions is not None:
            real = np.stack([np.interp(times, log.t - log.t[0], x) for x in motions[i].T], axis=1)
            real[:, -1] = arm.position(real[:, -1])
        speed = np.gradient(_smooth(real, width), step, axis=0)
        change = _smooth(np.gradient(_smooth(speed, width), step, axis=0), width)
        full = np.zeros((model.nv, model.nv))
        for k in range(int(weight[:, i].sum())):
            data.qpos[columns], data.qvel[dofs] = real[k], speed[k]
            if arm.gripper.follower is not None:
                data.joint(arm.gripper.follower).qpos = real[k, -1]
            mujoco.mj_fwdPosition(model, data)
            mujoco.mj_fwdVelocity(model, data)
            mujoco.mj_fullM(model, data, full)
            own = full[np.ix_(dofs, dofs)].copy()
            mass[k, i] = np.diag(own) - model.dof_armature[dofs]
            np.fill_diagonal(own, 0)
            bias[k, i] = data.qfrc_bias[dofs] + own @ change[k]
        mass[:, i] = np.where(weight[:, i, None] > 0, mass[:, i], 1.0)
    fine = np.arange(samples * EVERY) / EVERY
    return Loads(cmd, _finer(bias, fine), _finer(mass, fine), q, weight)


def errors_of(
    arm: Arm, joint: int, names: Sequence[str], z: np.ndarray, loads: Loads
) -> np.ndarray:
    """RMS error (rad) of candidates (candidates, terms) on every log: (candidates, logs)."""
    servo = arm.joints[joint].servo
    figures = {name: np.full(len(z), getattr(servo, name)) for name in (*TERMS, "kv")}
    figures |= {name: TERMS[name].value(z[:, k], servo) for k, name in enumerate(names)}
    columns = {name: value[:, None] for name, value in figures.items()}
    parts = (x[:, :, joint] for x in (loads.cmd, loads.bias, loads.mass, loads.q))
    found = _errors(columns, *parts, loads.weight)
    return np.nan_to_num(np.asarray(found), nan=1.0)


@jax.jit
def _errors(f: dict[str, Any], cmd: Any, bias: Any, mass: Any, q: Any, weight: Any) -> Any:
    shape = (f["kp"].shape[0], q.shape[1])
    ends = cmd.shape[0] - 1
    rows = jnp.arange(shape[1])[None]
    late = f["latency_s"] / DT_S
    # The command between two substeps, so that the error is smooth in the latency.
    back = jnp.floor(late).astype(int)
    part = late - back

    def told(k: Any) -> Any:
        newer, older = (jnp.clip(k - back - i, 0, ends) for i in (0, 1))
        return (1 - part) * cmd[newer, rows] + part * cmd[older, rows] + f["offset"]

    def sample(state: Any, i: Any) -> Any:
        measured = state[0]
        for k in range(EVERY):
            state = substep(state, i * EVERY + k)
        error = (measured - q[i]) * weight[i]
        return state, error**2

    def substep(state: Any, k: Any) -> Any:
        x, v, smooth, held = state
        smooth = smooth + (told(k) - smooth) * (
            1 - jnp.exp(-DT_S / jnp.maximum(f["profile_s"], 1e-6))
        )
        target = smooth
        held = jnp.clip(held, target - f["backlash"] / 2, target + f["backlash"] / 2)
        e = held - x
        e = e - jnp.clip(e, -f["dead_band"], f["dead_band"])
        u = jnp.clip(f["kp"] * e - f["kv"] * v, -f["force_limit"], f["force_limit"])
        friction = (
            f["frictionloss"]
            + f["motor_friction"] * jnp.abs(u)
            + f["load_friction"] * jnp.abs(bias[k])
            + f["stribeck_friction"] * jnp.exp(-jnp.abs(v) / f["stribeck_speed"])
        )
        inertia = mass[k] + f["armature"] + DT_S * f["damping"]
        moved = v + DT_S * (u - bias[k] + f["torque_offset"] - f["damping"] * v) / inertia
        v = jnp.sign(moved) * jnp.maximum(jnp.abs(moved) - DT_S * friction / inertia, 0)
        return x + DT_S * v, v, smooth, held

    start = jnp.broadcast_to(q[0], shape)
    first_told = jnp.broadcast_to(told(0), shape)
    first = (start, jnp.zeros(shape), first_told, first_told)
    _, squares = jax.lax.scan(sample, first, jnp.arange(q.shape[0]))
    return jnp.sqrt(squares.sum(0) / weight.sum(0))


def _smooth(x: np.ndarray, width: int) -> np.ndarray:
    kernel = np.hanning(width + 2)[1:-1]
    half = width // 2
    padded = np.pad(x, ((half, half), (0, 0)), "edge")
    return np.stack([np.convolve(c, kernel / kernel.sum(), "valid") for c in padded.T], axis=1)


def _finer(x: np.ndarray, at: np.ndarray) -> np.ndarray:
    low = np.minimum(at.astype(int), len(x) - 1)
    high = np.minimum(low + 1, len(x) - 1)
    part = (at - low)[:, None, None]
    return (1 - part) * x[low] + part * x[high]
