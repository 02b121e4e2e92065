"""Self-attention with a learned bias for every relative position, in memory that stays linear in the tokens.

The table, one number a head and offset, is that of Liu et al., "Swin Transformer", ICCV 2021, equation 4. Here it
covers all tokens of a stage, as in Pan et al., "Less is More: Pay Less Attention in Vision Transformers", AAAI 2022.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from effvit_mm.layers.grid import Grid
from effvit_mm.layers.heads import at_least_fp32, check_heads, merge_heads, visible

# A block's bias at 800x1344 pixels is 12 x 4200 x 4200 numbers; this many are written out at a time. 2^23 numbers are
# 32 MiB of fp32: little beside the activations of an MLP at that size, enough work for a kernel, and no more than glibc
# keeps for the next piece (on CPU, pieces of 2^24 took half as long again, for the faults of fresh pages). The 14x14
# tokens of 12 heads make 2^19: one piece.
MAX_BIAS_ELEMENTS = 2**23

# What the backward pass of a piece holds at one time, all with the batch: logits, probabilities, bias, their gradients
# and copies.
TENSORS_IN_BACKWARD = 6


class RelativePositionAttention(nn.Module):
    """Multi-head self-attention whose logits carry a bias that depends on the offset of query and key.

    A head computes ``softmax(Q K^T / sqrt(d) + bias) V``,
    where ``bias[i, j] = table[y_i - y_j + H - 1, x_i - x_j + W - 1]``.

    The ``N x N`` bias is a view of the table: with the keys in reversed raster order, ``y' = H - 1 - y``, it reads
    ``table[y_i + y'_j, x_i + x'_j]``, two sliding windows. On a CPU ``scaled_dot_product_attention`` takes it as such,
    a column of queries at a time. Elsewhere, and with prefix tokens or padding, a few rows of queries are: their piece
    of the bias is written out in the dtype of the computation, used and freed. The backward pass runs such pieces
    again, so that nothing of size ``N x N`` outlives the forward pass.

    Args:
        dim: Channels C of a token.
        num_heads: Heads h; must divide ``dim``.
        table_grid: ``(H, W)`` in tokens that the table is learned for; on another grid it is resized.
        qkv_bias: Whether the joint query-key-value projection has a bias.
        proj_drop: Dropout probability after the output projection.

    Shape:
        tokens ``(B, N, C)``, grid ``(H, W)`` with ``num_prefix + H * W == N``; returns ``(B, N, C)``.

    Cost:
        ``4 N C^2 + 2 N^2 C`` multiply-adds; the backward pass computes the ``2 N^2 C`` once more. Memory ``O(N C)``
        and, by columns, ``h (2 H - 1) W^2`` numbers; in pieces, working space for 2^23 numbers or for one row of
        queries (``h W N``; ``6 B h W N`` in the backward pass), whichever is larger.
        Parameters ``4 C^2 + 4 C + (2 H - 1) (2 W - 1) h`` of the table's grid.

    Raises:
        ValueError: If ``num_heads`` does not divide ``dim``, or ``table_grid`` has a side below 1.

    Reference:
        Liu et al. 2021, equation 4, with one window that holds all tokens (Pan et al. 2022, section 3).

    Differs from the paper:
        On another grid the table is resized in one bicubic step, from the weights that were learned; the released code
        resizes it twice, once on loading, to a fixed size. Prefix tokens lie on no grid: bias 0 to and from them. The
        second derivative is not available (double backward raises).
    """

    def __init__(
        self, dim: int, num_heads: int, *, table_grid: Grid = (7, 7), qkv_bias: bool = True, proj_drop: float = 0.0
    ) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        if min(table_grid) < 1:
            raise ValueError(f"table_grid={table_grid} must be (H, W) in tokens, both at least 1")
        self.num_heads = num_heads
        self.table_grid = (table_grid[0], table_grid[1])
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.bias_table = nn.Parameter(torch.empty(math.prod(_offsets(self.table_grid)), num_heads))
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table; the projections belong to the network's initialisation."""
        nn.init.trunc_normal_(self.bias_table, std=0.02)

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        """Mix the tokens.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens that lie on a grid.
            num_prefix: Tokens in front that lie on no grid; they attend and are attended to with bias 0.
            padding_mask: ``(B, N)``, True where a token is padding: no token attends to it.

        Returns:
            ``(B, N, C)``.

        Raises:
            ValueError: If ``num_prefix + H * W`` is not N.
        """
        if num_prefix + math.prod(grid) != tokens.shape[1]:
            raise ValueError(
                f"grid={grid} and num_prefix={num_prefix} make {num_prefix + math.prod(grid)} tokens, "
                f"but tokens has {tokens.shape[1]}; pass the grid of these tokens and the tokens in front of it"
            )
        qkv = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1))  # (B, N, 3, h, d)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (B, h, N, d) each
        hidden = None if padding_mask is None else padding_mask[:, None, None, :]
        mixed = attend(query[:, :, num_prefix:], key, value, self.table_on(grid), grid, hidden)
        if num_prefix:
            asked = query[:, :, :num_prefix]
            prefix = F.scaled_dot_product_attention(asked, key, value, attn_mask=visible(padding_mask))
            mixed = torch.cat((prefix, mixed), dim=2)
        return self.proj_drop(self.proj(merge_heads(mixed)))

    def table_on(self, grid: Grid) -> Tensor:
        """Return the table for a grid ``(H, W)``: ``(h, 2 H - 1, 2 W - 1)``, at least fp32."""
        table = at_least_fp32(self.bias_table).unflatten(0, _offsets(self.table_grid)).permute(2, 0, 1)
        if tuple(grid) != self.table_grid:
            with torch.autocast(table.device.type, enabled=False):
                table = F.interpolate(table[None], size=_offsets(grid), mode="bicubic", align_corners=False)[0]
        # Heads last would make every copy of the bias a strided one.
        return table.contiguous()


