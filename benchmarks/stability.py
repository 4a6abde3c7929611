"""Whether the engine stays sound under random full-range joint targets, in every task.

    python -m benchmarks.stability --steps 10000000

Physics, timing and sensing are randomised. Exit code 1 on any engine warning (a row that warned is reset,
and counts once for each warning) or if any object goes through the table. Every free object, and every
vertex of what is soft, is looked at in every row after every control step; it has gone through when its
centre of mass, last seen above the table, is further below its top than the table is thick, within its
edges. Falling off an edge is allowed.
"""

import sys
import time
from dataclasses import dataclass, field

import mujoco
import numpy as np
import tyro
from jaxtyping import Bool, Float64

import regrasp
from benchmarks.common import Result, chosen, guarded, note, random_targets, report
from regrasp import BatchEnv
from regrasp.assets.surroundings import TABLE_THICKNESS_M
from regrasp.errors import check_positive

GEOM, FLEX = mujoco.mjtObj.mjOBJ_GEOM, mujoco.mjtObj.mjOBJ_FLEX
SLIDES = 3
"""Joints of a body that a flex is made of."""
LOOKED_AT = 4
"""Rows whose contacts are looked at in each control step, in turn."""
SAY_EVERY_S = 20.0


@dataclass(frozen=True)
class Stability:
    """Simulate randomised environments for long; count engine warnings and objects through the table."""

    tasks: tuple[str, ...] = ()
    """Which tasks; none: all."""
    steps: int = 1_000_000
    """Control steps, summed over all environments and tasks."""
    envs: int = 256
    tolerance_m: float = TABLE_THICKNESS_M
    """How far the centre of an object may be pressed below the table's top."""
    threads: int = 0
    seed: int = 0
    json: bool = False
    """Print one JSON list."""

    def __post_init__(self) -> None:
        check_positive(self, ("steps", "envs"))


class Table:
    """Where every free object is, and every vertex of soft ones, against the table."""

    def __init__(self, model: mujoco.MjModel, rows: int, tolerance_m: float):
        table = model.geom("table")
        self._middle, self._half = table.pos[:2], table.size[:2]
        self._top, self._tolerance = table.pos[2] + table.size[2], tolerance_m
        free = np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_FREE)
        self._qpos = model.jnt_qposadr[free][:, None] + np.arange(7)
        bodies = model.jnt_bodyid[free]
        self.names = [model.body(body).name for body in bodies]
        self._local = _centres(model, bodies)
        self._soft = Soft(model)
        self.names += self._soft.names
        self._over_before = np.zeros((rows, len(self.names)), bool)
        self._below_before = np.zeros((rows, len(self.names)), bool)
        self.through = 0
        """Objects and vertices that have gone through so far."""
        self.lowest_m = np.full(len(self.names), np.inf)
        """The lowest that each centre and vertex has been over the table, against its top."""

    def look(
        self, qpos: Float64[np.ndarray, "rows nq"], fresh: Bool[np.ndarray, " rows"]
    ) -> Bool[np.ndarray, "rows things"]:
        """Which objects and vertices have gone through in this step.

        Args:
            qpos: of all rows.
            fresh: rows whose episodes have just started.
        """
        pose = qpos[:, self._qpos]
        centre = pose[..., :3] + _rotated(pose[..., 3:], self._local)
        centre = np.concatenate([centre, self._soft.places(qpos)], axis=1)
        within = (np.abs(centre[..., :2] - self._middle) <= self._half).all(axis=-1)
        height = centre[..., 2] - self._top
        below = within & (height < -self._tolerance)
        self._over_before[fresh], self._below_before[fresh] = True, False
        through = below & ~self._below_before & self._over_before
        came_from_above = within & (~below | self._over_before)
        heights = np.where(came_from_above, height, np.inf)
        self.lowest_m = np.minimum(self.lowest_m, heights.min(axis=0, initial=np.inf))
        self._over_before, self._below_before = came_from_above, below
        self.through += int(through.sum())
        return through


class Soft:
    """The bodies on slides that flexes are made of: their vertices, or the corners of their cells."""

    def __init__(self, model: mujoco.MjModel):
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        self.names: list[str] = []
        bodies: list[int] = []
        for flex in range(model.nflex):
            found: set[int] = set()
            for kind in ("vert", "node"):
                first = getattr(model, f"flex_{kind}adr")[flex]
                count = getattr(model, f"flex_{kind}num")[flex]
                found |= set(getattr(model, f"flex_{kind}bodyid")[first : first + count].tolist())
            mine = [body for body in sorted(found - {-1}) if model.body_jntnum[body] == SLIDES]
            bodies += mine
            self.names += [mujoco.mj_id2name(model, FLEX, flex)] * len(mine)
        joints = model.body_jntadr[bodies][:, None] + np.arange(SLIDES)
        self._qpos, self._axes = model.jnt_qposadr[joints], data.xaxis[joints]
        self._home = data.xpos[bodies] - self._moved(data.qpos[None])[0]

    def places(self, qpos: Float64[np.ndarray, "rows nq"]) -> Float64[np.ndarray, "rows soft 3"]:
        """Where they are (m), in the world's frame."""
        return self._home + self._moved(qpos)

    def _moved(self, qpos: np.ndarray) -> np.ndarray:
        return np.einsum("rbj,bjk->rbk", qpos[:, self._qpos], self._axes)


