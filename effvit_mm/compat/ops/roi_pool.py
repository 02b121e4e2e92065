"""RoIPool under mmcv's signatures, by torchvision's kernels.

Reference: Girshick, Fast R-CNN, 2015, section 2.1.

mmcv and torchvision divide a region differently: torchvision rounds its corners to the map's pixels first, mmcv rounds
the borders of each bin outwards. A bin of mmcv's is a rectangle of whole pixels, so it is given to torchvision as a
region of its own, with a single bin.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from effvit_mm.compat.precision import compute_dtype

_NOWHERE = -1


def _bin_edges(start: Tensor, end: Tensor, num_bins: int, size: int) -> tuple[Tensor, Tensor]:
    """First pixel and the one after the last, ``(K, num_bins)`` each, of the bins between two coordinates ``(K,)``."""
    extent = ((end - start) / num_bins).unsqueeze(1)
    index = torch.arange(num_bins, dtype=start.dtype, device=start.device)
    first = torch.floor(index * extent + start.unsqueeze(1))
    behind = torch.ceil((index + 1) * extent + start.unsqueeze(1))
    return first.clamp(0, size), behind.clamp(0, size)


def _bins_as_regions(
    rois: Tensor, grid: tuple[int, int], spatial_scale: float, size: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Each bin as a region of whole pixels ``(K * rows * columns, 5)``, and whether it has any ``(K, rows, columns)``.

    A region covers its last pixel (hence the 1 added to ``x2`` and ``y2``); one without extent has no pixels.
    """
    index = rois[:, 0]
    x1, y1 = rois[:, 1] * spatial_scale, rois[:, 2] * spatial_scale
    x2, y2 = (rois[:, 3] + 1) * spatial_scale, (rois[:, 4] + 1) * spatial_scale
    top, bottom = (edge.unsqueeze(2) for edge in _bin_edges(y1, y2, grid[0], size[0]))
    left, right = (edge.unsqueeze(1) for edge in _bin_edges(x1, x2, grid[1], size[1]))
    has_extent = ((x2 > x1) & (y2 > y1))[:, None, None]
    has_pixels = (bottom > top) & (right > left) & has_extent
    # torchvision's corners name the first and the last pixel.
    corners = torch.broadcast_tensors(index[:, None, None], left, top, right - 1, bottom - 1)
    return torch.stack(corners, dim=-1).reshape(-1, 5), has_pixels


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Take the maximum over the pixels of each bin of each region, into ``output``; 0 where a bin has none.

    Args:
        input: The feature map.
        rois: Rows ``(index in the batch, x1, y1, x2, y2)`` in pixels of the picture.
        output: Written.
        argmax: Written: the maximum's place in its map, row by row, or -1.
        pooled_height: Bins of a region, vertically.
        pooled_width: Bins of a region, horizontally.
        spatial_scale: Pixels of the map per pixel of the picture.

    Shape:
        input ``(B, C, H, W)``, rois ``(K, 5)``, output and argmax ``(K, C, pooled_height, pooled_width)``.
    """
    dtype = compute_dtype(input, rois)
    grid = (pooled_height, pooled_width)
    regions, has_pixels = _bins_as_regions(rois.to(dtype), grid, spatial_scale, input.shape[2:])
    maxima, places = torch.ops.torchvision.roi_pool(input.to(dtype), regions, 1.0, 1, 1)

    def by_region(values: Tensor) -> Tensor:  # (K * rows * columns, C, 1, 1) -> (K, C, rows, columns)
        return values.view(len(rois), *grid, input.size(1)).permute(0, 3, 1, 2)

    output.copy_(torch.where(has_pixels.unsqueeze(1), by_region(maxima), 0.0))
    argmax.copy_(torch.where(has_pixels.unsqueeze(1), by_region(places), _NOWHERE))


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Add the gradient of each bin at the pixel its maximum came from, into ``grad_input``; regions get none.

    Args:
        grad_output: Gradient of the bins.
        rois: As in the forward pass.
        argmax: From the forward pass.
        grad_input: Written.
        pooled_height: As in the forward pass.
        pooled_width: As in the forward pass.
        spatial_scale: As in the forward pass.

    Shape:
        grad_output and argmax ``(K, C, pooled_height, pooled_width)``, rois ``(K, 5)``, grad_input ``(B, C, H, W)``.
    """
    dtype = compute_dtype(grad_output, rois)
    spread = torch.ops.torchvision._roi_pool_backward(
        grad_output.to(dtype), rois.to(dtype), argmax, spatial_scale, pooled_height, pooled_width, *grad_input.shape
    )
    grad_input.copy_(spread)
