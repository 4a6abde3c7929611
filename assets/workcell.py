"""A workcell: two arms at a table, with its cameras, and what tasks are like there.

World frame: x to the right arm, z up, metres.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float

from regrasp.assets.arm import Arm, arm_of, read_arm_table
from regrasp.assets.figures import is_number
from regrasp.assets.surroundings import TABLE_HALF_M, add_options, add_surroundings
from regrasp.errors import InputError, unknown

TIMESTEP_S = 0.02 / 3
CONTACT_TIME_S = 2 * TIMESTEP_S
"""In what time contacts push out what has sunk in; two timesteps are the least that the engine holds."""
CONTACT_IMPEDANCE = (0.95, 0.99, 0.001, 0.5, 2.0)
"""Of every contact (solimp). With the engine's own the push scales with the lighter body: a servo presses a
50 g cube 25 mm into the table."""
SIDES = ("left", "right")
ALOHA = "aloha"
"""The workcell that is meant where none is named."""
WORKCELLS = {ALOHA: "viperx300s", "so101": "so101"}
"""Workcells that ship, by name, each in the table of its arm; any other is a table in a file."""


@dataclass(frozen=True)
class Workcell:
    """Two arms of one kind; the joints of the left arm come first, then the right's.

    Body, joint, site and actuator names of an arm carry its side: `left/gripper`.
    """

    arm: Arm
    timestep_s: float = TIMESTEP_S
    """Physics timestep."""
    contact_time_s: float = CONTACT_TIME_S
    """Time constant of every contact."""
    name: str = ALOHA
    stand_m: tuple[float, float, float] = (0.469, -0.019, 0.02)
    """Where the right arm's base is; the left one's is mirrored in x."""
    turn_rad: float = 0.0
    """By how much a base is turned about the vertical, where its model does not reach along its x."""
    reach_m: float = 0.816
    """How far from its base, horizontally, a gripper gets at the height of the table, at most."""
    scale: float = 1.0
    """Size of the table, and of the frame and the cameras about it, over those of ALOHA 2."""
    tasks: Mapping[str, Mapping[str, Any]] | None = field(default=None, hash=False)
    """Task -> {"task": its figures here, "expert": its teacher's}, where they are not the default ones, for
    every task that can be done here; None: all can, as they are."""

    def __post_init__(self) -> None:
        if not self.contact_time_s >= 2 * self.timestep_s * (1 - 1e-9) > 0:
            raise InputError(
                f"contact_time_s {self.contact_time_s:.3g} with timestep_s {self.timestep_s:.3g}: "
                "choose at least two timesteps, below which the engine takes two without a word"
            )

    def figures(self, task: str, whose: str = "task") -> dict[str, Any]:
        """Figures of a task, or of its teacher, that differ in this workcell from the default ones.

        Args:
            task: its name.
            whose: "task" or "expert".

        Raises:
            InputError: the task cannot be done here.
        """
        if self.tasks is None:
            return {}
        if task not in self.tasks:
            raise InputError(
                f"workcell {self.name} cannot do {task!r}: choose {' or '.join(self.tasks)}, or the "
                f"workcell {ALOHA}"
            )
        return {k: _tuples(v) for k, v in self.tasks[task].get(whose, {}).items()}

    def base_m(self, side: str) -> Float[np.ndarray, "2"]:
        """Where an arm's base is, x and y."""
        x, y, _ = self.stand_m
        return np.array([-x if side == "left" else x, y])

    @property
    def table_half_m(self) -> Float[np.ndarray, "2"]:
        """Half the edges of the table, x and y."""
        return self.scale * np.array(TABLE_HALF_M)

    @property
    def action_size(self) -> int:
        return 2 * len(self.arm.joints)

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names of the action's entries, which are the actuators' names too."""
        return tuple(f"{side}/{name}" for side in SIDES for name in self.arm.joint_names)

    @property
    def gripper_columns(self) -> tuple[int, ...]:
        """Where the two grippers stand in an action."""
        size = len(self.arm.joints)
        return size - 1, 2 * size - 1

    def home_qpos(self) -> dict[str, float]:
        """Joint name -> position at home (rad or m), followers included."""
        home = {f"{side}/{joint.name}": joint.home for side in SIDES for joint in self.arm.joints}
        if self.arm.gripper.follower is not None:
            for side in SIDES:
                home[f"{side}/{self.arm.gripper.follower}"] = self.arm.joints[-1].home
        return home

    def spec(self) -> mujoco.MjSpec:
        """The workcell as a MuJoCo specification, to which a task adds its objects.

        Placement, table and cameras: figures of the ALOHA 2 model in MuJoCo Menagerie
        (BSD-3-Clause).
        """
        spec = mujoco.MjSpec()
        spec.modelname = f"{self.name}_{self.arm.name}"
        spec.compiler.degree = False
        add_options(spec, self.timestep_s)
        _contacts(spec.default.geom, self.contact_time_s)
        add_surroundings(spec, self.scale)
        cos, sin = np.cos(self.turn_rad / 2), np.sin(self.turn_rad / 2)
        for side, quat in (("left", (cos, 0, 0, sin)), ("right", (0.0 - sin, 0, 0, cos))):
            pos = (*self.base_m(side), self.stand_m[2])
            frame = spec.worldbody.add_frame(pos=pos, quat=quat)
            arm = self.arm.spec()
            for geom in arm.geoms:
                _contacts(geom, self.contact_time_s)
            spec.attach(arm, frame=frame, prefix=f"{side}/")
        return spec


def load_workcell(
    name: str = ALOHA, timestep_s: float = TIMESTEP_S, contact_time_s: float = CONTACT_TIME_S
) -> Workcell:
    """The workcell of that name, or that of two arms which a table in a file describes.

    Raises:
        InputError: there is no such workcell or file, or the table lacks something.
    """
    if name not in WORKCELLS and not name.endswith(".json"):
        raise unknown("workcell", name, (*WORKCELLS, "a table's FILE.json"))
    arm_name = WORKCELLS.get(name, name)
    table = read_arm_table(arm_name)
    arm = arm_of(table, Path(arm_name).stem, Path(arm_name).parent)
    figures = table.get("workcell")
    if not isinstance(figures, dict):
        raise InputError(f"arm table {name} has no workcell: see docs/howto/add-an-arm.md")
    _check(figures, name)
    own: dict[str, Any] = {
        key: tuple(map(float, value)) if key == "stand_m" else float(value)
        for key, value in figures.items()
        if key not in ("home", "tasks")
    }
    arm = arm.at_home(figures.get("home", {}))
    cell = Workcell(arm, timestep_s, contact_time_s, Path(name).stem, **own)
    return replace(cell, tasks=figures.get("tasks"))


FIGURES = ("home", "reach_m", "scale", "stand_m", "tasks", "turn_rad")
"""What a table may say of a workcell."""


def _check(figures: Mapping[str, Any], name: str) -> None:
    """Refuse what a table says of a workcell if it makes none."""
    for key, value in figures.items():
        if key not in FIGURES:
            raise unknown(f"workcell figure of {name}", key, FIGURES)
        numbers = value if key == "stand_m" else [value]
        if key in ("home", "tasks"):
            if not isinstance(value, dict):
                raise InputError(f"workcell {key} of {name} is {value!r:.60}: give {{name: ...}}")
        elif not isinstance(numbers, list) or not all(is_number(one) for one in numbers):
            raise InputError(f"workcell {key} {value!r:.60} of {name}: give numbers")
    if len(figures.get("stand_m", (0, 0, 0))) != 3 or figures.get("stand_m", [1])[0] <= 0:
        raise InputError(f"workcell stand_m {figures['stand_m']} of {name}: give [x > 0, y, z]")
    for key in ("reach_m", "scale"):
        if figures.get(key, 1) <= 0:
            raise InputError(f"workcell {key} {figures[key]} of {name}: choose a number above 0")
    for task, parts in figures.get("tasks", {}).items():
        if not isinstance(parts, dict) or not set(parts) <= {"task", "expert"}:
            raise InputError(
                f'task {task} of workcell {name} is {parts!r:.60}: give {{"task": ..., "expert": ...}}'
            )


def aloha(timestep_s: float = TIMESTEP_S, contact_time_s: float = CONTACT_TIME_S) -> Workcell:
    """The ALOHA 2 workcell: two ViperX 300s."""
    return load_workcell(ALOHA, timestep_s, contact_time_s)


def _tuples(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    if isinstance(value, dict):
        return {name: _tuples(part) for name, part in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _contacts(geom: mujoco.MjsGeom, time_s: float) -> None:
    geom.solref, geom.solimp = (time_s, 1.0), CONTACT_IMPEDANCE
