"""Position tables written from their definitions, with loops; imports nothing of the package."""

import math

import torch
from torch import Tensor


def row_of(i: int, j: int, grid: tuple[int, int]) -> int:
    """The row of the table that the query i and the key j, in raster order, read."""
    height, width = grid
    (y_i, x_i), (y_j, x_j) = divmod(i, width), divmod(j, width)
    return (y_i - y_j + height - 1) * (2 * width - 1) + (x_i - x_j + width - 1)


def relative_bias(table: Tensor, grid: tuple[int, int], num_prefix: int = 0) -> Tensor:
    """The bias (h, P + N, P + N) from a table ((2H - 1)(2W - 1), h), a pair at a time; a prefix token has 0."""
    num_tokens = num_prefix + grid[0] * grid[1]
    nothing = torch.zeros(table.shape[1], dtype=table.dtype)
    rows = []
    for i in range(num_tokens):
        for j in range(num_tokens):
            on_grid = min(i, j) >= num_prefix
            rows.append(table[row_of(i - num_prefix, j - num_prefix, grid)] if on_grid else nothing)
    return torch.stack(rows, dim=-1).unflatten(-1, (num_tokens, num_tokens))


def relative_attention(
    tokens: Tensor, weights: dict[str, Tensor], bias: Tensor, hidden: Tensor | None = None
) -> Tensor:
    """Softmax attention with a bias (h, N, N), a picture and a head at a time; hidden (B, N) are keys nobody sees.

    weights: qkv (3C, C), qkv_bias (3C,), proj (C, C), proj_bias (C,).
    """
    channels = tokens.shape[-1]
    dim = channels // len(bias)
    pictures = []
    for b, picture in enumerate(tokens):
        query, key, value = (picture @ weights["qkv"].T + weights["qkv_bias"]).split(channels, dim=-1)
        heads = []
        for head, offset in enumerate(bias):
            own = slice(head * dim, (head + 1) * dim)
            affinity = (query[:, own] @ key[:, own].T / math.sqrt(dim) + offset).exp()
            if hidden is not None:
                affinity = affinity * ~hidden[b]
            heads.append(affinity / affinity.sum(-1, keepdim=True) @ value[:, own])
        pictures.append(torch.cat(heads, dim=-1))
    return torch.stack(pictures) @ weights["proj"].T + weights["proj_bias"]


def cubic(distance: float, a: float = -0.75) -> float:
    """Keys' interpolation kernel (IEEE ASSP 1981) with torch's a."""
    x = abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def linear(distance: float) -> float:
    return max(0.0, 1 - abs(distance))


def resize(rows: Tensor, source: tuple[int, int], target: tuple[int, int], kernel=cubic) -> Tensor:
    """Resize rows (H * W, C) of a map to another size; pixel centres at one half, edges repeated."""
    resized = []
    for y in range(target[0]):
        for x in range(target[1]):
            at_y = (y + 0.5) * source[0] / target[0] - 0.5
            at_x = (x + 0.5) * source[1] / target[1] - 0.5
            total = torch.zeros(rows.shape[1], dtype=rows.dtype)
            for near_y in range(math.floor(at_y) - 1, math.floor(at_y) + 3):
                for near_x in range(math.floor(at_x) - 1, math.floor(at_x) + 3):
                    row = min(max(near_y, 0), source[0] - 1) * source[1] + min(max(near_x, 0), source[1] - 1)
                    total = total + kernel(at_y - near_y) * kernel(at_x - near_x) * rows[row]
            resized.append(total)
    return torch.stack(resized)
