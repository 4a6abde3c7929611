"""Failures sorted by how far they got, with clips: what to look at before changing anything.

How far an episode got is told in the terms of the task's reward, whose order is that of the task.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from regrasp.envs import BatchEnv, Snapshot, episode_keys
from regrasp.envs.render import Camera, check_rendering
from regrasp.errors import InputError
from regrasp.files import whole, write_json
from regrasp.progress import Progress
from regrasp.rl.evaluate import play_episodes
from regrasp.rl.rollout import Outcomes
from regrasp.rl.video import developed

EVERY = 4
"""Control steps per frame."""
SHOWN, KINDS = 6, 6
"""Pictures of an episode on the sheet, and kinds of failure on it."""
NOTHING = "nothing"
FOUND = "failures.json"


class Kind(NamedTuple):
    """What failures have in common."""

    reached: str
    """The last of the reward's terms that was ever positive."""
    left: str
    """That of the last moment."""
    ended: str
    """out of time, failed (what the task calls a failure) or unstable (an engine warning)."""

    def __str__(self) -> str:
        kept = "" if self.left == self.reached else f", at the end {self.left}"
        return f"reached {self.reached}{kept}, {self.ended}"


@dataclass(frozen=True)
class Failure:
    """One episode that failed."""

    episode: int
    kind: Kind
    time_s: float
    """To its end."""

    def to_json(self) -> dict[str, Any]:
        return {"episode": self.episode, **self.kind._asdict(), "time_s": self.time_s}


@dataclass(frozen=True)
class Failures:
    """All failures of an evaluation. They print as a table, the most frequent kind first."""

    episodes: int
    """How many were played."""
    found: tuple[Failure, ...]

    def kinds(self) -> list[tuple[Kind, list[Failure]]]:
        """Failures by kind, the most frequent first."""
        counts = Counter(failure.kind for failure in self.found)
        order = sorted(counts, key=lambda kind: (-counts[kind], kind))
        return [(kind, [f for f in self.found if f.kind == kind]) for kind in order]

    def to_json(self) -> dict[str, Any]:
        return {"episodes": self.episodes, "failures": [one.to_json() for one in self.found]}

    def __str__(self) -> str:
        if not self.found:
            return f"no failures in {self.episodes} episodes"
        lines = [f"{len(self.found)} failures in {self.episodes} episodes:"]
        for kind, ones in self.kinds():
            some = ", ".join(str(one.episode) for one in ones[:6])
            more = ", ..." if len(ones) > 6 else ""
            lines.append(f"{len(ones):5d}  {kind}  (episodes {some}{more})")
        return "\n".join(lines)


def check_place(out: Path, clips: int) -> None:
    """Refuse, before anything is played, what could not be filmed or written in the end.

    Raises:
        InputError: clips < 0, a place that holds something else than failures, or no rendering here.
    """
    if clips < 0:
        raise InputError(f"clips {clips}: choose 0 or more")
    ours = not out.exists() or (out.is_dir() and (not any(out.iterdir()) or (out / FOUND).exists()))
    if not ours:
        raise InputError(f"{out} holds something else than failures: name a new folder")
    check_rendering()


def look_at_failures(
    env: BatchEnv,
    policy: Any,
    success: Bool[np.ndarray, " episodes"],
    out: Path,
    *,
    seed: int,
    noise: float = 1.0,
    continued: bool = False,
    clips: int = 2,
    progress: Progress = lambda done, total, note: None,
) -> Failures:
    """Play the episodes of an evaluation that failed once more; sort them, film some of every kind.

    Writes a folder, whole or not at all, in the place of an older one: failures.json, a sheet of pictures
    (failures.png) and clips (kind-episode.mp4) in real time.

    Args:
        env: as it was for `evaluate`, with the same rows: a closed loop repeats at an equal number.
        policy: as for `evaluate`.
        success: which of the episodes succeeded.
        out: the folder.
        seed: as for `evaluate`.
        noise: as for `evaluate`.
        continued: as for `evaluate`.
        clips: how many of each kind.
        progress: called after every batch.

    Raises:
        InputError: see `check_place`.
    """
    out = out.resolve()
    check_place(out, clips)
    found: list[Failure] = []
    frames: dict[int, list[Snapshot]] = {}
    for first in range(0, len(success), env.num_envs):
        rows = np.flatnonzero(~success[first : first + env.num_envs])
        if len(rows):
            keys = episode_keys(seed, "evaluate", first, env.num_envs)
            seen = _Seen(env, rows)
            outcomes = play_episodes(
                env, policy, keys, seed, first, seen.look, noise=noise, continued=continued
            )
            found += seen.failures(first, outcomes)
            frames |= {first + int(row): seen.of(i, outcomes) for i, row in enumerate(rows)}
        progress(min(first + env.num_envs, len(success)), len(success), f"{len(found)} failures")
    failures = Failures(len(success), tuple(found))
    with whole(out) as folder, Camera(env) as camera:
        write_json(folder / FOUND, failures.to_json())
        for kind, ones in failures.kinds():
            name = str(kind).replace(",", "").replace(" ", "-")
            for one in ones[:clips]:
                path = folder / f"{name}-{one.episode:04d}.mp4"
                _film(env, camera, frames[one.episode], path)
        if found:
            _sheet(env, camera, failures, frames, folder / "failures.png")
    return failures


