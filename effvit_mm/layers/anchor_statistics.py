"""What the assignments of an anchor layer say of it: how sure tokens are, how far anchors differ, how many count.

All are of the matrix S from tokens to tokens, the walk ``A diag(1 / degrees) A^T`` (Shan et al., arXiv 2505.16463) or
that of two sets of anchors, and none forms it. Where all anchors coincide, S averages all tokens; for the walk it is a
stationary point of training.
"""

import math

import torch
from torch import Tensor


def row_entropy(assignment: Tensor) -> Tensor:
    """Return how evenly tokens spread over the anchors: 1 evenly, 0 each on one.

    Args:
        assignment: Probabilities of the step token -> anchor, as :meth:`AnchorAttention.assign` returns them; rows of
            padding are 0 and do not count.

    Shape:
        assignment ``(B, N, h, M)``; returns ``(B, h)``, the mean over tokens of the entropy over ``log M``; 0 with one
        anchor.

    Cost:
        ``O(B N h M)`` time and memory.
    """
    num_anchors = assignment.shape[-1]
    entropy = torch.special.entr(assignment).sum(dim=(1, 3)) / assignment.sum(dim=(1, 3))
    return entropy / math.log(max(num_anchors, 2))


def map_similarity(assignment: Tensor) -> Tensor:
    """Return how alike the anchors are: the mean cosine between the columns of two, 1 where all coincide.

    Args:
        assignment: As for :func:`row_entropy`.

    Shape:
        assignment ``(B, N, h, M)``; returns ``(B, h)``; 0 with one anchor.

    Cost:
        ``B N h M^2`` multiply-adds; memory ``O(B h (N M + M^2))``.
    """
    maps = assignment.transpose(1, 2)  # (B, h, N, M)
    with torch.autocast(maps.device.type, enabled=False):
        products = maps.transpose(-2, -1) @ maps  # (B, h, M, M)
    norms = products.diagonal(dim1=-2, dim2=-1).sqrt().clamp(min=torch.finfo(maps.dtype).tiny)
    cosines = products / norms[..., :, None] / norms[..., None, :]
    num_anchors = maps.shape[-1]
    of_pairs = cosines.sum(dim=(-2, -1)) - cosines.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    return of_pairs / max(num_anchors * (num_anchors - 1), 1)


def effective_anchors(assignment: Tensor, gather: Tensor | None = None) -> Tensor:
    """Return how many anchors a layer works with: 1 where all coincide, M where each has tokens of its own.

    Of the walk it is the trace. Where anchors gather by one set and hand on by another, the matrix from tokens to
    tokens is not symmetric and its trace says little; there it is ``(sum of singular values)^2 / sum of their
    squares``.

    Args:
        assignment: As for :func:`row_entropy`; by it the anchors hand on.
        gather: Weights by which the anchors gather, each column summing to 1 over the tokens; None for those of the
            walk, ``A_ij / degrees_j``.

    Shape:
        assignment and gather ``(B, N, h, M)``; returns ``(B, h)``.

    Cost:
        ``O(B N h M)`` time and memory; with ``gather``, ``O(B h (N M^2 + M^3))`` time.
    """
    if gather is None:
        return (assignment * gather_weights(assignment)).sum(dim=(1, 3))
    with torch.autocast(assignment.device.type, enabled=False):
        # S = A G^T; with A = Q R and G = Q' R', its singular values are those of the small R R'^T.
        upper, other = (torch.linalg.qr(maps.transpose(1, 2), mode="r").R for maps in (assignment, gather))
        values = torch.linalg.svdvals(upper @ other.transpose(-2, -1))  # (B, h, M)
    return values.sum(dim=-1).square() / values.square().sum(dim=-1)


def gather_weights(assignment: Tensor) -> Tensor:
    """Return the step anchor -> token of the walk: ``A_ij / degrees_j``, ``(B, N, h, M)``; 0 where nobody chooses j."""
    return assignment / assignment.sum(dim=1, keepdim=True).clamp(min=torch.finfo(assignment.dtype).tiny)
