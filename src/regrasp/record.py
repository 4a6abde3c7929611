"""What a run's folder says of itself: the settings and the time of every stage, and what it ran on."""

import os
import platform
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from regrasp.errors import InputError
from regrasp.files import read_json, write_json
from regrasp.randomization import Table, randomizer_for

Config = TypeVar("Config")
PACKAGES = (
    "regrasp",
    "mujoco",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "gymnasium",
    "numpy",
    "onnxruntime",
    "mink",
)


@dataclass(frozen=True)
class Record:
    """The settings, times and surroundings of one run."""

    folder: Path

    def settled(self, stage: str, config: Any) -> bool:
        """Whether a stage was started before, with these settings.

        Raises:
            InputError: it was, with others.
        """
        path, settings = self._path(stage), settings_of(config)
        if not path.exists():
            return False
        before = read_json(path, "settings")
        if before != settings:
            before = before if isinstance(before, dict) else {}
            names = [k for k in before | settings if before.get(k) != settings.get(k)]
            changes = ", ".join(f"{k} {before.get(k)} -> {settings.get(k)}" for k in names)
            raise InputError(
                f"{self.folder} holds a {stage} stage with other settings ({changes}): "
                "choose another --folder, or delete that one"
            )
        return True

    def keep(self, stage: str, config: Any) -> None:
        """Note a stage's settings, now that it starts."""
        if not self._path(stage).exists():
            write_json(self._path(stage), settings_of(config))

    def clock(self, stage: str) -> AbstractContextManager[None]:
        """Times a stage; to read what is trained already is no work of it."""
        if (self.folder / stage / "params.npz").exists():
            return nullcontext()
        return _Clock(self.folder / "seconds.json", stage)

    def kept(self, stage: str, config: type[Config]) -> Config:
        """The settings that a stage was run with."""
        path = self._path(stage)
        try:
            return from_settings(config, read_json(path, "settings"))
        except TypeError as error:
            raise InputError(
                f"settings {path} are not of this version ({error}): start a new run"
            ) from None

    def spent(self) -> dict[str, Any]:
        """Seconds of every stage, and when the first one started."""
        path = self.folder / "seconds.json"
        return read_json(path, "times") if path.exists() else {}

    def describe(
        self, task: str, seed: int, command: str, skipped: list[dict[str, str]], workcell: str
    ) -> None:
        """Write run.json: what ran, where, and what was left out."""
        table = randomizer_for(task, "table", workcell)
        record = {
            "task": task,
            "seed": seed,
            "command": command,
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in PACKAGES},
            },
            "hardware": hardware(),
            "started": self.spent().get("started") or time.strftime("%Y-%m-%d %H:%M:%S"),
            "seconds": {k: v for k, v in self.spent().items() if k != "started"},
            "table": table.to_json() if isinstance(table, Table) else [],
            "skipped": skipped,
        }
        write_json(self.folder / "run.json", record)

    def _path(self, stage: str) -> Path:
        """Where a stage's settings are kept."""
        flat = ("demos", "retime", "generate")  # Their folders belong to the episodes.
        return self.folder / (f"{stage}.json" if stage in flat else f"{stage}/config.json")


def from_settings(kind: type[Config], settings: Any) -> Config:
    """Undo `settings_of`; settings in groups are configs of their own.

    Raises:
        TypeError: they are not of this config, or not all of them are there.
    """
    if not isinstance(settings, dict):
        raise TypeError(f"settings are a {type(settings).__name__}")
    found: Any = fields(kind)  # type: ignore[arg-type]
    if lost := {f.name for f in found} - {"threads", *settings}:
        raise TypeError(f"they lack {', '.join(sorted(lost))}")
    groups: dict[str, Any] = {
        f.name: f.default_factory for f in found if is_dataclass(f.default_factory)
    }
    parts: dict[str, Any] = {
        name: groups[name](**value) if name in groups else value for name, value in settings.items()
    }
    return kind(**parts)


def settings_of(config: Any) -> dict[str, Any]:
    """A stage's settings as plain data. Threads do not count."""
    return {name: value for name, value in asdict(config).items() if name != "threads"}


class _Clock(AbstractContextManager[None]):
    """Adds the time of a stage to a file of seconds, over however many runs it takes."""

    def __init__(self, path: Path, stage: str):
        self._path, self._stage = path, stage

    def __enter__(self) -> None:
        self._started = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is not None and issubclass(kind, InputError):
            return
        seconds = read_json(self._path, "times") if self._path.exists() else {}
        seconds.setdefault("started", time.strftime("%Y-%m-%d %H:%M:%S"))
        spent = time.monotonic() - self._started
        seconds[self._stage] = round(seconds.get(self._stage, 0.0) + spent, 2)
        write_json(self._path, seconds)


def hardware() -> dict[str, Any]:
    """What this runs on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip()
            for line in info.read_text().splitlines()
            if "model name" in line
        ]
        cpu = names[0] if names else cpu
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "platform": platform.platform(),
    }
