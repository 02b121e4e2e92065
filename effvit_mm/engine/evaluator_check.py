"""Do the evaluators of a split measure the images that its data loader reads? Predictions and objects meet by id alone.

Asked of evaluators of COCO's format, which read an annotation file of their own (``ann_file``) or number what the data
loader gives them. Metrics of masks, depth and classes get the truth with each image and match nothing by id.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from effvit_mm.errors import BadInputError, some_of


class Source(NamedTuple):
    """What a data set of a split reads.

    Args:
        file: Its annotation file.
        folder: Its folder of images.
        content: What the file holds.
        images: Those of its images that the data set takes.
    """

    file: Path
    folder: Path
    content: Mapping[str, Any]
    images: Sequence[Mapping[str, Any]]


def check_ids_of_sources(split: str, sources: Sequence[Source]) -> None:
    """Check that an id names one image in all data sets of a split, which an evaluator could not tell apart.

    Args:
        split: ``'val'`` or ``'test'``.
        sources: Its data sets.

    Raises:
        BadInputError: If an id names several.
    """
    seen: dict[Any, tuple[Path, Any]] = {}
    shared: dict[Path, list[Any]] = {}
    for source in sources:
        for image in source.images:
            if seen.setdefault(image["id"], (source.file, image))[0] != source.file:
                shared.setdefault(source.file, []).append(image["id"])
    for file, ids in shared.items():
        other, image = seen[ids[0]]
        raise BadInputError(
            f"{len(ids)} ids of images of {file} are also in {other}, such as {ids[0]!r} ({image['file_name']}), and "
            f"{split}_evaluator would measure what is found in one image against the objects of the other; give all "
            f"data sets of {split}_dataloader ids of their own in one file, or measure them one after the other"
        )


def check_same_images(place: str, own: Path, content: Mapping[str, Any], split: str, sources: Sequence[Source]) -> None:
    """Check that a file that an evaluator reads is of the images that the data loader reads, each under its id.

    Args:
        place: The evaluator's place in the config.
        own: The file it reads.
        content: What that file holds.
        split: ``'val'`` or ``'test'``.
        sources: The data sets of the split.

    Raises:
        BadInputError: If it lacks images, has more of them, or has others under the same ids.
    """
    files = some_of(dict.fromkeys(str(source.file) for source in sources))
    mine = {image["id"]: image for image in content["images"]}
    given = {image["id"]: (source.folder, image) for source in sources for image in source.images}
    remedy = f"give both the same file and all of its images: --cfg-options {place}.ann_file=..."
    unknown = given.keys() - mine.keys()
    if unknown:
        raise BadInputError(
            f"{place}.ann_file {own} lacks {len(unknown)} of the {len(given)} pictures of {files}, which "
            f"{split}_dataloader reads; {remedy}"
        )
    others = [id_ for id_, (folder, image) in given.items() if not _is_same(mine[id_], folder, image)]
    if others:
        image = given[others[0]][1]
        raise BadInputError(
            f"{place}.ann_file {own} has other images than {files}, which {split}_dataloader reads, under "
            f"{len(others)} of {len(given)} ids: {others[0]!r} is {_described(mine[others[0]])} there, and "
            f"{_described(image)} here; {remedy}"
        )
    more = mine.keys() - given.keys()
    if more:
        raise BadInputError(
            f"{place}.ann_file {own} has {len(more)} images more than {split}_dataloader takes of {files}, and all of "
            f"their objects would count as not found: {some_of(mine[id_]['file_name'] for id_ in more)}; {remedy}"
        )


def differing_objects(content: Mapping[str, Any], sources: Sequence[Source]) -> int:
    """Return how many images have other objects in an evaluator's file than in the data loader's.

    Args:
        content: What the evaluator's file holds.
        sources: The data sets of the split.
    """
    mine = _objects_of([content])
    given = _objects_of([source.content for source in sources])
    return sum(mine.get(id_) != given.get(id_) for id_ in mine.keys() | given.keys())


def _objects_of(contents: Sequence[Mapping[str, Any]]) -> dict[Any, list[Any]]:
    objects: dict[Any, list[Any]] = {}
    for content in contents:
        names = {category["id"]: category["name"] for category in content["categories"]}
        for entry in content["annotations"]:
            what = (str(names.get(entry["category_id"])), [float(side) for side in entry["bbox"]])
            objects.setdefault(entry["image_id"], []).append(what)
    return {id_: sorted(found) for id_, found in objects.items()}


def _is_same(mine: Mapping[str, Any], folder: Path, image: Mapping[str, Any]) -> bool:
    """Tell whether two entries are of one image: of the same size, and one path the end of the other."""
    if any(mine.get(side) != image.get(side) for side in ("height", "width")):
        return False
    path = _parts(os.path.normpath(folder / image["file_name"]))
    own, name = _parts(os.path.normpath(mine["file_name"])), _parts(os.path.normpath(image["file_name"]))
    return path[-len(own) :] == own or own[-len(name) :] == name


def _parts(path: str) -> tuple[str, ...]:
    return PurePosixPath(path).parts


def _described(image: Mapping[str, Any]) -> str:
    return f"{image['file_name']} ({image.get('height')} x {image.get('width')})"
