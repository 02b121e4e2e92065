"""Non-maximum suppression under mmcv's signatures: the hard one by torchvision's kernel."""

import numpy as np
import torch
import torchvision
from torch import Tensor

from effvit_mm.compat.ops.bbox_overlaps import overlaps
from effvit_mm.compat.precision import compute_dtype

# mmcv's numbers for how soft-NMS lowers the score of a box that overlaps a kept one.
_NAIVE, _LINEAR, _GAUSSIAN = 0, 1, 2


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


def _decay(overlap: np.ndarray, method: int, iou_threshold: float, sigma: float) -> np.ndarray:
    """The factor on a score, from the overlap with the box just kept; 1 where neither box has an area (NaN)."""
    if method == _GAUSSIAN:
        return np.where(np.isnan(overlap), 1, np.exp(-(overlap**2) / sigma))
    return np.where(overlap >= iou_threshold, 1 - overlap if method == _LINEAR else 0, 1)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Keep the highest score, lower the scores of the boxes that overlap it, and go on with those that are left.

    Args:
        boxes: Corners ``(x1, y1, x2, y2)`` in pixels.
        scores: One score a box.
        dets: Written, as many rows as boxes are kept: the corners and the lowered score.
        iou_threshold: The overlap from which the naive and the linear method lower a score.
        sigma: The width of the gaussian method.
        min_score: A box whose lowered score is below is dropped.
        method: 0 naive (to zero), 1 linear (times ``1 - overlap``), 2 gaussian (times ``exp(-overlap^2 / sigma)``).
        offset: Added to the length of every side.

    Shape:
        boxes ``(N, 4)``, scores ``(N,)``, dets ``(N, 5)``; output ``(kept,)``, int64 indices in order of falling score.

    Cost:
        A pass over all boxes for each kept one. It runs on the CPU, where mmcv sends it, and in numpy, whose calls are
        several times as cheap as torch's on so few numbers.

    Raises:
        ValueError: If ``method`` is none of the three.

    Reference:
        Bodla et al., Soft-NMS, 2017, equations 2 and 3.
    """
    if method not in (_NAIVE, _LINEAR, _GAUSSIAN):
        raise ValueError(f"method must be 0 (naive), 1 (linear) or 2 (gaussian), got {method!r}")
    dtype = compute_dtype(boxes, scores)
    x1, y1, x2, y2 = boxes.cpu().to(dtype).T.numpy()
    areas = (x2 - x1 + offset) * (y2 - y1 + offset)
    left = np.array(scores.cpu().to(dtype).numpy())  # a copy; -inf marks the boxes that are kept or dropped
    left[np.isnan(left)] = -np.inf
    kept, kept_scores = [], []
    # Boxes without an area divide zero by zero, and -inf times zero is no number either.
    with np.errstate(invalid="ignore", divide="ignore"):
        while len(left) > 0 and (score := left[best := int(left.argmax())]) > -np.inf:
            kept.append(best)
            kept_scores.append(float(score))
            width = np.maximum(np.minimum(x2, x2[best]) - np.maximum(x1, x1[best]) + offset, 0)
            height = np.maximum(np.minimum(y2, y2[best]) - np.maximum(y1, y1[best]) + offset, 0)
            intersection = width * height
            overlap = intersection / (areas + areas[best] - intersection)
            left = (left * _decay(overlap, method, iou_threshold, sigma)).astype(left.dtype)
            left[~(left >= min_score)] = -np.inf
            left[best] = -np.inf
    dets[: len(kept), :4] = boxes[kept]
    dets[: len(kept), 4] = torch.tensor(kept_scores, dtype=dtype)
    return torch.tensor(kept, dtype=torch.int64)


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group each kept box with the boxes that it drops.

    Args:
        dets: Corners ``(x1, y1, x2, y2)`` in pixels, and the score.
        iou_threshold: The intersection over union from which the lower score joins the group of the higher.

    Shape:
        dets ``(N, 5)``.

    Returns:
        The indices of each group in order of falling score, the kept box first; groups in order of their kept boxes.
    """
    corners = dets[:, :4].to(compute_dtype(dets))
    remaining = dets[:, 4].sort(descending=True, stable=True).indices
    groups = []
    while len(remaining) > 0:
        best, others = remaining[0], remaining[1:]
        joins = overlaps(corners[best], corners[others]) >= iou_threshold
        groups.append([int(best), *others[joins].tolist()])
        remaining = others[~joins]
    return groups
