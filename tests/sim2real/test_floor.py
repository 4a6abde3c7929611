"""The repeat floor is the median over comparable pairs, divided by sqrt(2)."""

import numpy as np
import pytest

from regrasp.sim2real import repeat_floor


def test_one_pair_by_hand(make_log):
    log = make_log()
    floor = repeat_floor([log, make_log(q=log.q + 0.01)])
    assert (floor.pairs, floor.left_out) == (1, 0)
    np.testing.assert_allclose(floor.pair_rmse, 0.01)
    np.testing.assert_allclose(floor.single_rmse, 0.01 / np.sqrt(2))


def test_independent_noise_of_one_run_is_found(make_log):
    log, rng = make_log(40.0), np.random.default_rng(0)
    runs = [make_log(40.0, q=log.q + 0.01 * rng.normal(size=log.q.shape)) for _ in range(5)]
    floor = repeat_floor(runs)
    assert floor.pairs == 10
    np.testing.assert_allclose(floor.single_rmse, 0.01, rtol=0.05)


def test_the_median_is_over_pairs(make_log):
    log = make_log()
    runs = [make_log(q=log.q + shift) for shift in (0.0, 0.01, 0.03)]
    np.testing.assert_allclose(repeat_floor(runs).pair_rmse, np.median([0.01, 0.02, 0.03]))


def test_a_longer_edit_is_cut_to_the_common_part(make_log):
    short, long = make_log(2.0), make_log(4.0)
    q = long.q.copy()
    q[:100] += 0.01
    q[100:] += 0.1
    floor = repeat_floor([short, make_log(4.0, q=q)])
    np.testing.assert_allclose(floor.pair_rmse, 0.01)


def test_other_commands_times_and_motions_are_no_repeats(make_log):
    log = make_log()
    q = log.q + 0.01
    assert repeat_floor([log, make_log(q=q, cmd=log.cmd + 0.0009)]).pairs == 1
    other_command = repeat_floor([log, make_log(q=q, cmd=log.cmd + 0.0011)])
    assert (other_command.pairs, other_command.left_out) == (0, 1)
    slower = repeat_floor([log, make_log(q=q, t=log.t * 1.1)])
    assert (slower.pairs, slower.left_out) == (0, 1)
    other_motion = repeat_floor([log, make_log(q=q, name="other")])
    assert (other_motion.pairs, other_motion.left_out) == (0, 0)
    assert np.isnan(other_motion.single_rmse).all()


def test_a_copy_is_not_a_repeat(make_log):
    log = make_log()
    copy = make_log(q=log.q.astype(np.float32).astype(float))
    assert repeat_floor([log, copy, make_log(q=log.q + 0.01)]).pairs == 2
    assert repeat_floor([log, copy]).pairs == 0


def test_recordings_have_the_published_floor(data, arm):
    from regrasp.sim2real import read_logs

    logs = read_logs([data / "sage_so101", data / "sage_so101_repeats.npz"], arm)
    floor = repeat_floor(logs)
    published = [0.0038, 0.0052, 0.0127, 0.0041, 0.0051, 0.0011]
    assert floor.pairs > 50
    assert floor.left_out == pytest.approx(0.25 * (floor.pairs + floor.left_out), abs=5)
    np.testing.assert_allclose(floor.pair_rmse, published, rtol=0.2)
