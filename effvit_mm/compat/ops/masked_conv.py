"""Convolution at chosen places under mmcv's signatures, in plain torch: unfold, and put back (guided anchoring)."""

import torch.nn.functional as F
from torch import Tensor


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Write what the kernel sees at each chosen place, into the columns of ``col``.

    Args:
        im: The feature map of one picture.
        mask_h_idx: Rows of the places.
        mask_w_idx: Their columns.
        col: Written; channels, then taps row by row.
        kernel_h: Height of the kernel.
        kernel_w: Its width.
        pad_h: Zeros added above and below.
        pad_w: Zeros added left and right.

    Shape:
        im ``(1, C, H, W)``, mask_h_idx and mask_w_idx ``(M,)``, col ``(C * kernel_h * kernel_w, M)``.
    """
    padded = F.pad(im[0], [pad_w, pad_w, pad_h, pad_h])
    windows = padded.unfold(1, kernel_h, 1).unfold(2, kernel_w, 1)  # (C, H_out, W_out, kernel_h, kernel_w), a view
    col.copy_(windows[:, mask_h_idx, mask_w_idx].permute(0, 2, 3, 1).reshape(col.shape))


def masked_col2im_forward(
    col: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, im: Tensor, height: int, width: int, channels: int
) -> None:
    """Write the columns at the chosen places of ``im``, and leave its other places as they are.

    Args:
        col: One column a place.
        mask_h_idx: Rows of the places.
        mask_w_idx: Their columns.
        im: Written.
        height: Of ``im``, which has it too.
        width: The same.
        channels: The same.

    Shape:
        col ``(channels, M)``, mask_h_idx and mask_w_idx ``(M,)``, im ``(1, channels, height, width)``.
    """
    im[0, :, mask_h_idx, mask_w_idx] = col.to(im.dtype)
