"""Predict pictures or a video: results that programs read, and drawings.

Examples:
    python tools/infer.py work_dirs/maskrcnn_anchorformer/maskrcnn_anchorformer.py work_dirs/maskrcnn_anchorformer/epoch_6.pth pictures --out predicted
    python tools/infer.py configs/nyu/depth_anchorformer.py epoch_25.pth walk.mp4 --out walk --batch 8
"""  # noqa: E501

import argparse
import sys
from pathlib import Path

# The first imports: of the settings of threads before torch, and of the shims that OpenMMLab must find in place.
import openmp  # noqa: F401  # isort: split

import effvit_mm  # noqa: F401  # isort: split
from effvit_mm.config_options import ConfigOptions
from effvit_mm.errors import MendableError
from effvit_mm.inference.run import DRAWN, infer, show_failures

TOY = Path(__file__).resolve().parents[1] / "configs/_base_/toy"


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="config file; best the one that training left beside the checkpoint")
    parser.add_argument("checkpoint", type=Path, help="checkpoint of that config")
    parser.add_argument("input", type=Path, help="a picture, a folder (with the folders in it), or a video")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything that is written")
    parser.add_argument("--overwrite", action="store_true", help="write into --out even if it holds something")
    parser.add_argument("--batch", type=int, default=1, help="most pictures at once")
    parser.add_argument("--device", help="cpu, cuda or cuda:1 (default: an accelerator if there is one)")
    parser.add_argument("--score-threshold", type=float, default=0.3, help="objects below it are not drawn")
    parser.add_argument("--drawn", choices=DRAWN, default="png", help="format of the drawings")
    parser.add_argument("--frames", action="store_true", help="of a video, keep the drawn frames, too")
    parser.add_argument("--toy", action="store_true", help="the checkpoint is of a run with --toy")
    parser.add_argument("--cfg-options", nargs="+", action=ConfigOptions, help="config values, as key.of.value=3")
    return parser.parse_args()


def main() -> None:
    """Predict, or say what to mend."""
    args = parse_args()
    try:
        failures = infer(
            args.config,
            args.checkpoint,
            args.input,
            args.out,
            overlays=TOY if args.toy else None,
            options=args.cfg_options,
            device=args.device,
            batch_size=args.batch,
            score_threshold=args.score_threshold,
            drawn=args.drawn,
            frames=args.frames,
            overwrite=args.overwrite,
        )
    except MendableError as error:
        sys.exit(f"error: {error}")
    if failures:
        show_failures(failures)
        sys.exit(1)


if __name__ == "__main__":
    main()
