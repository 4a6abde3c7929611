"""Identification: its parts obey their laws, and the whole finds the servos that made a log."""

import json
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from benchmarks import held_out
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from regrasp.errors import InputError
from regrasp.sim2real import Log, replay, with_params
from regrasp.sim2real.identify import IdentifyConfig, identify_logs
from regrasp.sim2real.identify.choose import TRUNK, climb
from regrasp.sim2real.identify.fit import Unknowns
from regrasp.sim2real.identify.hollows import Effort, hollows_of
from regrasp.sim2real.identify.pieces import cut, folds, session_of
from regrasp.sim2real.identify.quick import (
    costs_of,
    errors_of,
    loads_of,
    slopes_of,
    traces_of,
)
from regrasp.sim2real.identify.refine import OUTLIER, Linear, Noise, errors_at, huber, noise_of
from regrasp.sim2real.identify.sample import Walk, ends_of, posterior_of
from regrasp.sim2real.identify.search import Search, minimise
from regrasp.sim2real.identify.settle import whole_loads
from regrasp.sim2real.identify.terms import LADDER, PLAIN, PRIOR_SD, RIGID, TERMS
from regrasp.sim2real.identify.uncertainty import gains_of, information, uncertainty_of

QUICK = IdentifyConfig(choose=False, shared=False, rung="plain", iterations=1, rounds=1, threads=1)


@given(name=st.sampled_from(sorted(TERMS)), z=st.floats(0, 1))
def test_a_term_and_its_place_are_inverse(arm, name, z):
    servo = arm.joints[1].servo
    value = float(TERMS[name].value(z, servo))
    low, high = TERMS[name].range(servo)
    assert low - 1e-12 <= value <= high + 1e-12
    np.testing.assert_allclose(TERMS[name].place(value, servo), z, atol=1e-9)


def test_every_rung_is_made_of_terms():
    for names in LADDER.values():
        assert set(names) <= set(TERMS)
        assert not set(names) & set(PLAIN)


@settings(max_examples=20, deadline=None)
@given(seconds=st.floats(5, 40), piece=st.floats(3, 12), total=st.floats(5, 100))
def test_pieces_are_stretches_of_their_recordings(arm, seconds, piece, total):
    t = np.arange(0, seconds, 0.02)
    cmd, q = (0.5 + 0.4 * np.sin(t - late)[:, None] * np.ones(6) for late in (0, 0.1))
    log = Log("wave", arm.joint_names, t, cmd, q)
    for one in cut([log], piece, total):
        assert one.duration_s <= max(1.5 * piece, 1) + 0.05
        begin = int(np.searchsorted(log.t, one.t[0]))
        np.testing.assert_array_equal(one.q, log.q[begin : begin + len(one.t)])


def test_of_many_recordings_pieces_are_shorter_and_lie_at_different_places(arm):
    t = np.arange(0, 40, 0.02)
    # Still all the time but for a twitch: pieces begin where they should.
    q = 0.5 + 0.01 * (np.arange(len(t)) % 2)[:, None] * np.ones(6)
    logs = [Log(f"m{i}", arm.joint_names, t, q, q) for i in range(20)]
    few, many = cut(logs[:5], 12.0, 200.0), cut(logs, 12.0, 200.0)
    assert sum(p.duration_s for p in few) == pytest.approx(200, rel=0.15)
    assert sum(p.duration_s for p in many) == pytest.approx(200, rel=0.15)
    begins = np.sort([p.t[0] for p in many])
    assert begins[0] < 5
    assert begins[-1] > 25
    assert np.diff(begins).max() < 8
    # Forty pieces of 5 s are all there is time for: some recordings are left out, from everywhere.
    crowd = [Log(f"m{i}", arm.joint_names, t, q, q) for i in range(100)]
    chosen = [int(p.name[1:]) for p in cut(crowd, 12.0, 200.0)]
    assert len(chosen) == 40
    assert {chosen[0], chosen[-1]} == {0, 99}
    assert np.diff(chosen).max() <= 3


def test_held_out_motions_are_of_other_days_and_never_fitted(make_log):
    logs = [
        make_log(name=f"m{i}", source=f"x.npz#m{i}__2026-01-{day}_a")
        for i in range(7)
        for day in (21, 22)
    ]
    seen = set()
    for train, held in folds(logs, 3):
        names = [
            {log.name for log, m in zip(logs, mask, strict=True) if m} for mask in (train, held)
        ]
        days = [
            {session_of(x) for x, m in zip(logs, mask, strict=True) if m} for mask in (train, held)
        ]
        assert not names[0] & names[1]
        assert not days[0] & days[1]
        seen |= names[1]
    assert seen == {log.name for log in logs}


