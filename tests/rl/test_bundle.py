"""Bundles: the same chunks as the policy, runnable by two libraries, refused when they are not whole."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

from regrasp.envs import load_task
from regrasp.errors import InputError
from regrasp.rl import bundle, runner
from regrasp.rl.bundle import export, largest_difference, load_bundle
from regrasp.rl.clone import CloneConfig, policy_for
from regrasp.rl.evaluate import PlayConfig
from regrasp.rl.policies import Held, Noise, Params, Policy, ResidualPolicy
from regrasp.rl.runner import BundleError, Player, Runner

TASK = load_task("transfer_cube")


@pytest.fixture(scope="module")
def small() -> Policy:
    return policy_for(TASK, CloneConfig(width=32, depth=2))


@pytest.fixture(scope="module")
def weights(small: Policy, random_params: Callable[..., Params]) -> Params:
    return random_params(small)


@pytest.fixture(scope="module")
def exported(small: Policy, weights: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "clone"
    return export(small, weights, TASK, "transfer_cube", folder, {"policy": "clone", "seed": 3})


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exported, tmp_path / "bundle")


def seen(small: Policy, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {n: rng.normal(0, 2, (rows, size)).astype(np.float32) for n, size in small.terms}


# ---- the same policy ----


@pytest.mark.parametrize("rows", [1, 333])
def test_chunks_are_those_of_the_policy(small, weights, exported: Path, rows: int):
    chunks = Runner(exported).chunks(seen(small, rows), np.zeros((rows, small.latent_size)))
    assert chunks.shape == (rows, small.chunk, small.action_size)
    assert chunks.dtype == np.float32
    assert chunks.std(axis=1).max() > 0.01
    for seed in range(3):
        obs, key = seen(small, rows, seed), jax.random.key(seed)
        # Rounding grows with the numbers, which random weights make larger than any joint angle.
        off = largest_difference(small, weights, Runner(exported), obs, key)
        assert off < 2e-6 * np.abs(chunks).max()


@pytest.mark.parametrize("family", ["token", "gaussian"])
def test_every_family_is_exported(family: str, random_params, tmp_path: Path):
    policy = policy_for(TASK, CloneConfig(family=family, width=16, depth=1, bins=16))
    params = random_params(policy)
    folder = export(policy, params, TASK, "transfer_cube", tmp_path / "bundle", {})
    key = jax.random.key(0)
    # Of tokens at the border of two bins rounding decides, so nearly all is asked for.
    ours = np.asarray(
        jax.jit(policy.act)(
            params,
            policy.flat({k: jnp.asarray(v) for k, v in seen(policy, 50).items()}),
            jax.random.normal(key, (50, policy.noise_size)),
        )
    )
    theirs = Runner(folder).chunks(
        seen(policy, 50), np.asarray(jax.random.normal(key, (50, policy.noise_size)))
    )
    assert (np.abs(ours - theirs).max(axis=(1, 2)) < 1e-4).mean() > 0.95


def test_attention_to_things_is_exported(random_params, tmp_path: Path):
    task = load_task("tidy")
    policy = policy_for(task, CloneConfig(width=16, depth=1))
    params = random_params(policy)
    robot = Runner(export(policy, params, task, "tidy", tmp_path / "bundle", {}))
    large = np.abs(robot.chunks(seen(policy, 50), np.zeros((50, policy.noise_size)))).max()
    # Metres are rounded, and told in units of 0.02: either is 7e-6 off what float64 gives.
    off = largest_difference(policy, params, robot, seen(policy, 50), jax.random.key(1))
    assert off < 2e-5 * large


def test_what_is_asked_for_is_exported(random_params, tmp_path: Path):
    """A clone that is told a speed and an advantage plays at those that it was made to be asked for."""
    policy = policy_for(TASK, CloneConfig(width=16, depth=1, speed=1.3, advantage=1.0))
    params = random_params(policy)
    robot = Runner(export(policy, params, TASK, "transfer_cube", tmp_path / "bundle", {}))
    obs, still = seen(policy, 9), np.zeros((9, policy.noise_size))
    large = np.abs(robot.chunks(obs, still)).max()
    assert largest_difference(policy, params, robot, obs, jax.random.key(1)) < 2e-6 * large
    other = replace(policy, wanted=(("speed", 1.0), ("advantage", 1.0)))
    assert largest_difference(other, params, robot, obs, jax.random.key(1)) > 1e-3 * large


def test_corrections_are_exported_with_what_they_correct(small, weights, tmp_path: Path):
    policy, params = ResidualPolicy.on(small, weights, jax.random.key(0), width=8, depth=1)
    params = {**params, "net": jax.tree.map(lambda leaf: leaf + 0.1, params["net"])}
    folder = export(policy, params, TASK, "transfer_cube", tmp_path / "bundle", {})
    robot = Runner(folder)
    large = np.abs(robot.chunks(seen(small, 9), np.zeros((9, policy.noise_size)))).max()
    off = largest_difference(policy, params, robot, seen(small, 9), jax.random.key(1))
    assert off < 2e-6 * large
    assert (robot.execute, robot.ensemble) == (small.execute, small.ensemble) == (8, 0.0)


def test_a_bundle_goes_on_from_what_is_pending(small, weights, exported: Path):
    policy = Runner(exported)
    obs = {name: values[0] for name, values in seen(small, 1).items()}
    free = policy.act(obs)
    pending = free[:10] + 0.2
    held = policy.act(obs, pending=pending, delay=4)
    assert np.abs(held[:4] - free[:4]).min(axis=0).max() > 0.1
    np.testing.assert_array_equal(policy.act(obs, pending=pending[:0]), free)
    known = np.resize(pending[-1], free.shape).astype(np.float32)
    known[:10] = pending
    flat = small.flat({name: jnp.asarray(values) for name, values in obs.items()})
    ours = small.act(weights, flat, jnp.zeros(small.noise_size), Held(known, policy.gain(4, 10)))
    np.testing.assert_allclose(held, ours, atol=2e-6 * np.abs(ours).max())
    with pytest.raises(BundleError, match="delay 11, but 10 actions are pending"):
        policy.act(obs, pending=pending, delay=11)


def test_an_older_bundle_cannot_be_told_what_is_pending(copy: Path):
    policy = Runner(copy)
    policy._basis = np.zeros((0, 0))
    with pytest.raises(BundleError, match="knows nothing of pending actions: export it again"):
        policy.gain(2, 5)


def test_one_robots_chunk_is_a_row(small, exported: Path):
    policy = Runner(exported)
    obs, noise = seen(small, 4), np.random.default_rng(1).normal(size=(4, small.latent_size))
    one = policy.act({name: values[2] for name, values in obs.items()}, noise[2])
    np.testing.assert_allclose(one, policy.chunks(obs, noise)[2], atol=1e-6)


def test_without_noise_the_chunk_depends_on_the_observation_alone(small, exported: Path):
    obs = {name: values[0] for name, values in seen(small, 1).items()}
    policy = Runner(exported)
    made = policy.act(obs)
    np.testing.assert_array_equal(made, policy.act(obs))
    np.testing.assert_array_equal(made, policy.act(obs, np.zeros(small.latent_size)))
    assert np.abs(policy.act(obs, np.ones(small.latent_size)) - made).max() > 1e-3


def test_the_description_says_what_a_robot_needs(small, exported: Path):
    meta = Runner(exported).meta
    assert [(o["name"], o["unit"], o["shape"]) for o in meta["observations"]] == [
        (name, unit, list(shape)) for name, (unit, shape) in TASK.terms.items()
    ]
    assert meta["action"]["names"] == list(TASK.workcell().action_names)
    assert (meta["chunk"], meta["noise_size"]) == (small.chunk, small.latent_size)
    assert (meta["execute"], meta["ensemble"]) == (small.execute, small.ensemble)
    assert meta["rate_hz"] == pytest.approx(1 / TASK.control_dt_s)
    made_by = {"regrasp": version("regrasp"), "policy": "clone", "seed": 3}
    assert meta["provenance"] == made_by


@pytest.mark.parametrize("ensemble", [None, 0.0, 0.3])
@pytest.mark.parametrize("execute", [3, 32])
def test_a_player_plays_what_the_environment_would(
    small, copy: Path, execute: int, ensemble: float | None
):
    change(execute=execute, ensemble=ensemble)(copy)
    robot = Runner(copy)
    player, executor = Player(robot), PlayConfig().executor(robot, TASK.control_dt_s)
    for episode in range(2):
        carry = executor.start(len(small.relative_to))
        for step in range(41):
            obs = {name: values[0] for name, values in seen(small, 1, 100 * episode + step).items()}
            if carry.left <= 0:
                carry = executor.load(carry, jnp.asarray(robot.act(obs)))
            carry, action = executor.play(carry)
            np.testing.assert_allclose(player.act(obs), action, atol=2e-5)
        player.reset()


def test_a_noisy_policy_draws_for_every_chunk(small, weights, tmp_path: Path):
    loud = small.noisy(Noise())
    folder = export(loud, weights, TASK, "transfer_cube", tmp_path / "bundle", {})
    robot, quiet = Runner(folder), {n: v[0] for n, v in seen(small, 1).items()}
    assert (robot.noise, robot.noise_size) == (1, 2 * small.latent_size)
    assert largest_difference(loud, weights, robot, seen(small, 9), jax.random.key(1)) < 1e-4
    one, again, other = (Player(robot, seed).act(quiet) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3
    # The middle is that of the quiet policy.
    middle = small.act(weights, small.flat(quiet), jnp.zeros(small.latent_size))
    np.testing.assert_allclose(robot.act(quiet), middle, atol=1e-4)


def test_the_runner_needs_numpy_and_onnxruntime_alone(small, exported: Path, tmp_path: Path):
    """Its file is copied elsewhere and run where nothing else of ours can be imported."""
    shutil.copy(runner.__file__, tmp_path / "robot.py")
    obs, noise = seen(small, 1), np.ones((1, small.latent_size), np.float32)
    np.savez(tmp_path / "input.npz", noise=noise, **obs)  # type: ignore[arg-type]
    code = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("regrasp", "jax", "jaxlib", "flax", "mujoco", "scipy", "gymnasium"):
            raise ImportError(f"{name} is not on this robot")

sys.meta_path.insert(0, Block())
import numpy as np
import robot
data = dict(np.load("input.npz"))
noise = data.pop("noise")
policy = robot.Runner(sys.argv[1])
np.save("output.npy", policy.chunks(data, noise))
robot.Player(policy).act({name: values[0] for name, values in data.items()})
"""
    subprocess.run([sys.executable, "-c", code, exported], cwd=tmp_path, check=True)
    np.testing.assert_array_equal(
        np.load(tmp_path / "output.npy"), Runner(exported).chunks(obs, noise)
    )


