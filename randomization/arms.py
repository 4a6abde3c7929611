"""Tables of one arm by itself, as recordings see it; and tables in files, such as fitted ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from regrasp.assets.arm import Arm
from regrasp.assets.figures import checked_figures, is_number
from regrasp.errors import InputError, unknown
from regrasp.files import read_json, write_json
from regrasp.randomization.conditions import angle_noise, command_latency, encoder_step
from regrasp.randomization.distributions import (
    Constant,
    Distribution,
    LogNormal,
    LogUniform,
    Uniform,
)
from regrasp.randomization.fields import Field
from regrasp.randomization.servos import (
    backlash,
    force_limit,
    joint_armature,
    joint_creep,
    joint_friction,
    servo_damping,
    servo_stiffness,
)
from regrasp.randomization.table import Row, Table

SERVO_FIELDS: dict[str, Callable[[Sequence[str]], Field]] = {
    "servo stiffness": servo_stiffness,
    "servo damping": servo_damping,
    "joint friction": joint_friction,
    "joint armature": joint_armature,
    "joint creep": joint_creep,
    "force limit": force_limit,
}
"""Fields of joints, by name: factors of what the arm's table says."""
SHARED_FIELDS: dict[str, Callable[[], Field]] = {
    "command latency": command_latency,
    "angle noise": angle_noise,
    "encoder step": encoder_step,
}
"""Fields of an arm as a whole."""
DISTRIBUTIONS: dict[str, type] = {
    kind.__name__: kind for kind in (Constant, LogNormal, LogUniform, Uniform)
}
KEYS = ("arm", "servos", "rows", "source", "fit")
MAX_BYTES = 2**20


def arm_table(arm: Arm, encoder_step_rad: float = 0.00153) -> Table:
    """What differs between runs of one arm unless something better is known: a row for each joint.

    The ranges are those of `servo_rows` and `timing_rows`, joint by joint. An arm whose latencies are
    fitted keeps those, and draws none.

    Args:
        arm: whose joints.
        encoder_step_rad: resolution of its encoders; 4096 steps per turn are common.
    """
    spans = {
        "servo stiffness": (Uniform(0.7, 1.3), "as for the workcell: spread of published fits"),
        "servo damping": (Uniform(0.8, 1.25), "our choice: cold to warm grease"),
        "joint friction": (Uniform(0.5, 1.5), "our choice: gears new to run in"),
        "joint armature": (Uniform(0.8, 1.25), "our choice: error of a fit"),
    }
    rows = [
        Row(joint_field(name, joint, arm), span, source)
        for joint in arm.joint_names
        for name, (span, source) in spans.items()
    ]
    if not any(joint.servo.latency_s for joint in arm.joints):
        # What is drawn comes on top of what was fitted.
        rows.append(Row(command_latency(), Uniform(0.0, 0.06), "our choice: up to three periods"))
    rows.append(Row(encoder_step(), Constant(encoder_step_rad), "4096 steps per turn"))
    return Table(*rows)


def joint_field(name: str, joint: str, arm: Arm, prefixes: Sequence[str] = ("",)) -> Field:
    """A field of one joint, which has a row of its own; with prefixes, of that joint of each arm.

    Raises:
        InputError: no such field or joint, or backlash of a gripper.
    """
    if joint not in arm.joint_names:
        raise unknown(f"joint of {arm.name}", joint, arm.joint_names)
    own = [f"{prefix}{joint}" for prefix in prefixes]
    if name == "backlash":
        action = [f"{prefix}{other}" for prefix in prefixes for other in arm.joint_names]
        field = backlash(own, action)
    elif name in SERVO_FIELDS:
        field = SERVO_FIELDS[name](own)
    else:
        raise unknown("field of a joint", name, ["backlash", *SERVO_FIELDS])
    return replace(field, name=f"{joint} {name}")


