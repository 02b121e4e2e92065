"""Deformable merging from its equations, with loops; imports nothing of the package."""

import math

import torch
from torch import Tensor


@torch.no_grad()
def deformable_merging(
    fmap: Tensor,
    offset_weight: Tensor,
    offset_bias: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    stride: int,
) -> Tensor:
    """GELU of the normalised deformable convolution, a place and a tap at a time, ``(B, H', W', C)``.

    The offset predictor (2 k^2, C_in, k, k) gives (dy, dx) of taps in raster order; the norm has no weight and bias.
    """
    batch, _, height, width = fmap.shape
    rows, columns = -(-height // stride), -(-width // stride)
    merged = torch.zeros(batch, rows, columns, len(weight), dtype=fmap.dtype)
    for b in range(batch):
        for row in range(rows):
            for column in range(columns):
                taps = [(row * stride + i, column * stride + j) for i in range(stride) for j in range(stride)]
                seen = torch.stack([_value(fmap[b], y, x) for y, x in taps], dim=1)  # (C_in, k^2)
                offsets = ((offset_weight.flatten(2) * seen).sum((1, 2)) + offset_bias).view(-1, 2).tolist()
                points = [(y + dy, x + dx) for (y, x), (dy, dx) in zip(taps, offsets, strict=True)]
                read = torch.stack([_read(fmap[b], y, x) for y, x in points], dim=1)
                merged[b, row, column] = (weight.flatten(2) * read).sum((1, 2)) + bias
    normalised = (merged - mean) / (variance + 1e-5).sqrt()
    return normalised * (1 + torch.erf(normalised / math.sqrt(2))) / 2


def _value(fmap: Tensor, row: int, column: int) -> Tensor:
    """The channels at a place; zeros lie around the map."""
    _, height, width = fmap.shape
    return fmap[:, row, column] if 0 <= row < height and 0 <= column < width else fmap.new_zeros(len(fmap))


def _read(fmap: Tensor, y: float, x: float) -> Tensor:
    """The bilinear kernel max(0, 1 - |a|) max(0, 1 - |b|) over the whole map."""
    total = fmap.new_zeros(len(fmap))
    for row in range(fmap.shape[1]):
        for column in range(fmap.shape[2]):
            total = total + max(0.0, 1 - abs(y - row)) * max(0.0, 1 - abs(x - column)) * fmap[:, row, column]
    return total
