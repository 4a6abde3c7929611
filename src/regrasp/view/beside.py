"""Recordings that are played beside the simulation: of one arm next to the table, of both in their places."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np
from jaxtyping import Float
from viser import ViserServer, uplot

from regrasp.assets import ARMS, SIDES, load_arm
from regrasp.assets.arm import Arm
from regrasp.errors import InputError, unknown
from regrasp.sim2real import Log, replay, with_params
from regrasp.sim2real.kinematics import placing
from regrasp.sim2real.log import Refused
from regrasp.sim2real.readers import look
from regrasp.view.actors import Replayer
from regrasp.view.config import ViewConfig
from regrasp.view.show import Show
from regrasp.view.stage import Crowd, Figures

if TYPE_CHECKING:
    from regrasp.view.page import Page

PLACE = (-0.15, 0.6, 0.0)
"""Where an arm of a recording stands: behind the table, between the two others (m)."""
STAND_M = 0.75
"""Height of what it stands on."""
MEASURED = np.array([[0, 114, 178]], np.uint8)
"""Blue, as recorded arms are in films."""
POINTS = 1000
"""Most points of a curve."""
SERIES = (
    uplot.Series(label="time (s)"),
    uplot.Series(label="command", stroke="#D55E00", width=1, dash=(6, 4)),
    uplot.Series(label="measured", stroke="#0072B2", width=2),
    uplot.Series(label="simulated", stroke="#555555", width=2),
)


@dataclass(frozen=True, eq=False)
class Played:
    """A recording with its replay."""

    log: Log
    arm: Arm
    simulated: Float[np.ndarray, "time joints"] | None
    """The same commands through the arm's model; None where the show itself is driven by them."""

    @property
    def t(self) -> Float[np.ndarray, "time"]:
        """Stamps from the first one on (s)."""
        return self.log.t - self.log.t[0]

    def at(self, time_s: float, values: Float[np.ndarray, "time joints"]) -> np.ndarray:
        """Positions between stamps."""
        return np.array([np.interp(time_s, self.t, column) for column in values.T])


