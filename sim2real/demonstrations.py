"""Between logs and demonstrations: what a real arm recorded can be cloned, what a simulation did is a log."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from regrasp.assets import ALOHA
from regrasp.envs import Task, load_task
from regrasp.errors import InputError
from regrasp.rl.aloha_write import FILE, AlohaEpisode
from regrasp.rl.aloha_write import write as write_aloha
from regrasp.rl.episodes import Episode, EpisodeWriter, Header, Terms
from regrasp.sim2real.log import Log
from regrasp.sim2real.readers import columns

GIVEN = ("joint_pos", "gripper", "target")
"""Observation terms that every log of two arms gives: measured joints, measured openings and the last
command. What a task sees of its objects is only in logs that say so (`Log.observed`)."""
EVEN = 0.01
"""Stamps this share of a control period off its steps are taken to be on them."""


def to_episodes(logs: Sequence[Log], task: str, path: str | Path, workcell: str = ALOHA) -> Header:
    """Write logs of two arms as demonstrations of a task, to be cloned by `regrasp clone --data`.

    Observations are what the logs measured, resampled to the task's control steps; the last command is
    the previous action, and at first where the arms stand. There are no kept states. Terms that not all
    of the logs give are left out, and the policy cloned from them does without.

    Args:
        logs: episodes, each of both arms; an episode that was kept counts as a success.
        task: the task that they are of.
        path: folder to write.
        workcell: whose arms were recorded.

    Returns:
        The header that was written.

    Raises:
        InputError: there are none, or a log is of other arms.
    """
    found = load_task(task, workcell)
    cell = found.workcell()
    known = {name for name in found.terms if all(name in log.observed for log in logs)}
    terms = {name: found.terms[name] for name in found.terms if name in known.union(GIVEN)}
    header = Header(
        task=task,
        fps=round(1 / found.control_dt_s, 6),
        terms=terms,
        actions=cell.action_names,
        robot=cell.arm.name,
        workcell=workcell,
        meta={
            "recorded": True,
            "sources": [log.source for log in logs],
            "commands": sorted({log.commands for log in logs}),
            "lacks": [name for name in found.terms if name not in terms],
        },
    )
    with EpisodeWriter.to(path, header) as writer:
        for log in logs:
            writer.add(_episode(log, found, terms))
    return header


def to_tables(logs: Sequence[Log], folder: str | Path) -> list[Path]:
    """Write each log as an npz in rad and openings, which every reader of logs knows; returns their paths.

    Two logs of one name are told apart by a number.
    """
    paths: list[Path] = []
    for log in logs:
        name = re.sub(r"[^\w.+-]", "-", log.name) or "log"
        path = Path(folder) / f"{name}.npz"
        number = 1
        while path in paths:
            number += 1
            path = Path(folder) / f"{name}-{number}.npz"
        columns.write(path, log)
        paths.append(path)
    return paths


def to_aloha(logs: Sequence[Log], folder: str | Path) -> list[Path]:
    """Write logs of two arms as an ALOHA's HDF5 files, one each; returns their paths.

    Raises:
        InputError: a log is not of two arms at an even rate, or a file cannot be written.
    """
    paths = []
    for number, log in enumerate(logs):
        steps = np.diff(log.t)
        if log.sides != ("left", "right") or np.ptp(steps) > 0.01 * log.period_s:
            raise InputError(
                f"log {log.name}: an ALOHA's file needs two arms at an even rate; resample it"
            )
        path = Path(folder) / FILE.format(number)
        pictures = {
            name: np.stack([one[i] for i in range(len(one))]) for name, one in log.images.items()
        }
        write_aloha(
            path,
            AlohaEpisode(
                log.q,
                log.cmd,
                log.qd,
                log.period_s,
                log.clock == "simulation",
                pictures,
                log.observed,
            ),
        )
        paths.append(path)
    return paths


def check_arms(log: Log, names: tuple[str, ...]) -> None:
    """Refuse a log that is not of these joints of both arms.

    Raises:
        InputError: it is of others.
    """
    if log.joints != names:
        raise InputError(
            f"log {log.name}: its joints ({', '.join(log.joints)}) are not those of both arms "
            f"({', '.join(names)}); give recordings of both"
        )


def paced(log: Log, period_s: float) -> Log:
    """The log at even control steps: measurements interpolated, commands and what was observed held.

    A log that has these steps already, to a hundredth of one, keeps its numbers.

    Args:
        log: a log at any rate.
        period_s: from one step to the next (s).
    """
    t = np.arange(0.0, log.duration_s + 1e-6, period_s)
    stamps = log.t - log.t[0]
    if len(t) == len(stamps) and np.abs(stamps - t).max() <= EVEN * period_s:
        return replace(log, t=t, qd=None, effort=None, images={})
    q = np.stack([np.interp(t, stamps, column) for column in log.q.T], axis=1)
    held = np.clip(np.searchsorted(stamps, t + 1e-6, side="right") - 1, 0, None)
    cmd = log.cmd[held]
    if log.commands != "sent":
        # Where the arm was next: at the control rate, not at the recorder's.
        cmd = np.concatenate([q[1:], q[-1:]])
    seen = {name: values[held] for name, values in log.observed.items()}
    return replace(log, t=t, cmd=cmd, q=q, qd=None, effort=None, images={}, observed=seen)


def given_terms(log: Log) -> dict[str, np.ndarray]:
    """Observation terms (time, ...) of a log of two arms: those of `GIVEN`, and whatever else it observed.

    Args:
        log: at control steps, such as `paced` makes it.
    """
    own = {
        "joint_pos": log.q[:, ~log.openings],
        "gripper": log.q[:, log.openings],
        "target": np.concatenate([log.q[:1], log.cmd[:-1]]),
    }
    return {**own, **log.observed}


def _episode(log: Log, task: Task, terms: Terms) -> Episode:
    check_arms(log, task.workcell().action_names)
    log = paced(log, task.control_dt_s)
    found = given_terms(log)
    for name, (unit, shape) in terms.items():
        if math.prod(found[name].shape[1:]) != math.prod(shape):
            raise InputError(
                f"log {log.name}: {name} has {math.prod(found[name].shape[1:])} numbers, the task "
                f"observes {shape} {unit}; record what it observes"
            )
    observed = {
        name: found[name].reshape(-1, *shape).astype(np.float32)
        for name, (_, shape) in terms.items()
    }
    return Episode(observed, log.cmd.astype(np.float32), success=True)
