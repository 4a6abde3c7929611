"""Recordings cut into pieces that start where the arm is as good as still."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from regrasp.errors import InputError
from regrasp.sim2real.log import Log

SHORTEST_S = 5.0
"""Of pieces of long recordings."""
GOLDEN = (5**0.5 - 1) / 2
"""Multiples of this, whole turns taken off, are spread evenly however many there are."""
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def session_of(log: Log) -> str:
    """The day of a recording where its source says so, else the folder it lies in."""
    day = DAY.search(log.source)
    return day.group() if day else log.source.rpartition("/")[0]


def session_name(log: Log) -> str:
    """What a session is called in text: the same day or folder, without where that lies."""
    return session_of(log).rpartition("/")[2]


def cut(logs: Sequence[Log], piece_s: float, total_s: float) -> list[Log]:
    """Pieces of up to `piece_s`, spread evenly over the recordings, together about `total_s` long.

    A piece starts at the stillest sample near where it should, for a simulation starts at rest. It
    keeps its recording's name and source. Recordings that are short enough stay whole. Of many recordings
    pieces are shorter, down to `SHORTEST_S`, and lie in each at another place; of still more, only some are
    cut, evenly chosen.
    """
    most = max(1, int(total_s / SHORTEST_S))
    if len(logs) > most:
        logs = [logs[i] for i in np.linspace(0, len(logs) - 1, most).round().astype(int)]
    share = total_s / max(len(logs), 1)
    pieces = []
    for i, log in enumerate(logs):
        length = min(piece_s, max(share, SHORTEST_S), log.duration_s)
        count = max(1, round(min(share, log.duration_s) / length))
        if log.duration_s <= 1.5 * length and count == 1:
            pieces.append(log)
            continue
        places = np.linspace(0, 1, count) if count > 1 else np.array([i * GOLDEN % 1])
        starts = places * (log.duration_s - length)
        for start in starts:
            pieces += _piece(log, float(start), length)
    return pieces


def _piece(log: Log, start_s: float, length_s: float) -> list[Log]:
    t = log.t - log.t[0]
    near = np.flatnonzero((t >= start_s - 0.1 * length_s) & (t <= start_s + 0.1 * length_s))
    if start_s == 0:
        first = 0
    else:
        speed = np.abs(np.gradient(log.q[:, :-1], t, axis=0)).max(axis=1)
        smooth = np.convolve(speed, np.ones(5) / 5, "same")
        first = int(near[np.argmin(smooth[near])])
    last = int(np.searchsorted(t, t[first] + length_s))
    try:
        return [log.stretch(slice(first, last))]
    except InputError:
        # A stretch without motion teaches little and is no log.
        return []


def folds(logs: Sequence[Log], count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Masks (train, held out): held-out motions are never fitted, on another day where there is one.

    Each motion is held out on one session; what trains are other motions on other sessions. Where too few
    recordings are left so, motions are held out on all sessions, and train on all.
    Sessions take turns, those with most recordings first.
    """
    names = sorted({log.name for log in logs})
    sessions = [name for name, _ in Counter(sorted(map(session_of, logs))).most_common()]
    count = min(count, len(names))
    order = np.random.default_rng(0).permutation(len(names))
    found = []
    for k in range(count):
        held_names = {names[i] for i in order[k::count]}
        motion = np.array([log.name in held_names for log in logs])
        day = np.array([session_of(log) == sessions[k % len(sessions)] for log in logs])
        held, train = motion & day, ~motion & ~day
        if not held.any() or train.sum() < 2:
            held, train = motion, ~motion
        if held.any() and train.any():
            found.append((train, held))
    if not found:
        everything = np.ones(len(logs), bool)
        found = [(everything, everything)]
    return found
