"""Many simulations of one arm side by side, each driven by logged commands."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Float, Shaped
from mujoco.batch import Batch

from regrasp.assets.arm import Arm
from regrasp.envs.cpu_world import write_no_log_file
from regrasp.errors import InputError
from regrasp.sim2real.law import Law, Shaper, in_force, is_plain, is_shaped, write_models

CHUNK = 2500
"""Substeps per rollout call at most: short pieces leave before long ones."""
CHUNK_ROWS = 400_000
"""Rows of positions that a call may record, over all simulations: bounds memory."""


@dataclass(frozen=True, eq=False)
class Piece:
    """What drives a simulation, and when its positions are wanted. Units are those of a `Log`."""

    name: str
    """Of the log, for messages."""
    t: Float[np.ndarray, "time"]
    """When positions are wanted (s), from 0 on, increasing."""
    cmd_t: Float[np.ndarray, "stamps"]
    """When commands were sent (s); before the first one it is that one that holds."""
    cmd: Float[np.ndarray, "stamps joints"]
    q: Float[np.ndarray, "joints"]
    """Positions at the start."""
    qd: Float[np.ndarray, "joints"]
    """Velocities at the start."""


@dataclass(frozen=True, eq=False)
class Variation:
    """What differs between simulations outside the engine's model; one row for each of them."""

    latency_s: Float[np.ndarray, "sims"] | None = None
    """From a command's stamp to its arrival at the servos."""
    backlash_rad: Float[np.ndarray, "sims joints"] | None = None
    """Play between servo and joint from end to end: see `regrasp.envs.control.play`."""
    offset_rad: Float[np.ndarray, "sims joints"] | None = None
    """How far a joint stands above what it is told and measured to be."""


def simulate(
    pieces: Sequence[Piece],
    arms: Sequence[Arm],
    models: Sequence[mujoco.MjModel],
    members: int = 1,
    fields: Mapping[str, Shaped[np.ndarray, "sims ..."]] | None = None,
    variation: Variation | None = None,
    threads: int = 0,
) -> list[Float[np.ndarray, "members time joints"]]:
    """Positions of every piece under every member's physics, with what `law` adds to the engine.

    Simulations are independent of one another, of their order and of the number of threads.

    Args:
        pieces: what drives them; they may differ in length.
        arms: the arm of each piece; they differ in figures alone.
        models: the model of each of these.
        members: simulations of each piece.
        fields: model fields that differ, one value for each simulation, piece by piece.
        variation: what differs outside the model, in the same order.
        threads: 0 takes every core.

    Raises:
        InputError: a simulation becomes unstable.
    """
    if not pieces:
        return []
    write_no_log_file()
    variation = variation or Variation()
    model, arm = models[0], arms[0]
    batch = Batch(model, nsim=len(pieces) * members, nthread=threads or cores())
    if any(one is not model for one in models):
        write_models(batch, [one for one in models for _ in range(members)])
    for name, values in (fields or {}).items():
        batch.expand(name)[:] = values
    if fields:
        batch.set_const()
    columns = _start(batch, model, pieces, arm, members, variation)
    each = [one for one in arms for _ in range(members)]
    law = None if all(map(is_plain, arms)) else Law.of(batch, model, each)
    dt = model.opt.timestep
    drives = [
        _Drive(piece, own, members, _of(variation, i, members), dt)
        for i, (piece, own) in enumerate(zip(pieces, arms, strict=True))
    ]
    found = [np.empty((members, len(piece.t), len(arm.joints))) for piece in pieces]
    steps = np.array([int(np.ceil(piece.t[-1] / dt - 1e-9)) for piece in pieces])
    last = batch.bind("qpos")[:, columns].copy().reshape(len(pieces), members, -1)
    for i, into in enumerate(found):
        into[:, pieces[i].t <= 0] = last[i][:, None]
    for begin, count, active in _chunks(steps, members):
        control = np.concatenate([drives[i].controls(begin, count) for i in active])
        ids = (active[:, None] * members + np.arange(members)).ravel()
        if law is None:
            record = batch.rollout(count, control, record=("qpos",), ids=ids.tolist())
            moved = record["qpos"][..., columns]
        else:
            moved = law.rollout(batch, control, ids, columns)
        paths = moved.reshape(len(active), members, count, -1)
        for i, path in zip(active, paths, strict=True):
            whole = np.concatenate([last[i][:, None], path], axis=1)
            _sample(pieces[i].t, whole, begin, dt, found[i])
        last[active] = paths[:, :, -1]
    _check_stable(batch, pieces, members)
    for i, positions in enumerate(found):
        positions[..., -1] = arm.opening(positions[..., -1])
        offset = drives[i].offset
        if offset is not None:
            positions -= offset[:, None]
    return found


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Drive:
    """Servo targets of one piece's simulations."""

    def __init__(
        self, piece: Piece, arm: Arm, members: int, variation: Variation, timestep_s: float
    ):
        self.piece, self.latency, self.offset = piece, variation.latency_s, variation.offset_rad
        self.timestep_s, self.shaper = timestep_s, None
        told = piece.cmd[None]
        if self.offset is not None:
            told = told + self.offset[:, None]
        if is_shaped(arm):
            self.shaper = _shaper(piece, arm, members, told, variation, timestep_s)
            return
        targets = told if variation.backlash_rad is None else _played(told, variation.backlash_rad)
        targets = targets.copy()
        targets[..., -1] = arm.position(targets[..., -1])
        self.targets = np.broadcast_to(targets, (members, *targets.shape[1:]))

    def controls(self, begin: int, count: int) -> np.ndarray:
        """Targets (members, count, joints) for the substeps from `begin` on, in joint units.

        Stretches follow one another.
        """
        if self.shaper is not None:
            return self.shaper(count)
        times = (begin + np.arange(count)) * self.timestep_s
        if self.latency is None:
            return self.targets[:, in_force(self.piece.cmd_t, times)]
        rows = in_force(self.piece.cmd_t, times - self.latency[:, None])
        return np.take_along_axis(self.targets, rows[..., None], axis=1)