def _centres(model: mujoco.MjModel, bodies: np.ndarray) -> Float64[np.ndarray, "objects 3"]:
    """Centres of mass in the frames of these bodies, with all that hangs on them."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    offset = data.subtree_com[bodies] - data.xpos[bodies]
    return np.einsum("bji,bj->bi", data.xmat[bodies].reshape(-1, 3, 3), offset)


def _rotated(quat: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Vectors turned by unit quaternions wxyz, on the last axis."""
    w, axis = quat[..., :1], quat[..., 1:]
    twice = 2 * np.cross(axis, vector)
    return vector + w * twice + np.cross(axis, twice)


@dataclass
class Extremes:
    """The worst that was seen."""

    model: mujoco.MjModel
    speed: dict[str, float] = field(default_factory=lambda: {"hinge": 0.0, "slide": 0.0})
    """Highest joint speed (rad/s, m/s), free joints left out."""
    depth_m: float = 0.0
    """Deepest penetration."""
    pair: str = "nothing"
    """Which geoms that was."""

    def look(self, env: BatchEnv, qvel: Float64[np.ndarray, "rows nv"], step: int) -> None:
        """Speeds of all rows, and contacts of some."""
        fastest = np.abs(qvel).max(axis=0)
        kinds = self.model.jnt_type[self.model.dof_jntid]
        for name in self.speed:
            kind = getattr(mujoco.mjtJoint, f"mjJNT_{name.upper()}")
            self.speed[name] = max(self.speed[name], float(fastest[kinds == kind].max(initial=0)))
        for row in (step * LOOKED_AT + np.arange(min(LOOKED_AT, env.num_envs))) % env.num_envs:
            self._contacts(env.row_data(int(row)))

    def _contacts(self, data: mujoco.MjData) -> None:
        if not data.ncon:
            return
        deepest = int(np.argmin(data.contact.dist))
        if -data.contact.dist[deepest] > self.depth_m:
            self.depth_m = float(-data.contact.dist[deepest])
            sides = zip(data.contact.geom[deepest], data.contact.flex[deepest], strict=True)
            names = [
                mujoco.mj_id2name(self.model, GEOM, geom)
                or mujoco.mj_id2name(self.model, FLEX, flex)
                or f"geom {geom}"
                for geom, flex in sides
            ]
            self.pair = " and ".join(names)


def simulate(config: Stability, task: str, steps: int) -> list[Result]:
    """One task: so many control steps of every environment."""
    env = regrasp.make(
        task, config.envs, threads=config.threads, randomize="table", seed=config.seed
    )
    env.reset()
    nq, nv = env.model.nq, env.model.nv
    table, worst = Table(env.model, config.envs, config.tolerance_m), Extremes(env.model)
    source, warned, said = random_targets(env, np.random.default_rng(config.seed)), 0, time.time()
    for step in range(steps):
        _, _, terminated, truncated, info = env.step(next(source))
        warned += int(info["unstable"].sum())
        state = env.take().row
        through = table.look(state[:, 1 : 1 + nq], terminated | truncated)
        for row, thing in np.argwhere(through):
            note(f"{task}: {table.names[thing]} through the table in row {row}, step {step}")
        worst.look(env, state[:, 1 + nq : 1 + nq + nv], step)
        if time.time() - said > SAY_EVERY_S:
            said = time.time()
            note(f"{task}: {step + 1} of {steps} steps, {warned} warnings, {table.through} through")
    lowest = ", ".join(
        f"{name} {1e3 * min(table.lowest_m[np.array(table.names) == name]):.1f} mm"
        for name in dict.fromkeys(table.names)
    )
    note(f"{task}: deepest penetration between {worst.pair}; lowest over the table: {lowest}")
    return [
        Result(f"{task}_control_steps", steps * config.envs, "1", "higher"),
        Result(f"{task}_engine_warnings", warned, "1", "lower"),
        Result(f"{task}_through_the_table", table.through, "1", "lower"),
        Result(f"{task}_lowest_centre", 1e3 * float(table.lowest_m.min()), "mm", "higher"),
        Result(f"{task}_deepest_penetration", worst.depth_m * 1e3, "mm", "lower"),
        Result(f"{task}_max_hinge_speed", worst.speed["hinge"], "rad/s", "lower"),
        Result(f"{task}_max_slide_speed", worst.speed["slide"], "m/s", "lower"),
    ]


def measure(config: Stability) -> list[Result]:
    """Simulate all tasks, and count."""
    tasks = chosen(config.tasks)
    steps = -(-config.steps // (config.envs * len(tasks)))
    results = [result for task in tasks for result in simulate(config, task, steps)]
    return [*totals(results), *results]


def totals(results: list[Result]) -> list[Result]:
    """Counts over all tasks."""
    kinds = {"control_steps": "higher", "engine_warnings": "lower", "through_the_table": "lower"}
    return [
        Result(kind, sum(r.value for r in results if r.metric.endswith(f"_{kind}")), "1", better)
        for kind, better in kinds.items()
    ]


def main() -> int:
    config = tyro.cli(Stability, description=__doc__)
    results = measure(config)
    report(results, title="stability", as_json=config.json)
    return int(any(result.value > 0 for result in results[1:3]))


if __name__ == "__main__":
    sys.exit(guarded(main))
