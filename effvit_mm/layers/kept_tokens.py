"""Leave tokens out of a layer and put the others back: how many, which query rows to look at, gather and scatter."""

from fractions import Fraction

import torch
from torch import Tensor

from effvit_mm.layers.grid import Grid


def num_kept(keep: float, num_tokens: int) -> int:
    """Return how many of ``num_tokens`` a ratio keeps: at least one, rounded up.

    In rational arithmetic, on the decimal number that was written: 0.55 of 100 is 55, where floats give 56.
    """
    numerator, denominator = _as_ratio(keep)
    # Whole numbers alone: a compiled network counts sizes that it does not know yet.
    return min(num_tokens, max(1, (num_tokens * numerator + denominator - 1) // denominator))


def _as_ratio(number: float) -> tuple[int, int]:
    return Fraction(str(number)).as_integer_ratio()


def probe_rows(grid: Grid, num_probes: int | None, *, num_prefix: int, device: torch.device) -> Tensor:
    """Return the query rows of a map that stand for all of them, evenly spaced over both sides of the grid.

    Evenly spaced in raster order they could all fall into a few columns of the grid.

    Args:
        grid: ``(H, W)``.
        num_probes: At most so many; None, or as many as there are places, for every row, prefix tokens included.
        num_prefix: Tokens in front of those of the grid.
        device: Where the rows are wanted.

    Returns:
        Rising indices ``(P,)`` into ``num_prefix + H * W`` tokens.
    """
    height, width = grid
    if num_probes is None or num_probes >= height * width:
        return torch.arange(num_prefix + height * width, device=device)
    down = min(height, num_probes, max(1, _rounded_root(num_probes * height, width)))
    across = min(width, num_probes // down)
    # A narrow grid leaves probes over, which its long side takes.
    down = min(height, num_probes // across)
    y = (2 * torch.arange(down, device=device) + 1) * height // (2 * down)
    x = (2 * torch.arange(across, device=device) + 1) * width // (2 * across)
    return (num_prefix + y[:, None] * width + x).flatten()


def _rounded_root(numerator: int, denominator: int) -> int:
    """Return ``round(sqrt(numerator / denominator))`` in whole numbers: halves to the even side, as Python's."""
    root = 0
    while (2 * root + 1) ** 2 * denominator < 4 * numerator:
        root += 1
    is_half = (2 * root + 1) ** 2 * denominator == 4 * numerator
    return root + 1 if is_half and root % 2 else root


def flat_places(index: Tensor, num_tokens: int) -> Tensor:
    """Turn places ``(B, K)`` in each picture's tokens into places ``(B * K,)`` in those of the whole batch."""
    starts = torch.arange(index.shape[0], device=index.device)[:, None] * num_tokens
    return (index + starts).flatten()


def gather_tokens(tokens: Tensor, places: Tensor) -> Tensor:
    """Take tokens ``(B, K, C)`` out of ``(B, N, C)`` at :func:`flat_places`.

    Whole rows are copied, which is several times as fast as a ``gather`` with an index for every channel.
    """
    return tokens.flatten(0, 1).index_select(0, places).unflatten(0, (tokens.shape[0], -1))


def scatter_tokens(tokens: Tensor, places: Tensor, kept: Tensor) -> Tensor:
    """Return tokens ``(B, N, C)`` with those at :func:`flat_places` replaced by ``kept`` ``(B, K, C)``."""
    kept = kept.flatten(0, 1).to(tokens.dtype)
    return tokens.flatten(0, 1).index_copy(0, places, kept).view_as(tokens)
