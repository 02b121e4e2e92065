"""Data sets by name: where their splits lie, and how many pictures, boxes and classes they should have."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from effvit_mm.data_tool.part import Part, Target, say_layout
from effvit_mm.engine.classification_check import SOURCES as CLASS_SOURCES
from effvit_mm.engine.data_check import SOURCES as BOX_SOURCES
from effvit_mm.engine.segmentation_check import SOURCES as MASK_SOURCES
from effvit_mm.errors import BadInputError

DEFAULT_ROOTS = {
    "coco": "data/coco",
    "ade20k": "data/ade/ADEChallengeData2016",
    "nyu": "data/nyu",
    "imagenet": "data/imagenet",
    "toy": "data/toy_scenes",
}
# Two annotations of COCO's train2017 have a box of no height, in these pictures (cocodataset/cocoapi, issue 355).
KNOWN_EMPTY = frozenset({200365, 550395})
TOY_PALETTE = [(170, 160, 140), (225, 225, 235), (220, 60, 60), (60, 180, 75), (65, 105, 225)]
NYU_SOURCE = (
    "python tools/data.py prepare nyu makes it of what https://github.com/cleinc/bts names; see docs/data.md, or say "
    "where it\nlies with --root DIR."
)
PREPARED = "\npython tools/data.py prepare {name} --source DIR{more} --root {root} makes it of the archives in DIR."
MORE = {"imagenet": " --synsets LOC_val_solution.csv"}
TOY_SOURCE = "python tools/data.py prepare toy --root {root} renders it."


def benchmark(name: str, root: Path | None) -> list[Target]:
    """Return a data set of ``DEFAULT_ROOTS``, below its usual folder or another."""
    place = root or Path(DEFAULT_ROOTS[name])
    return _toy(place) if name == "toy" else [_BENCHMARKS[name](place)]


def _layout(name: str, root: Path, source: str) -> str:
    return say_layout(name, root, source + PREPARED.format(name=name, root=root, more=MORE.get(name, "")))


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
    return Target("coco", parts, _layout("coco", root, BOX_SOURCES["CocoDataset"].format(root=f"{root}/")))


def _coco_spec(root: Path, split: str) -> dict[str, Any]:
    name = f"{split}2017"
    files = dict(ann_file=f"annotations/instances_{name}.json", data_prefix=dict(img=f"{name}/"))
    return dict(data_root=str(root), **files, test_mode=split != "train")


def _ade20k(root: Path) -> Target:
    from mmseg.datasets import ADE20KDataset

    parts = _mask_parts(root, dict(ADE20KDataset.METAINFO), {"train": 20_210, "val": 2_000})
    return Target("ade20k", parts, _layout("ade20k", root, MASK_SOURCES["ADE20KDataset"].format(root=root)))


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
    return Target("nyu", tuple(parts), say_layout("nyu", root, NYU_SOURCE))


def _imagenet(root: Path) -> Target:
    parts = []
    for split, pictures in (("train", 1_281_167), ("val", 50_000)):
        listed, folder = root / "meta" / f"{split}.txt", root / split
        sorted_out = folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir())
        spec = dict(folder=str(folder), ann_file=str(listed) if listed.is_file() and not sorted_out else None)
        parts.append(Part(split, "folders", spec, dict(pictures=pictures, classes=1000)))
    return Target("imagenet", tuple(parts), _layout("imagenet", root, CLASS_SOURCES["ImageNet"].format(root=root)))


_BENCHMARKS = {"coco": _coco, "ade20k": _ade20k, "nyu": _nyu, "imagenet": _imagenet}


def _toy(root: Path) -> list[Target]:
    """Return the toy scenes in each of their layouts, with the numbers they were rendered with."""
    from effvit_mm.datasets.toy_export import MANIFEST, OBJECT_CLASSES, SEMANTIC_CLASSES

    file = root / MANIFEST
    layout = say_layout("toy", root, TOY_SOURCE.format(root=root))
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
