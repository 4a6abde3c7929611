"""The tasks, by name."""

from regrasp.assets import ALOHA, load_workcell
from regrasp.envs.task import Task
from regrasp.envs.tasks.hand_over import HandOver
from regrasp.envs.tasks.lift_pot import LiftPot
from regrasp.envs.tasks.peg_insertion import PegInsertion
from regrasp.envs.tasks.tidy import Tidy
from regrasp.envs.tasks.transfer_cube import TransferCube
from regrasp.errors import unknown

TASKS: dict[str, type[Task]] = {
    "transfer_cube": TransferCube,
    "hand_over": HandOver,
    "lift_pot": LiftPot,
    "peg_insertion": PegInsertion,
    "tidy": Tidy,
}


def load_task(name: str, workcell: str = ALOHA) -> Task:
    """The task of that name, with its default difficulty, in a workcell.

    Raises:
        InputError: there is no such task or workcell, or the task cannot be done there.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    figures = load_workcell(workcell).figures(name)
    known = TASKS[name].__dataclass_fields__
    for figure in figures:
        if figure not in known:
            raise unknown(f"figure of {name} in workcell {workcell}", figure, known)
    return TASKS[name](cell=workcell, **figures)


def able(workcell: str = ALOHA) -> tuple[str, ...]:
    """The tasks that can be done in a workcell."""
    tasks = load_workcell(workcell).tasks
    return tuple(name for name in TASKS if tasks is None or name in tasks)
