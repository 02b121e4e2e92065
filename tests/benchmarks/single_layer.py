"""How time and memory of one mixing layer grow with the number of tokens."""

import math
import os
import statistics
import time
from collections.abc import Callable
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from effvit_mm.analysis import count
from effvit_mm.analysis.latency import Setting, measure
from effvit_mm.registry import TOKEN_MIXERS, build_mechanism

CHANNELS, NUM_HEADS = 64, 2
LONG = 5.0


class Call(NamedTuple):
    """A forward on one grid: how to run it, and its work."""

    num_tokens: int
    run: Callable[[], Any]
    macs: int


def calls_on(spec: Any, sides: tuple[int, ...], device: str, dtype: torch.dtype) -> list[Call]:
    """Return the forward of a mixer of 64 channels on square grids, the smallest first; half types under autocast."""
    torch.manual_seed(0)
    layer = build_mechanism(TOKEN_MIXERS, spec, CHANNELS, NUM_HEADS).eval().to(device)

    def call(tokens: Tensor, side: int) -> None:
        low = dtype != torch.float32
        with torch.no_grad(), torch.autocast(torch.device(device).type, dtype=dtype if low else None, enabled=low):
            layer(tokens, (side, side))
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    calls = []
    for side in sorted(sides):
        tokens = torch.randn(1, side**2, CHANNELS, device=device)
        # A layer without multiply-adds still reads and writes its tokens.
        macs = count(layer, tokens, (side, side)).macs + tokens.numel()
        calls.append(Call(side**2, lambda tokens=tokens, side=side: call(tokens, side), macs))
    return calls


def measured_growth(
    calls: list[Call], device: str, *, repeats: int, most_seconds: float, most_gigabytes: float
) -> dict[str, Any]:
    """Run a layer on growing grids as far as the limits allow.

    Args:
        calls: What :func:`calls_on` returns.
        device: Where it runs.
        repeats: Measured rounds, in which all grids take turns; 3 where a call takes over 5 s.
        most_seconds: A grid whose call would take longer is not run, nor is any larger one.
        most_gigabytes: The same for memory.

    Returns:
        Numbers of tokens, median seconds and peak bytes for each; the exponents of both; why it stopped, if it did.
    """
    seconds, peaks, stopped = [], [], None
    for call in calls:
        if seconds:
            # Neither time nor memory grows faster than the work.
            growth = call.macs / calls[len(seconds) - 1].macs
            if growth * seconds[-1] > most_seconds:
                stopped = f"{call.num_tokens} tokens would take up to {growth * seconds[-1]:.0f} s"
                break
            if growth * peaks[-1] > 1e9 * most_gigabytes:
                stopped = f"{call.num_tokens} tokens would take up to {growth * peaks[-1] / 1e9:.0f} GB"
                break
        # Before it, what is allocated once comes to be.
        peaks.append(_peak_bytes(call.run, device) if seconds else max(_peak_bytes(call.run, device) for _ in range(2)))
        start = time.perf_counter()
        call.run()
        seconds.append(time.perf_counter() - start)
    ran = calls[: len(seconds)]
    rounds = min(3, repeats) if max(seconds) > LONG else repeats
    times = measure({str(call.num_tokens): call.run for call in ran}, Setting(warmup=0, repeats=rounds))
    medians = [statistics.median(times[str(call.num_tokens)]) for call in ran]
    tokens = [call.num_tokens for call in ran]
    row = {"tokens": tokens, "seconds": medians, "bytes": peaks, "rounds": rounds}
    row |= {"time_exponent": exponent(tokens, medians), "memory_exponent": exponent(tokens, peaks)}
    return row | ({"stopped": stopped} if stopped else {})


def exponent(sizes: list[int], values: list[float]) -> float | None:
    """Return the slope of a straight line through the logarithms; None for a single point."""
    if len(sizes) < 2:
        return None
    return statistics.linear_regression(list(map(math.log, sizes)), list(map(math.log, values))).slope


def _peak_bytes(run: Callable[[], Any], device: str) -> float:
    """Return the most bytes that a call has allocated at one time."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    # The profiler tells of every start and stop otherwise.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = (event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return max(accumulate(sizes), default=0)
