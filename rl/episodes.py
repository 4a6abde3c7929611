"""Demonstrations and rollouts on disk: a LeRobot v3.0 folder, with a kept state for every step."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int

from regrasp.assets import ALOHA
from regrasp.envs import BatchEnv, Snapshot, Task
from regrasp.errors import InputError
from regrasp.files import whole, write_json
from regrasp.rl.lerobot import INFO, Frames, read, read_small_json
from regrasp.rl.lerobot_write import write

FORMAT = 1
HEADER = "meta/regrasp.json"
"""Beside LeRobot's own files, whose loader would warn of unknown entries in `info.json`."""
SNAPSHOT = "snapshots/episode-{:06d}.npz"
STATE, ACTION = "observation.state", "action"
ACTION_MEANING = "absolute joint targets in rad; grippers as normalised opening, 0 closed, 1 open"
Terms = Mapping[str, tuple[str, tuple[int, ...]]]
"""Observation term -> (unit, shape), in the order in which the terms are joined."""


@dataclass(frozen=True)
class Episode:
    """One episode of T steps. Observation t is what was seen when action t was chosen."""

    obs: Mapping[str, Float32[np.ndarray, "T *shape"]]
    """Term -> its numbers, with noise, as a policy sees them."""
    action: Float32[np.ndarray, "T action"]
    success: bool

    @property
    def length(self) -> int:
        """Control steps."""
        return len(self.action)


@dataclass(frozen=True)
class Header:
    """What a set of episodes is of, and where it comes from."""

    task: str
    """A task's name."""
    fps: float
    """Control steps per second."""
    terms: Terms
    actions: tuple[str, ...]
    """Names of the action's entries."""
    robot: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    """Provenance as plain data: randomisation table, manner, seed, role, version."""
    action_meaning: str = ACTION_MEANING
    workcell: str = ALOHA
    """Name or table of the workcell."""

    @classmethod
    def of(cls, env: BatchEnv, task: str, **meta: Any) -> "Header":
        """The header of episodes from this environment.

        Args:
            env: where they happen.
            task: its task's name.
            meta: provenance, as plain data.
        """
        return cls(
            task=task,
            fps=round(1 / env.task.control_dt_s, 6),
            terms=dict(env.task.terms),
            actions=env.workcell.action_names,
            robot=env.workcell.arm.name,
            workcell=env.task.cell,
            meta={"version": version("regrasp"), "fingerprint": env.fingerprint, **meta},
        )

    def check(self, name: str, task: Task) -> None:
        """Refuse episodes that a policy for this task cannot be cloned from.

        Those that a real robot recorded may lack what only a simulation sees; the joints they need.

        Args:
            name: the task's name.
            task: the task.

        Raises:
            InputError: they are of another workcell, robot, task, rate or action meaning, or see other
                things.
        """
        workcell = task.workcell()
        seen = dict(task.terms)
        if self.meta.get("recorded") and "joint_pos" in self.terms:
            seen = {name: term for name, term in seen.items() if name in self.terms}
        wanted: dict[str, tuple[Any, Any]] = {
            "task": (self.task, name),
            "workcell": (Path(self.workcell).stem, workcell.name),
            "robot": (self.robot, workcell.arm.name),
            "rate (Hz)": (round(self.fps, 3), round(1 / task.control_dt_s, 3)),
            "action meaning": (self.action_meaning, ACTION_MEANING),
            "actions": (self.actions, workcell.action_names),
            "observations": (dict(self.terms), seen),
        }
        for what, (found, want) in wanted.items():
            if found != want:
                raise InputError(
                    f"these demonstrations have {what} {_brief(found, want)}, {name} has "
                    f"{_brief(want, found)}: convert them first, or choose the task that they are of or "
                    "another folder"
                )


