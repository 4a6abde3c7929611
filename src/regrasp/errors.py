"""The one error that a user's input raises."""

from collections.abc import Iterable
from dataclasses import Field
from difflib import get_close_matches
from itertools import chain, repeat


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


def check_alike(what: str, value: object, field: Field) -> None:
    """Refuse a value from a file that is of another kind than the default of a field.

    Args:
        what: names the value.
        value: a number, a name, or tuples of them.
        field: of a dataclass; a tuple must be as long as its default, unless its type says that any will do.

    Raises:
        InputError: names the value and the default.
    """
    if not _alike(value, field.default, "..." in str(field.type)):
        raise InputError(f"{what} is {value!r}: give it as its default is given, {field.default!r}")


def _alike(value: object, default: object, any_length: bool) -> bool:
    if isinstance(default, tuple):
        if not isinstance(value, tuple) or (len(value) != len(default) and not any_length):
            return False
        return all(map(_alike, value, chain(default, repeat(default[-1])), repeat(any_length)))
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return default is None or type(value) is type(default)


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
