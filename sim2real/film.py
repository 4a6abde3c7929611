"""A film of a recording: the arm where it was measured, beside the simulated one under the same commands."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from regrasp.assets.arm import Arm
from regrasp.envs.render import check_rendering
from regrasp.errors import InputError, unknown
from regrasp.files import whole
from regrasp.progress import Progress
from regrasp.rl.video import developed
from regrasp.sim2real.kinematics import placing, tip_site
from regrasp.sim2real.log import Log
from regrasp.sim2real.metrics import errors
from regrasp.sim2real.plots import GRID, INK, REAL, dress, plain

SECONDS = 10.0
"""Longest stretch that is shown."""
FPS = 20
LOSS = 28
WIDTH, HEIGHT = 480, 264
"""Of each of the two pictures."""
HEAD, STRIP = 30, 122
"""Heights of the line of words above them and of the curves below."""
GHOST = (0.0, 0.45, 0.70, 0.32)
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#777777")
AZIMUTH, ELEVATION = 125.0, -18.0
"""From where the arm is looked at (degrees); it points along x."""


@dataclass(frozen=True)
class Film:
    """What a film shows."""

    recording: str
    start_s: float
    """Time in the recording at which it begins."""
    seconds: float
    rmse_rad: float
    """Over the arm's joints, in the stretch that is shown."""
    tip_mm: float
    """Root mean square distance of the two end effectors, there."""


def which(logs: Sequence[Log], off: Sequence[float], name: str | None = None) -> int:
    """Which log to show: of those of that name, or of all, the one whose replay is furthest off.

    Args:
        logs: the recordings.
        off: how far each one's replay is off, in any unit.
        name: of a recording; None: any.

    Raises:
        InputError: there is none of that name.
    """
    named = [i for i, log in enumerate(logs) if name in (None, log.name)]
    if not named:
        raise unknown("recording", name, {log.name for log in logs})
    return max(named, key=lambda i: off[i])


def film_replay(
    log: Log,
    simulated: Float[np.ndarray, "time joints"],
    arm: Arm,
    path: Path,
    seconds: float = SECONDS,
    progress: Progress = lambda done, total, note: None,
) -> Film:
    """Film the stretch of a recording in which its replay is furthest off, in real time, as MP4.

    Left the arm at the measured positions; right the simulated arm, with the recorded one as a blue
    shadow; below how far each joint is off.

    Args:
        log: a recording of that arm.
        simulated: its replay, in the log's units.
        arm: the arm.
        path: the file to write, whole or not at all.
        seconds: longest stretch to show (s).
        progress: called now and then with frames done, of how many.

    Raises:
        InputError: nothing can be drawn here, or the file cannot be written.
    """
    if not 1 <= seconds <= 600:
        raise InputError(f"seconds {seconds}: choose 1 to 600")
    check_rendering()
    rows = furthest_off(log, simulated, seconds)
    stamps = log.t - log.t[0]
    t = np.arange(stamps[rows.start], stamps[rows.stop - 1], 1 / FPS)
    real, own = (_at(t, stamps, values) for values in (log.q, simulated))
    error = np.abs(errors(real, own)[:, :-1])
    tip = np.empty(len(t))
    with (
        _Stage(arm, np.concatenate([real, own])) as stage,
        whole(path) as temporary,
        developed(temporary, (HEAD + HEIGHT + STRIP, 2 * WIDTH, 3), FPS, LOSS) as add,
    ):
        sheet = _Sheet(arm, t, error)
        for i in range(len(t)):
            pair = stage.pair(real[i], own[i])
            tip[i] = stage.apart_m
            add(sheet.frame(i, *pair))
            if i % FPS == FPS - 1:
                progress(i + 1, len(t), log.name)
        progress(len(t), len(t), log.name)
    return Film(
        recording=log.name,
        start_s=float(t[0]),
        seconds=len(t) / FPS,
        rmse_rad=float(np.sqrt(np.mean(error**2))),
        tip_mm=float(1e3 * np.sqrt(np.mean(tip**2))),
    )


def furthest_off(log: Log, simulated: Float[np.ndarray, "time joints"], seconds: float) -> slice:
    """The rows of the stretch of so many seconds with the largest mean square error."""
    square = np.concatenate([[0.0], np.cumsum(np.sum(_error(log, simulated) ** 2, axis=1))])
    count = min(len(log.t), max(2, round(seconds / log.period_s) + 1))
    start = int(np.argmax(square[count:] - square[:-count]))
    return slice(start, start + count)