def write_table(
    path: str | Path,
    arm: Arm,
    rows: Sequence[Mapping[str, Any]],
    servos: Mapping[str, Mapping[str, float]] | None = None,
    **notes: Any,
) -> None:
    """Write a table of one arm as JSON, whole or not at all.

    Args:
        path: the file.
        arm: whose.
        rows: {"field", "joint" (if it is one joint's), "distribution", "source"}; see `row_json`.
        servos: figures that the factors are relative to, where they are not the arm's own.
        notes: `source` and `fit`, in words and numbers, which are not read again.
    """
    table_of(rows, arm)
    write_json(path, {"arm": arm.name, "servos": servos or {}, "rows": list(rows), **notes})


def read_table(path: str | Path, arm: Arm, prefixes: Sequence[str] = ("",)) -> tuple[Arm, Table]:
    """The table that a file holds, and the arm that its factors are relative to.

    Args:
        path: the file.
        arm: the nominal arm.
        prefixes: what stands before a joint's name in the scene, such as ("left/", "right/") for
            the workcell: each arm then draws numbers of its own from the same distributions.

    Raises:
        InputError: no such file, another arm's, or something in it that does not exist.
    """
    path = Path(path)
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise InputError(f"table {path} is larger than {MAX_BYTES} bytes: refused")
    document = read_json(path, "table")
    if not isinstance(document, dict) or not isinstance(document.get("rows"), list):
        raise InputError(f'table {path} is not {{"arm": name, "rows": [...]}}: fit it again')
    for key in document:
        if key not in KEYS:
            raise unknown(f"key of table {path}", key, KEYS)
    if document.get("arm") != arm.name:
        raise InputError(
            f"table {path} is for the arm {document.get('arm')!r}, not {arm.name!r}: "
            "choose that arm or another file"
        )
    servos = document.get("servos") or {}
    if not isinstance(servos, dict):
        raise InputError(f"table {path}: servos is not {{joint: {{figure: value}}}}")
    checked = {j: checked_figures(f"table {path}", j, figures) for j, figures in servos.items()}
    return arm.with_servos(checked), table_of(document["rows"], arm, prefixes)


def table_of(rows: Sequence[Mapping[str, Any]], arm: Arm, prefixes: Sequence[str] = ("",)) -> Table:
    """A table from rows of plain data.

    Raises:
        InputError: a row names something that does not exist, or its numbers make no distribution.
    """
    return Table(*(_row(row, arm, prefixes) for row in rows))


def row_json(field: str, joint: str | None, distribution: Distribution, source: str) -> dict:
    """A row as plain data."""
    numbers = {"kind": type(distribution).__name__, **vars(distribution)}
    own = {} if joint is None else {"joint": joint}
    return {"field": field, **own, "distribution": numbers, "source": source}


def _row(row: Mapping[str, Any], arm: Arm, prefixes: Sequence[str]) -> Row:
    if not isinstance(row, Mapping) or not isinstance(row.get("distribution"), Mapping):
        raise InputError(f"row {row!r:.80} is not {{field, joint, distribution, source}}")
    name, joint = str(row.get("field")), row.get("joint")
    if joint is not None:
        field = joint_field(name, str(joint), arm, prefixes)
    elif name in SHARED_FIELDS:
        field = SHARED_FIELDS[name]()
    else:
        raise unknown("field of an arm", name, SHARED_FIELDS)
    numbers = dict(row["distribution"])
    kind = numbers.pop("kind", None)
    if kind not in DISTRIBUTIONS:
        raise unknown(f"distribution of {field.name}", str(kind), DISTRIBUTIONS)
    wanted = set(DISTRIBUTIONS[kind].__dataclass_fields__)
    if not set(numbers) <= wanted or not all(map(is_number, numbers.values())):
        raise InputError(
            f"distribution of {field.name}: {kind} takes finite numbers {', '.join(sorted(wanted))}"
        )
    try:
        distribution = DISTRIBUTIONS[kind](**numbers)
    except TypeError as error:
        raise InputError(f"distribution of {field.name}: {error}; write all of it") from None
    return Row(field, distribution, str(row.get("source", "")))
