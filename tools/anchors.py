"""Show whether the anchors of a network are apart, and which tokens of a picture they gather.

    python tools/anchors.py anchor_deit_s photo.jpg anchors.png --checkpoint weights/anchor_deit_s.pth
    python tools/anchors.py configs/coco/maskrcnn_anchorformer.py photo.jpg anchors.png --checkpoint epoch_12.pth

Without a checkpoint the weights are random: how the anchors start.
"""

import argparse
import sys
from pathlib import Path

# The first imports: of the settings of threads before torch, and of the shims that OpenMMLab must find in place.
import openmp  # noqa: F401  # isort: split
from rich.console import Console
from rich.table import Table

import effvit_mm  # noqa: F401  # isort: split
from effvit_mm.engine.anchor_drawing import SIZE, draw_anchors
from effvit_mm.errors import MendableError


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a backbone's name such as anchor_deit_s, or a config")
    parser.add_argument("picture", type=Path, help="the picture")
    parser.add_argument("out", type=Path, help="the .png to write")
    parser.add_argument("--checkpoint", type=Path, help="weights of the backbone, or of a model with it")
    parser.add_argument("--layers", nargs="+", metavar="NAME", help="rows of the figure (default: four of the depth)")
    parser.add_argument("--per-row", type=int, default=5, help="anchors a row (default: 5)")
    parser.add_argument("--size", type=int, default=SIZE, help=f"shorter side of the picture (default: {SIZE} pixels)")
    return parser.parse_args()


def main() -> None:
    """Measure, draw and print."""
    args = parse_args()
    options = dict(layers=args.layers, per_row=args.per_row, size=args.size)
    try:
        maps = draw_anchors(args.model, args.checkpoint, args.picture, args.out, **options)
    except MendableError as error:
        sys.exit(f"error: {error}")
    table = Table("layer", "anchors", "effective", "entropy", "similarity", title="anchors on this picture")
    for name, of_layer in maps.items():
        health = of_layer.health
        numbers = (health.effective, health.entropy, health.similarity)
        table.add_row(name, str(of_layer.shares.shape[1]), *(f"{number:.2f}" for number in numbers))
    Console(soft_wrap=True).print(table)
    print(f"the figure is {args.out}")


if __name__ == "__main__":
    main()
