"""Errors a user can mend: tools print their message alone, without a traceback."""

from collections.abc import Iterable, Sequence


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


def listed(problems: Sequence[object], most: int = 3) -> str:
    """Put the first of the problems, at most so many, on indented lines of their own, and say how many more there are.

    Returns:
        The lines, each with the line break in front of it, for the end of a sentence that closes with a colon.
    """
    more = f"\n  ... and {len(problems) - most} more" if len(problems) > most else ""
    return "".join(f"\n  {problem}" for problem in problems[:most]) + more