class Beside:
    """Plays one recording at a time, round and round."""

    def __init__(self, logs: Sequence[Log], arm: str = "", params: str | None = None):
        """Keep the recordings; they are replayed when they are chosen.

        Args:
            logs: of one arm, or of both of the task's.
            arm: which arm was recorded; none: the one with these joints.
            params: fitted parameters of it, by file or by name.
        """
        names = [f"{i + 1}: {log.name}" for i, log in enumerate(logs)]
        self._logs = dict(zip(names, logs, strict=True))
        self._arm, self._params = arm, params
        self.time_s = 0.0
        self.played: Played | None = None
        self.name = ""
        """Of the one that is played."""
        self._nodes: list[Any] = []

    @classmethod
    def read(cls, config: ViewConfig) -> "Beside | None":
        """The recordings of a view, if there are any.

        Raises:
            InputError: one cannot be read, or is of no arm that is known.
        """
        if not config.logs:
            return None
        arm = load_arm(config.arm) if config.arm else None
        found = []
        for _, one in look(config.logs, arm, config.read):
            if isinstance(one, Refused):
                raise InputError(one.reason)
            found.append(one)
        if not found:
            raise InputError(f"no logs in {', '.join(map(str, config.logs))}: check the path")
        return cls(found, config.arm, config.params)

    @property
    def names(self) -> tuple[str, ...]:
        """The recordings, numbered."""
        return tuple(self._logs)

    def open(self, server: ViserServer, show: Show) -> None:
        """Play the first one in this scene."""
        self._server, self._show = server, show
        self.choose(self.names[0])

    def choose(self, name: str) -> Played:
        """Play this one from its beginning.

        Raises:
            InputError: there is none of that name, or it is of another arm.
        """
        if name not in self._logs:
            raise unknown("recording", name, self._logs)
        log = self._logs[name]
        both = log.joints == self._show.env.workcell.action_names
        played = Played(log, self._show.env.workcell.arm, None) if both else self._alone(log)
        for node in self._nodes:
            node.remove()
        self._nodes, self.time_s, self.played, self.name = [], 0.0, played, name
        if both:
            self._draw_both()
        else:
            self._draw_alone(self.played)
        self.update()
        return self.played

    def advance(self, dt_s: float) -> None:
        """Let time pass; after the end comes the beginning."""
        if self.played is not None:
            self.time_s = (self.time_s + dt_s) % self.played.log.duration_s

    def update(self) -> None:
        """Put the arms where they are at this time: of what drives the simulation, where that is."""
        if self.played is None:
            return
        actor = self._show.actor
        if isinstance(actor, Replayer) and actor.log is self.played.log:
            self.time_s = min(self._show.time_s, self.played.log.duration_s)
        self._show_at(self.played, self.time_s)

    def drive(self) -> None:
        """Begin an episode in which the simulation is sent the commands of a recording of both arms.

        Raises:
            InputError: it is of other arms.
        """
        if self.played is not None:
            actor = Replayer(self.played.log, self._show.env.workcell)
            self._show.act_by(actor)
            self._show.begin(self._show.episode)

    # ---- the page ----

    def controls(self, page: "Page") -> None:
        """What can be clicked."""
        gui = page.server.gui
        which = gui.add_dropdown("Recording", self.names)
        joints = self._some.log.joints
        joint = gui.add_dropdown("Of the arm", joints)
        chart = gui.add_uplot(
            self._curves(joints[0]), SERIES, scales={"x": uplot.Scale(time=False)}, aspect=1.4
        )
        gui.add_markdown(
            "Blue: where the arm was measured. Solid: simulated under the same commands."
        )
        drive = gui.add_button(
            "Send its commands to the simulation", visible=self._some.simulated is None
        )
        drive.on_click(lambda event: page.post(self.drive))

        def again() -> None:
            try:
                self.choose(which.value)
            finally:
                which.value = self.name
            joint.options = self._some.log.joints
            drive.visible = self._some.simulated is None
            chart.data = self._curves(joint.value)

        def draw() -> None:
            chart.data = self._curves(joint.value)

        which.on_update(lambda event: page.post(again) if event.client else None)
        joint.on_update(lambda event: page.post(draw) if event.client else None)

    def _curves(self, joint: str) -> tuple[np.ndarray, ...]:
        played = self._some
        every = max(1, len(played.t) // POINTS)
        column = played.log.joints.index(joint)
        # Of both arms it is the scene that is simulated, not a replay.
        own = np.full_like(played.log.q, np.nan) if played.simulated is None else played.simulated
        curves = (played.log.cmd, played.log.q, own)
        return (played.t[::every], *(values[::every, column].copy() for values in curves))

    # ---- inside ----

    @property
    def _some(self) -> Played:
        if self.played is None:
            raise InputError("no recording is played: choose one")
        return self.played

    def _alone(self, log: Log) -> Played:
        name = self._arm or next((a for a in ARMS if load_arm(a).joint_names == log.joints), "")
        if not name:
            raise InputError(
                f"log {log.name}: joints {', '.join(log.joints)} are of no arm that is known: choose "
                f"--arm, one of {', '.join(ARMS)}"
            )
        arm = load_arm(name)
        arm = arm if self._params is None else with_params(arm, self._params)
        log.check_arm(arm)
        log.check_commands()
        return Played(log, arm, replay([log], arm)[0])

    def _draw_alone(self, played: Played) -> None:
        model = played.arm.spec().compile()
        place = placing(model, played.arm)
        own, real = mujoco.MjData(model), mujoco.MjData(model)
        stand = self._server.scene.add_box(
            "/recording-stand",
            color=(178, 184, 189),
            dimensions=(0.16, 0.16, STAND_M),
            position=(PLACE[0], PLACE[1], -STAND_M / 2),
        )
        solid = Figures(self._server, model, "recording", PLACE)
        ghost = Crowd(self._server, model, "measured", MEASURED, PLACE)
        self._nodes = [stand, solid, ghost]

        def show_at(played: Played, time_s: float) -> None:
            assert played.simulated is not None
            for data, values in ((own, played.simulated), (real, played.log.q)):
                place(data, played.at(time_s, values))
                mujoco.mj_kinematics(model, data)
            solid.update(own)
            ghost.update([real])

        self._show_at = show_at

    def _draw_both(self) -> None:
        model, cell = self._show.env.model, self._show.env.workcell
        data, home = mujoco.MjData(model), cell.home_qpos()
        for name, position in home.items():
            data.qpos[model.joint(name).qposadr[0]] = position
        arms = [
            body
            for body in range(1, model.nbody)
            if model.body(body).name.startswith(tuple(f"{side}/" for side in SIDES))
            and np.any(model.geom_bodyid == body)
        ]
        ghost = Crowd(self._server, model, "measured", MEASURED, bodies=arms)
        self._nodes = [ghost]
        size, arm = len(cell.arm.joints), cell.arm

        def show_at(played: Played, time_s: float) -> None:
            row = played.at(time_s, played.log.q)
            for i, side in enumerate(SIDES):
                own = row[i * size : (i + 1) * size]
                position = np.append(own[:-1], arm.position(own[-1]))
                names = list(arm.joint_names)
                if arm.gripper.follower is not None:
                    names, position = (
                        [*names, arm.gripper.follower],
                        np.append(position, position[-1]),
                    )
                for name, value in zip(names, position, strict=True):
                    data.qpos[model.joint(f"{side}/{name}").qposadr[0]] = value
            mujoco.mj_kinematics(model, data)
            ghost.update([data])

        self._show_at = show_at