def test_days_with_many_recordings_are_held_out_before_a_day_with_one(make_log):
    days = {"2026-01-21": 1, "2026-01-22": 6, "2026-01-23": 5}
    logs = [
        make_log(name=f"m{i}", source=f"x.npz#m{i}__{day}_a")
        for day, count in days.items()
        for i in range(count)
    ]
    held = [
        {session_of(log) for log, mine in zip(logs, mask, strict=True) if mine}
        for _, mask in folds(logs, 2)
    ]
    assert held == [{"2026-01-22"}, {"2026-01-23"}]


@pytest.mark.parametrize(("motions", "count"), [(3, 1), (1, 3)])
def test_what_was_fitted_is_not_judged_as_held_out(make_log, motions, count):
    logs = [make_log(name=f"m{i}", source=f"folder/m{i}") for i in range(motions)]
    with pytest.raises(InputError, match="leave no motion that is not fitted"):
        held_out.judged(held_out.HeldOut((), folds=count), logs)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99))
def test_the_search_finds_the_bottom_of_a_bent_valley(seed):
    rng = np.random.default_rng(seed)
    bottom = rng.uniform(0.2, 0.8, 4)
    mix = np.linalg.qr(rng.normal(size=(4, 4)))[0] * np.array([1, 3, 10, 30])

    def cost(z):
        return (((z - bottom) @ mix) ** 2).sum(axis=1)

    found = minimise(cost, np.full(4, 0.5), Search(120), seed=seed)
    np.testing.assert_allclose(found, bottom, atol=0.01)


def _linear(unknowns, rng, noise_sd, truth):
    """A made-up linear fit with independent noise, solved with its prior."""
    t = np.arange(0, 8, 0.02)
    logs, errors, jacobians = [], [], []
    for k in range(2):
        jacobian = np.zeros((len(t), 6, len(truth)))
        for j, block in enumerate(unknowns.blocks):
            jacobian[:, j, block] = 0.05 * rng.normal(size=(len(t), block.stop - block.start))
        cmd = 0.5 + 0.1 * np.sin(t)[:, None] * np.ones(6)
        logs.append(Log(f"m{k}", unknowns.arm.joint_names, t, cmd, np.roll(cmd, 3, axis=0)))
        jacobians.append(jacobian)
        errors.append(jacobian @ (-truth) + noise_sd * rng.normal(size=(len(t), 6)))
    mean, sd = unknowns.prior
    hessian = (
        np.diag(1 / sd**2) + sum(np.einsum("tjk,tjl->kl", a, a) for a in jacobians) / noise_sd**2
    )
    pull = (
        mean / sd**2
        - sum(np.einsum("tj,tjk->k", e, a) for e, a in zip(errors, jacobians, strict=True))
        / noise_sd**2
    )
    x = np.linalg.solve(hessian, pull)
    moved = [e + a @ x for e, a in zip(errors, jacobians, strict=True)]
    return Linear(x, moved, jacobians), logs


def test_intervals_of_a_linear_fit_cover_what_they_should(arm):
    unknowns = Unknowns(arm, tuple(PLAIN for _ in arm.joints))
    inside = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        truth = rng.uniform(0.2, 0.8, len(unknowns.labels))
        linear, logs = _linear(unknowns, rng, 0.05, truth)
        sure = uncertainty_of(unknowns, linear, noise_of(linear.error, logs), logs)
        inside.append((sure.low <= truth) & (truth <= sure.high))
    assert 0.9 <= np.mean(inside) <= 0.995


def test_errors_that_are_alike_for_long_count_for_less(make_log):
    rng = np.random.default_rng(0)
    logs = [make_log(seconds=20.0)]
    white = [rng.normal(0, 0.01, logs[0].q.shape)]
    alike = [np.repeat(white[0][::50], 50, axis=0)[: len(white[0])]]
    assert noise_of(white, logs).inflation.max() < 4
    assert noise_of(alike, logs).inflation.min() > 20


def test_a_recording_that_moves_a_joint_adds_more_than_one_that_does_not(arm):
    unknowns = Unknowns(arm, tuple(PLAIN for _ in arm.joints))
    rng = np.random.default_rng(1)
    linear, logs = _linear(unknowns, rng, 0.05, np.full(len(unknowns.labels), 0.5))
    noise = Noise(np.full(6, 0.05), np.ones(6))
    weak = Linear(linear.x, linear.error, [linear.jacobian[0], 0.1 * linear.jacobian[1]])
    gains = gains_of(unknowns, 0.1 * information(unknowns, linear, noise), weak, noise, logs)
    assert [gain.name for gain in gains] == ["m0", "m1"]
    assert gains[0].d_optimal > gains[1].d_optimal > 0
    assert gains[0].a_optimal > gains[1].a_optimal > 0


