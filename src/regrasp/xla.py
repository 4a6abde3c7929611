"""An option of JAX's compiler, without which MJX on the CPU never returns."""

import os
import re
import sys
from importlib.metadata import PackageNotFoundError, version

OPTIONS = (
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_enable_concurrency_optimized_scheduler=false",
)
"""Either will do. With the first MJX runs several times faster; the second is for releases that have lost the
first, because an option that XLA does not know ends the process."""


def option(release: str | None = None) -> str:
    """The one for a release of jaxlib, such as "0.10.2"; by default the installed one."""
    numbers = [int(part) for part in re.findall(r"\d+", release or version("jaxlib"))[:3]]
    return OPTIONS[numbers > [0, 11, 0]]


def chosen() -> bool:
    """Whether either is set."""
    names = [option.partition("=")[0] for option in OPTIONS]
    return any(name in os.environ.get("XLA_FLAGS", "") for name in names)


def choose() -> None:
    """Set it, unless it is set, JAX has already computed, or there is no JAX: a policy alone runs without."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    late = bridge is not None and getattr(bridge, "backends_are_initialized", lambda: True)()
    if late or chosen():
        return
    try:
        wanted = option()
    except PackageNotFoundError:
        return
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {wanted}".strip()
