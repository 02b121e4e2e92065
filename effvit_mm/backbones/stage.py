"""A stage of a pyramid: merge places into tokens, then mix these block by block."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from effvit_mm.layers import AbsolutePositions, Grid, PrefixTokens


class Stage(nn.Module):
    """One of the four stages of a pyramid.

    Args:
        merger: Token merging: a map to tokens and their grid.
        blocks: What mixes the tokens.
        prefix: Tokens that are joined in front of those of the grid, or None.
        positions: Position tables added to the tokens, or None.
        with_cp: Recompute each block in the backward pass instead of keeping its activations (non-reentrant). A batch
            norm inside a mixer counts the pictures of a step twice then; maps and gradients are the same.

    Shape:
        fmap ``(B, C_in, H, W)``; returns tokens ``(B, P + N, C)``, P of them prefix tokens, and the grid
        ``(H', W')`` of the N others.

    Cost:
        The sum over its parts.
    """

    def __init__(
        self,
        merger: nn.Module,
        blocks: Sequence[nn.Module],
        *,
        prefix: PrefixTokens | None = None,
        positions: AbsolutePositions | None = None,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.merger = merger
        self.prefix = prefix
        self.positions = positions
        self.blocks = nn.ModuleList(blocks)
        self.with_cp = with_cp

    def forward(self, fmap: Tensor) -> tuple[Tensor, Grid]:
        """Turn a map into tokens ``(B, P + N, C)``, prefix tokens first, and the grid of the N others."""
        tokens, grid = self.merger(fmap)
        num_prefix = 0
        if self.prefix is not None:
            tokens, num_prefix = self.prefix(tokens), self.prefix.num_tokens
        if self.positions is not None:
            tokens = self.positions(tokens, grid)
        for block in self.blocks:
            if self.with_cp and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, grid, num_prefix=num_prefix, use_reentrant=False)
            else:
                tokens = block(tokens, grid, num_prefix=num_prefix)
        return tokens, grid
