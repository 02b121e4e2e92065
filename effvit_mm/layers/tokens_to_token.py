"""Tokens to token: a stem that merges overlapping windows in steps, and lets tokens attend between them.

Yuan et al., "Tokens-to-Token ViT: Training Vision Transformers from Scratch on ImageNet", ICCV 2021, arXiv 2101.11986.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from effvit_mm.layers.efficient_attention import attend_through_summary
from effvit_mm.layers.grid import Grid, pad_to_multiple, tokens_to_map
from effvit_mm.layers.mlp import Mlp

StepAttention = Literal["efficient", "softmax"]

DEFAULT_SPLITS = {16: (4, 2, 2), 8: (4, 2), 4: (2, 2), 2: (2,)}


class TokensToToken(nn.Module):
    """Soft splits with a transformer layer between each two, then a projection: a stem, or a merging between stages.

    A soft split lays the places of overlapping windows side by side as one token: windows of 7 at stride 4, of 3 at
    stride 2. The layer between narrows these tokens to ``token_dim`` channels and puts them back on their map.

    Args:
        in_dim: Channels of the map.
        dim: Channels C of the tokens.
        stride: Down-sampling, in places of the map.
        splits: Strides of the soft splits, even and with the product ``stride``; None for (4, 2, 2), the paper's, at
            stride 16, (4, 2) at 8, (2, 2) at 4 and (2,) at 2.
        token_dim: Channels T between the splits.
        attention: Of the layers between the splits. ``'efficient'`` (default): linear in the tokens, of which there are
            19,200 at the first of a 480x640 picture; ``'softmax'``: the paper's.

    Shape:
        fmap ``(B, in_dim, H, W)``; returns tokens ``(B, N, C)`` and their grid
        ``(ceil(H / stride), ceil(W / stride))``.

    Cost:
        A layer over ``N_s`` tokens of ``I = k^2 in`` channels takes ``N_s (3 I T + 3 T^2) + 2 N_s T^2`` multiply-adds,
        with softmax attention ``2 N_s^2 T`` in place of the last term; the projection ``N I C``. Memory
        ``O(N_s (I + T))``.

    Raises:
        ValueError: If ``splits`` do not make ``stride``, or a number or name is not allowed.

    Reference:
        arXiv 2101.11986, section 3.1 and figure 3.

    Differs from the paper:
        Linear attention in the form of Shen et al., WACV 2021, where the authors offer a Performer. Maps are
        zero-padded at the bottom and right to multiples of a split's stride.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        *,
        stride: int,
        splits: Sequence[int] | None = None,
        token_dim: int = 64,
        attention: StepAttention = "efficient",
    ) -> None:
        super().__init__()
        self.splits = tuple(splits or DEFAULT_SPLITS.get(stride, ()))
        if math.prod(self.splits) != stride or any(split < 2 or split % 2 for split in self.splits):
            raise ValueError(
                f"splits={splits!r} must be even strides whose product is stride={stride}, such as (4, 2, 2) for 16"
            )
        if token_dim < 1:
            raise ValueError(f"token_dim={token_dim} must be at least 1")
        if attention not in get_args(StepAttention):
            raise ValueError(f"attention={attention!r} must be one of {get_args(StepAttention)}")
        areas = [(2 * split - 1) ** 2 for split in self.splits]
        widths = [in_dim * areas[0], *(token_dim * area for area in areas[1:])]
        self.layers = nn.ModuleList(TokenTransformer(width, token_dim, attention=attention) for width in widths[:-1])
        self.proj = nn.Linear(widths[-1], dim)

    def forward(self, fmap: Tensor) -> tuple[Tensor, Grid]:
        """Merge places of ``fmap`` ``(B, in_dim, H, W)`` into tokens ``(B, N, C)`` on a grid."""
        tokens, grid = soft_split(fmap, self.splits[0])
        for layer, split in zip(self.layers, self.splits[1:], strict=True):
            tokens, grid = soft_split(tokens_to_map(layer(tokens, grid), grid), split)
        return self.proj(tokens), grid


def soft_split(fmap: Tensor, stride: int) -> tuple[Tensor, Grid]:
    """Lay windows of ``2 stride - 1`` places side by side.

    Args:
        fmap: ``(B, C, H, W)``.
        stride: Step from window to window, even.

    Returns:
        Tokens ``(B, N, C (2 stride - 1)^2)``, the places of a channel side by side, and their grid
        ``(ceil(H / stride), ceil(W / stride))``.

    Reference:
        arXiv 2101.11986, equation 3.
    """
    fmap = pad_to_multiple(fmap, stride)
    grid = (fmap.shape[-2] // stride, fmap.shape[-1] // stride)
    return F.unfold(fmap, 2 * stride - 1, stride=stride, padding=stride // 2).transpose(1, 2), grid


class TokenTransformer(nn.Module):
    """A transformer layer of one head from wide tokens to narrow ones.

    Attention has the values as its shortcut, for tokens change their width in it.

    Args:
        in_dim: Channels I of the tokens that come in.
        dim: Channels T of those that go out.
        attention: ``'efficient'`` or ``'softmax'``.

    Shape:
        tokens ``(B, N, I)``; returns ``(B, N, T)``.

    Cost:
        ``N (3 I T + 3 T^2) + 2 N T^2`` multiply-adds; with softmax attention ``2 N^2 T`` in place of the last term.

    Reference:
        arXiv 2101.11986, equation 1; the shortcut is that of the authors' code.

    Differs from the paper:
        As :class:`TokensToToken`.
    """

    def __init__(self, in_dim: int, dim: int, *, attention: StepAttention = "efficient") -> None:
        super().__init__()
        self.attention = attention
        self.norm1 = nn.LayerNorm(in_dim)
        self.qkv = nn.Linear(in_dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, dim)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Mix tokens ``(B, N, I)`` into ``(B, N, T)``."""
        query, key, value = (part[:, None] for part in self.qkv(self.norm1(tokens)).chunk(3, dim=-1))
        if self.attention == "softmax":
            mixed = F.scaled_dot_product_attention(query, key, value, scale=tokens.shape[-1] ** -0.5)
        else:
            mixed = attend_through_summary(query, key, value)
        narrow = value[:, 0] + self.proj(mixed[:, 0])  # (B, N, T)
        return narrow + self.mlp(self.norm2(narrow), grid)