@pytest.fixture(scope="module")
def servos():
    return {
        "kp": 15.0,
        "damping": 0.9,
        "armature": 0.02,
        "frictionloss": 0.2,
        "latency_s": 0.02,
        "creep": RIGID,
    }


@pytest.fixture(scope="module")
def recorded(arm, servos):
    """Logs of an arm whose servos are known."""
    model = arm.with_servos(dict.fromkeys(arm.joint_names, servos))
    plans = []
    for k in range(2):
        t = np.arange(0, 4, 0.0201)
        rate = 1.5 + 0.5 * np.arange(6) + k
        wave = np.array([0.3, 0.3, 0.3, 0.3, 0.3, 0.15]) * np.sin(rate * t[:, None])
        cmd = wave + np.array([0, 0.2, 0.3, 0, 0, 0.5])
        plans.append(Log(f"wave {k}", arm.joint_names, t, cmd, np.tile(cmd[0], (len(t), 1))))
    return [replace(p, q=q) for p, q in zip(plans, replay(plans, model), strict=True)]


def test_a_joint_on_its_own_moves_like_the_whole_arm(arm, servos, recorded):
    loads = loads_of(recorded, arm)
    names = tuple(PLAIN)
    for j in (1, 4):
        servo = arm.joints[j].servo
        z = [TERMS[n].place(servos.get(n, 0.0), servo) for n in names]
        right = errors_of(arm, j, names, np.array([z]), loads)[0]
        softer = errors_of(arm, j, names, np.array([[z[0] - 0.2, *z[1:]]]), loads)[0]
        assert right.max() < 4e-3
        assert right.max() < 0.5 * softer.min()


@pytest.fixture(scope="module")
def whole(arm, servos, recorded):
    """Unknowns, the place of the true servos, and loads of single joints in the arm's own simulation."""
    unknowns = Unknowns(arm, tuple(PLAIN for _ in arm.joints))
    z = [TERMS[n].place(servos.get(n, 0.0), joint.servo) for joint in arm.joints for n in PLAIN]
    x = np.array(z)
    errors = errors_at(unknowns, [x], recorded, 1)[0]
    return unknowns, x, errors, whole_loads(unknowns, x, errors, recorded, 1)


def test_under_the_loads_of_a_simulation_a_joint_moves_as_in_it(arm, whole):
    unknowns, x, errors, loads = whole
    alone = replace(loads, beside=np.zeros(loads.beside.shape))
    for j, block in enumerate(unknowns.blocks):
        for these, most in ((alone, 1e-3), (loads, 1e-5)):
            found = traces_of(arm, j, PLAIN, x[None, block], these)[0]
            for i, error in enumerate(errors):
                np.testing.assert_allclose(found[: len(error), i], error[:, j], atol=most)


