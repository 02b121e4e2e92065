"""Processor, memory and disk; what a container allows counts, not what the machine has."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from effvit_mm.doctor.finding import Finding, Status

AREA = "machine"
GIB = 2**30
# A checkpoint of Mask R-CNN with AnchorFormer-S and its optimizer is 0.5 GB; runs keep a few.
WANTED_DISK, NEEDED_DISK = 5 * GIB, 0.2 * GIB
# Workers hand batches over through it; containers have 64 MiB of it unless told otherwise.
WANTED_SHARED_MEMORY = 1 * GIB


def examine_machine(work_dir: Path) -> Iterator[Finding]:
    """Report processor, memory, shared memory and the disk that runs would write to."""
    yield Finding(AREA, "python", Status.OK, f"{sys.version.split()[0]} at {sys.executable}")
    yield Finding(AREA, "processor", Status.OK, f"{usable_cores()} of {os.cpu_count()} cores")
    memory = usable_memory()
    if memory:
        yield Finding(AREA, "memory", Status.OK, f"{memory / GIB:.1f} GiB")
    yield from _examine_shared_memory(Path("/dev/shm"))
    yield _examine_disk(work_dir)


def usable_cores() -> int:
    """Cores that this process may run on; a container's share of processor time counts in whole cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores


def usable_memory() -> int:
    """Bytes of memory that this process may use; 0 where the system does not say."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
    limit = _read("/sys/fs/cgroup/memory.max")
    return min(memory, int(limit)) if limit.isdigit() else memory


def _read(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError:
        return ""


def _examine_shared_memory(folder: Path) -> Iterator[Finding]:
    if not folder.is_dir():
        return
    total = shutil.disk_usage(folder).total
    found = f"{total / GIB:.2g} GiB"
    if total < WANTED_SHARED_MEMORY:
        trouble = f"{found}: data loader workers will end in a bus error"
        yield Finding(AREA, "shared memory", Status.WARNING, trouble, "docker run --shm-size=8g ...")
    else:
        yield Finding(AREA, "shared memory", Status.OK, found)


def _examine_disk(work_dir: Path) -> Finding:
    folder = next(parent for parent in (work_dir.absolute(), *work_dir.absolute().parents) if parent.is_dir())
    elsewhere = "python tools/train.py CONFIG --work-dir FOLDER_ON_ANOTHER_DISK"
    if not os.access(folder, os.W_OK):
        return Finding(AREA, "disk", Status.WRONG, f"{folder} cannot be written to", elsewhere)
    free = shutil.disk_usage(folder).free
    found = f"{free / GIB:.1f} GiB free for {work_dir}"
    if free >= WANTED_DISK:
        return Finding(AREA, "disk", Status.OK, found)
    status = Status.WARNING if free >= NEEDED_DISK else Status.WRONG
    return Finding(AREA, "disk", status, f"{found}; a run writes about {WANTED_DISK / GIB:.0f} GiB", elsewhere)


def nvidia_driver() -> str:
    """What the NVIDIA driver says of itself and its GPUs; empty where there is none."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "; ".join(done.stdout.strip().splitlines()) if done.returncode == 0 else ""
