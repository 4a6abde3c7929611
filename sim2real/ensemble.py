"""Ensembles: many replays of each log, one for each draw of a randomisation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Float

from regrasp.assets.arm import Arm
from regrasp.envs.randomizer import apply
from regrasp.errors import InputError
from regrasp.randomization import Table
from regrasp.sim2real.log import Log
from regrasp.sim2real.replay import TIMESTEP_S, build_model, replay_members
from regrasp.sim2real.simulate import Variation

Numbers = Mapping[str, np.ndarray]
"""Row of a table -> the numbers of each member (members, count)."""
Simulate = Callable[
    [Sequence[Log], Sequence[Numbers]], "list[Float[np.ndarray, 'members time joints']]"
]
"""Logs and each one's draws -> simulated positions, in the logs' units, without sensor noise."""
REPLAYED = (
    *("command_latency_s", "backlash_rad", "joint_offset_rad"),
    *("angle_noise_rad", "encoder_step_rad"),
)
"""Settings of a table that a replay of one arm can show."""


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Replays of each log under independent draws of a table, as the sensors would see them."""

    table: Table
    positions: tuple[Float[np.ndarray, "members time joints"], ...]
    """Per log, in its units."""
    numbers: tuple[Numbers, ...]
    """Per log, what was drawn."""

    @property
    def members(self) -> int:
        return len(self.positions[0])


def draw_ensemble(
    logs: Sequence[Log],
    arm: Arm,
    table: Table,
    members: int = 32,
    seed: int = 0,
    simulate: Simulate | None = None,
    timestep_s: float = TIMESTEP_S,
) -> Ensemble:
    """Replay every log under draws of its own, which depend on the seed and on its place alone.

    Args:
        logs: logs of that arm.
        arm: the arm that the table's factors are relative to.
        table: what differs; its rows name the arm's joints.
        members: draws for each log.
        seed: of the draws.
        simulate: how draws become positions; None: `table_replay`. Any function of the table's
            numbers will do, such as the model of an identified arm.
        timestep_s: length of a substep of `table_replay` (s).

    Raises:
        InputError: the table has a row that no replay can show, or a replay is unstable.
    """
    simulate = simulate or table_replay(arm, table, timestep_s)
    numbers = draw(table, len(logs), members, seed)
    found = simulate(logs, numbers)
    sensed = [
        _sensed(arm, table, positions, own, np.random.default_rng((seed, place)))
        for place, (positions, own) in enumerate(zip(found, numbers, strict=True))
    ]
    return Ensemble(table, tuple(sensed), tuple(numbers))


def draw(table: Table, logs: int, members: int, seed: int) -> list[dict[str, np.ndarray]]:
    """Numbers of that many members for each log: row -> (members, count), float64."""
    base = jax.random.key(seed)
    keys = jax.vmap(lambda place: jax.random.split(jax.random.fold_in(base, place), members))
    numbers = jax.vmap(jax.vmap(table.numbers))(keys(jnp.arange(logs)))
    found = {name: np.asarray(values, np.float64) for name, values in numbers.items()}
    return [{name: values[place] for name, values in found.items()} for place in range(logs)]


def table_replay(
    arm: Arm, table: Table, timestep_s: float = TIMESTEP_S, threads: int = 0
) -> Simulate:
    """The arm's own model under a table's draws.

    Args:
        arm: the arm that the table's factors are relative to.
        table: what differs.
        timestep_s: length of a substep (s).
        threads: 0 takes every core.

    Raises:
        InputError: the table has a row that no replay of one arm can show.
    """
    for row in table.rows:
        setting = row.field.setting
        if setting is not None and setting.name not in REPLAYED and not row.idle:
            raise InputError(f"no replay can show {row.name}: leave it out of the table")
    spec = arm.spec()
    table.check(spec)
    writes = table.writes(build_model(arm, timestep_s))

    def simulate(
        logs: Sequence[Log], numbers: Sequence[Numbers]
    ) -> list[Float[np.ndarray, "members time joints"]]:
        members = len(next(iter(numbers[0].values()))) if numbers and numbers[0] else 1
        joined = {
            name: np.concatenate([own[name] for own in numbers]) for name in (numbers or [{}])[0]
        }
        drawn = {row.name: joined[row.name] for row in table.rows if row.field.setting is None}
        fields = _fields(arm, timestep_s, writes, drawn)
        latency = setting_of(table, joined, "command_latency_s")
        return replay_members(
            logs,
            arm,
            members,
            fields,
            Variation(
                latency_s=None if latency is None else latency[:, 0],
                backlash_rad=setting_of(table, joined, "backlash_rad"),
                offset_rad=setting_of(table, joined, "joint_offset_rad"),
            ),
            timestep_s=timestep_s,
            threads=threads,
        )

    return simulate


def setting_of(table: Table, numbers: Numbers, setting: str) -> np.ndarray | None:
    """One setting of every member (members, size); None where no row sets it."""
    found = [
        np.asarray(jax.vmap(row.field.setting.value)(jnp.asarray(numbers[row.name])), np.float64)
        for row in table.rows
        if row.field.setting is not None and row.field.setting.name == setting and not row.idle
    ]
    return sum(found).reshape(len(found[0]), -1) if found else None  # type: ignore[union-attr]


def _fields(
    arm: Arm, timestep_s: float, writes: Sequence, drawn: Numbers
) -> dict[str, np.ndarray] | None:
    model: mujoco.MjModel = build_model(arm, timestep_s)
    return apply(model, writes, drawn) if drawn else None


def _sensed(
    arm: Arm, table: Table, positions: np.ndarray, numbers: Numbers, rng: np.random.Generator
) -> np.ndarray:
    """Positions with the table's sensor noise and encoder steps.

    They are those of angles; a gripper that turns has the same encoder as any other joint.
    """
    noise = setting_of(table, numbers, "angle_noise_rad")
    step = setting_of(table, numbers, "encoder_step_rad")
    turns = build_model(arm).joint(arm.joint_names[-1]).type[0] == mujoco.mjtJoint.mjJNT_HINGE
    unit = np.ones(len(arm.joints))
    unit[-1] = 1 / abs(arm.position(1.0) - arm.position(0.0)) if turns else 0.0
    sensed = positions.copy()
    if noise is not None:
        sensed += noise[:, None] * unit * rng.standard_normal(sensed.shape)
    if step is not None:
        width = step[:, None] * unit
        rounded = np.round(sensed / np.maximum(width, 1e-12)) * width
        sensed = np.where(width > 0, rounded, sensed)
    return sensed