def off_by(log: Log, simulated: Float[np.ndarray, "time joints"]) -> float:
    """Root mean square error of a replay over the arm's joints (rad)."""
    return float(np.sqrt(np.mean(_error(log, simulated) ** 2)))


def _error(log: Log, simulated: np.ndarray) -> np.ndarray:
    """Of the arm's joints; the gripper is no angle."""
    return errors(log.q, simulated)[:, :-1]


def _at(t: np.ndarray, stamps: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(t, stamps, column) for column in values.T], axis=1)


class _Stage:
    """An arm on a floor, seen from one place however it moves."""

    def __init__(self, arm: Arm, path: Float[np.ndarray, "time joints"]):
        self.model = _scene(arm).compile()
        self._place = placing(self.model, arm)
        self._real, self._own = mujoco.MjData(self.model), mujoco.MjData(self.model)
        self._tip = tip_site(self.model)
        self._camera = self._looking(path)
        self._renderer = mujoco.Renderer(self.model, HEIGHT, WIDTH)
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._look, self._still = mujoco.MjvOption(), mujoco.MjvPerturb()

    @property
    def apart_m(self) -> float:
        """How far the end effectors of the two arms are apart."""
        real, own = (data.site_xpos[self._tip] for data in (self._real, self._own))
        return float(np.linalg.norm(real - own))

    def pair(
        self, real: Float[np.ndarray, "joints"], own: Float[np.ndarray, "joints"]
    ) -> tuple[UInt8[np.ndarray, "height width 3"], UInt8[np.ndarray, "height width 3"]]:
        """The recorded arm, and the simulated one with the recorded one as its shadow."""
        for data, row in ((self._real, real), (self._own, own)):
            self._place(data, row)
            mujoco.mj_kinematics(self.model, data)
            mujoco.mj_camlight(self.model, data)
        self._renderer.update_scene(self._real, self._camera)
        left = self._renderer.render().copy()
        self._renderer.update_scene(self._own, self._camera)
        scene = self._renderer.scene
        first = scene.ngeom
        mujoco.mjv_addGeoms(
            self.model,
            self._real,
            self._look,
            self._still,
            mujoco.mjtCatBit.mjCAT_DYNAMIC,
            scene,
        )
        for i in range(first, scene.ngeom):
            scene.geoms[i].matid = -1
            scene.geoms[i].rgba = GHOST
        return left, self._renderer.render().copy()

    def _looking(self, path: np.ndarray) -> mujoco.MjvCamera:
        """A camera that sees the arm wherever it goes."""
        places = []
        for row in path[:: max(1, len(path) // 60)]:
            self._place(self._own, row)
            mujoco.mj_kinematics(self.model, self._own)
            seen = self.model.geom_bodyid > 0
            places.append(self._own.geom_xpos[seen])
        points = np.concatenate(places)
        low, high = points.min(axis=0), points.max(axis=0)
        camera = mujoco.MjvCamera()
        camera.azimuth, camera.elevation = AZIMUTH, ELEVATION
        camera.lookat = (low + high) / 2
        camera.distance = _distance(points - camera.lookat, self.model.vis.global_.fovy)
        return camera

    def __enter__(self) -> "_Stage":
        return self

    def __exit__(self, *_: object) -> None:
        self._renderer.close()


def _distance(points: Float[np.ndarray, "n 3"], fovy_deg: float) -> float:
    """How far off a camera must be to see points around where it looks, with a margin."""
    turn, tilt = np.radians(AZIMUTH), np.radians(ELEVATION)
    ahead = np.array([np.cos(tilt) * np.cos(turn), np.cos(tilt) * np.sin(turn), np.sin(tilt)])
    right = np.array([np.sin(turn), -np.cos(turn), 0.0])
    up = np.cross(right, ahead)
    half = np.tan(np.radians(fovy_deg) / 2)
    deep = points @ ahead
    # A point is seen if its height over its depth is below the tangent of half the angle.
    needed = np.maximum(
        np.abs(points @ up) / half, np.abs(points @ right) / (half * WIDTH / HEIGHT)
    )
    return float((1.12 * needed - deep).max() + 0.05)


def _scene(arm: Arm) -> mujoco.MjSpec:
    """The arm with light, a floor and a sky."""
    spec = arm.spec()
    spec.visual.quality.offsamples = 4
    spec.visual.quality.shadowsize = 1024
    spec.visual.headlight.ambient = (0.4, 0.4, 0.4)
    spec.visual.headlight.diffuse = (0.35, 0.35, 0.35)
    spec.visual.headlight.specular = (0.1, 0.1, 0.1)
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=(0.97, 0.97, 0.98),
        rgb2=(0.86, 0.88, 0.91),
        width=64,
        height=384,
    )
    world = spec.worldbody
    world.add_light(pos=(0.6, -0.9, 2.0), dir=(-0.25, 0.4, -0.9), diffuse=(0.5, 0.5, 0.5))
    world.add_geom(
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=(4, 4, 0.1),
        rgba=(0.90, 0.89, 0.87, 1),
        contype=0,
        conaffinity=0,
        group=2,
    )
    return spec


class _Sheet:
    """What stands around the two pictures: words above, curves below that are drawn as time goes by."""

    def __init__(self, arm: Arm, t: Float[np.ndarray, "frames"], error: np.ndarray):
        self._t, self._error = t, error
        names = [plain(name) for name in arm.joint_names[:-1]]
        self._empty, (first, last) = _curves(names, t, error, drawn=False)
        self._full, _ = _curves(names, t, error, drawn=True)
        span = t[-1] - t[0]
        self._columns = np.round(first + (last - first) * (t - t[0]) / span).astype(int)
        path = font_manager.findfont("DejaVu Sans")
        self._font = ImageFont.truetype(path, 14)

    def frame(
        self,
        i: int,
        left: UInt8[np.ndarray, "height width 3"],
        right: UInt8[np.ndarray, "height width 3"],
    ) -> UInt8[np.ndarray, "rows columns 3"]:
        """One frame around two pictures side by side."""
        pictures = np.concatenate([left, right], axis=1)
        pictures[:, WIDTH - 1 : WIDTH + 1] = 255
        strip = self._empty.copy()
        upto = self._columns[i]
        strip[:, :upto] = self._full[:, :upto]
        so_far = float(np.sqrt(np.mean(self._error[: i + 1] ** 2)))
        return np.concatenate([self._words(self._t[i], so_far), pictures, strip])

    def _words(self, time_s: float, so_far: float) -> np.ndarray:
        image = Image.new("RGB", (2 * WIDTH, HEAD), "white")
        draw = ImageDraw.Draw(image)
        middle = HEAD / 2
        draw.text((10, middle), "recorded", fill=INK, font=self._font, anchor="lm")
        draw.text((WIDTH + 10, middle), "simulated,", fill=INK, font=self._font, anchor="lm")
        after = WIDTH + 10 + draw.textlength("simulated, ", font=self._font)
        draw.text((after, middle), "recorded", fill=REAL, font=self._font, anchor="lm")
        said = f"{time_s:.1f} s    RMSE so far {so_far:.4f} rad"
        draw.text((2 * WIDTH - 10, middle), said, fill=INK, font=self._font, anchor="rm")
        return np.asarray(image)


def _curves(
    names: Sequence[str], t: np.ndarray, error: np.ndarray, drawn: bool
) -> tuple[UInt8[np.ndarray, "rows columns 3"], tuple[float, float]]:
    """Error of each joint over time, or the empty axes; and the columns where they begin and end."""
    figure = Figure(figsize=(2 * WIDTH / 100, STRIP / 100), dpi=100)
    panel = figure.add_axes((0.075, 0.32, 0.78, 0.60))
    dress(panel)
    for name, color, column in zip(names, COLORS, error.T, strict=False):
        panel.plot(
            t if drawn else [], 1e3 * column if drawn else [], color=color, lw=1.3, label=name
        )
    panel.set_xlim(t[0], t[-1])
    panel.set_ylim(0, 1.05e3 * max(float(error.max()), 1e-6))
    panel.set_ylabel("off by (mrad)", fontsize=8, color=INK)
    panel.set_xlabel("time in the recording (s)", fontsize=8, color=INK, labelpad=1)
    panel.tick_params(labelsize=8, color=GRID)
    lines = panel.get_lines()
    figure.legend(
        lines,
        names,
        loc="center right",
        fontsize=8,
        frameon=False,
        handlelength=1.2,
        labelspacing=0.3,
    )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box = panel.get_window_extent()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy(), (box.x0, box.x1)
