"""Whether readers of recordings stand damaged and hostile files: every input is read or refused by name.

Sound recordings of each format are changed at random: cut short, shuffled, overwritten, their numbers
made huge, negative or not finite, their files exchanged, lost or made links that lead out. Children
read them with a bound on time and memory, so that a fault of a library is counted as well.
"""

import itertools
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from benchmarks.common import Result, guarded, note, report
from regrasp.assets.arm import load_arm
from regrasp.errors import InputError, unknown
from regrasp.sim2real.log import Log
from regrasp.sim2real.readers import READERS
from regrasp.sim2real.units import ReadConfig

Files = dict[str, bytes]
"""Path inside of the recording -> content; "" is a recording of one file."""
BLOCK = 500
"""Inputs that one child reads."""
FAULTS = ("crash", "hang", "wrong")
TEXT = (".json", ".jsonl", ".csv", ".txt", ".zarray", ".yaml")
EVIL = [
    b"NaN",
    b"-1",
    b"1e308",
    b"9" * 400,
    b"null",
    b'"x"',
    b"[]",
    b"{}",
    b"[" * 20000,
    b"0",
    b"1e999",
]
EDGES = np.array([0, 0x7F, 0x80, 0xFE, 0xFF], np.uint8)


@dataclass(frozen=True)
class Fuzz:
    """Settings of the benchmark."""

    inputs: int = 10_000
    """Changed recordings for each reader."""
    readers: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Names of readers; all if none is given."""
    seed: int = 0
    """Of the changes."""
    limit_s: int = 20
    """Longest time to read one, beyond which it hangs."""
    memory_gib: float = 6.0
    """Most address space of a child, its libraries included."""
    json: bool = False
    """Print one JSON list."""


@dataclass(frozen=True)
class Seed:
    """A sound recording and how it is to be read."""

    name: str
    files: Files
    config: ReadConfig
    arm: str | None = None


def changed(files: Files, rng: np.random.Generator) -> tuple[Files, set[str]]:
    """A recording with one to three faults, and which of its files are links that lead out."""
    files, links = dict(files), set()
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        name = str(rng.choice(sorted(files)))
        data, fate = files[name], rng.random()
        if name and fate < 0.03 and len(files) > 1:
            del files[name]
        elif name and fate < 0.06:
            links.add(name)
        elif name and fate < 0.1:
            other = str(rng.choice(sorted(files)))
            files[name], files[other] = files[other], files[name]
        elif name.endswith(TEXT) and fate < 0.6:
            files[name] = _changed_text(data, rng)
        else:
            files[name] = _changed_bytes(data, rng)
    return files, links & set(files)


def _changed_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    array = np.frombuffer(data, np.uint8).copy()
    if not len(array):
        return bytes(rng.integers(0, 256, 64, np.uint8))
    # What describes the data lies at either end.
    ends = rng.random() < 0.6
    reach = min(len(array), 4096)
    starts = rng.integers(0, reach, 16) * np.where(rng.random(16) < 0.5, 1, -1) if ends else None
    at = starts % len(array) if starts is not None else rng.integers(0, len(array), 16)
    match rng.integers(0, 8):
        case 0:
            return data[: int(at[0])]
        case 1 | 2:
            array[at[: rng.integers(1, 8)]] = rng.integers(0, 256)
        case 3:
            array[at] = rng.choice(EDGES, 16)
        case 4:
            word = rng.choice(
                np.array([0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1], np.uint64)
            )
            size = int(rng.choice([4, 8]))
            place = int(at[0])
            raw = np.frombuffer(int(word).to_bytes(8, "little")[:size], np.uint8)
            array[place : place + size] = raw[: len(array) - place]
        case 5:
            a, b = sorted(at[:2])
            return bytes(np.concatenate([array[:a], array[b:]]))
        case 6:
            a, b, size = int(at[0]), int(at[1]), int(rng.integers(1, 256))
            part = array[a : a + size]
            array[b : b + len(part)] = part[: len(array) - b]
        case _:
            blocks = np.array_split(array, int(rng.integers(2, 8)))
            return bytes(np.concatenate([blocks[i] for i in rng.permutation(len(blocks))]))
    return bytes(array)


def _changed_text(data: bytes, rng: np.random.Generator) -> bytes:
    lines = data.splitlines(keepends=True)
    row = int(rng.integers(0, max(len(lines), 1)))
    match rng.integers(0, 4):
        case 0 if lines:
            del lines[row]
        case 1 if lines:
            lines.insert(int(rng.integers(0, len(lines))), lines[row])
        case 2 if lines:
            lines = [lines[i] for i in rng.permutation(len(lines))]
        case _:
            # One value becomes another.
            marks = [i for i, c in enumerate(data) if c in b",:[ \n\t"]
            if marks:
                k = int(rng.integers(0, len(marks)))
                end = marks[k + 1] if k + 1 < len(marks) else len(data)
                return data[: marks[k] + 1] + EVIL[rng.integers(len(EVIL))] + data[end:]
    return b"".join(lines)


def put(folder: Path, name: str, files: Files, links: set[str]) -> Path:
    """Write a recording and return its path; links lead to a secret outside of it."""
    folder.mkdir(parents=True, exist_ok=True)
    secret = folder / "secret"
    if not secret.exists():
        secret.write_bytes(b"\x93secret")
    path = folder / name
    for inner, data in files.items():
        file = path / inner if inner else path
        file.parent.mkdir(parents=True, exist_ok=True)
        if inner in links:
            file.symlink_to(secret)
        else:
            file.write_bytes(data)
    return path


def outcome(path: Path, reader: str, seed: Seed) -> str:
    """What becomes of a recording: read, refused, or what went wrong."""
    arm = load_arm(seed.arm) if seed.arm else None
    try:
        logs = [one for one in READERS[reader].read(path, arm, seed.config) if isinstance(one, Log)]
        for log in logs:
            for values in (log.t, log.cmd, log.q):
                if not np.isfinite(values).all() or len(values) != len(log.t):
                    return "wrong: not finite, or of another length"
            for camera in log.images.values():
                if len(camera):
                    _seen(camera)
    except InputError as error:
        return "refused" if "\n" not in str(error) else "crash: a refusal of many lines"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"crash: {type(error).__name__} in {Path(last.filename).name}:{last.lineno}"
    return "read" if logs else "refused"


def _seen(camera) -> None:
    for index in (0, len(camera) - 1):
        try:
            camera[index]
        except InputError:
            return


def attempt(
    config: Fuzz, reader: str, seeds: list[Seed], progress: Callable[[int, int], None]
) -> Counter[str]:
    """Outcomes of all inputs of a reader."""
    found: Counter[str] = Counter()
    begin = 0
    while begin < config.inputs:
        end = min(begin + BLOCK, config.inputs)
        told, status = _child(config, reader, seeds, begin, end)
        found.update(told)
        begin += len(told)
        if begin < end:
            what = "hang" if status == signal.SIGALRM else f"crash: signal {status}"
            found[f"{what} (input {begin})"] += 1
            begin += 1
        progress(begin, sum(n for what, n in found.items() if what.startswith(FAULTS)))
    return found


def _child(
    config: Fuzz, reader: str, seeds: list[Seed], begin: int, end: int
) -> tuple[list[str], int]:
    """Outcomes of inputs that a child got to, and the signal that ended it, or 0."""
    out, into = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # This process has no thread that holds a lock.
        pid = os.fork()
    if not pid:
        try:
            os.close(out)
            most = int(config.memory_gib * 2**30)
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            warnings.simplefilter("ignore")
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            for number in range(begin, end):
                signal.alarm(config.limit_s)
                os.write(into, json.dumps(_one(config, reader, seeds, number)).encode() + b"\n")
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as pipe:
        told = [json.loads(line) for line in pipe.read().splitlines()]
    _, status = os.waitpid(pid, 0)
    return told, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def _one(config: Fuzz, reader: str, seeds: list[Seed], number: int) -> str:
    # Keyed by the reader too, and the same in every process.
    rng = np.random.default_rng([config.seed, list(READERS).index(reader), number])
    seed = seeds[number % len(seeds)]
    files, links = changed(seed.files, rng)
    folder = Path(tempfile.mkdtemp(prefix="fuzz"))
    try:
        return outcome(put(folder, seed.name, files, links), reader, seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def results(reader: str, found: Counter[str]) -> Iterator[Result]:
    """Figures of one reader."""
    for kind, better in (
        ("crash", "lower"),
        ("hang", "lower"),
        ("wrong", "lower"),
        ("refused", "higher"),
        ("read", "higher"),
    ):
        count = sum(n for what, n in found.items() if what.startswith(kind))
        yield Result(f"{reader.replace(' ', '_')}_{kind}", count, "1", better)


def measure(config: Fuzz) -> list[Result]:
    """Read everything, and count."""
    for name in config.readers:
        if name not in READERS:
            raise unknown("reader", name, READERS)
    with tempfile.TemporaryDirectory() as folder:
        seeds = _seeds(Path(folder))
        _check_seeds(Path(folder) / "as they are", seeds, config)
    answers: list[Result] = []
    for reader in config.readers or tuple(READERS):
        found = attempt(
            config,
            reader,
            seeds[reader],
            lambda done, faults, name=reader: note(f"{name}: {done}, {faults} faults"),
        )
        for what, count in found.most_common():
            note(f"{reader}: {count} {what}")
        answers += results(reader, found)
    total = {
        kind: sum(r.value for r in answers if r.metric.endswith(f"_{kind}")) for kind in FAULTS
    }
    return [Result(kind, count, "1", "lower") for kind, count in total.items()] + answers


def _seeds(folder: Path) -> dict[str, list[Seed]]:
    """Sound recordings of every reader, written by a child: threads of libraries are lost in a fork."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            from benchmarks.recordings import write_all

            write_all(folder)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("the sound recordings could not be written")
    return load_seeds(folder)


