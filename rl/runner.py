"""Runs an exported policy with numpy and onnxruntime alone. This file can be copied to a robot as it is.

runner = Runner("bundle")
chunk = runner.act({"joint_pos": ..., "gripper": ..., "cube_pos": ..., "cube_rot": ...})
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

FORMAT = 1


class BundleError(ValueError):
    """A bundle that cannot be run; the message says why and what to do."""


class Runner:
    """An exported policy: observation terms in, chunks of joint targets out."""

    def __init__(self, folder: str | Path, threads: int = 1):
        """Load and check a bundle.

        Args:
            folder: holds policy.onnx and policy.json.
            threads: of onnxruntime.

        Raises:
            BundleError: a file is missing, its checksum is wrong, or the format is another.
        """
        folder = Path(folder)
        self.meta = _read_meta(folder)
        weights = _read(folder / "policy.onnx")
        digest = hashlib.sha256(weights).hexdigest()
        if digest != self.meta["sha256"]["policy.onnx"]:
            raise BundleError(
                f"{folder / 'policy.onnx'} has checksum {digest[:12]}..., policy.json says "
                f"{self.meta['sha256']['policy.onnx'][:12]}...: export it again"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            weights, options, providers=["CPUExecutionProvider"]
        )
        self._terms = [(term["name"], tuple(term["shape"])) for term in self.meta["observations"]]
        self._rng = np.random.default_rng(0)

    @property
    def noise_size(self) -> int:
        """Numbers of standard normal noise that one chunk is made from."""
        return int(self.meta["noise_size"])

    @property
    def chunk(self) -> int:
        """Actions in a chunk."""
        return int(self.meta["chunk"])

    @property
    def execute(self) -> int:
        """Actions of a chunk to play before asking again."""
        return int(self.meta["execute"])

    def chunks(self, obs: Mapping[str, Any], noise: Any) -> np.ndarray:
        """Chunks of many rows.

        Args:
            obs: term -> (rows, ...) float32, in the units of policy.json.
            noise: (rows, noise_size) float32, standard normal.

        Returns:
            (rows, chunk, action) float32: absolute joint targets in rad, grippers 0..1.

        Raises:
            BundleError: a term is missing or of another shape.
        """
        for name, shape in self._terms:
            if name not in obs or np.shape(obs[name])[1:] != shape:
                got = None if name not in obs else np.shape(obs[name])[1:]
                raise BundleError(
                    f"observation {name!r} has shape {got}, this policy takes {shape}"
                )
        feed = {f"obs_{name}": np.asarray(obs[name], np.float32) for name, _ in self._terms}
        feed["noise"] = np.asarray(noise, np.float32)
        return np.asarray(self._session.run(None, feed)[0])

    def act(self, obs: Mapping[str, Any], noise: Any = None) -> np.ndarray:
        """One chunk, (chunk, action), from the observation of one robot.

        Noise is drawn here if it is not given: the first chunk of a new Runner is always made from the same.
        """
        if noise is None:
            noise = self._rng.standard_normal(self.noise_size)
        return self.chunks(
            {k: np.asarray(v)[None] for k, v in obs.items()}, np.asarray(noise)[None]
        )[0]


def _read_meta(folder: Path) -> dict[str, Any]:
    try:
        meta = json.loads(_read(folder / "policy.json"))
        needed = ("format", "observations", "chunk", "execute", "noise_size", "sha256")
        missing = [name for name in needed if name not in meta]
    except (ValueError, TypeError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(
            f"{folder / 'policy.json'} is not JSON ({error}): export the policy again"
        ) from None
    if missing:
        raise BundleError(
            f"{folder / 'policy.json'} lacks {', '.join(missing)}: export the policy again"
        )
    if meta["format"] != FORMAT:
        raise BundleError(
            f"bundle {folder} has format {meta['format']}, this runner reads {FORMAT}: export it again"
        )
    return meta


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"no bundle: cannot read {path} ({error.strerror}): export a policy there first"
        ) from None
