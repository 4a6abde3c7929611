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


def check_within(config: object, names: Iterable[str], low: float, high: float) -> None:
    """Refuse settings, or ends of (low, high) settings, that lie outside of what is possible.

    Raises:
        InputError: names the setting, its value and the allowed range.
    """
    for name in names:
        value = getattr(config, name)
        first, last = value if isinstance(value, tuple) else (value, value)
        if not low <= first <= last <= high:
            what = "(low, high)" if isinstance(value, tuple) else "a number"
            raise InputError(f"{name} {value}: choose {what} from {low:g} to {high:g}")


def check_each_within(config: object, names: Iterable[str], low: float, high: float) -> None:
    """Refuse settings of several numbers, such as edges, of which one lies outside of what is possible.

    Raises:
        InputError: names the setting, its value and the allowed range.
    """
    for name in names:
        value = getattr(config, name)
        if not all(low <= number <= high for number in value):
            raise InputError(f"{name} {value}: choose numbers from {low:g} to {high:g}")


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
