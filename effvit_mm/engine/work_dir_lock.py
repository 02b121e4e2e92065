"""One run a folder: a second one would overwrite and remove the checkpoints of the first."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from effvit_mm.errors import BadInputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
HELD = (errno.EACCES, errno.EAGAIN)


@contextmanager
def own_folder(folder: Path, *, active: bool = True) -> Iterator[None]:
    """Hold a folder for a run, making it if need be; what is left empty is removed again.

    The lock is the process's own (``fcntl.lockf``): the system takes it back when the process ends in whatever way, and
    workers that outlive it do not hold it. Where there are no such locks, a line says so and the run goes on.

    Args:
        folder: The folder.
        active: Whether this process holds it; of several processes of one run, only the first does.

    Raises:
        BadInputError: If another live run holds it.
    """
    if not active:
        yield
        return
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _lock(folder / LOCK)
        try:
            yield
        finally:
            if lock is not None:
                with suppress(OSError):
                    (folder / LOCK).unlink()
                lock.close()
    finally:
        for place in made:
            with suppress(OSError):  # it holds something now
                place.rmdir()


def _lock(file: Path) -> IO[str] | None:
    if fcntl is None:
        print(f"no locks on this system: give no other run the folder {file.parent} while this one is going")
        return None
    while True:
        lock = file.open("a+", encoding="utf-8")
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            holder = lock.read().strip()
            lock.close()
            if error.errno in HELD:
                raise BadInputError(
                    f"another run is going in {file.parent}: {holder or 'its process is not known'}; wait for its end, "
                    f"or give another --work-dir"
                ) from error
            print(f"{file.parent} cannot be locked ({error}): give no other run this folder while this one is going")
            return None
        if _is_still(file, lock):
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            lock.flush()
            return lock
        lock.close()  # the run that held it has just removed it


def _is_still(file: Path, lock: IO[str]) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(lock.fileno()))
    except FileNotFoundError:
        return False
