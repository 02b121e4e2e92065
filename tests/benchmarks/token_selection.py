"""Time of a ToSA pair against a dense pair of layers with fused attention, per number of tokens and kept share.

    OMP_NUM_THREADS=1 python tests/benchmarks/token_selection.py
    python tests/benchmarks/token_selection.py --profile      # where the time of a pair goes
    python tests/benchmarks/token_selection.py --network      # whole tosa_deit_s against deit_s with the same weights
    python tests/benchmarks/token_selection.py --device cuda --dtype bfloat16 --network

Both sides take turns within a round, each ratio is that of one round, and the tables show medians: load that comes and
goes touches both. On a CPU the seconds are those of this process; give it one thread (OMP_NUM_THREADS=1) where others
work on the machine. A ratio above 1 is a gain. Beside it stands that of the multiply-adds, selection included.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import timm
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import effvit_mm
from effvit_mm.analysis import count
from effvit_mm.checkpoint import convert_state_dict
from effvit_mm.layers import Block, Mlp, SelfAttention, TokenSelection

WIDTHS = ((192, 3), (384, 6))
GRIDS = ((14, 14), (30, 40), (50, 84))  # 224x224, 480x640, 800x1344 pixels
PICTURES = ((8, 224, 224), (1, 480, 640), (1, 800, 1344))
KEEPS = (1.0, 0.7, 0.5, 0.3)


class Pair(nn.Module):
    """Two layers of a DeiT, and what stands between them."""

    def __init__(self, dim: int, num_heads: int, keep: float, num_probes: int | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, SelfAttention(dim, num_heads), Mlp(dim, 4 * dim)) for _ in range(2))
        self.selection = TokenSelection(num_heads, num_probes=num_probes)
        self.keep = keep

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        return self.selection(*self.blocks, tokens, grid, keep=self.keep, num_prefix=1).tokens


class Bench:
    """Times calls on one device, in turns."""

    def __init__(self, device: str, dtype: str, rounds: int) -> None:
        self.device, self.dtype, self.rounds = torch.device(device), getattr(torch, dtype), rounds

    def seconds(self, call: Callable[[], object]) -> float:
        """Seconds of one call: of this process on a CPU, by the clock on a device with its queue empty."""
        clock = time.process_time if self.device.type == "cpu" else time.perf_counter
        self._wait()
        start = clock()
        call()
        self._wait()
        return clock() - start

    @torch.inference_mode()
    def speedups(self, calls: Sequence[Callable[[], object]]) -> list[float]:
        """Median over rounds of the first call's time over each one's."""
        for call in calls:
            self.seconds(call)
        times = [[self.seconds(call) for call in calls] for _ in range(self.rounds)]
        return [statistics.median(row[0] / row[i] for row in times) for i in range(len(calls))]

    def move(self, what: nn.Module | Tensor) -> nn.Module | Tensor:
        return what.to(self.device, self.dtype)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def pairs(bench: Bench, probes: Sequence[int | None]) -> Table:
    """Every width, grid and choice of probes."""
    table = Table("width", "tokens", "probes", *(f"keep {keep}" for keep in KEEPS[1:]), title="gain (multiply-adds)")
    for (dim, heads), grid in ((width, grid) for width in WIDTHS for grid in GRIDS):
        for num_probes in probes:
            networks = [bench.move(Pair(dim, heads, keep, num_probes)).eval() for keep in KEEPS]
            tokens = bench.move(torch.randn(1, 1 + grid[0] * grid[1], dim))
            gains = bench.speedups([partial(network, tokens, grid) for network in networks])
            macs = [count(network, tokens, grid).macs for network in networks]
            cells = [f"{gain:.2f} ({macs[0] / some:.2f})" for gain, some in zip(gains, macs, strict=True)]
            table.add_row(str(dim), str(grid[0] * grid[1]), str(num_probes or "all"), *cells[1:])
    return table


def networks(bench: Bench, name: str, *, compiled: bool) -> Table:
    """Whole backbones, one map of stride 16, against timm's network with the same weights."""
    timm_name = {"t": "tiny", "s": "small", "b": "base"}[name.rpartition("_")[2]]
    dense = timm.create_model(f"deit_{timm_name}_patch16_224", dynamic_img_size=True)
    weights = convert_state_dict(dense.state_dict(), name, task="backbone")
    table = Table("pictures", *(f"keep {keep}" for keep in KEEPS), title=f"{name}: gain over timm (multiply-adds)")
    rivals: list[nn.Module] = [dense]
    for keep in KEEPS:
        ours = effvit_mm.create_backbone(name, keep=keep)
        ours.load_state_dict(weights)
        part = effvit_mm.create_backbone(name, keep=keep, out_indices=(2,))
        part.load_state_dict({key: value for key, value in ours.state_dict().items() if key in part.state_dict()})
        rivals.append(part)
    rivals = [bench.move(network).eval() for network in rivals]
    runs = [torch.compile(network) if compiled else network for network in (dense.forward_features, *rivals[1:])]
    for shape in PICTURES:
        x = bench.move(torch.randn(shape[0], 3, *shape[1:]))
        gains = bench.speedups([partial(run, x) for run in runs])
        macs = [count(network, x).macs for network in rivals]
        cells = [f"{gain:.2f} ({macs[1] / some:.2f})" for gain, some in zip(gains, macs, strict=True)]
        table.add_row(f"{shape[0]} x {shape[1]}x{shape[2]}", *cells[1:])
    return table


def profile(bench: Bench) -> None:
    """Print the operators of a pair at 480x640, the longest first."""
    for keep in (1.0, 0.5):
        network, tokens = bench.move(Pair(384, 6, keep, 64)).eval(), bench.move(torch.randn(1, 1201, 384))
        with torch.inference_mode(), torch.profiler.profile() as record:
            for _ in range(5):
                network(tokens, (30, 40))
        print(record.key_averages().table(sort_by="self_cpu_time_total", row_limit=16, max_name_column_width=40))


def main() -> None:
    """Parse the command line and print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--network", nargs="?", const="tosa_deit_s")
    parser.add_argument("--compile", action="store_true", help="compile both sides (with --network)")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--all-rows", action="store_true", help="also without probes, from every query row")
    args = parser.parse_args()
    bench = Bench(args.device, args.dtype, args.rounds)
    if args.profile:
        profile(bench)
    elif args.network:
        Console().print(networks(bench, args.network, compiled=args.compile))
    else:
        Console().print(pairs(bench, (64, None) if args.all_rows else (64,)))


if __name__ == "__main__":
    main()
