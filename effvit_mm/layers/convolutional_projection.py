"""Attention whose queries, keys and values come from depth-wise convolutions.

Wu et al., "CvT: Introducing Convolutions to Vision Transformers", ICCV 2021, section 3.2.
"""

import torch.nn.functional as F
from torch import Tensor, cat, nn

from effvit_mm.layers.grid import Grid, map_to_tokens, tokens_to_map
from effvit_mm.layers.heads import check_heads, merge_heads, split_heads, visible, zero_padding
from effvit_mm.layers.removed_parameters import WithoutRemovedParameters


class ConvolutionalProjectionAttention(WithoutRemovedParameters):
    """Softmax attention behind 3x3 depth-wise convolutions; a stride on keys and values leaves fewer of them.

    The convolutions tell tokens where they are: no position table.

    Args:
        dim: Channels C of a token.
        num_heads: Heads h; must divide ``dim``.
        key_stride: Stride r of the keys' and values' convolutions, in tokens.
        qkv_bias: Whether the linear projections of queries and values have biases.
        proj_drop: Dropout probability after the output projection.

    Shape:
        tokens ``(B, N, C)``, grid ``(H, W)`` with ``num_prefix + H * W == N``; returns ``(B, N, C)``.

    Cost:
        ``2 N C^2 + 2 K C^2 + 2 N K C + 9 (N + 2 K) C`` multiply-adds with ``K = ceil(H / r) ceil(W / r)`` keys; memory
        ``O(N C)`` where a fused kernel runs, ``O(h N K)`` where none does.

    Raises:
        ValueError: If ``num_heads`` does not divide ``dim``, or ``key_stride`` is below 1.

    Reference:
        Wu et al. 2021, equation 2; squeezed projection, section 3.2.2.

    Differs from the paper:
        The projection of the keys has no bias: the softmax takes it out. Logits are scaled by ``C^-1/2``, all channels
        and not those of a head, as released. Prefix tokens skip the convolutions, as its classification token does.
    """

    removed_parameters = ("key.bias",)  # a shift of all keys, which the softmax takes out

    def __init__(
        self, dim: int, num_heads: int, *, key_stride: int = 2, qkv_bias: bool = True, proj_drop: float = 0.0
    ) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        if key_stride < 1:
            raise ValueError(f"key_stride={key_stride} must be at least 1")
        self.num_heads = num_heads
        self.key_stride = key_stride
        self.scale = dim**-0.5
        self.query_conv, self.key_conv, self.value_conv = (
            _depthwise(dim, stride) for stride in (1, key_stride, key_stride)
        )
        self.query, self.key, self.value = (nn.Linear(dim, dim, bias=bias) for bias in (qkv_bias, False, qkv_bias))
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        """Mix the tokens.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens that lie on a grid.
            num_prefix: Tokens in front that lie on no grid.
            padding_mask: ``(B, N)``, True where a token is padding: convolutions read 0 there, and a key in whose
                middle it lies is hidden.

        Returns:
            ``(B, N, C)``.
        """
        seen = zero_padding(tokens, padding_mask)
        prefix, fmap = seen[:, :num_prefix], tokens_to_map(seen[:, num_prefix:], grid)
        query, key, value = (
            split_heads(linear(cat([prefix, map_to_tokens(conv(fmap))], dim=1)), self.num_heads)
            for conv, linear in (
                (self.query_conv, self.query),
                (self.key_conv, self.key),
                (self.value_conv, self.value),
            )
        )
        hidden = None
        if padding_mask is not None:
            stride = self.key_stride
            on_grid = padding_mask[:, num_prefix:].unflatten(1, grid)[:, ::stride, ::stride]
            hidden = cat([padding_mask[:, :num_prefix], on_grid.flatten(1)], dim=1)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=visible(hidden), scale=self.scale)
        return self.proj_drop(self.proj(merge_heads(mixed)))


def _depthwise(dim: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(dim, dim, 3, stride=stride, padding=1, groups=dim, bias=False), nn.BatchNorm2d(dim))
