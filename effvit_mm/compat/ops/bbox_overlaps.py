"""Overlaps of boxes under mmcv's signature, in plain torch."""

import torch
from torch import Tensor

from effvit_mm.compat.precision import compute_dtype

_MODE_IOU, _MODE_IOF = 0, 1


def overlaps(first: Tensor, second: Tensor, *, offset: int = 0, of_first: bool = False) -> Tensor:
    """Intersection over union of boxes whose sides are ``x2 - x1 + offset``.

    Args:
        first: Corners ``(x1, y1, x2, y2)`` in pixels.
        second: Corners to compare with; the shapes broadcast.
        offset: 0 for continuous corners, 1 where ``x2`` and ``y2`` name the last pixel inside.
        of_first: Divide by the area of the first box instead of the union.

    Shape:
        first and second ``(..., 4)``, output ``(...)``. Two boxes without an area give NaN, as zero over zero does.
    """
    sides = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2]) + offset
    intersection = sides.clamp(min=0).prod(dim=-1)
    area = (first[..., 2:] - first[..., :2] + offset).prod(dim=-1)
    if not of_first:
        area = area + (second[..., 2:] - second[..., :2] + offset).prod(dim=-1) - intersection
    return intersection / area


def bbox_overlaps(bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int) -> None:
    """Write the overlap of every box with every other, or of each with its partner.

    Args:
        bboxes1: Corners ``(x1, y1, x2, y2)`` in pixels.
        bboxes2: The same.
        ious: Written.
        mode: 0 for intersection over union, 1 for intersection over the area of the first box.
        aligned: Whether row i of one is compared with row i of the other alone.
        offset: Added to the length of every side.

    Shape:
        bboxes1 ``(M, 4)``, bboxes2 ``(N, 4)``; ious ``(M, N)``, or ``(M,)`` where ``aligned``.

    Raises:
        ValueError: If ``mode`` is neither 0 nor 1.
    """
    if mode not in (_MODE_IOU, _MODE_IOF):
        raise ValueError(f"mode must be 0 (over the union) or 1 (over the first box), got {mode!r}")
    dtype = compute_dtype(bboxes1, bboxes2)
    first, second = bboxes1.to(dtype), bboxes2.to(dtype)
    if not aligned:
        first = first.unsqueeze(1)
    ious.copy_(overlaps(first, second, offset=offset, of_first=mode == _MODE_IOF))
