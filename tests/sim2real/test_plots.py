"""Drawings are files of the right kind, the same each time, with every joint in them."""

import numpy as np
import pytest

from regrasp.sim2real import gap_of, plots


def test_a_replay_is_drawn(make_log):
    log = make_log(8.0)
    svg = plots.draw_replay(log, log.q, seconds=2.0)
    assert svg == plots.draw_replay(log, log.q, seconds=2.0)
    for words in (b"shoulder lift", b"gripper", b"simulation", b"opening (0..1)"):
        assert words in svg
    assert plots.draw_replay(log, log.q, form="png").startswith(b"\x89PNG")


@pytest.mark.parametrize("repeated", [False, True])
def test_a_gap_is_drawn_with_and_without_a_floor(make_log, arm, repeated):
    log = make_log(3.0)
    gap = gap_of([log], arm, repeats=[make_log(3.0, q=log.q + 0.01)] if repeated else [])
    svg = plots.draw_gap(gap)
    assert b"RMSE (rad)" in svg
    assert (b"own noise" in svg) == repeated
    assert b"nan" not in svg


def test_the_liveliest_stretch_is_found(make_log):
    log = make_log(8.0)
    cmd = log.cmd.copy()
    cmd[:200], cmd[300:] = cmd[200], cmd[299]
    rows = plots.lively(make_log(8.0, cmd=cmd), 2.0)
    assert abs(rows.start - 200) <= 2
    assert rows.stop - rows.start == 101
    assert plots.lively(log, 99.0) == slice(0, len(log.t))
    assert np.ptp(log.t[rows]) == pytest.approx(2.0)
