"""Errors a user can mend: tools print their message alone, without a traceback."""

from collections.abc import Iterable


class MendableError(Exception):
    """What went wrong, where, and how to mend it."""


class BadInputError(MendableError, ValueError):
    """A config, data set, checkpoint or argument that cannot be used."""


class NotSavedError(MendableError, OSError):
    """A file that could not be written; what was there before is as it was."""


def some_of(values: Iterable[object], most: int = 5) -> str:
    """Name the first of the values, at most so many, and say how many more there are."""
    names = [str(value) for value in values]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
