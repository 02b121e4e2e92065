"""Train a config.

Examples:
    python tools/train.py configs/coco/maskrcnn_anchorformer.py --toy
    python tools/train.py configs/coco/maskrcnn_anchorformer.py --data-root /data/coco --work-dir work_dirs/first
    torchrun --nproc_per_node 8 tools/train.py configs/coco/maskrcnn_anchorformer.py --launcher pytorch --auto-scale-lr
"""

import argparse
import sys
from pathlib import Path

# The first imports: of the settings of threads before torch, and of the shims that OpenMMLab must find in place.
import openmp  # noqa: F401  # isort: split

import effvit_mm  # noqa: F401  # isort: split
from effvit_mm.config_options import ConfigOptions
from effvit_mm.engine.launch import train
from effvit_mm.errors import MendableError

BASES = Path(__file__).resolve().parents[1] / "configs/_base_"


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="config file, see configs/")
    parser.add_argument("--work-dir", type=Path, help="where the run writes (default: work_dirs/<config>)")
    setting = parser.add_mutually_exclusive_group()
    setting.add_argument(
        "--toy", action="store_true", help="run on toy scenes, rendered on first use, on two CPU cores"
    )
    setting.add_argument("--overfit", type=int, metavar="N", help="learn N pictures of the data by heart, on a CPU")
    parser.add_argument("--data-root", type=Path, help="folder of the data set, instead of the config's")
    parser.add_argument("--resume", action="store_true", help="go on from the last whole checkpoint of the work dir")
    parser.add_argument("--amp", action="store_true", help="mixed precision (needs an accelerator)")
    parser.add_argument("--auto-scale-lr", action="store_true", help="scale the learning rate to the batch of this run")
    parser.add_argument("--cfg-options", nargs="+", action=ConfigOptions, help="config values, as key.of.value=3")
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm", "mpi"), default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Train, or say what to mend."""
    args = parse_args()
    try:
        train(
            args.config,
            work_dir=args.work_dir,
            overlays=BASES / "toy" if args.toy else BASES / "overfit" if args.overfit is not None else None,
            num_pictures=args.overfit,
            data_root=args.data_root,
            options=args.cfg_options,
            launcher=args.launcher,
            resume=args.resume,
            amp=args.amp,
            auto_scale_lr=args.auto_scale_lr,
        )
    except MendableError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
