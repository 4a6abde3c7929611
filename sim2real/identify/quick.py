"""A joint on its own: the servo's law with the arm as a load, fast enough to try ten thousand.

The load of a joint, gravity and the other joints' motion, is taken by inverse dynamics from a motion of the
arm instead of being simulated, so that joints come apart and every one is a mass on a line. The motion is
that of a recording at first, and then that of the whole simulated arm: under it, a joint moves here as it
does there, substep for substep, for friction yields and the integrator damps as in the engine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from regrasp.assets.arm import Arm, Servo
from regrasp.sim2real.identify.refine import OUTLIER
from regrasp.sim2real.identify.terms import RIGID, TERMS
from regrasp.sim2real.law import in_force
from regrasp.sim2real.log import Log
from regrasp.sim2real.replay import build_model

DT_S = 0.004
"""Length of a substep: that of the whole arm's replays in a fit."""
FINE = 4
"""Places within a substep at which commands are kept; between them they are interpolated."""
GRID_S = 0.02
"""Recordings are brought to this grid before they are smoothed."""
SMOOTH = 9
"""Samples of that grid that velocities and accelerations of recordings are smoothed over."""
ROUND = 50
"""Substeps and samples are filled up to multiples of this, so that few shapes are compiled."""
LANES = 1024
"""Candidates times logs that are simulated side by side."""
FAR_RAD = 10.0
"""Larger errors count as this."""
FRICTION_RATE_HZ = 100.0
"""Friction that can hold a joint slows it at this rate: 2 over the engine's default time constant, 0.02 s."""


@dataclass(frozen=True, eq=False)
class Loads:
    """Recordings as loads of single joints; substeps or samples first."""

    cmd: np.ndarray
    """(places, logs, joints): commands (rad), their mean over the substep that begins at each place."""
    bias: np.ndarray
    """(substeps, logs, joints): torque of gravity and of the other joints' motion (N m)."""
    gravity: np.ndarray
    """What of that does not come from accelerations: what gears are said to press on one another with."""
    mass: np.ndarray
    """Diagonal of the mass matrix without armature (kg m^2)."""
    q: np.ndarray
    """(samples, logs, joints), measured (rad)."""
    row: np.ndarray
    """(samples, logs): the substep after which a sample was taken, counted from 0."""
    share: np.ndarray
    """How far on the way to the next substep that was."""
    weight: np.ndarray
    """(samples, logs): 1 within a log, 0 after its end."""
    beside: np.ndarray
    """(samples, logs, joints): what is added to positions, where more is known than a joint's own motion."""

    def of(self, joint: int) -> tuple[Any, ...]:
        """One joint's part, as `_traces` takes it, kept where it is computed with."""
        if joint not in self._kept:
            own = (self.cmd, self.bias, self.gravity, self.mass, self.q, self.beside)
            parts = [x[:, :, joint] for x in own] + [self.row, self.share, self.weight]
            self._kept[joint] = tuple(jnp.asarray(part) for part in parts)
        return self._kept[joint]

    @cached_property
    def _kept(self) -> dict[int, tuple[Any, ...]]:
        return {}


def loads_of(logs: Sequence[Log], arm: Arm, motions: Sequence[np.ndarray] | None = None) -> Loads:
    """Recordings as loads of single joints.

    Args:
        logs: recordings.
        arm: the arm, with its masses.
        motions: joint positions (rad) after 0, 1, 2... substeps, per log: those of a simulation. None: what
            the logs measured, smoothed.
    """
    model = build_model(arm)
    data = mujoco.MjData(model)
    recorded = []
    for log in logs:
        real, sent = log.q.copy(), log.cmd.copy()
        real[:, -1], sent[:, -1] = arm.position(real[:, -1]), arm.position(sent[:, -1])
        recorded.append((log.t - log.t[0], sent, real))
    loads = unloaded(recorded)
    for i, (t, _, real) in enumerate(recorded):
        path = _smoothed(t, real) if motions is None else _differences(motions[i])
        found = _loads(model, data, arm, *(part[: len(loads.bias)] for part in path))
        for into, part in zip((loads.bias, loads.gravity, loads.mass), found, strict=True):
            into[: len(part), i] = part
    return loads