def load_seeds(folder: Path) -> dict[str, list[Seed]]:
    """Sound recordings of every reader, as `recordings.write_all` wrote them."""
    return {reader: list(_loaded(folder / reader.replace(" ", "_"), reader)) for reader in READERS}


def _check_seeds(folder: Path, seeds: dict[str, list[Seed]], config: Fuzz) -> None:
    """Changes say nothing about a recording that is refused as it is. A child reads, as it does later."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            for reader in config.readers or tuple(READERS):
                for seed in seeds[reader]:
                    path = put(folder / reader.replace(" ", "_"), seed.name, seed.files, set())
                    if (found := outcome(path, reader, seed)) != "read":
                        raise RuntimeError(
                            f"{reader}: the sound {seed.name} is not read, but {found}"
                        )
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("sound recordings are not read")


def _loaded(folder: Path, reader: str) -> Iterator[Seed]:
    from benchmarks.recordings import HOW

    for path in sorted(folder.iterdir()):
        inner = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        files = {p.relative_to(path).as_posix() if p != path else "": p.read_bytes() for p in inner}
        yield Seed(path.name, files, *HOW.get(reader, (ReadConfig(), None)))


def main() -> int:
    config = tyro.cli(Fuzz, description=__doc__)
    answers = measure(config)
    report(answers, title="damaged recordings", as_json=config.json)
    return int(any(result.value for result in itertools.islice(answers, len(FAULTS))))


if __name__ == "__main__":
    sys.exit(guarded(main))
