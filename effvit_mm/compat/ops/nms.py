"""Non-maximum suppression under mmcv's signature, by torchvision's kernel."""

import torch
import torchvision
from torch import Tensor

from effvit_mm.compat.precision import compute_dtype


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Keep, from the highest score down, each box that overlaps no kept box by more than the threshold.

    mmcv measures a side as ``x2 - x1 + offset``, torchvision as ``x2 - x1``. Adding the offset to ``x2`` and ``y2`` of
    every box turns the first into the second, in the areas and also in the intersections, because
    ``min(a + offset, b + offset) = min(a, b) + offset``.

    Args:
        boxes: Corners ``(x1, y1, x2, y2)`` in pixels.
        scores: One score a box.
        iou_threshold: The intersection over union above which the lower score is dropped.
        offset: 0 for continuous corners, 1 where ``x2`` and ``y2`` name the last pixel inside.

    Shape:
        boxes ``(N, 4)``, scores ``(N,)``; output ``(kept,)``, int64 indices in order of falling score.

    Raises:
        ValueError: If ``offset`` is neither 0 nor 1.
    """
    if offset not in (0, 1):
        raise ValueError(f"offset must be 0 or 1, got {offset!r}")
    corners = boxes.to(compute_dtype(boxes))
    if offset == 1:
        corners = corners + torch.tensor([0, 0, 1, 1], dtype=corners.dtype, device=corners.device)
    return torchvision.ops.nms(corners, scores.to(corners.dtype), float(iou_threshold))
