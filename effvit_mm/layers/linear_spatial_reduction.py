"""Linear spatial-reduction attention: keys and values from a map pooled to a fixed size.

Wang et al., "PVT v2: Improved Baselines with Pyramid Vision Transformer", 2022, section 3.1.
"""

import torch.nn.functional as F
from torch import Tensor, cat, nn

from effvit_mm.layers.grid import Grid, map_to_tokens, tokens_to_map
from effvit_mm.layers.heads import check_heads, merge_heads, pool_to, split_heads, visible, zero_padding


class LinearSpatialReductionAttention(nn.Module):
    """Softmax attention to the few keys of an average-pooled map, the same number on every grid.

    Args:
        dim: Channels C of a token.
        num_heads: Heads h; must divide ``dim``.
        pool_size: Rows and columns P of the pooled map, in tokens.
        qkv_bias: Whether query and key-value projections have biases.
        proj_drop: Dropout probability after the output projection.

    Shape:
        tokens ``(B, N, C)``, grid ``(H, W)`` with ``num_prefix + H * W == N``; returns ``(B, N, C)``.

    Cost:
        ``2 N C^2 + 3 P^2 C^2 + 2 N P^2 C`` multiply-adds, memory ``O(N C)`` where a fused kernel runs,
        ``O(h N P^2)`` where none does.

    Raises:
        ValueError: If ``num_heads`` does not divide ``dim``, or ``pool_size`` is below 1.

    Reference:
        Wang et al. 2022, equation 2, with the 1x1 convolution, norm and GELU of the released code.

    Differs from the paper:
        Bins cover the picture without its padding. Prefix tokens ask, and answer as they are.
    """

    def __init__(
        self, dim: int, num_heads: int, *, pool_size: int = 7, qkv_bias: bool = True, proj_drop: float = 0.0
    ) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        if pool_size < 1:
            raise ValueError(f"pool_size={pool_size} must be at least 1")
        self.num_heads = num_heads
        self.pool_size = pool_size
        self.query = nn.Linear(dim, dim, bias=qkv_bias)
        self.reduction = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.act = nn.GELU()
        self.key_value = nn.Linear(dim, 2 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        """Mix the tokens.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens that lie on a grid.
            num_prefix: Tokens in front that lie on no grid.
            padding_mask: ``(B, N)``, True where a token is padding: no bin holds it.

        Returns:
            ``(B, N, C)``.
        """
        seen = zero_padding(tokens, padding_mask)
        padding = None if padding_mask is None else padding_mask[:, num_prefix:].unflatten(1, grid)
        pooled = pool_to(tokens_to_map(seen[:, num_prefix:], grid), (self.pool_size, self.pool_size), padding)
        reduced = self.act(self.norm(self.reduction(map_to_tokens(pooled))))  # (B, P^2, C)
        context = cat([seen[:, :num_prefix], reduced], dim=1)
        hidden = None if padding_mask is None else F.pad(padding_mask[:, :num_prefix], (0, reduced.shape[1]))

        query = split_heads(self.query(tokens), self.num_heads)
        key, value = (split_heads(x, self.num_heads) for x in self.key_value(context).chunk(2, dim=-1))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=visible(hidden))
        return self.proj_drop(self.proj(merge_heads(mixed)))
