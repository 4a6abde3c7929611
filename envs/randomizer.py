"""What a randomisation must offer to an environment; `regrasp.randomization` implements it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

Number = Float[Array, "*shape"] | float


class Settings(NamedTuple):
    """Timing and sensing of one episode.

    A plain 0.0 is known while a program is traced: what it stands for is left out and costs nothing.
    """

    command_latency_s: Number = 0.0
    """From a command to its arrival at the servos."""
    command_jitter_s: Number = 0.0
    """Each command comes up to this much later still, by a random time of its own."""
    command_drop: Number = 0.0
    """Probability that a command is lost."""
    observation_latency_s: Number = 0.0
    """Age of what is observed, rounded to control periods."""
    angle_noise_rad: Number = 0.0
    """Standard deviation of observed angles."""
    position_noise_m: Number = 0.0
    """Standard deviation of observed positions."""
    encoder_step_rad: Number = 0.0
    """Measured arm joints are whole multiples of this."""
    joint_offset_rad: Number = 0.0
    """Per action entry: how far a joint stands above what it is told and measured to be."""
    backlash_rad: Number = 0.0
    """Per action entry: play between servo and joint, from end to end."""
    camera_shift_m: Number = 0.0
    """(3,) World frame: observed objects stand this far from where they are."""
    camera_turn_rad: Number = 0.0
    """(3,) Rotation vector about the world's origin, applied before the shift."""
    push_speed_m_s: Number = 0.0
    """Change of an object's speed by a push, at its nominal mass."""
    push_rate_hz: Number = 0.0
    """Pushes per second on each object that may be pushed."""

    def pack(self, action_size: int) -> Float[Array, " settings"]:
        """All numbers in one vector, which is what an environment carries: one array is quick to pass."""
        return jnp.concatenate(
            [
                jnp.broadcast_to(jnp.asarray(value, jnp.float32), (size,))
                for value, size in zip(self, _sizes(action_size), strict=True)
            ]
        )

    @classmethod
    def unpack(
        cls, numbers: Float[Array, " settings"], action_size: int, used: Iterable[str]
    ) -> "Settings":
        """Undo `pack` for the settings in use; the others are plain zeros."""
        ends = np.cumsum(_sizes(action_size))
        settings = {
            name: numbers[end - size : end] if size > 1 else numbers[end - 1]
            for name, end, size in zip(cls._fields, ends, _sizes(action_size), strict=True)
        }
        return cls(**{name: settings[name] for name in cls._fields if name in set(used)})

    @classmethod
    def unlike_zero(
        cls, numbers: Float[np.ndarray, "rows settings"], action_size: int
    ) -> frozenset[str]:
        """The settings that any of these rows puts to use."""
        cuts = np.cumsum(_sizes(action_size))[:-1]
        parts = np.split(np.asarray(numbers), cuts, axis=1)
        return frozenset(
            name for name, part in zip(cls._fields, parts, strict=True) if np.any(part != 0)
        )


PLAIN = Settings()
"""No latency, no noise."""
PER_ACTION = ("joint_offset_rad", "backlash_rad")
"""Settings with a number for each action entry."""
PER_AXIS = ("camera_shift_m", "camera_turn_rad")
"""Settings with a number for each axis of the world."""


def _sizes(action_size: int) -> list[int]:
    return [
        action_size if name in PER_ACTION else 3 if name in PER_AXIS else 1
        for name in Settings._fields
    ]


def off(setting: Any) -> bool:
    """Whether a setting is known to be zero before anything runs."""
    return isinstance(setting, int | float) and setting == 0


class Grown(NamedTuple):
    """An object that is not of its nominal size."""

    factor: Float[Array, ""]
    """Of every length."""
    floor_m: Number
    """Height of what it rests on at the start: its own height above that grows with it."""


