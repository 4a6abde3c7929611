"""What a field writes is what MuJoCo would have compiled, and it refuses what it cannot."""

from collections.abc import Callable

import jax
import mujoco
import numpy as np
import pytest

from regrasp import BatchEnv
from regrasp.assets import aloha
from regrasp.envs import load_task
from regrasp.envs.cpu_world import derived_from
from regrasp.envs.randomizer import apply
from regrasp.envs.randomizer import nominal as own
from regrasp.envs.tasks.parts import RESTING_M
from regrasp.errors import InputError
from regrasp.randomization import (
    TABLES,
    Constant,
    Field,
    Row,
    Table,
    Uniform,
    body_mass,
    contact_softness,
    force_limit,
    gravity_tilt,
    joint_armature,
    joint_creep,
    joint_friction,
    mass_center,
    object_size,
    roll_friction,
    servo_damping,
    servo_gain,
    servo_stiffness,
    slide_friction,
    supply_sag,
    torsion_friction,
)

TIPS = [f"{side}/{tip}_tip" for side in ("left", "right") for tip in ("left", "right")]
NAMES = aloha().action_names
FACTOR = 1.0625
"""Exact in float32, so that powers of it are the same however they are taken."""
OBJECT = """
<mujoco><worldbody><geom name="floor" type="plane" size="1 1 1"/>
 <body name="thing" pos="0 0 1"><freejoint name="thing"/>
  <geom name="a" type="box" size=".02 .03 .01" pos=".01 0 .005" euler="10 20 30"/>
  <geom name="b" type="capsule" size=".01 .02" pos="-.01 .02 0"/>
  <geom name="c" type="cylinder" size=".01 .02" pos="0 -.02 0"/>
  <geom name="d" type="ellipsoid" size=".01 .02 .015" pos="0 -.02 .03"/>
  <geom name="e" type="sphere" size=".01"/><site name="s" pos=".01 .01 .01"/>
  <body name="lid" pos="0 0 .03" euler="0 5 0"><geom name="f" type="box" size=".01 .01 .01"/></body>
 </body></worldbody></mujoco>
"""


