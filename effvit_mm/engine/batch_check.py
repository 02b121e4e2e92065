"""Do the images of a batch have one size where the model pads none? Asked before a run, not at its first validation.

mmseg's preprocessor, which segmenters and depth estimators share, puts images to be measured into a batch as they are.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import ExifTags, Image

from effvit_mm.engine.explain import explained
from effvit_mm.engine.picture_check import READERS
from effvit_mm.errors import BadInputError

Size = tuple[int, int]  # (H, W), pixels


def check_batches(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check that no batch of a segmenter's or depth estimator's validation or test mixes sizes.

    One image of each stored size goes through the pipeline, and only where batches mix those.

    Args:
        cfg: The config of a run, whose data is there.
        splits: Which of ``'train'``, ``'val'``, ``'test'`` the run has.

    Raises:
        BadInputError: With two images of a batch and their sizes.
    """
    model = cfg.get("model") or {}
    preprocessor = model.get("data_preprocessor", cfg.get("data_preprocessor")) or {}
    kind = preprocessor.get("type") if isinstance(preprocessor, dict) else None
    if str(getattr(kind, "__name__", kind)).rpartition(".")[2] != "SegDataPreProcessor":
        return
    for split in splits:
        loader = cfg.get(f"{split}_dataloader") or {}
        if split != "train" and (loader.get("batch_size") or 1) > 1:
            with explained(cfg), DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
                _check_loader(split, loader, DATASETS.build(loader.dataset))


def _check_loader(split: str, loader: Any, dataset: Any) -> None:
    if not hasattr(dataset, "get_data_info"):
        return
    files = [dataset.get_data_info(index).get("img_path") for index in range(len(dataset))]
    if not all(isinstance(file, str) and os.path.isfile(file) for file in files):
        return
    with ThreadPoolExecutor(READERS) as readers:
        stored = list(readers.map(_stored, files))
    loaded: dict[Any, Size] = {}  # by what is stored, its size behind the pipeline
    for batch in _batches(len(files), loader):
        kinds = {stored[index]: index for index in batch}
        if len(kinds) < 2:
            continue
        for what, index in kinds.items():
            if what not in loaded:
                loaded[what] = tuple(dataset[index]["inputs"].shape[-2:])
        sizes = {loaded[what]: files[index] for what, index in kinds.items()}
        if len(sizes) > 1:
            (one, first), (other, second) = list(sizes.items())[:2]
            name = f"{split}_dataloader"
            raise BadInputError(
                f"{name}.batch_size={loader.batch_size} puts pictures of different sizes into one batch, which this "
                f"model cannot measure: behind the pipeline {first} is {one[0]} x {one[1]} pixels (H x W) and {second} "
                f"{other[0]} x {other[1]}; set {name}.batch_size=1, or bring all to one size in {name}.dataset.pipeline"
            )


def _stored(file: str) -> tuple[Any, ...]:
    """Return what decides the size behind a pipeline that draws nothing: the stored one, and whether it is turned."""
    try:
        with Image.open(file) as image:
            return image.size, image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return (file,)  # which is told where its data is checked


def _batches(num_images: int, loader: Any) -> Iterator[range]:
    """Give the batches of the first process of a run, or all images as one where their order is drawn."""
    if (loader.get("sampler") or {}).get("shuffle"):
        yield range(num_images)
        return
    step = int(os.environ.get("WORLD_SIZE", "1"))
    places = range(0, num_images, step)
    for start in range(0, len(places), loader.batch_size):
        yield places[start : start + loader.batch_size]
