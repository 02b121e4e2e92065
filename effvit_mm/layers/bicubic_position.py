"""Learned absolute positions of a plain ViT, resized as its weights' own code does."""

from torch import Tensor

from effvit_mm.layers.absolute_position import AbsolutePositions
from effvit_mm.layers.grid import Grid


class BicubicPositions(AbsolutePositions):
    """Absolute positions whose table is read bicubically, with antialiasing, on another grid than the stored one.

    Args:
        dim: Channels C of a token.
        table_grid: ``(H, W)`` in tokens that the table is stored for.
        num_prefix: Rows in front of the table for tokens that lie on no grid; they are never resized.

    Shape:
        As :class:`AbsolutePositions`.

    Cost:
        An addition, and 16 multiply-adds a channel and place where the table grows to another grid.

    Raises:
        ValueError: As :class:`AbsolutePositions`.

    Reference:
        Touvron et al., "Training data-efficient image transformers & distillation through attention", ICML 2021,
        section 5 (bicubic, since bilinear reading shrinks the vectors' norm); the resampling is timm's.

    Differs from the paper:
        Antialiasing, which acts where the table shrinks: timm's code has it, the authors' has not.
    """

    def rows(self, grid: Grid) -> Tensor:
        """Return the table for a grid ``(H, W)``: ``(1, num_prefix + H * W, C)``, resampled in fp32."""
        if tuple(grid) == self.table_grid:
            return self.table
        from timm.layers import resample_abs_pos_embed

        # It resamples in fp32 whatever the dtype of the table.
        return resample_abs_pos_embed(self.table, list(grid), list(self.table_grid), num_prefix_tokens=self.num_prefix)
