"""RoIAlign by the maximum instead of the mean of a bin's samples, which torchvision has no kernel for.

A bin with one sample is that sample: torchvision's kernel, asked for as many bins as there are samples, gives them all.
"""

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from effvit_mm.compat.precision import compute_dtype


def _corner_and_extent(rois: Tensor, spatial_scale: float, aligned: bool) -> tuple[Tensor, Tensor]:
    """Upper left corners and extents ``(y, x)`` of the regions in pixels of the map, ``(K, 2)`` each."""
    corners = rois[:, [2, 1, 4, 3]] * spatial_scale - (0.5 if aligned else 0.0)
    extent = corners[:, 2:] - corners[:, :2]
    return corners[:, :2], extent if aligned else extent.clamp(min=1.0)


def max_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> None:
    """Write the maxima of the bins' bilinear samples and where in the map they were sampled; 0 without samples.

    Args:
        input: The feature map.
        rois: Rows ``(index in the batch, x1, y1, x2, y2)`` in pixels of the picture.
        output: Written.
        argmax_y: Written, in pixels of the map; a narrow type rounds it.
        argmax_x: Written, in pixels of the map; a narrow type rounds it.
        spatial_scale: Pixels of the map per pixel of the picture.
        sampling_ratio: Samples per bin and side; 0 takes as many as the bin has pixels.
        aligned: Whether coordinates name pixel centres.

    Shape:
        input ``(B, C, H, W)``, rois ``(K, 5)``, the rest ``(K, C, rows, columns)``.
    """
    dtype = compute_dtype(input, rois)
    input, rois = input.to(dtype), rois.to(dtype)
    grid = output.shape[2:]
    corner, extent = _corner_and_extent(rois, spatial_scale, aligned)
    bins = torch.tensor(grid, dtype=dtype, device=rois.device)
    counts = (extent / bins).ceil() if sampling_ratio == 0 else torch.full_like(extent, sampling_ratio)
    # Regions with as many samples go together.
    for count in counts.unique(dim=0):
        if count.min() <= 0:
            continue
        members = (counts == count).all(dim=1).nonzero().squeeze(1)
        down, across = (int(number) for number in count)
        fine_grid = (grid[0] * down, grid[1] * across)
        samples = torchvision.ops.roi_align(input, rois[members], fine_grid, spatial_scale, 1, aligned)
        maxima, places = F.max_pool2d(samples, (down, across), return_indices=True)
        step = (extent[members] / (bins * count))[:, :, None, None, None]
        start = corner[members][:, :, None, None, None]
        output[members] = maxima.to(output.dtype)
        argmax_y[members] = (start[:, 0] + (places // fine_grid[1] + 0.5) * step[:, 0]).to(argmax_y.dtype)
        argmax_x[members] = (start[:, 1] + (places % fine_grid[1] + 0.5) * step[:, 1]).to(argmax_x.dtype)


def max_backward(grad_output: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor, grad_input: Tensor) -> None:
    """Write each bin's gradient to the four pixels around the place of its maximum, by their bilinear weights.

    Args:
        grad_output: Gradient of the bins.
        rois: As in the forward pass; only the index in the batch is read.
        argmax_y: From the forward pass.
        argmax_x: From the forward pass.
        grad_input: Written.

    Shape:
        grad_input ``(B, C, H, W)``, rois ``(K, 5)``, the rest ``(K, C, rows, columns)``.
    """
    dtype = compute_dtype(grad_output, rois)
    height, width = grad_input.shape[2:]
    y, x = argmax_y.to(dtype), argmax_x.to(dtype)
    # A sample up to a pixel outside takes the border's value, one farther out takes zero.
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    slope = grad_output.to(dtype) * inside
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.floor(), x.floor()
    picture = rois[:, 0].long()[:, None, None, None].expand(y.shape)
    channel = torch.arange(y.size(1), device=y.device)[None, :, None, None].expand(y.shape)
    spread = torch.zeros_like(grad_input, dtype=dtype)
    for row, vertical in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, horizontal in ((left, 1 - (x - left)), (left + 1, x - left)):
            # Beyond the border the weight is zero, and so the index may be any.
            pixel = (picture, channel, row.long().clamp(max=height - 1), column.long().clamp(max=width - 1))
            spread.index_put_(pixel, slope * vertical * horizontal, accumulate=True)
    grad_input.copy_(spread)
