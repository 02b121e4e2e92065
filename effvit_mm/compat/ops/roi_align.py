"""RoIAlign under mmcv's signatures, by torchvision's kernels; the maximum in :mod:`.roi_align_max`.

Reference: He et al., Mask R-CNN, 2017, section 3.
"""

import torch
import torchvision
from torch import Tensor

from effvit_mm.compat.ops.roi_align_max import max_backward, max_forward
from effvit_mm.compat.precision import compute_dtype

# mmcv's number for the maximum over the samples of a bin; 1 stands for their mean.
_POOL_MODE_MAX = 0


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
    """Average bilinear samples of a map in each bin of each region, or take their maximum, into ``output``.

    Args:
        input: The feature map.
        rois: Rows ``(index in the batch, x1, y1, x2, y2)`` in pixels of the picture.
        output: Written.
        argmax_y: Written in the maximum mode: where the maximum was sampled, in pixels of the map.
        argmax_x: The same.
        aligned_height: Bins of a region, vertically.
        aligned_width: Bins of a region, horizontally.
        spatial_scale: Pixels of the map per pixel of the picture.
        sampling_ratio: Samples per bin and side; 0 takes as many as the bin has pixels.
        pool_mode: 0, the maximum, or 1, the average.
        aligned: Whether coordinates are shifted by half a pixel of the map, so that they name pixel centres.

    Shape:
        input ``(B, C, H, W)``, rois ``(K, 5)``, output ``(K, C, aligned_height, aligned_width)``; argmax_y and argmax_x
        like output, or empty for the average.
    """
    if pool_mode == _POOL_MODE_MAX:
        max_forward(input, rois, output, argmax_y, argmax_x, spatial_scale, sampling_ratio, aligned)
        return
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
        argmax_y: From the forward pass; read in the maximum mode.
        argmax_x: The same.
        grad_input: Written.
        aligned_height: As in the forward pass.
        aligned_width: As in the forward pass.
        spatial_scale: As in the forward pass.
        sampling_ratio: As in the forward pass.
        pool_mode: As in the forward pass.
        aligned: As in the forward pass.

    Shape:
        grad_output ``(K, C, aligned_height, aligned_width)``, rois ``(K, 5)``, grad_input ``(B, C, H, W)``.
    """
    if pool_mode == _POOL_MODE_MAX:
        max_backward(grad_output, rois, argmax_y, argmax_x, grad_input)
        return
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
