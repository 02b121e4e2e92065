"""RoIAlign under mmcv's signatures, by torchvision's kernels.

Reference: He et al., Mask R-CNN, 2017, section 3.
"""

import torch
import torchvision
from torch import Tensor

from effvit_mm.compat.ops.missing import MissingOpError
from effvit_mm.compat.precision import compute_dtype

# mmcv's number for the mean over the samples of a bin; 0 stands for their maximum.
_POOL_MODE_AVG = 1


def _require_average(pool_mode: int) -> None:
    if pool_mode != _POOL_MODE_AVG:
        raise MissingOpError("roi_align with pool_mode='max'", "Without it, RoIAlign has pool_mode='avg' only.")


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Average bilinear samples of a map in each bin of each region, into ``output``.

    Args:
        input: The feature map.
        rois: Rows ``(index in the batch, x1, y1, x2, y2)`` in pixels of the picture.
        output: Written.
        argmax_y: Of the maximum mode only; untouched.
        argmax_x: Of the maximum mode only; untouched.
        aligned_height: Bins of a region, vertically.
        aligned_width: Bins of a region, horizontally.
        spatial_scale: Pixels of the map per pixel of the picture.
        sampling_ratio: Samples per bin and side; 0 takes as many as the bin has pixels.
        pool_mode: 1, the average.
        aligned: Whether coordinates are shifted by half a pixel of the map, so that they name pixel centres.

    Shape:
        input ``(B, C, H, W)``, rois ``(K, 5)``, output ``(K, C, aligned_height, aligned_width)``.

    Raises:
        MissingOpError: If ``pool_mode`` is 0, the maximum.
    """
    _require_average(pool_mode)
    dtype = compute_dtype(input, rois)
    pooled = torchvision.ops.roi_align(
        input.to(dtype),
        rois.to(dtype),
        output_size=(aligned_height, aligned_width),
        spatial_scale=spatial_scale,
        sampling_ratio=sampling_ratio,
        aligned=aligned,
    )
    output.copy_(pooled)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Spread the gradient of the bins over the map, into ``grad_input``; regions get none.

    Args:
        grad_output: Gradient of the bins.
        rois: As in the forward pass.
        argmax_y: Of the maximum mode only; untouched.
        argmax_x: Of the maximum mode only; untouched.
        grad_input: Written.
        aligned_height: As in the forward pass.
        aligned_width: As in the forward pass.
        spatial_scale: As in the forward pass.
        sampling_ratio: As in the forward pass.
        pool_mode: As in the forward pass.
        aligned: As in the forward pass.

    Shape:
        grad_output ``(K, C, aligned_height, aligned_width)``, rois ``(K, 5)``, grad_input ``(B, C, H, W)``.

    Raises:
        MissingOpError: If ``pool_mode`` is 0, the maximum.
    """
    _require_average(pool_mode)
    dtype = compute_dtype(grad_output, rois)
    spread = torch.ops.torchvision._roi_align_backward(
        grad_output.to(dtype),
        rois.to(dtype),
        spatial_scale,
        aligned_height,
        aligned_width,
        *grad_input.shape,
        sampling_ratio,
        aligned,
    )
    grad_input.copy_(spread)
