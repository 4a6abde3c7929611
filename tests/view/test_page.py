"""The page: a loop that obeys, and a browser in which it can be seen and clicked."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.browser import CHROMIUM, PATIENCE_S, browser_tab
from PIL import Image

from regrasp.errors import InputError
from regrasp.view import Show

pytest.importorskip("viser", reason="the page needs viser: pip install 'regrasp[view]'")

from regrasp.view.config import free_port
from regrasp.view.leader import gripper_pose
from regrasp.view.page import Page

WIDTH, HEIGHT = 720, 480


@pytest.fixture(scope="module")
def page(made: dict[str, Any]) -> Iterator[Page]:
    show = made["policy"][0]
    page = Page(show, show.config.host, free_port(show.config.host, 0))
    yield page
    page.close()


@pytest.fixture
def still(page: Page, show: Show) -> Page:
    """The page at the beginning of an episode, standing still."""
    assert page.show is show
    page.paused = True
    page.frame()
    page._debt_s = 0.0  # Of a step that was due in an earlier test.
    return page


@pytest.fixture
def browser() -> Iterator[Any]:
    """A tab of a browser."""
    pytest.importorskip("playwright", reason="browsers are driven by playwright")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium")
    with browser_tab(WIDTH, HEIGHT) as tab:
        yield tab


class Running:
    """A page whose loop runs in a thread, as it does in the terminal."""

    def __init__(self, page: Page):
        self._page, self._stop = page, threading.Event()
        self._thread = threading.Thread(target=page.run, args=(self._stop.is_set,))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def soon(holds: Callable[[], bool]) -> bool:
    """Whether it comes true while a patient person looks on."""
    end = time.monotonic() + PATIENCE_S
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)
    return holds()


def picture(tab: Any, path: Path) -> np.ndarray:
    """The scene, without the panel at its right."""
    tab.screenshot(path=path)
    return np.asarray(Image.open(path).convert("RGB"), float)[:, : WIDTH // 2]


def test_a_page_is_seen_stopped_and_forked_in_a_browser(still: Page, browser: Any, tmp_path: Path):
    page, show = still, still.show
    # A browser that draws in software answers late: the episode must not be over by then.
    page.paused, page.speed = False, 0.1
    with Running(page):
        browser.goto(page.url)
        browser.locator("canvas").first.wait_for()
        pause = browser.get_by_role("button", name="Pause")
        pause.wait_for()
        assert soon(lambda: show.step > 5)
        pause.click()
        assert soon(lambda: page.paused)
        browser.get_by_role("button", name="Play").wait_for()
        step = show.step
        assert soon(lambda: picture(browser, tmp_path / "alone.png").std() > 10)
        alone = picture(browser, tmp_path / "alone.png")
        browser.get_by_role("button", name="Fork").click()
        assert soon(lambda: show.ghosts is not None)
        assert show.ghosts is not None
        assert show.step == step
        assert show.ghosts.count == show.config.ghosts
        # They go on with the simulation, under physics of their own.
        page.speed = 1.0
        browser.get_by_role("button", name="Play").click()
        assert soon(lambda: show.ghosts is not None and show.ghosts.step > step + 20)
        assert soon(
            lambda: bool(
                (abs(picture(browser, tmp_path / "forked.png") - alone).max(-1) > 20).mean() > 0.005
            )
        )


def test_time_passes_at_the_speed_that_was_chosen_and_not_while_paused(
    still: Page, monkeypatch: pytest.MonkeyPatch
):
    show = still.show
    still.frame()
    assert show.step == 0
    still.step()
    assert (show.step, still.paused) == (1, True)
    still.paused, still.speed = False, 1.0
    now = still._last
    monkeypatch.setattr("regrasp.view.page.time.perf_counter", lambda: now)
    now += 0.065
    still.frame()
    assert show.step == 4
    # A pause of the machine is not caught up with: four steps, or what the speed takes, are the most.
    now += 10.0
    still.frame()
    assert show.step == 8
    still.speed = 6.0
    still._debt_s = 0.0
    for frames in range(1, 4):
        now += 1 / show.config.fps
        still.frame()
        assert show.step == pytest.approx(8 + frames * 6 / show.config.fps / show.dt_s, abs=1)


def test_what_is_refused_is_told_and_the_page_goes_on(still: Page):
    told: list[str] = []
    still.tell = lambda what, title="": told.append(what)  # type: ignore[method-assign]

    def refuse() -> None:
        raise InputError("no such thing: choose another")

    still.post(refuse)
    still.post(still.show.begin)
    still.frame()
    assert told == ["no such thing: choose another"]
    assert still.show.episode == 1
    del still.tell


def test_the_next_episode_begins_unless_somebody_looks_at_the_end(still: Page):
    show = still.show
    show.outcome, still.paused = "success", False
    still._go_on(0.0)
    still._go_on(1.0)
    assert show.episode == 0
    still._go_on(2.0)
    assert (show.episode, show.outcome) == (1, "running")
    show.outcome = "success"
    show.fork(4)
    still._go_on(0.0)
    still._go_on(9.0)
    assert show.episode == 1


def test_a_drag_of_a_thing_pulls_it_until_it_is_let_go(still: Page):
    place = still.show.hand.place("cube")
    still._drag("cube", "update", place, place + [0, 0, 0.05])
    still.frame()
    assert still.show.hand.body == "cube"
    for _ in range(40):
        still.step()
    assert still.show.hand.place("cube")[2] > place[2] + 0.03
    still._drag("cube", "end", place, place)
    still.frame()
    assert still.show.hand.body is None


def test_handles_are_at_the_grippers_when_leading_begins_anew(still: Page):
    show, nodes = still.show, still.gizmos._nodes
    assert not any(node.visible for node in nodes.values())
    show.act_by(show.leader)
    still.frame()
    home = {side: gripper_pose(show.env, side).position for side in nodes}
    for side, node in nodes.items():
        assert node.visible
        assert node.position == pytest.approx(home[side], abs=1e-3)
    nodes["left"].position = home["left"] + [0, 0, 0.1]
    still.step()
    still.frame()
    assert nodes["left"].position == pytest.approx(home["left"] + [0, 0, 0.1], abs=1e-6)
    show.begin(0)
    # Where time passes, a picture comes after the first steps.
    still.step()
    still.frame()
    assert nodes["left"].position == pytest.approx(home["left"], abs=5e-3)


def test_recordings_stand_beside_and_follow_the_clock(show: Show):
    from regrasp.assets import load_arm
    from regrasp.sim2real import Log
    from regrasp.view.beside import Beside

    arm = load_arm("so101")
    t = np.arange(0, 2, 0.02)
    wave = 0.5 + 0.2 * np.sin(3 * t[:, None] + np.arange(6))
    late = 0.5 + 0.2 * np.sin(3 * (t[:, None] - 0.1) + np.arange(6))
    names = show.env.workcell.action_names
    both = 0.5 + 0.2 * np.sin(3 * t[:, None] + np.arange(len(names)))
    logs = [
        Log("waves", arm.joint_names, t, wave, late),
        Log("pair", names, t, both, 0.01 + 0.98 * both, grippers=show.env.workcell.gripper_columns),
        Log("strange", ("knee",), t, wave[:, :1], late[:, :1]),
    ]
    beside = Beside(logs)
    page = Page(show, show.config.host, free_port(show.config.host, 0), beside)
    try:
        played = beside.played
        assert played is not None
        assert played.simulated is not None
        assert played.simulated.shape == late.shape
        assert np.abs(played.simulated - late)[:, :-1].max() < 0.5
        page.step()
        page.frame()
        assert beside.time_s == pytest.approx(show.dt_s)
        beside.advance(t[-1])
        assert beside.time_s == pytest.approx(show.dt_s)
        page.post(lambda: beside.choose("2: pair"))
        page.post(beside.drive)
        page.frame()
        page.step()
        assert show.actor.name == "pair"
        np.testing.assert_allclose(np.asarray(show.env.view().target)[0], both[0], atol=1e-5)
        # What is measured stands where the recording that drives the simulation is, wherever that goes.
        for _ in range(12):
            page.step()
        page.frame()
        assert beside.time_s == pytest.approx(show.time_s)
        show.restore_time(0.2)
        page.frame()
        assert beside.time_s == pytest.approx(show.time_s) == pytest.approx(0.2)
        assert np.isnan(beside._curves(names[0])[3]).all()
        # One that cannot be played leaves the other one where it is.
        told: list[str] = []
        page.tell = lambda what, title="": told.append(what)  # type: ignore[method-assign]
        page.post(lambda: beside.choose("3: strange"))
        page.frame()
        assert len(told) == 1
        assert "of no arm that is known" in told[0]
        assert beside.name == "2: pair"
        page.frame()
    finally:
        page.close()
