"""Dual attention: efficient attention over the places, then transpose attention over the channels.

Azad et al., "DAE-Former: Dual Attention-guided Efficient Transformer for Medical Image Segmentation", 2022, section 2.
"""

from torch import Tensor, nn

from effvit_mm.layers.cross_covariance import CrossCovarianceAttention
from effvit_mm.layers.efficient_attention import EfficientAttention
from effvit_mm.layers.grid import Grid


class DualAttention(nn.Module):
    """Spatial context first, channel context of what it gave second; both linear in the tokens.

    ``spatial = efficient(tokens)``, ``out = spatial + transpose(norm(tokens + spatial))``.

    Args:
        dim: Channels C of a token.
        num_heads: Heads of the transpose attention; must divide ``dim``.
        spatial_heads: Heads of the efficient attention; must divide ``dim``.
        qkv_bias: Whether the two query-key-value projections have biases.
        proj_drop: Dropout probability after the output projections.

    Shape:
        tokens ``(B, N, C)``; returns ``(B, N, C)``.

    Cost:
        ``8 N C^2 + 2 N C (d + C / spatial_heads)`` multiply-adds; memory ``O(N C + C^2 / spatial_heads)``.

    Raises:
        ValueError: If ``num_heads`` or ``spatial_heads`` does not divide ``dim``.

    Reference:
        Azad et al. 2022, section 2.3.

    Differs from the paper:
        A mixer, so the block has the outer residual path and one MLP behind both attentions; the paper has a Mix-FFN
        between them too, and adds the channels' attention to the tokens where here its norm reads the sum that is yet
        to be added. One head for the efficient attention is what the released code computes.
    """

    def __init__(
        self, dim: int, num_heads: int, *, spatial_heads: int = 1, qkv_bias: bool = True, proj_drop: float = 0.0
    ) -> None:
        super().__init__()
        if spatial_heads < 1 or dim % spatial_heads:
            raise ValueError(f"spatial_heads={spatial_heads} must divide dim={dim}")
        self.spatial = EfficientAttention(dim, spatial_heads, qkv_bias=qkv_bias, proj_drop=proj_drop)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.channel = CrossCovarianceAttention(dim, num_heads, local=False, qkv_bias=qkv_bias, proj_drop=proj_drop)

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        """Mix the tokens, then their channels.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens; this mixer looks at no positions.
            num_prefix: Tokens in front that lie on no grid; they are tokens like the others here.
            padding_mask: ``(B, N)``, True where a token is padding: it gives nothing to the others.

        Returns:
            ``(B, N, C)``.
        """
        spatial = self.spatial(tokens, grid, num_prefix=num_prefix, padding_mask=padding_mask)
        seen = self.norm(tokens + spatial)
        return spatial + self.channel(seen, grid, num_prefix=num_prefix, padding_mask=padding_mask)
