"""Softmax self-attention over all tokens: the yardstick every cheaper mixer is measured against.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017, equation 1 and section 3.2.2.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from effvit_mm.layers.grid import Grid


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
        if dim % num_heads:
            raise ValueError(f"num_heads={num_heads} must divide dim={dim}")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        """Mix the tokens.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens; this mixer looks at no positions.
            num_prefix: Tokens in front that lie on no grid; they are tokens like the others here.
            padding_mask: ``(B, N)``, True where a token is padding: no token attends to it.

        Returns:
            ``(B, N, C)``.
        """
        qkv = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1))  # (B, N, 3, h, d)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (B, h, N, d) each
        attend_to = None if padding_mask is None else ~padding_mask[:, None, None, :]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=attend_to)
        return self.proj_drop(self.proj(mixed.transpose(1, 2).flatten(2)))
