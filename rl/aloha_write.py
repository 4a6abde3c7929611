"""Writing the HDF5 layout of an ALOHA: one file per episode, as its own training code reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float, UInt8

from regrasp.errors import InputError
from regrasp.files import whole

FILE = "episode_{}.hdf5"
ENVIRONMENT = "observations/environment_state"


@dataclass(frozen=True, eq=False)
class AlohaEpisode:
    """One episode: joints in rad, grippers as openings 0..1, the left arm first."""

    qpos: Float[np.ndarray, "T joints"]
    action: Float[np.ndarray, "T joints"]
    """Action t is sent just after qpos t was measured."""
    qvel: Float[np.ndarray, "T joints"] | None = None
    """None: differences of qpos."""
    dt_s: float = 0.02
    """Time between samples, which the layout itself does not hold: it becomes an attribute."""
    sim: bool = True
    images: Mapping[str, UInt8[np.ndarray, "T rows columns 3"]] = field(default_factory=dict)
    observed: Mapping[str, Float[np.ndarray, "T *shape"]] = field(default_factory=dict)
    """What else was observed, such as where objects are: observation term -> its numbers. The layout has
    no place for it: it goes to /observations/environment_state/<term>."""


def write(path: str | Path, episode: AlohaEpisode) -> None:
    """Write an episode, whole or not at all.

    Grippers are openings, which the attribute `gripper` says: commands of a real ALOHA are its leader's.

    Raises:
        InputError: shapes or numbers that no episode has, or the file cannot be written.
    """
    length = len(episode.qpos)
    qvel = episode.qvel
    if qvel is None:
        if length < 2:
            raise InputError(f"an episode of {length} samples has no velocities: give at least 2")
        qvel = np.gradient(np.asarray(episode.qpos, np.float64), episode.dt_s, axis=0)
    arrays = {
        "observations/qpos": episode.qpos,
        "observations/qvel": qvel,
        "action": episode.action,
    }
    for name, values in arrays.items():
        if values.shape != episode.qpos.shape or values.ndim != 2 or not np.isfinite(values).all():
            raise InputError(
                f"{name} has shape {values.shape} or is not finite: give {episode.qpos.shape}, all finite"
            )
    with whole(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["sim"], file.attrs["compress"] = episode.sim, False
        file.attrs["dt_s"], file.attrs["gripper"] = float(episode.dt_s), "opening"
        for name, values in arrays.items():
            file.create_dataset(name, data=np.asarray(values, np.float64))
        for term, values in episode.observed.items():
            if len(values) != length or not np.isfinite(values).all():
                raise InputError(
                    f"{term} has {len(values)} samples of {length} or is not finite: give one for each"
                )
            flat = np.asarray(values, np.float64).reshape(length, -1)
            file.create_dataset(f"{ENVIRONMENT}/{term}", data=flat)
        for camera, pictures in episode.images.items():
            if pictures.dtype != np.uint8 or pictures.ndim != 4 or len(pictures) != length:
                raise InputError(
                    f"pictures of {camera} are {pictures.dtype} {pictures.shape}: give one a sample"
                )
            file.create_dataset(
                f"observations/images/{camera}", data=pictures, chunks=(1, *pictures.shape[1:])
            )
