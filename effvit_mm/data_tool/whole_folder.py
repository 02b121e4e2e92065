"""Folders that are there whole, or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from effvit_mm.errors import BadInputError, NotSavedError


@contextmanager
def made_whole(root: Path) -> Iterator[Path]:
    """Give a folder to fill, and move it to its name once it is whole.

    Args:
        root: The folder's name in the end; nothing, or an empty folder, may be there.

    Yields:
        A new folder beside ``root``, which is removed where anything goes wrong.

    Raises:
        BadInputError: If there is something at ``root``, which is left as it is.
        NotSavedError: If it cannot be written.
    """
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise BadInputError(f"{root} exists already and is not changed; give a new folder as --root, or move it away")
    folder = root.with_name(f".{root.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        folder.mkdir(parents=True)
        yield folder
        folder.rename(root)
    except OSError as error:
        raise NotSavedError(f"{root} was not made: {error}; nothing is left of it") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def place(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