def arrays(model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """Every numeric array of a model, options included."""
    values = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    values["opt.gravity"] = model.opt.gravity
    return {name: a for name, a in values.items() if isinstance(a, np.ndarray) and a.size}


def differing(model: mujoco.MjModel, other: mujoco.MjModel) -> set[str]:
    mine, theirs = arrays(model), arrays(other)
    return {name for name in mine if not np.array_equal(mine[name], theirs[name], equal_nan=True)}


def changed(model: mujoco.MjModel, field: Field, numbers: np.ndarray) -> mujoco.MjModel:
    """The model with the field's numbers written and its constants recomputed."""
    new = model.__copy__()
    for name, values in apply(model, field.writes(model, "row"), {"row": numbers[None]}).items():
        own(new, name)[:] = values[0]
    mujoco.mj_setConst(new, mujoco.MjData(new))
    return new


def scene() -> mujoco.MjSpec:
    return load_task("transfer_cube").scene()


def geoms_scaled(attribute: str, column: int, names: list[str]) -> Callable:
    def edit(spec: mujoco.MjSpec) -> None:
        for name in names:
            getattr(spec.geom(name), attribute)[column] *= FACTOR

    return edit


def servos(edit: Callable) -> Callable:
    def edits(spec: mujoco.MjSpec) -> None:
        for name in NAMES:
            joints = [spec.joint(name)]
            if "left_finger" in name:
                joints.append(spec.joint(name.replace("left_finger", "right_finger")))
            edit(spec.actuator(name), joints)

    return edits


def stiffer(actuator, joints) -> None:
    actuator.gainprm[0] *= FACTOR
    actuator.biasprm[1] *= FACTOR


def damped(actuator, joints) -> None:
    actuator.biasprm[2] *= FACTOR
    for joint in joints:
        joint.damping[0] *= FACTOR


def limited(actuator, joints) -> None:
    actuator.forcerange = np.array(actuator.forcerange) * FACTOR


def sagged(actuator, joints) -> None:
    stiffer(actuator, joints)
    actuator.biasprm[2] *= FACTOR
    limited(actuator, joints)


def both(actuator, joints) -> None:
    stiffer(actuator, joints)
    damped(actuator, joints)


def of_joints(attribute: str) -> Callable:
    def edit(actuator, joints) -> None:
        for joint in joints:
            setattr(joint, attribute, getattr(joint, attribute) * FACTOR)

    return servos(edit)


def stuck(spec: mujoco.MjSpec) -> None:
    def edit(actuator, joints) -> None:
        for joint in joints:
            for i in range(2):
                joint.solimp_friction[i] = 1 - (1 - joint.solimp_friction[i]) * FACTOR

    servos(edit)(spec)


def heavier(spec: mujoco.MjSpec) -> None:
    spec.geom("cube").mass *= FACTOR


def larger(spec: mujoco.MjSpec) -> None:
    spec.geom("cube").size *= FACTOR
    spec.geom("cube").mass *= FACTOR**3


def tilted(spec: mujoco.MjSpec) -> None:
    down = np.array([FACTOR, FACTOR, -1.0])
    spec.option.gravity = np.linalg.norm(spec.option.gravity) * down / np.linalg.norm(down)


CASES = (
    (body_mass("cube"), heavier),
    (object_size("cube", 0.0), larger),
    (slide_friction("tips", TIPS), geoms_scaled("friction", 0, TIPS)),
    (torsion_friction("tips", TIPS), geoms_scaled("friction", 1, TIPS)),
    (roll_friction("tips", TIPS), geoms_scaled("friction", 2, TIPS)),
    (contact_softness("tips", TIPS), geoms_scaled("solref", 0, TIPS)),
    (servo_stiffness(NAMES, "all"), servos(stiffer)),
    (servo_damping(NAMES, "all"), servos(damped)),
    (servo_gain(NAMES, "arm"), servos(both)),
    (joint_friction(NAMES), of_joints("frictionloss")),
    (joint_armature(NAMES), of_joints("armature")),
    (joint_creep(NAMES), stuck),
    (force_limit(NAMES), servos(limited)),
    (supply_sag(NAMES), servos(sagged)),
    (gravity_tilt(), tilted),
)


@pytest.mark.parametrize(("field", "edit"), CASES, ids=[field.name for field, _ in CASES])
def test_a_field_makes_the_model_that_the_compiler_would_make(field: Field, edit: Callable):
    spec = scene()
    model = spec.compile()
    ours = changed(model, field, np.full(field.count, FACTOR))
    edit(spec)
    theirs = spec.compile()
    assert differing(theirs, model)
    for name, array in arrays(theirs).items():
        np.testing.assert_allclose(arrays(ours)[name], array, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(("field", "edit"), CASES, ids=[field.name for field, _ in CASES])
def test_derived_fields_are_those_that_a_field_states(field: Field, edit: Callable):
    model = scene().compile()
    written = {write.field for write in field.writes(model, "row")}
    follow = differing(changed(model, field, np.full(field.count, FACTOR)), model) - written
    assert follow <= set(field.derived) == set(derived_from(model, tuple(sorted(written))))


def test_a_thing_of_many_parts_grows_as_the_compiler_would_have_it():
    spec = mujoco.MjSpec.from_string(OBJECT)
    model = spec.compile()
    ours = changed(model, object_size("thing", 0.0), np.array([FACTOR]))
    for geom in spec.geoms:
        if geom.name != "floor":
            geom.size, geom.pos = geom.size * FACTOR, geom.pos * FACTOR
    spec.site("s").pos *= FACTOR
    spec.body("lid").pos *= FACTOR
    theirs = spec.compile()
    skipped = {"body_iquat"}  # Equal up to sign and order of equal axes.
    for name, array in arrays(theirs).items():
        if name not in skipped:
            np.testing.assert_allclose(
                arrays(ours)[name], array, rtol=1e-7, atol=1e-10, err_msg=name
            )


def test_the_centre_of_mass_moves_as_the_compiler_would_have_it():
    spec = mujoco.MjSpec.from_string(OBJECT)
    model = spec.compile()
    shift = np.array([0.004, -0.002, 0.001])
    ours = changed(model, mass_center("thing"), shift)
    spec.compiler.inertiafromgeom = mujoco.mjtInertiaFromGeom.mjINERTIAFROMGEOM_FALSE
    for name in ("thing", "lid"):
        body, known = spec.body(name), model.body(name)
        body.explicitinertial, body.mass, body.inertia = True, known.mass[0], known.inertia
        body.ipos = known.ipos + shift * (name == "thing")
        body.iquat, body.fullinertia = known.iquat, np.full(6, np.nan)
    theirs = spec.compile()
    for name, array in arrays(theirs).items():
        np.testing.assert_allclose(arrays(ours)[name], array, rtol=1e-7, atol=1e-10, err_msg=name)


def test_a_centre_of_mass_that_the_engine_has_no_room_to_move_is_refused():
    with pytest.raises(InputError, match="centre of mass of 'cube' cannot move"):
        mass_center("cube").writes(scene().compile(), "row")


def test_what_has_grown_rests_on_the_table_as_before(nominal: BatchEnv):
    import regrasp

    table = Table(Row(object_size("cube", RESTING_M), Uniform(0.8, 1.2), "test"))
    env = regrasp.make("transfer_cube", 4, threads=1, randomize=table)
    env.reset(seed=0)
    half = [env.row_model(row).geom("cube").size[0] for row in range(4)]
    z = np.asarray(env.view().body_pos["cube"])[:, 2]
    np.testing.assert_allclose(z - RESTING_M, half, atol=1e-6)
    assert np.ptp(half) > 1e-3


def test_rows_differ_from_each_other_within_the_table(randomised: BatchEnv):
    randomised.reset(seed=4)
    nominal = randomised.model
    models = [randomised.row_model(row) for row in range(randomised.num_envs)]
    tips = np.array(
        [m.geom(TIPS[0]).friction[0] / nominal.geom(TIPS[0]).friction[0] for m in models]
    )
    limits = np.array([m.actuator_forcerange / nominal.actuator_forcerange for m in models])
    for factors, low, high in ((tips, 0.5, 1.5), (limits[:, :, 0], 0.8, 1.1)):
        assert len(np.unique(factors)) == factors.size
        assert low - 1e-6 <= factors.min() < factors.max() <= high + 1e-6


def test_sharing_decides_what_has_a_number_of_its_own():
    model = scene().compile()
    rng = np.random.default_rng(0)
    for shared, count in ((None, 14), ("arm", 2), ("all", 1)):
        field = servo_stiffness(NAMES, shared)
        assert field.count == count
        ratio = changed(model, field, rng.uniform(0.7, 1.3, count)).actuator_gainprm[:, 0]
        ratio = ratio / model.actuator_gainprm[:, 0]
        assert len(np.unique(ratio.round(9))) == count
    with pytest.raises(InputError, match="unknown sharing 'arms': did you mean 'arm'"):
        servo_stiffness(NAMES, "arms")


def test_changes_work_on_jax_arrays_too():
    model = scene().compile()
    for field, _ in CASES:
        for write in field.writes(model, "row"):
            old = own(model, write.field).ravel()[write.entries][None].astype(np.float32)
            numbers = np.full((1, len(write.source)), FACTOR, np.float32)
            ours = jax.jit(write.change)(old, numbers)
            np.testing.assert_allclose(ours, write.change(old, numbers), rtol=1e-6)


def test_a_kept_start_runs_nominal_again_without_fields(randomised: BatchEnv, nominal: BatchEnv):
    """Nominal leaves the model as compiled, also in rows that were randomised before."""
    nominal.reset(seed=0)
    assert differing(nominal.row_model(3), nominal.model) == set()
    kept = nominal.take()
    randomised.reset(seed=4)
    randomised.restore(kept)
    assert differing(randomised.row_model(3), randomised.model) == set()


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (body_mass("cubes"), "unknown body 'cubes': did you mean 'cube'"),
        (slide_friction("tips", ["left/left_tips"]), "unknown geom 'left/left_tips'"),
        (servo_stiffness(["left/hip"]), "unknown actuator 'left/hip'"),
    ],
)
def test_unknown_names_are_refused_before_and_after_compiling(field: Field, message: str):
    spec = scene()
    with pytest.raises(InputError, match=message):
        Table(Row(field, Uniform(1, 2), "test")).check(spec)
    with pytest.raises(InputError, match=message):
        field.writes(spec.compile(), "row")


def test_contacts_harder_than_the_timestep_allows_are_refused():
    model = scene().compile()
    table = Table(Row(contact_softness("tips", TIPS), Uniform(0.5, 1.5), "test"))
    with pytest.raises(InputError, match=r"tips softness 0\.5 to 1\.5: choose a range within 1 to"):
        table.writes(model)
    fine = Table(Row(contact_softness("tips", TIPS), Constant(1.0), "test"))
    assert fine.writes(model)


@pytest.mark.parametrize("task", TABLES)
def test_every_table_fits_its_task(task: str):
    spec = load_task(task).scene()
    TABLES[task]().check(spec)
    assert TABLES[task]().writes(spec.compile())
