"""Learned absolute positions: a table with one row a place, added to the tokens."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effvit_mm.layers.grid import Grid, map_to_tokens, tokens_to_map
from effvit_mm.layers.heads import at_least_fp32


class AbsolutePositions(nn.Module):
    """Add a learned vector to every token, by its place on the grid.

    Args:
        dim: Channels C of a token.
        table_grid: ``(H, W)`` in tokens that the table is stored for; another grid reads it resized bilinearly.
        num_prefix: Rows in front of the table for tokens that lie on no grid.

    Shape:
        tokens ``(B, P + N, C)`` with N the places of the grid and P the prefix tokens; returns the same.

    Cost:
        An addition, and 4 multiply-adds a channel and place where the table is resized; memory ``O(N C)``. Parameters
        ``(num_prefix + H W) C`` of the table's grid.

    Raises:
        ValueError: If ``table_grid`` has a side below 1 or ``num_prefix`` is negative.

    Reference:
        Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, equation 1 and section 3.2; a table for each
        stage: Wang et al., "Pyramid Vision Transformer", ICCV 2021, section 3.2.

    Differs from the paper:
        Nothing.
    """

    def __init__(self, dim: int, table_grid: Grid, *, num_prefix: int = 0) -> None:
        super().__init__()
        if min(table_grid) < 1:
            raise ValueError(f"table_grid={table_grid} must be (H, W) in tokens, both at least 1")
        if num_prefix < 0:
            raise ValueError(f"num_prefix={num_prefix} must be 0 or more")
        self.table_grid = (table_grid[0], table_grid[1])
        self.num_prefix = num_prefix
        self.table = nn.Parameter(torch.empty(1, num_prefix + math.prod(self.table_grid), dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table."""
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int | None = None) -> Tensor:
        """Add the positions.

        Args:
            tokens: ``(B, P + H * W, C)``.
            grid: ``(H, W)`` of the tokens that lie on a grid.
            num_prefix: Tokens P in front of them: None for as many as the table has rows for, 0 for none (a network
                without the class token that its table was learned with; the rows in front are then not read).

        Returns:
            ``(B, P + H * W, C)``, in the dtype of the tokens.

        Raises:
            ValueError: If the table has no rows for ``num_prefix`` tokens, or P + H * W is not the number of tokens.
        """
        if num_prefix not in (None, 0, self.num_prefix):
            raise ValueError(f"num_prefix={num_prefix} must be 0 or {self.num_prefix}, the prefix rows of the table")
        num_prefix = self.num_prefix if num_prefix is None else num_prefix
        if num_prefix + math.prod(grid) != tokens.shape[1]:
            raise ValueError(
                f"grid={grid} and {num_prefix} prefix tokens make {num_prefix + math.prod(grid)} tokens, but tokens "
                f"has {tokens.shape[1]}; pass the grid of these tokens, and num_prefix=0 where no prefix is in front"
            )
        rows = self.rows(grid)
        return tokens + rows[:, self.num_prefix - num_prefix :].to(tokens.dtype)

    def rows(self, grid: Grid) -> Tensor:
        """Return the table for a grid ``(H, W)``: ``(1, num_prefix + H * W, C)``, at least fp32 where it is resized."""
        if tuple(grid) == self.table_grid:
            return self.table
        # fp32 whatever the autocast dtype: bilinear weights in bf16 move a place by parts of a token.
        table = at_least_fp32(self.table)
        prefix, places = table[:, : self.num_prefix], table[:, self.num_prefix :]
        with torch.autocast(table.device.type, enabled=False):
            resized = F.interpolate(tokens_to_map(places, self.table_grid), grid, mode="bilinear", align_corners=False)
        return torch.cat([prefix, map_to_tokens(resized)], dim=1)
