"""Does an annotation file hold what COCO's format asks for? Refused is what would break a run, or bend its results.

Legal and left alone: images without annotations, annotations of other images or categories, boxes that reach outside or
have no area, crowds, polygons and run lengths alike, keys beyond COCO's.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from effvit_mm.errors import BadInputError, listed

# Larger coordinates are no pixels; pycocotools asks for memory in proportion to them.
FARTHEST = 1e6
NEEDED = ("images", "annotations", "categories")
EXPECTED = {
    "id": "a whole number or text",
    "image_id": "the id of an image",
    "category_id": "the id of a category",
    "file_name": "the name of a file",
    "height": "a whole number of pixels",
    "width": "a whole number of pixels",
    "name": "text",
    "bbox": f"[x, y, width, height], four numbers within {FARTHEST:.0e} pixels",
    "area": "a number of pixels",
    "iscrowd": "0 or 1",
}


def read_coco(file: Path, *, annotated: bool = True) -> dict[str, Any]:
    """Read an annotation file as the data sets will: UTF-8, one object with three lists of complete entries.

    Args:
        file: The annotation file.
        annotated: Whether it has to have the list of annotations, which those of COCO's test pictures lack.

    Returns:
        Its content.

    Raises:
        BadInputError: If it is cut off, in another encoding, of another kind, or has an entry that lacks a field or has
            a value in it that cannot be one.
    """
    content = _read_json(file)
    if isinstance(content, dict) and not annotated:
        content.setdefault("annotations", [])
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in NEEDED):
        keys = sorted(content) if isinstance(content, dict) else type(content).__name__
        if isinstance(content, dict) and "annotations" not in content and {"images", "categories"} <= content.keys():
            raise BadInputError(
                f"annotation file {file} has no annotations, expected an object with the lists {', '.join(NEEDED)}; "
                f"give a file that has them, or, to write predictions for images alone, set "
                f"test_evaluator.format_only=True and test_evaluator.outfile_prefix='...'"
            )
        raise BadInputError(
            f"annotation file {file} is not COCO's: expected an object with the lists {', '.join(NEEDED)}, found "
            f"{_short(keys)}; convert it, or name the data set class that reads it"
        )
    _refuse(file, _odd_fields("images", content, ("id", "file_name", "height", "width")))
    _refuse(file, _odd_fields("annotations", content, ("id", "image_id", "category_id", "bbox", "area")))
    _refuse(file, _odd_fields("categories", content, ("id", "name")))
    for key in NEEDED:
        _refuse(file, _repeated(f"{key} with the id", (entry["id"] for entry in content[key])))
    _refuse(file, _ids_of_another_kind(content))
    return content


def check_masks(file: Path, content: dict[str, Any], annotations: Iterable[dict[str, Any]], *, short: bool) -> None:
    """Check that annotations have masks, of the size of their picture.

    Args:
        file: The annotation file.
        content: What it holds.
        annotations: Those whose masks will be read.
        short: Whether polygons of fewer than three points are passed over, as in training, and not read.

    Raises:
        BadInputError: If a mask is missing, malformed, or of another size than its picture.
    """
    images = {image["id"]: image for image in content["images"]}
    problems = []
    for annotation in annotations:
        image = images[annotation["image_id"]]
        problem = mask_problem(annotation.get("segmentation"), image["height"], image["width"], short=short)
        if problem:
            problems.append(f"annotation {annotation['id']}: segmentation {problem}")
    _refuse(file, problems, "a detector of masks needs one in every annotation: write it, or train a detector of boxes")


def check_crowds(file: Path, annotations: Iterable[dict[str, Any]]) -> None:
    """Check that every annotation says whether it is a crowd, which COCO's evaluation asks of all.

    Raises:
        BadInputError: If one does not.
    """
    problems = [
        f"annotation {annotation['id']} lacks iscrowd" for annotation in annotations if "iscrowd" not in annotation
    ]
    _refuse(file, problems, 'write "iscrowd": 0 for single objects and 1 for crowds')


def is_trained_on(annotation: dict[str, Any], image: dict[str, Any]) -> bool:
    """Tell whether a data set of mmdet keeps an annotation for training: it drops boxes without area or outside."""
    x, y, width, height = annotation["bbox"]
    inside = min(x + width, image["width"]) > max(x, 0) and min(y + height, image["height"]) > max(y, 0)
    return inside and width >= 1 and height >= 1 and annotation["area"] > 0 and not annotation.get("ignore")


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise BadInputError(f"annotation file {file} is not UTF-8 ({error}); write it again in UTF-8") from error
    except (ValueError, RecursionError) as error:
        if "BOM" in str(error):
            raise BadInputError(
                f"annotation file {file} begins with a byte order mark; write it again in UTF-8 without one"
            ) from error
        raise BadInputError(
            f"annotation file {file} is not whole JSON ({error}); it may have been cut off: fetch or write it again"
        ) from error


def _odd_fields(key: str, content: dict[str, Any], needed: tuple[str, ...]) -> Iterator[str]:
    """Say which entries lack a field, or have a value in it that cannot be one."""
    checks = [(name, _CHECKS[name]) for name in needed]
    for position, entry in enumerate(content[key]):
        if not isinstance(entry, dict):
            yield f"{key}[{position}] is {_short(entry)}, expected an object with {', '.join(needed)}"
            continue
        for name, is_fine in checks:
            if name not in entry:
                yield f"{key}[{position}] lacks {name}, {EXPECTED[name]}"
            elif not is_fine(entry[name]):
                yield f"{key}[{position}].{name} is {_short(entry[name])}, expected {EXPECTED[name]}"
        if "iscrowd" in entry and entry["iscrowd"] not in (0, 1):
            yield f"{key}[{position}].iscrowd is {_short(entry['iscrowd'])}, expected {EXPECTED['iscrowd']}"


def _repeated(what: str, values: Iterable[Any]) -> Iterator[str]:
    return (f"{count} {what} {_short(value)}" for value, count in Counter(values).items() if count > 1)


def _ids_of_another_kind(content: dict[str, Any]) -> Iterator[str]:
    """Say where the id of an image or category is text here and a number there: 7 and "7" never meet."""
    for what, owners, field in (("image", "images", "image_id"), ("category", "categories", "category_id")):
        is_text = bool(content[owners]) and isinstance(content[owners][0]["id"], str)
        for key, name in ((owners, "id"), ("annotations", field)):
            for position, entry in enumerate(content[key]):
                if isinstance(entry[name], str) != is_text:
                    found = f"{key}[{position}].{name} is {_short(entry[name])}, a {'number' if is_text else 'text'}"
                    yield f"{found}, expected the type of the first {what}'s id, {'text' if is_text else 'a number'}"


def mask_problem(mask: Any, height: int, width: int, *, short: bool) -> str:
    """Return what is wrong with a segmentation, or an empty string.

    Args:
        mask: The annotation's ``segmentation``.
        height: Of its picture, pixels.
        width: Of its picture, pixels.
        short: Whether polygons of fewer than three points are let pass.
    """
    if not mask:
        return "is missing"
    if isinstance(mask, list):
        odd = [polygon for polygon in mask if not _is_polygon(polygon) or (len(polygon) < 6 and not short)]
        return f"has {_short(odd[0])}, expected polygons [x1, y1, x2, y2, x3, y3, ...] in pixels" if odd else ""
    if not isinstance(mask, dict) or not {"counts", "size"} <= mask.keys():
        return f"is {_short(mask)}, expected polygons or an object with counts and size"
    if mask["size"] != [height, width]:
        return f"is of size {_short(mask['size'])}, but its picture is [{height}, {width}]"
    num_pixels = _num_pixels(mask["counts"])
    if num_pixels != height * width:
        return f"has run lengths of {num_pixels or 'no number of'} pixels, but its picture has {height * width}"
    return ""


def _is_polygon(polygon: Any) -> bool:
    if not isinstance(polygon, list) or not polygon:
        return False
    try:  # a real set has tens of millions of coordinates: no Python code runs for each
        return math.isfinite(sum(polygon)) and min(polygon) >= -FARTHEST and max(polygon) <= FARTHEST
    except (TypeError, OverflowError):
        return False


def _num_pixels(counts: Any) -> int | None:
    """Sum run lengths, plain or in COCO's letters (six bits each, differences to the run before the last)."""
    if isinstance(counts, list):
        return sum(counts) if all(isinstance(count, int) and count >= 0 for count in counts) else None
    if not isinstance(counts, str):
        return None
    runs: list[int] = []
    run = shift = 0
    for letter in counts:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 30:
            return None
        run |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            run -= (bits & 16) and 1 << shift
            runs.append(run + runs[-2] if len(runs) > 2 else run)
            run = shift = 0
    return sum(runs) if shift == 0 and min(runs, default=0) >= 0 else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def _is_id(value: Any) -> bool:
    # A whole number as 7.0 is what tables with gaps make of it.
    return isinstance(value, str) or (_is_number(value) and value == int(value))


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_box(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 4:
        return False
    return all(_is_number(side) and abs(side) <= FARTHEST for side in value)


_CHECKS = {
    "id": _is_id,
    "image_id": _is_id,
    "category_id": _is_id,
    "file_name": lambda value: isinstance(value, str) and value != "" and "\0" not in value,
    "height": _is_side,
    "width": _is_side,
    "name": lambda value: isinstance(value, str),
    "bbox": _is_box,
    "area": _is_number,
}


def _refuse(file: Path, problems: Iterable[str], remedy: str = "correct the entry, or take it out") -> None:
    problems = list(problems)
    if problems:
        raise BadInputError(f"annotation file {file}:{listed(problems)}\n{remedy}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
