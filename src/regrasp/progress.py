"""How long work says how far it is."""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""(done, total, how it goes)."""
