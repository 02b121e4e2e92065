"""The pre-norm block every backbone here is made of."""

from typing import Any

from torch import Tensor, nn

from effvit_mm.layers.grid import Grid


class Block(nn.Module):
    """Mix tokens, then channels, each behind a LayerNorm and beside a residual path.

    Args:
        dim: Channels C of a token.
        mixer: The token mixer, or None for a block that mixes channels only; such a block has no ``norm1``.
        mlp: The channel mixer.
        drop_path: Probability with which a picture skips a branch in training.
        norm_eps: Epsilon of the LayerNorms.

    Shape:
        tokens ``(B, N, C)``; returns ``(B, N, C)``.

    Cost:
        That of the mixer and the MLP.

    Reference:
        Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, equations 2 and 3; stochastic depth: Huang et
        al., ECCV 2016.

    Differs from the paper:
        Nothing.
    """

    def __init__(
        self, dim: int, mixer: nn.Module | None, mlp: nn.Module, *, drop_path: float = 0.0, norm_eps: float = 1e-6
    ) -> None:
        super().__init__()
        if mixer is not None:
            self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.mixer = mixer
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = mlp
        self.drop_path = _stochastic_depth(drop_path)

    def forward(
        self,
        tokens: Tensor,
        grid: Grid,
        *,
        num_prefix: int = 0,
        padding_mask: Tensor | None = None,
        probes: Tensor | None = None,
    ) -> Any:
        """Apply the block to tokens ``(B, num_prefix + H * W, C)``.

        ``padding_mask`` ``(B, N)`` goes to the mixer. With ``probes`` ``(P,)``, which softmax attention takes, what is
        returned is a pair of the tokens and the scores ``(B, h, P, N)`` of those query rows.
        """
        if probes is None:
            tokens = self.mix_tokens(tokens, grid, num_prefix=num_prefix, padding_mask=padding_mask)
            return self.mix_channels(tokens, grid, num_prefix=num_prefix)
        if self.mixer is None:
            raise ValueError("a block without a mixer has no scores; call it without probes")
        mixed, scores = self.mixer(
            self.norm1(tokens), grid, num_prefix=num_prefix, padding_mask=padding_mask, probes=probes
        )
        return self.mix_channels(tokens + self.drop_path(mixed), grid, num_prefix=num_prefix), scores

    def mix_tokens(
        self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None
    ) -> Tensor:
        """Apply the first half, the mixer and its residual path."""
        if self.mixer is None:
            return tokens
        mixed = self.mixer(self.norm1(tokens), grid, num_prefix=num_prefix, padding_mask=padding_mask)
        return tokens + self.drop_path(mixed)

    def mix_channels(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0) -> Tensor:
        """Apply the second half, the MLP and its residual path."""
        return tokens + self.drop_path(self.mlp(self.norm2(tokens), grid, num_prefix=num_prefix))


def _stochastic_depth(rate: float) -> nn.Module:
    if rate == 0:
        return nn.Identity()
    # Importing timm takes longer than importing torch: it waits until a network needs it.
    from timm.layers import DropPath

    return DropPath(rate)
