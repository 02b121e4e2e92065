"""Processes that end with the one that started them, even if it was killed.

torch's workers do notice that their parent is gone, and leave their loop; but Python then waits for the thread that
hands over what was loaded, and that thread waits for room in a pipe that nobody reads any more, and that the workers
themselves keep open. torch calls ``cancel_join_thread`` only where the main process said that it was done. Batches
whose annotations and other parts that are no tensors fill the pipe (64 KiB) thus keep a worker for good.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

SECONDS = 1.0


def end_with(parent: int) -> None:
    """Kill this process as soon as ``parent`` is no longer its parent; a thread looks every second.

    Linux can send a signal instead (``PR_SET_PDEATHSIG``), but when the thread ends that started the process, which may
    be long before its process does. On Windows nothing is done: torch waits for its parent's handle there.

    Args:
        parent: The process that started this one.
    """
    if os.name == "posix":
        threading.Thread(target=_watch, args=(parent,), name="parent watch", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def end_with_launcher() -> None:
    """Let a process that ``torchrun`` started end with it."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        end_with(os.getppid())


def end_workers_with_us(loader: Any) -> Any:
    """Let the workers of a data loader end with the process that starts them.

    Args:
        loader: A ``DataLoader`` that has not been iterated yet; changed in place. What its workers call first is still
            called.

    Returns:
        The same loader.
    """
    if loader.num_workers and not isinstance(loader.worker_init_fn, _EndWithParent):
        loader.worker_init_fn = _EndWithParent(loader.worker_init_fn)
    return loader


class _EndWithParent:
    """The first call in a worker, around the one it had before."""

    def __init__(self, init: Callable[[int], object] | None) -> None:
        self.init = init

    def __call__(self, worker_id: int) -> None:
        parent = multiprocessing.parent_process()
        # A fork server stands between a worker and the process that asked for it.
        is_served = parent is None or multiprocessing.get_start_method() == "forkserver"
        end_with(os.getppid() if is_served else parent.pid)
        if self.init is not None:
            self.init(worker_id)
