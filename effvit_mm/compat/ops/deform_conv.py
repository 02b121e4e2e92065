"""Deformable convolution under mmcv's signatures, by torchvision's kernels.

Reference: Dai et al., Deformable Convolutional Networks, 2017, equations 2 and 3.

mmcv hands over two empty buffers (``columns``, ``ones``) and how many pictures to unfold at once (``im2col_step``):
torchvision's kernels have their own and choose the number themselves, so all three are left alone.
"""
# ruff: noqa: N803  (mmcv passes these by name)

from typing import NamedTuple

import torch
from torch import Tensor

from effvit_mm.compat.precision import compute_dtype


class Geometry(NamedTuple):
    """What torchvision's kernels take behind the tensors, in their order."""

    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int
    dilation_h: int
    dilation_w: int
    groups: int
    offset_groups: int
    use_mask: bool


class Gradients(NamedTuple):
    """What torchvision's backward kernel gives, in its order."""

    input: Tensor
    weight: Tensor
    offset: Tensor
    mask: Tensor
    bias: Tensor


def _without_mask_and_bias(input: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The mask that is not read, in the shape torchvision gives it, and a bias of zero."""
    return input.new_zeros(input.size(0), 1), input.new_zeros(weight.size(0))


def convolve(input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, how: Geometry) -> Tensor:
    """Convolve in float32 at least, with torchvision's kernel."""
    dtype = compute_dtype(input, weight, offset)
    tensors = (tensor.to(dtype) for tensor in (input, weight, offset, mask, bias))
    return torch.ops.torchvision.deform_conv2d(*tensors, *how)


def gradients(
    grad_output: Tensor, input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, how: Geometry
) -> Gradients:
    """All gradients in float32 at least, from torchvision's kernel."""
    dtype = compute_dtype(grad_output, input, weight, offset)
    tensors = (tensor.to(dtype) for tensor in (grad_output, input, weight, offset, mask, bias))
    return Gradients(*torch.ops.torchvision._deform_conv2d_backward(*tensors, *how))


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Convolve with every tap of the kernel displaced by its own offset, into ``output``.

    Args:
        input: The feature map.
        weight: The kernel.
        offset: Displacements ``(dy, dx)`` of each tap, in pixels of the map, taps row by row.
        output: Written.
        columns: Untouched.
        ones: Untouched.
        kW: Width of the kernel; ``weight`` has it too.
        kH: Its height.
        dW: Horizontal stride.
        dH: Vertical stride.
        padW: Zeros added left and right.
        padH: Zeros added above and below.
        dilationW: Horizontal distance of taps.
        dilationH: Vertical distance of taps.
        group: Groups of channels, each with kernels of its own.
        deformable_group: Groups of channels, each with offsets of its own.
        im2col_step: Of no effect.

    Shape:
        input ``(B, C_in, H, W)``, weight ``(C_out, C_in / group, kH, kW)``,
        offset ``(B, deformable_group * kH * kW * 2, H_out, W_out)``, output ``(B, C_out, H_out, W_out)``.
    """
    how = Geometry(dH, dW, padH, padW, dilationH, dilationW, group, deformable_group, use_mask=False)
    output.copy_(convolve(input, weight, offset, *_without_mask_and_bias(input, weight), how))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Write the gradients of the map and the offsets; arguments as in :func:`deform_conv_forward`.

    torchvision's kernel gives all gradients at once, so together with :func:`deform_conv_backward_parameters` the
    backward pass is computed twice.
    """
    how = Geometry(dH, dW, padH, padW, dilationH, dilationW, group, deformable_group, use_mask=False)
    slopes = gradients(gradOutput, input, weight, offset, *_without_mask_and_bias(input, weight), how)
    gradInput.copy_(slopes.input)
    gradOffset.copy_(slopes.offset)


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Add ``scale`` times the gradient of the kernel; arguments as in :func:`deform_conv_forward`."""
    how = Geometry(dH, dW, padH, padW, dilationH, dilationW, group, deformable_group, use_mask=False)
    # The gradient of the kernel does not depend on the kernel, which mmcv does not hand over: only its shape counts.
    weight = torch.zeros_like(gradWeight)
    slopes = gradients(gradOutput, input, weight, offset, *_without_mask_and_bias(input, weight), how)
    gradWeight.add_(slopes.weight.to(gradWeight.dtype), alpha=scale)
