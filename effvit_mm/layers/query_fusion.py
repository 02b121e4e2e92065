"""CrossViT's fusion of scales: one query a scale looks at the tokens of another.

Chen et al., "CrossViT: Cross-Attention Multi-Scale Vision Transformer for Image Classification", ICCV 2021, arXiv
2103.14899.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, cat, nn

from effvit_mm.layers.heads import check_heads, merge_heads, split_heads, visible


class SingleQueryAttention(nn.Module):
    """Softmax attention of the first token alone, to all tokens.

    Args:
        dim: Channels C of a token.
        num_heads: Heads h; must divide ``dim``.
        qkv_bias: Whether the three projections have biases.

    Shape:
        tokens ``(B, N, C)``; returns ``(B, 1, C)``.

    Cost:
        ``2 C^2 + 2 N C^2 + 2 N C`` multiply-adds: linear; memory ``O(N C)``.

    Raises:
        ValueError: If ``num_heads`` does not divide ``dim``.

    Reference:
        arXiv 2103.14899, equation 4.

    Differs from the paper:
        Nothing.
    """

    def __init__(self, dim: int, num_heads: int, *, qkv_bias: bool = True) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim, bias=qkv_bias)
        self.key_value = nn.Linear(dim, 2 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Gather for the first of tokens ``(B, N, C)``; none where the mask ``(B, N)`` is True is attended to."""
        query = split_heads(self.query(tokens[:, :1]), self.num_heads)
        key, value = (split_heads(x, self.num_heads) for x in self.key_value(tokens).chunk(2, dim=-1))
        return self.proj(
            merge_heads(F.scaled_dot_product_attention(query, key, value, attn_mask=visible(padding_mask)))
        )


class QueryFusion(nn.Module):
    """Carry what each scale's first token finds among the tokens of the next scale, the last one's in the first.

    The token is projected to the other scale's channels, attends there, and is projected back into its place; no other
    token changes.

    Args:
        dims: Channels of the scales, two or more.
        num_heads: Heads of the attention among each scale's tokens, one number for all or one for each scale.
        qkv_bias: Whether the attentions' projections have biases.
        norm_eps: Epsilon of the LayerNorms.

    Shape:
        tokens ``(B, 1 + N_s, dims[s])`` for each scale; returns such a tuple.

    Cost:
        For scales of C and C' channels, the first asking the ``N'`` tokens of the second:
        ``2 C C' + 4 C'^2 + 2 N' C'^2 + 2 (1 + N') C'`` multiply-adds.

    Raises:
        ValueError: If there are fewer than two scales, or the heads do not fit.

    Reference:
        arXiv 2103.14899, section 3.3, figure 4.

    Differs from the paper:
        Nothing; with more than two scales, the ring is that of timm's and the authors' code.
    """

    def __init__(
        self,
        dims: Sequence[int],
        num_heads: int | Sequence[int] = 1,
        *,
        qkv_bias: bool = True,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        if len(dims) < 2:
            raise ValueError(f"dims={tuple(dims)} must be the channels of two scales or more")
        heads = (num_heads,) * len(dims) if isinstance(num_heads, int) else tuple(num_heads)
        if len(heads) != len(dims):
            raise ValueError(f"num_heads={heads} must be one number, or one for each of the {len(dims)} scales")
        others = [*dims[1:], dims[0]]

        def projection(of: int, to: int) -> nn.Module:
            return nn.Sequential(nn.LayerNorm(of, eps=norm_eps), nn.GELU(), nn.Linear(of, to))

        self.to_other = nn.ModuleList(projection(dim, other) for dim, other in zip(dims, others, strict=True))
        self.norms = nn.ModuleList(nn.LayerNorm(other, eps=norm_eps) for other in others)
        self.attentions = nn.ModuleList(
            SingleQueryAttention(other, count, qkv_bias=qkv_bias)
            for other, count in zip(others, [*heads[1:], heads[0]], strict=True)
        )
        self.back = nn.ModuleList(projection(other, dim) for dim, other in zip(dims, others, strict=True))

    def forward(
        self, scales: Sequence[Tensor], padding_masks: Sequence[Tensor | None] | None = None
    ) -> tuple[Tensor, ...]:
        """Fuse scales.

        Args:
            scales: Tokens ``(B, 1 + N_s, dims[s])``, the asking one first.
            padding_masks: ``(B, 1 + N_s)`` or None for each scale, True where a token is padding.

        Returns:
            The same, with another first token each.
        """
        masks = padding_masks or [None] * len(scales)
        fused = []
        for s, (tokens, to_other, back) in enumerate(zip(scales, self.to_other, self.back, strict=True)):
            following = (s + 1) % len(scales)
            asking = to_other(tokens[:, :1])
            met = cat([asking, scales[following][:, 1:]], dim=1)
            found = asking + self.attentions[s](self.norms[s](met), masks[following])
            fused.append(cat([back(found), tokens[:, 1:]], dim=1))
        return tuple(fused)