def _shaper(
    piece: Piece,
    arm: Arm,
    members: int,
    told: np.ndarray,
    variation: Variation,
    timestep_s: float,
) -> Shaper:
    sent = np.broadcast_to(told, (members, *told.shape[1:])).copy()
    sent[..., -1] = arm.position(sent[..., -1])
    latency, backlash = variation.latency_s, variation.backlash_rad
    if backlash is not None:
        backlash = backlash.copy()
        backlash[:, -1] *= abs(arm.position(1.0) - arm.position(0.0))
    return Shaper(
        arm,
        piece.cmd_t,
        sent,
        timestep_s,
        0.0 if latency is None else latency,
        0.0 if backlash is None else backlash,
    )


def _played(told: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Targets that the ends of a gap drag along (members, stamps, joints)."""
    told = np.broadcast_to(told, (len(width), *told.shape[1:]))
    held, targets = told[:, 0], np.empty(told.shape)
    for i in range(told.shape[1]):
        held = np.clip(held, told[:, i] - width / 2, told[:, i] + width / 2)
        targets[:, i] = held
    return targets


def _of(variation: Variation, piece: int, members: int) -> Variation:
    """One piece's rows."""
    own = slice(piece * members, (piece + 1) * members)
    return Variation(
        **{name: None if rows is None else rows[own] for name, rows in vars(variation).items()}
    )


def _start(
    batch: Batch,
    model: mujoco.MjModel,
    pieces: Sequence[Piece],
    arm: Arm,
    members: int,
    variation: Variation,
) -> np.ndarray:
    """Put every simulation at its piece's first state; columns of the joints in qpos."""
    joints = [model.joint(name) for name in arm.joint_names]
    columns = np.array([joint.qposadr[0] for joint in joints])
    speeds = np.array([joint.dofadr[0] for joint in joints])
    q = np.repeat(np.stack([piece.q for piece in pieces]), members, axis=0)
    qd = np.repeat(np.stack([piece.qd for piece in pieces]), members, axis=0)
    if variation.offset_rad is not None:
        q += variation.offset_rad
    q[:, -1] = arm.position(q[:, -1])
    qd[:, -1] *= arm.position(1.0) - arm.position(0.0)
    qpos, qvel = batch.bind("qpos"), batch.bind("qvel")
    qpos[:, columns], qvel[:, speeds] = q, qd
    if arm.gripper.follower is not None:
        follower = model.joint(arm.gripper.follower)
        qpos[:, follower.qposadr[0]], qvel[:, follower.dofadr[0]] = q[:, -1], qd[:, -1]
    return columns


def _chunks(steps: np.ndarray, members: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """First substep, number of substeps and pieces of each rollout call."""
    begin, end = 0, int(steps.max())
    while begin < end:
        active = np.flatnonzero(steps > begin)
        room = max(1, CHUNK_ROWS // (len(active) * members))
        count = min(CHUNK, room, end - begin)
        yield begin, count, active
        begin += count


def _sample(
    t: np.ndarray, path: np.ndarray, begin: int, timestep_s: float, into: np.ndarray
) -> None:
    """Positions at those stamps that this stretch of the path (members, substeps + 1, _) holds."""
    place = t / timestep_s - begin
    last = path.shape[1] - 1
    # The last stamp may lie a rounding error beyond the last substep.
    rows = np.flatnonzero((place > 0) & (place <= last + 1e-6))
    before = np.minimum(place[rows].astype(int), last - 1)
    share = (place[rows] - before)[:, None]
    into[:, rows] = path[:, before] * (1 - share) + path[:, before + 1] * share


def _check_stable(batch: Batch, pieces: Sequence[Piece], members: int) -> None:
    warned = np.asarray(batch.warning).reshape(len(pieces) * members, -1).sum(axis=1) > 0
    if warned.any():
        piece = pieces[int(np.argmax(warned)) // members]
        raise InputError(
            f"the replay of log {piece.name} is unstable with these servo figures: "
            f"use softer ones, more damping or a shorter timestep"
        )
