"""Files that are there whole, or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from effvit_mm.errors import NotSavedError

FULL = (errno.ENOSPC, errno.EDQUOT)
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def written_whole(final: Path, *, remedy: str, active: bool = True, shared: bool = False) -> Iterator[Path]:
    """Give a temporary name to write to, and rename the file once it is on the disk.

    Args:
        final: The file's name in the end; what it was before stays until the new one is whole.
        remedy: What the user can do where it cannot be written, with ``{first}`` for what comes first, which depends on
            why: make room, or give the right to write.
        active: Whether this process writes; others get the name only.
        shared: Whether several processes may write the file at one time, each the whole of it. Else a temporary file
            that a killed process left is overwritten by the next.

    Yields:
        The temporary name, beside ``final``.

    Raises:
        NotSavedError: If it cannot be written, such as on a full disk or in a folder of others; nothing is left
            half-written.
    """
    partial = final.with_name(f".{final.name}{f'.{os.getpid()}' if shared else ''}.partial")
    try:
        yield partial
        if active:
            _sync(partial)
            partial.replace(final)
            _sync(final.parent)
    except BaseException as error:
        with suppress(OSError):  # the folder may be the trouble
            if active:
                partial.unlink()
        if not isinstance(error, OSError):
            raise
        said = "the disk is full" if error.errno in FULL else str(error)
        first = "make room" if error.errno in FULL else "get the right to write there" if error.errno in CLOSED else ""
        remedy = remedy.format(first=first or "remove the cause")
        raise NotSavedError(f"{final} was not saved: {said}. {remedy[0].upper()}{remedy[1:]}") from error


def _sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
