"""Deformable attention: keys and values are read where the picture asks for them.

Xia et al., "Vision Transformer with Deformable Attention", CVPR 2022, section 3.2; the depth-wise position term is that
of the same authors' "DAT++", 2023.
"""

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, cat, nn

from effvit_mm.layers.grid import Grid, map_to_tokens, tokens_to_map
from effvit_mm.layers.heads import at_least_fp32, check_heads, extents, merge_heads, split_heads, visible, zero_padding

PositionBias = Literal["depthwise", "log_position"]

BIAS_HIDDEN = 32


class DeformableAttention(nn.Module):
    """Softmax attention to a coarse lattice of points, each moved by an offset that the queries around it predict.

    Args:
        dim: Channels C of a token.
        num_heads: Heads h; must divide ``dim``.
        stride: Tokens r between neighbouring points before they move. DAT++ takes 8, 4, 2 and 1 in the stages.
        num_groups: Groups G of channels with offsets of their own; must divide ``num_heads``.
        kernel_size: Side of the offset network's depth-wise convolution in tokens, odd.
        offset_range: How far a point moves at most, over half a stride; None bounds it by the picture alone.
        bias: How attention knows positions, at any size of picture. ``'depthwise'``: a 3x3 depth-wise convolution of
            the queries beside it; ``'log_position'``: a bias on each pair, which a small network reads off the
            logarithm of the way from query to point.
        qkv_bias: Whether query and key-value projections have biases.
        proj_drop: Dropout probability after the output projection.

    Shape:
        tokens ``(B, N, C)``, grid ``(H, W)`` with ``num_prefix + H * W == N``; returns ``(B, N, C)``.

    Cost:
        ``2 N C^2 + 2 K C^2 + 2 N K C + 9 N C + K C (k^2 + 2)`` multiply-adds with ``K = ceil(H / r) ceil(W / r)``
        points, and ``4 K C`` for reading them; memory ``O(N C)`` where a fused kernel runs, ``O(h N K)`` where none
        does. ``bias='log_position'`` takes ``N K R (2 G + h)`` with R = 32 in place of ``9 N C``, and ``O(N K R G)``
        memory in training: it is for coarse stages and large strides.

    Raises:
        ValueError: If ``num_heads`` does not divide ``dim``, ``num_groups`` does not divide ``num_heads``, ``stride``
            is below 1, ``kernel_size`` is not odd and positive, ``offset_range`` is not positive, or ``bias`` is
            unknown.

    Reference:
        Xia et al. 2022, equations 4 to 9.

    Differs from the paper:
        The defaults are a mixture: kernel and range follow the paper of 2022, the depth-wise position term is an option
        of the code of DAT++, whose released networks have kernels of 9, 7, 5 and 3, groups of 1, 2, 4 and 8 and no
        bound on the offsets in their stages, a table of biases, and take turns with neighbourhood attention. Positions
        are counted in tokens, and a point starts in the middle of its cell, so that neither depends on the size of the
        picture; so is the position term, either of two options of the released code in place of its table, the second
        with ways counted in tokens. Positions stay inside the picture without its padding. Prefix tokens ask, and
        answer as they are. Reading runs in fp32; its backward pass on a GPU adds in no fixed order.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        stride: int = 4,
        num_groups: int = 1,
        kernel_size: int = 5,
        offset_range: float | None = 2.0,
        bias: PositionBias = "depthwise",
        qkv_bias: bool = True,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        if num_groups < 1 or num_heads % num_groups:
            raise ValueError(f"num_groups={num_groups} must divide num_heads={num_heads}")
        if stride < 1:
            raise ValueError(f"stride={stride} must be at least 1")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size} must be odd and positive, so that a token is in the middle")
        if offset_range is not None and offset_range <= 0:
            raise ValueError(f"offset_range={offset_range} must be positive, or None for no bound")
        if bias not in get_args(PositionBias):
            raise ValueError(f"bias={bias!r} must be one of {get_args(PositionBias)}")
        self.num_heads, self.num_groups = num_heads, num_groups
        self.stride, self.offset_range = stride, offset_range
        group_dim = dim // num_groups
        self.query = nn.Linear(dim, dim, bias=qkv_bias)
        self.offset_conv = nn.Conv2d(
            group_dim, group_dim, kernel_size, stride=stride, padding=kernel_size // 2, groups=group_dim
        )
        self.offset_norm = nn.LayerNorm(group_dim)
        self.act = nn.GELU()
        self.offset_proj = nn.Linear(group_dim, 2, bias=False)
        self.key_value = nn.Linear(dim, 2 * dim, bias=qkv_bias)
        self.bias = bias
        if bias == "depthwise":
            self.position = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        else:
            # Without a last bias, which a softmax over the points does not see.
            self.pair_bias = nn.Sequential(
                nn.Linear(2, BIAS_HIDDEN), nn.ReLU(), nn.Linear(BIAS_HIDDEN, num_heads // num_groups, bias=False)
            )
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        """Mix the tokens.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens that lie on a grid.
            num_prefix: Tokens in front that lie on no grid.
            padding_mask: ``(B, N)``, True where a token is padding: no point is read there, and points that start
                there are hidden.

        Returns:
            ``(B, N, C)``.
        """
        seen, query = zero_padding(tokens, padding_mask), zero_padding(self.query(tokens), padding_mask)
        padding = None if padding_mask is None else padding_mask[:, num_prefix:].unflatten(1, grid)
        asking = tokens_to_map(query[:, num_prefix:], grid)
        points = self.points(asking, padding)  # (B G, H', W', 2)
        sampled = self._read(tokens_to_map(seen[:, num_prefix:], grid), points)  # (B, K, C)
        context = cat([seen[:, :num_prefix], sampled], dim=1)
        hidden = None
        if padding_mask is not None and padding is not None:
            starts = padding[:, :: self.stride, :: self.stride].flatten(1)
            hidden = cat([padding_mask[:, :num_prefix], starts], dim=1)

        key, value = (split_heads(x, self.num_heads) for x in self.key_value(context).chunk(2, dim=-1))
        queries = split_heads(query, self.num_heads)
        if self.bias == "log_position":
            weights = F.pad(self._biases(points, grid), (num_prefix, 0, num_prefix, 0)).to(queries.dtype)
            if hidden is not None:
                weights = weights.masked_fill(hidden[:, None, None], torch.finfo(weights.dtype).min / 2)
            mixed = merge_heads(F.scaled_dot_product_attention(queries, key, value, attn_mask=weights))
            return self.proj_drop(self.proj(mixed))
        mixed = merge_heads(F.scaled_dot_product_attention(queries, key, value, attn_mask=visible(hidden)))
        place = F.pad(map_to_tokens(self.position(asking)), (0, 0, num_prefix, 0))
        return self.proj_drop(self.proj(mixed + place))

    def points(self, query: Tensor, padding: Tensor | None = None) -> Tensor:
        """Predict where keys and values are read.

        Args:
            query: ``(B, C, H, W)``, 0 where it is padding.
            padding: ``(B, H, W)``, True where a place is padding, or None.

        Returns:
            ``(B G, H', W', 2)``, row and column in tokens, at least fp32.
        """
        batch, _, height, width = query.shape
        grouped = query.reshape(batch * self.num_groups, -1, height, width)
        moved = self.act(self.offset_norm(self.offset_conv(grouped).permute(0, 2, 3, 1)))
        offsets = at_least_fp32(self.offset_proj(moved))
        if self.offset_range is not None:
            offsets = offsets.tanh() * (self.offset_range * self.stride / 2)
        middle = (self.stride - 1) / 2
        rows, columns = (
            torch.arange(count, device=query.device) * self.stride + middle for count in offsets.shape[1:3]
        )
        start = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).to(offsets.dtype)
        reached = (start + offsets).clamp(min=0)
        if padding is None:
            return torch.stack([reached[..., 0].clamp(max=height - 1), reached[..., 1].clamp(max=width - 1)], dim=-1)
        last = (torch.stack(extents(padding), dim=-1) - 1).repeat_interleave(self.num_groups, dim=0)
        return torch.minimum(reached, last[:, None, None].to(offsets.dtype))

    def _biases(self, points: Tensor, grid: Grid) -> Tensor:
        """Return what is added to the logits of places and points ``(B G, H', W', 2)``, ``(B, h, H W, K)``."""
        rows, columns = (torch.arange(side, device=points.device) for side in grid)
        places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flatten(0, 1).to(points.dtype)
        ways = places[:, None] - points.flatten(1, 2)[:, None]  # (B G, N, K, 2), in tokens
        # A way of 7 tokens is 1, whatever the picture's size; near ways are told apart more finely than far ones.
        logs = ways.sign() * torch.log2(1 + ways.abs()) / 3
        biases = self.pair_bias(logs.to(self.query.weight.dtype))  # (B G, N, K, h / G)
        return biases.unflatten(0, (-1, self.num_groups)).permute(0, 1, 4, 2, 3).flatten(1, 2)

    def _read(self, fmap: Tensor, points: Tensor) -> Tensor:
        """Read a map ``(B, C, H, W)`` at points ``(B G, H', W', 2)`` bilinearly; returns ``(B, H' W', C)``."""
        batch, _, height, width = fmap.shape
        with torch.autocast(fmap.device.type, enabled=False):
            grouped = fmap.reshape(batch * self.num_groups, -1, height, width).to(points.dtype)
            # grid_sample takes (x, y), -1 and 1 in the middle of the outermost places.
            rows, columns = (2 * points[..., i] / max(side - 1, 1) - 1 for i, side in enumerate((height, width)))
            positions = torch.stack([columns, rows], dim=-1)
            sampled = F.grid_sample(grouped, positions, mode="bilinear", align_corners=True)  # (B G, C / G, H', W')
        num_points = math.prod(points.shape[1:3])
        return sampled.reshape(batch, -1, num_points).transpose(1, 2).to(fmap.dtype)
