"""Detections as pictures: ground truth on the left, predictions on the right, large enough to read."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.fileio import get
from mmengine.visualization import Visualizer
from torch import Tensor

MIN_SIDE = 480
MAX_OPACITY = 0.5
# mmengine says so of every object that touches the border; it is drawn all the same, as it should be.
AT_THE_BORDER = "Warning: The (bbox|polygon|text) is out of bounds"


def draw_sample(visualizer: Visualizer, sample: Any, file: Path, *, score_threshold: float) -> None:
    """Draw one evaluated picture through the run's visualizer.

    Args:
        visualizer: The visualizer of the run's library.
        sample: A data sample with its picture's path, ground truth and predictions, in pixels of the picture.
        file: Where to write it.
        score_threshold: Predictions below it are not drawn.
    """
    encoded = np.frombuffer(get(sample.img_path), np.uint8)
    picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
    draw_picture(visualizer, picture, sample, score_threshold=score_threshold, file=file)


def draw_picture(
    visualizer: Visualizer,
    picture: np.ndarray,
    sample: Any,
    *,
    score_threshold: float,
    file: Path | None = None,
    draw_gt: bool = True,
) -> None:
    """Draw one sample on its picture; without a file the drawing is what ``visualizer.get_image()`` then returns.

    Args:
        visualizer: The visualizer of the sample's library.
        picture: ``(H, W, 3)`` uint8, RGB.
        sample: A data sample with predictions, and ground truth where there is one, in pixels of the picture.
        score_threshold: Predictions below it are not drawn.
        file: Where to write it.
        draw_gt: Whether the ground truth, or the bare picture where there is none, stands on the left.
    """
    # Labels have a size in pixels: on a small picture they would hide what they name.
    picture, factor = enlarge(picture)
    if factor > 1:
        sample = _enlarged(sample, factor)
    with warnings.catch_warnings(), _steady(visualizer):
        warnings.filterwarnings("ignore", message=AT_THE_BORDER)
        visualizer.add_datasample(
            file.stem if file else "",
            picture,
            data_sample=sample,
            draw_gt=draw_gt,
            pred_score_thr=score_threshold,
            out_file=str(file) if file else None,
        )


def enlarge(picture: np.ndarray) -> tuple[np.ndarray, int]:
    """Return a small picture large enough to write on, and how many times as large it is."""
    factor = math.ceil(MIN_SIDE / max(picture.shape[:2]))
    if factor == 1:
        return picture, factor
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), factor


@contextmanager
def _steady(visualizer: Visualizer) -> Iterator[None]:
    """Draw with the same colours at every run, and masks that the picture is seen through.

    mmdet shifts the colour of each mask at random, to tell neighbours of one class apart.
    """
    state, opacity = np.random.get_state(), getattr(visualizer, "alpha", None)  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002  (the generator that mmdet draws from)
    if opacity is not None:
        visualizer.alpha = min(opacity, MAX_OPACITY)
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
        if opacity is not None:
            visualizer.alpha = opacity


def _enlarged(sample: Any, factor: int) -> Any:
    sample = sample.clone()
    for name in ("gt_instances", "pred_instances"):
        if name not in sample:
            continue
        instances = getattr(sample, name).clone()
        if "bboxes" in instances:
            instances.bboxes = instances.bboxes * factor
        if "masks" in instances:
            masks = instances.masks
            masks = masks.cpu() if isinstance(masks, Tensor) else torch.from_numpy(masks.to_ndarray().astype(bool))
            instances.masks = masks.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
        setattr(sample, name, instances)
    return sample
