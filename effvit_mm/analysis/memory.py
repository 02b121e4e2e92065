"""Peak memory: of the allocator on a GPU, of a process of its own on a CPU."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from effvit_mm.analysis.latency import Setting, make_step
from effvit_mm.analysis.subjects import load_subject
from effvit_mm.errors import BadInputError

# Two calls: the second one shows what an optimizer's state adds.
CALLS = 2


def peak_on_gpu(step: Callable[[], None], setting: Setting) -> float:
    """Return the most megabytes that the allocator held during a call, weights included."""
    torch.cuda.reset_peak_memory_stats(setting.device)
    step()
    return torch.cuda.max_memory_allocated(setting.device) / 1e6


def peak_on_cpu(name: str, setting: Setting, *, threads: int, options: Mapping[str, Any] | None = None) -> float:
    """Measure the growth of a fresh process's resident memory while the model runs.

    Args:
        name: The model, as :func:`~effvit_mm.analysis.subjects.load_subject` takes it.
        setting: The conditions.
        threads: Threads of torch.
        options: Values by dotted key, for a config.

    Returns:
        Megabytes above what the process held with the model built and before its first call.

    Raises:
        BadInputError: If the process fails.
    """
    request = {"name": name, "setting": asdict(setting), "threads": threads, "options": dict(options or {})}
    command = [sys.executable, "-m", "effvit_mm.analysis.memory", json.dumps(request)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["it left no message"]
        raise BadInputError(f"the process that measures the memory of {name} failed: {reason[0]}")
    return json.loads(done.stdout.splitlines()[-1])


def _run(request: dict[str, Any]) -> float:
    torch.set_num_threads(request["threads"])
    setting = Setting(**{**request["setting"], "shape": tuple(request["setting"]["shape"])})
    subject = load_subject(
        request["name"], setting.shape, batch=setting.batch, options=request["options"], as_backbone=True
    )
    step = make_step(subject, setting)
    _forget_peak()
    before = _peak_bytes()
    for _ in range(CALLS):
        step()
    return (_peak_bytes() - before) / 1e6


def _forget_peak() -> None:
    """Start the kernel's record of the peak anew; where that is not allowed, building the model may hide a little."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_bytes() -> int:
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        # Bytes on macOS, kilobytes elsewhere.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    print(json.dumps(_run(json.loads(sys.argv[1]))))
