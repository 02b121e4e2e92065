"""DynamicViT: a small network on the tokens decides which of them go on.

Rao et al., "DynamicViT: Efficient Vision Transformers with Dynamic Token Sparsification", NeurIPS 2021, arXiv
2106.02034.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, cat, nn

from effvit_mm.layers.block import Block
from effvit_mm.layers.grid import Grid
from effvit_mm.layers.heads import at_least_fp32, zero_padding
from effvit_mm.layers.token_reduction import Reduced, TokenSubset, gather_with_restore, most_important


class PredictedSelection(TokenSubset):
    """Keep the share ``keep`` of the tokens by a predicted score; the others wait, and return as they left.

    In training nothing is left out: a hard decision is drawn for each token (Gumbel-softmax, straight-through), in
    number as it falls, and given as the ``policy`` by which :func:`mix_with_policy` runs the layers and ``restore``
    undoes them for tokens that were decided against. So the decisions have gradients, and training computes what
    evaluation would with the same decisions. :func:`keep_ratio_loss` pulls their number to the share.

    Args:
        dim: Channels C of a token, at least 4.
        num_heads: Without effect: the predictor has no heads.
        keep: Share of the tokens that go on, above 0 and at most 1.

    Shape:
        tokens ``(B, N, C)``; in evaluation the reduced ones are ``(B, num_prefix + K, C)`` with
        ``K = ceil(keep (N - num_prefix))`` and lie on no grid, in training they are all.

    Cost:
        ``N (C^2 + C^2 / 2 + C^2 / 8 + C / 2)`` multiply-adds; a copy of the kept tokens, and one of all to restore.

    Raises:
        ValueError: If ``keep`` or ``dim`` is out of range.

    Reference:
        arXiv 2106.02034, equations 1 to 10.

    Differs from the paper:
        There, a token decided against is lost. Here it keeps what it has, in training too. A level keeps a share of
        the tokens that reach it, rounded up. Prefix tokens are no part of the global feature.
    """

    depths = (0.25, 0.5, 0.75)
    decides = True

    def __init__(self, dim: int, num_heads: int = 1, *, keep: float = 0.7) -> None:
        super().__init__()
        if dim < 4:
            raise ValueError(f"dim={dim} must be at least 4 channels, which the predictor halves twice")
        self.keep = keep
        self.norm = nn.LayerNorm(dim)
        self.embed = nn.Linear(dim, dim)
        self.score = nn.Sequential(
            nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, dim // 4), nn.GELU(), nn.Linear(dim // 4, 2)
        )

    def forward(
        self,
        tokens: Tensor,
        grid: Grid,
        *,
        num_prefix: int = 0,
        padding_mask: Tensor | None = None,
        policy: Tensor | None = None,
    ) -> Reduced:
        """Keep some tokens.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens; places have no neighbours here.
            num_prefix: Tokens in front that lie on no grid; they are kept.
            padding_mask: ``(B, N)``, True where a token is padding: it is not kept.
            policy: ``(B, N)``, the decisions of a selection before this one, in training; None if all take part.
        """
        padding = None if padding_mask is None else padding_mask[:, num_prefix:]
        taking_part = None if policy is None else policy[:, num_prefix:]
        scores = self.scores(tokens[:, num_prefix:], padding, taking_part)
        if self.training:
            decided = F.gumbel_softmax(scores, hard=True, dim=-1)[..., 0]
            decided = decided if taking_part is None else decided * taking_part
            decisions = F.pad(decided.to(tokens.dtype), (num_prefix, 0), value=1.0)
            return Reduced(tokens, grid, lambda mixed: blend(tokens, mixed, decisions), padding_mask, decisions)
        places, spare = most_important((scores[..., 0] - scores[..., 1]).detach(), self.keep, padding)
        front = torch.arange(num_prefix, device=tokens.device).expand(tokens.shape[0], -1)
        if spare is not None and padding_mask is not None:
            spare = cat([padding_mask[:, :num_prefix], spare], dim=1)
        kept, restore = gather_with_restore(tokens, cat([front, places + num_prefix], dim=1), spare)
        return Reduced(kept, None, restore, spare)

    def scores(self, tokens: Tensor, padding: Tensor | None = None, policy: Tensor | None = None) -> Tensor:
        """Return log-probabilities ``(B, N, 2)`` that a token of ``(B, N, C)`` goes on, and that it does not.

        Args:
            tokens: ``(B, N, C)``, without prefix.
            padding: ``(B, N)``, True where a token is padding.
            policy: ``(B, N)``, earlier decisions: tokens that were decided against are no part of the global feature.
        """
        embedded = F.gelu(self.embed(self.norm(tokens)))
        local, wide = embedded.tensor_split([embedded.shape[-1] // 2], dim=-1)
        with torch.autocast(tokens.device.type, enabled=False):
            wide = at_least_fp32(zero_padding(wide, padding))
            if policy is None and padding is None:
                everywhere = wide.mean(dim=1, keepdim=True)
            else:
                weight = torch.ones_like(wide[..., 0]) if policy is None else policy.to(wide.dtype)
                weight = weight if padding is None else weight.masked_fill(padding, 0.0)
                # At least one: all tokens may have been decided against.
                total = weight.sum(dim=1).clamp(min=1.0)[:, None, None]
                everywhere = (wide * weight[..., None]).sum(dim=1, keepdim=True) / total
        scores = self.score(cat([local, everywhere.to(local.dtype).expand(-1, local.shape[1], -1)], dim=-1))
        return at_least_fp32(scores).log_softmax(dim=-1)


def keep_ratio_loss(policy: Tensor, share: float, num_prefix: int, padding_mask: Tensor | None = None) -> Tensor:
    """Return the mean over pictures of the squared distance between the share that was decided for and ``share``.

    Args:
        policy: ``(B, N)`` of a :class:`Reduced`.
        share: Of all tokens behind the prefix.
        num_prefix: Tokens in front, which do not count.
        padding_mask: ``(B, N)``, True where a token is padding, which does not count.

    Reference:
        arXiv 2106.02034, equation 14.
    """
    on_grid = at_least_fp32(policy[:, num_prefix:])
    if padding_mask is None:
        return (on_grid.mean(dim=1) - share).square().mean()
    real = (~padding_mask[:, num_prefix:]).to(on_grid.dtype)
    return ((on_grid * real).sum(dim=1) / real.sum(dim=1).clamp(min=1.0) - share).square().mean()


def blend(before: Tensor, after: Tensor, policy: Tensor) -> Tensor:
    """Take tokens ``(B, N, C)`` from ``after`` where the policy ``(B, N)`` is 1, and from ``before`` where it is 0."""
    return before + policy[..., None] * (after - before)


def mix_with_policy(
    block: Block,
    tokens: Tensor,
    grid: Grid,
    *,
    policy: Tensor,
    num_prefix: int = 0,
    padding_mask: Tensor | None = None,
) -> Tensor:
    """Run a block of softmax attention in which tokens attend to those that take part, and to themselves.

    Args:
        block: With a :class:`~effvit_mm.layers.SelfAttention`.
        tokens: ``(B, N, C)``.
        grid: ``(H, W)`` of the tokens behind the prefix.
        policy: ``(B, N)``, 1 or 0, with a gradient.
        num_prefix: Tokens in front that lie on no grid.
        padding_mask: ``(B, N)``, True where a token is padding.

    Cost:
        As the block, and ``O(h N^2)`` memory: no fused kernel gives keys that are left out a gradient.

    Reference:
        arXiv 2106.02034, equations 11 to 13.
    """
    mixer: Any = block.mixer
    query, key, value = mixer.project(block.norm1(tokens))
    with torch.autocast(tokens.device.type, enabled=False):
        scores = at_least_fp32(query) * query.shape[-1] ** -0.5 @ at_least_fp32(key).transpose(-2, -1)
        if padding_mask is not None:
            scores = scores.masked_fill(padding_mask[:, None, None], torch.finfo(scores.dtype).min)
        taking_part = policy.to(scores.dtype)[:, None, None]  # (B, 1, 1, N)
        itself = torch.eye(tokens.shape[1], dtype=scores.dtype, device=tokens.device)
        seen = taking_part + (1 - taking_part) * itself
        # The largest of those seen: a key that is left out and leads by far would leave nothing of the others.
        largest = scores.masked_fill(seen == 0, torch.finfo(scores.dtype).min).amax(dim=-1, keepdim=True)
        # Nor may it overflow on its way to being multiplied by 0.
        weights = (scores - largest.detach()).clamp(max=60.0).exp() * seen
        weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        mixed = (weights @ value.to(weights.dtype)).to(value.dtype)
    return block.mix_channels(tokens + block.drop_path(mixer.merge(mixed)), grid, num_prefix=num_prefix)
