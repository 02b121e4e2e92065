"""Where a figure comes from: counted or measured, on what, with what, and when."""

import datetime
import os
import platform
from typing import Any, Literal

import torch

from effvit_mm.version import __version__


def provenance(kind: Literal["analytic", "measured"], *, device: str = "cpu", dtype: str = "float32") -> dict[str, Any]:
    """Describe how a figure was obtained.

    Args:
        kind: ``'analytic'``: counted from shapes, the same on every machine. ``'measured'``: true of one machine.
        device: Where it ran.
        dtype: Data type of the pictures.

    Returns:
        Kind, device and its name, dtype, threads, versions and date (UTC), ready for JSON.
    """
    return {
        "figures": kind,
        "device": device,
        "device_name": device_name(device),
        "dtype": dtype,
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "effvit_mm": __version__,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def device_name(device: str) -> str:
    """Return what the makers call the device, with the number of cores where it is a CPU."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{_cpu_model()}, {os.cpu_count()} cores"


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def in_words(origin: dict[str, Any]) -> str:
    """Return one line that says all of it."""
    counted = f"{origin['figures']}, torch {origin['torch']}, {origin['date'][:10]}"
    if origin["figures"] == "analytic":
        return counted
    threads = f"{origin['threads']} thread{'s' if origin['threads'] != 1 else ''}"
    return f"{counted}, {origin['device']} ({origin['device_name']}), {origin['dtype']}, {threads}"