class Draw(NamedTuple):
    """One simulation's sample."""

    fields: dict[str, Float[Array, " _"]]
    """Row name -> sampled numbers, which the `Write`s of that row put into the model."""
    settings: Settings
    size: dict[str, Grown]
    """By the free joint of the object."""


Change = Callable[[Any, Any], Any]
"""Old entries (..., entries) and numbers (..., source) -> new entries; for NumPy and JAX arrays."""


class Write(NamedTuple):
    """How one row's numbers change one model field."""

    row: str
    field: str
    """MuJoCo model field, or `opt.` and the name of an option."""
    entries: Int[np.ndarray, " k"]
    """Where in the flattened field."""
    source: Int[np.ndarray, " n"]
    """Which of the row's numbers `change` gets."""
    change: Change


def scale(old: Any, number: Any) -> Any:
    """The number is a factor."""
    return old * number


def add(old: Any, number: Any) -> Any:
    """The number is a difference."""
    return old + number


def replace(old: Any, number: Any) -> Any:
    """The number is the new value."""
    return 0 * old + number


def cube(old: Any, number: Any) -> Any:
    """The number is a factor of lengths, and this a volume."""
    return old * number**3


def fifth_power(old: Any, number: Any) -> Any:
    """The number is a factor of lengths, and this the inertia of a constant density."""
    return old * number**5


@runtime_checkable
class Randomizer(Protocol):
    """Samples what differs between episodes, from a key, for one simulation (pure, vmapped).

    What the properties leave out is left out of the compiled program.
    """

    @property
    def used(self) -> frozenset[str]:
        """The settings that may differ from zero."""
        ...

    @property
    def pushed(self) -> tuple[str, ...]:
        """Bodies that may be pushed."""
        ...

    @property
    def observation_latency_s(self) -> float:
        """The longest."""
        ...

    def check(self, spec: mujoco.MjSpec) -> None:
        """Refuse names that a scene lacks, before it is compiled."""
        ...

    def sample(self, key: Array) -> Draw: ...

    def writes(self, model: mujoco.MjModel) -> tuple[Write, ...]: ...


class Nominal:
    """Nothing differs: the model as compiled, no latency, no noise."""

    used: frozenset[str] = frozenset()
    pushed: tuple[str, ...] = ()
    observation_latency_s: float = 0.0

    def check(self, spec: mujoco.MjSpec) -> None:
        del spec

    def sample(self, key: Array) -> Draw:
        del key
        return Draw({}, PLAIN, {})

    def writes(self, model: mujoco.MjModel) -> tuple[Write, ...]:
        del model
        return ()


def nominal(model: mujoco.MjModel, field: str) -> Shaped[np.ndarray, "..."]:
    """The model's own value of a field or of an option (`opt.gravity`).

    Raises:
        AttributeError: it has none of that name.
    """
    holder, name = (model.opt, field[4:]) if field.startswith("opt.") else (model, field)
    return np.asarray(getattr(holder, name))


def apply(
    model: mujoco.MjModel,
    writes: Sequence[Write],
    draw: Mapping[str, Float[np.ndarray, "k _"]],
) -> dict[str, Shaped[np.ndarray, "k ..."]]:
    """The model fields of k simulations under their samples, in the model's own precision.

    Several writes to one field act one after another.
    """
    count = len(next(iter(draw.values()))) if draw else 0
    numbers = {row: np.asarray(values, np.float64) for row, values in draw.items()}
    fields: dict[str, np.ndarray] = {}
    for write in writes:
        if write.field not in fields:
            fields[write.field] = np.repeat(nominal(model, write.field)[None], count, axis=0)
        flat = fields[write.field].reshape(count, -1)
        flat[:, write.entries] = write.change(
            flat[:, write.entries], numbers[write.row][:, write.source]
        )
    return fields


def where(condition: Bool[Array, ""], yes: Any, no: Any) -> Any:
    """Choose between two pytrees; what both share is not touched."""
    return jax.tree.map(lambda a, b: a if a is b else jnp.where(condition, a, b), yes, no)
