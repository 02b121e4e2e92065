"""Time and memory of anchor attention from 1k to 64k tokens against fused dense attention, and of its possible forms.

    OMP_NUM_THREADS=2 python tests/benchmarks/anchor_attention.py --plot work_dirs/anchor_attention.png

The calls take turns within a round, each ratio is that of one round, and the tables show medians: load that comes and
goes touches both sides. Memory is what a forward keeps for the backward.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from effvit_mm.layers import AnchorAttention, SelfAttention
from effvit_mm.layers.anchor_attention import AnchorMode

SWEEP = tuple(1024 * 2**k for k in range(7))
SHAPES = ((384, 6, 3000), (64, 1, 67_200))  # channels, heads, tokens of 800x1344: a columnar net and a first stage
NUM_ANCHORS, LONG = 30, 20.0

Form = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""``(keys (B, N, C), values (B, N, C), anchors (M, d), num_heads) -> (B, N, C)``."""


def heads_of(tokens: Tensor, num_heads: int) -> Tensor:
    """Split tokens ``(B, N, C)`` into ``(B, h, N, d)``."""
    return tokens.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def two_fused_calls(keys: Tensor, values: Tensor, anchors: Tensor, num_heads: int) -> Tensor:
    """Both steps as torch's fused attention; the logits are computed once more for the normalisation of the first."""
    keys, values = heads_of(keys, num_heads), heads_of(values, num_heads)
    queries = anchors.expand(*keys.shape[:2], -1, -1)
    logits = (keys @ anchors.T).float() / math.sqrt(keys.shape[-1])
    mask = -logits.logsumexp(-1)[:, :, None].to(keys.dtype).expand(-1, -1, len(anchors), -1)
    contexts = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    return F.scaled_dot_product_attention(keys, queries, contexts).transpose(1, 2).flatten(2)


def heads_first(keys: Tensor, values: Tensor, anchors: Tensor, num_heads: int) -> Tensor:
    """Products over ``(B, h, N, M)`` in fp32."""
    keys, values = heads_of(keys, num_heads).float(), heads_of(values, num_heads).float()
    assignment = (keys @ (anchors.float() / math.sqrt(keys.shape[-1])).T).softmax(-1)
    contexts = assignment.transpose(-2, -1) @ values / assignment.sum(2)[..., None]
    return (assignment @ contexts).transpose(1, 2).flatten(2)


def anchors_first(keys: Tensor, values: Tensor, anchors: Tensor, num_heads: int) -> Tensor:
    """Products over ``(B, h, M, N)`` in fp32: the softmax runs along a strided axis."""
    keys, values = heads_of(keys, num_heads).float(), heads_of(values, num_heads).float()
    assignment = ((anchors.float() / math.sqrt(keys.shape[-1])) @ keys.transpose(-2, -1)).softmax(-2)
    contexts = assignment @ values / assignment.sum(-1)[..., None]
    return (assignment.transpose(-2, -1) @ contexts).transpose(1, 2).flatten(2)


def einsums(keys: Tensor, values: Tensor, anchors: Tensor, num_heads: int) -> Tensor:
    """Three einsums over ``(B, N, h, M)`` in fp32."""
    keys, values = (tokens.unflatten(-1, (num_heads, -1)).float() for tokens in (keys, values))
    scaled = anchors.float() / math.sqrt(keys.shape[-1])
    assignment = torch.einsum("bnhd,md->bnhm", keys, scaled).softmax(-1)
    contexts = torch.einsum("bnhm,bnhd->bhmd", assignment, values) / assignment.sum(1)[..., None]
    return torch.einsum("bnhm,bhmd->bnhd", assignment, contexts).flatten(2)


FORMS: dict[str, Form] = {
    "two fused calls": two_fused_calls,
    "heads first": heads_first,
    "anchors first": anchors_first,
    "einsums": einsums,
}


class Bench:
    """Times calls on one device, in turns."""

    def __init__(self, device: str, rounds: int) -> None:
        self.device, self.rounds = torch.device(device), rounds

    def seconds(self, call: Callable[[], object]) -> float:
        """Seconds of one call, with the device's queue empty before and after it."""
        self._wait()
        start = time.perf_counter()
        call()
        self._wait()
        return time.perf_counter() - start

    def in_turns(self, calls: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
        """Seconds of each call in each round; a call that takes long is taken once, and without warm-up."""
        first = {name: self.seconds(call) for name, call in calls.items()}
        rounds = 1 if max(first.values()) > LONG else self.rounds if max(first.values()) < 2 else 3
        if rounds == 1:
            return {name: [seconds] for name, seconds in first.items()}
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, call in calls.items():
                times[name].append(self.seconds(call))
        return times

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def backward_of(forward: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], object]:
    """Return a call of a forward and its backward to all inputs."""

    def call() -> object:
        output = forward(*inputs)
        return torch.autograd.grad(output, inputs, torch.ones_like(output))

    return call


def without_gradient(forward: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], object]:
    """Return a call of a forward that keeps nothing."""

    def call() -> object:
        with torch.no_grad():
            return forward(*inputs)

    return call


