"""Which column of a recording is which joint, and what its commands are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from regrasp.assets.arm import Arm
from regrasp.assets.workcell import SIDES
from regrasp.errors import InputError, unknown
from regrasp.sim2real.log import next_state

GRIPPERS = ("gripper", "jaw", "left_finger", "finger")
"""What recorders call a gripper, once sides and suffixes are taken off."""


@dataclass(frozen=True)
class Joints:
    """Joints of a log, and the column of the recording that each is in."""

    names: tuple[str, ...]
    columns: tuple[int, ...]
    grippers: tuple[int, ...]
    """Which of the joints are grippers."""


def canonical(name: str, arm: Arm | None = None) -> str:
    """The house's name of a recorder's joint: `main_shoulder_pan.pos` -> `shoulder_pan`.

    Sides lead: `left_waist` -> `left/waist`. A gripper carries its arm's own name, where the arm is known.
    """
    plain = name.strip().removesuffix(".pos").removesuffix("_pos").removeprefix("main_")
    own = () if arm is None else arm.joint_names
    for side in SIDES:
        for mark in (f"{side}/", f"{side}_", f"{side}."):
            rest = plain.removeprefix(mark)
            if rest != plain and plain not in GRIPPERS and rest not in ("finger",):
                return f"{side}/{canonical(rest, arm)}"
    if plain not in own and plain.lower() in GRIPPERS:
        return own[-1] if own else "gripper"
    return plain


def terms(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Observation terms of columns that are named `<term>.<number>`, such as `cube_pos.2`.

    Args:
        columns: name -> its number at each sample; names of another form, and terms of which a number
            is missing, are passed over.

    Returns:
        Term -> (time, numbers).
    """
    found: dict[str, dict[int, np.ndarray]] = {}
    for name, column in columns.items():
        term, _, number = name.rpartition(".")
        if term and number.isdecimal() and len(number) <= 4:
            found.setdefault(term, {})[int(number)] = column
    return {
        term: np.stack([numbers[i] for i in range(len(numbers))], axis=1)
        for term, numbers in found.items()
        if set(numbers) == set(range(len(numbers)))
    }


def is_gripper(name: str, arm: Arm | None = None) -> bool:
    """Whether a canonical name is a gripper's."""
    last = name.rpartition("/")[2]
    return last == arm.joint_names[-1] if arm else last.lower() in GRIPPERS


def find_joints(log: str, names: Sequence[str], arm: Arm | None, width: int) -> Joints:
    """Where the joints of one or two arms are among a recording's columns.

    Args:
        log: name of the log, for errors.
        names: the recorder's names of the columns; none if it gives none.
        arm: the arm recorded; None takes the recording's own joints in its order.
        width: number of columns.

    Raises:
        InputError: names do not fit the arm, or there are neither names nor an arm.
    """
    if not names:
        return _by_width(log, arm, width)
    found = [canonical(name, arm) for name in names]
    if len(set(found)) != len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise InputError(f"log {log}: two columns are {twice!r}; name every joint once")
    if arm is None:
        # Left before right, otherwise as recorded.
        order = sorted(range(len(found)), key=lambda i: found[i].startswith("right/"))
        wanted = tuple(found[i] for i in order)
    else:
        sides = [side for side in SIDES if any(name.startswith(f"{side}/") for name in found)]
        marks = [f"{side}/" for side in sides] or [""]
        wanted = tuple(f"{mark}{name}" for mark in marks for name in arm.joint_names)
        for name, given in zip(found, names, strict=True):
            if name not in wanted:
                raise unknown(f"joint of {arm.name} in log {log}", given, wanted)
        if missing := [name for name in wanted if name not in found]:
            raise InputError(
                f"log {log}: {len(found)} joints, without {missing[0]!r} of {arm.name} "
                f"({', '.join(arm.joint_names)}); choose the arm recorded"
            )
    columns = tuple(found.index(name) for name in wanted)
    return Joints(wanted, columns, _grippers(wanted, arm))


def _by_width(log: str, arm: Arm | None, width: int) -> Joints:
    if arm is None:
        raise InputError(
            f"log {log}: its {width} joints have no names; give --arm, whose order they are in"
        )
    arms, rest = divmod(width, len(arm.joints))
    if rest or arms not in (1, 2):
        raise InputError(
            f"log {log}: {width} joints, but {arm.name} has {len(arm.joints)} "
            f"({', '.join(arm.joint_names)}); choose the arm recorded"
        )
    marks = [""] if arms == 1 else [f"{side}/" for side in SIDES]
    names = tuple(f"{mark}{name}" for mark in marks for name in arm.joint_names)
    return Joints(names, tuple(range(width)), _grippers(names, arm))


def _grippers(names: Sequence[str], arm: Arm | None) -> tuple[int, ...]:
    return tuple(i for i, name in enumerate(names) if is_gripper(name, arm))


def as_commands(cmd: np.ndarray | None, q: np.ndarray) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """Commands, what they are, and what is to be said of that.

    Args:
        cmd: recorded commands (time, joints), if there are any.
        q: measured positions of the same shape.

    Returns:
        `cmd` if it holds commands that were sent; else where the arm was next, said to be so.
    """
    if cmd is not None and not np.array_equal(cmd, q) and not next_state(cmd, q):
        return cmd, "sent", ()
    if cmd is None:
        note = "it has no commands"
    elif np.array_equal(cmd, q):
        note = "its commands are copies of the measured positions"
    else:
        note = "each command is the next measured position"
    return np.concatenate([q[1:], q[-1:]]), "next state", (f"{note}: nothing was sent",)
