"""Tokens and maps: the two views of one tensor.

Letters, here and in the whole project: B batch, N tokens, C channels, H W rows and columns, h heads, d channels a head,
M anchors or kept tokens. ``tokens`` is ``(B, N, C)`` in raster order, ``fmap`` is ``(B, C, H, W)``, ``grid`` is
``(H, W)`` counted in tokens.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

Grid = tuple[int, int]


def tokens_to_map(tokens: Tensor, grid: Grid) -> Tensor:
    """View tokens as a map; the map is channels-last in memory and shares the tokens' storage.

    Args:
        tokens: ``(B, H * W, C)``, raster order, no prefix tokens.
        grid: ``(H, W)``.

    Returns:
        ``(B, C, H, W)``.

    Raises:
        ValueError: If the number of tokens is not H * W.
    """
    batch, num_tokens, channels = tokens.shape
    height, width = grid
    if num_tokens != height * width:
        raise ValueError(
            f"grid={grid} holds {height * width} tokens, but tokens has {num_tokens}; "
            f"pass the grid of these tokens and take prefix tokens off first"
        )
    return tokens.reshape(batch, height, width, channels).permute(0, 3, 1, 2)


def map_to_tokens(fmap: Tensor) -> Tensor:
    """Flatten a map ``(B, C, H, W)`` into tokens ``(B, H * W, C)`` in raster order; a view for channels-last maps."""
    return fmap.permute(0, 2, 3, 1).flatten(1, 2)


def pad_to_multiple(fmap: Tensor, multiple: int) -> Tensor:
    """Zero-pad a map ``(B, C, H, W)`` at the bottom and right, so that ``multiple`` divides its height and width."""
    bottom, right = ((size + multiple - 1) // multiple * multiple - size for size in fmap.shape[-2:])
    # An exported graph pads by whatever its input needs: a branch here would tie it to even or odd sizes.
    return F.pad(fmap, (0, right, 0, bottom)) if is_exporting() or bottom or right else fmap


def is_exporting() -> bool:
    """Say whether the network is being written out for another runtime."""
    # torch before 2.7 does not tell exporting from compiling.
    exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
    return torch.onnx.is_in_onnx_export() or exporting()
