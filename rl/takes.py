"""Who takes what, and when, in a demonstration; and which turns of an object a task cannot tell apart.

Read from kept states alone: what moves, and what touches it meanwhile.
"""

from collections.abc import Sequence
from typing import NamedTuple

import mujoco
import numpy as np
from gymnasium.vector import AutoresetMode
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from regrasp.assets import ALOHA, SIDES
from regrasp.envs import BatchEnv, episode_keys, load_task

MOVED_M = 0.01
"""An object this far from its start has been moved."""
TOUCH_S = 0.3
"""A hand that touches an object for this long takes it."""
LEAD_S, RAMP_S = 0.8, 1.5
"""A hand's way is wholly the object's from so long before it takes it, after passing over in this time."""
HELD_LEAD_S, HELD_RAMP_S = 0.9, 0.6
"""The same where another hand holds the object."""
AFTER_S = 0.2
"""And stays so for this long after the object has been lifted, or let go by the other hand."""


class Take(NamedTuple):
    """A hand takes an object; the numbers are control steps."""

    side: str
    body: str
    look: int
    """When the hand's way begins to depend on where the object is."""
    lead: int
    """From when on it is wholly the object's."""
    step: int
    """When the hand touches it."""
    until: int
    """Until when it is wholly the object's."""
    end: int
    """When it is as shown again."""
    resting: bool
    """Nobody has moved the object yet."""

    def at(self, rate: float) -> "Take":
        """The same where everything is so many times faster."""
        names = ("look", "lead", "step", "until", "end")
        return self._replace(**{name: round(getattr(self, name) / rate) for name in names})


def takes(
    position: dict[str, Float[np.ndarray, "T 3"]],
    touched: dict[tuple[str, str], Bool[np.ndarray, " T"]],
    dt_s: float,
) -> list[Take]:
    """Which hands take which objects, and when, in the order of time.

    Args:
        position: object -> where it was (m).
        touched: (side, object) -> whether that hand touched it.
        dt_s: control period.
    """
    found = []
    for (side, body), touch in touched.items():
        steps, path = len(touch), position[body]
        step, moved = lasting(touch, round(TOUCH_S / dt_s)), first_moved(path)
        if step is None or moved is None:
            continue
        resting = step <= moved
        lead, ramp = (LEAD_S, RAMP_S) if resting else (HELD_LEAD_S, HELD_RAMP_S)
        others = [other for (hand, what), other in touched.items() if what == body and hand != side]
        held = [int(np.flatnonzero(other)[-1]) for other in others if other[step:].any()]
        until = moved if resting else max([step, *held])
        until = min(until + round(AFTER_S / dt_s), steps)
        found.append(
            Take(
                side,
                body,
                look=max(0, step - round((lead + ramp) / dt_s)),
                lead=max(0, step - round(lead / dt_s)),
                step=step,
                until=until,
                end=until + round(RAMP_S / dt_s),
                resting=resting,
            )
        )
    found.sort(key=lambda take: take.step)
    # A hand's way belongs to one object at a time.
    for i, take in enumerate(found):
        later = [other for other in found[i + 1 :] if other.side == take.side]
        if later and later[0].look < take.end:
            middle = (take.until + max(later[0].lead, take.until + 2)) // 2
            found[i] = take._replace(end=max(middle, take.until + 1))
            j = found.index(later[0])
            found[j] = later[0]._replace(look=found[i].end)
    return found


def letting_go(touched: dict[tuple[str, str], Bool[np.ndarray, " T"]], steps: int) -> list[str]:
    """The hands that in the last so many steps let go of what another hand has."""
    return sorted(
        {
            side
            for (side, body), touch in touched.items()
            if touch[-steps:].any()
            and not touch[-1]
            and any(
                other[-1]
                for (hand, what), other in touched.items()
                if what == body and hand != side
            )
        }
    )


def first_moved(path: Float[np.ndarray, "T 3"]) -> int | None:
    """The first step at which an object was elsewhere than at its start; none: it never was."""
    moved = np.linalg.norm(path - path[0], axis=1) > MOVED_M
    return int(np.argmax(moved)) if moved.any() else None


def lasting(touch: Bool[np.ndarray, " T"], steps: int) -> int | None:
    """The first step of a touch that lasts for so many steps, nearly without a gap; none: there is none."""
    if len(touch) < steps:
        return None
    share = np.convolve(touch, np.ones(steps), "valid") / steps
    enough = touch[: len(share)] & (share > 0.8)
    return int(np.argmax(enough)) if enough.any() else None


def touches(
    env: BatchEnv, rows: int, bodies: Sequence[str]
) -> dict[tuple[str, str], Bool[np.ndarray, " rows"]]:
    """(side, object) -> in which of the first rows that arm touches it."""
    model = env.model
    arm = {
        side: np.array([model.body(b).name.startswith(f"{side}/") for b in range(model.nbody)])
        for side in SIDES
    }
    found = {(side, body): np.zeros(rows, bool) for side in SIDES for body in bodies}
    for row in range(rows):
        data = env.row_data(row)
        mujoco.mj_forward(env.row_model(row), data)
        pairs = model.geom_bodyid[data.contact.geom].reshape(-1, 2)
        for (side, body), touch in found.items():
            own = pairs == model.body(body).id
            touch[row] = bool((own[:, ::-1] & arm[side][pairs]).any())
    return found


def symmetries(task: str, workcell: str = ALOHA) -> dict[str, Float[np.ndarray, "_ 3 3"]]:
    """Object -> the turns of a cube about its own axes after which the task observes the same."""
    turns = Rotation.create_group("O")
    env = BatchEnv(
        load_task(task, workcell),
        len(turns),
        autoreset=AutoresetMode.DISABLED,
    )
    keys = np.repeat(np.asarray(episode_keys(0, "demonstrate", 0, 1)), len(turns), axis=0)
    starts = env.starts(keys)
    found = {}
    for name, qpos in starts.items():
        joint = env.model.joint(name)
        if joint.type[0] != mujoco.mjtJoint.mjJNT_FREE:
            continue
        own = Rotation.from_quat(qpos[:, 3:], scalar_first=True)
        turned = np.concatenate([qpos[:, :3], (own * turns).as_quat(scalar_first=True)], axis=1)
        env.begin(keys, qpos={**starts, name: turned.astype(np.float32)})
        seen = np.concatenate([v.reshape(len(turns), -1) for v in env.observe().values()], axis=1)
        reference = int(np.argmin(turns.magnitude()))
        same = np.abs(seen - seen[reference]).max(axis=1) < 1e-3
        found[env.model.body(int(joint.bodyid[0])).name] = turns[same].as_matrix()
    return found
