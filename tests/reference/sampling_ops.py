"""Suppression, pooling and sampling operations from their definitions, with loops; differentiable where they are."""

import math

import torch
from reference.ops import _bilinear, intersection_over_union
from torch import Tensor


def soft_nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, sigma: float, min_score: float, method: str, offset: int
) -> list[tuple[int, float]]:
    """Kept boxes and their lowered scores, in the order of keeping (Bodla et al., 2017, figure 2)."""
    left = dict(enumerate(scores.tolist()))
    kept: list[tuple[int, float]] = []
    while left:
        best = max(left, key=lambda index: left[index])
        kept.append((best, left.pop(best)))
        for index in list(left):
            overlap = intersection_over_union(boxes[best], boxes[index], offset)
            if method == "gaussian":
                left[index] *= math.exp(-(overlap**2) / sigma)
            elif overlap >= iou_threshold:
                left[index] *= 1 - overlap if method == "linear" else 0.0
            if left[index] < min_score:
                del left[index]
    return kept


def nms_match(boxes: Tensor, scores: Tensor, iou_threshold: float) -> list[list[int]]:
    """Each kept box with the boxes it drops, by falling score."""
    groups: list[list[int]] = []
    for candidate in sorted(range(len(boxes)), key=lambda index: -scores[index].item()):
        for group in groups:
            if intersection_over_union(boxes[group[0]], boxes[candidate], 0) >= iou_threshold:
                group.append(candidate)
                break
        else:
            groups.append([candidate])
    return groups


def roi_pool(fmap: Tensor, rois: Tensor, output_size: tuple[int, int], spatial_scale: float) -> Tensor:
    """The maximum over the pixels that each bin of each region touches, ``(K, C, *output_size)``; 0 where none."""
    rows, columns = output_size
    channels, height, width = fmap.shape[1:]
    regions = []
    for roi in rois.tolist():
        x1, y1 = roi[1] * spatial_scale, roi[2] * spatial_scale
        x2, y2 = (
            (roi[3] + 1) * spatial_scale,
            (roi[4] + 1) * spatial_scale,
        )  # the last pixel of the picture belongs to it
        bins = []
        for row in range(rows):
            for column in range(columns):
                top = max(math.floor(y1 + row * (y2 - y1) / rows), 0)
                bottom = min(math.ceil(y1 + (row + 1) * (y2 - y1) / rows), height)
                left = max(math.floor(x1 + column * (x2 - x1) / columns), 0)
                right = min(math.ceil(x1 + (column + 1) * (x2 - x1) / columns), width)
                empty = bottom <= top or right <= left or x2 <= x1 or y2 <= y1
                pixels = fmap[int(roi[0]), :, top:bottom, left:right].flatten(1)
                bins.append(fmap.new_zeros(channels) if empty else pixels.max(dim=1).values)
        regions.append(torch.stack(bins, dim=1).reshape(channels, rows, columns))
    return torch.stack(regions)


def roi_align_max(
    fmap: Tensor, rois: Tensor, output_size: tuple[int, int], spatial_scale: float, sampling_ratio: int, aligned: bool
) -> Tensor:
    """The maximum of regularly spaced bilinear samples in each bin of each region, ``(K, C, *output_size)``."""
    rows, columns = output_size
    shift = 0.5 if aligned else 0.0
    regions = []
    for roi in rois.tolist():
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
                ys = [y1 + (row + (i + 0.5) / vertical) * bin_height for i in range(vertical)]
                xs = [x1 + (column + (j + 0.5) / horizontal) * bin_width for j in range(horizontal)]
                samples = [_bilinear(fmap[int(roi[0])], y, x) for y in ys for x in xs]
                bins.append(torch.stack(samples).max(dim=0).values)
        regions.append(torch.stack(bins, dim=1).reshape(-1, rows, columns))
    return torch.stack(regions)


