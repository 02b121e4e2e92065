"""MISSFormer's transformer context bridge: the tokens of all scales attend to a few of all scales.

Huang et al., "MISSFormer: An Effective Medical Image Segmentation Transformer", 2021, arXiv 2109.07162.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, cat, nn

from effvit_mm.layers.enhanced_mix_mlp import EnhancedMixMlp
from effvit_mm.layers.grid import Grid, map_to_tokens, pad_to_multiple, tokens_to_map
from effvit_mm.layers.heads import check_heads, merge_heads, split_heads


class ContextBridgeLayer(nn.Module):
    """Attention from the tokens of all scales to reduced ones, then an Enhanced Mix-FFN on each scale.

    A place of scale s has ``m_s`` tokens of C channels each: a wider map is more tokens, not wider ones.

    Args:
        dim: Channels C of a token.
        multiples: Tokens ``m_s`` of a place, for each scale.
        reduction_ratios: For each scale, places on each side that become one for keys and values.
        num_heads: Heads h; must divide ``dim``.
        mlp_ratio: Hidden channels of a scale's MLP over its ``m_s C`` channels.

    Shape:
        A tensor ``(B, N_s m_s, C)`` and a grid with ``H W = N_s`` for each scale; returns such a tuple.

    Cost:
        With ``N = sum(N_s m_s)`` tokens and ``K = sum(ceil(H_s / R_s) ceil(W_s / R_s) m_s)`` keys:
        ``2 N C^2 + 2 K C^2 + 2 N K C`` multiply-adds, ``K_s m_s C^2 m_s R_s^2`` for the reduction of a scale with
        ``K_s m_s`` of them and ``R_s > 1``, and ``N_s (2 r (m_s C)^2 + 9 r m_s C)`` for its MLP of ratio r. As the
        ratios are fixed, K grows with N: quadratic in the pixels. Memory ``O(N C)`` where a fused kernel runs,
        ``O(h N K)`` where none does.

    Raises:
        ValueError: If ``num_heads`` does not divide ``dim``.

    Reference:
        arXiv 2109.07162, section 3.3.

    Differs from the paper:
        Any grid: maps are zero-padded at the bottom and right to multiples of their reduction. Channel c of token t of
        a place is channel ``t C + c`` of its map, before and after the reduction; the released code deals the maps that
        it has reduced out as ``c m + t``, so its weights need the outputs of the reductions permuted.
    """

    def __init__(
        self,
        dim: int,
        multiples: Sequence[int],
        reduction_ratios: Sequence[int],
        *,
        num_heads: int = 1,
        mlp_ratio: int = 4,
    ) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.multiples = tuple(multiples)
        self.norm1 = nn.LayerNorm(dim)
        self.reductions = nn.ModuleList(
            nn.Identity() if ratio == 1 else nn.Conv2d(dim * multiple, dim * multiple, ratio, stride=ratio)
            for multiple, ratio in zip(multiples, reduction_ratios, strict=True)
        )
        self.ratios = tuple(reduction_ratios)
        self.norm_keys = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlps = nn.ModuleList(EnhancedMixMlp(dim * m, mlp_ratio * dim * m) for m in multiples)

    def forward(self, scales: Sequence[Tensor], grids: Sequence[Grid]) -> tuple[Tensor, ...]:
        """Mix the tokens of all scales, ``(B, N_s m_s, C)`` each."""
        sizes = [tokens.shape[1] for tokens in scales]
        tokens = cat(list(scales), dim=1)
        tokens = tokens + self.attend(self.norm1(tokens), grids, sizes)
        parts = self.norm2(tokens).split(sizes, dim=1)
        mixed = []
        for part, grid, multiple, mlp in zip(parts, grids, self.multiples, self.mlps, strict=True):
            wide = part.reshape(part.shape[0], -1, multiple * part.shape[-1])
            mixed.append(mlp(wide, grid).reshape(part.shape))
        return (tokens + cat(mixed, dim=1)).split(sizes, dim=1)

    def attend(self, tokens: Tensor, grids: Sequence[Grid], sizes: Sequence[int]) -> Tensor:
        """Let tokens ``(B, N, C)`` attend to the reduced ones of all scales."""
        reduced = []
        for part, grid, multiple, ratio, reduce in zip(
            tokens.split(list(sizes), dim=1), grids, self.multiples, self.ratios, self.reductions, strict=True
        ):
            fmap = tokens_to_map(part.reshape(part.shape[0], -1, multiple * part.shape[-1]), grid)
            places = map_to_tokens(reduce(pad_to_multiple(fmap, ratio)))
            reduced.append(places.reshape(part.shape[0], -1, part.shape[-1]))  # (B, K_s m_s, C)
        keys = self.key_value(self.norm_keys(cat(reduced, dim=1)))
        key, value = (split_heads(x, self.num_heads) for x in keys.chunk(2, dim=-1))
        query = split_heads(self.query(tokens), self.num_heads)
        return self.proj(merge_heads(F.scaled_dot_product_attention(query, key, value)))
