"""The default table of each task: what "randomised" means in every figure."""

from typing import Any

from regrasp.assets import SIDES, aloha
from regrasp.envs import TASKS, Nominal, Randomizer
from regrasp.errors import InputError, unknown
from regrasp.randomization.distributions import Constant, LogUniform, Uniform
from regrasp.randomization.fields import (
    angle_noise,
    body_mass,
    command_latency,
    position_noise,
    servo_stiffness,
    slide_friction,
)
from regrasp.randomization.table import Row, Table

_TIPS = tuple(f"{side}/{tip}_tip" for side in SIDES for tip in SIDES)


def _transfer_cube() -> Table:
    return Table(
        Row(
            body_mass("cube"),
            LogUniform(0.5, 2.0),
            "our choice: 25 to 100 g, light wood to dense plastic at 64 cm3",
        ),
        Row(
            slide_friction("finger tip", _TIPS),
            Uniform(0.5, 1.5),
            "our choice: worn to fresh rubber tape",
        ),
        Row(
            slide_friction("table and cube", ("table", "cube")),
            Uniform(0.5, 1.5),
            "our choice: bare wood to a mat",
        ),
        Row(
            servo_stiffness(aloha().action_names),
            Uniform(0.7, 1.3),
            "one servo model is fitted at 37 to 78 N m/rad on three joints",
        ),
        Row(
            command_latency(),
            Uniform(0.0, 0.06),
            "our choice: up to three control periods at 50 Hz",
        ),
        Row(angle_noise(), Constant(0.005), "three encoder steps of 1.53 mrad"),
        Row(position_noise(), Constant(0.003), "our choice: a calibrated camera at one metre"),
    )


TABLES = {"transfer_cube": _transfer_cube}


def randomizer_for(task: str, randomize: Any) -> Randomizer:
    """The randomizer that `randomize` means for this task.

    Args:
        task: a task's name.
        randomize: "nominal", "table", or a randomizer such as a `Table`, taken as it is.

    Raises:
        InputError: none of these.
    """
    if randomize == "nominal":
        return Nominal()
    if randomize == "table":
        if task not in TABLES:
            raise unknown("task", task, TASKS)
        return TABLES[task]()
    if isinstance(randomize, str):
        raise unknown("randomization", randomize, ["nominal", "table"])
    if not (hasattr(randomize, "sample") and hasattr(randomize, "writes")):
        raise InputError(f"randomize {randomize!r}: give 'nominal', 'table' or a Table")
    return randomize