def _sample(fmap: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """The value of ``(C, H, W)`` at a point, zeros lying around it; differentiable by the point too."""
    _, height, width = fmap.shape
    top, left = math.floor(y.item()), math.floor(x.item())
    value = fmap.new_zeros(fmap.shape[0])
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < height and 0 <= column < width:
                value = value + (1 - (y - row).abs()) * (1 - (x - column).abs()) * fmap[:, row, column]
    return value


def deform_conv2d(
    fmap: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    deform_groups: int,
) -> Tensor:
    """Sum over taps of kernel, mask and the map at the displaced tap (Zhu et al., 2019, equation 1)."""
    num_outputs, group_inputs, kernel_height, kernel_width = weight.shape
    per_offset = fmap.shape[1] // deform_groups
    num_taps = kernel_height * kernel_width
    pictures = []
    for b in range(len(fmap)):
        places = []
        for row in range(offset.shape[2]):
            for column in range(offset.shape[3]):
                columns = []  # of each tap, all channels
                for tap in range(num_taps):
                    i, j = divmod(tap, kernel_width)
                    parts = []
                    for g in range(deform_groups):
                        dy, dx = offset[b, 2 * (g * num_taps + tap) :, row, column][:2]
                        y = row * stride[0] - padding[0] + i * dilation[0] + dy
                        x = column * stride[1] - padding[1] + j * dilation[1] + dx
                        part = _sample(fmap[b, g * per_offset : (g + 1) * per_offset], y, x)
                        parts.append(part if mask is None else part * mask[b, g * num_taps + tap, row, column])
                    columns.append(torch.cat(parts))
                seen = torch.stack(columns, dim=1)  # (C_in, taps)
                outputs = []
                for o in range(num_outputs):
                    first = o // (num_outputs // groups) * group_inputs
                    outputs.append((weight[o].flatten(1) * seen[first : first + group_inputs]).sum())
                places.append(torch.stack(outputs) if bias is None else torch.stack(outputs) + bias)
        pictures.append(torch.stack(places, dim=1).reshape(num_outputs, *offset.shape[2:]))
    return torch.stack(pictures)


def multi_scale_deform_attn(value: Tensor, shapes: list[tuple[int, int]], locations: Tensor, weights: Tensor) -> Tensor:
    """Sum over levels and samples of weight and sampled value (Zhu et al., 2021, equation 3), ``(B, Q, h * d)``."""
    batch, num_queries, num_heads, _, num_samples, _ = locations.shape
    pictures = []
    for b in range(batch):
        queries = []
        for q in range(num_queries):
            heads = []
            for h in range(num_heads):
                total, start = value.new_zeros(value.shape[3]), 0
                for level, (height, width) in enumerate(shapes):
                    fmap = value[b, start : start + height * width, h].T.reshape(-1, height, width)
                    start += height * width
                    for k in range(num_samples):
                        x, y = locations[b, q, h, level, k]
                        sample = _sample(fmap, y * height - 0.5, x * width - 0.5)
                        total = total + weights[b, q, h, level, k] * sample
                heads.append(total)
            queries.append(torch.cat(heads))
        pictures.append(torch.stack(queries))
    return torch.stack(pictures)


def carafe(features: Tensor, masks: Tensor, kernel_size: int, group_size: int, scale_factor: int) -> Tensor:
    """Each upsampled place a weighted sum around the place it lies in (Wang et al., 2019, equation 3)."""
    batch, channels, height, width = features.shape
    reach = kernel_size // 2
    output = []
    for b in range(batch):
        for c in range(channels):
            group = c // (channels // group_size)
            for y in range(height * scale_factor):
                for x in range(width * scale_factor):
                    total = features.new_zeros(())
                    for tap in range(kernel_size**2):
                        row = y // scale_factor + tap // kernel_size - reach
                        column = x // scale_factor + tap % kernel_size - reach
                        if 0 <= row < height and 0 <= column < width:
                            factor = masks[b, group * kernel_size**2 + tap, y, x]
                            total = total + factor * features[b, c, row, column]
                    output.append(total)
    return torch.stack(output).reshape(batch, channels, height * scale_factor, width * scale_factor)
