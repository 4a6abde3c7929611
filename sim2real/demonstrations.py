"""Between logs and demonstrations: what a real arm recorded can be cloned, what a simulation did is a log."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from regrasp.envs import Task, load_task
from regrasp.errors import InputError
from regrasp.rl.aloha_write import FILE, AlohaEpisode
from regrasp.rl.aloha_write import write as write_aloha
from regrasp.rl.episodes import Episode, EpisodeWriter, Header
from regrasp.sim2real.log import Log
from regrasp.sim2real.readers import columns

GIVEN = ("joint_pos", "gripper", "target")
"""Observation terms that a log can give: measured joints, measured openings and the last command. What a task
sees of its objects is in no log."""


def to_episodes(logs: Sequence[Log], task: str, path: str | Path) -> Header:
    """Write logs of two arms as demonstrations of a task, to be cloned by `regrasp clone --data`.

    Observations are what the logs measured, resampled to the task's control steps; the last command is
    the previous action, and at first where the arms stand. There are no kept states. Terms that a log
    cannot give are left out, and the policy cloned from it does without them.

    Args:
        logs: episodes, each of both arms; an episode that was kept counts as a success.
        task: the task that they are of.
        path: folder to write.

    Returns:
        The header that was written.

    Raises:
        InputError: there are none, or a log is of other arms.
    """
    found = load_task(task)
    workcell = found.workcell()
    terms = {name: found.terms[name] for name in found.terms if name in GIVEN}
    header = Header(
        task=task,
        fps=round(1 / found.control_dt_s, 6),
        terms=terms,
        actions=workcell.action_names,
        robot=workcell.arm.name,
        meta={
            "recorded": True,
            "sources": [log.source for log in logs],
            "commands": sorted({log.commands for log in logs}),
            "lacks": [name for name in found.terms if name not in GIVEN],
        },
    )
    with EpisodeWriter.to(path, header) as writer:
        for log in logs:
            writer.add(_episode(log, found, tuple(terms)))
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
            AlohaEpisode(log.q, log.cmd, log.qd, log.period_s, log.clock == "simulation", pictures),
        )
        paths.append(path)
    return paths


def _episode(log: Log, task: Task, terms: tuple[str, ...]) -> Episode:
    workcell = task.workcell()
    names = workcell.action_names
    if log.joints != names:
        raise InputError(
            f"log {log.name}: its joints ({', '.join(log.joints)}) are not those of both arms "
            f"({', '.join(names)}); give recordings of both"
        )
    t = np.arange(0.0, log.duration_s + 1e-6, task.control_dt_s)
    stamps = log.t - log.t[0]
    q = np.stack([np.interp(t, stamps, column) for column in log.q.T], axis=1)
    held = np.clip(np.searchsorted(stamps, t + 1e-6, side="right") - 1, 0, None)
    cmd = log.cmd[held]
    if log.commands != "sent":
        # Where the arm was next: at the task's own rate, not at the recorder's.
        cmd = np.concatenate([q[1:], q[-1:]])
    grippers = list(workcell.gripper_columns)
    arms = [i for i in range(len(names)) if i not in grippers]
    observed = {
        "joint_pos": q[:, arms],
        "gripper": q[:, grippers],
        "target": np.concatenate([q[:1], cmd[:-1]]),
    }
    return Episode(
        {name: observed[name].astype(np.float32) for name in terms},
        cmd.astype(np.float32),
        success=True,
    )
