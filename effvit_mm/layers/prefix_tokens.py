"""Learned tokens in front of those of the picture: the class token of a classifier."""

import torch
from torch import Tensor, nn


class PrefixTokens(nn.Module):
    """Join learned tokens, the same for every picture, in front of the tokens of a grid.

    Args:
        dim: Channels C of a token.
        num_tokens: How many; 1 is a class token.

    Shape:
        tokens ``(B, N, C)``; returns ``(B, num_tokens + N, C)``.

    Cost:
        A copy of the tokens.

    Raises:
        ValueError: If ``num_tokens`` is less than 1.

    Reference:
        Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, equation 1 (``x_class``).

    Differs from the paper:
        Drawn from a normal of std 0.02 cut at two units, where ViT starts from 0.
    """

    def __init__(self, dim: int, num_tokens: int = 1) -> None:
        super().__init__()
        if num_tokens < 1:
            raise ValueError(f"num_tokens={num_tokens} must be at least 1")
        self.num_tokens = num_tokens
        self.tokens = nn.Parameter(torch.empty(1, num_tokens, dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the tokens."""
        nn.init.trunc_normal_(self.tokens, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Join the prefix in front of tokens ``(B, N, C)``."""
        prefix = self.tokens.to(tokens.dtype).expand(tokens.shape[0], -1, -1)
        return torch.cat([prefix, tokens], dim=1)
