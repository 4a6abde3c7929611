"""What a flex's field writes is what MuJoCo would have compiled."""

from collections.abc import Callable

import mujoco
import numpy as np
import pytest
from tests.randomization.test_fields import FACTOR, changed, differing

from regrasp.assets.cable import Cable
from regrasp.envs.cpu_world import derived_from
from regrasp.errors import InputError
from regrasp.randomization import (
    Field,
    flex_bend,
    flex_damping,
    flex_friction,
    flex_mass,
    flex_softness,
    flex_stiffness,
    flex_thickness,
)

MASS_KG = 0.03


def scene(
    *, cloth: Callable[[mujoco.MjsFlex], None] = lambda flex: None, mass: float = 1.0
) -> mujoco.MjModel:
    """Three cloths, of which the second one is edited."""
    spec = mujoco.MjSpec()
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_DISCRETE
    for i, name in enumerate(("first", "towel", "third")):
        body = spec.worldbody.add_body(name=name, pos=(0, 0, 1 + i))
        flex = body.make_flex(
            name,
            type="grid",
            dim=2,
            dof="full",
            count=[3 + i, 4, 1],
            spacing=[0.05, 0.05, 1],
            mass=MASS_KG * (mass if name == "towel" else 1),
            radius=0.004,
            elastic2d=3,
        )
        flex.young, flex.thickness, flex.damping = 1e5, 0.002, 0.01
        if name == "towel":
            cloth(flex)
    return spec.compile()


def sets(attribute: str, factor: float = FACTOR) -> Callable[[mujoco.MjsFlex], None]:
    def edit(flex: mujoco.MjsFlex) -> None:
        value = getattr(flex, attribute)
        if np.ndim(value):
            value[0] *= factor
        else:
            setattr(flex, attribute, value * factor)

    return edit


@pytest.mark.parametrize(
    ("field", "edit", "fields"),
    [
        (flex_damping, sets("damping"), {"flex_damping"}),
        (flex_thickness, sets("radius"), {"flex_radius"}),
        (flex_friction, sets("friction"), {"flex_friction"}),
        (flex_softness, sets("solref"), {"flex_solref"}),
    ],
)
def test_a_number_of_a_flex(field: Callable[[str], Field], edit: Callable, fields: set[str]):
    model, other = scene(), scene(cloth=edit)
    new = changed(model, field("towel"), np.array([FACTOR]))
    assert differing(new, model) >= fields
    for name in fields:
        np.testing.assert_allclose(getattr(new, name), getattr(other, name), rtol=1e-12)


def test_stretch_and_bend_together_are_a_stiffer_cloth():
    """Young's modulus scales both, and neither reaches the other cloths."""
    model, other = scene(), scene(cloth=sets("young"))
    new = changed(model, flex_stiffness("towel"), np.array([FACTOR]))
    assert differing(new, model) == {"flex_stiffness"}
    np.testing.assert_allclose(new.flex_stiffness, other.flex_stiffness, rtol=1e-12)
    new = changed(model, flex_bend("towel"), np.array([FACTOR]))
    assert differing(new, model) == {"flex_bending", *flex_bend("towel").derived}
    np.testing.assert_allclose(new.flex_bending, other.flex_bending, rtol=1e-12)


def test_a_heavier_cloth():
    model, other = scene(), scene(mass=FACTOR)
    new = changed(model, flex_mass("towel"), np.array([FACTOR]))
    for name in ("body_mass", "body_inertia", "body_subtreemass", "dof_M0", "body_invweight0"):
        np.testing.assert_allclose(
            getattr(new, name), getattr(other, name), rtol=1e-9, err_msg=name
        )


def test_a_flex_without_elasticity_has_none_to_scale():
    spec = mujoco.MjSpec()
    spec.worldbody.add_body(name="b").make_flex(
        "towel",
        type="grid",
        dim=2,
        dof="full",
        count=[3, 3, 1],
        spacing=[0.1, 0.1, 1],
        mass=1,
        radius=0.01,
    )
    model = spec.compile()
    for field in (flex_stiffness, flex_bend):
        with pytest.raises(InputError, match=r"towel .*has no such stiffness"):
            field("towel").writes(model, "row")


@pytest.mark.parametrize(
    "field",
    [
        flex_bend,
        flex_damping,
        flex_friction,
        flex_mass,
        flex_softness,
        flex_stiffness,
        flex_thickness,
    ],
)
def test_derived_fields_are_those_that_a_field_states(field: Callable[[str], Field]):
    model = scene()
    written = {write.field for write in field("towel").writes(model, "row")}
    assert set(field("towel").derived) == set(derived_from(model, tuple(sorted(written))))


def test_a_stiffer_cable_bends_and_twists_less():
    """Young's modulus scales both, and what the engine keeps between them stays."""

    def scene(young_pa: float) -> mujoco.MjModel:
        spec = mujoco.MjSpec()
        spec.worldbody.add_geom(name="table", type=mujoco.mjtGeom.mjGEOM_BOX, size=(1, 1, 0.1))
        for i, name in enumerate(("cable", "other")):
            young = young_pa if name == "cable" else 1e6
            cable = Cable(vertices=7 + i, young_pa=young)
            cable.add(spec, name, (0.0, 0.1 * i, 0.2), (0.0, 0.0, 0.0, 1.0))
        return spec.compile()

    model, other = scene(1e6), scene(FACTOR * 1e6)
    new = changed(model, flex_bend("cable"), np.array([FACTOR]))
    assert differing(new, model) - set(flex_bend("cable").derived) == {"flex_bending"}
    np.testing.assert_allclose(new.flex_bending, other.flex_bending, rtol=1e-12)
