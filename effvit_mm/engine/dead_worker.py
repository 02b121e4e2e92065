"""What to say when a process that loads data has died, as torch says it only by a number.

An exception inside a worker travels to the main process and is explained there. A worker that is killed, for want of
memory as a rule, leaves no exception: torch notices that it is gone.
"""

import gc
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from mmengine.config import Config
from mmengine.runner import BaseLoop, TestLoop, ValLoop
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from effvit_mm.errors import MendableError

DEAD = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) "
    r"(?:is killed by signal: ([A-Za-z ]+)|exited unexpectedly(?: with exit code (\d+))?)"
)
# What reading a batch raises whose worker went while it was handing it over, before torch has looked for it.
LOST = (ConnectionError, EOFError, FileNotFoundError)
PATIENCE = 2.0  # seconds
SHARED_MEMORY = Path("/dev/shm")
CRASHES = ("Segmentation fault", "Aborted", "Illegal instruction", "Floating point exception")


class WorkerDiedError(MendableError, RuntimeError):
    """A process that loads data was killed or crashed."""


def explain_dead_worker(error: BaseException, frames: list[FrameType], cfg: Config) -> str | None:
    """Say which loader lost a worker, why most likely, and how to go on; None if the error is no word of that.

    All loaders lose their workers here, because torch would raise the same error again: from the handler of SIGCHLD, at
    whatever line the process happens to be, whenever a child ends.

    Args:
        error: What was raised.
        frames: Where, outermost first.
        cfg: The config of the run.
    """
    said = DEAD.match(str(error)) if isinstance(error, RuntimeError) else None
    loader = next((loader for frame in reversed(frames) if (loader := _iterator_of(frame)) is not None), None)
    if said is None and (loader is None or not isinstance(error, LOST)):
        return None
    with _undisturbed():
        codes = _exit_codes(loader) if loader is not None else {}
        if said is None and not codes:
            return None
        pids = set(map(int, said[1].split(","))) if said else set(codes)
        split = _split_of(frames, pids)
        death = _death_said(error) or _death_said(error.__cause__ or error.__context__)
        death = death or _death_of(next((code for code in codes.values() if code), 0))
        for other in [item for item in gc.get_objects() if type(item) is _MultiProcessingDataLoaderIter]:
            other._shutdown_workers()
    return _say(split, pids, death, frames, cfg)


def _say(split: str, pids: set[int], death: str | None, frames: list[FrameType], cfg: Config) -> str:
    name = f"{split}_dataloader"
    num_workers = cfg.get(name, {}).get("num_workers") or 1
    fewer = f"{name}.num_workers={num_workers // 2}"
    if num_workers == 1:
        fewer += f" {name}.persistent_workers=False"
    trains = any(not isinstance(loop, ValLoop | TestLoop) for loop in _loops(frames))
    go_on = "go on from the last checkpoint, with --resume and" if trains else "run again with"
    return (
        f"a worker of {name} (process {', '.join(map(str, sorted(pids)))} of num_workers={num_workers}) died: "
        f"{death or 'it left no word why'}. {_cause(death)}\nEvery worker holds batches and a part of the data set in "
        f"memory: {go_on} fewer of them, --cfg-options {fewer}"
    )


def _cause(death: str | None) -> str:
    if death == "Bus error":
        return f"The shared memory was full: {_shared_memory()}."
    if death in CRASHES:
        return "A library crashed inside it; num_workers=0 loads in the main process and shows which one, and on what."
    return (
        f"Most likely the system ended it because the memory was full (dmesg or the job's log says so), or the shared "
        f"memory was: {_shared_memory()}."
    )


def _shared_memory() -> str:
    """Say how large the memory is through which workers hand over their batches, and how to enlarge it."""
    if not SHARED_MEMORY.is_dir():
        return "workers hand over their batches through it"
    size = shutil.disk_usage(SHARED_MEMORY).total / 2**30
    return f"{SHARED_MEMORY} holds {size:.1f} GiB, and a container gets more by --shm-size=16g or --ipc=host"


def _death_said(error: BaseException | None) -> str | None:
    """Return the signal or exit status that torch names; it may notice the same death twice, and name it once."""
    said = DEAD.match(str(error))
    return (said[2] or (said[3] and _death_of(int(said[3])))) if said else None


def _death_of(code: int) -> str | None:
    return signal.strsignal(-code) if code < 0 else f"exit status {code}" if code else None


def _exit_codes(loader: _MultiProcessingDataLoaderIter) -> dict[int, int]:
    """Return how workers ended that are gone, by their process; one whose connection broke may take a moment."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        codes = {worker.pid: worker.exitcode for worker in loader._workers if worker.exitcode is not None}
        if codes:
            return codes
        time.sleep(0.01)
    return {}


def _iterator_of(frame: FrameType) -> _MultiProcessingDataLoaderIter | None:
    owner = frame.f_locals.get("self")
    return owner if isinstance(owner, _MultiProcessingDataLoaderIter) else None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep torch's handler of ended children silent."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled in the main thread alone
        return
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler)


def _loops(frames: list[FrameType]) -> list[BaseLoop]:
    loops = [frame.f_locals.get("self") for frame in frames]
    return [loop for loop in loops if isinstance(loop, BaseLoop)]


def _split_of(frames: list[FrameType], pids: set[int]) -> str:
    """Find the loader whose worker it was: its own if it still knows its workers, else that of the innermost loop."""
    loops = _loops(frames)
    runner = loops[0].runner if loops else None
    for split in ("train", "val", "test"):
        loop = getattr(runner, f"_{split}_loop", None)
        iterator = getattr(getattr(loop, "dataloader", None), "_iterator", None)
        if pids & {worker.pid for worker in getattr(iterator, "_workers", ())}:
            return split
    if loops and isinstance(loops[-1], TestLoop):
        return "test"
    return "val" if loops and isinstance(loops[-1], ValLoop) else "train"
