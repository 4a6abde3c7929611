"""Replay: the logged commands, at their logged times, through the arm's model."""

from collections.abc import Mapping, Sequence

import mujoco
import numpy as np
from jaxtyping import Float, Int, Shaped

from regrasp.assets.arm import Arm
from regrasp.sim2real.law import in_force
from regrasp.sim2real.log import Log
from regrasp.sim2real.simulate import Piece, Variation, simulate

TIMESTEP_S = 0.0025
"""Replays of six SO-101 recordings differ from those at 0.5 ms by a median of 0.14 mrad with nominal servos
and 0.23 mrad with fitted ones: a twentieth of the arm's own noise."""


def replay(
    logs: Sequence[Log],
    arm: Arm | Sequence[Arm],
    *,
    timestep_s: float = TIMESTEP_S,
    threads: int = 0,
    contacts: bool = True,
) -> list[Float[np.ndarray, "time joints"]]:
    """Simulate each log open loop and return its joint positions at the log's stamps.

    A simulation starts at rest at the first measured positions. At each substep the servos get
    the latest command whose stamp is not later than the simulation's time, or, where the arm has
    fitted figures, what `regrasp.sim2real.law` makes of it. Positions between substeps are
    interpolated linearly. Logs run side by side and do not affect one another.

    Args:
        logs: logs of that arm, of any lengths.
        arm: the arm, with the servo figures to try; it stands alone, with gravity. Or one for each
            log, which differ in figures alone.
        timestep_s: length of a substep (s).
        threads: threads to use; 0 takes every core.
        contacts: whether the arm can touch itself.

    Returns:
        Per log, positions in the log's units (rad, gripper 0..1), one row per stamp.

    Raises:
        InputError: a log is not of this arm, or its simulation becomes unstable.
    """
    arms = [arm] * len(logs) if isinstance(arm, Arm) else list(arm)
    pieces = [_whole(log, own) for log, own in zip(logs, arms, strict=True)]
    different = {id(own): own for own in arms}
    models = {key: build_model(own, timestep_s, contacts) for key, own in different.items()}
    found = simulate(pieces, arms, [models[id(own)] for own in arms], threads=threads)
    return [positions[0] for positions in found]


def replay_members(
    logs: Sequence[Log],
    arm: Arm,
    members: int,
    fields: Mapping[str, Shaped[np.ndarray, "sims ..."]] | None = None,
    variation: Variation | None = None,
    *,
    timestep_s: float = TIMESTEP_S,
    threads: int = 0,
) -> list[Float[np.ndarray, "members time joints"]]:
    """Replay every log under several physics at once.

    Args:
        logs: logs of that arm, of any lengths.
        arm: the arm that members differ from; its fitted figures act in all of them.
        members: simulations of each log.
        fields: MuJoCo model fields that differ, one value for each simulation: all members of the
            first log, then all of the second. None: none.
        variation: what differs between simulations outside the model, in the same order.
        timestep_s: length of a substep (s).
        threads: threads to use; 0 takes every core.

    Returns:
        Per log, positions in the log's units, as for `replay`.

    Raises:
        InputError: a log is not of this arm, or a simulation becomes unstable.
    """
    pieces = [_whole(log, arm) for log in logs]
    many = len(pieces)
    model = build_model(arm, timestep_s)
    return simulate(pieces, [arm] * many, [model] * many, members, fields, variation, threads)


def replay_windows(
    logs: Sequence[Log],
    arm: Arm,
    steps: int,
    every: int | None = None,
    *,
    timestep_s: float = TIMESTEP_S,
    threads: int = 0,
) -> list[tuple[Int[np.ndarray, "windows"], Float[np.ndarray, "windows rows joints"]]]:
    """Put the simulation back to the logged state again and again, and let it run on from there.

    Every window starts at the measured positions and velocities of a row (`velocities`), with the
    command that was in force, and follows the logged commands for `steps` rows.

    Args:
        logs: logs of that arm.
        arm: the arm, with the servo figures to try.
        steps: rows that a window lasts.
        every: rows from one start to the next; None: one window after the other.
        timestep_s: length of a substep (s).
        threads: threads to use; 0 takes every core.

    Returns:
        Per log, the rows at which windows start, and positions (windows, steps + 1, joints), of
        which the first are the measured ones.

    Raises:
        InputError: a log is not of this arm, or a simulation becomes unstable.
    """
    every = steps if every is None else every
    pieces, starts = [], []
    for log in logs:
        log.check_arm(arm)
        speed = velocities(log)
        rows = np.arange(0, len(log.t) - steps, every)
        starts.append(rows)
        pieces += [
            Piece(
                name=log.name,
                t=log.t[row : row + steps + 1] - log.t[row],
                # A command stays in force, and one that was on its way arrives.
                cmd_t=log.t[max(0, row - 10) : row + steps + 1] - log.t[row],
                cmd=log.cmd[max(0, row - 10) : row + steps + 1],
                q=log.q[row],
                qd=speed[row],
            )
            for row in rows
        ]
    if not pieces:
        return [(rows, np.zeros((0, steps + 1, len(arm.joints)))) for rows in starts]
    many = len(pieces)
    found = simulate(pieces, [arm] * many, [build_model(arm, timestep_s)] * many, threads=threads)
    paths = np.concatenate(found)
    ends = np.cumsum([len(rows) for rows in starts])
    parts = np.split(paths, ends[:-1])
    return list(zip(starts, parts, strict=True))


def velocities(log: Log) -> Float[np.ndarray, "time joints"]:
    """Velocities (rad/s; opening per s) at a log's stamps, from its positions.

    The slope of a straight line through five samples: servos report their own speed late and in
    coarse steps, and a difference of neighbours is mostly encoder steps.
    """
    half = 2
    t = np.pad(log.t, half, mode="edge")
    q = np.pad(log.q, ((half, half), (0, 0)), mode="edge")
    # The ends repeat: their lines go through fewer different samples.
    span = np.arange(len(log.t))[:, None] + np.arange(2 * half + 1)
    times, values = t[span], q[span]
    times = times - times.mean(axis=1, keepdims=True)
    slope = np.einsum("ik,ikj->ij", times, values)
    return slope / (times**2).sum(axis=1)[:, None]


def build_model(arm: Arm, timestep_s: float = TIMESTEP_S, contacts: bool = True) -> mujoco.MjModel:
    """The arm alone, on its base, with gravity; what is only looked at is left out.

    Args:
        arm: the arm, with its servo figures.
        timestep_s: length of a substep (s).
        contacts: whether the arm can touch itself.
    """
    spec = arm.spec()
    spec.compiler.discardvisual = True
    spec.option.timestep = timestep_s
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    # One arm is one island: looking for more costs a tenth of a step.
    spec.option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_ISLAND)
    if not contacts:
        spec.option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONTACT)
    return spec.compile()


def hold(log: Log, times_s: Float[np.ndarray, "substeps"]) -> Float[np.ndarray, "substeps joints"]:
    """The command in force at each time: the latest not stamped later (zero-order hold).

    Args:
        log: whose commands.
        times_s: times after the log's first stamp (s); earlier ones get the first command.
    """
    return log.cmd[in_force(log.t - log.t[0], times_s)]


def _whole(log: Log, arm: Arm) -> Piece:
    log.check_arm(arm)
    t = log.t - log.t[0]
    return Piece(log.name, t, t, log.cmd, log.q[0], np.zeros(len(log.joints)))