def attend(query: Tensor, key: Tensor, value: Tensor, table: Tensor, grid: Grid, hidden: Tensor | None) -> Tensor:
    """Attend with a relative bias; autograd keeps the arguments and no more.

    Args:
        query: ``(B, h, H * W, d)``, the tokens on the grid.
        key: ``(B, h, P + H * W, d)``, those and P prefix tokens in front, which get bias 0.
        value: ``(B, h, P + H * W, d)``.
        table: ``(h, 2 H - 1, 2 W - 1)``, row ``y_i - y_j + H - 1``, column ``x_i - x_j + W - 1``.
        grid: ``(H, W)``.
        hidden: ``(B, 1, 1, P + H * W)``, True where nobody attends, or None.

    Returns:
        ``(B, h, H * W, d)``.
    """
    # A compiler plans memory by itself, and an exported program has no backward pass.
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return _attend(query, key, value, table, grid, hidden)
    return _RecomputedAttention.apply(query, key, value, table, grid, hidden)


def expand_bias(table: Tensor, grid: Grid, dtype: torch.dtype) -> Tensor:
    """Write out the bias of R rows of queries against all keys in reversed raster order.

    Args:
        table: ``(h, R + H - 1, 2 W - 1)``, the rows of the table that these queries reach.
        grid: ``(H, W)`` of the keys.
        dtype: That of the result.

    Returns:
        ``(h, R * W, H * W)``.
    """
    height, width = grid
    windows = table.unfold(1, height, 1).unfold(2, width, 1)  # (h, R, W, H, W), a view
    return windows.to(dtype).reshape(table.shape[0], -1, height * width)


