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

# MuJoCo picks its OpenGL binding when it is first imported. Without a screen that must be EGL, and
# asking for an EGL that is not there would break the import itself.
if sys.platform == "linux" and "MUJOCO_GL" not in os.environ:
    try:
        ctypes.CDLL("libEGL.so.1")
        os.environ["MUJOCO_GL"] = "egl"
    except OSError:
        pass

from regrasp.gym import register

register()

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
