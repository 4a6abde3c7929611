"""A table samples what it prints, row by row."""

import json

import jax
import numpy as np
import pytest

from regrasp.envs import TASKS, Draw, Nominal, Settings
from regrasp.errors import InputError
from regrasp.randomization import (
    TABLES,
    Constant,
    Row,
    Table,
    Uniform,
    angle_noise,
    backlash,
    body_mass,
    command_drop,
    command_jitter,
    command_latency,
    gravity_tilt,
    object_size,
    observation_latency,
    position_noise,
    push_rate,
    randomizer_for,
    servo_stiffness,
    slide_friction,
)

SAMPLES = 10_000
LATENCY = Row(command_latency(), Uniform(0.0, 0.06), "test")
MASS = Row(body_mass("cube"), Uniform(0.5, 2.0), "test")


def numbers_of(draw: Draw, row: Row) -> np.ndarray:
    """All numbers that a row drew."""
    if row.field.setting is None:
        return np.asarray(draw.fields[row.name]).reshape(SAMPLES, -1)
    value = np.asarray(getattr(draw.settings, row.field.setting.name)).reshape(SAMPLES, -1)
    entries = row.field.setting.entries
    return value if entries is None else value[:, entries]


def draws(table: Table):
    return jax.jit(jax.vmap(table.sample))(jax.random.split(jax.random.key(0), SAMPLES))


@pytest.mark.parametrize("task", TABLES)
def test_every_row_samples_the_range_it_prints(task: str):
    table = TABLES[task]()
    draw = draws(table)
    text = str(table)
    for row, plain in zip(table.rows, table.to_json(), strict=True):
        low, high = row.distribution.low, row.distribution.high
        numbers = numbers_of(draw, row)
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
    columns = np.hstack([numbers_of(draw, row) for row in TABLES["transfer_cube"]().rows])
    correlation = np.corrcoef(columns[:, np.ptp(columns, axis=0) > 0], rowvar=False)
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.05


def test_adding_a_row_leaves_the_numbers_of_the_others():
    key = jax.random.key(7)
    alone = Table(MASS).sample(key)
    more = Table(LATENCY, MASS, Row(position_noise(), Constant(0.003), "test")).sample(key)
    np.testing.assert_array_equal(alone.fields["cube mass"], more.fields["cube mass"])
    assert alone.settings == Settings()
    alone = Table(LATENCY).sample(key).settings.command_latency_s
    assert more.settings.command_latency_s == alone > 0


def test_rows_of_one_name_are_refused():
    with pytest.raises(InputError, match="'cube mass' stands in 2 rows"):
        Table(MASS, LATENCY, MASS)


@pytest.mark.parametrize(
    ("field", "low", "high", "message"),
    [
        (command_latency(), -0.1, 0.05, "command latency -0.1 to 0.05: .* 0 to 0.1"),
        (command_latency(), 0.0, 0.2, "command latency 0 to 0.2: .* 0 to 0.1"),
        (observation_latency(), 0.0, 0.2, "observation latency 0 to 0.2: .* 0 to 0.1"),
        (command_jitter(), 0.0, 0.05, "command jitter 0 to 0.05: .* 0 to 0.04"),
        (command_drop(), 0.0, 1.5, "command drop 0 to 1.5: .* 0 to 1"),
        (command_drop(), -0.1, 0.5, "command drop -0.1 to 0.5: .* 0 to 1"),
        (body_mass("cube"), -0.1, 1.0, "cube mass -0.1 to 1: .* 0.01 to 100"),
        (object_size("cube", 0.0), 0.0, 1.0, "cube size 0 to 1: .* 0.2 to 5"),
        (slide_friction("tip", ["tip"]), -0.1, 1.0, "tip friction -0.1 to 1: .* 0 to inf"),
        (servo_stiffness(["left/waist"]), -0.1, 1.0, "servo stiffness -0.1 to 1: .* 0 to 100"),
        (backlash(["left/waist"]), -0.1, 0.1, "backlash -0.1 to 0.1: .* 0 to 0.1"),
        (angle_noise(), -0.1, 0.1, "angle noise -0.1 to 0.1: .* 0 to inf"),
        (push_rate(), 0.0, 51.0, "push rate 0 to 51: .* 0 to 50"),
        (gravity_tilt(), -0.6, 0.6, "gravity tilt -0.6 to 0.6: .* -0.5 to 0.5"),
        (body_mass("cube"), 0.5, np.nan, "is empty"),
    ],
)
def test_what_cannot_be_simulated_is_refused(field, low: float, high: float, message: str):
    with pytest.raises(InputError, match=message):
        Table(Row(field, Uniform(low, high), "test"))


def test_pushes_need_something_to_push():
    with pytest.raises(InputError, match="push rate: no row says what is pushed"):
        Table(Row(push_rate(), Constant(0.1), "test"))


def test_only_arm_joints_have_angles():
    with pytest.raises(InputError, match="unknown arm joint for backlash 'left/left_finger'"):
        backlash(["left/left_finger"])


def test_the_table_of_a_task_on_the_command_line(capsys: pytest.CaptureFixture):
    from regrasp.cli import main

    main(["randomization", "transfer_cube", "--json"])
    assert json.loads(capsys.readouterr().out) == {
        "task": "transfer_cube",
        "rows": TABLES["transfer_cube"]().to_json(),
    }
    main(["randomization", "transfer_cube"])
    lines = capsys.readouterr().out.splitlines()
    starts = [line.index(word) for line, word in zip(lines, ("source", "-" * 9), strict=False)]
    assert lines[0].split() == ["field", "distribution", "unit", "per", "derived", "source"]
    assert len(lines) == 2 + len(TABLES["transfer_cube"]().rows)
    assert all(line[starts[0] - 1] == " " != line[starts[0]] for line in lines[1:])
    with pytest.raises(SystemExit, match="2"):
        main(["randomization", "transfer_cubes"])
    assert "did you mean 'transfer_cube'" in capsys.readouterr().err


def test_the_required_ranges_of_transfer_cube():
    """Mass, friction, stiffness and latency are no narrower than the design asks for."""
    rows = {row.name: row.distribution for row in TABLES["transfer_cube"]().rows}
    for name, low, high in (
        ("cube mass", 0.5, 2.0),
        ("finger tip friction", 0.5, 1.5),
        ("table and cube friction", 0.5, 1.5),
        ("servo stiffness", 0.7, 1.3),
        ("command latency", 0.0, 0.06),
        ("angle noise", 0.005, 0.005),
        ("position noise", 0.003, 0.003),
    ):
        assert (rows[name].low, rows[name].high) == (low, high)


def test_randomize_by_name():
    assert isinstance(randomizer_for("transfer_cube", "nominal"), Nominal)
    assert isinstance(randomizer_for("transfer_cube", "table"), Table)
    table = Table(MASS)
    assert randomizer_for("transfer_cube", table) is table
    for wrong in ("tabel", 3):
        with pytest.raises(InputError, match="nominal"):
            randomizer_for("transfer_cube", wrong)
