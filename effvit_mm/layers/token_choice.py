"""Which tokens take part in a layer, by a number that says how much each one matters."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from effvit_mm.layers.kept_tokens import num_kept

Select = Literal["topk", "threshold"]


class Kept(NamedTuple):
    """The tokens that take part in a layer.

    Attributes:
        places: Rising places ``(B, K)`` among the tokens, or ``(B, h, K)`` with a choice for each head.
        valid: False, in the shape of ``places``, where a place is filled but its token does not take part; None if all
            do.
    """

    places: Tensor
    valid: Tensor | None

    def as_mask(self, num_tokens: int) -> Tensor:
        """Return which of N tokens take part, ``(B, N)`` or ``(B, h, N)``."""
        valid = torch.ones_like(self.places, dtype=torch.bool) if self.valid is None else self.valid
        return valid.new_zeros(*valid.shape[:-1], num_tokens).scatter(-1, self.places, valid)


def choose_tokens(
    importance: Tensor, keep: float, *, select: Select = "topk", always: int = 0, padding: Tensor | None = None
) -> Kept:
    """Choose the tokens that matter most, each picture for itself.

    Args:
        importance: ``(B, N)`` or, with a choice for each head, ``(B, h, N)``; not negative.
        keep: Share that is kept, above 0 and at most 1.
        select: ``'topk'``: that share of the tokens, rounded up; ``'threshold'``: the fewest tokens that together have
            that share of the importance, in each picture its own number.
        always: Tokens in front that take part beside the share.
        padding: In a shape that broadcasts to that of ``importance``, True where a token is padding; it is never chosen
            while others are left.

    Cost:
        A top-k or a sort of N numbers, and a sort of the K places.
    """
    if padding is not None:
        importance = importance.masked_fill(padding, -1.0)
    order, valid = _rank(importance[..., always:], keep, select)
    index = order.sort(dim=-1)
    valid = None if valid is None else valid.gather(-1, index.indices)
    places = index.values + always
    if padding is not None:
        # Where fewer tokens than K are real, padding fills the places, and takes no part.
        real = importance.gather(-1, places) >= 0
        valid = real if valid is None else valid & real
    front = torch.arange(always, device=places.device).expand(*places.shape[:-1], always)
    if valid is not None:
        valid = torch.cat([torch.ones_like(front, dtype=torch.bool), valid], dim=-1)
    return Kept(torch.cat([front, places], dim=-1), valid)


def _rank(candidates: Tensor, keep: float, select: Select) -> tuple[Tensor, Tensor | None]:
    """Return the places of the most important of ``(..., N)``, and which of them count."""
    if select == "topk":
        return candidates.topk(num_kept(keep, candidates.shape[-1]), dim=-1, sorted=False).indices, None
    share, order = candidates.clamp(min=0).sort(dim=-1, descending=True)
    share = share / share.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(share.dtype).tiny)
    # A token counts while those before it have less than the share.
    valid = share.cumsum(dim=-1) - share < keep
    most = int(valid.sum(dim=-1).max())
    return order[..., :most], valid[..., :most]
