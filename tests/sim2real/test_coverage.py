"""Coverage: exact where the truth is one more draw, and right about what is known to be wrong."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrasp.errors import InputError
from regrasp.randomization import LogNormal, Row, Table, joint_field
from regrasp.sim2real import Log
from regrasp.sim2real.coverage import BIASED, NARROW, RIGHT, UNKNOWN, WIDE, judge, standardised
from regrasp.sim2real.ensemble import draw_ensemble
from regrasp.sim2real.fit import FitConfig, changed, fit_table
from regrasp.sim2real.log import stretch
from regrasp.sim2real.measure_coverage import CoverageConfig, coverage_of

FAST = settings(max_examples=30, deadline=None, derandomize=True)


def _pool(seed, spread=1.0, shift=0.0, episodes=40, members=12):
    """Traits of two joints; the real ones are candidate 0."""
    rng = np.random.default_rng(seed)
    # Episodes differ in where their traits lie and how far they scatter.
    middle, scale = rng.normal(size=(episodes, 2, 4)), rng.uniform(0.5, 2, (episodes, 2, 4))
    noise = rng.normal(size=(members + 1, episodes, 2, 4))
    noise[0] = shift + spread * noise[0]
    return middle + scale * noise


TRUTHS = {WIDE: (0.4, 0.0), RIGHT: (1.0, 0.0), NARROW: (2.5, 0.0), BIASED: (1.0, 1.2)}


@pytest.mark.parametrize("expected", TRUTHS)
def test_verdicts_are_right(expected):
    spread, shift = TRUTHS[expected]
    found = [one for seed in range(10) for one in judge(_pool(seed, spread, shift), draws=1500)]
    assert sum(one.verdict == expected for one in found) >= 19


def test_p_values_are_uniform_if_the_truth_is_one_more_draw():
    found = [one for seed in range(60) for one in judge(_pool(seed, episodes=12), draws=200)]
    for name in ("p_bias", "p_narrow", "p_wide"):
        p = np.array([getattr(one, name) for one in found])
        assert 0.4 < p.mean() < 0.6
        assert (p < 0.1).mean() < 0.2


@FAST
@given(st.integers(0, 99), st.floats(0.01, 100), st.floats(-50, 50))
def test_verdicts_do_not_depend_on_units(seed, scale, offset):
    pool = _pool(seed, episodes=8)
    one, other = judge(pool, draws=50), judge(scale * pool + offset, draws=50)
    assert [x.verdict for x in one] == [x.verdict for x in other]
    assert one[0].shift == pytest.approx(other[0].shift, rel=1e-3, abs=1e-4)


@FAST
@given(st.integers(0, 99))
def test_every_candidate_is_treated_alike(seed):
    pool = _pool(seed, episodes=3, members=6)
    order = np.random.default_rng(seed).permutation(7)
    np.testing.assert_allclose(standardised(pool)[order], standardised(pool[order]), atol=1e-9)
    rest = np.delete(pool, 2, axis=0)
    expected = (pool[2] - rest.mean(axis=0)) / rest.std(axis=0, ddof=1)
    np.testing.assert_allclose(standardised(pool)[2], expected, rtol=1e-6)


def test_what_no_episode_shows_is_unknown():
    pool = _pool(0)
    pool[:, :, 1] = np.nan
    pool[:, 4:, 0, 1:] = np.nan
    first, second = judge(pool, draws=100)
    assert second.verdict == UNKNOWN
    assert np.isnan(second.p_bias)
    assert first.trait == "moving"
    with pytest.raises(InputError, match="choose at least 3"):
        judge(pool[:3])


def _table(arm, median, sigma):
    return Table(
        *(
            Row(joint_field(name, joint, arm), LogNormal(m, sigma), "known")
            for joint in arm.joint_names
            for name, m in median.items()
        )
    )


KNOWN = {"servo stiffness": 0.7, "servo damping": 1.3, "joint friction": 2.0}
"""Medians of the arms that the logs are of."""


@pytest.fixture(scope="module")
def known(arm):
    """Logs of arms drawn from a known table: soft, rough ones."""
    truth = _table(arm, KNOWN, 0.15)
    logs = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        t = np.arange(0, 4, 0.02)
        knots = rng.uniform(0.1, 0.9, (6, 6))
        cmd = np.stack(
            [
                np.interp(t, [0, 0.8, 1.4, 2.2, 2.8, 4.0], knots[j, [0, 1, 1, 2, 2, 3]])
                for j in range(6)
            ],
            axis=1,
        )
        logs.append(Log(f"known {seed}", arm.joint_names, t, cmd, np.repeat(cmd[:1], len(t), 0)))
    real = draw_ensemble(logs, arm, truth, 1, seed=7, timestep_s=0.004)
    return truth, [
        Log(log.name, log.joints, log.t, log.cmd, q[0])
        for log, q in zip(logs, real.positions, strict=True)
    ]


def test_coverage_of_recordings_is_plain_and_tells_the_truth_from_another_table(known, arm):
    truth, logs = known
    right = coverage_of(logs, arm, truth, "the truth", members=8)
    wrong = coverage_of(logs, arm, _table(arm, {"servo stiffness": 1.5}, 0.02), "wrong", members=8)
    document = json.loads(json.dumps(right.to_json(), allow_nan=False))
    assert set(document["joints"]) == set(arm.joint_names)
    assert document["envelope_expected"] == 7 / 9
    for name, joint in right.joints.items():
        assert joint.crps < wrong.joints[name].crps
        assert sum(joint.ranks) == pytest.approx(1)
        assert joint.band_share > wrong.joints[name].band_share
    assert right.energy_score < right.energy_nominal
    assert right.log_likelihood > wrong.log_likelihood
    assert all(joint.verdict.verdict == "biased" for joint in wrong.joints.values())
    assert sum(joint.verdict.verdict == "right" for joint in right.joints.values()) >= 5


def test_a_fit_finds_where_the_figures_are_and_beats_the_nominal_model(known, arm, tmp_path):
    _, logs = known
    config = FitConfig(members=10, rounds=3, widenings=1, seconds=4, sigma=0.4, friction=1.0)
    fit = fit_table(logs, arm, config)
    lift = {name: fit.figures[f"shoulder_lift {name}"] for name in KNOWN}
    assert 0.6 < lift["servo stiffness"].median < 0.9
    assert lift["servo damping"].median > 1
    # Soft servos on quick motions say little of friction, and the fit knows that it does not know.
    for name, true in KNOWN.items():
        assert abs(np.log(true / lift[name].median)) < 2 * lift[name].sigma
    assert fit.log_likelihood[-2] > fit.log_likelihood[0]
    found = coverage_of(logs, arm, fit.table(arm), "fit", members=8)
    assert all(joint.crps < joint.crps_nominal for joint in found.joints.values())
    fit.write(tmp_path / "fit.json", arm)
    from regrasp.randomization import read_table

    base, table = read_table(tmp_path / "fit.json", arm)
    assert base == arm
    assert table.to_json() == fit.table(arm).to_json()


@pytest.mark.parametrize("changes", [{"members": 5}, {"members": 2}, {"seed": -1}])
def test_too_few_members_to_fit_to_are_refused(changes: dict[str, int]):
    value = " ".join(f"{name} {number}" for name, number in changes.items())
    with pytest.raises(InputError, match=value):
        FitConfig(**changes)
    if "seed" in changes:
        with pytest.raises(InputError, match=value):
            CoverageConfig(**changes)


@pytest.mark.parametrize("seed", range(5))
def test_a_stretch_is_a_part_of_its_log(known, seed: int):
    log = known[1][0]
    part = stretch(log, 1.0, np.random.default_rng(seed))
    # Where nothing moves it is made longer.
    assert min(abs(part.duration_s - length) for length in (1, 2, 4)) < 1.5 * log.period_s
    places = [i for i in range(len(log.t)) if np.array_equal(log.q[i : i + len(part.t)], part.q)]
    assert len(places) >= 1
    assert np.ptp(part.cmd, axis=0).max() > 0
    whole = stretch(log, 10 * log.duration_s, np.random.default_rng(seed))
    np.testing.assert_array_equal(whole.q, log.q)


def test_a_base_is_named_by_what_differs(arm):
    other = arm.with_servos({"elbow_flex": {"kp": 30.0}})
    assert changed(arm, other) == {"elbow_flex": {"kp": 30.0}}
    assert changed(arm, arm) == {}
    body = arm.spec().bodies[2].name
    with pytest.raises(InputError, match=f"correct the masses of {body}.*--no-shared"):
        changed(arm, other.with_links({body: {"log_mass": 0.1}}))
