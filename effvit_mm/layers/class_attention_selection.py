"""EViT: the tokens that the class token attends to go on, the others as one.

Liang et al., "Not All Patches are What You Need: Expediting Vision Transformers via Token Reorganizations", ICLR 2022,
arXiv 2202.07800.
"""

from typing import Any

import torch
from torch import Tensor, cat

from effvit_mm.layers.block import Block
from effvit_mm.layers.grid import Grid
from effvit_mm.layers.heads import at_least_fp32
from effvit_mm.layers.token_reduction import Reduced, TokenSubset, gather_with_restore, most_important


class ClassAttentionSelection(TokenSubset):
    """Keep the share ``keep`` of the tokens that the class token attends to most; the others return as they left.

    It stands inside a block, behind the attention whose ``scores`` it reads and before the MLP. It has no parameters.

    Args:
        dim: Without effect: nothing depends on the channels.
        num_heads: Without effect: attention is averaged over the heads it has.
        keep: Share of the tokens that go on, above 0 and at most 1.
        fuse: Whether the others go on, too, as one token behind the kept ones: their sum, weighted by the class token's
            attention. A later selection may drop it; it is none of the tokens that are restored.

    Shape:
        tokens ``(B, N, C)``, scores ``(B, h, P, N)``; the reduced tokens are ``(B, num_prefix + K + 1, C)`` with
        ``K = ceil(keep (N - num_prefix))``, without the 1 where there is nothing to fuse, and lie on no grid.

    Cost:
        ``N C`` multiply-adds for the fused token, ``N C`` for the scores, which the block computes; a copy of the kept
        tokens, and one of all to restore.

    Raises:
        ValueError: If ``keep`` is out of range; in the forward, if there is no class token or no scores.

    Reference:
        arXiv 2202.07800, equations 3 to 5.

    Differs from the paper:
        There, tokens that are not kept are lost but for their sum. Prefix tokens behind the class token (distillation)
        are kept and have no say.
    """

    depths = (0.25, 0.5, 0.75)
    reads_attention = True

    def __init__(self, dim: int, num_heads: int = 1, *, keep: float = 0.7, fuse: bool = True) -> None:
        super().__init__()
        self.keep, self.fuse = keep, fuse

    def forward(
        self,
        tokens: Tensor,
        grid: Grid,
        *,
        num_prefix: int = 0,
        padding_mask: Tensor | None = None,
        scores: Tensor | None = None,
    ) -> Reduced:
        """Keep some tokens.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens; places have no neighbours here.
            num_prefix: Tokens in front that lie on no grid, the class token first; they are kept.
            padding_mask: ``(B, N)``, True where a token is padding: it is not kept.
            scores: ``(B, h, P, N)``: attention before its softmax, the class token's row first.
        """
        if not num_prefix or scores is None:
            raise ValueError(
                f"tokens are chosen by the class token's attention: num_prefix={num_prefix} must be at least 1, and "
                f"scores be those of its row, (B, h, 1, N)"
            )
        attention = self.importance(scores, padding_mask)[:, num_prefix:]
        padding = None if padding_mask is None else padding_mask[:, num_prefix:]
        places, spare = most_important(attention.detach(), self.keep, padding)
        front = torch.arange(num_prefix, device=tokens.device).expand(tokens.shape[0], -1)
        if spare is not None and padding_mask is not None:
            spare = cat([padding_mask[:, :num_prefix], spare], dim=1)
        kept, put_back = gather_with_restore(tokens, cat([front, places + num_prefix], dim=1), spare)
        if not self.fuse or places.shape[1] == attention.shape[1]:
            return Reduced(kept, None, put_back, spare)
        # What is kept has no share in the fused token; a place that nothing fills was none of the kept.
        is_kept = torch.ones_like(places, dtype=torch.bool) if spare is None else ~spare[:, num_prefix:]
        share = attention.masked_fill(torch.zeros_like(attention, dtype=torch.bool).scatter(1, places, is_kept), 0.0)
        with torch.autocast(tokens.device.type, enabled=False):
            fused = (share[:, None] @ tokens[:, num_prefix:].to(share.dtype)).to(tokens.dtype)  # (B, 1, C)
        mask = None
        if spare is not None and padding is not None:
            # A picture that keeps all of its tokens has none to fuse.
            nothing = is_kept.sum(dim=1, keepdim=True) == (~padding).sum(dim=1, keepdim=True)
            mask = cat([spare, nothing], dim=1)
        return Reduced(cat([kept, fused], dim=1), None, lambda mixed: put_back(mixed[:, :-1]), mask)

    @staticmethod
    def importance(scores: Tensor, padding_mask: Tensor | None) -> Tensor:
        """Return the class token's attention ``(B, N)``, its mean over the heads, from scores ``(B, h, P, N)``."""
        row = at_least_fp32(scores[:, :, 0])
        if padding_mask is not None:
            row = row.masked_fill(padding_mask[:, None], torch.finfo(row.dtype).min)
        return row.softmax(dim=-1).mean(dim=1)


def mix_and_score(
    block: Block,
    tokens: Tensor,
    grid: Grid,
    *,
    probes: Tensor,
    num_prefix: int = 0,
    padding_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the first half of a block, and return tokens ``(B, N, C)`` and scores ``(B, h, P, N)`` of some query rows."""
    mixer: Any = block.mixer
    mixed, scores = mixer(block.norm1(tokens), grid, num_prefix=num_prefix, padding_mask=padding_mask, probes=probes)
    return tokens + block.drop_path(mixed), scores
