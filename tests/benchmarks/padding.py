"""What zero padding does to the first gradients of backbones, and to training in fp16, by how their stems begin.

    OMP_NUM_THREADS=1 python tests/benchmarks/padding.py
    python tests/benchmarks/padding.py anchorformer_s "pyramid_t(mixers='window')" --steps 0

A third of the pixels of two images is padding. "Biases of 0" are those of the stem, which the backbones here draw.
"""

import argparse
import ast
import re
import sys

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from effvit_mm import create_backbone

NAMES = (
    *("anchorformer_t", "hybrid_t", "lit_ti", "pyramid_t", "deit_t", "plain_t", "anchor_deit_t"),
    *(f"pyramid_t(mixers='{mixer}')" for mixer in ("window", "focal", "pooling", "cross_covariance", "relu_linear")),
)


def built(name: str, *, drawn: bool) -> nn.Module:
    """Build ``family_size`` or ``family_size(option=value, ...)``, with the stem's biases drawn or set to 0."""
    call = re.fullmatch(r"(\w+)(\(.*\))?", name)
    if call is None:
        raise SystemExit(f"{name!r} is no backbone; give a name or name(option=value)")
    keywords = ast.parse(f"f{call[2] or '()'}", mode="eval").body.keywords  # type: ignore[attr-defined]
    options = {keyword.arg: ast.literal_eval(keyword.value) for keyword in keywords}
    torch.manual_seed(0)
    backbone = create_backbone(call[1], **{"drop_path_rate": 0.0, **options}).train()
    for module in () if drawn else backbone.stem().modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.BatchNorm2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
    return backbone


def images(height: int, width: int, generator: torch.Generator, *, padded: bool) -> Tensor:
    """Draw two images, of which about a third is padding or not."""
    drawn = torch.randn(2, 3, height, width, generator=generator)
    if padded:
        drawn[:, :, height * 5 // 6 :] = 0
        drawn[:, :, :, width * 13 // 16 :] = 0
    return drawn


def largest_gradient(backbone: nn.Module, *, padded: bool) -> float:
    """Return the largest norm of a parameter's gradient in the first step."""
    generator = torch.Generator().manual_seed(1)
    maps = backbone(images(192, 256, generator, padded=padded))
    sum((fmap * torch.randn(fmap.shape, generator=generator)).mean() for fmap in maps).backward()
    return max(float(p.grad.norm()) for p in backbone.parameters() if p.grad is not None)


def skipped_steps(backbone: nn.Module, steps: int) -> int:
    """Train on padded images under fp16 autocast; return how many steps the gradient scaler left out."""
    heads = nn.ModuleList(nn.Conv2d(channels, 8, 1) for channels in backbone.channels)
    optimizer = torch.optim.AdamW([*backbone.parameters(), *heads.parameters()], lr=1e-4)
    scaler, generator, skipped = torch.amp.GradScaler("cpu"), torch.Generator().manual_seed(1), 0
    for _ in range(steps):
        with torch.autocast("cpu", dtype=torch.float16):
            maps = backbone(images(96, 128, generator, padded=True))
            loss = sum((head(fmap) - 1).square().mean() for head, fmap in zip(heads, maps, strict=True))
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scale = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        skipped += scaler.get_scale() < scale
    return skipped


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help="backbones (default: twelve)")
    parser.add_argument("--steps", type=int, default=50, help="in fp16; 0 for none")
    args = parser.parse_args()
    table = Table(
        "backbone", "no padding", "padding, biases of 0", "padding, biases drawn", "fp16 steps left out: 0", "drawn"
    )
    for name in track(args.names, "backbones", disable=not sys.stdout.isatty()):
        norms = [
            largest_gradient(built(name, drawn=drawn), padded=padded)
            for drawn, padded in ((True, False), (False, True), (True, True))
        ]
        skipped = [skipped_steps(built(name, drawn=drawn), args.steps) for drawn in (False, True)]
        table.add_row(name, *(f"{norm:.2g}" for norm in norms), *(f"{number} of {args.steps}" for number in skipped))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
