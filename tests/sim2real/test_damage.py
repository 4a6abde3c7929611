"""Damaged and hostile recordings are read or refused by name, whatever is wrong with them."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from benchmarks.fuzz import Fuzz, Seed, attempt, changed, load_seeds, outcome, put, results
from benchmarks.recordings import write_all
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regrasp.sim2real.readers import READERS
from regrasp.sim2real.units import ReadConfig


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> dict[str, list[Seed]]:
    folder = tmp_path_factory.mktemp("sound")
    write_all(folder)
    return load_seeds(folder)


@pytest.mark.parametrize("reader", READERS)
def test_sound_recordings_are_read(seeds, tmp_path, reader):
    for seed in seeds[reader]:
        assert (
            outcome(put(tmp_path / seed.name, seed.name, seed.files, set()), reader, seed) == "read"
        )


@pytest.mark.parametrize("reader", READERS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(number=st.integers(0, 2**32))
def test_damage_is_refused_or_does_no_harm(seeds, reader, number):
    rng = np.random.default_rng(number)
    seed = seeds[reader][number % len(seeds[reader])]
    files, links = changed(seed.files, rng)
    with tempfile.TemporaryDirectory() as folder:
        found = outcome(put(Path(folder), seed.name, files, links), reader, seed)
    assert found in ("read", "refused")


class _Broken:
    """A reader with every fault that is looked for."""

    def __init__(self, fault):
        self.accepts, self.fault = lambda path: True, fault

    def read(self, path, arm, config):
        return self.fault()


def _ends():
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def _waits():
    import time

    time.sleep(30)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(_ends, "crash"), (_waits, "hang"), (lambda: [1 / 0], "crash"), (list, "refused")],
)
def test_faults_are_counted_as_what_they_are(monkeypatch, fault, kind):
    monkeypatch.setitem(READERS, "SAGE folder", _Broken(fault))
    seed = Seed("x", {"a.txt": b"1,2,3"}, ReadConfig())
    found = attempt(Fuzz(inputs=2, limit_s=1), "SAGE folder", [seed], lambda done, faults: None)
    counts = {
        result.metric.rpartition("_")[2]: result.value for result in results("SAGE folder", found)
    }
    assert counts.pop(kind) == 2
    assert not any(counts.values())
