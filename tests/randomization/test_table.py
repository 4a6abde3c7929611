"""A table samples what it prints, row by row."""

import jax
import numpy as np
import pytest

from regrasp.envs import TASKS, Nominal
from regrasp.errors import InputError
from regrasp.randomization import (
    TABLES,
    Constant,
    Row,
    Table,
    Uniform,
    body_mass,
    command_latency,
    position_noise,
    randomizer_for,
)

SAMPLES = 10_000
LATENCY = Row(command_latency(), Uniform(0.0, 0.06), "test")
MASS = Row(body_mass("cube"), Uniform(0.5, 2.0), "test")


def draws(table: Table):
    return jax.jit(jax.vmap(table.sample))(jax.random.split(jax.random.key(0), SAMPLES))


@pytest.mark.parametrize("task", TABLES)
def test_every_row_samples_the_range_it_prints(task: str):
    table = TABLES[task]()
    draw = draws(table)
    text = str(table)
    for row, plain in zip(table.rows, table.to_json(), strict=True):
        low, high = row.distribution.low, row.distribution.high
        setting = row.field.setting
        numbers = np.asarray(getattr(draw, setting) if setting else draw.fields[row.field.name])
        width = 0.01 * (high - low) + 1e-6
        assert low - 1e-6 <= numbers.min() <= low + width
        assert high - width <= numbers.max() <= high + 1e-6
        assert f"{low:g}" in plain["distribution"]
        assert f"{high:g}" in plain["distribution"]
        assert any(
            plain["field"] in line and str(row.distribution) in line for line in text.splitlines()
        )


def test_every_task_has_a_table():
    assert set(TABLES) == set(TASKS)


def test_rows_are_independent_of_each_other():
    """One table's rows are uncorrelated, and the joints' factors too."""
    draw = draws(TABLES["transfer_cube"]())
    columns = [np.asarray(draw.latency_s)[:, None]]
    columns += [np.asarray(v).reshape(SAMPLES, -1) for v in draw.fields.values()]
    correlation = np.corrcoef(np.hstack(columns), rowvar=False)
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.05


def test_adding_a_row_leaves_the_numbers_of_the_others():
    key = jax.random.key(7)
    alone = Table(MASS).sample(key)
    more = Table(LATENCY, MASS, Row(position_noise(), Constant(0.003), "test")).sample(key)
    np.testing.assert_array_equal(alone.fields["cube mass"], more.fields["cube mass"])
    assert (alone.latency_s, alone.noise_m) == (0, 0)
    assert more.latency_s == Table(LATENCY).sample(key).latency_s > 0


def test_rows_of_one_name_are_refused():
    with pytest.raises(InputError, match="'cube mass' stands in 2 rows"):
        Table(MASS, LATENCY, MASS)


@pytest.mark.parametrize("field", [command_latency(), body_mass("cube")])
def test_negative_ranges_are_refused(field):
    with pytest.raises(InputError, match="choose a range within 0"):
        Table(Row(field, Uniform(-0.1, 0.05), "test"))


def test_latency_above_what_control_can_hold_is_refused():
    with pytest.raises(InputError, match=r"command latency 0 to 0\.2.*0 to 0\.1"):
        Table(Row(command_latency(), Uniform(0.0, 0.2), "test"))


def test_randomize_by_name():
    assert isinstance(randomizer_for("transfer_cube", "nominal"), Nominal)
    assert isinstance(randomizer_for("transfer_cube", "table"), Table)
    table = Table(MASS)
    assert randomizer_for("transfer_cube", table) is table
    for wrong in ("tabel", 3):
        with pytest.raises(InputError, match="nominal"):
            randomizer_for("transfer_cube", wrong)
