"""Detection operations from their definitions, with loops. Differentiable where the operation is."""

import math

import torch
from torch import Tensor


def intersection_over_union(first: Tensor, second: Tensor, offset: int) -> float:
    """Of two boxes ``(x1, y1, x2, y2)`` whose sides are ``x2 - x1 + offset``."""
    ax1, ay1, ax2, ay2 = first.tolist()
    bx1, by1, bx2, by2 = second.tolist()
    width = min(ax2, bx2) - max(ax1, bx1) + offset
    height = min(ay2, by2) - max(ay1, by1) + offset
    intersection = max(width, 0.0) * max(height, 0.0)
    first_area = (ax2 - ax1 + offset) * (ay2 - ay1 + offset)
    second_area = (bx2 - bx1 + offset) * (by2 - by1 + offset)
    return intersection / (first_area + second_area - intersection)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> list[int]:
    """Indices of the kept boxes in order of falling score."""
    kept: list[int] = []
    for candidate in sorted(range(len(boxes)), key=lambda index: -scores[index].item()):
        overlaps = [intersection_over_union(boxes[candidate], boxes[index], offset) for index in kept]
        if all(overlap <= iou_threshold for overlap in overlaps):
            kept.append(candidate)
    return kept


def _bilinear(fmap: Tensor, y: float, x: float) -> Tensor:
    """The value of ``(C, H, W)`` at a point; zero more than a pixel outside, the border's value up to there."""
    _, height, width = fmap.shape
    if not (-1.0 <= y <= height and -1.0 <= x <= width):
        return fmap.new_zeros(fmap.shape[0])
    y, x = min(max(y, 0.0), height - 1), min(max(x, 0.0), width - 1)
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = y - top, x - left
    upper = (1 - across) * fmap[:, top, left] + across * fmap[:, top, right]
    lower = (1 - across) * fmap[:, bottom, left] + across * fmap[:, bottom, right]
    return (1 - down) * upper + down * lower


def roi_align(
    fmap: Tensor,
    rois: Tensor,
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Average of regularly spaced bilinear samples in each bin of each region, ``(K, C, *output_size)``."""
    rows, columns = output_size
    shift = 0.5 if aligned else 0.0
    regions = []
    for roi in rois.tolist():
        index = int(roi[0])
        x1, y1, x2, y2 = (coordinate * spatial_scale - shift for coordinate in roi[1:])
        height, width = y2 - y1, x2 - x1
        if not aligned:
            height, width = max(height, 1.0), max(width, 1.0)
        bin_height, bin_width = height / rows, width / columns
        vertical = sampling_ratio or math.ceil(bin_height)
        horizontal = sampling_ratio or math.ceil(bin_width)
        bins = []
        for row in range(rows):
            for column in range(columns):
                samples = [
                    _bilinear(
                        fmap[index],
                        y1 + (row + (i + 0.5) / vertical) * bin_height,
                        x1 + (column + (j + 0.5) / horizontal) * bin_width,
                    )
                    for i in range(vertical)
                    for j in range(horizontal)
                ]
                bins.append(torch.stack(samples).mean(dim=0))
        regions.append(torch.stack(bins, dim=1).reshape(-1, rows, columns))
    return torch.stack(regions)


def sigmoid_focal_loss(
    logits: Tensor, target: Tensor, gamma: float, alpha: float, weight: Tensor | None = None
) -> Tensor:
    """``-alpha_t (1 - p_t)^gamma log(p_t)`` of each logit, each class a binary question of its own."""
    rows = []
    for row, label in zip(logits, target.tolist(), strict=True):
        losses = []
        for column, logit in enumerate(row):
            p = 1 / (1 + torch.exp(-logit))
            p_t, alpha_t = (p, alpha) if column == label else (1 - p, 1 - alpha)
            loss = -alpha_t * (1 - p_t) ** gamma * torch.log(p_t)
            has_weight = weight is not None and 0 <= label < len(weight)
            losses.append(loss * weight[label] if has_weight else loss)
        rows.append(torch.stack(losses))
    return torch.stack(rows)


def softmax_focal_loss(
    logits: Tensor, target: Tensor, gamma: float, alpha: float, weight: Tensor | None = None
) -> Tensor:
    """``-alpha (1 - p)^gamma log(p)`` of each row, p the softmax of its label; zero where the label is negative."""
    losses = []
    for row, label in zip(logits, target.tolist(), strict=True):
        if label < 0:
            losses.append((row * 0).sum())
            continue
        p = torch.exp(row[label]) / torch.exp(row).sum()
        loss = -alpha * (1 - p) ** gamma * torch.log(p)
        losses.append(loss if weight is None else loss * weight[label])
    return torch.stack(losses)
