"""What a teacher knows of a workcell: figures of its own, and what the workcell's table says instead."""

from dataclasses import dataclass
from typing import Any, TypeVar

from regrasp.envs import Task
from regrasp.errors import check_alike, unknown

F = TypeVar("F")


@dataclass(frozen=True)
class Reaching:
    """Where a teacher's search for a grasp begins, in the ALOHA workcell."""

    over_rad: tuple[float, ...] = (0.0, 0.0, 0.45, 0.0, 1.15, 0.0)
    """Angles of a hand that points down at the table. At home the wrist is straight: from there the search
    turns it over one way or the other by chance, which no learner can imitate."""


def figures_of(name: str, task: Task, kind: type[F]) -> F:
    """A teacher's figures in the workcell of a task.

    Args:
        name: the task's.
        task: what is taught.
        kind: a dataclass of figures whose defaults are those of the ALOHA workcell.

    Raises:
        InputError: the workcell's table names a figure that the teacher does not know, or of another kind.
    """
    found: dict[str, Any] = task.workcell().figures(name, "expert")
    known = kind.__dataclass_fields__  # type: ignore[attr-defined]
    for figure in found:
        if figure not in known:
            raise unknown(f"figure of the expert of {name}, workcell {task.cell}", figure, known)
        check_alike(f"figure {figure} of the expert of {name}", found[figure], known[figure])
    return kind(**found)
