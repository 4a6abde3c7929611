"""The tasks, by name."""

from collections.abc import Mapping
from dataclasses import Field, replace
from typing import Any

from regrasp.assets import ALOHA, load_workcell
from regrasp.envs.task import Task
from regrasp.envs.tasks.fold_towel import FoldTowel
from regrasp.envs.tasks.hand_over import HandOver
from regrasp.envs.tasks.lift_pot import LiftPot
from regrasp.envs.tasks.peg_insertion import PegInsertion
from regrasp.envs.tasks.press_dough import PressDough
from regrasp.envs.tasks.route_cable import RouteCable
from regrasp.envs.tasks.tidy import Tidy
from regrasp.envs.tasks.transfer_cube import TransferCube
from regrasp.errors import check_alike, unknown

TASKS: dict[str, type[Task]] = {
    "transfer_cube": TransferCube,
    "hand_over": HandOver,
    "lift_pot": LiftPot,
    "peg_insertion": PegInsertion,
    "tidy": Tidy,
    "press_dough": PressDough,
    "fold_towel": FoldTowel,
    "route_cable": RouteCable,
}


def load_task(name: str, workcell: str = ALOHA, figures: Mapping[str, float] | None = None) -> Task:
    """The task of that name in a workcell, with its default difficulty but for some figures.

    Args:
        name: the task's name.
        workcell: whose arms do it.
        figures: field of the task -> another value, such as `{"clearance_m": 0.002}`.

    Raises:
        InputError: there is no such task, workcell or figure, or the task cannot be done there or like this.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    cell = load_workcell(workcell)
    for task in cell.tasks or ():
        if task not in TASKS:
            raise unknown(f"task of workcell {workcell}", task, TASKS)
    own, known = cell.figures(name), TASKS[name].__dataclass_fields__
    for figure in own:
        if figure not in known:
            raise unknown(f"figure of {name} in workcell {workcell}", figure, known)
    numbers = [field for field in known if isinstance(known[field].default, float)]
    for figure in figures or {}:
        if figure not in numbers:
            raise unknown(f"figure of {name}", figure, numbers)
    own = {figure: _whole(figure, value, known[figure]) for figure, value in own.items()}
    return TASKS[name](cell=workcell, **{**own, **(figures or {})})


def _whole(figure: str, value: Any, field: Field) -> Any:
    """A figure; what is a group of figures, such as a cloth, is told in part."""
    default: Any = field.default
    parts = getattr(default, "__dataclass_fields__", None)
    if parts is None or not isinstance(value, dict):
        check_alike(f"figure {figure}", value, field)
        return value
    for part in value:
        if part not in parts:
            raise unknown(f"part of the figure {figure}", part, parts)
        check_alike(f"part {part} of the figure {figure}", value[part], parts[part])
    return replace(default, **value)


def able(workcell: str = ALOHA) -> tuple[str, ...]:
    """The tasks that can be done in a workcell."""
    tasks = load_workcell(workcell).tasks
    return tuple(name for name in TASKS if tasks is None or name in tasks)
