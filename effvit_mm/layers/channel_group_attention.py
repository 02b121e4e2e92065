"""Channel-group attention: within a group of channels, channels attend to channels.

Ding et al., "DaViT: Dual Attention Vision Transformers", ECCV 2022, section 3.3.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from effvit_mm.layers.grid import Grid
from effvit_mm.layers.heads import at_least_fp32, check_heads, merge_heads, split_heads, zero_padding

GroupScale = Literal["channels", "tokens"]


class ChannelGroupAttention(nn.Module):
    """Attention among the channels of a group, ``softmax(scale * Q^T K) V^T``, each a summary of the whole picture.

    A channel is one "token" with N numbers: the reach is global and the cost linear in N. There is no locality;
    alternate it with window attention.

    Args:
        dim: Channels C of a token.
        num_heads: Groups h of channels; must divide ``dim``.
        scale: ``'channels'``: ``d^-1/2`` as in the paper, so that scores grow with the picture. ``'tokens'``:
            ``N^-1/2``, one order of magnitude on every grid.
        qkv_bias: Whether the joint query-key-value projection has a bias.
        proj_drop: Dropout probability after the output projection.

    Shape:
        tokens ``(B, N, C)``; returns ``(B, N, C)``.

    Cost:
        ``4 N C^2 + 2 N C d`` multiply-adds; memory ``O(N C + C d)``.

    Raises:
        ValueError: If ``num_heads`` does not divide ``dim``, or ``scale`` is not allowed.

    Reference:
        Ding et al. 2022, equation 5.

    Differs from the paper:
        The default scale is ``N^-1/2`` (padding not counted), as in the authors' later weights. The released first
        version gives the three projections each other's roles; permuting them makes the two equal. Scores are computed
        in fp32. The depth-wise position encodings in front of each of its sub-blocks are left to the block: an MLP
        with a convolution.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        scale: GroupScale = "tokens",
        qkv_bias: bool = True,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        if scale not in ("channels", "tokens"):
            raise ValueError(f"scale={scale!r} must be 'channels' or 'tokens'")
        self.num_heads = num_heads
        self.scale = scale
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        """Mix the channels of each group by all tokens.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens; this mixer looks at no positions.
            num_prefix: Tokens in front that lie on no grid; they are tokens like the others here.
            padding_mask: ``(B, N)``, True where a token is padding: the scores leave it out.

        Returns:
            ``(B, N, C)``.
        """
        qkv = zero_padding(self.qkv(tokens), padding_mask)
        query, key, value = (split_heads(x, self.num_heads) for x in qkv.chunk(3, dim=-1))  # (B, h, N, d)
        with torch.autocast(tokens.device.type, enabled=False):
            query, key = at_least_fp32(query), at_least_fp32(key)
            # The factor goes to the queries: the sum over N of unscaled products would lose digits.
            query = query * self._factor(query, padding_mask)
            weights = (query.transpose(-2, -1) @ key).softmax(dim=-1)  # (B, h, d, d)
            mixed = merge_heads(value.to(weights.dtype) @ weights.transpose(-2, -1)).to(value.dtype)
        return self.proj_drop(self.proj(mixed))

    def _factor(self, query: Tensor, padding_mask: Tensor | None) -> Tensor | float:
        """Return the scale of the scores, one number or one for each picture ``(B, 1, 1, 1)``."""
        num_tokens, head_dim = query.shape[-2:]
        if self.scale == "channels":
            return head_dim**-0.5
        if padding_mask is None:
            return 1 / math.sqrt(num_tokens)
        counted = (~padding_mask).sum(dim=1).clamp(min=1).to(query.dtype)
        return counted.rsqrt()[:, None, None, None]
