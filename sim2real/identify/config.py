"""Settings of an identification."""

from dataclasses import dataclass

from regrasp.errors import check_positive, unknown
from regrasp.sim2real.identify.terms import LADDER


@dataclass(frozen=True)
class IdentifyConfig:
    """Settings of an identification."""

    piece_s: float = 12.0
    """Length of the pieces that recordings are cut into, at most (s)."""
    total_s: float = 200.0
    """Time that the pieces have together (s); more is surer and slower. Of recordings that would
    give pieces of less than 5 s, some are left out."""
    folds: int = 3
    """Times that motions are held out to choose terms."""
    choose: bool = True
    """Choose terms on held-out motions; else every joint gets `rung`."""
    rung: str = "motor, stribeck"
    """Terms beside the plain ones where none are chosen."""
    shared: bool = True
    """Try corrections of masses, and a supply that droops, on held-out motions."""
    iterations: int = 3
    """Gauss-Newton iterations on the whole arm at the end, at most."""
    rounds: int = 4
    """Searches of every joint under the loads of the simulated arm, at most."""
    threads: int = 0
    """Threads; 0 takes every core."""

    def __post_init__(self) -> None:
        check_positive(self, ("piece_s", "total_s", "folds", "iterations", "rounds"))
        if self.rung not in LADDER:
            raise unknown("rung", self.rung, LADDER)
