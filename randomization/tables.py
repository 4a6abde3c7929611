"""The default table of each task: what "randomised" means in every figure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from regrasp.assets import ALOHA, SIDES, Workcell, aloha, load_workcell
from regrasp.envs import TASKS, Nominal, Randomizer
from regrasp.envs.tasks.lift_pot import POT, LiftPot
from regrasp.envs.tasks.parts import RESTING_M
from regrasp.envs.tasks.peg_insertion import WALLS
from regrasp.envs.tasks.press_dough import BODIES as DOUGH_CORNERS
from regrasp.envs.tasks.press_dough import NAME as DOUGH
from regrasp.envs.tasks.route_cable import CLIPS, RouteCable
from regrasp.envs.tasks.tidy import TRAY, Tidy
from regrasp.errors import InputError, unknown
from regrasp.randomization.bodies import (
    body_mass,
    contact_softness,
    object_size,
    roll_friction,
    slide_friction,
    torsion_friction,
)
from regrasp.randomization.conditions import (
    angle_noise,
    camera_shift,
    camera_turn,
    command_drop,
    command_jitter,
    command_latency,
    encoder_step,
    gravity_tilt,
    observation_latency,
    position_noise,
    push_rate,
    push_speed,
)
from regrasp.randomization.distributions import Constant, LogUniform, Uniform
from regrasp.randomization.flexes import (
    flex_bend,
    flex_damping,
    flex_friction,
    flex_mass,
    flex_stiffness,
    flex_thickness,
    flex_yield,
)
from regrasp.randomization.servos import (
    backlash,
    force_limit,
    joint_armature,
    joint_friction,
    joint_offset,
    servo_damping,
    servo_stiffness,
    supply_sag,
)
from regrasp.randomization.table import Row, Table

TIPS = tuple(f"{side}/{tip}_tip" for side in SIDES for tip in SIDES)
_DATASHEET = "XM540-W270 data sheet"


def bimanual_rows(
    objects: Sequence[str],
    geoms: Mapping[str, Sequence[str]],
    *,
    condim: int = 4,
    resized: Sequence[str] | None = None,
    floor_m: float = RESTING_M,
) -> tuple[Row, ...]:
    """The rows of any task of two arms at a table, those of the ALOHA workcell: see `table_for`.

    Args:
        objects: free bodies; each has a mass of its own, and all may be pushed.
        geoms: by a name of your choice, geoms that share friction and softness; the finger tips
            are among the rows already.
        condim: of contacts between them, by MuJoCo; 4 adds friction against turning, 6 against rolling.
        resized: those of the objects whose size differs, for which their free joint must have the
            body's name; all if not given.
        floor_m: height of what they rest on at the start.
    """
    return (
        *(
            Row(body_mass(name), LogUniform(0.5, 2.0), "our choice: light wood to dense plastic")
            for name in objects
        ),
        *(
            Row(object_size(name, floor_m), Uniform(0.97, 1.03), "our choice: printed or sawn")
            for name in (objects if resized is None else resized)
        ),
        *_surface_rows("finger tip", TIPS, 4, "our choice: worn to fresh rubber tape"),
        Row(
            contact_softness("finger tip", TIPS),
            Uniform(1.0, 1.5),
            "our choice: old to new rubber; nominal is the hardest that the timestep allows",
        ),
        *(
            row
            for name, members in geoms.items()
            for row in (
                *_surface_rows(name, members, condim, "our choice: bare wood to a mat"),
                Row(
                    contact_softness(name, members),
                    Uniform(1.0, 1.5),
                    "our choice: hard to soft wood, or a mat",
                ),
            )
        ),
        *servo_rows(),
        *timing_rows(),
        *sensing_rows(),
        Row(gravity_tilt(), Uniform(-0.02, 0.02), "our choice: a table levelled by eye, 1.1 deg"),
        *(
            (
                Row(
                    push_speed(objects), Uniform(0.0, 0.05), "our choice: a knock that slides 1 mm"
                ),
                Row(push_rate(), Constant(0.1), "our choice: once in ten seconds"),
            )
            if objects
            else ()
        ),
    )


def servo_rows(cell: Workcell | None = None) -> tuple[Row, ...]:
    """What drives the arms of a workcell, ALOHA's if none is given."""
    cell = cell or aloha()
    names, (play_rad, source) = cell.action_names, cell.arm.backlash_rad
    arm = tuple(n for i, n in enumerate(names) if i not in cell.gripper_columns)
    return (
        Row(
            servo_stiffness(names),
            Uniform(0.7, 1.3),
            "one servo model is fitted at 37 to 78 N m/rad on three joints",
        ),
        Row(servo_damping(names), Uniform(0.8, 1.25), "our choice: cold to warm grease"),
        Row(joint_friction(names), Uniform(0.5, 1.5), "our choice: gears new to run in"),
        Row(joint_armature(names), Uniform(0.8, 1.25), "our choice: error of a fit"),
        Row(force_limit(names), Uniform(0.9, 1.1), "our choice: spread of motors"),
        Row(
            supply_sag(names, "arm"), Uniform(0.9, 1.0), "our choice: 12 V falls to 10.8 under load"
        ),
        Row(backlash(arm, names), Uniform(0.0, play_rad), source),
        Row(joint_offset(arm, names), Uniform(-0.003, 0.003), "our choice: two encoder steps"),
    )


