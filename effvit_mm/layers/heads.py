"""Heads and padding: what every token mixer here does with them in the same way."""

import torch
import torch.nn.functional as F
from torch import Tensor

from effvit_mm.layers.grid import Grid


def check_heads(dim: int, num_heads: int) -> None:
    """Refuse heads that do not divide the channels.

    Raises:
        ValueError: If ``num_heads`` does not divide ``dim``.
    """
    if num_heads < 1 or dim % num_heads:
        raise ValueError(f"num_heads={num_heads} must divide dim={dim}")


def split_heads(tokens: Tensor, num_heads: int) -> Tensor:
    """View tokens ``(B, N, C)`` as heads ``(B, h, N, d)``."""
    return tokens.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def merge_heads(heads: Tensor) -> Tensor:
    """Put heads ``(B, h, N, d)`` side by side as tokens ``(B, N, C)``."""
    return heads.transpose(1, 2).flatten(2)


def at_least_fp32(tensor: Tensor) -> Tensor:
    """Raise half precision to fp32 and leave the rest."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def zero_padding(tokens: Tensor, padding_mask: Tensor | None) -> Tensor:
    """Set tokens ``(B, N, C)`` to 0 where the mask ``(B, N)`` is True."""
    return tokens if padding_mask is None else tokens.masked_fill(padding_mask[..., None], 0.0)


def without_padding(scores: Tensor, padding: Tensor) -> Tensor:
    """Lower scores ``(..., N)`` to next to no probability where a mask is True; infinity, convolutions would spread."""
    largest = scores.masked_fill(padding, torch.finfo(scores.dtype).min).amax(dim=-1, keepdim=True)
    return torch.where(padding, largest - 30.0, scores)


def visible(padding_mask: Tensor | None) -> Tensor | None:
    """Turn a padding mask ``(B, N)`` into the mask of fused attention ``(B, 1, 1, N)``, True where a key counts."""
    return None if padding_mask is None else ~padding_mask[:, None, None, :]


def extents(padding: Tensor) -> tuple[Tensor, Tensor]:
    """Measure the pictures inside their padding.

    Args:
        padding: ``(B, H, W)``, True where a place is padding.

    Returns:
        Rows and columns up to the last place that is none, ``(B,)`` each.
    """
    sides = []
    for axis in (2, 1):
        occupied = ~padding.all(dim=axis)  # (B, H), then (B, W)
        ends = torch.arange(1, occupied.shape[1] + 1, device=padding.device)
        sides.append((occupied * ends).amax(dim=1))
    return sides[0], sides[1]


def pool_to(fmap: Tensor, size: Grid, padding: Tensor | None) -> Tensor:
    """Average a map over ``size`` bins that cover each picture and not its padding.

    Args:
        fmap: ``(B, C, H, W)``, 0 where it is padding.
        size: Bins along height and width.
        padding: ``(B, H, W)``, True where a place is padding (at the bottom and right), or None.

    Returns:
        ``(B, C, *size)``; without padding, torch's adaptive average pooling.
    """
    if padding is None:
        return F.adaptive_avg_pool2d(fmap, size)
    rows, columns = (
        _bins(extent, bins, side).to(fmap.dtype)
        for extent, bins, side in zip(extents(padding), size, fmap.shape[-2:], strict=True)
    )
    return torch.einsum("bih,bchw,bjw->bcij", rows, fmap, columns)


def _bins(extent: Tensor, bins: int, side: int) -> Tensor:
    """Weights ``(B, bins, side)`` of adaptive average pooling over the first ``extent`` of ``side`` places."""
    index = torch.arange(bins, device=extent.device)
    start = index * extent[:, None] // bins  # (B, bins)
    stop = -(-(index + 1) * extent[:, None] // bins)
    place = torch.arange(side, device=extent.device)
    inside = (place >= start[..., None]) & (place < stop[..., None])
    # A picture that is all padding has empty bins.
    return inside / (stop - start).clamp(min=1)[..., None]