class _Seen:
    """What is noted of some rows, step by step."""

    def __init__(self, env: BatchEnv, rows: np.ndarray):
        self._env, self._rows = env, rows
        self._most: dict[str, np.ndarray] = {}
        self._frames: list[Snapshot] = []
        self._fields: Mapping[str, np.ndarray] = {}

    def look(self, step: int) -> None:
        self._last = {n: v[self._rows] for n, v in self._env.reward_terms().items()}
        for name, value in self._last.items():
            self._most[name] = np.maximum(self._most.get(name, 0.0), value)
        if step % EVERY == 0:
            taken = self._env.take(self._rows)
            # An episode's fields stay as they are, and are most of a state: one copy is enough.
            self._fields = self._fields or taken.fields
            self._frames.append(replace(taken, fields=self._fields))

    def of(self, i: int, outcomes: Outcomes) -> list[Snapshot]:
        """The states of one of the rows to the end of its episode, a frame each."""
        frames = 1 + (int(outcomes.steps[self._rows[i]]) - 1) // EVERY
        return [frame[i] for frame in self._frames[:frames]]

    def failures(self, first: int, outcomes: Outcomes) -> list[Failure]:
        horizon, dt_s = self._env.horizon, self._env.task.control_dt_s
        found = []
        for i, row in enumerate(self._rows):
            steps = int(outcomes.steps[row])
            ended = "failed" if steps < horizon else "out of time"
            ended = "unstable" if outcomes.unstable[row] else ended
            kind = Kind(_stage(self._most, i), _stage(self._last, i), ended)
            found.append(Failure(first + int(row), kind, round(steps * dt_s, 3)))
        return found


def _stage(terms: dict[str, np.ndarray], i: int) -> str:
    """The last positive term, with its value where that is a number of things."""
    for name in reversed(terms):
        value = float(terms[name][i])
        if value > 0:
            words = name.replace("_", " ")
            return words if value <= 1 else f"{words} {value:g}"
    return NOTHING


def _film(env: BatchEnv, camera: Camera, frames: Sequence[Snapshot], path: Path) -> None:
    fps = 1 / env.task.control_dt_s / EVERY
    with developed(path, _picture(env, camera, frames[0]).shape, fps) as add:
        for frame in frames:
            add(_picture(env, camera, frame))


def _picture(env: BatchEnv, camera: Camera, frame: Snapshot) -> np.ndarray:
    env.restore(frame, 0)
    return camera.frame(0)


def _sheet(
    env: BatchEnv,
    camera: Camera,
    failures: Failures,
    frames: dict[int, list[Snapshot]],
    path: Path,
) -> None:
    """One episode of each of the most frequent kinds, from its start to its end."""
    kinds = failures.kinds()[:KINDS]
    figure = Figure(
        figsize=(2.2 * SHOWN, 1.95 * len(kinds)), layout=ConstrainedLayoutEngine(h_pad=0.12)
    )
    panels = figure.subplots(len(kinds), SHOWN, squeeze=False)
    for line, (kind, ones) in zip(panels, kinds, strict=True):
        own = frames[ones[0].episode]
        for panel, i in zip(line, np.linspace(0, len(own) - 1, SHOWN).round(), strict=True):
            panel.imshow(_picture(env, camera, own[int(i)]))
            panel.set_axis_off()
            time_s = i * EVERY * env.task.control_dt_s
            panel.text(
                0.97,
                0.03,
                f"{time_s:.1f} s",
                transform=panel.transAxes,
                ha="right",
                fontsize=7,
                bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1.5},
            )
        said = f"{len(ones)} of {len(failures.found)}: {kind} (episode {ones[0].episode})"
        # No title: it is longer than its picture is wide, and would push the next one away.
        at: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
        line[0].annotate(said, (0, 1), (0, 4), fontsize=9, **at).set_in_layout(False)
    figure.savefig(path, dpi=100)
