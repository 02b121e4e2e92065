"""Check a data set before training on it, or put what was downloaded into the layout that the configs expect.

Ends with status 1 where something is wrong. Nothing is downloaded, and no file that exists is changed, except that
other toy scenes take the place of those in their folder.

Examples:
    python tools/data.py check coco --root data/coco
    python tools/data.py check imagenet --root /data/imagenet --sample 5000
    python tools/data.py check my_configs/maskrcnn_rooms.py
    python tools/data.py check data/rooms --format masks
    python tools/data.py prepare toy --root data/toy_scenes
    python tools/data.py prepare coco --source ~/Downloads --root data/coco
    python tools/data.py prepare ade20k --source ~/Downloads --root data/ade/ADEChallengeData2016
    python tools/data.py prepare nyu --source ~/Downloads --root data/nyu
    python tools/data.py prepare imagenet --source ~/Downloads --synsets LOC_val_solution.csv --root data/imagenet
"""

import argparse
import json
import sys
from pathlib import Path

# The first import: OpenMMLab must find the shims in place.
import effvit_mm  # noqa: F401  # isort: split
from effvit_mm.data_tool import zipped
from effvit_mm.data_tool.benchmarks import DEFAULT_ROOTS
from effvit_mm.data_tool.check import check_data_set
from effvit_mm.data_tool.imagenet import SPLITS, prepare_imagenet
from effvit_mm.data_tool.nyu import prepare_nyu
from effvit_mm.data_tool.opening import Opening
from effvit_mm.data_tool.part import FORMATS
from effvit_mm.data_tool.presentation import as_json, show
from effvit_mm.data_tool.targets import find_targets
from effvit_mm.datasets.toy_export import ensure_toy_scenes
from effvit_mm.errors import BadInputError, MendableError


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="count, open and draw what is there")
    check.add_argument("what", help=f"{', '.join(DEFAULT_ROOTS)}, a config, or a folder with --format")
    check.add_argument("--root", type=Path, help="where the data set lies, instead of data/...")
    check.add_argument("--format", choices=FORMATS, help="what a folder of your own holds")
    check.add_argument("--sample", type=int, metavar="N", help="open N pictures of each split (default: all)")
    check.add_argument("--sheet", type=Path, help="the contact sheet (default: work_dirs/data/NAME.png)")
    check.add_argument("--json", action="store_true", help="print JSON instead of tables")
    prepare = commands.add_parser("prepare", help="arrange what was downloaded, or render toy scenes")
    sets = prepare.add_subparsers(dest="what", required=True)
    toy = sets.add_parser("toy", help="render toy scenes in the layouts of COCO, ADE20K, NYU and ImageNet")
    toy.add_argument("--num-train", type=int, default=300)
    toy.add_argument("--num-val", type=int, default=60)
    toy.add_argument("--size", type=int, nargs=2, default=(128, 160), metavar=("H", "W"), help="pixels")
    toy.add_argument("--seed", type=int, default=0)
    coco = sets.add_parser("coco", help=f"unpack {zipped.say_archives('coco')}")
    ade20k = sets.add_parser("ade20k", help=f"unpack {zipped.say_archives('ade20k')}")
    depth = sets.add_parser("nyu", help="arrange NYU Depth V2 as BTS does: its sync.zip and lists, the labelled .mat")
    depth.add_argument(
        "--labelled-train",
        action="store_true",
        help="train on the 795 official training pictures of the labelled .mat, which gives the test pictures alone "
        "otherwise, in place of BTS's 24,231",
    )
    classes = sets.add_parser("imagenet", help="sort the tar archives of ILSVRC2012 into class folders")
    classes.add_argument("--synsets", type=Path, help="file that says the class of each validation picture")
    for parser_of, splits in (
        (toy, ()),
        (coco, SPLITS),
        (ade20k, SPLITS),
        (depth, ("train", "test")),
        (classes, SPLITS),
    ):
        parser_of.add_argument("--root", type=Path, required=True, help="folder to make")
        if parser_of is not toy:
            parser_of.add_argument("--source", type=Path, required=True, help="folder of what was downloaded")
            parser_of.add_argument("--only", choices=splits, help="this split alone, beside the other if that is there")
    return parser.parse_args()


def main() -> None:
    """Run a command, or say what to mend."""
    args = parse_args()
    try:
        fine = _check(args) if args.command == "check" else _prepare(args)
    except MendableError as error:
        sys.exit(f"error: {error}")
    sys.exit(0 if fine else 1)


def _check(args: argparse.Namespace) -> bool:
    opening = Opening(args.sample)
    reports = []
    targets = find_targets(args.what, args.root, args.format)
    for target in targets:
        sheet = args.sheet or Path("work_dirs/data", f"{target.name}.png")
        if args.sheet and len(targets) > 1:
            sheet = sheet.with_name(f"{sheet.stem}_{target.name.removeprefix('toy_')}.png")
        reports.append(check_data_set(target, opening, sheet))
        if not args.json:
            show(reports[-1])
    fine = all(report.is_fine for report in reports)
    if args.json:
        print(json.dumps(dict(ok=fine, sets=[as_json(report) for report in reports]), indent=2))
    return fine


def _prepare(args: argparse.Namespace) -> bool:
    if args.what in zipped.LAYOUTS:
        made = zipped.unpack_benchmark(args.what, args.source, args.root, only=args.only)
    elif args.what == "nyu":
        made = prepare_nyu(args.source, args.root, only=args.only, labelled_train=args.labelled_train)
    elif args.what == "imagenet":
        made = prepare_imagenet(args.source, args.root, synsets=args.synsets, only=args.only)
    else:
        try:
            made = ensure_toy_scenes(
                args.root, num_train=args.num_train, num_val=args.num_val, size=args.size, seed=args.seed
            )
        except ValueError as error:
            raise BadInputError(str(error)) from error
    print(f"{args.what}: {made}; look through it: python tools/data.py check {args.what} --root {made}")
    return True


if __name__ == "__main__":
    main()