class EpisodeWriter:
    """Writes episodes, whole or not at all: `with EpisodeWriter.to(path, header) as writer`."""

    def __init__(self, folder: Path, header: Header):
        self.header = header
        self._folder = folder
        self._episodes: list[Episode] = []

    @classmethod
    @contextmanager
    def to(cls, path: str | Path, header: Header) -> "Iterator[EpisodeWriter]":
        """Collect episodes beside `path`; the folder is there once the block ends without an error.

        An older set of episodes is replaced; `header.meta` may be completed until the block ends.

        Raises:
            InputError: something else is at `path`, it cannot be written, or no episode was added.
        """
        path = Path(path)
        if path.exists() and not (path / HEADER).is_file() and not _is_empty(path):
            raise InputError(f"{path} holds something else than episodes: choose another folder")
        with whole(path) as temporary:
            writer = cls(temporary, header)
            yield writer
            writer._finish()

    def add(self, episode: Episode, snapshots: Snapshot | None = None) -> int:
        """Add an episode.

        Args:
            episode: what was seen and done.
            snapshots: a stack of as many states; state t is the one in which action t was chosen.

        Returns:
            The episode's number.

        Raises:
            InputError: it does not fit the header, has numbers that are not finite, or as many
                snapshots as steps are missing.
        """
        number = len(self._episodes)
        _check(episode, self.header, number)
        if snapshots is not None:
            if not snapshots.stacked or len(snapshots) != episode.length:
                raise InputError(
                    f"episode {number} has {episode.length} steps but {len(snapshots)} snapshots: "
                    "give a stack with one for every step"
                )
            _by_column(snapshots).save(self._folder / SNAPSHOT.format(number))
        self._episodes.append(episode)
        return number

    def _finish(self) -> None:
        if not self._episodes:
            raise InputError("no episodes were added: there is nothing to write")
        header, episodes = self.header, self._episodes
        joined = [_join(episode, header.terms) for episode in episodes]
        frames = Frames(
            fps=header.fps,
            lengths=np.array([episode.length for episode in episodes]),
            values={
                ACTION: np.concatenate([episode.action for episode in episodes]),
                STATE: np.concatenate(joined),
            },
            names={ACTION: header.actions, STATE: _entry_names(header.terms)},
            tasks=(header.task.replace("_", " "),),
            robot=header.robot,
            extra={"success": np.array([episode.success for episode in episodes])},
        )
        write(self._folder, frames)
        terms = {n: {"unit": unit, "shape": shape} for n, (unit, shape) in header.terms.items()}
        head = {"format": FORMAT, "task": header.task, "terms": terms, "meta": header.meta}
        head |= {"action_meaning": header.action_meaning, "workcell": header.workcell}
        write_json(self._folder / HEADER, head)


