"""Files that are there whole, or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from effvit_mm.errors import NotSavedError


@contextmanager
def written_whole(final: Path, *, remedy: str, active: bool = True, shared: bool = False) -> Iterator[Path]:
    """Give a temporary name to write to, and rename the file once it is on the disk.

    Args:
        final: The file's name in the end; what it was before stays until the new one is whole.
        remedy: What the user can do where it cannot be written.
        active: Whether this process writes; others get the name only.
        shared: Whether several processes may write the file at one time, each the whole of it. Else a temporary file
            that a killed process left is overwritten by the next.

    Yields:
        The temporary name, beside ``final``.

    Raises:
        NotSavedError: If the disk is full or the folder cannot be written; nothing is left half-written.
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
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise NotSavedError(f"{final} was not saved: {'the disk is full' if full else error}. {remedy}") from error


def _sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
