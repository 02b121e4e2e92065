"""Looks through boxes and masks in COCO's format."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from effvit_mm.data_tool.findings import Cell, Count, Findings
from effvit_mm.data_tool.opening import Opening
from effvit_mm.data_tool.part import Part
from effvit_mm.engine.coco_check import is_trained_on, mask_problem, read_coco
from effvit_mm.engine.data_check import path_in, pictures_of
from effvit_mm.engine.drawing import draw_sample
from effvit_mm.engine.picture_check import picture_problem
from effvit_mm.errors import BadInputError

# COCO's own boxes, rounded to hundredths, may end that much behind the border; a pixel is nobody's mistake.
MARGIN = 1.0


def inspect_coco(part: Part, opening: Opening) -> Findings:
    """Look through an annotation file and its pictures.

    Args:
        part: The split.
        opening: How many pictures are opened; that each of them is there is always checked.
    """
    file, folder = path_in(part.spec, part.spec["ann_file"]), pictures_of(part.spec)
    findings = Findings(part.split, "boxes")
    if not file.is_file():
        findings.counts.append(Count("annotation file", file, None))
    if not folder.is_dir():
        findings.counts.append(Count("folder of the pictures", folder, None))
    if not file.is_file():
        return findings
    try:
        content = read_coco(file, annotated=part.split != "test")
    except BadInputError as error:
        findings.add_problem("annotation file", file, str(error))
        return findings
    for what, key in (("pictures", "images"), ("boxes", "annotations"), ("classes", "categories")):
        findings.counts.append(Count(what, file, len(content[key]), part.expected.get(what)))
    _inspect_annotations(part, file, content, findings)
    if folder.is_dir():
        _inspect_pictures(part, folder, content, findings, opening)
    return findings


def box_problem(box: Sequence[float], height: int, width: int) -> tuple[str, str]:
    """Return the kind of what is wrong with a box and words for it, two empty strings for none.

    Args:
        box: ``[x, y, width, height]``, pixels.
        height: Of the picture, pixels.
        width: Of the picture, pixels.
    """
    x, y, wide, high = box
    if wide <= 0 or high <= 0:
        return "box without area", f"bbox {box} has no area, expected [x, y, width, height] above 0"
    beyond = max(-x, -y, x + wide - width, y + high - height)
    if beyond > MARGIN:
        size = f"{height} x {width} pixels (H x W)"
        return "box outside its picture", f"bbox {box} reaches {beyond:g} pixels outside its picture of {size}"
    return "", ""


def _inspect_annotations(part: Part, file: Path, content: dict[str, Any], findings: Findings) -> None:
    images = {image["id"]: image for image in content["images"]}
    names = {category["id"]: category["name"] for category in content["categories"]}
    findings.amounts.update(dict.fromkeys(names.values(), 0))
    with_masks = any(annotation.get("segmentation") for annotation in content["annotations"])
    seen: set[tuple[Any, Any]] = set()
    tally: Counter[str] = Counter()
    for annotation in content["annotations"]:
        place = f"{file}, annotation {annotation['id']}"
        image = images.get(annotation["image_id"])
        if annotation["category_id"] not in names:
            findings.add_problem("unknown category", place, f"category_id {annotation['category_id']} is no category")
        else:
            name = names[annotation["category_id"]]
            findings.amounts[name] += 1
            findings.pictures[name] += (annotation["image_id"], name) not in seen
            seen.add((annotation["image_id"], name))
        if image is None:
            findings.add_problem("unknown picture", place, f"image_id {annotation['image_id']} is no picture")
            continue
        kind, text = box_problem(annotation["bbox"], image["height"], image["width"])
        if kind == "box without area" and image["id"] in part.known_empty:
            tally["without area, as in the official file"] += 1
        elif kind:
            findings.add_problem(kind, f"{place} of {image['file_name']}", text)
        if with_masks:
            text = mask_problem(annotation.get("segmentation"), image["height"], image["width"], short=True)
            if text:
                findings.add_problem("mask", f"{place} of {image['file_name']}", f"segmentation {text}")
        tally["crowds"] += annotation.get("iscrowd") == 1
        tally["left out in training (under a pixel, or area 0)"] += not is_trained_on(annotation, image)
    if content["annotations"] and not with_masks:
        findings.notes.append("no annotation has a mask: train a detector of boxes, such as RetinaNet")
    empty = len(images.keys() - {annotation["image_id"] for annotation in content["annotations"]})
    findings.notes += [f"{count:,} boxes are {what}" for what, count in tally.items() if count]
    findings.notes += [f"{empty:,} pictures have no annotation"] if empty else []
    if _are_corners(content["annotations"], images):
        findings.notes.append("the boxes look like corners [x1, y1, x2, y2]; COCO's are [x, y, width, height]")


def _are_corners(annotations: Sequence[Mapping[str, Any]], images: Mapping[Any, Any]) -> bool:
    """Tell whether boxes that do not fit their pictures would all fit as corners."""
    fits = [
        (box_problem((x, y, third, fourth), image["height"], image["width"]) != ("", ""))
        for image, (x, y, third, fourth) in _boxes(annotations, images)
    ]
    return any(fits) and all(
        x < third <= image["width"] + MARGIN and y < fourth <= image["height"] + MARGIN
        for image, (x, y, third, fourth) in _boxes(annotations, images)
    )


def _boxes(annotations: Sequence[Mapping[str, Any]], images: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    return [(images[entry["image_id"]], entry["bbox"]) for entry in annotations if entry["image_id"] in images]


def _inspect_pictures(part: Part, folder: Path, content: dict[str, Any], findings: Findings, opening: Opening) -> None:
    there = [image for image in content["images"] if (folder / image["file_name"]).is_file()]
    findings.counts.append(Count("picture files", folder, len(there), len(content["images"])))
    present = {image["id"] for image in there}
    for image in content["images"]:
        if image["id"] not in present:
            findings.add_problem("picture missing", folder / image["file_name"], "is missing")
    chosen = opening.choose(there)

    def read(image: dict[str, Any]) -> str:
        return picture_problem(folder / image["file_name"], (image["height"], image["width"]), "its entry says")

    states = opening.open(read, chosen, f"{part.split} pictures")
    for image, state in zip(chosen, states, strict=True):
        if state:
            findings.add_problem("picture", folder / image["file_name"], state)
    findings.num_opened, findings.num_pictures = len(chosen), len(content["images"])
    by_image: dict[Any, list[dict[str, Any]]] = {}
    for annotation in content["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    fine = [image for image, state in zip(chosen, states, strict=True) if not state]
    findings.drawable = [image for image in fine if image["id"] in by_image] or fine
    findings.draw = lambda image: _draw(folder, image, by_image.get(image["id"], []), content["categories"])


def _draw(
    folder: Path, image: dict[str, Any], annotations: list[dict[str, Any]], categories: list[dict[str, Any]]
) -> Cell:
    """Draw boxes and masks as a run draws its ground truth."""
    import torch
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmdet.visualization import DetLocalVisualizer
    from mmengine.structures import InstanceData

    height, width = image["height"], image["width"]
    labels = {category["id"]: label for label, category in enumerate(categories)}
    drawn = [
        annotation
        for annotation in annotations
        if annotation["category_id"] in labels
        and is_trained_on(annotation, image)
        and not (
            annotation.get("segmentation") and mask_problem(annotation["segmentation"], height, width, short=False)
        )
    ]
    instances = InstanceData(
        bboxes=torch.tensor([[x, y, x + w, y + h] for x, y, w, h in (entry["bbox"] for entry in drawn)]).reshape(-1, 4),
        labels=torch.tensor([labels[entry["category_id"]] for entry in drawn], dtype=torch.long),
    )
    if drawn and all(entry.get("segmentation") for entry in drawn):
        masks = [_bitmap(entry["segmentation"], height, width) for entry in drawn]
        instances.masks = BitmapMasks(masks, height, width)
    sample = DetDataSample(metainfo=dict(img_path=str(folder / image["file_name"])), gt_instances=instances)
    visualizer = DetLocalVisualizer(name="contact sheet")
    visualizer.dataset_meta = dict(classes=tuple(category["name"] for category in categories), palette="random")
    with TemporaryDirectory() as place:
        file = Path(place, "drawing.png")
        draw_sample(visualizer, sample, file, score_threshold=0)
        both = Image.open(file).convert("RGB")
    # The ground truth is on the left; beside it is room for predictions.
    return Cell(image["file_name"], both.crop((0, 0, both.width // 2, both.height)))


def _bitmap(mask: Any, height: int, width: int) -> np.ndarray:
    if isinstance(mask, list):
        mask = coco_mask.merge(coco_mask.frPyObjects(mask, height, width))
    elif isinstance(mask["counts"], list):
        mask = coco_mask.frPyObjects(mask, height, width)
    return coco_mask.decode(mask)
