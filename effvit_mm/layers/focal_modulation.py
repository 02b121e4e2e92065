"""Focal modulation: each token is multiplied by a gated sum of its surroundings, near to far.

Yang et al., "Focal Modulation Networks", NeurIPS 2022, section 3.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effvit_mm.layers.grid import Grid, map_to_tokens, tokens_to_map
from effvit_mm.layers.heads import at_least_fp32


class FocalModulation(nn.Module):
    """Context by a stack of depth-wise convolutions and a global mean, weighed by gates, times the query.

    Args:
        dim: Channels C of a token.
        num_heads: Without effect: modulation has no heads.
        num_levels: Convolutions L; a global mean follows them.
        window_size: Side of the first convolution in tokens, odd; each further one is larger by 2.
        normalize: Divide the gated sum by ``L + 1``.
        proj_drop: Dropout probability after the output projection.

    Shape:
        tokens ``(B, N, C)``, grid ``(H, W)`` with ``num_prefix + H * W == N``; returns ``(B, N, C)``.

    Cost:
        ``4 N C^2 + N C (L + 1) + N C sum(k^2)`` multiply-adds with kernels k; memory ``O(L N C)``.

    Raises:
        ValueError: If ``num_levels`` is below 1, or ``window_size`` is not odd and positive.

    Reference:
        Yang et al. 2022, equations 4 to 7.

    Differs from the paper:
        Nothing on the grid. A prefix token, which it does not have, is modulated by its gate on the global mean alone.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 1,
        *,
        num_levels: int = 2,
        window_size: int = 3,
        normalize: bool = False,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        if num_levels < 1:
            raise ValueError(f"num_levels={num_levels} must be at least 1")
        if window_size < 1 or window_size % 2 == 0:
            raise ValueError(f"window_size={window_size} must be odd and positive, so that a token is in the middle")
        self.normalize = normalize
        self.split = (dim, dim, num_levels + 1)
        self.query_context_gates = nn.Linear(dim, sum(self.split))
        self.levels = nn.ModuleList(
            nn.Conv2d(dim, dim, size, padding=size // 2, groups=dim, bias=False)
            for size in range(window_size, window_size + 2 * num_levels, 2)
        )
        self.act = nn.GELU()
        self.modulator = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        """Modulate the tokens.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens that lie on a grid.
            num_prefix: Tokens in front that lie on no grid.
            padding_mask: ``(B, N)``, True where a token is padding: every context is 0 there, the mean leaves it out.

        Returns:
            ``(B, N, C)``.
        """
        query, context, gates = self.query_context_gates(tokens).split(self.split, dim=-1)
        padding = None if padding_mask is None else padding_mask[:, num_prefix:].unflatten(1, grid)[:, None]
        fmap = _hide(tokens_to_map(context[:, num_prefix:], grid), padding)  # (B, C, H, W)
        surroundings = torch.zeros_like(query[:, num_prefix:])
        for level, conv in enumerate(self.levels):
            fmap = _hide(self.act(conv(fmap)), padding)
            surroundings = surroundings + map_to_tokens(fmap) * gates[:, num_prefix:, level, None]
        surroundings = F.pad(surroundings, (0, 0, num_prefix, 0)) + self._everywhere(fmap, padding) * gates[..., -1:]
        if self.normalize:
            surroundings = surroundings / gates.shape[-1]
        return self.proj_drop(self.proj(query * self.modulator(surroundings)))

    def _everywhere(self, fmap: Tensor, padding: Tensor | None) -> Tensor:
        """Return the activated mean of the last context over the picture, ``(B, 1, C)``."""
        total = at_least_fp32(fmap).sum(dim=(2, 3))
        if padding is None:
            mean = total / (fmap.shape[2] * fmap.shape[3])
        else:
            mean = total / (~padding).sum(dim=(2, 3)).clamp(min=1)
        return self.act(mean.to(fmap.dtype))[:, None]


def _hide(fmap: Tensor, padding: Tensor | None) -> Tensor:
    return fmap if padding is None else fmap.masked_fill(padding, 0.0)
