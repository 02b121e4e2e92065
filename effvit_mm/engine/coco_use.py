"""What of an annotation file in COCO's format mmdet leaves out in training, and why, for check and data tool alike."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from effvit_mm.engine.coco_check import is_trained_on
from effvit_mm.engine.pipeline_check import steps_of
from effvit_mm.errors import some_of

CROWD = "crowds (iscrowd=1)"
SHORT_POLYGONS = "every polygon has fewer than 6 or an odd number of values, expected [x1, y1, x2, y2, x3, y3, ...]"
NO_POLYGONS = "run lengths where the pipeline keeps polygons (poly2mask=False)"


def why_left_out(annotation: Mapping[str, Any], image: Mapping[str, Any], masks: str) -> str:
    """Return why mmdet does not learn from an annotation, or an empty string.

    Args:
        annotation: COCO's entry.
        image: The entry of its image.
        masks: How the pipeline loads masks, as :func:`masks_loaded` says.
    """
    if annotation.get("ignore"):
        return "marked as ignore"
    if not is_trained_on(annotation, image):
        return "area 0, a side under a pixel, or outside the image"
    if annotation.get("iscrowd"):
        return CROWD
    mask = annotation.get("segmentation")
    if masks and isinstance(mask, list) and mask and not any(_is_learnt(polygon) for polygon in mask):
        return SHORT_POLYGONS
    return NO_POLYGONS if masks == "polygons" and isinstance(mask, dict) else ""


def masks_loaded(pipeline: Any) -> str:
    """Return how a pipeline loads masks: ``'bitmaps'``, ``'polygons'``, or an empty string where it does not."""
    for _, step in steps_of("pipeline", pipeline):
        if step.get("with_mask"):
            return "bitmaps" if step.get("poly2mask", True) else "polygons"
    return ""


def annotations_left_out(
    content: Mapping[str, Any], ids: Collection[Any], masks: str
) -> dict[str, list[Mapping[str, Any]]]:
    """Return annotations that mmdet does not learn from, by why.

    Args:
        content: What the annotation file holds.
        ids: Of the categories that are learnt.
        masks: How the pipeline loads masks.
    """
    images = {image["id"]: image for image in content["images"]}
    reasons: dict[str, list[Mapping[str, Any]]] = {}
    for annotation in content["annotations"]:
        if annotation["category_id"] in ids and annotation["image_id"] in images:
            reason = why_left_out(annotation, images[annotation["image_id"]], masks)
            if reason:
                reasons.setdefault(reason, []).append(annotation)
    return reasons


def images_left_out(
    dataset: Mapping[str, Any], content: Mapping[str, Any], ids: Collection[Any]
) -> dict[str, list[Mapping[str, Any]]]:
    """Return images that a data set's ``filter_cfg`` leaves out, by why.

    Args:
        dataset: The data set's dict.
        content: What the annotation file holds.
        ids: Of the data set's categories.
    """
    rule = dataset.get("filter_cfg") or {}
    if not rule or dataset.get("test_mode"):
        return {}
    least = rule.get("min_size", 0)
    annotated = {entry["image_id"] for entry in content["annotations"] if entry["category_id"] in ids}
    reasons: dict[str, list[Mapping[str, Any]]] = {}
    for image in content["images"]:
        if rule.get("filter_empty_gt") and image["id"] not in annotated:
            reasons.setdefault("no annotation of the classes (filter_cfg.filter_empty_gt)", []).append(image)
        elif min(image["width"], image["height"]) < least:
            reasons.setdefault(f"a side under {least} pixels (filter_cfg.min_size)", []).append(image)
    return reasons


def learnt_from(
    dataset: Mapping[str, Any], content: Mapping[str, Any], ids: Collection[Any], masks: str
) -> tuple[list[Mapping[str, Any]], str]:
    """Return the annotations that are left to learn from, and what was left out, an empty string for nothing.

    Args:
        dataset: The data set's dict.
        content: What the annotation file holds.
        ids: Of the data set's categories.
        masks: How the pipeline loads masks.
    """
    gone, passed_over = images_left_out(dataset, content, ids), annotations_left_out(content, ids, masks)
    kept = {image["id"] for image in content["images"]} - {image["id"] for of in gone.values() for image in of}
    without = {entry["id"] for of in passed_over.values() for entry in of}
    left = [
        entry
        for entry in content["annotations"]
        if entry["image_id"] in kept and entry["category_id"] in ids and entry["id"] not in without
    ]
    reasons = [
        f"{len(entries):,} {what}: {reason}"
        for what, left_out in (("images", gone), ("annotations", passed_over))
        for reason, entries in left_out.items()
    ]
    return left, f"left out are {'; '.join(reasons)}" if reasons else ""


def describe_left_out(
    dataset: Mapping[str, Any], content: Mapping[str, Any], ids: Collection[Any], masks: str
) -> list[str]:
    """Say how many images, annotations and categories are left out in training, why, and which come first.

    Args:
        dataset: The data set's dict.
        content: What the annotation file holds.
        ids: Of the data set's categories.
        masks: How the pipeline loads masks.
    """
    num_images, num_annotations = len(content["images"]), len(content["annotations"])
    notes = [
        f"{len(images):,} of {num_images:,} images are left out in training: {reason}: "
        f"{some_of(image['file_name'] for image in images)}"
        for reason, images in images_left_out(dataset, content, ids).items()
    ]
    notes += [
        f"{len(entries):,} of {num_annotations:,} annotations are left out in training: {reason}: id "
        f"{some_of(entry['id'] for entry in entries)}"
        for reason, entries in annotations_left_out(content, ids, masks).items()
    ]
    counts = Counter(entry["category_id"] for entry in content["annotations"])
    others = [entry for entry in content["categories"] if entry["id"] not in ids and counts[entry["id"]]]
    if others:
        names = some_of(f"{entry['name']} ({counts[entry['id']]:,})" for entry in others)
        notes.append(
            f"{len(others):,} of {len(content['categories']):,} categories of the file are left out, with their "
            f"annotations, since metainfo.classes does not name them: {names}"
        )
    return notes


def _is_learnt(polygon: Any) -> bool:
    return isinstance(polygon, list) and len(polygon) % 2 == 0 and len(polygon) >= 6
