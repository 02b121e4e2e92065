"""Measure the memory of relative attention against the naive form, at the sizes of LIT-S, on a CPU.

    OMP_NUM_THREADS=1 python tests/benchmarks/relative_attention_memory.py

The naive form gathers the bias by index and computes ``softmax(Q K^T + bias) V``; autograd keeps what it
likes, in the MLPs too. Measured are the blocks that attend, and the whole of LIT-S. Every measurement has a process of
its own, with the network built and a small call behind it, and gives two peaks above what it held then: of its
tensors, as torch's profiler sees them allocated and freed, and of its resident memory (VmHWM, so Linux only), which
adds what the C library and the matrix kernels keep for themselves.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from effvit_mm.backbones import LIT
from effvit_mm.layers import Block, Mlp, RelativePositionAttention
from effvit_mm.layers.grid import Grid

Build = Callable[[], nn.Module]
MakeInputs = Callable[[], tuple]


class Stage(NamedTuple):
    """Blocks of one width."""

    dim: int
    num_heads: int
    depth: int
    table_grid: Grid
    stride: int


LIT_S = (Stage(384, 12, 6, (14, 14), 16), Stage(768, 24, 2, (7, 7), 32))


class Cost(NamedTuple):
    """What a call costs: peaks in MiB, and the time of the processor (other load makes clocks lie)."""

    tensors: float
    resident: float
    seconds: float


class StraightforwardAttention(RelativePositionAttention):
    """The same numbers from the ``N x N`` bias and the ``N x N`` logits of all heads at once."""

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        """Mix the tokens; for grids without prefix tokens and padding."""
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        y, x = (axis.flatten() for axis in torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij"))
        down, right = y[:, None] - y + grid[0] - 1, x[:, None] - x + grid[1] - 1
        bias = self.table_on(grid).flatten(1)[:, down * (2 * grid[1] - 1) + right]  # (h, N, N)
        logits = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1) + bias
        mixed = logits.softmax(-1) @ value
        return self.proj_drop(self.proj(mixed.transpose(1, 2).flatten(2)))


def straightforward(build: Build) -> nn.Module:
    """Build a network and give its relative attentions and MLPs the straightforward form; the weights stay."""
    network = build()
    for module in network.modules():
        if isinstance(module, Mlp):
            module.recompute_act = False
        if isinstance(module, RelativePositionAttention):
            module.__class__ = StraightforwardAttention
    return network


class DeepStages(nn.Module):
    """The blocks of the stages that attend; each stage has an input of its own."""

    def __init__(self, stages: tuple[Stage, ...]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.ModuleList(
                Block(
                    stage.dim,
                    RelativePositionAttention(stage.dim, stage.num_heads, table_grid=stage.table_grid),
                    Mlp(stage.dim, 4 * stage.dim),
                )
                for _ in range(stage.depth)
            )
            for stage in stages
        )

    def forward(self, *inputs: tuple[Tensor, Grid]) -> tuple[Tensor, ...]:
        """Return the tokens of every stage from pairs of tokens and grid."""
        outputs = []
        for blocks, (tokens, grid) in zip(self.stages, inputs, strict=True):
            for block in blocks:
                tokens = block(tokens, grid)
            outputs.append(tokens)
        return tuple(outputs)


def deep_inputs(batch: int, height: int, width: int) -> tuple:
    """The inputs of :class:`DeepStages` for pictures of a size in pixels."""
    grids = [(height // stage.stride, width // stage.stride) for stage in LIT_S]
    sizes = zip(LIT_S, grids, strict=True)
    return tuple((torch.randn(batch, grid[0] * grid[1], stage.dim), grid) for stage, grid in sizes)


def pictures(batch: int, height: int, width: int) -> tuple:
    """The input of a whole backbone."""
    return (torch.randn(batch, 3, height, width),)


def measure(build: Build, inputs: MakeInputs, small: MakeInputs, *, train: bool, calls: int = 3) -> Cost:
    """Measure a network in a fresh process.

    Args:
        build: Builds the network; like ``inputs`` and ``small`` it travels to the process, so no lambda.
        inputs: Makes the arguments of the measured call.
        small: Makes those of a small call before it, which allocates what is allocated once.
        train: A forward and a backward pass, or a forward pass without gradients.
        calls: How often the call is timed; its memory is the peak over all of them.

    Returns:
        The peaks above what was held before, and the median time.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_measure_here, build, inputs, small, train, calls).result()


def _measure_here(build: Build, inputs: MakeInputs, small: MakeInputs, train: bool, calls: int) -> Cost:
    torch.manual_seed(0)
    network, arguments = build().train(train), inputs()
    _call(network, small(), train)
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak to what is held now
    before = _resident("VmHWM")
    seconds = [_call(network, arguments, train) for _ in range(calls)]
    resident = _resident("VmHWM") - before
    return Cost(_peak_of_tensors(network, arguments, train), resident, statistics.median(seconds))


def _peak_of_tensors(network: nn.Module, arguments: tuple, train: bool) -> float:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        _call(network, arguments, train)
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = (event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return max(itertools.accumulate(sizes)) / 2**20


def _call(network: nn.Module, arguments: tuple, train: bool) -> float:
    start = time.process_time()
    with torch.set_grad_enabled(train):
        outputs = network(*arguments)
        if train:
            sum(output.square().mean() for output in outputs).backward()
    return time.process_time() - start


def _resident(field: str) -> float:
    """Read a field of the process's status, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1, help="pictures in a batch (default: 1)")
    parser.add_argument("--calls", type=int, default=3, help="timed calls (default: 3)")
    options = parser.parse_args()
    table = Table(
        title=f"LIT-S, ours for naive: eager, fp32, batch {options.batch}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}"
    )
    for heading in ("", "pixels", "tensors, MiB", "ratio", "resident, MiB", "ratio", "CPU s", "ratio"):
        table.add_column(heading, justify="right")
    parts = {
        "attending blocks": (partial(DeepStages, LIT_S), deep_inputs),
        "whole backbone": (partial(LIT, variant="s"), pictures),
    }
    calls = (("forward", False, (800, 1344)), ("training step", True, (512, 512)), ("training step", True, (224, 224)))
    for part, (build, make_inputs) in parts.items():
        for name, train, size in calls:
            inputs, small = partial(make_inputs, options.batch, *size), partial(make_inputs, 1, 64, 64)
            theirs = measure(partial(straightforward, build), inputs, small, train=train, calls=options.calls)
            ours = measure(build, inputs, small, train=train, calls=options.calls)
            columns = (
                f"{new:.{digits}f} for {old:.{digits}f}" if i == 0 else f"{new / old:.2f}"
                for old, new, digits in zip(theirs, ours, (0, 0, 2), strict=True)
                for i in range(2)
            )
            table.add_row(f"{part}, {name}", f"{size[0]}x{size[1]}", *columns)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
