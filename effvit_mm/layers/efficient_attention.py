"""Efficient attention: the product of queries, keys and values taken from the right.

Shen et al., "Efficient Attention: Attention with Linear Complexities", WACV 2021, section 3.2.
"""

import torch
from torch import Tensor, nn

from effvit_mm.layers.grid import Grid
from effvit_mm.layers.heads import at_least_fp32, check_heads, merge_heads, split_heads


class EfficientAttention(nn.Module):
    """Attention through one ``d x d`` summary a head: ``softmax_d(Q) (softmax_N(K)^T V)``.

    The queries' softmax runs over the channels of a token, the keys' over the tokens, so that the implied map
    ``softmax_d(Q) softmax_N(K)^T`` has rows that sum to 1 and never exists. No pair of tokens has a weight of its own:
    put a mechanism that looks at neighbours (Mix-FFN, a convolution) beside it.

    Args:
        dim: Channels C of a token.
        num_heads: Heads h; must divide ``dim``.
        qkv_bias: Whether the joint query-key-value projection has a bias.
        proj_drop: Dropout probability after the output projection.

    Shape:
        tokens ``(B, N, C)``; returns ``(B, N, C)``.

    Cost:
        ``4 N C^2 + 2 N C d`` multiply-adds; memory ``O(N C + C d)``.

    Raises:
        ValueError: If ``num_heads`` does not divide ``dim``.

    Reference:
        Shen et al. 2021, equation 4 with softmax normalisation.

    Differs from the paper:
        No residual path inside: the block has it. Softmaxes and summary are computed in fp32.
    """

    def __init__(self, dim: int, num_heads: int, *, qkv_bias: bool = True, proj_drop: float = 0.0) -> None:
        super().__init__()
        check_heads(dim, num_heads)
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
            padding_mask: ``(B, N)``, True where a token is padding: the summary leaves it out.

        Returns:
            ``(B, N, C)``.
        """
        query, key, value = (split_heads(x, self.num_heads) for x in self.qkv(tokens).chunk(3, dim=-1))
        return self.proj_drop(self.proj(merge_heads(attend_through_summary(query, key, value, padding_mask))))


def attend_through_summary(query: Tensor, key: Tensor, value: Tensor, padding_mask: Tensor | None = None) -> Tensor:
    """Compute ``softmax_d(Q) (softmax_N(K)^T V)`` in fp32 at least.

    Args:
        query: ``(B, h, N, d)``.
        key: ``(B, h, N, d)``.
        value: ``(B, h, N, d)``.
        padding_mask: ``(B, N)``, True where a token is padding: the summary leaves it out.

    Returns:
        ``(B, h, N, d)``, in the dtype of ``value``.
    """
    with torch.autocast(value.device.type, enabled=False):
        query, key = at_least_fp32(query).softmax(dim=-1), at_least_fp32(key)
        if padding_mask is not None:
            key = key.masked_fill(padding_mask[:, None, :, None], torch.finfo(key.dtype).min)
        summary = key.softmax(dim=2).transpose(-2, -1) @ value.to(key.dtype)  # (B, h, d, d)
        return (query @ summary).to(value.dtype)