class _RecomputedAttention(torch.autograd.Function):
    """Attention that keeps its inputs only: the backward pass computes the map of each piece again.

    It is written out: no fused kernel of a CPU gives the gradient of a bias, and autograd over the unfused form takes
    one product and several passes over the map more.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, table: Tensor, grid: Grid, hidden: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(query, key, value, table, hidden)
        ctx.grid = grid
        return _attend(query, key, value, table, grid, hidden)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_mixed: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, table, hidden = ctx.saved_tensors
        key, value, hidden = _reversed(key, value, hidden)
        scale = query.shape[-1] ** -0.5
        grad_query = torch.empty_like(query)
        # Sums over the pieces, at least fp32 as the table is.
        grad_key, grad_value, grad_table = (torch.zeros_like(x, dtype=table.dtype) for x in (key, value, table))
        logits_per_query = query.shape[0] * table.shape[0] * key.shape[2]
        for queries, rows in _pieces(ctx.grid, TENSORS_IN_BACKWARD * logits_per_query):
            scaled, grad = query[:, :, queries] * scale, grad_mixed[:, :, queries]
            reach = table[:, rows].detach().requires_grad_()
            with torch.enable_grad():
                bias = _bias_of_piece(reach, ctx.grid, query.dtype, key.shape[2], hidden)
            probabilities = _probabilities(scaled, key, bias.detach(), hidden, table.dtype)
            grad_value += probabilities.to(grad.dtype).transpose(-2, -1) @ grad
            # Through the softmax: p (g - sum of p g), which is what the logits and the bias get.
            grad_logits = (grad @ value.transpose(-2, -1)).to(table.dtype)
            grad_logits -= torch.linalg.vecdot(probabilities, grad_logits)[..., None]
            grad_logits *= probabilities
            grad_bias = grad_logits.sum_to_size(bias.shape).to(bias.dtype)
            grad_table[:, rows] += torch.autograd.grad(bias, reach, grad_bias)[0]
            grad_logits = grad_logits.to(query.dtype)
            grad_query[:, :, queries] = (grad_logits @ key).mul_(scale)
            grad_key += grad_logits.transpose(-2, -1) @ scaled
        grad_key, grad_value, _ = _reversed(grad_key.to(key.dtype), grad_value.to(value.dtype), None)
        return grad_query, grad_key, grad_value, grad_table, None, None


def _attend(query: Tensor, key: Tensor, value: Tensor, table: Tensor, grid: Grid, hidden: Tensor | None) -> Tensor:
    # Kernels of a CPU read a bias with any strides; other devices' want theirs aligned, and a compiler writes it out.
    strided = query.device.type == "cpu" and not torch.compiler.is_compiling()
    if strided and hidden is None and key.shape[2] == math.prod(grid):
        return _attend_by_columns(query, key, value, table, grid)
    return _attend_in_pieces(query, key, value, table, grid, hidden)


def _attend_by_columns(query: Tensor, key: Tensor, value: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """Attend with a bias that is not written out: a column of queries reads it off a sliding window.

    With the keys in reversed raster order and x fixed, what the query in row y reads, ``table[y + y', x + x']``, is one
    run of ``H W`` numbers in a copy of the table with rows of W, and begins W further on for the next row. So each
    column of the grid, an entry of the batch, has its bias as a view of ``h (2 H - 1) W`` numbers.
    """
    height, width = grid
    key, value, _ = _reversed(key, value, None)
    runs = table.to(query.dtype).unfold(2, width, 1).permute(2, 0, 1, 3).flatten(2)  # (W, h, (2 H - 1) W)
    bias = runs.unfold(2, height * width, width)  # (W, h, H, H W), a view
    mixed = torch.empty_like(query)
    for i in range(query.shape[0]):  # the bias is the same for all pictures, which their columns would hide
        columns = query[i].unflatten(1, grid).permute(2, 0, 1, 3)  # (W, h, H, d)
        keys, values = (part[i].expand(width, -1, -1, -1) for part in (key, value))
        answers = F.scaled_dot_product_attention(columns, keys, values, attn_mask=bias)
        mixed[i] = answers.permute(1, 2, 0, 3).flatten(1, 2)
    return mixed


def _attend_in_pieces(
    query: Tensor, key: Tensor, value: Tensor, table: Tensor, grid: Grid, hidden: Tensor | None
) -> Tensor:
    key, value, hidden = _reversed(key, value, hidden)
    # The bias serves the whole batch, until each picture hides other tokens.
    bias_per_query = (1 if hidden is None else query.shape[0]) * table.shape[0] * key.shape[2]
    # Results go to one place: small tensors between the large ones would keep these from being used again.
    mixed = torch.empty_like(query)
    for queries, rows in _pieces(grid, bias_per_query):
        mixed[:, :, queries] = _attend_piece(query[:, :, queries], key, value, table[:, rows], grid, hidden)
    return mixed


def _reversed(key: Tensor, value: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Put the keys in reversed raster order, prefix tokens last."""
    return key.flip(2), value.flip(2), None if hidden is None else hidden.flip(-1)


def _attend_piece(
    query: Tensor, key: Tensor, value: Tensor, table: Tensor, grid: Grid, hidden: Tensor | None
) -> Tensor:
    """Attend from some rows of queries to all keys, which are in reversed order."""
    bias = _bias_of_piece(table, grid, query.dtype, key.shape[2], hidden)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


def _bias_of_piece(table: Tensor, grid: Grid, dtype: torch.dtype, num_keys: int, hidden: Tensor | None) -> Tensor:
    """Write out what is added to the logits of some rows of queries: ``(1 or B, h, R * W, num_keys)``."""
    bias = expand_bias(table, grid, dtype)
    if num_prefix := num_keys - bias.shape[2]:
        bias = F.pad(bias, (0, num_prefix))
    return bias[None] if hidden is None else bias.masked_fill(hidden, -math.inf)


def _probabilities(scaled: Tensor, key: Tensor, bias: Tensor, hidden: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Compute the map ``(B, h, R * W, num_keys)`` that a piece of attention used."""
    logits = scaled @ key.transpose(-2, -1)
    logits += bias
    probabilities = logits.softmax(dim=-1, dtype=dtype)
    # A picture that is hidden altogether has no probabilities but 0 / 0.
    return probabilities if hidden is None else probabilities.masked_fill_(hidden, 0.0)


def _pieces(grid: Grid, elements_per_query: int) -> Iterator[tuple[slice, slice]]:
    """Yield the queries of some whole rows of the grid, and the rows of the table that they reach."""
    height, width = grid
    step = max(1, MAX_BIAS_ELEMENTS // (elements_per_query * width))
    for top in range(0, height, step):
        bottom = min(top + step, height)
        yield slice(top * width, bottom * width), slice(top, bottom + height - 1)


def _offsets(grid: Grid) -> Grid:
    """Count the vertical and the horizontal offsets between two tokens of a grid."""
    return 2 * grid[0] - 1, 2 * grid[1] - 1