def kept_bytes(forward: Callable[..., Tensor], *inputs: Tensor) -> int:
    """Bytes that a forward keeps for its backward, beside its inputs and parameters; shared storage counts once."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = forward(*inputs)
    del output
    return sum(kept.values())


def ratio(times: dict[str, list[float]], one: str, other: str) -> float:
    """The median over rounds of one / other."""
    return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))


def walk_of(layer: AnchorAttention, form: Form | None) -> Callable[[Tensor], Tensor]:
    """Return the walk of a layer on joint keys and values ``(B, N, 2C)``, as it is or in another form."""

    def walk(joint: Tensor) -> Tensor:
        keys, values = joint.chunk(2, dim=-1)
        if form is None:
            return layer.walk(layer.assign(keys), values)
        return form(keys, values, layer.anchors, layer.num_heads).to(joint.dtype)

    return walk


def compare_forms(bench: Bench, dtype: torch.dtype) -> Table:
    """Each form over the layer's own, forward, and forward with backward."""
    table = Table(title=f"Forms of the walk, time / ours: {bench.device}, {dtype}, {torch.get_num_threads()} threads")
    table.add_column("channels, heads, tokens")
    for name in FORMS:
        table.add_column(name, justify="right")
    for channels, num_heads, num_tokens in SHAPES:
        torch.manual_seed(0)
        layer = AnchorAttention(channels, num_heads, num_anchors=NUM_ANCHORS, mode="paper").to(bench.device, dtype)

        forwards = {"ours": walk_of(layer, None), **{name: walk_of(layer, form) for name, form in FORMS.items()}}
        joint = torch.randn(1, num_tokens, 2 * channels, device=bench.device, dtype=dtype, requires_grad=True)
        for name, forward in forwards.items():
            error = (forward(joint).float() - forwards["ours"](joint).float()).abs().max().item()
            assert error < (1e-4 if dtype == torch.float32 else 0.1), f"{name} differs by {error}"
        forward_times = bench.in_turns({name: without_gradient(call, joint) for name, call in forwards.items()})
        both_times = bench.in_turns({name: backward_of(call, joint) for name, call in forwards.items()})
        cells = (f"{ratio(forward_times, name, 'ours'):.2f} / {ratio(both_times, name, 'ours'):.2f}" for name in FORMS)
        table.add_row(f"{channels}, {num_heads}, {num_tokens}", *cells)
    return table


def sweep(bench: Bench, dtype: torch.dtype, mode: AnchorMode) -> tuple[Table, list[dict[str, float]]]:
    """Dense attention over anchor attention for each number of tokens, and anchor attention's growth."""
    table = Table(title=f"Anchor ({mode}) and dense attention, 64 channels, 1 head: {bench.device}, {dtype}")
    for heading in ("tokens", "dense / anchor\ntime", "multiply-adds", "anchor\ntime x", "dense\ntime x"):
        table.add_column(heading, justify="right")
    table.add_column("anchor kept\nbytes a token", justify="right")
    rows: list[dict[str, float]] = []
    for num_tokens in SWEEP:
        torch.manual_seed(0)
        layers = {
            "anchor": AnchorAttention(64, 1, num_anchors=NUM_ANCHORS, mode=mode).to(bench.device, dtype),
            "dense": SelfAttention(64, 1).to(bench.device, dtype),
        }
        tokens = torch.randn(1, num_tokens, 64, device=bench.device, dtype=dtype)
        whole = {name: partial(layer, grid=(num_tokens // 32, 32)) for name, layer in layers.items()}
        calls = {name: without_gradient(call, tokens) for name, call in whole.items()}
        times = bench.in_turns(calls)
        products = 4 if mode == "apart" else 3
        macs = {"anchor": 3 * 64**2 + products * NUM_ANCHORS * 64, "dense": 4 * 64**2 + 2 * num_tokens * 64}
        row = {name: statistics.median(seconds) for name, seconds in times.items()}
        row |= {"tokens": num_tokens, "kept": kept_bytes(whole["anchor"], tokens) / num_tokens}
        rows.append(row)
        table.add_row(
            f"{num_tokens:,}",
            f"{ratio(times, 'dense', 'anchor'):.2f}",
            f"{macs['dense'] / macs['anchor']:.1f}",
            f"{row['anchor'] / rows[0]['anchor']:.1f}",
            f"{row['dense'] / rows[0]['dense']:.1f}",
            f"{row['kept']:.0f}",
        )
    return table, rows


def draw(rows: list[dict[str, float]], title: str, path: Path) -> None:
    """Save both curves with a line of slope 1 and one of slope 2."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    tokens = [row["tokens"] for row in rows]
    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    unit = rows[0]["anchor"]
    for name, slope, color in (("dense", 2, "tab:orange"), ("anchor", 1, "tab:blue")):
        times = [row[name] / unit for row in rows]
        axes.loglog(tokens, times, "o-", color=color, label=f"{name} attention")
        guide = [times[-1] * (n / tokens[-1]) ** slope for n in tokens]
        axes.loglog(tokens, guide, ":", color=color, alpha=0.6, label=f"slope {slope}")
    axes.set_xticks(tokens, [f"{n // 1024}k" for n in tokens], minor=False)
    axes.minorticks_off()
    axes.set(xlabel="tokens", ylabel=f"forward time (anchor attention at {tokens[0] // 1024}k = 1)", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--mode", default="paper", choices=["paper", "cosine", "apart"])
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds of a call (default: 15)")
    parser.add_argument("--plot", type=Path, help="where to save the sweep's plot, a .png")
    args = parser.parse_args()
    bench, dtype, console = Bench(args.device, args.rounds), getattr(torch, args.dtype), Console(width=120)
    console.print(compare_forms(bench, dtype))
    table, rows = sweep(bench, dtype, args.mode)
    console.print(table)
    if args.plot:
        draw(rows, f"Attention on {args.device}, {args.dtype}", args.plot)
        console.print(f"plot: {args.plot}")


if __name__ == "__main__":
    main()