def timing_rows() -> tuple[Row, ...]:
    """When commands arrive, and how old observations are."""
    return (
        Row(
            command_latency(),
            Uniform(0.0, 0.06),
            "our choice: up to three control periods at 50 Hz",
        ),
        Row(command_jitter(), Uniform(0.0, 0.01), "our choice: half a control period, a busy host"),
        Row(command_drop(), Constant(0.01), "our choice: a serial bus that misses one of 100"),
        Row(
            observation_latency(),
            Uniform(0.0, 0.03),
            "our choice: joint states come at 100 Hz, images at 50 Hz",
        ),
    )


def sensing_rows() -> tuple[Row, ...]:
    """How wrong observations are."""
    return (
        Row(angle_noise(), Constant(0.005), "three encoder steps of 1.53 mrad"),
        Row(position_noise(), Constant(0.003), "our choice: a calibrated camera at one metre"),
        Row(encoder_step(), Constant(0.00153), f"{_DATASHEET}: 4096 steps per turn"),
        Row(camera_shift(), Uniform(-0.002, 0.002), "our choice: hand-eye calibration, 2 mm"),
        Row(camera_turn(), Uniform(-0.005, 0.005), "our choice: hand-eye calibration, 0.3 deg"),
    )


def _surface_rows(name: str, geoms: Sequence[str], condim: int, source: str) -> tuple[Row, ...]:
    """Only the frictions that contacts of this condim have."""
    kinds = {3: slide_friction, 4: torsion_friction, 6: roll_friction}
    return tuple(
        Row(friction(name, geoms), Uniform(0.5, 1.5), source)
        for least, friction in kinds.items()
        if condim >= least
    )


def _transfer_cube() -> Table:
    return Table(*bimanual_rows(("cube",), {"table and cube": ("table", "cube")}))


def _hand_over() -> Table:
    return Table(*bimanual_rows(("bar",), {"table and bar": ("table", "bar")}))


def _lift_pot() -> Table:
    balls = LiftPot().ball_names
    surfaces = {"table, pot and balls": ("table", *POT, *balls)}
    return Table(*bimanual_rows(("pot", *balls), surfaces, condim=6))


def _peg_insertion() -> Table:
    surfaces = {"table": ("table",), "peg and socket": ("peg", "pin", *WALLS)}
    # Sizes stay: the clearance between them is the task's difficulty.
    return Table(*bimanual_rows(("peg", "socket"), surfaces, condim=3, resized=()))


def _press_dough() -> Table:
    rows = bimanual_rows((), {"table and dough corners": ("table", *DOUGH_CORNERS)}, condim=3)
    return Table(
        *rows,
        Row(
            body_mass(*DOUGH_CORNERS),
            LogUniform(0.7, 1.4),
            "our choice: airy to dense modelling dough",
        ),
        Row(flex_stiffness(DOUGH), LogUniform(0.7, 1.4), "our choice: warm to cold dough"),
        Row(flex_yield(DOUGH), LogUniform(0.7, 1.4), "our choice: fresh to stiff dough"),
        Row(flex_damping(DOUGH), LogUniform(0.5, 2.0), "our choice: wet to dry dough"),
    )


