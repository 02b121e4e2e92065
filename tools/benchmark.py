"""Say what models cost: multiply-adds counted exactly, time and memory measured.

Examples:
    python tools/benchmark.py cost anchorformer_s --shape 800 1280
    python tools/benchmark.py cost configs/coco/maskrcnn_anchorformer.py --shape 800 1280 --depth 1 --json
    python tools/benchmark.py latency anchorformer_s --shape 512 512 --train --threads 2
    python tools/benchmark.py compare anchorformer_s lit_s timm:convnext_tiny --batch 8
    python tools/benchmark.py sweep configs/coco/maskrcnn_anchorformer.py 15.pth 30.pth --num-anchors 15 30 --toy
"""

import argparse
import shlex
import sys
from pathlib import Path

# The first imports: of the settings of threads before torch, and of the shims that OpenMMLab must find in place.
import openmp  # noqa: F401  # isort: split

import effvit_mm  # noqa: F401  # isort: split
from effvit_mm.analysis import comparison, cost
from effvit_mm.analysis.latency import DTYPES, Setting, use_threads
from effvit_mm.config_options import ConfigOptions
from effvit_mm.engine.budget_sweep import sweep
from effvit_mm.errors import MendableError

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
    common.add_argument("--cfg-options", nargs="+", action=ConfigOptions, help="config values, as key.of.value=3")
    timed = argparse.ArgumentParser(add_help=False, parents=[common])
    timed.add_argument("--dtype", choices=DTYPES, default="float32", help="the lower ones under autocast")
    timed.add_argument("--device", default="cpu", help="cpu or cuda")
    timed.add_argument("--train", action="store_true", help="measure a training step")
    timed.add_argument("--compile", dest="compiled", action="store_true", help="measure under torch.compile")
    timed.add_argument("--threads", type=int, help="threads of torch (default: torch's own)")
    timed.add_argument("--warmup", type=int, default=3, help="calls that are not measured")
    timed.add_argument("--repeats", type=int, default=10, help="calls that are")
    timed.add_argument("--no-memory", dest="memory", action="store_false", help="leave peak memory out")
    counted = commands.add_parser("cost", parents=[common], help="multiply-adds, parameters, activations")
    counted.add_argument("model", help=MODEL)
    counted.add_argument("--depth", type=int, default=2, help="parts of the names of layers in the table")
    counted.add_argument("--flops", action="store_true", help="show operations, two a multiply-add")
    single = commands.add_parser("latency", parents=[timed], help="time and memory of one model")
    single.add_argument("models", nargs=1, metavar="model", help=MODEL)
    single.set_defaults(peers=False)
    compared = commands.add_parser("compare", parents=[timed], help="several models, measured in turn")
    compared.add_argument("models", nargs="+", help=MODEL)
    compared.add_argument("--peers", action="store_true", help="add the usual backbones of about 25 M parameters")
    swept = commands.add_parser("sweep", parents=[timed], help="a trained model under several token budgets")
    swept.add_argument("config", type=Path, help="config file")
    swept.add_argument("checkpoints", nargs="+", type=Path, help="one for all budgets, or one for each")
    budget = swept.add_mutually_exclusive_group(required=True)
    budget.add_argument("--keep", type=float, nargs="+", help="fractions of tokens that are kept")
    budget.add_argument("--num-anchors", type=int, nargs="+", help="anchors of AnchorFormer, a checkpoint for each")
    swept.add_argument("--metric", help="the metric that is drawn (default: the usual one of the task)")
    swept.add_argument("--work-dir", type=Path, help="where the report goes (default: beside the checkpoint)")
    swept.add_argument("--toy", action="store_true", help="evaluate on toy scenes, as --toy trained")
    swept.add_argument("--data-root", type=Path, help="folder of the data set, instead of the config's")
    return parser.parse_args()


def main() -> None:
    """Run a command, or say what to mend."""
    args = parse_args()
    try:
        {"cost": _cost, "sweep": _sweep}.get(args.command, _compare)(args)
    except MendableError as error:
        sys.exit(f"error: {error}")


def _cost(args: argparse.Namespace) -> None:
    ledger, report = cost.cost_of(args.model, tuple(args.shape), batch=args.batch, options=args.cfg_options)
    cost.show(ledger, report, depth=args.depth, flops=args.flops, as_json=args.json)


def _compare(args: argparse.Namespace) -> None:
    names = [*args.models, *(comparison.PEERS if args.peers else ())]
    rows = comparison.compare(names, _setting(args), memory=args.memory, options=args.cfg_options)
    comparison.show(rows, as_json=args.json)


def _sweep(args: argparse.Namespace) -> None:
    folder = sweep(
        args.config,
        args.checkpoints,
        *(("keep", args.keep) if args.keep else ("num_anchors", args.num_anchors)),
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
    use_threads(args.threads)
    names = ("batch", "dtype", "device", "train", "compiled", "warmup", "repeats")
    return Setting(**{name: getattr(args, name) for name in names}, shape=tuple(args.shape))


if __name__ == "__main__":
    main()
