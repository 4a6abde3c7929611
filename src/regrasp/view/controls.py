"""What can be clicked: time, moments, ghosts, hands, physics, plots."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from viser import GuiEvent, uplot

from regrasp.assets import SIDES
from regrasp.view.actors import Actor
from regrasp.view.show import Moment

if TYPE_CHECKING:
    from regrasp.view.page import Page

PAUSE, PLAY = "Pause", "Play"
NONE = "(none)"
SERIES = (
    uplot.Series(label="time (s)"),
    uplot.Series(label="command", stroke="#D55E00", width=2, dash=(6, 4)),
    uplot.Series(label="position", stroke="#0072B2", width=2),
)
NUMBERS = {"x": uplot.Scale(time=False)}
"""Times of a curve are numbers, not dates."""
SLIDER_STEPS = 100
SLOW = 0.3
"""Demonstrations are led in slow motion: a mouse is slower than an arm, and an episode has its horizon."""


class Controls:
    """The panel beside the scene."""

    def __init__(self, page: "Page"):
        self._page, self._show, self._gui = page, page.show, page.server.gui
        self._kept: dict[str, Moment] = {}
        self._actors: dict[str, Actor] = {self._show.actor.name: self._show.actor}
        self._actors.setdefault("leader", self._show.leader)
        self._words = self._gui.add_markdown("")
        tabs = self._gui.add_tab_group()
        with tabs.add_tab("Run"):
            self._run_tab()
        with tabs.add_tab("Hands"):
            self._hands_tab()
        with tabs.add_tab("Physics"):
            self._physics_tab()
        with tabs.add_tab("Plots"):
            self._plots_tab()
        if page.beside is not None:
            with tabs.add_tab("Recordings"):
                page.beside.controls(page)
        self.refresh()

    def refresh(self) -> None:
        """Bring words, sliders and plots up to date."""
        show = self._show
        self._pause.label = PLAY if self._page.paused else PAUSE
        self._words.content = (
            f"**{show.task}** · {show.actor.name} · episode {show.episode} · "
            f"{show.time_s:.2f} s · {show.outcome}"
        )
        self._time.value = min(show.time_s, self._time.max)
        self._tally.content = self._ghost_words()
        self._demos.content = self._demo_words()
        for name, slider in self._knobs.items():
            slider.value = short(show.numbers[name])
        self._plot()

    # ---- tabs ----

    def _run_tab(self) -> None:
        gui, show, page = self._gui, self._show, self._page
        self._pause = gui.add_button(PAUSE)
        self._pause.on_click(self._do(self._toggle))
        gui.add_button("Step").on_click(self._do(page.step))
        gui.add_button("Next episode").on_click(self._do(show.begin))
        self._speed = speed = gui.add_slider(
            "Speed", 0.1, 4.0, 0.1, float(np.clip(page.speed, 0.1, 4))
        )
        speed.on_update(self._heard(lambda value: setattr(page, "speed", float(value))))
        again = gui.add_checkbox("Go on after the end", page.again)
        again.on_update(self._heard(lambda value: setattr(page, "again", bool(value))))
        horizon = round(show.env.task.horizon_s, 3)
        self._time = gui.add_slider(
            "Time", 0.0, horizon, 0.02, 0.0, hint="Drag it back: states are kept every 0.2 s."
        )
        self._asked_s: float | None = None
        self._time.on_update(self._ask_back)
        with gui.add_folder("Moments"):
            self._moments = gui.add_dropdown("Kept", (NONE,))
            gui.add_button("Keep").on_click(self._do(self._keep))
            gui.add_button("Restore").on_click(self._do(self._restore))
            gui.add_button("Save to a file").on_click(self._save)
        with gui.add_folder("Futures"):
            count = gui.add_slider("Ghosts", 1, 64, 1, show.config.ghosts)
            own = gui.add_checkbox(
                "Own physics", True, hint="Each under its own draw of the table."
            )
            noise = gui.add_slider(
                *("Policy noise", 0.0, 1.0, 0.1, float(getattr(show.actor, "noise", 0.0))),
                hint="0: the middle of what a policy would do.",
            )
            fork = gui.add_button("Fork")
            fork.on_click(self._do(lambda: self._fork(count.value, own.value, noise.value)))
            gui.add_button("Clear").on_click(self._do(show.clear))
            self._tally = gui.add_markdown("")

    def _hands_tab(self) -> None:
        gui, show = self._gui, self._show
        gui.add_markdown("Hold **Ctrl** and drag a thing, or a part of an arm, to pull it.")
        self._who = gui.add_dropdown("Who acts", tuple(self._actors), initial_value=show.actor.name)
        self._who.on_update(self._heard(self._act_by))
        gui.add_markdown("Led by you, an arm follows the handle at its gripper.")
        self._grips = {}
        for side in SIDES:
            start = short(show.leader.opening(side))
            grip = gui.add_slider(f"Open {side}", 0.0, 1.0, 0.01, start)
            grip.on_update(self._heard(lambda value, side=side: show.leader.grip(side, value)))
            self._grips[side] = grip
        with gui.add_folder("Demonstrations"):
            gui.add_button("Record").on_click(self._do(self._record))
            gui.add_button("Stop and keep").on_click(self._do(self._stop))
            gui.add_button("Discard").on_click(self._do(show.recorder.drop))
            self._demos = gui.add_markdown("")

    def _physics_tab(self) -> None:
        gui, show = self._gui, self._show
        gui.add_button("Nominal").on_click(self._do(lambda: show.use(show.physics.nominal())))
        gui.add_button("Draw from the table").on_click(self._do(self._draw))
        self._draws = 0
        self._knobs = {}
        for knob in show.physics.knobs.values():
            step = (knob.high - knob.low) / SLIDER_STEPS or 1.0
            value = short(show.numbers[knob.name])
            slider = gui.add_slider(
                knob.name, knob.low, knob.high, step, value, hint=f"{knob.unit}, from now on"
            )
            slider.on_update(self._heard(lambda value, n=knob.name: show.turn(n, float(value))))
            self._knobs[knob.name] = slider

    def _plots_tab(self) -> None:
        gui, names = self._gui, self._show.env.workcell.action_names
        self._joint = gui.add_dropdown("Joint", names)
        empty = tuple(np.zeros(2) for _ in SERIES)
        self._chart = gui.add_uplot(empty, SERIES, scales=NUMBERS, aspect=1.4)
        gui.add_markdown("Arm joints in rad; grippers from 0, closed, to 1, open.")

    # ---- what they do ----

    def _toggle(self) -> None:
        self._page.paused = not self._page.paused
        self.refresh()

    def _ask_back(self, event: GuiEvent[Any]) -> None:
        """Of all that a drag passes over, only the newest time is gone back to."""
        if event.client is not None:
            self._asked_s = float(event.target.value)
            self._page.post(self._go_back)

    def _go_back(self) -> None:
        asked_s, self._asked_s = self._asked_s, None
        if asked_s is not None and abs(asked_s - self._show.time_s) > self._show.dt_s:
            self._page.paused = True
            self._show.restore_time(asked_s)
            self.refresh()

    def _keep(self) -> None:
        name = f"{len(self._kept) + 1}: episode {self._show.episode}, {self._show.time_s:.2f} s"
        self._kept[name] = self._show.keep()
        self._moments.options = tuple(self._kept)
        self._moments.value = name

    def _restore(self) -> None:
        moment = self._kept.get(self._moments.value)
        if moment is None:
            self._page.tell("nothing has been kept yet: Keep a moment first")
        else:
            self._show.restore(moment)
            self.refresh()

    def _save(self, event: GuiEvent[Any]) -> None:
        """The kept moment, or the present one, as a download of whoever clicked."""
        client = event.client

        def send() -> None:
            moment = self._kept.get(self._moments.value) or self._show.keep()
            name = f"{self._show.task}-{moment.step}.npz"
            if client is not None:
                client.send_file_download(name, moment.snapshot.to_bytes())

        self._page.post(send)

    def _fork(self, count: int, own: bool, noise: float) -> None:
        self._page.tell(
            "The first time, the futures are compiled: this takes some seconds.", "Fork"
        )
        self._show.fork(int(count), bool(own), float(noise))

    def _act_by(self, name: str) -> None:
        try:
            self._show.act_by(self._actors[name])
        finally:
            self._who.value = self._show.actor.name
            self._show_grips()

    def _record(self) -> None:
        self._show.record()
        self._who.value = self._show.actor.name
        self._page.paused, self._page.speed = False, min(self._page.speed, SLOW)
        self._speed.value = self._page.speed
        self._show_grips()

    def _stop(self) -> None:
        count = self._show.recorder.stop()
        self._page.tell(f"{count} in {self._show.recorder.folder}", "Demonstration kept")

    def _draw(self) -> None:
        self._draws += 1
        self._show.draw(self._draws)

    def _show_grips(self) -> None:
        for side, grip in self._grips.items():
            grip.value = short(self._show.leader.opening(side))

    # ---- words and curves ----

    def _ghost_words(self) -> str:
        ghosts = self._show.ghosts
        if ghosts is None:
            return "No ghosts."
        told = ", ".join(f"{n} {what}" for what, n in ghosts.tally.most_common())
        return f"{told}; objects {1000 * ghosts.spread_m:.1f} mm apart"

    def _demo_words(self) -> str:
        recorder = self._show.recorder
        if recorder.on:
            return f"Recording: {recorder.steps * self._show.dt_s:.1f} s."
        return f"An episode that succeeds is kept in `{recorder.folder}`."

    def _plot(self) -> None:
        trace = self._show.trace
        if len(trace.t) > 1:
            names = self._show.env.workcell.action_names
            self._chart.data = trace.joint(names.index(self._joint.value))

    # ---- callbacks ----

    def _do(self, act: Callable[[], object]) -> Callable[[GuiEvent[Any]], None]:
        """Have it done by the loop when it is clicked."""
        return lambda event: self._page.post(act)

    def _heard(self, act: Callable[[Any], object]) -> Callable[[GuiEvent[Any]], None]:
        """Have it done by the loop when somebody, and not the loop itself, has changed a value."""

        def hear(event: GuiEvent[Any]) -> None:
            if event.client is not None:
                value = event.target.value
                self._page.post(lambda: act(value))

        return hear


def short(numbers: Any) -> float:
    """The mean of some numbers, with as many digits as a slider has room for."""
    return float(f"{np.mean(numbers):.3g}")