def _tidy() -> Table:
    things = Tidy().things
    geoms = tuple(geom for thing in things for geom in thing.geoms)
    surfaces = {"table and tray": ("table", *TRAY), "thing": geoms}
    # Sizes stay: some things touch at the start.
    rows = bimanual_rows([t.name for t in things], surfaces, resized=())
    # What they lie on has less of it: the larger one counts.
    rolling = Row(roll_friction("thing", geoms), Uniform(0.5, 1.5), "our choice: a desk to a mat")
    return Table(*rows, rolling)


def _fold_towel() -> Table:
    towel, weave = "towel", "our choice: thin to thick terry cloth"
    return Table(
        Row(flex_mass(towel), Uniform(0.75, 1.25), weave),
        Row(flex_stiffness(towel), LogUniform(0.5, 2.0), weave),
        Row(flex_bend(towel), LogUniform(0.7, 1.4), weave),
        Row(flex_damping(towel), LogUniform(0.5, 2.0), weave),
        Row(flex_thickness(towel), Uniform(0.9, 1.1), weave),
        Row(flex_friction(towel), Uniform(0.75, 1.25), "our choice: smooth to rough cotton"),
        *_surface_rows("finger tip", TIPS, 4, "our choice: worn to fresh rubber tape"),
        Row(
            slide_friction("table and rod", ("table_plane", "rod")),
            Uniform(0.5, 1.5),
            "our choice: bare wood to a mat",
        ),
        *servo_rows(),
        *timing_rows(),
        *sensing_rows(),
        Row(gravity_tilt(), Uniform(-0.02, 0.02), "our choice: a table levelled by eye, 1.1 deg"),
    )


def _route_cable() -> Table:
    cable, rubber = "cable", "our choice: thin to thick rubber sheath"
    clips = tuple(geom for name in CLIPS for geom in RouteCable().clip.geoms(name))
    return Table(
        Row(flex_mass(cable), Uniform(0.75, 1.25), rubber),
        Row(flex_bend(cable), LogUniform(0.5, 2.0), "our choice: a warm to a cold sheath"),
        Row(flex_damping(cable), LogUniform(0.5, 2.0), rubber),
        Row(flex_friction(cable), Uniform(0.75, 1.25), "our choice: smooth to rough rubber"),
        *_surface_rows("finger tip", TIPS, 4, "our choice: worn to fresh rubber tape"),
        Row(
            slide_friction("table", ("table_plane",)),
            Uniform(0.5, 1.5),
            "our choice: bare wood to a mat",
        ),
        Row(slide_friction("clips", clips), Uniform(0.5, 1.5), "our choice: oiled to dry wire"),
        *servo_rows(),
        *timing_rows(),
        *sensing_rows(),
        Row(gravity_tilt(), Uniform(-0.02, 0.02), "our choice: a table levelled by eye, 1.1 deg"),
    )


TABLES: dict[str, Callable[[], Table]] = {
    "transfer_cube": _transfer_cube,
    "hand_over": _hand_over,
    "lift_pot": _lift_pot,
    "peg_insertion": _peg_insertion,
    "tidy": _tidy,
    "press_dough": _press_dough,
    "fold_towel": _fold_towel,
    "route_cable": _route_cable,
}


def table_for(task: str, workcell: str = ALOHA) -> Table:
    """The default table of a task: in another workcell than ALOHA's, with its own arms' rows.

    Raises:
        InputError: there is no such task or workcell, or the task cannot be done there.
    """
    if task not in TABLES:
        raise unknown("task", task, TASKS)
    cell = load_workcell(workcell)
    cell.figures(task)
    return TABLES[task]().replaced(*servo_rows(cell))


def randomizer_for(task: str, randomize: Any, workcell: str = ALOHA) -> Randomizer:
    """The randomizer that `randomize` means for this task.

    Args:
        task: a task's name.
        randomize: "nominal", "table", or a randomizer such as a `Table`, taken as it is.
        workcell: whose arms do it.

    Raises:
        InputError: none of these.
    """
    if randomize == "nominal":
        return Nominal()
    if randomize == "table":
        return table_for(task, workcell)
    if isinstance(randomize, str):
        raise unknown("randomization", randomize, ["nominal", "table"])
    if not isinstance(randomize, Randomizer):
        raise InputError(f"randomize {randomize!r}: give 'nominal', 'table' or a Table")
    return randomize
