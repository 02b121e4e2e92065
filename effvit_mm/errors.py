"""Errors a user can mend: tools print their message alone, without a traceback."""


class MendableError(Exception):
    """What went wrong, where, and how to mend it."""


class BadInputError(MendableError, ValueError):
    """A config, data set, checkpoint or argument that cannot be used."""


class NotSavedError(MendableError, OSError):
    """A checkpoint that could not be written; the ones before it are as they were."""
