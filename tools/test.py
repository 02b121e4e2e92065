"""Evaluate a checkpoint.

Examples:
    python tools/test.py configs/coco/maskrcnn_anchorformer.py work_dirs/maskrcnn_anchorformer/epoch_12.pth
    python tools/test.py configs/coco/maskrcnn_anchorformer.py work_dirs/maskrcnn_anchorformer/epoch_12.pth --toy
"""

import argparse
import sys
from pathlib import Path

# The first imports: of the settings of threads before torch, and of the shims that OpenMMLab must find in place.
import openmp  # noqa: F401  # isort: split

import effvit_mm  # noqa: F401  # isort: split
from effvit_mm.config_options import ConfigOptions
from effvit_mm.engine.launch import evaluate
from effvit_mm.errors import MendableError

TOY = Path(__file__).resolve().parents[1] / "configs/_base_/toy"


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="config file, or the one dumped beside the checkpoint")
    parser.add_argument("checkpoint", type=Path, help="checkpoint to evaluate")
    parser.add_argument("--work-dir", type=Path, help="where the report goes (default: test/ beside the checkpoint)")
    parser.add_argument("--toy", action="store_true", help="evaluate on toy scenes, as --toy trained")
    parser.add_argument("--data-root", type=Path, help="folder of the data set, instead of the config's")
    parser.add_argument("--tta", action="store_true", help="segmenters: average over scales and mirrored pictures")
    parser.add_argument("--cfg-options", nargs="+", action=ConfigOptions, help="config values, as key.of.value=3")
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm", "mpi"), default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Evaluate, or say what to mend."""
    args = parse_args()
    try:
        evaluate(
            args.config,
            args.checkpoint,
            work_dir=args.work_dir,
            overlays=TOY if args.toy else None,
            data_root=args.data_root,
            options=args.cfg_options,
            launcher=args.launcher,
            tta=args.tta,
        )
    except MendableError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
