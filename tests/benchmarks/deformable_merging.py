"""Time deformable merging on a CPU against a plain strided convolution and torchvision's deform_conv2d.

    OMP_NUM_THREADS=2 python tests/benchmarks/deformable_merging.py

The calls take turns within a round, each ratio is that of one round, and the table shows medians: load that comes and
goes touches both sides. The convolution is the faster of its contiguous and its channels-last form. glibc gives large
freed buffers back to the system whenever they lie at the end of the heap, and faulting them in again costs as much as
the operators themselves and falls on whichever comes next: freed memory is kept, unless --system-allocator is given.
"""

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from effvit_mm.layers.deformable_merging import DeformableMerging, deform_conv

SHAPES = ((96, 200, 320), (192, 100, 160), (384, 50, 80))  # LIT-S at 800x1280 pixels: channels, rows, columns
STRIDE, WARM_UP = 2, 3
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h

Calls = dict[str, Callable[[], object]]
Times = dict[str, list[float]]


def cases(channels: int, height: int, width: int) -> tuple[Calls, Calls]:
    """The forwards, and the forwards whose backward is timed, of one shape; offsets are about two places long."""
    torch.manual_seed(0)
    merging = DeformableMerging(channels, 2 * channels, stride=STRIDE).eval()
    nn.init.normal_(merging.offset.weight, std=(STRIDE**2 * channels) ** -0.5 * 2)
    plain = nn.Sequential(merging.conv, merging.norm, merging.act)
    weight, bias = merging.conv.weight, merging.conv.bias
    fmap = torch.randn(1, channels, height, width)
    last = fmap.contiguous(memory_format=torch.channels_last)
    offsets = merging.offsets(fmap).detach()

    def of_torchvision(fmap: Tensor, offsets: Tensor) -> Tensor:
        return deform_conv2d(fmap, offsets.flatten(1, 2), weight, bias, stride=STRIDE)

    def whole(fmap: Tensor) -> Tensor:
        return deform_conv(fmap, merging.offsets(fmap), weight, bias, stride=STRIDE)

    torch.testing.assert_close(whole(last), of_torchvision(fmap, offsets), rtol=1e-3, atol=1e-4)
    forwards: Calls = {
        "conv, contiguous": lambda: merging.conv(fmap),
        "conv, channels-last": lambda: merging.conv(last),
        "plain merging, contiguous": lambda: plain(fmap),
        "plain merging, channels-last": lambda: plain(last),
        "ours": lambda: deform_conv(last, offsets, weight, bias, stride=STRIDE),
        "ours from contiguous": lambda: deform_conv(fmap, offsets, weight, bias, stride=STRIDE),
        "ours and offsets": lambda: whole(last),
        "module": lambda: merging(last),
        "torchvision": lambda: of_torchvision(fmap, offsets),
    }
    learnt = fmap.clone().requires_grad_()
    learnt_last = last.clone().requires_grad_()
    moved = offsets.clone().requires_grad_()
    forwards_to_differentiate: Calls = {
        "conv, contiguous": lambda: (merging.conv(learnt), (learnt, weight, bias)),
        "conv, channels-last": lambda: (merging.conv(learnt_last), (learnt_last, weight, bias)),
        "ours": lambda: (
            deform_conv(learnt_last, moved, weight, bias, stride=STRIDE),
            (learnt_last, moved, weight, bias),
        ),
        "torchvision": lambda: (of_torchvision(learnt, moved), (learnt, moved, weight, bias)),
    }
    return forwards, forwards_to_differentiate


def in_turns(calls: Calls, rounds: int, timed: Callable[[Callable[[], object]], float]) -> Times:
    """Seconds of each call in each round, without the rounds of warm-up."""
    times: Times = {name: [] for name in calls}
    for _ in range(WARM_UP + rounds):
        for name, call in calls.items():
            times[name].append(timed(call))
    return {name: seconds[WARM_UP:] for name, seconds in times.items()}


def forward_seconds(call: Callable[[], object]) -> float:
    """Seconds of a call that keeps nothing for a backward."""
    with torch.no_grad():
        start = time.perf_counter()
        call()
        return time.perf_counter() - start


def backward_seconds(call: Callable[[], tuple[Tensor, tuple[Tensor, ...]]]) -> float:
    """Seconds of the backward of a call, to all inputs; the incoming gradient lies in memory as the output does."""
    output, inputs = call()
    gradient = torch.ones_like(output)
    start = time.perf_counter()
    torch.autograd.grad(output, inputs, gradient)
    return time.perf_counter() - start


def ratio(times: Times, ours: str, other: str) -> str:
    """The median over rounds of ours / other; of two forms of other, the one with the smaller median counts."""
    forms = [name for name in times if name == other or name.startswith(f"{other}, ")]
    best = min(forms, key=lambda name: statistics.median(times[name]))
    return f"{statistics.median(a / b for a, b in zip(times[ours], times[best], strict=True)):.2f}"


def keep_freed_memory() -> None:
    """Have glibc take buffers of up to 32 MB, its largest threshold, from a heap that never shrinks."""
    libc = ctypes.CDLL(None)
    if not libc.mallopt(M_MMAP_THRESHOLD, 32 << 20) or not libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1):
        raise OSError("glibc's mallopt refused; pass --system-allocator to measure without it")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25, help="timed rounds a shape (default: 25)")
    parser.add_argument("--system-allocator", action="store_true", help="leave glibc's allocator as it is")
    options = parser.parse_args()
    rounds = options.rounds
    if not options.system_allocator:
        keep_freed_memory()
    table = Table(
        title=f"Deformable merging, ratios of time: eager, fp32, batch 1, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}",
    )
    for heading in ("channels, map", "conv\nms", "ours\n/ conv", "+ offsets\n/ conv", "contiguous\n/ conv"):
        table.add_column(heading, justify="right")
    for heading in ("module\n/ conv-BN-GELU", "ours\n/ deform_conv2d", "backward\n/ conv", "backward\n/ deform_conv2d"):
        table.add_column(heading, justify="right")
    for channels, height, width in SHAPES:
        forwards, differentiated = cases(channels, height, width)
        forward = in_turns(forwards, rounds, forward_seconds)
        backward = in_turns(differentiated, rounds, backward_seconds)
        conv = min(statistics.median(forward[f"conv, {form}"]) for form in ("contiguous", "channels-last"))
        table.add_row(
            f"{channels}, {height}x{width}",
            f"{conv * 1e3:.1f}",
            ratio(forward, "ours", "conv"),
            ratio(forward, "ours and offsets", "conv"),
            ratio(forward, "ours from contiguous", "conv"),
            ratio(forward, "module", "plain merging"),
            ratio(forward, "ours", "torchvision"),
            ratio(backward, "ours", "conv"),
            ratio(backward, "ours", "torchvision"),
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
