"""regrasp: the same grasp, again. A simulation is a state you can keep.

`make` builds a vectorised environment; `Snapshot` is a kept state. Tasks are also registered with
Gymnasium, as `regrasp/TransferCube-v0`.
"""

import ctypes
import os
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["BatchEnv", "Snapshot", "make"]

from regrasp.gym import register
from regrasp.xla import choose as choose_compiler

register()


def _choose_opengl() -> None:
    """MuJoCo picks its OpenGL binding when it is first imported; without a screen that must be EGL.

    A binding whose library is not there would break the import itself, even where nothing is drawn.
    """
    chosen = os.environ.get("MUJOCO_GL", "")
    library = {"": "libEGL.so.1", "egl": "libEGL.so.1", "osmesa": "libOSMesa.so.8"}.get(chosen)
    if sys.platform != "linux" or library is None:
        return
    drawable = _loads(library) and (_loads("libOpenGL.so.0") or _loads("libGL.so.1"))
    if drawable:
        os.environ["MUJOCO_GL"] = chosen or "egl"
    elif chosen:
        os.environ["MUJOCO_GL"] = "disabled"


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


_choose_opengl()


choose_compiler()

if TYPE_CHECKING:
    from regrasp.envs import BatchEnv, Snapshot
    from regrasp.gym import make


def __getattr__(name: str) -> Any:
    """Import the public names when first used: `import regrasp` alone loads no engine."""
    if name == "make":
        from regrasp.gym import make

        return make
    if name in ("BatchEnv", "Snapshot"):
        import regrasp.envs

        return getattr(regrasp.envs, name)
    raise AttributeError(f"module 'regrasp' has no attribute {name!r}")
