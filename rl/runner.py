"""Runs an exported policy with numpy and onnxruntime alone. This file can be copied to a robot as it is.

player = Player(Runner("bundle"))  # It is asked in every control step.
action = player.act({term["name"]: ... for term in player.runner.meta["observations"]})

Where arms move on while the policy thinks, ask for chunks, and say what will have been done by the time that
they come (real-time chunking). The newest chunk is then played alone; how many of its actions is for
`regrasp eval --continued --execute` to find out:

chunk = runner.act(obs, pending=chunk[runner.execute:], delay=3)
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

FORMAT = 2
"""Bundles of format 1 said nothing of averaging: their chunks are played without."""
STIFF = 0.1
"""Ridge of the fit to pending actions: below it a weight is weak."""


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
        self._session = _session(folder / "policy.onnx", weights, threads)
        self._terms = [(term["name"], tuple(term["shape"])) for term in self.meta["observations"]]
        self._basis = np.asarray(self.meta.get("basis", []), np.float32)
        wanted = [f"obs_{name}" for name, _ in self._terms] + ["noise"]
        wanted += ["pending", "gain"] if self._basis.size else []
        found = [value.name for value in self._session.get_inputs()]
        if sorted(found) != sorted(wanted):
            raise BundleError(
                f"{folder / 'policy.onnx'} takes {', '.join(found)}, policy.json names "
                f"{', '.join(wanted)}: export it again"
            )

    @property
    def noise_size(self) -> int:
        """Numbers of standard normal noise that one chunk is made from."""
        return int(self.meta["noise_size"])

    @property
    def noise(self) -> float:
        """Scale of the noise that it acts with: 1 for a policy that tries, 0 for most."""
        return float(self.meta.get("noise", 0.0))

    @property
    def chunk(self) -> int:
        """Actions in a chunk."""
        return int(self.meta["chunk"])

    @property
    def execute(self) -> int:
        """Actions of a chunk to play before asking again."""
        return int(self.meta["execute"])

    @property
    def ensemble(self) -> float | None:
        """Chunks that overlap are averaged, each with a weight exp(-this) times that of the one before; none:
        the newest one alone is played."""
        return self.meta.get("ensemble")

    def chunks(
        self, obs: Mapping[str, Any], noise: Any, pending: Any = None, gain: Any = None
    ) -> np.ndarray:
        """Chunks of many rows.

        Args:
            obs: term -> (rows, ...) float32, in the units of policy.json.
            noise: (rows, noise_size) float32, standard normal.
            pending: (rows, chunk, action) actions that are played next unless a new chunk comes.
            gain: (rows, knots, chunk) how far they bind, from `holding`; none: not at all.

        Returns:
            (rows, chunk, action) float32: absolute joint targets in rad, grippers 0..1.

        Raises:
            BundleError: a term is missing or of another shape, or this bundle cannot be held.
        """
        noise = np.asarray(noise, np.float32)
        rows = noise.shape[:1]
        feed = {"noise": _checked("noise", noise, (*rows, self.noise_size))}
        for name, shape in self._terms:
            feed[f"obs_{name}"] = _checked(name, obs.get(name), (*rows, *shape))
        if self._basis.size:
            length, knots = self._basis.shape
            size = len(self.meta["action"]["names"])
            held = {"pending": (pending, (length, size)), "gain": (gain, (knots, length))}
            for name, (values, shape) in held.items():
                values = np.zeros((*rows, *shape)) if values is None else values
                feed[name] = _checked(name, values, (*rows, *shape))
        return np.asarray(self._session.run(None, feed)[0])

    def act(
        self, obs: Mapping[str, Any], noise: Any = None, pending: Any = None, delay: int = 0
    ) -> np.ndarray:
        """One chunk, (chunk, action), from the observation of one robot.

        Without noise the chunk is the middle of what the policy would do, the same for the same observation.

        Args:
            obs: term -> its numbers, in the units of policy.json.
            noise: noise_size numbers, standard normal.
            pending: (n, action) the actions that are left of the last chunk, next one first.
            delay: how many of them will have been played before this chunk can be.

        Raises:
            BundleError: as for `chunks`, or there are fewer pending actions than the delay is long.
        """
        if noise is None:
            noise = np.zeros(self.noise_size)
        held = {}
        if pending is not None and len(pending):
            pending = np.asarray(pending, np.float32)[: self.chunk]
            if not 0 <= delay <= len(pending):
                raise BundleError(f"delay {delay}, but {len(pending)} actions are pending")
            known = np.resize(pending[-1], (self.chunk, pending.shape[1]))
            known[: len(pending)] = pending
            gain = self.gain(delay, len(pending))
            held = {"pending": known[None], "gain": gain[None]}
        one = {k: np.asarray(v)[None] for k, v in obs.items()}
        return self.chunks(one, np.asarray(noise)[None], **held)[0]

    def gain(self, delay: int, known: int) -> np.ndarray:
        """`holding` for this policy.

        Raises:
            BundleError: it was exported by a version that knew nothing of pending actions.
        """
        if not self._basis.size:
            raise BundleError("this bundle knows nothing of pending actions: export it again")
        return holding(self._basis, delay, known)


class Player:
    """Plays the chunks of a policy on one robot, in the way that it was trained to be played."""

    def __init__(self, runner: Runner, seed: int = 0):
        """Begin an episode.

        Args:
            runner: whose chunks are played.
            seed: of the noise, for a policy that acts with some.
        """
        self.runner = runner
        self._rng = np.random.default_rng(seed)
        self.reset()

    def reset(self) -> None:
        """Begin another episode: nothing is left of what was asked for before."""
        self._step = 0
        self._asked: list[tuple[int, np.ndarray]] = []

    def act(self, obs: Mapping[str, Any]) -> np.ndarray:
        """The action of this control step, (action,); every `execute` steps the policy is asked anew.

        Args:
            obs: as for `Runner.act`.

        Raises:
            BundleError: as for `Runner.chunks`.
        """
        runner, step = self.runner, self._step
        if step % runner.execute == 0:
            if runner.ensemble is None:
                self._asked.clear()
            noise = runner.noise * self._rng.standard_normal(runner.noise_size)
            self._asked.append((step, runner.act(obs, noise)))
        self._asked = [one for one in self._asked if step - one[0] < runner.chunk]
        weight = np.exp(-(runner.ensemble or 0.0) * np.arange(len(self._asked)))
        covering = np.stack([chunk[step - first] for first, chunk in self._asked])
        self._step += 1
        return (weight @ covering / weight.sum()).astype(np.float32)


def holding(basis: Any, delay: int, known: int) -> np.ndarray:
    """How far pending actions bind a new chunk: from what is off to corrections of its coefficients.

    The first `delay` actions will be played whatever happens and bind fully; the others are only what was
    meant, and bind less and less (the soft mask of real-time chunking, Black et al., 2025).

    Args:
        basis: (chunk, knots) from coefficients to actions.
        delay: control steps until the new chunk can be played.
        known: actions that are pending; of what follows nothing is known.

    Returns:
        (knots, chunk) float32; weighted least squares with a ridge, so that weak weights only pull.
    """
    basis = np.asarray(basis, np.float64)
    step = np.arange(len(basis))
    fading = np.clip((known - step) / (known - delay + 1), 0, 1)
    weight = np.where(step < delay, 1.0, fading * np.expm1(fading) / np.expm1(1.0))
    weighted = basis.T * np.where(step < known, weight, 0.0)
    return np.linalg.solve(weighted @ basis + STIFF * np.eye(basis.shape[1]), weighted).astype(
        np.float32
    )


def _read_meta(folder: Path) -> dict[str, Any]:
    path = folder / "policy.json"
    text = _read(path)
    try:
        meta = json.loads(text)
    except ValueError as error:
        raise BundleError(f"{path} is not JSON ({error}): export the policy again") from None
    needed = ("format", "observations", "chunk", "execute", "noise_size", "sha256")
    missing = [name for name in needed if not isinstance(meta, dict) or name not in meta]
    if missing:
        raise BundleError(f"{path} lacks {', '.join(missing)}: export the policy again")
    if meta["format"] not in range(1, FORMAT + 1):
        raise BundleError(
            f"bundle {folder} has format {meta['format']}, this runner reads 1 to {FORMAT}: export it again"
        )
    try:
        str(meta["sha256"]["policy.onnx"])
        fade, scale = meta.get("ensemble"), meta.get("noise", 0.0)
        sizes = [meta["noise_size"], meta["chunk"], meta["execute"]]
        for term in meta["observations"]:
            sizes += [len(term["name"]), *term["shape"]]
        sound = all(type(n) is int and n > 0 for n in sizes) and sizes[2] <= sizes[1]
        sound &= type(scale) in (int, float) and scale in (0, 1)
        sound &= fade is None or (type(fade) in (int, float) and 0 <= fade < np.inf)
        if np.asarray(meta.get("basis", []), np.float32).size:
            sound &= np.ndim(meta["basis"]) == 2 and bool(meta["action"]["names"])
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise BundleError(
            f"{path} has entries of another kind than a policy's: export the policy again"
        )
    return meta


def _session(path: Path, weights: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds have no other common base.
        reason = str(error).splitlines()[0][:200]
        raise BundleError(f"{path} cannot be run ({reason}): export it again") from None


def _checked(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    found = None if values is None else np.shape(values)
    if found != shape:
        raise BundleError(f"{name!r} has shape {found}, this policy takes {shape}")
    return np.asarray(values, np.float32)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"no bundle: cannot read {path} ({error.strerror}): export a policy there first"
        ) from None
