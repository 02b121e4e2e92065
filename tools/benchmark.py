"""Say what models cost: multiply-adds counted exactly, time and memory measured.

Examples:
    python tools/benchmark.py cost anchorformer_s --shape 800 1280
    python tools/benchmark.py cost configs/coco/maskrcnn_anchorformer.py --shape 800 1280 --depth 1 --json
    python tools/benchmark.py latency anchorformer_s --shape 512 512 --train --threads 2
    python tools/benchmark.py compare anchorformer_s lit_s timm:convnext_tiny --batch 8
    python tools/benchmark.py sweep configs/coco/maskrcnn_anchorformer.py 15.pth 30.pth --num-anchors 15 30 --toy
"""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from mmengine.config import DictAction

# The first import: OpenMMLab must find the shims in place.
import effvit_mm  # noqa: F401  # isort: split
from effvit_mm.analysis import comparison, cost
from effvit_mm.analysis.latency import DTYPES, Setting
from effvit_mm.engine.budget_sweep import sweep
from effvit_mm.errors import BadInputError, MendableError

TOY = Path(__file__).resolve().parents[1] / "configs/_base_/toy"

MODEL = "a backbone's name, timm:NAME, mmdet:TYPE(option=value), mmseg:, mmpretrain:, or a config"


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--shape", type=int, nargs=2, default=(224, 224), metavar=("H", "W"), help="pixels")
    common.add_argument("--batch", type=int, default=1, help="pictures a call")
    common.add_argument("--json", action="store_true", help="print JSON instead of tables")
    common.add_argument("--cfg-options", nargs="+", action=DictAction, help="config values, as key.of.value=3")
    counted = commands.add_parser("cost", parents=[common], help="multiply-adds, parameters, activations")
    counted.add_argument("model", help=MODEL)
    counted.add_argument("--depth", type=int, default=2, help="parts of the names of layers in the table")
    counted.add_argument("--flops", action="store_true", help="show operations, two a multiply-add")
    _add_setting(commands.add_parser("latency", parents=[common], help="time and memory of one model"), "model", None)
    compared = commands.add_parser("compare", parents=[common], help="several models, measured in turn")
    _add_setting(compared, "models", "+")
    compared.add_argument("--peers", action="store_true", help="add the usual backbones of about 25 M parameters")
    swept = commands.add_parser("sweep", parents=[common], help="a trained model under several token budgets")
    _add_setting(swept, "config", None)
    swept.add_argument("checkpoints", nargs="+", type=Path, help="one for all budgets, or one for each")
    budget = swept.add_mutually_exclusive_group(required=True)
    budget.add_argument("--keep", type=float, nargs="+", help="fractions of tokens that are kept")
    budget.add_argument("--num-anchors", type=int, nargs="+", help="anchors of AnchorFormer, a checkpoint for each")
    swept.add_argument("--metric", help="the metric that is drawn (default: the usual one of the task)")
    swept.add_argument("--work-dir", type=Path, help="where the report goes (default: beside the checkpoint)")
    swept.add_argument("--toy", action="store_true", help="evaluate on toy scenes, as --toy trained")
    swept.add_argument("--data-root", type=Path, help="folder of the data set, instead of the config's")
    return parser.parse_args()


def _add_setting(parser: argparse.ArgumentParser, name: str, nargs: Any) -> None:
    parser.add_argument(name, nargs=nargs, help=MODEL)
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="the lower ones under autocast")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--train", action="store_true", help="measure a training step")
    parser.add_argument("--compile", action="store_true", help="measure under torch.compile")
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's own)")
    parser.add_argument("--warmup", type=int, default=3, help="calls that are not measured")
    parser.add_argument("--repeats", type=int, default=10, help="calls that are")
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out")


def main() -> None:
    """Run a command, or say what to mend."""
    args = parse_args()
    try:
        COMMANDS[args.command](args)
    except MendableError as error:
        sys.exit(f"error: {error}")


def _cost(args: argparse.Namespace) -> None:
    ledger, report = cost.cost_of(args.model, tuple(args.shape), batch=args.batch, options=args.cfg_options)
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        cost.show(ledger, report, depth=args.depth, flops=args.flops)


def _measure(args: argparse.Namespace) -> None:
    names = [args.model] if args.command == "latency" else args.models + (list(comparison.PEERS) if args.peers else [])
    rows = comparison.compare(names, _setting(args), memory=not args.no_memory, options=args.cfg_options)
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        comparison.show(rows)


def _sweep(args: argparse.Namespace) -> None:
    argument, values = ("keep", args.keep) if args.keep else ("num_anchors", args.num_anchors)
    folder = sweep(
        Path(args.config),
        args.checkpoints,
        argument,
        values,
        _setting(args),
        work_dir=args.work_dir,
        metric=args.metric,
        overlays=TOY if args.toy else None,
        data_root=args.data_root,
        options=args.cfg_options,
        command=shlex.join(["python", *sys.argv]),
    )
    print((folder / "sweep.json").read_text() if args.json else f"the report is {folder / 'index.html'}")


def _setting(args: argparse.Namespace) -> Setting:
    if args.threads is not None:
        if args.threads < 1:
            raise BadInputError(f"--threads {args.threads} must be at least 1")
        torch.set_num_threads(args.threads)
    names = ("batch", "dtype", "device", "train", "warmup", "repeats")
    return Setting(**{name: getattr(args, name) for name in names}, shape=tuple(args.shape), compiled=args.compile)


COMMANDS = {"cost": _cost, "latency": _measure, "compare": _measure, "sweep": _sweep}

if __name__ == "__main__":
    main()
