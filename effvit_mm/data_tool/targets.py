"""What is to be looked through: a benchmark by name, the data sets of a config, or a bare folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from effvit_mm.engine.classification_check import SOURCES as CLASS_SOURCES
from effvit_mm.engine.classification_check import build_class_folders, reads_classes
from effvit_mm.engine.data_check import SOURCES as BOX_SOURCES
from effvit_mm.engine.data_check import check_data, leaves_of, reads_coco
from effvit_mm.engine.run import load_config
from effvit_mm.engine.segmentation_check import SOURCES as MASK_SOURCES
from effvit_mm.engine.segmentation_check import pairs_masks
from effvit_mm.errors import BadInputError
from effvit_mm.registry import near_names

FORMATS = ("coco", "masks", "depth", "folders")
DEFAULT_ROOTS = {
    "coco": "data/coco",
    "ade20k": "data/ade/ADEChallengeData2016",
    "nyu": "data/nyu",
    "imagenet": "data/imagenet",
    "toy": "data/toy_scenes",
}
# Two annotations of COCO's train2017 have a box of no height, in these pictures (cocodataset/cocoapi, issue 355).
KNOWN_EMPTY = frozenset({200365, 550395})
# Bare folders say nothing of their depth: metres read as millimetres still show, up to streets.
FAR = 80.0
TOY_PALETTE = [(170, 160, 140), (225, 225, 235), (220, 60, 60), (60, 180, 75), (65, 105, 225)]
LAYOUTS = {
    "coco": """annotations/instances_train2017.json   annotations/instances_val2017.json
train2017/000000000009.jpg ...         val2017/000000000139.jpg ...""",
    "ade20k": """images/training/ADE_train_00000001.jpg     annotations/training/ADE_train_00000001.png
images/validation/ADE_val_00000001.jpg     annotations/validation/ADE_val_00000001.png""",
    "nyu": """nyu_train.txt   nyu_test.txt               "picture depth focal" in every line
sync/kitchen_0028b/rgb_00045.jpg           sync/kitchen_0028b/sync_depth_00045.png
official_splits/test/bathroom/rgb_00045.jpg   official_splits/test/bathroom/sync_depth_00045.png""",
    "imagenet": """train/n01440764/n01440764_18.JPEG          val/n01440764/ILSVRC2012_val_00000293.JPEG""",
    "toy": """toy_scenes.json   coco/   ade20k/   nyu/   imagenet/""",
    "masks": """images/training/1.jpg    annotations/training/1.png
