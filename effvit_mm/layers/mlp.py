"""The channel-mixing half of a block: a two-layer MLP, plain or with a depth-wise convolution inside."""

import torch
from torch import Tensor, cat, nn
from torch.utils.checkpoint import checkpoint

from effvit_mm.layers.grid import Grid, map_to_tokens, tokens_to_map


class Mlp(nn.Module):
    """Two linear layers with a GELU between them.

    Args:
        dim: Channels C of a token.
        hidden_dim: Channels R C between the layers.
        drop: Dropout probability after the second layer.
        recompute_act: Compute the GELU again in the backward pass instead of keeping what it gives.

    Shape:
        tokens ``(B, N, C)``; returns ``(B, N, C)``.

    Cost:
        ``2 R N C^2`` multiply-adds. Training keeps ``2 R N C`` numbers, half of them with ``recompute_act``.

    Reference:
        Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, equation 3.

    Differs from the paper:
        Nothing.
    """

    def __init__(self, dim: int, hidden_dim: int, *, drop: float = 0.0, recompute_act: bool = False) -> None:
        super().__init__()
        self.recompute_act = recompute_act
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0) -> Tensor:
        """Mix the channels of every token ``(B, N, C)``; ``grid`` and ``num_prefix`` have no effect here."""
        return self.drop(self.project(self.fc1(tokens)))

    def project(self, hidden: Tensor) -> Tensor:
        """Apply the GELU and the second layer to ``(B, N, R C)``."""
        if self.recompute_act and torch.is_grad_enabled():
            # Nothing is computed twice but the GELU: recomputing stops once the second layer has its input.
            return checkpoint(self._project, hidden, use_reentrant=False, preserve_rng_state=False)
        return self._project(hidden)

    def _project(self, hidden: Tensor) -> Tensor:
        return self.fc2(self.act(hidden))


class MixMlp(Mlp):
    """The MLP with a 3x3 depth-wise convolution before its GELU, which also tells tokens where they are.

    Zero padding at the border leaks the position, so a pyramid of these blocks needs no position table.

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
        Wang et al., "PVT v2", 2022, section 3.2; Xie et al., "SegFormer", NeurIPS 2021, equation 3 (Mix-FFN).

    Differs from the paper:
        Prefix tokens, which the papers do not have, skip the convolution.
    """

    def __init__(self, dim: int, hidden_dim: int, *, drop: float = 0.0, recompute_act: bool = False) -> None:
        super().__init__(dim, hidden_dim, drop=drop, recompute_act=recompute_act)
        self.dwconv = nn.Conv2d(hidden_dim, hidden_dim, 3, padding=1, groups=hidden_dim)

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0) -> Tensor:
        """Mix channels, and places that touch: tokens ``(B, num_prefix + H * W, C)`` on grid ``(H, W)``."""
        hidden = self.fc1(tokens)
        prefix, on_grid = hidden[:, :num_prefix], hidden[:, num_prefix:]
        hidden = map_to_tokens(self.dwconv(tokens_to_map(on_grid, grid)))
        if num_prefix:
            hidden = cat([prefix, hidden], dim=1)
        return self.drop(self.project(hidden))
