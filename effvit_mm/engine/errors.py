"""The error a user can mend: tools print its message alone, without a traceback."""


class BadInputError(ValueError):
    """A config, data set, checkpoint or argument that cannot be used; the message says what, where and the remedy."""
