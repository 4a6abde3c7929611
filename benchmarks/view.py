"""Pictures per second of a live view, and what it keeps in memory.

    python -m benchmarks.view --seconds 600

A client reads everything that the page sends, as a browser does, and draws nothing: what is measured is
the loop, the simulation, the making and the sending of pictures. With --browser a headless Chromium draws
them too, in software, on the same cores.

Memory is that of this process at half of the time, when allocators have filled up, and at the end.
Episodes follow one another, and the ghosts are forked anew whenever all of them have ended.

Exit code 1 with --gate: 30 pictures per second of one simulation or 10 of many are missed, or memory grows
by more than GROWTH_MB_MIN a minute.
"""

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.browser import browser_tab
from benchmarks.common import Result, guarded, note, report
from regrasp.view import Show, ViewConfig
from regrasp.view.config import free_port
from regrasp.view.page import Page

ALONE_FPS, CROWD_FPS = 30.0, 10.0
GROWTH_MB_MIN = 1.0
ENOUGH = 0.99
"""A loop that sleeps until its next picture never has quite as many as it was asked for."""


@dataclass(frozen=True)
class View:
    """Measure a live view."""

    task: str = "transfer_cube"
    policy: str = "transfer_cube"
    """Who acts: expert, or a bundle."""
    ghosts: int = 16
    seconds: float = 60.0
    """Of each of the two: alone, and with ghosts."""
    browser: bool = False
    """Let a headless Chromium draw, instead of a client that only reads."""
    gate: bool = False
    """Exit with code 1 if a target is missed."""
    json: bool = False
    """Print one JSON list."""


@dataclass(frozen=True)
class Measured:
    """What a while of looking came to."""

    fps: float
    busy: float
    """Share of the time in which the loop was not asleep."""
    growth_mb_min: float


def look(page: Page, seconds: float, ghosts: int) -> Measured:
    """Let a page run, and count.

    Args:
        page: with somebody connected to it.
        seconds: how long.
        ghosts: to be forked and, once all have ended, forked anew; 0: none.
    """
    if ghosts:
        page.show.begin(0)
        page.show.fork(ghosts)
    page.frame()
    begun, busy_s, frames = time.perf_counter(), page.busy_s, -1
    settled = (0.0, 0.0)

    def enough() -> bool:
        nonlocal frames, settled
        frames += 1
        elapsed_s = time.perf_counter() - begun
        if ghosts and page.show.ghosts is not None and not page.show.ghosts.tally["running"]:
            page.show.begin()
            page.show.fork(ghosts)
        if not settled[0] and elapsed_s > seconds / 2:
            settled = elapsed_s, memory_mb()
        return elapsed_s > seconds

    page.run(enough)
    elapsed_s = time.perf_counter() - begun
    grown_mb, minutes = memory_mb() - settled[1], (elapsed_s - settled[0]) / 60
    return Measured(frames / elapsed_s, (page.busy_s - busy_s) / elapsed_s, grown_mb / minutes)


def memory_mb() -> float:
    """Memory of this process that is resident now (MiB)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextlib.contextmanager
def reading(page: Page) -> Iterator[None]:
    """A client that takes everything that is sent to it."""
    import viser
    from websockets.asyncio.client import connect
    from websockets.typing import Subprotocol

    stop, ready = threading.Event(), threading.Event()
    address = page.url.replace("http", "ws", 1)
    protocol = Subprotocol(f"viser-v{viser.__version__}")

    async def read() -> None:
        async with connect(address, subprotocols=[protocol], max_size=None) as socket:
            ready.set()
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(socket.recv(), 0.5)

    thread = threading.Thread(target=lambda: asyncio.run(read()))
    thread.start()
    try:
        if not ready.wait(30):
            raise RuntimeError("nobody could connect to the page")
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def drawing(page: Page) -> Iterator[None]:
    """A headless Chromium that shows the page."""
    with browser_tab(960, 600) as tab:
        tab.goto(page.url)
        tab.locator("canvas").first.wait_for()
        yield


def run(config: View) -> list[Result]:
    """Both measurements."""
    found = []
    view = ViewConfig(policy=config.policy, randomize="table")
    page = Page(Show(config.task, view), view.host, free_port(view.host, 0))
    try:
        with drawing(page) if config.browser else reading(page):
            for name, ghosts in (("one simulation", 0), (f"{config.ghosts} ghosts", config.ghosts)):
                note(f"{name}: {config.seconds:.0f} s")
                measured = look(page, config.seconds, ghosts)
                found += [
                    Result(f"view, {name}: pictures", measured.fps, "1/s", "higher"),
                    Result(f"view, {name}: loop busy", measured.busy, "of the time", "lower"),
                    Result(
                        f"view, {name}: memory grows", measured.growth_mb_min, "MiB/min", "lower"
                    ),
                ]
    finally:
        page.close()
    return found


def missed(found: list[Result]) -> list[str]:
    """The targets that were missed, in words."""
    least = {"one simulation": ALONE_FPS, "ghosts": CROWD_FPS}
    said = []
    for result in found:
        told = f"{result.metric}: {result.value:.3g} {result.unit}"
        if result.metric.endswith("grows") and result.value > GROWTH_MB_MIN:
            said.append(f"{told}, at most {GROWTH_MB_MIN}")
        if result.metric.endswith("pictures"):
            wanted = next(fps for name, fps in least.items() if name in result.metric)
            if result.value < ENOUGH * wanted:
                said.append(f"{told}, at least {wanted}")
    return said


def main() -> int:
    """The exit code."""
    config = tyro.cli(View)
    found = run(config)
    report(found, title="live view", as_json=config.json)
    wrong = missed(found)
    for line in wrong:
        note(line)
    return int(config.gate and bool(wrong))


if __name__ == "__main__":
    sys.exit(guarded(main))
