"""Demonstrations recorded from the page, kept as `Episodes` that can be cloned."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from regrasp.envs import BatchEnv, Snapshot
from regrasp.errors import InputError
from regrasp.rl.episodes import HEADER, Episode, Episodes, EpisodeWriter, Header
from regrasp.view.config import ViewConfig

MANNER = "by hand"
ROLE = "demonstrate"
"""Episodes of other roles are judged or trained on: none of them is demonstrated."""


class Recorder:
    """Keeps what is seen and done in a simulation of one row, from `start` to `stop`."""

    def __init__(self, env: BatchEnv, task: str, config: ViewConfig):
        self._env, self._folder = env, config.record
        self._header = Header.of(
            env,
            task,
            role=ROLE,
            seed=config.seed,
            manner=MANNER,
            config={"randomize": config.randomize},
        )
        self.on = False
        """Whether a demonstration is being recorded."""
        self._forget()

    @property
    def folder(self) -> Path:
        """Where demonstrations go."""
        return self._folder

    @property
    def kept(self) -> int:
        """Demonstrations that are there already.

        Raises:
            InputError: the folder holds something else, or demonstrations of another kind.
        """
        older = self._kept()
        return 0 if older is None else len(older)

    @property
    def steps(self) -> int:
        """Control steps recorded so far."""
        return len(self._actions)

    def start(self) -> None:
        """Record from now on."""
        self._forget()
        self.on = True

    def before(self) -> None:
        """What is seen, before a control step."""
        if self.on:
            self._obs.append({name: values[0] for name, values in self._env.observe().items()})
            self._states.append(self._env.take(0))

    def after(self, outcome: str) -> None:
        """What was done in it, and what came of it."""
        if self.on:
            self._actions.append(np.asarray(self._env.view().target)[0].astype(np.float32))
            self._outcome = outcome

    def drop(self) -> None:
        """Stop, and forget what was recorded."""
        self._forget()
        self.on = False

    def stop(self) -> int:
        """Stop, and keep what was recorded beside the demonstrations that are there already.

        Returns:
            How many there are now.

        Raises:
            InputError: nothing is being recorded, it did not succeed, or it cannot be written. Recording has
                ended in any case.
        """
        if not self.on:
            raise InputError("nothing is being recorded: choose Record first")
        self.on = False
        if self._outcome != "success":
            raise InputError(
                f"the episode ended as {self._outcome}: only what succeeds is kept; try again"
            )
        episode = Episode(
            {name: np.stack([seen[name] for seen in self._obs]) for name in self._obs[0]},
            np.stack(self._actions),
            True,
        )
        states = Snapshot.concatenate(self._states)
        self._forget()
        return self._write(episode, states)

    def _forget(self) -> None:
        self._obs: list[dict[str, np.ndarray]] = []
        self._actions: list[np.ndarray] = []
        self._states: list[Snapshot] = []
        self._outcome = "running"

    def _write(self, episode: Episode, states: Snapshot) -> int:
        """Everything anew: episodes are written whole or not at all."""
        older = self._kept()
        count = 0 if older is None else len(older)
        told = {"demonstrations": {"episodes": count + 1, "manner": MANNER}}
        header = replace(self._header, meta={**self._header.meta, **told})
        with EpisodeWriter.to(self._folder, header) as writer:
            for number in range(count):
                assert older is not None
                writer.add(older[number], older.snapshots(number))
            writer.add(episode, states)
        return count + 1

    def _kept(self) -> Episodes | None:
        """The demonstrations that are there already.

        Raises:
            InputError: the folder holds something else, or demonstrations that do not fit.
        """
        if not self._folder.exists() or not any(self._folder.iterdir()):
            return None
        if not (self._folder / HEADER).is_file():
            raise InputError(
                f"{self._folder} holds something else than episodes: choose another --record"
            )
        older = Episodes.open(self._folder)
        found: dict[str, Any] = {"task": older.task, "fingerprint": older.meta.get("fingerprint")}
        wanted = {"task": self._header.task, "fingerprint": self._header.meta["fingerprint"]}
        if found != wanted or older.meta.get("manner") != MANNER:
            raise InputError(
                f"{self._folder} holds other demonstrations, of {older.task}: choose another --record"
            )
        return older
