"""Softmax self-attention over all tokens: the yardstick every cheaper mixer is measured against.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017, equation 1 and section 3.2.2.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from effvit_mm.layers.grid import Grid
from effvit_mm.layers.heads import check_heads, merge_heads, visible


class SelfAttention(nn.Module):
    """Multi-head self-attention through torch's fused ``scaled_dot_product_attention``.

    Args:
        dim: Channels C of a token.
        num_heads: Heads h; must divide ``dim``.
        qkv_bias: Whether the joint query-key-value projection has a bias.
        proj_drop: Dropout probability after the output projection.

    Shape:
        tokens ``(B, N, C)``; returns ``(B, N, C)``.

    Cost:
        ``4 N C^2 + 2 N^2 C`` multiply-adds; memory ``O(N C)`` where a fused kernel runs, ``O(h N^2)`` where none does.

    Raises:
        ValueError: If ``num_heads`` does not divide ``dim``.

    Reference:
        Vaswani et al. 2017, equation 1.

    Differs from the paper:
        Nothing.
    """

    def __init__(self, dim: int, num_heads: int, *, qkv_bias: bool = True, proj_drop: float = 0.0) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(
        self,
        tokens: Tensor,
        grid: Grid,
        *,
        num_prefix: int = 0,
        padding_mask: Tensor | None = None,
        probes: Tensor | None = None,
    ) -> Any:
        """Mix the tokens.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens; this mixer looks at no positions.
            num_prefix: Tokens in front that lie on no grid; they are tokens like the others here.
            padding_mask: ``(B, N)``, True where a token is padding: no token attends to it.
            probes: Query rows ``(P,)`` whose scores are returned as well.

        Returns:
            ``(B, N, C)``; with ``probes``, a pair of that and :meth:`scores` ``(B, h, P, N)``.
        """
        query, key, value = self.project(tokens)
        mixed = self.merge(F.scaled_dot_product_attention(query, key, value, attn_mask=visible(padding_mask)))
        return mixed if probes is None else (mixed, self.scores(query, key, probes))

    def project(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of the heads, ``(B, h, N, d)`` each, of tokens ``(B, N, C)``."""
        qkv = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1))  # (B, N, 3, h, d)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        return query, key, value

    def merge(self, heads: Tensor) -> Tensor:
        """Join what the heads give, ``(B, h, N, d)``, into tokens ``(B, N, C)``."""
        return self.proj_drop(self.proj(merge_heads(heads)))

    @staticmethod
    def scores(query: Tensor, key: Tensor, probes: Tensor) -> Tensor:
        """Return some rows ``(B, h, P, N)`` of the map before its softmax, divided by the root of d."""
        # Scaled before the product, which so stays within fp16 wherever attention itself does.
        scaled = query.index_select(2, probes) * query.shape[-1] ** -0.5
        return scaled @ key.transpose(-2, -1)
