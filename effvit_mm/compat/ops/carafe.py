"""CARAFE upsampling under mmcv's signatures, in plain torch.

Reference: Wang et al., CARAFE: Content-Aware ReAssembly of FEatures, 2019, equation 3.

mmcv has the operation twice, naive and with buffers in another memory order; here both are one. Of the buffers only
``rfeatures`` is used: it carries the feature map from the forward to the backward pass, which hands over nothing else.
"""

from collections.abc import Iterator
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from effvit_mm.compat.precision import compute_dtype


def _by_place(fmap: Tensor, group_size: int, scale_factor: int) -> Tensor:
    """Split channels by group and every place into its upsampled ones, ``(B, groups, C / groups, H, s, W, s)``."""
    batch, channels, height, width = fmap.shape
    split = (batch, group_size, channels // group_size)
    return fmap.reshape(*split, height // scale_factor, scale_factor, width // scale_factor, scale_factor)


def _taps(kernel_size: int, height: int, width: int) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Each tap's number, and what it sees of a map padded by half a kernel, for all places at once."""
    for row in range(kernel_size):
        for column in range(kernel_size):
            yield row * kernel_size + column, (..., slice(row, row + height), slice(column, column + width))


def _pad(fmap: Tensor, kernel_size: int) -> Tensor:
    return F.pad(fmap, [kernel_size // 2] * 4)


def _reassemble(features: Tensor, masks: Tensor, kernel_size: int, group_size: int, scale_factor: int) -> Tensor:
    dtype = compute_dtype(features, masks)
    factors = _by_place(masks.to(dtype), group_size, scale_factor)
    padded = _pad(features.to(dtype), kernel_size)
    total = padded.new_zeros(())
    for tap, seen in _taps(kernel_size, *features.shape[2:]):
        source = padded[seen].unflatten(1, (group_size, -1))  # (B, groups, C / groups, H, W)
        total = total + source[..., :, None, :, None] * factors[:, :, tap, None]
    return total.reshape(features.size(0), features.size(1), *masks.shape[2:])


def _write_gradients(
    grad_output: Tensor,
    features: Tensor,
    masks: Tensor,
    grad_features: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    dtype = compute_dtype(grad_output, features, masks)
    factors = _by_place(masks.to(dtype), group_size, scale_factor)
    slope = _by_place(grad_output.to(dtype), group_size, scale_factor)
    padded = _pad(features.to(dtype), kernel_size)
    spread = padded.new_zeros(padded.shape)
    of_factors = factors.new_zeros(factors.shape)
    for tap, seen in _taps(kernel_size, *features.shape[2:]):
        source = padded[seen].unflatten(1, (group_size, -1))
        of_factors[:, :, tap] = (slope * source[..., :, None, :, None]).sum(dim=2)
        spread[seen] += (slope * factors[:, :, tap, None]).sum(dim=(4, 6)).flatten(1, 2)
    border = kernel_size // 2
    grad_features.copy_(spread[..., border : border + features.size(2), border : border + features.size(3)])
    grad_masks.copy_(of_factors.view(masks.shape))


def carafe_naive_forward(
    features: Tensor, masks: Tensor, output: Tensor, kernel_size: int, group_size: int, scale_factor: int
) -> None:
    """Write each upsampled place as a weighted sum of the neighbourhood of the place it lies in.

    Args:
        features: The feature map.
        masks: The weights of each upsampled place, group by group, a neighbourhood row by row.
        output: Written.
        kernel_size: Side of the neighbourhood, odd; it is zero beyond the borders.
        group_size: Number of groups of channels, each with weights of its own.
        scale_factor: Upsampled places a place and side.

    Shape:
        features ``(B, C, H, W)``, masks ``(B, group_size * kernel_size^2, H * scale_factor, W * scale_factor)``,
        output ``(B, C, H * scale_factor, W * scale_factor)``.
    """
    output.copy_(_reassemble(features, masks, kernel_size, group_size, scale_factor))


def carafe_naive_backward(
    top_grad: Tensor,
    features: Tensor,
    masks: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the gradients of the map and the weights; arguments as in :func:`carafe_naive_forward`."""
    _write_gradients(top_grad, features, masks, bottom_grad, mask_grad, kernel_size, group_size, scale_factor)


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """As :func:`carafe_naive_forward`; ``rfeatures`` is written for the backward pass, the other buffers are not."""
    rfeatures.copy_(features)
    output.copy_(_reassemble(features, masks, kernel_size, group_size, scale_factor))


def carafe_backward(
    top_grad: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rtop_grad: Tensor,
    rbottom_grad_hs: Tensor,
    rbottom_grad: Tensor,
    rmask_grad: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """As :func:`carafe_naive_backward`, from the map that the forward pass left in ``rfeatures``."""
    _write_gradients(top_grad, rfeatures, masks, bottom_grad, mask_grad, kernel_size, group_size, scale_factor)
