"""Spatial-reduction attention: all tokens ask, a strided convolution of them answers.

Wang et al., "Pyramid Vision Transformer", ICCV 2021, section 3.3; Xie et al., "SegFormer", NeurIPS 2021, section 3.1.
"""

import torch.nn.functional as F
from torch import Tensor, cat, nn

from effvit_mm.layers.grid import Grid, map_to_tokens, pad_to_multiple, tokens_to_map
from effvit_mm.layers.heads import check_heads, merge_heads, split_heads, visible, zero_padding


class SpatialReductionAttention(nn.Module):
    """Softmax attention whose keys and values come from a map that is ``reduction_ratio`` times smaller each way.

    Args:
        dim: Channels C of a token.
        num_heads: Heads h; must divide ``dim``.
        reduction_ratio: Kernel and stride R of the reducing convolution, in tokens; 1 for none. The papers take 8, 4,
            2 and 1 in the four stages.
        qkv_bias: Whether query and key-value projections have biases.
        proj_drop: Dropout probability after the output projection.

    Shape:
        tokens ``(B, N, C)``, grid ``(H, W)`` with ``num_prefix + H * W == N``; returns ``(B, N, C)``.

    Cost:
        ``2 N C^2 + 2 K C^2 + R^2 K C^2 + 2 N K C`` multiply-adds with ``K = ceil(H / R) ceil(W / R)`` keys (the third
        term, the convolution, only for R > 1): quadratic still, over ``R^2``. Memory ``O(N C)`` where a fused kernel
        runs, ``O(h N K)`` where none does.

    Raises:
        ValueError: If ``num_heads`` does not divide ``dim``, or ``reduction_ratio`` is below 1.

    Reference:
        Wang et al. 2021, equations 2 and 3, with the convolution of the released code.

    Differs from the paper:
        A grid that R does not divide is zero-padded, where the released code drops a strip. Prefix tokens ask, and
        answer as they are, without the convolution.
    """

    def __init__(
        self, dim: int, num_heads: int, *, reduction_ratio: int = 4, qkv_bias: bool = True, proj_drop: float = 0.0
    ) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        if reduction_ratio < 1:
            raise ValueError(f"reduction_ratio={reduction_ratio} must be at least 1 (1 reduces nothing)")
        self.num_heads = num_heads
        self.reduction_ratio = reduction_ratio
        self.query = nn.Linear(dim, dim, bias=qkv_bias)
        self.key_value = nn.Linear(dim, 2 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        if reduction_ratio > 1:
            self.reduction = nn.Conv2d(dim, dim, reduction_ratio, stride=reduction_ratio)
            self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        """Mix the tokens.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens that lie on a grid.
            num_prefix: Tokens in front that lie on no grid.
            padding_mask: ``(B, N)``, True where a token is padding: the convolution reads 0 there, and a key that
                holds nothing else is hidden.

        Returns:
            ``(B, N, C)``.
        """
        context, hidden = tokens, padding_mask
        if self.reduction_ratio > 1:
            seen = zero_padding(tokens, padding_mask)
            context = cat([seen[:, :num_prefix], self._reduced(seen[:, num_prefix:], grid)], dim=1)
            hidden = self._hidden_keys(padding_mask, grid, num_prefix)
        query = split_heads(self.query(tokens), self.num_heads)
        key, value = (split_heads(x, self.num_heads) for x in self.key_value(context).chunk(2, dim=-1))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=visible(hidden))
        return self.proj_drop(self.proj(merge_heads(mixed)))

    def _reduced(self, tokens: Tensor, grid: Grid) -> Tensor:
        fmap = pad_to_multiple(tokens_to_map(tokens, grid), self.reduction_ratio)
        return self.norm(map_to_tokens(self.reduction(fmap)))  # (B, K, C)

    def _hidden_keys(self, padding_mask: Tensor | None, grid: Grid, num_prefix: int) -> Tensor | None:
        """Return a mask ``(B, P + K)`` of the keys that are made of padding alone."""
        if padding_mask is None:
            return None
        on_grid = (~padding_mask[:, num_prefix:]).unflatten(1, grid)[:, None].float()
        kept = F.max_pool2d(pad_to_multiple(on_grid, self.reduction_ratio), self.reduction_ratio)
        return cat([padding_mask[:, :num_prefix], kept.flatten(1) == 0], dim=1)
