"""Looks through boxes and masks in COCO's format."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from effvit_mm.data_tool.drawing import read_image
from effvit_mm.data_tool.findings import Cell, Count, Findings
from effvit_mm.data_tool.opening import Opening
from effvit_mm.data_tool.part import Part
from effvit_mm.engine.coco_check import is_trained_on, mask_problem, read_coco
from effvit_mm.engine.coco_faults import CORNERS, Fault, annotation_faults, are_corners
from effvit_mm.engine.coco_joined import joined_far
from effvit_mm.engine.coco_use import describe_left_out, learnt_from, masks_loaded
from effvit_mm.engine.data_check import path_in, pictures_of
from effvit_mm.engine.drawing import draw_picture
from effvit_mm.engine.picture_check import Look, describe_orientations, look_at_image, turns_images
from effvit_mm.errors import BadInputError, some_of
from effvit_mm.image_files import NearFiles, describe_missing


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


def _inspect_annotations(part: Part, file: Path, content: dict[str, Any], findings: Findings) -> None:
    annotations = content["annotations"]
    names = {category["id"]: category["name"] for category in content["categories"]}
    findings.amounts.update(dict.fromkeys(names.values(), 0))
    seen = {(entry["image_id"], names[entry["category_id"]]) for entry in annotations if entry["category_id"] in names}
    findings.amounts.update(names[entry["category_id"]] for entry in annotations if entry["category_id"] in names)
    findings.pictures.update(name for _, name in seen)
    for kind, place, text in (*annotation_faults(content, part.known_empty), *_mask_faults(content)):
        findings.add_problem(kind, f"{file}, {place}", text)
    known = sum(entry["image_id"] in part.known_empty and min(entry["bbox"][2:]) <= 0 for entry in annotations)
    findings.notes += [f"{known:,} boxes are without area, as in the official file"] if known else []
    classes = (part.spec.get("metainfo") or {}).get("classes") or names.values()
    ids = [number for number, name in names.items() if name in classes]
    # A bare folder has no pipeline: what masks it has are taken as loaded.
    masks = masks_loaded(part.spec["pipeline"]) if "pipeline" in part.spec else "bitmaps"
    measured = part.spec.get("test_mode", False)
    crowds = sum(entry.get("iscrowd") == 1 for entry in annotations) if measured else 0
    findings.notes += [f"{crowds:,} boxes are crowds"] if crowds else []
    findings.notes += [] if measured else describe_left_out(part.spec, content, ids, masks)
    left, left_out = learnt_from(part.spec, content, ids, "" if measured else masks)
    if annotations and not left:
        kind = "nothing to measure" if measured else "nothing to learn from"
        findings.add_problem(kind, file, f"there is {kind}{f' ({left_out})' if left_out else ''}")
    joined = [entry["id"] for entry in joined_far(annotations)]
    if joined:
        findings.notes.append(
            f"{len(joined):,} of {len(annotations):,} annotations join parts that lie far from each other, as where "
            f"objects were taken for one: id {some_of(joined)}"
        )
    if annotations and not any(entry.get("segmentation") for entry in annotations):
        findings.notes.append("no annotation has a mask: train a detector of boxes, such as RetinaNet")
    empty = len({image["id"] for image in content["images"]} - {entry["image_id"] for entry in annotations})
    findings.notes += [f"{empty:,} pictures have no annotation"] if empty else []
    findings.notes += [CORNERS] if are_corners(content) else []


def _mask_faults(content: dict[str, Any]) -> Iterator[Fault]:
    images = {image["id"]: image for image in content["images"]}
    if any(entry.get("segmentation") for entry in content["annotations"]):
        for entry in content["annotations"]:
            image = images.get(entry["image_id"])
            mask = entry.get("segmentation")
            text = mask_problem(mask, image["height"], image["width"], short=True) if image else ""
            if text:
                yield Fault("mask", f"annotation {entry['id']} of {image['file_name']}", f"segmentation {text}")


def _inspect_pictures(part: Part, folder: Path, content: dict[str, Any], findings: Findings, opening: Opening) -> None:
    there = [image for image in content["images"] if (folder / image["file_name"]).is_file()]
    findings.counts.append(Count("picture files", folder, len(there), len(content["images"])))
    present = {image["id"] for image in there}
    near = NearFiles()
    for image in content["images"]:
        if image["id"] not in present:
            file = folder / image["file_name"]
            findings.add_problem("picture missing", file, describe_missing(file, near))
    chosen = opening.choose(there)

    turns = turns_images(part.spec)

    def read(image: dict[str, Any]) -> Look:
        size = (image["height"], image["width"])
        return look_at_image(folder / image["file_name"], size, "its entry says", turns=turns)

    looks = opening.open(read, chosen, f"{part.split} pictures")
    findings.add_note(describe_orientations([look.orientation for look in looks], turns=turns))
    states = [look.problem for look in looks]
    for image, state in zip(chosen, states, strict=True):
        if state:
            findings.add_problem("picture", folder / image["file_name"], state)
    findings.num_opened, findings.num_pictures = len(chosen), len(content["images"])
    by_image: dict[Any, list[dict[str, Any]]] = {}
    for annotation in content["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    fine = [image for image, state in zip(chosen, states, strict=True) if not state]
    findings.drawable = [image for image in fine if image["id"] in by_image] or fine
    findings.draw = lambda image: _draw(
        folder, image, by_image.get(image["id"], []), content["categories"], turns=turns
    )


def _draw(
    folder: Path,
    image: dict[str, Any],
    annotations: list[dict[str, Any]],
    categories: list[dict[str, Any]],
    *,
    turns: bool,
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
        image_file = folder / image["file_name"]
        draw_picture(visualizer, read_image(image_file, turns=turns), sample, score_threshold=0, file=file)
        both = Image.open(file).convert("RGB")
    # The ground truth is on the left; beside it is room for predictions.
    return Cell(image["file_name"], both.crop((0, 0, both.width // 2, both.height)))


def _bitmap(mask: Any, height: int, width: int) -> np.ndarray:
    if isinstance(mask, list):
        mask = coco_mask.merge(coco_mask.frPyObjects(mask, height, width))
    elif isinstance(mask["counts"], list):
        mask = coco_mask.frPyObjects(mask, height, width)
    return coco_mask.decode(mask)
