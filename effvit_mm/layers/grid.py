"""Tokens and maps: the two views of one tensor.

Letters, here and in the whole project: B batch, N tokens, C channels, H W rows and columns, h heads, d channels a head,
M anchors or kept tokens. ``tokens`` is ``(B, N, C)`` in raster order, ``fmap`` is ``(B, C, H, W)``, ``grid`` is
``(H, W)`` counted in tokens.
"""

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
