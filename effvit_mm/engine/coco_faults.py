"""What is wrong with single annotations in COCO's format: one list, for the check before training and the data tool."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

# COCO's own boxes, rounded to hundredths, may end that much behind the border; a pixel is nobody's mistake.
MARGIN = 1.0
CORNERS = "the boxes look like corners [x1, y1, x2, y2]; COCO's are [x, y, width, height]"


class Fault(NamedTuple):
    """Something wrong with an annotation.

    Args:
        kind: Short, for counting faults of a kind.
        place: The annotation, and its image where there is one.
        text: What was found and what was expected.
    """

    kind: str
    place: str
    text: str


def annotation_faults(content: Mapping[str, Any], known_empty: Collection[Any] = ()) -> Iterator[Fault]:
    """Find annotations of no category or image, and boxes that have no area or reach outside their image.

    Args:
        content: What an annotation file holds.
        known_empty: Ids of images in which boxes of no area are known and no fault.
    """
    images = {image["id"]: image for image in content["images"]}
    categories = {category["id"] for category in content["categories"]}
    for annotation in content["annotations"]:
        place = f"annotation {annotation['id']}"
        if annotation["category_id"] not in categories:
            yield Fault("unknown category", place, f"category_id {annotation['category_id']!r} is no category")
        image = images.get(annotation["image_id"])
        if image is None:
            yield Fault("unknown picture", place, f"image_id {annotation['image_id']!r} is no picture")
            continue
        kind, text = box_problem(annotation["bbox"], image["height"], image["width"])
        if kind and not (kind == "box without area" and image["id"] in known_empty):
            yield Fault(kind, f"{place} of {image['file_name']}", text)


def describe_faults(faults: Iterable[Fault], num_annotations: int) -> list[str]:
    """Say of each kind of fault how many there are, and what the first of them is.

    Args:
        faults: Of one file.
        num_annotations: How many annotations the file has.
    """
    by_kind: dict[str, list[Fault]] = {}
    for fault in faults:
        by_kind.setdefault(fault.kind, []).append(fault)
    return [
        f"{kind}: {len(found):,} of {num_annotations:,} annotations, first {found[0].place}: {found[0].text}"
        for kind, found in by_kind.items()
    ]


def box_problem(box: Sequence[float], height: int, width: int) -> tuple[str, str]:
    """Return the kind of what is wrong with a box and words for it, two empty strings for none.

    Args:
        box: ``[x, y, width, height]``, pixels.
        height: Of the image, pixels.
        width: Of the image, pixels.
    """
    x, y, wide, high = box
    if wide <= 0 or high <= 0:
        return "box without area", f"bbox {box} has no area, expected [x, y, width, height] above 0"
    beyond = max(-x, -y, x + wide - width, y + high - height)
    if beyond > MARGIN:
        size = f"{height} x {width} pixels (H x W)"
        return "box outside its picture", f"bbox {box} reaches {beyond:g} pixels outside its picture of {size}"
    return "", ""


def are_corners(content: Mapping[str, Any]) -> bool:
    """Tell whether most boxes do not fit their images, and all would as corners: few right boxes look like that."""
    images = {image["id"]: image for image in content["images"]}
    boxes = [
        (images[annotation["image_id"]], annotation["bbox"])
        for annotation in content["annotations"]
        if annotation["image_id"] in images
    ]
    outside = sum(box_problem(box, image["height"], image["width"]) != ("", "") for image, box in boxes)
    return outside > len(boxes) / 2 and all(
        x < third <= image["width"] + MARGIN and y < fourth <= image["height"] + MARGIN
        for image, (x, y, third, fourth) in boxes
    )
