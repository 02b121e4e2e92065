"""Average pooling as a token mixer: the floor under every learned one.

Yu et al., "MetaFormer Is Actually What You Need for Vision", CVPR 2022, section 3.2.
"""

import torch.nn.functional as F
from torch import Tensor, cat, nn

from effvit_mm.layers.grid import Grid, map_to_tokens, tokens_to_map
from effvit_mm.layers.heads import zero_padding


class Pooling(nn.Module):
    """Give each token the mean of its neighbourhood minus itself (the block's residual path adds it back).

    Args:
        dim: Channels C of a token.
        num_heads: Without effect: pooling has no heads.
        pool_size: Side of the neighbourhood in tokens, odd.

    Shape:
        tokens ``(B, N, C)``, grid ``(H, W)`` with ``num_prefix + H * W == N``; returns ``(B, N, C)``.

    Cost:
        No multiply-adds and no parameters; ``pool_size^2 N C`` additions, memory ``O(N C)``.

    Raises:
        ValueError: If ``pool_size`` is not odd and positive.

    Reference:
        Yu et al. 2022, equation 4.

    Differs from the paper:
        Nothing on the grid. Prefix tokens, which it does not have, get the mean of all tokens minus themselves.
    """

    def __init__(self, dim: int, num_heads: int = 1, *, pool_size: int = 3) -> None:
        super().__init__()
        if pool_size < 1 or pool_size % 2 == 0:
            raise ValueError(f"pool_size={pool_size} must be odd and positive, so that a token is in the middle")
        self.pool_size = pool_size

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        """Mix the tokens.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens that lie on a grid.
            num_prefix: Tokens in front that lie on no grid; they see the mean of all tokens, the others not them.
            padding_mask: ``(B, N)``, True where a token is padding: no mean counts it.

        Returns:
            ``(B, N, C)``.
        """
        tokens = zero_padding(tokens, padding_mask)
        nearby, everywhere = self._window_means(tokens[:, num_prefix:], grid), tokens.mean(dim=1, keepdim=True)
        if padding_mask is not None:
            # A mean that counts the padding's zeros, over the share of tokens in it, is the mean of the tokens.
            counted = (~padding_mask)[..., None].to(tokens.dtype)
            share = self._window_means(counted[:, num_prefix:], grid)
            nearby = nearby / share.clamp(min=1 / self.pool_size**2)
            everywhere = everywhere / counted.mean(dim=1, keepdim=True).clamp(min=1 / tokens.shape[1])
        return cat([everywhere.expand(-1, num_prefix, -1), nearby], dim=1) - tokens

    def _window_means(self, tokens: Tensor, grid: Grid) -> Tensor:
        pooled = F.avg_pool2d(
            tokens_to_map(tokens, grid), self.pool_size, 1, self.pool_size // 2, count_include_pad=False
        )
        return map_to_tokens(pooled)
