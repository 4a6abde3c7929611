"""Many futures of one moment, played side by side."""

from collections import Counter

import numpy as np

from regrasp.envs import BatchEnv
from regrasp.view.actors import Actor, Stepped

RUNNING = "running"


class Ghosts:
    """Copies of a state that go their own ways; those that have ended stay as they are."""

    def __init__(self, env: BatchEnv, actor: Actor, step: int):
        """Begin where the environment stands.

        Args:
            env: all rows forked from one state, with autoreset DISABLED.
            actor: who acts in them, and knows their past.
            step: control steps since their episode began.
        """
        self.env, self.step = env, step
        self.outcome = [RUNNING] * env.num_envs
        self._actor = actor

    @property
    def count(self) -> int:
        return self.env.num_envs

    @property
    def tally(self) -> Counter[str]:
        """How many are running, and how the others have ended."""
        return Counter(self.outcome)

    @property
    def spread_m(self) -> float:
        """How far the objects of the task have come apart (m): the root mean square distance of the furthest
        one from its mean position, or of the furthest vertex of what bends."""
        view = self.env.view()
        points = [np.asarray(pos)[:, None] for pos in view.body_pos.values()]
        points += [np.asarray(vertices) for vertices in view.flex.values()]
        found = [
            np.sqrt(np.mean(np.sum((at - at.mean(axis=0)) ** 2, axis=-1), axis=0)).max()
            for at in points
        ]
        return float(max(found, default=0.0))

    def advance(self) -> None:
        """One control step of those that are running."""
        if self.env.done.all():
            return
        found = ends(self._actor.step(self.env, self.step))
        self.step += 1
        self.outcome = [
            new if old == RUNNING else old for old, new in zip(self.outcome, found, strict=True)
        ]


def ends(stepped: Stepped) -> list[str]:
    """What became of each row in a step: running, success, failure, timeout or unstable."""
    _, _, terminated, truncated, info = stepped
    kinds = {
        "unstable": info["unstable"],
        "success": info["success"],
        "failure": terminated,
        "timeout": truncated,
    }
    return [
        next((k for k, rows in kinds.items() if rows[i]), RUNNING) for i in range(len(truncated))
    ]
