"""The package is one namespace, and importing it is cheap."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import regrasp
from regrasp import xla

ROOMS = ("assets", "envs", "randomization", "rl", "sim2real")


def python(code: str, folder: Path) -> list:
    """What a fresh interpreter in `folder` prints as JSON."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    out = subprocess.run(
        [sys.executable, "-c", f"import json\n{code}"],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(out.stdout)


@pytest.mark.parametrize("room", ROOMS)
def test_room_is_a_relative_link(room: str):
    link = Path(regrasp.__file__).parent / room
    assert link.is_symlink()
    assert os.readlink(link) == f"../../{room}"
    assert (link / "__init__.py").is_file()


def test_rooms_are_importable_only_inside_the_package(tmp_path: Path):
    bare, ours = python(
        "from importlib.util import find_spec\n"
        f"rooms = {ROOMS}\n"
        "print(json.dumps([[r for r in rooms if find_spec(r)],\n"
        "                  [r for r in rooms if find_spec('regrasp.' + r)]]))",
        tmp_path,
    )
    assert bare == []
    assert ours == list(ROOMS)


def test_import_loads_no_engine_until_one_is_used(tmp_path: Path):
    before, after = python(
        "import sys, regrasp\n"
        "heavy = lambda: [m for m in ('jax', 'mujoco') if m in sys.modules]\n"
        "before = heavy(); regrasp.BatchEnv\n"
        "print(json.dumps([before, heavy()]))",
        tmp_path,
    )
    assert before == []
    assert after == ["jax", "mujoco"]


def test_tasks_are_registered_on_import(tmp_path: Path):
    names = python(
        "import gymnasium, regrasp\n"
        "print(json.dumps([n for n in gymnasium.registry if n.startswith('regrasp/')]))",
        tmp_path,
    )
    assert sorted(names) == sorted(regrasp.gym.IDS.values())


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("0.7.0", "fusion_emitters"),
        ("0.11.0", "fusion_emitters"),
        ("0.11.1", "concurrency_optimized_scheduler"),
        ("0.12.0rc1", "concurrency_optimized_scheduler"),
        ("1.0", "concurrency_optimized_scheduler"),
    ],
)
def test_the_compiler_is_told_only_what_it_knows(release: str, name: str):
    assert name in xla.option(release)


def test_the_compiler_is_told_once_and_what_was_set_stays(tmp_path: Path):
    code = (
        "import os\nos.environ['XLA_FLAGS'] = {!r}\nimport regrasp\n"
        "print(json.dumps(os.environ['XLA_FLAGS'].split()))"
    )
    assert python(code.format("--xla_a=1"), tmp_path) == ["--xla_a=1", xla.option()]
    for option in xla.OPTIONS:
        assert python(code.format(option), tmp_path) == [option]
