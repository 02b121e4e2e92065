"""Which images data sets of COCO's format share between training and measuring."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from effvit_mm.errors import some_of

# What --overfit writes: there, training and validation are meant to read the same.
FEW_IMAGES = "few_pictures.json"


def describe_shared(datasets: Mapping[tuple[Path, Path, bool], Sequence[str]]) -> Iterator[str]:
    """Say where a run measures on images that it learns from: the same annotation file, or the same image files.

    Args:
        datasets: Names of images below their folder, by annotation file, folder, and whether training reads them.
    """
    learnt = {key: _paths(key[1], names) for key, names in datasets.items() if key[2]}
    for (file, folder, is_train), names in datasets.items():
        if is_train or file.name == FEW_IMAGES:
            continue
        measured = _paths(folder, names)
        for (other, _, _), paths in learnt.items():
            shared = [name for path, name in measured.items() if path in paths]
            if shared:
                files = f"both read {file}" if file.samefile(other) else f"{other} names them, too"
                yield (
                    f"{len(shared):,} of the {len(measured):,} images of {file} are also learnt from ({files}), so the "
                    f"figures are of images that the model has seen: {some_of(shared, most=3)}; give validation and "
                    f"test images of their own"
                )


def _paths(folder: Path, names: Sequence[str]) -> dict[str, str]:
    root = os.path.realpath(folder)
    return {os.path.normpath(os.path.join(root, name)): name for name in names}
