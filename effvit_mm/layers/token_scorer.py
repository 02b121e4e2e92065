"""How much each token matters, read off the token itself, and how the task teaches that."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effvit_mm.layers.heads import at_least_fp32, without_padding
from effvit_mm.layers.removed_parameters import WithoutRemovedParameters
from effvit_mm.layers.token_choice import Kept


class TokenScorer(WithoutRemovedParameters):
    """Score tokens one by one: norm, a layer of a quarter of their channels, one number.

    Args:
        dim: Channels C of a token.

    Shape:
        tokens ``(B, N, C)``; returns the log of their shares of all importance, ``(B, N)``, at least fp32.

    Cost:
        ``N (C^2 / 4 + C / 4)`` multiply-adds.

    Raises:
        ValueError: If there are less than 4 channels.

    Reference:
        In the manner of DynamicViT, arXiv 2106.02034, equations 1 to 4, without its global feature.
    """

    removed_parameters = ("fc2.bias",)  # a shift of all scores, which the softmax takes out

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim < 4:
            raise ValueError(f"dim={dim} must be at least 4 channels, a quarter of which the scorer works with")
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, dim // 4)
        self.fc2 = nn.Linear(dim // 4, 1, bias=False)

    def reset_parameters(self) -> None:
        """Draw both layers as torch does; with small weights all tokens would be alike, and learn slowly to differ."""
        self.fc1.reset_parameters()
        self.fc2.reset_parameters()

    def forward(self, tokens: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Score tokens ``(B, N, C)`` as they are given: no gradient leaves by them.

        Args:
            tokens: ``(B, N, C)``.
            padding_mask: ``(B, N)``, True where a token is padding, which has next to no share.
        """
        scores = at_least_fp32(self.fc2(F.gelu(self.fc1(self.norm(tokens.detach()))))[..., 0])
        if padding_mask is not None:
            scores = without_padding(scores, padding_mask)
        return scores.log_softmax(dim=-1)


def leaning(log_shares: Tensor, kept: Kept, always: int) -> Tensor:
    """Return zeros ``(B, N)`` whose gradient raises the score of a token that more of a layer would serve.

    What a layer does to a token, times one more than this, is what it does; the gradient is that of a soft choice, a
    sigmoid around the least score that was kept (straight through).

    Args:
        log_shares: ``(B, N)``, of a :class:`TokenScorer`.
        kept: What was chosen by them.
        always: Tokens in front that are kept whatever their score is.
    """
    chosen = log_shares.detach().gather(1, kept.places[:, always:])
    if kept.valid is not None:
        chosen = chosen.masked_fill(~kept.valid[:, always:], torch.inf)
    soft = torch.sigmoid(log_shares - chosen.amin(dim=1, keepdim=True))
    return F.pad((soft - soft.detach())[:, always:], (always, 0))
