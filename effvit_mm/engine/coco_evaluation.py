"""Can COCO's evaluation hold an annotation file: its ids, the order of its categories, and as many objects an image?"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from effvit_mm.errors import BadInputError, some_of

# pycocotools' first figure, AP over all IoUs, takes so many detections of a class an image, whatever proposal_nums are.
MOST_OF_A_CLASS = 100
FEWEST = ("max_per_img", "max_per_image", "num_queries")


def check_ids(
    file: Path,
    evaluator: Mapping[str, Any],
    images: Sequence[Mapping[str, Any]],
    annotations: Sequence[Mapping[str, Any]],
    categories: Sequence[Any],
) -> None:
    """Check that ids are still the same, and told apart, where COCO's evaluation keeps them.

    It marks an object as found by the object's id in an array of floats that begins with 0, and sorts the ids of images
    and categories as one array.

    Args:
        file: The annotation file that the evaluator reads.
        evaluator: Its dict.
        images: The file's entries.
        annotations: Those that are evaluated.
        categories: The ids of those that are evaluated.

    Raises:
        BadInputError: If figures would be wrong, or the evaluation break after the whole validation.
    """
    metrics = _as_list(evaluator.get("metric", "bbox"))
    lost = [entry["id"] for entry in annotations if not entry.get("iscrowd") and not _marks(entry["id"])]
    if lost and set(metrics) != {"proposal_fast"}:
        raise BadInputError(
            f"annotation file {file}: COCO's evaluation marks an object as found by its id, and annotation "
            f"{some_of(map(repr, lost))} would count as never found, or stop it; number the annotations from 1"
        )
    for key, ids in (("images", [image["id"] for image in images]), ("categories", list(categories))):
        kept = set(np.unique(ids).tolist()) if ids else set()
        lost = [value for value in ids if value not in kept]
        if lost:
            raise BadInputError(
                f"annotation file {file}: COCO's evaluation sorts ids as one array of numbers, which keeps "
                f"{some_of(map(repr, lost))} of {key} no longer apart; number {key} from 1 with whole numbers"
            )
    if "proposal_fast" in metrics and any(isinstance(image["id"], str) for image in images):
        raise BadInputError(
            f"annotation file {file}: the metric 'proposal_fast' takes the text id {images[0]['id']!r} of "
            f"an image letter by letter; give images whole numbers as ids"
        )


def check_class_order(file: Path, evaluator: Mapping[str, Any], ids: Sequence[Any]) -> None:
    """Check that figures class by class come under the names of their classes.

    Args:
        file: The annotation file that the evaluator reads.
        evaluator: Its dict.
        ids: Of the classes, in the file's order.

    Raises:
        BadInputError: If ``classwise`` figures would be printed under other names, or not at all.
    """
    if not evaluator.get("classwise") or (all(type(value) is int for value in ids) and list(ids) == sorted(ids)):
        return
    raise BadInputError(
        f"annotation file {file}: classwise=True gives the figures of classes in the order of their ids and their "
        f"names in the file's order, so that with the ids {some_of(map(repr, ids))} they would not meet; number the "
        f"categories with whole numbers in rising order, or leave classwise out"
    )


def check_numbers(name: str, evaluator: Mapping[str, Any]) -> None:
    """Check that an evaluator's ``proposal_nums`` leave COCO's figures a value.

    Raises:
        BadInputError: If mAP would be -1, or the evaluation break after the whole validation.
    """
    numbers = evaluator.get("proposal_nums", (100, 300, 1000))
    if not isinstance(numbers, list | tuple) or len(numbers) < 3 or MOST_OF_A_CLASS not in numbers:
        raise BadInputError(
            f"{name}.proposal_nums={numbers!r}: pycocotools asks for three numbers and gives AP at "
            f"{MOST_OF_A_CLASS} detections, which has to be one of them, such as (100, 300, 1000)"
        )


def check_output(name: str, evaluator: Mapping[str, Any]) -> None:
    """Check that predictions that are only written have a place.

    Raises:
        BadInputError: If they have none.
    """
    if evaluator.get("format_only") and not evaluator.get("outfile_prefix"):
        raise BadInputError(
            f"{name}.format_only=True only writes predictions and needs to know where: set "
            f"{name}.outfile_prefix='work_dirs/predictions', to which .bbox.json and .segm.json are added"
        )


def describe_limits(model: Any, content: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say how many images hold more objects than a model may find, or than COCO's mAP takes, and the remedy.

    Args:
        model: The config's model.
        content: What the annotation file holds.
        annotations: Those that are evaluated.
    """
    names = {image["id"]: image["file_name"] for image in content["images"]}
    objects = [entry for entry in annotations if not entry.get("iscrowd")]
    an_image = Counter(entry["image_id"] for entry in objects)
    of_a_class = Counter((entry["image_id"], entry["category_id"]) for entry in objects)
    notes = []
    for place, limit in _limits("model", model):
        beyond = [(names[key], number) for key, number in an_image.most_common() if number > limit]
        if beyond:
            notes.append(
                f"{len(beyond):,} of {len(names):,} images hold more objects than the model may find "
                f"({place}={limit}), and what is beyond counts as missed: {_numbers(beyond)}; set {place} to at least "
                f"{beyond[0][1]}"
            )
    beyond = [(names[key], number) for (key, _), number in of_a_class.most_common() if number > MOST_OF_A_CLASS]
    if beyond:
        notes.append(
            f"{len({name for name, _ in beyond}):,} of {len(names):,} images hold more than {MOST_OF_A_CLASS} objects "
            f"of a class, of which COCO's mAP takes {MOST_OF_A_CLASS}, so that it stays below 1 for perfect "
            f"predictions: {_numbers(beyond)}; compare by mAP_50 and mAP_75, which take the last of proposal_nums, or "
            f"cut such images into tiles"
        )
    return notes


def is_coco_metric(evaluator: Mapping[str, Any]) -> bool:
    """Tell whether an evaluator is mmdet's ``CocoMetric``, by name, with its library's or not, or as a class."""
    kind = evaluator.get("type", "CocoMetric")
    return str(getattr(kind, "__name__", kind)).rpartition(".")[2] == "CocoMetric"


def _marks(value: Any) -> bool:
    """Tell whether an id leaves a mark in an array of floats that begins with 0."""
    try:
        return float(value) != 0
    except (ValueError, OverflowError):
        return False


def _limits(path: str, part: Any) -> Iterator[tuple[str, int]]:
    """Walk through a model for what bounds the number of its detections."""
    if isinstance(part, list | tuple):
        for place, inner in enumerate(part):
            yield from _limits(f"{path}.{place}", inner)
    elif isinstance(part, dict):
        for key, inner in part.items():
            if key in FEWEST and isinstance(inner, int) and inner > 0:
                yield f"{path}.{key}", inner
            elif key not in ("train_cfg", "init_cfg"):
                yield from _limits(f"{path}.{key}", inner)


def _numbers(beyond: Collection[tuple[str, int]]) -> str:
    return some_of((f"{name} ({number:,})" for name, number in beyond), most=3)


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
