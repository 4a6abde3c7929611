"""What a table row writes is what it says, and what MuJoCo would derive from it."""

import mujoco
import numpy as np
import pytest

from regrasp import BatchEnv
from regrasp.errors import InputError
from regrasp.randomization import body_mass, randomizer_for, servo_stiffness, slide_friction

DERIVED = (
    "body_subtreemass",
    "body_invweight0",
    "dof_invweight0",
    "dof_M0",
    "actuator_acc0",
    "cam_poscom0",
    "light_poscom0",
)
WRITTEN = {"body_mass", "body_inertia", "actuator_gainprm", "actuator_biasprm", "geom_friction"}
TIPS = [f"{side}/{tip}_tip" for side in ("left", "right") for tip in ("left", "right")]


def arrays(model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """Every numeric array of a model."""
    values = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    return {name: a for name, a in values.items() if isinstance(a, np.ndarray) and a.size}


def differing(model: mujoco.MjModel, other: mujoco.MjModel) -> set[str]:
    mine, theirs = arrays(model), arrays(other)
    return {name for name in mine if not np.array_equal(mine[name], theirs[name], equal_nan=True)}


def test_a_row_runs_on_the_model_that_mujoco_would_make(randomised: BatchEnv):
    """That is the nominal one with the same numbers put in by hand, and mj_setConst run."""
    randomised.reset(seed=4)
    for row in (0, 5):
        ours = randomised.row_model(row)
        cube, stiff = ours.body("cube"), ours.actuator_gainprm[:, 0]
        nominal = randomised.model
        theirs = nominal.__copy__()
        factor = cube.mass[0] / nominal.body("cube").mass[0]
        theirs.body("cube").mass = nominal.body("cube").mass * factor
        theirs.body("cube").inertia = nominal.body("cube").inertia * factor
        theirs.actuator_gainprm[:, 0], theirs.actuator_biasprm[:, 1] = stiff, -stiff
        theirs.geom_friction[:, 0] = ours.geom_friction[:, 0]
        mujoco.mj_setConst(theirs, mujoco.MjData(theirs))
        for name, array in arrays(theirs).items():
            np.testing.assert_allclose(
                arrays(ours)[name], array, rtol=1e-12, atol=1e-15, err_msg=name
            )
        changed = differing(ours, nominal)
        assert changed >= WRITTEN
        assert changed <= {*WRITTEN, *DERIVED}


def test_rows_differ_from_each_other_within_the_table(randomised: BatchEnv):
    randomised.reset(seed=4)
    nominal = randomised.model
    models = [randomised.row_model(row) for row in range(randomised.num_envs)]
    masses = np.array([m.body("cube").mass[0] / nominal.body("cube").mass[0] for m in models])
    gains = np.array([m.actuator_gainprm[:, 0] / nominal.actuator_gainprm[:, 0] for m in models])
    tips = np.array(
        [m.geom(TIPS[0]).friction[0] / nominal.geom(TIPS[0]).friction[0] for m in models]
    )
    for factors, low, high in ((masses, 0.5, 2), (gains, 0.7, 1.3), (tips, 0.5, 1.5)):
        assert len(np.unique(factors)) == factors.size
        assert low - 1e-6 <= factors.min() < factors.max() <= high + 1e-6


def test_the_geoms_of_one_row_share_their_factor(randomised: BatchEnv):
    randomised.reset(seed=4)
    ours, nominal = randomised.row_model(2), randomised.model
    ratios = [ours.geom(t).friction[0] / nominal.geom(t).friction[0] for t in TIPS]
    assert np.ptp(ratios) == 0
    assert ratios[0] != 1
    np.testing.assert_array_equal(ours.geom_friction[:, 1:], nominal.geom_friction[:, 1:])


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
def test_unknown_names_are_refused(nominal: BatchEnv, field, message: str):
    with pytest.raises(InputError, match=message):
        field.writes(nominal.model, "row")


def test_table_of_another_model_is_refused(nominal: BatchEnv):
    empty = mujoco.MjModel.from_xml_string("<mujoco/>")
    assert randomizer_for("transfer_cube", "table").writes(nominal.model)
    with pytest.raises(InputError, match="unknown body 'cube'"):
        randomizer_for("transfer_cube", "table").writes(empty)
