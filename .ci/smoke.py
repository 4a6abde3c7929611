"""Uses the installed package from where there is no checkout: python smoke.py SOURCE."""

import sys
from pathlib import Path

import numpy as np

import regrasp
from regrasp import BatchEnv, Snapshot
from regrasp.assets import ARMS, load_arm
from regrasp.sim2real.report.page import TEMPLATE

PACKAGE = Path(regrasp.__file__).parent
ROOMS = ("assets", "envs", "randomization", "rl", "sim2real")


def main() -> None:
    source = Path(sys.argv[1])
    assert PACKAGE.is_relative_to(sys.prefix), f"{PACKAGE} is not the installed package"
    missing = [name for name in committed(source) if not (PACKAGE / name).is_file()]
    assert not missing, f"the wheel lacks {missing}"
    for arm in ARMS:
        assert load_arm(arm).spec().compile().nu == len(load_arm(arm).joints)
    assert "</html>" in TEMPLATE.read_text(encoding="utf-8")
    check_same_moment()
    print(f"smoke: regrasp {regrasp.__version__} works as a wheel, {len(committed(source))} files")


def committed(source: Path) -> list[str]:
    """The files that belong into the package, as they are named there."""
    door = source / "src" / "regrasp"
    folders = [path for path in door.iterdir() if path.is_dir() and not path.is_symlink()]
    files = [*door.iterdir(), *(inner for folder in folders for inner in folder.rglob("*"))]
    own = [str(path.relative_to(door)) for path in files if path.is_file()]
    rooms = [p for room in ROOMS for p in (source / room).rglob("*") if p.is_file()]
    return own + [str(path.relative_to(source)) for path in rooms]


def check_same_moment() -> None:
    """A kept state, saved and loaded, has the same future."""
    env: BatchEnv = regrasp.make("transfer_cube", num_envs=4, randomize="table", seed=0)
    env.reset()
    actions = [env.action_space.sample() for _ in range(4)]
    env.step(actions[0])
    env.take(row=2).save("moment.npz")
    futures = []
    for _ in range(2):
        env.fork(Snapshot.load("moment.npz"))
        for action in actions:
            env.step(action)
        futures.append([env.state_row(row) for row in range(4)])
    assert np.array_equal(*futures)


if __name__ == "__main__":
    main()
