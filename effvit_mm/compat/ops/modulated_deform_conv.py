"""Modulated deformable convolution under mmcv's signatures, by torchvision's kernels.

Reference: Zhu et al., Deformable ConvNets v2, 2019, equation 1.

mmdet's DyHead convolves a map with the offsets and masks of one twice as large. mmcv's kernels do not compare the
sizes: they take the first numbers, in memory order, as if the planes had the output's size. DyHead's released weights
were trained that way, so it is done here too. Where there are too few numbers, theirs read beyond the end; here that
raises.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from effvit_mm.compat.ops.deform_conv import Geometry, convolve, gradients


def _read_as(values: Tensor, size: Sequence[int], what: str) -> Tensor:
    """The first numbers of each picture as planes of ``size``, ``(B, C, *size)``: all, where the sizes agree."""
    if values.shape[2:] == tuple(size):
        return values
    num_channels, height, width = values.size(1), *size
    numbers = values.flatten(1)
    needed = num_channels * height * width
    if numbers.size(1) < needed:
        raise ValueError(
            f"{what} of {tuple(values.shape[2:])} are too few for an output of {(height, width)}; compute them from a "
            "map of the output's size"
        )
    return numbers[:, :needed].unflatten(1, (num_channels, height, width))


def _write_back(slopes: Tensor, target: Tensor) -> None:
    """Undo :func:`_read_as`: numbers that were not read have no gradient."""
    numbers = slopes.flatten(1)
    target.copy_(F.pad(numbers, (0, target[0].numel() - numbers.size(1))).view(target.shape))


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Convolve with every tap of the kernel displaced by its own offset and weighed by its own mask, into ``output``.

    Args:
        input: The feature map.
        weight: The kernel.
        bias: Added to the channels; empty for none.
        ones: Untouched.
        offset: Displacements ``(dy, dx)`` of each tap, in pixels of the map, taps row by row.
        mask: A factor on the sample of each tap.
        output: Written.
        columns: Untouched.
        kernel_h: Height of the kernel; ``weight`` has it too.
        kernel_w: Its width.
        stride_h: Vertical stride.
        stride_w: Horizontal stride.
        pad_h: Zeros added above and below.
        pad_w: Zeros added left and right.
        dilation_h: Vertical distance of taps.
        dilation_w: Horizontal distance of taps.
        group: Groups of channels, each with kernels of its own.
        deformable_group: Groups of channels, each with offsets and masks of its own.
        with_bias: Whether ``bias`` counts.

    Shape:
        input ``(B, C_in, H, W)``, weight ``(C_out, C_in / group, kernel_h, kernel_w)``, bias ``(C_out,)`` or ``(0,)``,
        offset ``(B, deformable_group * kernel_h * kernel_w * 2, H_out, W_out)``, mask half as many channels,
        output ``(B, C_out, H_out, W_out)``.

    Raises:
        ValueError: If there are fewer offsets or masks than taps of the output.
    """
    bias = bias if with_bias else input.new_zeros(weight.size(0))
    how = Geometry(stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group, use_mask=True)
    offset, mask = _read_as(offset, output.shape[2:], "offsets"), _read_as(mask, output.shape[2:], "masks")
    output.copy_(convolve(input, weight, offset, mask, bias, how))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Write all gradients; that of the bias where there is one. Arguments as in the forward pass."""
    bias = bias if with_bias else input.new_zeros(weight.size(0))
    how = Geometry(stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group, use_mask=True)
    size = grad_output.shape[2:]
    offset, mask = _read_as(offset, size, "offsets"), _read_as(mask, size, "masks")
    slopes = gradients(grad_output, input, weight, offset, mask, bias, how)
    grad_input.copy_(slopes.input)
    grad_weight.copy_(slopes.weight)
    _write_back(slopes.offset, grad_offset)
    _write_back(slopes.mask, grad_mask)
    if with_bias:
        grad_bias.copy_(slopes.bias)
