"""What is looked at, and from where."""

import errno
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from regrasp.assets import ALOHA
from regrasp.errors import InputError, check_within
from regrasp.sim2real.units import ReadConfig

NEARBY = 50
"""How many ports after one in use are tried for a suggestion."""


@dataclass(frozen=True)
class ViewConfig:
    """What is looked at, and where its page is."""

    policy: str | None = None
    """Who acts: expert, leader (you, from the page), or a bundle: its folder, that of a run, or the name of a
    shipped one. None: the expert; of a snapshot, the leader."""
    workcell: str = ALOHA
    """Whose arms do it: aloha, so101, or the file of a table."""
    snapshot: Path | None = None
    """A kept state to begin with, as `Snapshot.save` writes it."""
    randomize: str = "nominal"
    """Physics, timing and sensing of episodes: nominal, or table (the task's own)."""
    seed: int = 0
    """Of the episodes: those that `regrasp eval` judges on."""
    ghosts: int = 16
    """Futures that a fork shows at first."""
    fps: int = 30
    """Pictures per second, at most."""
    speed: float = 1.0
    """Simulated seconds per second."""
    record: Path = Path("runs/by-hand")
    """Folder for demonstrations that are recorded on the page."""
    logs: tuple[Path, ...] = ()
    """Recordings to play beside the simulation, real ones too, or folders of them."""
    arm: str = ""
    """Name of the arm that was recorded; by default the one that has their joints."""
    params: str | None = None
    """Fitted parameters of that arm, by file or by name; the nominal ones if not given."""
    read: Annotated[ReadConfig, tyro.conf.arg(name="")] = field(default_factory=ReadConfig)
    """What the recordings do not say themselves."""
    host: str = "127.0.0.1"
    """Address to serve; 0.0.0.0 lets other machines in, who may then do whatever the page can."""
    port: int = 8080
    """Port to serve; 0 takes any that is free."""

    def __post_init__(self) -> None:
        check_within(self, ("ghosts",), 1, 64)
        check_within(self, ("fps",), 1, 120)
        check_within(self, ("speed",), 0.05, 10)
        check_within(self, ("port",), 0, 65535)


def free_port(host: str, port: int) -> int:
    """The port, if nothing else is served there; for 0 one that is free.

    Raises:
        InputError: it is in use, and another one is suggested; or the address is not this machine's.
    """
    if _is_free(host, port):
        return port or _any_port(host)
    last = min(port + NEARBY, 65535)
    other = next((n for n in range(port + 1, last + 1) if _is_free(host, n)), 0)
    raise InputError(f"port {port} of {host} is in use: choose another, such as --port {other}")


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Without this a port is taken for a minute after its last connection.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise InputError(
                f"port {port} is reserved for the administrator: choose 1024 or more"
            ) from None
        except socket.gaierror:
            raise InputError(f"host {host!r} is no address: choose 127.0.0.1 or 0.0.0.0") from None
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise InputError(
                    f"host {host} is not an address of this machine: choose 127.0.0.1 or 0.0.0.0"
                ) from None
            return False
    return True


def _any_port(host: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
