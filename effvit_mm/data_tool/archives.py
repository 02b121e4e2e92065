"""Downloaded archives: found by name, and read without trust in the names they hold."""

import os
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from effvit_mm.errors import BadInputError

GIB = 2**30
BUFFER = 2**20  # bytes copied at once
TORN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError)  # RuntimeError: a password is asked


def files_in(source: Path) -> list[Path]:
    """Return what was downloaded: the files anywhere inside a folder, those of upper folders first.

    Args:
        source: The folder.

    Raises:
        BadInputError: If it is no folder.
    """
    if not source.is_dir():
        raise BadInputError(f"--source {source} is no folder; give the one with what was downloaded")
    files = [Path(place, name) for place, _, names in os.walk(source, followlinks=True) for name in names]
    return sorted(files, key=lambda file: (len(file.parts), file))


def name_files(files: Iterable[Path]) -> dict[str, Path]:
    """Return files by their names; of several with one name the first."""
    named: dict[str, Path] = {}
    for file in files:
        named.setdefault(file.name, file)
    return named


def check_name(name: str, archive: Path | str) -> str:
    """Return the name of a member, or refuse one that leads out of the folder it is unpacked to.

    Args:
        name: As the archive has it.
        archive: For the message.

    Raises:
        BadInputError: If it is absolute or has ``..`` in it.
    """
    path = name.replace("\\", "/")
    if path.startswith("/") or ".." in path.split("/") or re.match("[A-Za-z]:", path):
        raise BadInputError(
            f"{archive} holds {name!r}, expected names inside the folder it is unpacked to; nothing is taken out "
            f"of it, fetch it from its official source"
        )
    return name


def check_room(root: Path, num_bytes: int) -> None:
    """Refuse to write more than the disk has room for.

    Args:
        root: What is written, there or not.
        num_bytes: How much.

    Raises:
        BadInputError: If less is free.
    """
    place = root.resolve()
    folder = next(parent for parent in (place, *place.parents) if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise BadInputError(
            f"--root {root} needs {num_bytes / GIB:.1f} GiB and its disk has {free / GIB:.1f} GiB free; make room, or "
            f"give a folder on another disk"
        )


@contextmanager
def reading(archive: Path | str, *others: type[Exception]) -> Iterator[None]:
    """Answer an archive that breaks off while it is read.

    Args:
        archive: For the message.
        others: Further errors that mean so.

    Raises:
        BadInputError: If it does.
    """
    try:
        yield
    except (*TORN, *others) as error:
        raise BadInputError(f"{archive} cannot be read ({error}), expected a whole archive; fetch it again") from error


def open_zip(file: Path) -> zipfile.ZipFile:
    """Open a zip archive whose names lead nowhere outside."""
    with reading(file, OSError):
        archive = zipfile.ZipFile(file)
    try:
        for name in archive.namelist():
            check_name(name, file)
    except BadInputError:
        archive.close()
        raise
    return archive


def open_tar(file: Path | str, content: IO[bytes] | None = None) -> tarfile.TarFile:
    """Open a tar archive that is not compressed.

    Args:
        file: The archive.
        content: What to read, where the archive is a member of another one; ``file`` is for messages then.
    """
    with reading(file, OSError):
        return tarfile.open(None if content else file, "r:", fileobj=content)


def tar_files(tar: tarfile.TarFile, archive: Path | str) -> Iterator[tarfile.TarInfo]:
    """Go through the files of a tar archive.

    Args:
        tar: The archive.
        archive: For messages.

    Raises:
        BadInputError: If the archive breaks off, a name leads outside, or there are links or devices.
    """
    with reading(archive):
        for member in tar:
            check_name(member.name, archive)
            if not (member.isfile() or member.isdir()):
                raise BadInputError(
                    f"{archive} holds {member.name!r}, a link or device, expected files; fetch it again"
                )
            if member.isfile():
                yield member
        # tarfile takes a header that it cannot read for the end.
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"no header at byte {tar.offset:,}")


def write_member(open_member: Callable[[], IO[bytes]], target: Path, archive: Path | str) -> None:
    """Write a member to a new file.

    Args:
        open_member: Opens it.
        target: The file.
        archive: For messages.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with reading(archive), open_member() as content, target.open("xb") as file:
        shutil.copyfileobj(content, file, BUFFER)
