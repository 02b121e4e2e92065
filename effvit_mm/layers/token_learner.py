"""TokenLearner and TokenFuser: a handful of tokens learned from the picture, and the way back to every place.

Ryoo et al., "TokenLearner: What Can 8 Learned Tokens Do for Images and Videos?", NeurIPS 2021, arXiv 2106.11297.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from effvit_mm.layers.grid import Grid
from effvit_mm.layers.heads import at_least_fp32, zero_padding
from effvit_mm.layers.removed_parameters import WithoutRemovedParameters
from effvit_mm.layers.token_reduction import Reduced, TokenReducer

FIRST_FUSED = 1e-2


class TokenLearner(WithoutRemovedParameters, TokenReducer):
    """Sum the tokens with S learned sets of weights, each a softmax over the places: S tokens of the whole picture.

    Args:
        dim: Channels C of a token.
        num_heads: Without effect: learned tokens have no heads.
        num_tokens: Tokens S that are learned.
        bottleneck: Channels between the two layers that score the places, and those of the fuser.

    Shape:
        tokens ``(B, N, C)``; the reduced ones ``(B, num_prefix + S, C)`` lie on no grid, and ``restore`` adds to every
        place what a :class:`TokenFuser` makes of them.

    Cost:
        ``N R (C + S) + N S C`` multiply-adds with a bottleneck of R channels, and ``O(N (R + S))`` memory; as much
        again, and ``S^2 C``, to restore.

    Raises:
        ValueError: If ``num_tokens`` or ``bottleneck`` is below 1; on restoring after :meth:`without_restore`.

    Reference:
        arXiv 2106.11297, section 2.1, in the form of the authors' version 1.1 (a softmax over the places behind an MLP
        in place of sigmoids behind convolutions), which they recommend.

    Differs from the paper:
        Prefix tokens, which it does not have, pass by. Sums over the places run in fp32. The last layer of the scores
        has no bias: the softmax takes it out. GELU is exact and the norm's eps 1e-5, torch's defaults, where the
        authors' code has those of Flax: the tanh approximation and 1e-6.
    """

    depths = (0.5,)
    removed_parameters = ("score.2.bias",)  # a shift of all places, which the softmax takes out

    def __init__(self, dim: int, num_heads: int = 1, *, num_tokens: int = 8, bottleneck: int = 64) -> None:
        super().__init__()
        if num_tokens < 1 or bottleneck < 1:
            raise ValueError(f"num_tokens={num_tokens} and bottleneck={bottleneck} must be at least 1")
        self.num_tokens = num_tokens
        self.norm = nn.LayerNorm(dim)
        self.score = nn.Sequential(nn.Linear(dim, bottleneck), nn.GELU(), nn.Linear(bottleneck, num_tokens, bias=False))
        self.fuser: TokenFuser | None = TokenFuser(dim, num_tokens, bottleneck=bottleneck)

    def forward(
        self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None
    ) -> Reduced:
        """Learn the tokens.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens; places have no neighbours here.
            num_prefix: Tokens in front that lie on no grid; they pass by.
            padding_mask: ``(B, N)``, True where a token is padding: it has no weight.
        """
        on_grid = tokens[:, num_prefix:]
        scores = self.score(self.norm(on_grid))  # (B, H W, S)
        prefix_mask = None
        if padding_mask is not None:
            scores = scores.masked_fill(padding_mask[:, num_prefix:, None], torch.finfo(scores.dtype).min)
            on_grid = zero_padding(on_grid, padding_mask[:, num_prefix:])
            prefix_mask = nn.functional.pad(padding_mask[:, :num_prefix], (0, self.num_tokens))
        with torch.autocast(tokens.device.type, enabled=False):
            weights = at_least_fp32(scores).softmax(dim=1)
            learned = (weights.transpose(1, 2) @ on_grid.to(weights.dtype)).to(tokens.dtype)  # (B, S, C)
        reduced = torch.cat([tokens[:, :num_prefix], learned], dim=1)
        return Reduced(reduced, None, self._restore(tokens[:, num_prefix:], num_prefix), prefix_mask)

    def without_restore(self) -> None:
        """Drop the fuser."""
        self.fuser = None

    def _restore(self, on_grid: Tensor, num_prefix: int) -> Callable[[Tensor], Tensor]:
        def restore(tokens: Tensor) -> Tensor:
            if self.fuser is None:
                raise ValueError("this TokenLearner was told to do without its fuser; build one that restores")
            fused = on_grid + self.fuser(tokens[:, num_prefix:], on_grid)
            return torch.cat([tokens[:, :num_prefix], fused], dim=1)

        return restore


class TokenFuser(WithoutRemovedParameters):
    """Hand S tokens to N places: mix them with each other, then give each place a gated sum of them.

    Args:
        dim: Channels C of a token.
        num_tokens: Tokens S.
        bottleneck: Channels R between the two layers of the gates.

    Shape:
        tokens ``(B, S, C)``, places ``(B, N, C)``; returns what is to be added to the places, ``(B, N, C)``.

    Cost:
        ``S^2 C + N R (C + S) + N S C`` multiply-adds.

    Reference:
        arXiv 2106.11297, section 2.2, equation 3.

    Differs from the paper:
        What it adds starts small by the scale of the second norm. The authors' code starts from a mixing matrix of
        zeros in front of that norm, which then multiplies the first gradients by the root of its 1 / eps; and it has a
        bias there, which the norm takes out. GELU and eps: as :class:`TokenLearner`.
    """

    removed_parameters = ("mix.bias",)  # a shift of all channels, which the norm behind it takes out

    def __init__(self, dim: int, num_tokens: int, *, bottleneck: int = 64) -> None:
        super().__init__()
        self.norm_tokens = nn.LayerNorm(dim)
        self.mix = nn.Linear(num_tokens, num_tokens, bias=False)
        self.norm_mixed = nn.LayerNorm(dim)
        self.norm_places = nn.LayerNorm(dim)
        self.gate = nn.Sequential(nn.Linear(dim, bottleneck), nn.GELU(), nn.Linear(bottleneck, num_tokens))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the mixing matrix as torch does, and let little through at first."""
        self.mix.reset_parameters()
        nn.init.constant_(self.norm_mixed.weight, FIRST_FUSED)
        nn.init.zeros_(self.norm_mixed.bias)

    def forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Return what tokens ``(B, S, C)`` give to places ``(B, N, C)``."""
        mixed = self.mix(self.norm_tokens(tokens).transpose(1, 2)).transpose(1, 2)
        gates = self.gate(self.norm_places(places)).sigmoid()  # (B, N, S)
        return gates @ self.norm_mixed(mixed).to(gates.dtype)
