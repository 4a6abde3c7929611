"""Pictures of a log: read one by one, when asked for."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from regrasp.errors import InputError

MAX_PIXELS = 4096 * 4096
"""Most pixels of one picture."""


@dataclass(frozen=True)
class Images:
    """The pictures of one camera: `len(images)`, `images[i]`, and `images.shape` of one."""

    count: int
    shape: tuple[int, int, int]
    """Rows, columns and channels of a picture; 0 where it is not known before one is read."""
    read: Callable[[int], UInt8[np.ndarray, "rows columns 3"]]
    """Reads picture i; raises InputError if it is damaged."""

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "rows columns 3"]:
        if not -self.count <= index < self.count:
            raise IndexError(index)
        return self.read(int(index) % self.count)


def decode(data: bytes, where: str) -> UInt8[np.ndarray, "rows columns 3"]:
    """A JPEG or PNG file as RGB.

    Args:
        data: the file.
        where: what the error says it is.

    Raises:
        InputError: it is neither, is damaged, or has more than MAX_PIXELS.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise InputError(f"{where} has {picture.size} pixels: refused")
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where} is no picture ({error}): copy the file again") from None
