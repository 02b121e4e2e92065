"""Folders of no config: the splits they hold, told by the names of their folders."""

import json
from pathlib import Path

from effvit_mm.data_tool.part import Part, Target, say_layout
from effvit_mm.errors import BadInputError

# Bare folders say nothing of their depth: metres read as millimetres still show, up to streets.
FAR = 80.0


def bare_folder(folder: Path, kind: str) -> Target:
    """Return a folder in one of ``FORMATS``.

    Raises:
        BadInputError: If it holds nothing of the kind.
    """
    return Target(folder.resolve().name, _FOLDERS[kind](folder), layout=say_layout(kind, folder, "See docs/data.md."))


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
        split = file.stem.removeprefix("instances_")
        files = dict(ann_file=str(file.relative_to(folder)), data_prefix=dict(img=str(pictures.relative_to(folder))))
        spec = dict(data_root=str(folder), **files, test_mode=split.startswith(("val", "test")))
        parts.append(Part(split, "coco", spec))
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