def test_costs_and_slopes_are_those_of_the_traces(arm, whole):
    _, _, _, loads = whole
    rng, sigma, terms = np.random.default_rng(0), 3e-3, len(PLAIN)
    # Seven groups: more than one call, and not a power of two.
    groups = rng.uniform(0.2, 0.8, (7, 1 + terms, terms))
    r = traces_of(arm, 2, PLAIN, groups.reshape(-1, terms), loads).astype(float) / sigma
    costs = costs_of(arm, 2, PLAIN, groups.reshape(-1, terms), loads, sigma)
    np.testing.assert_allclose(costs, huber(r).sum(axis=(1, 2)), rtol=1e-5)
    gradient, hessian = slopes_of(arm, 2, PLAIN, groups, loads, sigma)
    r = r.reshape(*groups.shape[:2], -1)
    first, slope = r[:, 0], r[:, 1:] - r[:, :1]
    bent = slope * np.minimum(1, OUTLIER / np.maximum(np.abs(first), 1e-12))[:, None]
    expected = np.einsum("gis,gs->gi", bent, first)
    np.testing.assert_allclose(gradient, expected, atol=1e-5 * np.abs(expected).max())
    expected = np.einsum("gis,gjs->gij", bent, slope)
    np.testing.assert_allclose(hessian, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("joint", [1, 4])
def test_a_search_ends_at_the_bottom_and_a_walk_stays_about_it(arm, whole, joint):
    unknowns, x, _, loads = whole
    block = unknowns.blocks[joint]
    # Away from the truth, but not told where it is.
    rng = np.random.default_rng(joint)
    shape = (*loads.q.shape[:2], 1)
    noisy = replace(loads, q=loads.q + 1e-3 * rng.normal(size=shape) * loads.weight[..., None])
    found = hollows_of(arm, joint, PLAIN, noisy, np.full((1, 6), 0.5), Effort(draws=256, hops=4))
    rms = np.sqrt((traces_of(arm, joint, PLAIN, found.z[:1], noisy)[0] ** 2).sum())
    true = np.sqrt((traces_of(arm, joint, PLAIN, x[None, block], noisy)[0] ** 2).sum())
    assert rms < 1.005 * true
    assert (np.diff(found.cost) >= 0).all()
    walked = posterior_of(
        arm, joint, PLAIN, noisy, found.z, sigma=1e-3, inflation=1.0, how=Walk(steps=120)
    )
    low, high = ends_of([walked], 0.999)
    assert ((low - 0.01 <= x[block]) & (x[block] <= high + 0.01)).all()
    # Latency and offset are always seen; how large a joint's figures all are only against gravity.
    assert (high - low)[4:].max() < 0.15
    if joint == 1:
        assert (high - low).max() < 0.15


def test_recordings_that_say_nothing_leave_the_prior(arm, whole):
    loads = whole[3]
    walked = posterior_of(
        arm, 0, PLAIN, loads, np.full((4, 6), 0.5), sigma=1.0, inflation=1e9, how=Walk(steps=600)
    )
    prior = stats.truncnorm(-0.5 / PRIOR_SD, 0.5 / PRIOR_SD, 0.5, PRIOR_SD)
    for end, share in zip(ends_of([walked], 0.95), (0.025, 0.975), strict=True):
        np.testing.assert_allclose(end, prior.ppf(share), atol=0.05)


@pytest.mark.parametrize(("needed", "chosen"), [("plain", "plain"), ("backlash", "backlash")])
def test_the_smallest_set_that_is_as_good_is_chosen_and_clearly_worse_ones_drop_out(
    arm, needed, chosen
):
    """Sets that hold what is needed leave an error of 1 mrad, the others one of 2."""
    rng, asked = np.random.default_rng(0), []
    folds_ = [(np.arange(30) % 3 != k, np.arange(30) % 3 == k) for k in range(3)]

    def once(key, compute):
        asked.append(tuple(key.split("/", 2)[1:]))
        rung = asked[-1][1]
        level = 1e-3 if set(LADDER[needed]) <= set(LADDER[rung]) else 2e-3
        size = len(PLAIN) + len(LADDER[rung])
        return [[0.5] * size, (level + 1e-4 * rng.normal(size=30)).tolist()]

    unread: Any = None
    found, rungs = climb(arm, 0, unread, folds_, once)
    assert found == chosen
    tried = {k: {rung for fold, rung in asked if fold == str(k)} for k in range(3)}
    assert tried[0] == set(LADDER) == {r.name for r in rungs}
    assert tried[2] == (set(LADDER) if needed == "plain" else {*TRUNK, "backlash"})
    by_name = {r.name: r for r in rungs}
    assert by_name[chosen].above_rad <= by_name[chosen].standard_error_rad
    if needed == "backlash":
        assert by_name["dead band"].above_rad == pytest.approx(1e-3, abs=2e-4)


def test_known_servos_are_found_and_a_run_goes_on_where_it_stopped(
    arm, servos, recorded, tmp_path, monkeypatch
):
    kept = tmp_path / "p.partial.json"
    recorded = [replace(log, source=f"/home/me/monday/{log.name}") for log in recorded]
    found = identify_logs(recorded, arm, QUICK, recorded[:2], kept=kept)
    by_name = {(f.of, f.name): f for f in found.figures}
    for joint in ("shoulder_lift", "elbow_flex"):
        assert by_name[joint, "kp"].value == pytest.approx(servos["kp"], rel=0.2)
        assert by_name[joint, "latency_s"].value == pytest.approx(servos["latency_s"], abs=0.01)
    assert max(list(found.rmse_rad.values())[:5]) < 3e-3
    assert all(f.low <= f.value <= f.high for f in found.figures)
    assert min(found.condition.values()) >= 1
    assert len(found.next) == 2
    path = tmp_path / "p.json"
    # The file names recordings without where they lie.
    assert found.params["fit"]["recordings"] == sorted(f"{log.name} (monday)" for log in recorded)
    path.write_text(json.dumps(found.params))
    errors = replay(recorded, with_params(arm, path))
    assert np.abs(errors[0] - recorded[0].q)[:, :5].mean() < 3e-3

    def never(*_, **__):
        raise AssertionError("computed again")

    run = sys.modules["regrasp.sim2real.identify.run"]
    monkeypatch.setattr(run.choose, "fitted", never)
    monkeypatch.setattr(run, "settle", never)
    again = identify_logs(recorded, arm, QUICK, recorded[:2], kept=kept)
    assert again.params == found.params


def test_refusals():
    with pytest.raises(InputError, match="unknown rung 'best'"):
        IdentifyConfig(rung="best")
    with pytest.raises(InputError, match="folds 0"):
        IdentifyConfig(folds=0)
