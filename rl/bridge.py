"""Starts on the way from those that were demonstrated to the task's own.

A policy that knows one demonstration fails wherever objects stand elsewhere or servos are softer, and where
nothing ever works nothing is learned. A simulator can be put in between: a start of the task whose objects
are moved towards where a demonstration began, and whose physics, timing and sensing towards those it had.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int, UInt32

from regrasp.envs import BatchEnv, Snapshot
from regrasp.envs.world import placed

FREE = 7
"""Positions of a free joint: no other has as many, and a flex has a multiple of three."""


class Bridge:
    """Mixes the task's starts with demonstrated ones."""

    def __init__(self, env: BatchEnv, shown: Snapshot):
        """With the first states of demonstrations."""
        self._env, self._first = env, shown
        names = env.starts(np.zeros((1, 2), np.uint32))
        positions = shown.row[:, 1:]  # Time stands first.
        self._shown = {name: positions[:, placed(env.model, name)] for name in names}
        self._free = {name for name, values in self._shown.items() if values.shape[1] == FREE}

    def starts(
        self,
        keys: UInt32[Any, "k 2"],
        numbers: Int[np.ndarray, " k"],
        share: Float[np.ndarray, " k"],
    ) -> dict[str, Float32[np.ndarray, "k _"]]:
        """Positions of these episodes' starts, for `BatchEnv.begin`.

        Args:
            keys: of the episodes.
            numbers: of the episodes, each of which is always mixed with the same demonstration.
            share: of the way from a demonstration's start (0) to the episode's own (1).
        """
        return {
            name: self._mix(name, own, self._of(numbers), share[:, None])
            for name, own in self._env.starts(keys).items()
        }

    def physics(
        self, own: Snapshot, numbers: Int[np.ndarray, " k"], share: Float[np.ndarray, " k"]
    ) -> Snapshot:
        """These starts under physics, timing and sensing that are as far from the demonstrations'."""
        return between(own, self._first[self._of(numbers)], own, share)

    def _of(self, numbers: Int[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
        """The demonstrations that these episodes are mixed with."""
        return numbers % len(self._first)

    def _mix(
        self,
        name: str,
        own: Float32[np.ndarray, "k n"],
        of: Int[np.ndarray, " k"],
        share: Float[np.ndarray, "k 1"],
    ) -> Float32[np.ndarray, "k n"]:
        shown = self._shown[name][of].astype(np.float32)
        if name in self._free:
            # q and -q are one rotation: the way is the shorter one.
            shown[:, 3:] *= np.where((shown[:, 3:] * own[:, 3:]).sum(1, keepdims=True) < 0, -1, 1)
        mixed = np.where(share == 1, own, shown + share * (own - shown))
        if name in self._free:
            mixed[:, 3:] /= np.linalg.norm(mixed[:, 3:], axis=1, keepdims=True)
        return mixed.astype(np.float32)


def between(
    state: Snapshot, first: Snapshot, second: Snapshot, share: Float[np.ndarray, " k"]
) -> Snapshot:
    """These states, under physics, timing and sensing between those of `first` and of `second`."""

    def mix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        far = share.reshape(-1, *[1] * (b.ndim - 1))
        return np.where(far == 1, b, a + far * (b - a)).astype(b.dtype)

    fields = {name: mix(first.fields[name], values) for name, values in second.fields.items()}
    settings = mix(first.carry["settings"], second.carry["settings"])
    return replace(state, fields=fields, carry={**state.carry, "settings": settings})