images/validation/2.jpg  annotations/validation/2.png    (or images/*.jpg and annotations/*.png)""",
    "depth": """images/train/1.jpg  depth/train/1.png
images/val/2.jpg    depth/val/2.png    (or images/*.jpg and depth/*.png)""",
}
NYU_SOURCE = (
    "python tools/data.py prepare nyu makes it of what https://github.com/cleinc/bts names; see docs/data.md, or say "
    "where it\nlies with --root DIR."
)
TOY_SOURCE = "python tools/data.py prepare toy --root {root} renders it."


@dataclass(frozen=True)
class Part:
    """One split of a data set.

    Args:
        split: Its name.
        kind: One of ``FORMATS``.
        spec: The data set's dict, as a config has it; of class folders ``folder``, ``ann_file`` and ``classes``.
        expected: How many ``pictures``, ``boxes`` or ``classes`` there should be.
        known_empty: Ids of pictures in which boxes of no area are known.
        only_seen: Whether the classes are those that occur, as nothing names them.
    """

    split: str
    kind: str
    spec: Mapping[str, Any]
    expected: Mapping[str, int] = field(default_factory=dict)
    known_empty: frozenset[int] = frozenset()
    only_seen: bool = False


@dataclass(frozen=True)
class Target:
    """A data set to look through.

    Args:
        name: For titles and files.
        parts: Its splits.
        layout: The files it should have, and where they come from.
        refusals: What a run would refuse before it opens pictures.
    """

    name: str
    parts: tuple[Part, ...]
    layout: str = ""
    refusals: tuple[str, ...] = ()


def find_targets(what: str, root: Path | None = None, kind: str | None = None) -> list[Target]:
    """Return the data sets that a command names.

    Args:
        what: A benchmark, a config, or a folder.
        root: Where the benchmark lies, or the folder that takes the place of a config's ``data_root``.
        kind: The format of a folder, one of ``FORMATS``.

    Raises:
        BadInputError: If there is no such thing, or a folder without its format.
    """
    if kind is None and what in DEFAULT_ROOTS:
        place = root or Path(DEFAULT_ROOTS[what])
        return _toy(place) if what == "toy" else [BENCHMARKS[what](place)]
    if kind is None and what.endswith(".py"):
        return [_of_config(Path(what), root)]
    if kind is None:
        hint = (
            f"say what it holds: --format {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
            if Path(what).is_dir()
            else near_names(what, [*DEFAULT_ROOTS, "CONFIG.py", "FOLDER"])
        )
        raise BadInputError(f"{what} is no data set by name and no config; {hint}")
    if kind not in FORMATS:
        raise BadInputError(f"--format {kind} is not known; {near_names(kind, FORMATS)}")
    folder = Path(what)
    if not folder.is_dir():
        raise BadInputError(f"folder {folder} does not exist, looked from {Path.cwd()}")
    if root is not None:
        raise BadInputError(f"--root {root} has no meaning beside a folder; give one of them")
    name = folder.resolve().name
    return [Target(name, _FOLDERS[kind](folder), layout=_say_layout(kind, folder, "See docs/data.md."))]


def _coco(root: Path) -> Target:
    numbers = {"train": (118_287, 860_001), "val": (5_000, 36_781)}
    parts = tuple(
        Part(
            split,
            "coco",
            _coco_spec(root, split),
            dict(pictures=pictures, boxes=boxes, classes=80),
            KNOWN_EMPTY if split == "train" else frozenset(),
        )
        for split, (pictures, boxes) in numbers.items()
    )
    return Target("coco", parts, _say_layout("coco", root, BOX_SOURCES["CocoDataset"].format(root=f"{root}/")))


def _coco_spec(root: Path, split: str) -> dict[str, Any]:
    name = f"{split}2017"
    return dict(data_root=str(root), ann_file=f"annotations/instances_{name}.json", data_prefix=dict(img=f"{name}/"))


def _ade20k(root: Path) -> Target:
    from mmseg.datasets import ADE20KDataset

    parts = _mask_parts(root, dict(ADE20KDataset.METAINFO), {"train": 20_210, "val": 2_000})
    return Target("ade20k", parts, _say_layout("ade20k", root, MASK_SOURCES["ADE20KDataset"].format(root=root)))


def _mask_parts(root: Path, metainfo: dict[str, Any], numbers: Mapping[str, int]) -> tuple[Part, ...]:
    from effvit_mm.datasets.index_mask_folder import IndexMaskFolder

    parts = []
    for split, name in (("train", "training"), ("val", "validation")):
        prefix = dict(img_path=f"images/{name}", seg_map_path=f"annotations/{name}")
        spec = dict(type=IndexMaskFolder, data_root=str(root), data_prefix=prefix, metainfo=metainfo)
        parts.append(Part(split, "masks", {**spec, "reduce_zero_label": True}, dict(pictures=numbers[split])))
    return tuple(parts)


def _nyu(root: Path, numbers: Mapping[str, int] | None = None) -> Target:
    parts = []
    for split, folder, pictures in (("train", "sync", 24_231), ("test", "official_splits/test", 654)):
        prefix = dict(img_path=folder, depth_map_path=folder)
        spec = dict(type="DepthListDataset", data_root=str(root), ann_file=f"nyu_{split}.txt", data_prefix=prefix)
        parts.append(Part(split, "depth", spec, dict(pictures=(numbers or {}).get(split, pictures))))
    return Target("nyu", tuple(parts), _say_layout("nyu", root, NYU_SOURCE))


def _imagenet(root: Path) -> Target:
    parts = []
    for split, pictures in (("train", 1_281_167), ("val", 50_000)):
        listed, folder = root / "meta" / f"{split}.txt", root / split
        sorted_out = folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir())
        spec = dict(folder=str(folder), ann_file=str(listed) if listed.is_file() and not sorted_out else None)
        parts.append(Part(split, "folders", spec, dict(pictures=pictures, classes=1000)))
    return Target("imagenet", tuple(parts), _say_layout("imagenet", root, CLASS_SOURCES["ImageNet"].format(root=root)))


BENCHMARKS = {"coco": _coco, "ade20k": _ade20k, "nyu": _nyu, "imagenet": _imagenet}


def _toy(root: Path) -> list[Target]:
    """Return the toy scenes in each of their layouts, with the numbers they were rendered with."""
    from effvit_mm.datasets.toy_export import MANIFEST, OBJECT_CLASSES, SEMANTIC_CLASSES

    file = root / MANIFEST
    layout = _say_layout("toy", root, TOY_SOURCE.format(root=root))
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        numbers = {"train": manifest["num_train"], "val": manifest["num_val"], "test": manifest["num_val"]}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BadInputError(f"{file} cannot be read ({error})\n{layout}") from error
    names = ("train", "val")
    coco = (Part(name, "coco", _coco_spec(root / "coco", name), dict(pictures=numbers[name])) for name in names)
    folders = (
        Part(
            name,
            "folders",
            dict(folder=str(root / "imagenet" / name)),
            dict(pictures=numbers[name], classes=len(OBJECT_CLASSES)),
        )
        for name in names
    )
    return [
        Target("toy_coco", tuple(coco), layout),
        Target(
            "toy_ade20k",
            _mask_parts(root / "ade20k", dict(classes=SEMANTIC_CLASSES, palette=TOY_PALETTE), numbers),
            layout,
        ),
        Target("toy_nyu", _nyu(root / "nyu", numbers).parts, layout),
        Target("toy_imagenet", tuple(folders), layout),
    ]


def _of_config(file: Path, root: Path | None) -> Target:
    """Return the data sets of a config, and what its run would refuse of them."""
    splits = ("train", "val", "test")
    cfg = load_config(file, data_root=root, splits=splits)
    scope = cfg.get("default_scope") or "mmdet"
    parts: dict[str, Part] = {}
    for split in splits:
        name = f"{split}_dataloader.dataset"
        for place, leaf in enumerate(leaves_of(cfg.get(f"{split}_dataloader", {}).get("dataset"), name)):
            part = _part_of(split if not place else f"{split} {place + 1}", leaf, name, scope)
            if part is not None:
                # Most configs test on what they validate on.
                key = {key: value for key, value in part.spec.items() if key not in ("pipeline", "test_mode")}
                parts.setdefault(f"{key} {split == 'train'}", part)
    if not parts:
        raise BadInputError(
            f"{file} names no data set that can be looked through: COCO's format, index masks, depth maps and class "
            f"folders can"
        )
    used = tuple(split for split in splits if cfg.get(f"{split}_dataloader"))
    try:
        check_data(cfg, used, open_pictures=False)
    except BadInputError as error:
        return Target(file.stem, tuple(parts.values()), refusals=(str(error),))
    return Target(file.stem, tuple(parts.values()))


def _part_of(split: str, leaf: Any, name: str, scope: str) -> Part | None:
    from effvit_mm import depth

    if leaf["type"] in ("DepthListDataset", "DepthFolderDataset", depth.DepthListDataset, depth.DepthFolderDataset):
        return Part(split, "depth", leaf)
    if pairs_masks(leaf, scope):
        return Part(split, "masks", leaf)
    if reads_classes(leaf, scope):
        built = build_class_folders(leaf)
        spec = dict(folder=built.img_prefix, ann_file=built.ann_file or None, extensions=tuple(built.extensions))
        return Part(split, "folders", {**spec, "classes": built.CLASSES})
    return Part(split, "coco", leaf) if reads_coco(leaf, name, scope) else None


def _coco_in(folder: Path) -> tuple[Part, ...]:
    """Return the annotation files of a folder, each with the folder in which its first picture lies."""
    parts = []
    for file in sorted([*folder.glob("*.json"), *folder.glob("annotations/*.json")]):
        try:
            first = json.loads(file.read_bytes())["images"][0]["file_name"]
        except (ValueError, LookupError, TypeError):
            first = ""  # said when it is looked through
        places = [folder, *sorted(path for path in folder.glob("*/") if path.is_dir())]
        places += sorted(path for path in folder.glob("*/*/") if path.is_dir())
        pictures = next((place for place in places if first and (place / first).is_file()), folder)
        prefix = dict(img=str(pictures.relative_to(folder)))
        parts.append(
            Part(
                file.stem.removeprefix("instances_"),
                "coco",
                dict(data_root=str(folder), ann_file=str(file.relative_to(folder)), data_prefix=prefix),
            )
        )
    if not parts:
        raise BadInputError(
            f"{folder} has no annotation file, looked for {folder}/*.json and {folder}/annotations/*.json"
        )
    return tuple(parts)


def _splits_in(folder: Path, what: str) -> list[tuple[str, str]]:
    """Return the names of the splits in a folder and their paths below it; the folder itself where it has none."""
    inside = (
        sorted(path.name for path in (folder / what).iterdir() if path.is_dir()) if (folder / what).is_dir() else []
    )
    known = [name for name in inside if name in ("train", "training", "val", "validation", "test")]
    return [(name, f"{what}/{name}".strip("./")) for name in known] or [("all", what)]


def _masks_in(folder: Path) -> tuple[Part, ...]:
    from effvit_mm.datasets.index_mask_folder import IndexMaskFolder

    spec = dict(type=IndexMaskFolder, data_root=str(folder), metainfo=dict(classes=[f"value {i}" for i in range(255)]))
    return tuple(
        Part(
            name,
            "masks",
            {**spec, "data_prefix": dict(img_path=path, seg_map_path=path.replace("images", "annotations", 1))},
            only_seen=True,
        )
        for name, path in _splits_in(folder, "images")
    )


def _depth_in(folder: Path) -> tuple[Part, ...]:
    spec = dict(type="DepthFolderDataset", data_root=str(folder), max_depth=FAR)
    maps = "depth" if (folder / "depth").is_dir() else "annotations"
    return tuple(
        Part(
            name,
            "depth",
            {**spec, "data_prefix": dict(img_path=path, depth_map_path=path.replace("images", maps, 1))},
        )
        for name, path in _splits_in(folder, "images")
    )


def _folders_in(folder: Path) -> tuple[Part, ...]:
    return tuple(Part(name, "folders", dict(folder=str(folder / path))) for name, path in _splits_in(folder, "."))


_FOLDERS = {"coco": _coco_in, "masks": _masks_in, "depth": _depth_in, "folders": _folders_in}


def _say_layout(name: str, root: Path, source: str) -> str:
    lines: Sequence[str] = LAYOUTS.get(name, "").splitlines()
    listing = "".join(f"\n  {line}" for line in lines)
    return (f"Expected under {root}/:{listing}\n" if lines else "") + source
