"""The tasks, by name."""

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


def load_task(name: str) -> Task:
    """The task of that name, with its default difficulty.

    Raises:
        InputError: there is no such task.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]()
