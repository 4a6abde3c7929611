"""Scripted teachers, by the task they know."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int

from regrasp.envs import Task, View, load_task
from regrasp.errors import unknown
from regrasp.rl.experts.fold_beside import FoldBesideExpert
from regrasp.rl.experts.fold_towel import FoldTowelExpert
from regrasp.rl.experts.hand_over import HandOverExpert
from regrasp.rl.experts.lift_pot import LiftPotExpert
from regrasp.rl.experts.peg_insertion import PegInsertionExpert
from regrasp.rl.experts.press_dough import PressDoughExpert
from regrasp.rl.experts.route_cable import RouteCableExpert
from regrasp.rl.experts.script import FLAWLESS, HUMAN, Manner
from regrasp.rl.experts.tidy import TidyExpert
from regrasp.rl.experts.transfer_cube import TransferCubeExpert


@runtime_checkable
class Expert(Protocol):
    """Plans an episode for every row from the true state at its start, then plays the plans."""

    @property
    def manner(self) -> Manner:
        """How it moves."""
        ...

    def start(self, view: View, seeds: Int[np.ndarray, " rows"]) -> None:
        """Plan; a seed per row decides its slips and pauses."""
        ...

    def act(self, step: int, view: View) -> Float32[np.ndarray, "rows action"]:
        """The actions of one control step."""
        ...


def _fold_towel(task: Task, manner: Manner) -> Expert:
    """From behind where a hand can be turned every way."""
    turns = len(task.workcell().arm.joints) > 6
    return FoldTowelExpert(task, manner) if turns else FoldBesideExpert(task, manner)


EXPERTS: dict[str, Callable[[Any, Manner], Expert]] = {
    "transfer_cube": TransferCubeExpert,
    "hand_over": HandOverExpert,
    "lift_pot": LiftPotExpert,
    "peg_insertion": PegInsertionExpert,
    "tidy": TidyExpert,
    "press_dough": PressDoughExpert,
    "fold_towel": _fold_towel,
    "route_cable": RouteCableExpert,
}
MANNERS = {"human": HUMAN, "flawless": FLAWLESS}


def load_expert(task: str, manner: str = "human", doing: Task | None = None) -> Expert:
    """The teacher of a task.

    Args:
        task: the task's name.
        manner: human, with slips and pauses, or flawless.
        doing: the task itself, where its settings are not the default ones.

    Raises:
        InputError: no teacher knows the task, or there is no such manner.
    """
    if task not in EXPERTS:
        raise unknown("expert", task, EXPERTS)
    if manner not in MANNERS:
        raise unknown("manner", manner, MANNERS)
    return EXPERTS[task](doing or load_task(task), MANNERS[manner])
