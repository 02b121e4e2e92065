"""Enhanced Mix-FFN: the convolution of a Mix-FFN beside a skip path, and a norm behind both.

Huang et al., "MISSFormer: An Effective Medical Image Segmentation Transformer", 2021, section 3.2.
"""

from torch import Tensor, cat, nn

from effvit_mm.layers.grid import Grid, map_to_tokens, tokens_to_map
from effvit_mm.layers.mlp import Mlp


class EnhancedMixMlp(Mlp):
    """Two linear layers with ``gelu(norm(u + dwconv(u)))`` between them.

    Args:
        dim: Channels C of a token.
        hidden_dim: Channels R C between the layers.
        drop: Dropout probability after the second layer.
        recompute_act: As for :class:`Mlp`.

    Shape:
        tokens ``(B, N, C)``, grid ``(H, W)``; returns ``(B, N, C)``.

    Cost:
        ``2 R N C^2 + 9 R N C`` multiply-adds.

    Reference:
        Huang et al. 2021, equation 3.

    Differs from the paper:
        One skip, as released, not the recursive form. Prefix tokens, which it does not have, skip the convolution.
    """

    def __init__(self, dim: int, hidden_dim: int, *, drop: float = 0.0, recompute_act: bool = False) -> None:
        super().__init__(dim, hidden_dim, drop=drop, recompute_act=recompute_act)
        self.dwconv = nn.Conv2d(hidden_dim, hidden_dim, 3, padding=1, groups=hidden_dim)
        self.norm = nn.LayerNorm(hidden_dim)

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0) -> Tensor:
        """Mix channels, and places that touch: tokens ``(B, num_prefix + H * W, C)`` on grid ``(H, W)``."""
        hidden = self.fc1(tokens)
        prefix, on_grid = hidden[:, :num_prefix], hidden[:, num_prefix:]
        hidden = on_grid + map_to_tokens(self.dwconv(tokens_to_map(on_grid, grid)))
        if num_prefix:
            hidden = cat([prefix, hidden], dim=1)
        return self.drop(self.project(self.norm(hidden)))
