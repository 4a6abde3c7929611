"""A browser without a screen, to look at pages with."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")
"""Where Debian puts it: apt-get install chromium."""
ARGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
]
"""WebGL without a GPU, and no calls home."""
PATIENCE_S = 120.0
"""A browser that draws in software is slow."""


@contextlib.contextmanager
def browser_tab(width: int, height: int) -> Iterator[Any]:
    """A tab of a headless Chromium: a `playwright.sync_api.Page` of so many pixels."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        tab = chromium.new_page(viewport={"width": width, "height": height})
        tab.set_default_timeout(1000 * PATIENCE_S)
        yield tab
        chromium.close()