def unloaded(recorded: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Loads:
    """Recordings of joints without any load, of 1 kg m^2 each.

    Args:
        recorded: stamps from 0 on (s), commands and positions (samples, joints; rad), for each.
    """
    count, joints = len(recorded), recorded[0][1].shape[1]
    substeps = _filled(int(np.ceil(max(t[-1] for t, *_ in recorded) / DT_S - 1e-9)))
    samples = _filled(max(len(t) for t, *_ in recorded))
    q, cmd = (np.zeros((n, count, joints)) for n in (samples, substeps * FINE))
    row, share, weight = (np.zeros((samples, count)) for _ in range(3))
    for i, (t, sent, real) in enumerate(recorded):
        last, place = len(t), t / DT_S
        row[:last, i] = np.clip(place.astype(int), 0, substeps - 1)
        share[:last, i] = place - row[:last, i]
        weight[:last, i] = 1.0
        q[:last, i] = real
        cmd[:, i] = _means(t, sent, len(cmd))
    still = np.zeros((substeps, count, joints))
    own = (still, still.copy(), np.ones(still.shape))
    return Loads(cmd, *own, q, row.astype(int), share, weight, np.zeros(q.shape))


def with_beside(loads: Loads, errors: Sequence[np.ndarray], own: Sequence[np.ndarray]) -> Loads:
    """The same loads, with what joints on their own miss of the whole arm added to positions.

    Args:
        loads: those of a simulation of the whole arm.
        errors: of that simulation, per log (samples, joints).
        own: errors of its joints on their own, per joint (samples, logs).
    """
    beside = np.zeros(loads.q.shape)
    for i, error in enumerate(errors):
        beside[: len(error), i] = error - np.stack([e[: len(error), i] for e in own], axis=1)
    return replace(loads, beside=np.nan_to_num(beside))


def part_of(loads: Loads, logs: np.ndarray) -> Loads:
    """The loads of some of the logs.

    Args:
        loads: of all logs.
        logs: their indices.
    """
    return Loads(**{f.name: getattr(loads, f.name)[:, logs] for f in fields(loads)})


def errors_of(
    arm: Arm, joint: int, names: Sequence[str], z: np.ndarray, loads: Loads
) -> np.ndarray:
    """RMS error (rad) of candidates (candidates, terms) on every log: (candidates, logs)."""
    squares = _simulated(_squares, arm, joint, names, z, loads)
    return np.nan_to_num(np.sqrt(squares / loads.weight.sum(axis=0)), nan=1.0, posinf=1.0)


def traces_of(
    arm: Arm, joint: int, names: Sequence[str], z: np.ndarray, loads: Loads
) -> np.ndarray:
    """Errors (rad), simulated less measured: (candidates, samples, logs).

    Args:
        arm: the nominal arm.
        joint: its index.
        names: terms that candidates differ in.
        z: (candidates, terms), in units of the ranges.
        loads: of the recordings.
    """
    return _simulated(_traces, arm, joint, names, z, loads)


def costs_of(
    arm: Arm, joint: int, names: Sequence[str], z: np.ndarray, loads: Loads, sigma: float
) -> np.ndarray:
    """Half the sums of Huber's squares of errors in units of `sigma` (rad): (candidates,)."""
    found = _simulated(_costs, arm, joint, names, z, loads, sigma)
    return found.sum(axis=1, dtype=float)


def slopes_of(
    arm: Arm, joint: int, names: Sequence[str], z: np.ndarray, loads: Loads, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """What `costs_of` changes by, from the first of a group of candidates to the others.

    Args:
        arm: the nominal arm.
        joint: its index.
        names: terms that candidates differ in.
        z: (groups, 1 + others, terms).
        loads: of the recordings.
        sigma: unit of errors (rad).

    Returns:
        Gradients (groups, others) at the first candidates, for whole steps to the others, and Gauss-Newton
        Hessians (groups, others, others).
    """
    many, terms = z.shape[1:]
    flat = z.reshape(-1, terms)
    what = partial(_slopes, many=many)
    found = _simulated(what, arm, joint, names, flat, loads, sigma, group=many)
    found = found.sum(axis=1, dtype=float)
    return found[..., 0], found[..., 1:]


def _simulated(
    what: Callable[..., Any],
    arm: Arm,
    joint: int,
    names: Sequence[str],
    z: np.ndarray,
    loads: Loads,
    *more: Any,
    group: int = 1,
) -> np.ndarray:
    """What is made of candidates, some at a time so that caches hold them; candidates, or groups, first."""
    parts, found = loads.of(joint), []
    most = group * max(1, max(16, LANES // loads.weight.shape[1]) // group)
    for start in range(0, len(z), most):
        some = z[start : start + most]
        # Powers of two: few shapes are compiled.
        count = min(most, group << max(0, (len(some) // group - 1).bit_length()))
        filled = np.concatenate([some, np.repeat(some[-1:], count - len(some), axis=0)])
        made = what(_columns(arm.joints[joint].servo, names, filled), *parts, *more)
        found.append(np.moveaxis(np.asarray(made), -1, 0)[: len(some) // group])
    return np.concatenate(found)


def _columns(servo: Servo, names: Sequence[str], z: np.ndarray) -> dict[str, np.ndarray]:
    """Every figure of candidates (candidates,)."""
    figures = {name: np.full(len(z), getattr(servo, name)) for name in (*TERMS, "kv")}
    figures |= {name: TERMS[name].value(z[:, k], servo) for k, name in enumerate(names)}
    return figures


@jax.jit
def _traces(
    f: dict[str, Any],
    cmd: Any,
    bias: Any,
    gravity: Any,
    mass: Any,
    q: Any,
    beside: Any,
    row: Any,
    share: Any,
    weight: Any,
) -> Any:
    # Candidates last: as many as there are, they fill the processor's registers.
    shape = (q.shape[1], f["kp"].shape[0])
    ends = cmd.shape[0] - 1
    bias, gravity, mass = bias[..., None], gravity[..., None], mass[..., None]
    late = f["latency_s"] / DT_S * FINE
    # The command between two places, so that errors are smooth in the latency.
    back = jnp.floor(late).astype(int)
    part = late - back
    yields = RIGID / (1 - RIGID)
    follow = 1 - jnp.exp(-DT_S / jnp.maximum(f["profile_s"], 1e-6))

    def told(k: Any) -> Any:
        newer, older = (jnp.clip(k * FINE - back - i, 0, ends) for i in (0, 1))
        return (1 - part) * cmd[newer].T + part * cmd[older].T + f["offset"]

    def substep(state: Any, k: Any) -> Any:
        x, v, smooth, held, motor = state
        smooth = smooth + (told(k) - smooth) * follow
        held = jnp.clip(held, smooth - f["backlash"] / 2, smooth + f["backlash"] / 2)
        e = held - x
        e = e - jnp.clip(e, -f["dead_band"], f["dead_band"])
        # The law takes the motor's torque from the substep before.
        most = (
            f["frictionloss"]
            + f["motor_friction"] * jnp.abs(motor)
            + f["load_friction"] * jnp.abs(gravity[k])
            + f["stribeck_friction"] * jnp.exp(-jnp.abs(v) / f["stribeck_speed"])
        )
        motor = f["kp"] * e - f["kv"] * v
        soft = jnp.where(jnp.abs(motor) < f["force_limit"], f["kv"], 0.0)
        motor = jnp.clip(motor, -f["force_limit"], f["force_limit"])
        inertia = mass[k] + f["armature"]
        force = motor - bias[k] + f["torque_offset"] - f["damping"] * v
        slows = (-inertia * FRICTION_RATE_HZ * v - force) / (1 + yields)
        force = force + jnp.clip(slows, -most, most)
        v = v + DT_S * force / (inertia + DT_S * (f["damping"] + soft))
        x = x + DT_S * v
        return (x, v, smooth, held, motor), x

    start = jnp.broadcast_to(q[0][:, None], shape)
    still = jnp.zeros(shape)
    first = jnp.broadcast_to(told(0), shape)
    _, path = jax.lax.scan(substep, (start, still, first, first, still), jnp.arange(bias.shape[0]))
    path = jnp.concatenate([start[None], path])
    before, after = (jnp.take_along_axis(path, row[..., None] + i, 0) for i in (0, 1))
    found = before + (after - before) * share[..., None] + (beside - q)[..., None]
    return found * weight[..., None]


@jax.jit
def _squares(f: dict[str, Any], *parts: Any) -> Any:
    """Sums of squared errors (logs, candidates)."""
    return (_traces(f, *parts) ** 2).sum(axis=0)


@jax.jit
def _costs(f: dict[str, Any], *parts: Any) -> Any:
    """Sums of Huber's costs (logs, candidates); the last of `parts` is the unit of errors."""
    size = jnp.abs(_within(f, *parts))
    bent = OUTLIER * (size - 0.5 * OUTLIER)
    return jnp.where(size < OUTLIER, 0.5 * size**2, bent).sum(axis=0)


@partial(jax.jit, static_argnames="many")
def _slopes(f: dict[str, Any], *parts: Any, many: int) -> Any:
    """Gradients and Hessians of groups of candidates, side by side (logs, others, 1 + others, groups)."""
    size = _within(f, *parts)
    size = size.reshape(*size.shape[:2], -1, many)
    first, slope = size[..., :1], size[..., 1:] - size[..., :1]
    weighted = slope * jnp.minimum(1, OUTLIER / jnp.maximum(jnp.abs(first), OUTLIER))
    return jnp.einsum("slgi,slgj->lijg", weighted, jnp.concatenate([first, slope], axis=-1))


def _within(f: dict[str, Any], *parts: Any) -> Any:
    """Errors in units of the last of `parts`; what fell out of all bounds is far off, and finite."""
    errors = jnp.nan_to_num(_traces(f, *parts[:-1]), nan=FAR_RAD)
    return jnp.clip(errors, -FAR_RAD, FAR_RAD) / parts[-1]


def _loads(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    arm: Arm,
    q: np.ndarray,
    speed: np.ndarray,
    change: np.ndarray,
) -> np.ndarray:
    """Torque of gravity and of the others' motion, its part without accelerations, and the own inertia.

    Args:
        model: of the arm.
        data: of the model.
        arm: the arm.
        q: positions at the substeps (substeps, joints).
        speed: likewise.
        change: accelerations, likewise.
    """
    dofs = np.array([model.joint(name).dofadr[0] for name in arm.joint_names])
    columns = np.array([model.joint(name).qposadr[0] for name in arm.joint_names])
    square = np.ix_(dofs, dofs)
    armature = model.dof_armature[dofs]
    full = np.zeros((model.nv, model.nv))
    found = np.zeros((3, *q.shape))
    follower = None if arm.gripper.follower is None else data.joint(arm.gripper.follower)
    for k in range(len(q)):
        data.qpos[columns], data.qvel[dofs] = q[k], speed[k]
        if follower is not None:
            follower.qpos = q[k, -1]
        mujoco.mj_fwdPosition(model, data)
        mujoco.mj_fwdVelocity(model, data)
        mujoco.mj_fullM(model, data, full)
        own = full[square]
        bias = data.qfrc_bias[dofs]
        inertia = np.diag(own)
        found[:, k] = bias + own @ change[k] - inertia * change[k], bias, inertia - armature
    return found


def _smoothed(t: np.ndarray, q: np.ndarray) -> list[np.ndarray]:
    """Positions, velocities and accelerations at the substeps, of noisy positions at stamps `t`."""
    grid = np.arange(0, t[-1] + GRID_S, GRID_S)
    q = np.stack([np.interp(grid, t, x) for x in q.T], axis=1)
    speed = np.gradient(_smooth(q), GRID_S, axis=0)
    change = _smooth(np.gradient(_smooth(speed), GRID_S, axis=0))
    times = np.arange(int(np.ceil(t[-1] / DT_S - 1e-9))) * DT_S
    return [
        np.stack([np.interp(times, grid, x) for x in part.T], axis=1) for part in (q, speed, change)
    ]


def _differences(q: np.ndarray) -> list[np.ndarray]:
    """Positions, velocities and accelerations before each substep, of positions that the engine made.

    The engine moves by the velocity that a substep ends with, so differences of positions are exact.
    """
    speed = np.diff(q, axis=0, prepend=q[:1]) / DT_S
    return [q[:-1], speed[:-1], np.diff(speed, axis=0) / DT_S]


def _means(t: np.ndarray, sent: np.ndarray, places: int) -> np.ndarray:
    """Means of held commands over the substeps that begin at each place."""
    step = DT_S / FINE
    # Between two places at most one command comes: its share is what is left of the way.
    at = np.arange(places + FINE) * step
    now, then = (sent[in_force(t, at + i * step)] for i in (0, 1))
    came = t[in_force(t, at + step)]
    left = np.clip((at + step - came) / step, 0, 1)[:, None]
    cells = then * left + now * (1 - left)
    total = np.concatenate([np.zeros((1, cells.shape[1])), cells.cumsum(axis=0)])
    return (total[FINE:] - total[:-FINE])[:places] / FINE


def _filled(count: int) -> int:
    return -(-count // ROUND) * ROUND


def _smooth(x: np.ndarray) -> np.ndarray:
    kernel = np.hanning(SMOOTH + 2)[1:-1]
    half = SMOOTH // 2
    padded = np.pad(x, ((half, half), (0, 0)), "edge")
    return np.stack([np.convolve(c, kernel / kernel.sum(), "valid") for c in padded.T], axis=1)
