"""Turn released weights into weights of this package.

    python tools/convert.py lit_s.pth weights/lit_s.pth --to lit_s                       # a classifier
    python tools/convert.py lit_s.pth weights/lit_s_dense.pth --to lit_s --task backbone # for a detector's init_cfg

Nothing the source brings along is run. Weights that do not fit are refused, and nothing is written.
"""

import argparse
import sys
from pathlib import Path

# The first import: OpenMMLab must find the shims in place.
import effvit_mm  # noqa: F401  # isort: split
from effvit_mm.checkpoint import ConversionError, convert_file
from effvit_mm.checkpoint.presentation import print_report, write_converted
from effvit_mm.errors import MendableError


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="released file, .pth or .safetensors")
    parser.add_argument("destination", type=Path, help="file to write, .pth or .safetensors")
    parser.add_argument("--to", required=True, metavar="NAME", help="backbone the weights are of, such as lit_s")
    parser.add_argument("--task", choices=("classifier", "backbone"), default="classifier", help="what is written")
    parser.add_argument("--overwrite", action="store_true", help="replace the destination if it exists")
    return parser.parse_args()


def main() -> None:
    """Convert one file."""
    args = parse_args()
    try:
        weights = convert_file(args.source, args.to, args.task)
        written = write_converted(weights, args.destination, name=args.to, task=args.task, overwrite=args.overwrite)
    except ConversionError as error:
        print_report(error.report)
        sys.exit(f"{args.source}: {error}")
    except MendableError as error:
        sys.exit(f"{args.source}: {error}")
    print_report(weights.report)
    for file, what in written.items():
        print(f"{what}: {file}")


if __name__ == "__main__":
    main()