class Episodes:
    """Episodes read from disk: `len(episodes)`, `episodes[i]`, `episodes.snapshots(i)`."""

    def __init__(self, path: Path, header: Header, frames: Frames):
        self.path, self.header = path, header
        self._frames = frames

    @classmethod
    def open(cls, path: str | Path) -> "Episodes":
        """Read a folder that `EpisodeWriter` wrote; kept states are read when asked for.

        Raises:
            InputError: no such folder, not a set of episodes, or files that are missing, cut short,
                too large, or at odds with each other.
        """
        path = Path(path)
        if not (path / INFO).is_file():
            raise InputError(f"no episodes at {path}: check the path, or make them again")
        if not (path / HEADER).is_file():
            raise InputError(f"{path} has no {HEADER}: choose a folder that regrasp wrote")
        head = read_small_json(path / HEADER, "description of episodes")
        frames = read(path)
        try:
            header = _header(head, frames)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise InputError(
                f"{path} does not fit its {HEADER} ({reason}): make it again"
            ) from None
        return cls(path, header, frames)

    @property
    def task(self) -> str:
        """The task's name."""
        return self.header.task

    @property
    def workcell(self) -> str:
        """Name or table of the workcell."""
        return self.header.workcell

    @property
    def fps(self) -> float:
        """Control steps per second."""
        return self.header.fps

    @property
    def terms(self) -> Terms:
        """Observation term -> (unit, shape)."""
        return self.header.terms

    @property
    def meta(self) -> dict[str, Any]:
        """Provenance."""
        return self.header.meta

    @property
    def lengths(self) -> Int[np.ndarray, " episodes"]:
        """Control steps of each episode."""
        return self._frames.lengths

    @property
    def success(self) -> np.ndarray:
        """Whether each episode succeeded, boolean."""
        return self._frames.extra["success"].astype(bool)

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[Episode]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Episode:
        index = self._checked(index)
        part = slice(self._frames.starts[index], self._frames.starts[index + 1])
        return Episode(*self._cut(part), success=bool(self.success[index]))

    def arrays(
        self,
    ) -> tuple[
        dict[str, Float32[np.ndarray, "frames *shape"]],
        Float32[np.ndarray, "frames action"],
        Int[np.ndarray, " frames"],
        Int[np.ndarray, " frames"],
    ]:
        """All episodes, one after the other: terms, actions, episode and step numbers."""
        obs, action = self._cut(slice(None))
        return obs, action, self._frames.episode_index, self._frames.frame_index

    def snapshots(self, index: int) -> Snapshot:
        """The kept states of an episode: a stack, whose entry t is the state before action t.

        Raises:
            InputError: no such episode, or its states are missing, cut short or do not fit it.
        """
        index = self._checked(index)
        path = self.path / SNAPSHOT.format(index)
        stack = Snapshot.load(path)
        arrays = [stack.row, *stack.carry.values(), *stack.fields.values()]
        length = int(self.lengths[index])
        if not stack.stacked or {array.shape[:1] for array in arrays} != {(length,)}:
            raise InputError(f"{path} does not hold {length} states: make the episodes again")
        if stack.fingerprint != self.meta.get("fingerprint", stack.fingerprint):
            raise InputError(f"{path} is of another model than its episodes: make them again")
        if not all(np.isfinite(array).all() for array in arrays if array.dtype.kind == "f"):
            raise InputError(f"{path} holds numbers that are not finite: make the episodes again")
        return stack

    def table(self) -> list[dict[str, Any]]:
        """One line per episode: number, steps, seconds and success."""
        return [
            {
                "episode": i,
                "steps": int(n),
                "time_s": round(int(n) / self.fps, 6),
                "success": bool(s),
            }
            for i, (n, s) in enumerate(zip(self.lengths, self.success, strict=True))
        ]

    def __str__(self) -> str:
        seconds = np.median(self.lengths) / self.fps
        return (
            f"{len(self)} episodes of {self.task}, {self.success.sum()} successful, "
            f"{self.lengths.sum()} steps, median {seconds:.2f} s"
        )

    def _cut(self, frames: slice) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Observation terms and actions of some frames."""
        state, action = (self._frames.values[name][frames] for name in (STATE, ACTION))
        return _split(state.astype(np.float32), self.terms), action.astype(np.float32)

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise InputError(f"episode {index} does not exist: choose 0 to {len(self) - 1}")
        return int(index) % len(self)


def _header(head: dict[str, Any], frames: Frames) -> Header:
    if head["format"] != FORMAT:
        raise ValueError(f"format {head['format']}, this version reads {FORMAT}")
    terms = {
        str(name): (str(term["unit"]), tuple(int(n) for n in term["shape"]))
        for name, term in head["terms"].items()
    }
    if min((n for _, shape in terms.values() for n in shape), default=1) < 1:
        raise ValueError("a term has no numbers")
    if (width := frames.values[STATE].shape[1]) != _size(terms):
        raise ValueError(f"{width} numbers in {STATE}, {_size(terms)} in its terms")
    if "success" not in frames.extra:
        raise ValueError("it does not say which episodes succeeded")
    actions = frames.names[ACTION] or tuple(map(str, range(frames.values[ACTION].shape[1])))
    meaning = str(head.get("action_meaning", ACTION_MEANING))
    meta, cell = dict(head["meta"]), str(head.get("workcell", ALOHA))
    return Header(str(head["task"]), frames.fps, terms, actions, frames.robot, meta, meaning, cell)


def _check(episode: Episode, header: Header, number: int) -> None:
    """Refuse an episode that the header does not describe."""
    length = episode.length
    wanted = {name: (length, *shape) for name, (_, shape) in header.terms.items()}
    shapes = {name: np.shape(values) for name, values in episode.obs.items()}
    if shapes != wanted or not length:
        raise InputError(f"episode {number} has observations {shapes}: give {wanted}, T >= 1")
    if episode.action.shape != (length, len(header.actions)):
        want = (length, len(header.actions))
        raise InputError(f"episode {number} has actions {episode.action.shape}: give {want}")
    for name, values in {**episode.obs, ACTION: episode.action}.items():
        if not np.isfinite(values).all():
            raise InputError(f"episode {number} has {name} that is not finite: leave it out")


def _brief(found: Any, other: Any) -> str:
    """What is special about one of two values."""
    if isinstance(found, dict):
        special = {k: v for k, v in found.items() if other.get(k) != v}
        return ", ".join(f"{k} {v}" for k, v in special.items()) or "nothing else"
    if isinstance(found, tuple):
        special = [v for v in found if v not in other]
        return f"{len(found)} ({', '.join(map(str, special[:4])) or 'in another order'})"
    return repr(found)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _size(terms: Terms) -> int:
    return sum(math.prod(shape) for _, shape in terms.values())


def _entry_names(terms: Terms) -> tuple[str, ...]:
    """A name for every number of the joined observation, such as `cube_pos.2`."""
    return tuple(f"{n}.{i}" for n, (_, shape) in terms.items() for i in range(math.prod(shape)))


def _join(episode: Episode, terms: Terms) -> Float32[np.ndarray, "T state"]:
    parts = [np.reshape(episode.obs[name], (episode.length, -1)) for name in terms]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _split(state: Float[np.ndarray, "T state"], terms: Terms) -> dict[str, np.ndarray]:
    ends = np.cumsum([math.prod(shape) for _, shape in terms.values()])
    parts = np.split(state, ends[:-1], axis=1)
    return {
        name: part.reshape(len(state), *shape)
        for part, (name, (_, shape)) in zip(parts, terms.items(), strict=True)
    }


def _by_column(stack: Snapshot) -> Snapshot:
    """The same stack with time as the fastest axis, so that what hardly changes packs well."""
    return Snapshot(
        row=np.asfortranarray(stack.row),
        carry={name: np.asfortranarray(array) for name, array in stack.carry.items()},
        fields={name: np.asfortranarray(array) for name, array in stack.fields.items()},
        task=stack.task,
        fingerprint=stack.fingerprint,
        table=stack.table,
    )
