"""Writes one toy scene in the layouts of COCO, ADE20K, NYU Depth V2 and ImageNet, and the lists that span a split.

The picture is encoded once and the layouts share the file by hard links.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from effvit_mm.datasets.toy_scenes import OBJECT_CLASSES, SEMANTIC_CLASSES, ToyScene

SPLITS = ("train", "val")

_COCO = {"train": "train2017", "val": "val2017"}
_ADE20K = {"train": "training", "val": "validation"}
_NYU = {"train": "train", "val": "test"}
_NYU_ROOT = {"train": "sync", "val": "official_splits/test"}
_JPEG_QUALITY = 95
_CROP_MARGIN = 1.3  # side of an ImageNet crop over the longer side of its object
_MILLIMETRES = 1000.0


@dataclass(frozen=True)
class Entry:
    """What the lists of a split need to know of one written scene.

    Args:
        image_id: Positive, unique over both splits; also the number in every file name.
        size: `(H, W)` in pixels.
        focal: Pixels.
        annotations: COCO annotations, still without their ids.
    """

    image_id: int
    size: tuple[int, int]
    focal: float
    annotations: list[dict[str, Any]]


def write_scene(root: Path, split: str, image_id: int, scene: ToyScene) -> Entry:
    """Write the pictures, masks and depth of one scene into every layout under `root`."""
    name = _scene_name(image_id)
    picture = root / "coco" / _COCO[split] / f"{image_id:012d}.jpg"
    _write(picture, _encode_jpeg(scene.image))
    sync = root / "nyu" / _NYU_ROOT[split] / name
    _link(picture, root / "ade20k/images" / _ADE20K[split] / f"{name}.jpg")
    _link(picture, root / "nyu/images" / _NYU[split] / f"{name}.jpg")
    _link(picture, sync / "rgb_00000.jpg")

    _write(root / "ade20k/annotations" / _ADE20K[split] / f"{name}.png", _encode_png(scene.semantics + np.uint8(1)))
    depth = sync / "sync_depth_00000.png"
    _write(depth, _encode_png(np.rint(scene.depth * _MILLIMETRES).astype(np.uint16)))
    _link(depth, root / "nyu/annotations" / _NYU[split] / f"{name}.png")

    label, crop = object_crop(scene)
    _write(root / "imagenet" / split / label / f"{name}.jpg", _encode_jpeg(crop))
    return Entry(image_id, scene.depth.shape, scene.focal, coco_annotations(scene))


def write_lists(root: Path, split: str, entries: Sequence[Entry]) -> None:
    """Write what describes a whole split: COCO's json, BTS's list and the names of the semantic classes."""
    index = json.dumps(coco_index(entries))
    _write(root / "coco/annotations" / f"instances_{_COCO[split]}.json", index.encode())
    # The lists of BTS begin the paths of the training split, and only those, with a slash.
    slash = "/" if split == "train" else ""
    lines = []
    for entry in entries:
        folder = f"{slash}{_scene_name(entry.image_id)}"
        lines.append(f"{folder}/rgb_00000.jpg {folder}/sync_depth_00000.png {entry.focal:.4f}\n")
    _write(root / "nyu" / f"nyu_{_NYU[split]}.txt", "".join(lines).encode())
    _write(root / "ade20k/classes.txt", "".join(f"{name}\n" for name in SEMANTIC_CLASSES).encode())


def coco_annotations(scene: ToyScene) -> list[dict[str, Any]]:
    """Return the objects of a scene as COCO annotations with exact run-length masks, without `id` and `image_id`."""
    annotations = []
    for number, label in enumerate(scene.labels, start=1):
        runs = _runs(scene, number)
        annotations.append(
            {
                "category_id": OBJECT_CLASSES.index(label) + 1,
                "bbox": [float(value) for value in coco_mask.toBbox(runs)],
                "area": float(coco_mask.area(runs)),
                "iscrowd": 0,
                "segmentation": {"size": list(runs["size"]), "counts": runs["counts"].decode("ascii")},
            }
        )
    return annotations


def coco_index(entries: Iterable[Entry]) -> dict[str, Any]:
    """Return the content of an `instances_*.json` file."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for entry in entries:
        name, (height, width) = f"{entry.image_id:012d}.jpg", entry.size
        images.append({"id": entry.image_id, "file_name": name, "height": height, "width": width, "license": 1})
        for annotation in entry.annotations:
            annotations.append({"id": len(annotations) + 1, "image_id": entry.image_id, **annotation})
    categories = [{"id": i, "name": name, "supercategory": "solid"} for i, name in enumerate(OBJECT_CLASSES, start=1)]
    return {
        "info": {"description": "Toy scenes of effvit_mm", "version": "1.0"},
        "licenses": [{"id": 1, "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }


def object_crop(scene: ToyScene) -> tuple[str, np.ndarray]:
    """Return the class and a square crop of the object that is hidden least; of several, of the largest."""
    ratios = np.array(scene.visible_ratios)
    areas = np.bincount(scene.instances.ravel(), minlength=len(ratios) + 1)[1:]
    # Only clear differences count, otherwise a small object in the open would win over a large one touched at an edge.
    best = int(np.lexsort((areas, np.floor(10 * ratios)))[-1])
    height, width = scene.depth.shape
    left, top, wide, tall = coco_mask.toBbox(_runs(scene, best + 1))
    side = min(round(_CROP_MARGIN * max(wide, tall)), height, width)
    row = int(np.clip(top + (tall - side) / 2, 0, height - side))
    col = int(np.clip(left + (wide - side) / 2, 0, width - side))
    return scene.labels[best], scene.image[row : row + side, col : col + side]


def _runs(scene: ToyScene, number: int) -> dict[str, Any]:
    """Return the mask of one object, run-length encoded."""
    return coco_mask.encode(np.asfortranarray(scene.instances == number, dtype=np.uint8))


def _scene_name(image_id: int) -> str:
    return f"scene_{image_id:05d}"


def _encode_jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()


def _encode_png(values: np.ndarray) -> bytes:
    return cv2.imencode(".png", values)[1].tobytes()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
