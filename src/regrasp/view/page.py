"""The page: a scene that follows the show, and a loop that obeys what is clicked and dragged."""

import contextlib
import io
import queue
import time
from collections.abc import Callable
from math import ceil
from typing import Any

import mujoco
import numpy as np
from viser import ViserServer

from regrasp.errors import InputError
from regrasp.view.beside import Beside
from regrasp.view.controls import Controls
from regrasp.view.gizmos import Gizmos
from regrasp.view.show import Show
from regrasp.view.stage import Crowd, Figures, hues

MOST_STEPS = 4
"""Control steps between two pictures at most, unless the speed takes more: a slow simulation is shown slowly,
not in jumps."""
REFRESH_S = 0.2
"""How often words, sliders and plots are brought up to date."""
AGAIN_S = 1.5
"""After an episode has ended, the next one begins."""
CAMERA, LOOK_AT = (0.0, -1.0, 0.68), (0.0, 0.0, 0.1)
"""From where the table is seen at first (m)."""


class Page:
    """A show in a browser. Everything happens in the thread that calls `frame`.

    Attributes:
        paused: whether time stands still.
        speed: simulated seconds per second.
        again: whether the next episode begins when one has ended.
        busy_s: time that pictures have taken so far, waiting left out.
    """

    def __init__(self, show: Show, host: str, port: int, beside: Beside | None = None):
        """Serve it.

        Args:
            show: what is shown.
            host: address to serve.
            port: a free port: see `free_port`.
            beside: recordings that are played beside it, if any.
        """
        self.show, self.beside = show, beside
        self.paused, self.speed, self.again = False, show.config.speed, True
        self.busy_s = 0.0
        self._todo: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._debt_s, self._last, self._refreshed = 0.0, time.perf_counter(), 0.0
        self._ended: float | None = None
        with _quiet():
            label = f"regrasp: {show.task}"
            self.server = ViserServer(host=host, port=port, label=label, verbose=False)
        self.server.gui.configure_theme(
            control_layout="collapsible", show_logo=False, show_share_button=False
        )
        self.server.initial_camera.position, self.server.initial_camera.look_at = CAMERA, LOOK_AT
        self.server.scene.configure_default_lights(cast_shadow=False)
        self._figures = Figures(self.server, show.env.model, "simulation", on_drag=self._drag)
        self._crowd: Crowd | None = None
        self._crowd_of: Any = None
        self._data = mujoco.MjData(show.env.model)
        self._states: list[mujoco.MjData] = []
        self.gizmos = Gizmos(self.server, show)
        if beside is not None:
            beside.open(self.server, show)
        self.controls = Controls(self)
        self._draw()

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{self.server.get_host()}:{self.server.get_port()}"

    def post(self, do: Callable[[], object]) -> None:
        """Have this done before the next picture, from any thread; what is refused is told on the page."""
        self._todo.put(do)

    def frame(self) -> None:
        """Obey, let time pass, draw."""
        now = time.perf_counter()
        elapsed, self._last = now - self._last, now
        self._obey()
        self.gizmos.obey(self.tell)
        if not self.paused:
            self._pass(elapsed)
        self._go_on(now)
        self._draw()
        if now - self._refreshed > REFRESH_S:
            self._refreshed = now
            self.controls.refresh()

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Frames at the rate that was asked for, until told otherwise."""
        period, due = 1 / self.show.config.fps, time.perf_counter()
        while not until():
            begun = time.perf_counter()
            self.frame()
            ended = time.perf_counter()
            self.busy_s += ended - begun
            # By a clock, so that being late once does not make every picture late; nothing is caught up with.
            due = max(due + period, ended)
            time.sleep(due - ended)

    def step(self) -> None:
        """One control step, standing still before and after it."""
        self.paused = True
        self._advance()

    def tell(self, what: str, title: str = "Not done") -> None:
        """Say something on every page that is open."""
        for client in self.server.get_clients().values():
            client.add_notification(title, what, auto_close_seconds=8.0)

    def close(self) -> None:
        """Stop serving."""
        with _quiet():
            self.server.stop()

    # ---- inside ----

    def _obey(self) -> None:
        while True:
            try:
                do = self._todo.get_nowait()
            except queue.Empty:
                return
            try:
                do()
            except InputError as error:
                self.tell(str(error))

    def _pass(self, elapsed_s: float) -> None:
        """As many control steps as this time is worth; what is too much is let go."""
        dt_s = self.show.dt_s
        self._debt_s += self.speed * elapsed_s
        steps = int(self._debt_s / dt_s)
        self._debt_s = min(self._debt_s - steps * dt_s, dt_s)
        most = max(MOST_STEPS, ceil(self.speed / self.show.config.fps / dt_s))
        for _ in range(min(steps, most)):
            self._advance()

    def _advance(self) -> None:
        self.show.advance()
        if self.beside is not None:
            self.beside.advance(self.show.dt_s)

    def _go_on(self, now: float) -> None:
        """Begin the next episode a while after one has ended, unless somebody is looking at its end."""
        show = self.show
        busy = show.ghosts is not None or show.recorder.on or show.actor is show.leader
        if show.running or self.paused or busy or not self.again:
            self._ended = None
        elif self._ended is None:
            self._ended = now
        elif now - self._ended > AGAIN_S:
            show.begin()

    def _draw(self) -> None:
        with self.server.atomic():
            self._figures.update(self.show.env.row_data(0, self._data))
            self._draw_ghosts()
            self.gizmos.update()
            if self.beside is not None:
                self.beside.update()

    def _draw_ghosts(self) -> None:
        ghosts = self.show.ghosts
        if ghosts is not self._crowd_of:
            if self._crowd is not None:
                self._crowd.remove()
            self._crowd_of, self._crowd = ghosts, None
            if ghosts is not None:
                model = ghosts.env.model
                self._states = [mujoco.MjData(model) for _ in range(ghosts.count)]
                self._crowd = Crowd(self.server, model, "ghosts", hues(ghosts.count))
        if ghosts is not None and self._crowd is not None:
            states = [ghosts.env.row_data(row, data) for row, data in enumerate(self._states)]
            self._crowd.update(states)

    def _drag(self, body: str, phase: str, taken: np.ndarray, dragged: np.ndarray) -> None:
        """Called from the server's thread."""
        hand = self.show.hand
        if phase == "end":
            self.post(hand.let_go)
        else:
            self.post(lambda: self._pull(body, dragged - taken))

    def _pull(self, body: str, way: np.ndarray) -> None:
        if self.show.recorder.on:
            raise InputError("a demonstration is being recorded: only the grippers may move things")
        self.show.hand.pull(body, self.show.hand.place(body) + way)


def _quiet() -> contextlib.redirect_stdout[io.StringIO]:
    """The server greets on stdout, which is for answers; where the page is we say ourselves."""
    return contextlib.redirect_stdout(io.StringIO())
