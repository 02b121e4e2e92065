"""Folders that are there whole, or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from effvit_mm.errors import BadInputError, NotSavedError


@contextmanager
def made_whole(root: Path, parts: Sequence[str] = ()) -> Iterator[Path]:
    """Give a folder to fill, and move it to its name once it is whole.

    Args:
        root: The folder's name in the end; nothing, or an empty folder, may be there.
        parts: The files and folders that are made, where others may be there already. They are moved in this order:
            what names the others comes last.

    Yields:
        A new folder on the disk of ``root``, which is removed where anything goes wrong.

    Raises:
        BadInputError: If there is something at ``root``, or at one of its parts; it is left as it is.
        NotSavedError: If it cannot be written.
    """
    _refuse_what_exists(root, parts)
    target = root.resolve()
    adds = bool(parts) and target.is_dir()
    folder = (target if adds else target.parent) / f".{target.name}.{uuid.uuid4().hex[:12]}.partial"
    try:
        folder.mkdir(parents=True)
        yield folder
        if adds:
            _refuse_what_exists(root, parts)
            _move(parts, folder, target)
        else:
            folder.rename(target)
    except OSError as error:
        raise NotSavedError(f"{root} was not made: {error}; nothing is left of it") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _refuse_what_exists(root: Path, parts: Sequence[str]) -> None:
    there = [root / part for part in parts if os.path.lexists(root / part)]
    if there:
        raise BadInputError(
            f"{there[0]} exists already and is not changed; give another folder as --root, or move it away"
        )
    if not parts and root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise BadInputError(f"{root} exists already and is not changed; give a new folder as --root, or move it away")


def _move(parts: Sequence[str], folder: Path, target: Path) -> None:
    """Move all parts, or none."""
    moved = []
    try:
        for part in parts:
            (target / part).parent.mkdir(parents=True, exist_ok=True)
            (folder / part).rename(target / part)
            moved.append(part)
    except BaseException:
        for part in moved:
            (target / part).rename(folder / part)
        raise


def place(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
