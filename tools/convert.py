"""Turn released weights into weights of this package.

    python tools/convert.py lit_s.pth weights/lit_s.pth --to lit_s                       # a classifier
    python tools/convert.py lit_s.pth weights/lit_s_dense.pth --to lit_s --task backbone # for a detector's init_cfg
    python tools/convert.py deit_s.pth weights/anchor_s.pth --to anchor_deit_s --images photos  # anchors from pictures

Nothing the source brings along is run. Weights that do not fit are refused, and nothing is written.
"""

import argparse
import sys
from pathlib import Path
from typing import get_args

# The first import: OpenMMLab must find the shims in place.
import effvit_mm  # noqa: F401  # isort: split
from effvit_mm.checkpoint import AnchorStart, ConversionError, convert_file
from effvit_mm.checkpoint.anchor_start import KeyBias
from effvit_mm.checkpoint.presentation import print_report, write_converted
from effvit_mm.errors import MendableError


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="released file, .pth or .safetensors")
    parser.add_argument("destination", type=Path, help="file to write, .pth or .safetensors")
    parser.add_argument("--to", required=True, metavar="NAME", help="backbone the weights are of, such as lit_s")
    parser.add_argument(
        "--task", choices=("classifier", "backbone"), default="classifier", help="what is written (default: classifier)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the destination if it exists")
    start = parser.add_argument_group("DeiT's weights to anchor_deit_*", "anchors start from the keys of pictures")
    start.add_argument("--images", type=Path, metavar="DIR", help="folder of some hundred pictures")
    start.add_argument("--num-images", type=int, default=256, help="how many of them at most (default: 256)")
    start.add_argument("--num-anchors", type=int, default=30, help="anchors of each layer (default: 30)")
    start.add_argument(
        "--key-bias",
        choices=get_args(KeyBias),
        default="drop",
        help="what becomes of the bias of DeiT's keys (default: drop)",
    )
    start.add_argument("--entropy", type=float, default=0.75, help="of a token's choice, 0 to 1 (default: 0.75)")
    start.add_argument("--seed", type=int, default=0, help="of k-means (default: 0)")
    return parser.parse_args()


def main() -> None:
    """Convert one file."""
    args = parse_args()
    try:
        weights = convert_file(args.source, args.to, args.task, anchors=_anchors(args))
        written = write_converted(weights, args.destination, name=args.to, task=args.task, overwrite=args.overwrite)
    except ConversionError as error:
        print_report(error.report)
        sys.exit(f"error: {args.source}: {error}")
    except MendableError as error:
        sys.exit(f"error: {args.source}: {error}")
    print_report(weights.report)
    for file, what in written.items():
        print(f"{what}: {file}")


def _anchors(args: argparse.Namespace) -> AnchorStart | None:
    if args.images is None:
        return None
    names = ("num_images", "num_anchors", "key_bias", "entropy", "seed")
    return AnchorStart(args.images, **{name: getattr(args, name) for name in names})


if __name__ == "__main__":
    main()