# ---- whole or not at all ----


def test_a_failed_export_leaves_what_was_there(
    small, weights, copy: Path, monkeypatch: pytest.MonkeyPatch
):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}

    def full(*_: Any, **__: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle, "_graph", lambda *_: onnx.ModelProto(producer_name="another"))
    monkeypatch.setattr(Path, "write_text", full)
    for folder in (copy, copy.parent / "new"):
        with pytest.raises(InputError, match="no space left"):
            export(small, weights, TASK, "transfer_cube", folder, {})
    assert [path.name for path in copy.parent.iterdir()] == ["bundle"]
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_exporting_says_nothing(small, weights, tmp_path: Path, capfd, caplog):
    export(small, weights, TASK, "transfer_cube", tmp_path / "bundle", {})
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


# ---- refusals ----


def change(**entries: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "policy.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))

    return edit


def text(content: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / "policy.json").write_text(content)


def garble(folder: Path) -> None:
    """A graph that is none, with the right checksum."""
    import hashlib

    (folder / "policy.onnx").write_bytes(b"no graph")
    change(sha256={"policy.onnx": hashlib.sha256(b"no graph").hexdigest()})(folder)


BROKEN = {
    "no graph": (lambda f: (f / "policy.onnx").unlink(), r"cannot read .*policy\.onnx"),
    "no description": (lambda f: (f / "policy.json").unlink(), r"cannot read .*policy\.json"),
    "checksum": (change(sha256={"policy.onnx": "0" * 64}), "has checksum .* says 000000000000"),
    "changed graph": (
        lambda f: (f / "policy.onnx").write_bytes((f / "policy.onnx").read_bytes()[:-1] + b"!"),
        "has checksum",
    ),
    "garbled graph": (garble, "cannot be run"),
    "format": (change(format=99), "has format 99, this runner reads 1 to 2"),
    "not JSON": (text('{"format": 1'), "is not JSON"),
    "bytes": (lambda f: (f / "policy.json").write_bytes(b"\xff\xfe\x00"), "is not JSON"),
    "a list": (text("[]"), "lacks format, observations"),
    "a number": (text("1"), "lacks format"),
    "lacks": (text('{"format": 1, "chunk": 16}'), "lacks observations, execute"),
    "no checksum": (change(sha256={}), "entries of another kind"),
    "term": (change(observations=[{"name": "joint_pos"}]), "entries of another kind"),
    "shape": (change(observations=[{"name": "a", "shape": 3}]), "entries of another kind"),
    "chunk": (change(chunk="16"), "entries of another kind"),
    "basis": (change(basis="x"), "entries of another kind"),
    "flat basis": (change(basis=[1.0, 2.0]), "entries of another kind"),
    "no names": (change(basis=[[1.0]], action={}), "entries of another kind"),
    "execute": (change(execute=33), "entries of another kind"),
    "ensemble": (change(ensemble=-0.1), "entries of another kind"),
    "ensemble without end": (change(ensemble=float("inf")), "entries of another kind"),
    "ensemble, a truth": (change(ensemble=True), "entries of another kind"),
    "ensemble, in words": (change(ensemble="mean"), "entries of another kind"),
    "negative": (change(noise_size=-1), "entries of another kind"),
    "terms": (change(observations=[{"name": "a", "shape": [3]}]), "takes .*obs_joint_pos"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_bundle_that_is_not_whole_is_refused(copy: Path, fault: str):
    break_it, says = BROKEN[fault]
    break_it(copy)
    with pytest.raises(BundleError, match=says):
        Runner(copy)
    with pytest.raises(InputError):
        load_bundle(copy)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"gripper": None}, "'gripper' has shape None"),
        ({"gripper": np.zeros((3, 3))}, r"'gripper' has shape \(3, 3\).*takes \(3, 2\)"),
        ({"gripper": np.zeros(2)}, r"'gripper' has shape \(2,\)"),
        ({"cube_pos": np.zeros((2, 3))}, r"'cube_pos' has shape \(2, 3\).*takes \(3, 3\)"),
        ({"noise": np.zeros((3, 5))}, r"'noise' has shape \(3, 5\)"),
        ({"noise": np.zeros(())}, r"'noise' has shape \(\)"),
    ],
)
def test_inputs_of_another_shape_are_refused(small, exported: Path, changes: dict, says: str):
    given = {**seen(small, 3), "noise": np.zeros((3, small.latent_size)), **changes}
    noise = given.pop("noise")
    obs = {name: values for name, values in given.items() if values is not None}
    with pytest.raises(BundleError, match=says):
        Runner(exported).chunks(obs, noise)


def test_bundles_are_found_by_folder_run_and_name(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = tmp_path / "run"
    shutil.copytree(copy, run / "bundle" / "clone")
    assert load_bundle(run).meta == load_bundle(copy).meta
    shutil.copytree(copy, run / "bundle" / "improved")
    change(provenance={"policy": "improved"})(run / "bundle" / "improved")
    assert load_bundle(run).meta["provenance"] == {"policy": "improved"}
    monkeypatch.setattr(bundle, "BUNDLES", run / "bundle")
    assert load_bundle("clone").meta == load_bundle(copy).meta
    with pytest.raises(InputError, match=r"no bundle at clon: .* or one of clone, improved"):
        load_bundle("clon")
