"""What the verbs share: settings without a prefix, progress, answers, and Ctrl-C."""

import contextlib
import json as jsonlib
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from regrasp.errors import InputError

_Config = TypeVar("_Config")
Flat = Annotated[_Config, tyro.conf.arg(name="")]
"""A config whose settings have no prefix; those of configs within it have theirs."""
LINE_EVERY_S = 15.0
STDERR = Console(stderr=True, highlight=False)


@contextlib.contextmanager
def bars() -> Any:
    """Progress on stderr, as bars or, in a log file, as lines: call with a title, get a callback."""
    if not STDERR.is_terminal:
        yield _lines
        return
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    display = Progress(*columns, console=STDERR)

    def start(title: str) -> Callable[[int, int, str], None]:
        shown: list[Any] = []

        def progress(done: int, total: int, note: str) -> None:
            heed_interrupt()
            if not shown:
                display.start()
                shown.append(display.add_task(title, total=total, note=note))
            display.update(shown[0], completed=done, total=total, note=note)

        return progress

    try:
        yield start
    except InputError:
        # A refusal is one line alone.
        display.live.transient = True
        display.live.stop()
        raise
    finally:
        if display.live.is_started:
            display.stop()


def _lines(title: str) -> Callable[[int, int, str], None]:
    """A line now and then, with the time that is left at the pace so far."""
    started = last = time.monotonic()

    def progress(done: int, total: int, note: str) -> None:
        nonlocal last
        heed_interrupt()
        now = time.monotonic()
        if done < total and now - last < LINE_EVERY_S:
            return
        last = now
        left = (now - started) / max(done, 1) * (total - done)
        STDERR.print(
            f"{title:<22} {done:>6}/{total:<6} left {left:>5.0f} s  {note}", soft_wrap=True
        )

    return progress


def answer(json: bool, document: Any, text: str) -> None:
    """Print what a verb found, as one JSON document or in words."""
    print(jsonlib.dumps(document, allow_nan=False) if json else text)


def picture_form(picture: Path | None) -> Any:
    """The format that a picture's name asks for.

    Raises:
        InputError: neither png nor svg.
    """
    form = picture.suffix.removeprefix(".") if picture else "png"
    if form not in ("png", "svg"):
        raise InputError(f"picture {picture}: choose a name that ends in .png or .svg")
    return form


_interrupted = threading.Event()


def hear_interrupts() -> None:
    """From now on Ctrl-C is heard wherever it comes."""
    _interrupted.clear()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupt)
        sys.unraisablehook = _unraisable


def heed_interrupt() -> None:
    """Ctrl-C that hit code which swallows exceptions is heard at the next sign of progress."""
    if _interrupted.is_set():
        raise KeyboardInterrupt


def _interrupt(*_: Any) -> None:
    _interrupted.set()
    raise KeyboardInterrupt


def _unraisable(unheard: Any) -> None:
    """Ctrl-C within a finaliser or a callback of the collector cannot be raised: it is heard later."""
    if not issubclass(unheard.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unheard)
