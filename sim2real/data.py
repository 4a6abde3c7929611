"""Where the recordings that the reports and tests use are found."""

import os
from pathlib import Path

from regrasp.errors import InputError

VARIABLE = "REGRASP_DATA"
RECORDINGS = "sage_so101"
REPEATS = "sage_so101_repeats.npz"


def find_data() -> Path | None:
    """The folder that holds the SO-101 recordings and their repeats, if there is one.

    It is the folder named by the environment variable REGRASP_DATA; else `../shared/data`,
    seen from the current folder or from the repository.

    Raises:
        InputError: REGRASP_DATA is set to something that is not a folder.
    """
    given = os.environ.get(VARIABLE)
    if given:
        if not Path(given).is_dir():
            raise InputError(
                f"{VARIABLE} is {given!r}, which is not a folder: "
                f"set it to one that holds {RECORDINGS}/, or unset it"
            )
        return Path(given)
    repository = Path(__file__).resolve().parents[1]
    for start in (Path.cwd(), repository):
        folder = start.parent / "shared" / "data"
        if (folder / RECORDINGS).is_dir():
            return folder
    return None
