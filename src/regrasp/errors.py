"""The one error that a user's input raises."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Bad input: the message is one line that names the value, the choices and the fix.

    The command line prints it without a traceback and exits with 2.
    """


def check_positive(config: object, names: Iterable[str]) -> None:
    """Refuse settings that are not positive.

    Raises:
        InputError: names the setting and its value.
    """
    for name in names:
        value = getattr(config, name)
        if not value > 0:
            raise InputError(f"{name} {value}: choose a number above 0")


def unknown(kind: str, value: object, choices: Iterable[str]) -> InputError:
    """The error for a name that is none of the choices.

    Args:
        kind: what the name stands for, such as "task".
        value: what was given.
        choices: the names that would have been understood.
    """
    names = sorted(choices)
    close = get_close_matches(str(value), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return InputError(
        f"unknown {kind} {value!r}: {hint}choose one of {', '.join(names) or '(none)'}"
    )
