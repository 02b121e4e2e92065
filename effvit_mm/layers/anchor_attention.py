"""Anchor attention: tokens exchange information through a few learned anchors.

Shan et al., "AnchorFormer: Differentiable Anchor Attention for Efficient Vision Transformer", arXiv 2505.16463. The
operator is a two-step random walk, token -> anchor -> token, whose transition matrix ``A diag(1 / degrees) A^T`` is
never formed. It averages and is symmetric: what one token gives another, it gets. The form with two sets of anchors
(``mode='apart'``, ours) is neither.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effvit_mm.layers.grid import Grid, map_to_tokens, tokens_to_map
from effvit_mm.layers.heads import at_least_fp32, check_heads, merge_heads, split_heads, visible

AnchorMode = Literal["paper", "cosine", "apart"]
AnchorLocal = Literal["none", "dwconv"]

INITIAL_TEMPERATURE = 0.1
MIN_TEMPERATURE = 0.01


class AnchorAttention(nn.Module):
    """Mix N tokens through M anchors, the learned rows of one small weight matrix.

    With keys ``K`` and values ``V`` a linear image of the tokens, a head computes

    ``A = softmax(logits)`` over the anchors, ``contexts = diag(1 / degrees) A^T V``, ``out = A contexts``,

    where ``degrees`` sums A over the tokens. There is no query. The softmax, the degrees and the contexts are computed
    in fp32 whatever the autocast dtype: a degree is a sum of up to N probabilities and passes the range of fp16 at
    800x1344 pixels.

    With ``mode='apart'``, one set of anchors G gathers and another, U, distributes:

    ``contexts = softmax(G K^T / t) V`` over the tokens, ``out = softmax(K U^T / t) contexts`` over the anchors,

    with keys and anchors of unit norm and a temperature t: both steps are torch's fused attention, and a token may give
    much and take little.

    Args:
        dim: Channels C of a token.
        num_heads: Heads h; must divide ``dim``.
        num_anchors: Anchors M of the layer.
        mode: ``'paper'``: logits ``K U^T / sqrt(d)`` with torch's Linear initialisation of U, as released.
            ``'cosine'``: unit-norm keys and anchors over a learned temperature per head (0.1 at the start, never below
            0.01), so that the anchors differ from the first step on. ``'apart'``: the same logits, with two sets of
            anchors.
        shared_anchors: One set of anchors for all heads (the paper) or one for each.
        local: ``'dwconv'`` adds a 3x3 depth-wise convolution of V before the output projection.
        qkv_bias: Whether the key-value projection has a bias (the paper: no).
        proj_drop: Dropout probability after the output projection.

    Shape:
        tokens ``(B, N, C)``, grid ``(H, W)`` with ``num_prefix + H * W == N``; returns ``(B, N, C)``.

    Cost:
        ``3 N C^2 + 3 N M C`` multiply-adds (``+ 9 N C`` with the local branch), against ``4 N C^2 + 2 N^2 C`` of
        softmax attention; memory ``O(N (C + h M))``. Parameters ``3 C^2 + C + M d`` with shared anchors, and a
        temperature a head where the mode has one. With ``mode='apart'``, ``3 N C^2 + 4 N M C`` multiply-adds and
        ``M d`` parameters more; memory ``O(N C)`` where a fused kernel runs.

        Of the forms of the walk that are safe in half precision, fp32 products as they stand here are the fastest on a
        CPU, or tie with other orders of the axes. Both steps as fused attention, the first masked by each token's
        ``-logsumexp``, take 1.4 to 2.9 times as long, since the logits are then computed three times
        (``tests/benchmarks/anchor_attention.py``, which also runs on a GPU).

    Raises:
        ValueError: If ``num_heads`` does not divide ``dim``, or ``num_anchors``, ``mode`` or ``local`` is not allowed.

    Reference:
        arXiv 2505.16463; the order of operations is that of the authors' released module.

    Differs from the paper:
        ``mode='paper'`` with the defaults: nothing but the fp32 accumulation. ``'cosine'``, ``'apart'``, per-head
        anchors and the local branch are ours.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        num_anchors: int = 30,
        mode: AnchorMode = "apart",
        shared_anchors: bool = True,
        local: AnchorLocal = "none",
        qkv_bias: bool = False,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        if num_anchors < 1:
            raise ValueError(f"num_anchors={num_anchors} must be at least 1")
        if mode not in ("paper", "cosine", "apart"):
            raise ValueError(f"mode={mode!r} must be 'paper', 'cosine' or 'apart'")
        if local not in ("none", "dwconv"):
            raise ValueError(f"local={local!r} must be 'none' or 'dwconv'")
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.mode = mode
        self.key_value = nn.Linear(dim, 2 * dim, bias=qkv_bias)
        anchor_shape = (num_anchors, self.head_dim) if shared_anchors else (num_heads, num_anchors, self.head_dim)
        self.anchors = nn.Parameter(torch.empty(anchor_shape))
        self.gather_anchors = nn.Parameter(torch.empty(anchor_shape)) if mode == "apart" else None
        self.log_temperature = nn.Parameter(torch.empty(num_heads)) if mode != "paper" else None
        self.local = nn.Conv2d(dim, dim, 3, padding=1, groups=dim) if local == "dwconv" else None
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the anchors and set the temperature; the projections belong to the network's initialisation."""
        for anchors in self.anchors.unbind() if self.anchors.ndim == 3 else (self.anchors,):
            if self.mode == "paper":
                nn.init.uniform_(anchors, -1 / math.sqrt(self.head_dim), 1 / math.sqrt(self.head_dim))
            elif self.mode == "cosine" and anchors.shape[0] <= self.head_dim:
                nn.init.orthogonal_(anchors)
            else:
                nn.init.normal_(anchors)
        if self.gather_anchors is not None:
            nn.init.normal_(self.gather_anchors)
        if self.log_temperature is not None:
            nn.init.constant_(self.log_temperature, math.log(INITIAL_TEMPERATURE))

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        """Mix the tokens.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens that lie on a grid.
            num_prefix: Tokens in front that lie on no grid; they take part, and skip the local branch.
            padding_mask: ``(B, N)``, True where a token is padding: it gives nothing to the others.

        Returns:
            ``(B, N, C)``.
        """
        keys, values = self.key_value(tokens).chunk(2, dim=-1)  # (B, N, C) each
        if self.gather_anchors is not None:
            mixed = self.exchange(keys, values, padding_mask)  # (B, N, C)
        else:
            assignment = self.assign(keys)  # (B, N, h, M)
            if padding_mask is not None:
                assignment = assignment.masked_fill(padding_mask[:, :, None, None], 0.0)
            mixed = self.walk(assignment, values)  # (B, N, C)
        if self.local is not None:
            on_grid = values[:, num_prefix:]
            if padding_mask is not None:
                on_grid = on_grid.masked_fill(padding_mask[:, num_prefix:, None], 0.0)
            nearby = map_to_tokens(self.local(tokens_to_map(on_grid, grid)))
            mixed = mixed + F.pad(nearby, (0, 0, num_prefix, 0))
        return self.proj_drop(self.proj(mixed))

    def assign(self, keys: Tensor) -> Tensor:
        """Return the step token -> anchor: probabilities ``(B, N, h, M)``, at least fp32, from keys ``(B, N, C)``."""
        return self.logits(keys, self.anchors).softmax(dim=-1)

    def logits(self, keys: Tensor, anchors: Tensor) -> Tensor:
        """Compare keys ``(B, N, C)`` with anchors ``(M, d)`` or ``(h, M, d)``: ``(B, N, h, M)``, at least fp32."""
        keys = keys.unflatten(-1, (self.num_heads, self.head_dim))  # (B, N, h, d)
        with torch.autocast(keys.device.type, enabled=False):
            keys, anchors = at_least_fp32(keys), at_least_fp32(anchors)
            if self.log_temperature is None:
                anchors = anchors / math.sqrt(self.head_dim)
            else:
                temperature = at_least_fp32(self.log_temperature).exp().clamp(min=MIN_TEMPERATURE)
                keys = F.normalize(keys, dim=-1) / temperature[:, None]
                anchors = F.normalize(anchors, dim=-1)
            return keys @ anchors.T if anchors.ndim == 2 else torch.einsum("bnhd,hmd->bnhm", keys, anchors)

    def walk(self, assignment: Tensor, values: Tensor) -> Tensor:
        """Take both steps of the walk: gather values ``(B, N, C)`` at the anchors, distribute them to the tokens."""
        values = values.unflatten(-1, (self.num_heads, self.head_dim))
        with torch.autocast(values.device.type, enabled=False):
            to_tokens = assignment.transpose(1, 2)  # (B, h, N, M)
            # An anchor that no token chooses has degree 0 and must give 0, not NaN.
            degrees = to_tokens.sum(dim=2).clamp(min=torch.finfo(assignment.dtype).tiny)  # (B, h, M)
            gathered = to_tokens.transpose(-2, -1) @ values.transpose(1, 2).to(assignment.dtype)  # (B, h, M, d)
            contexts = gathered / degrees[..., None]
            mixed = to_tokens @ contexts  # (B, h, N, d)
        return mixed.transpose(1, 2).flatten(2).to(values.dtype)

    def exchange(self, keys: Tensor, values: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Gather values ``(B, N, C)`` by one set of anchors and distribute them by the other (``mode='apart'``)."""
        assert self.gather_anchors is not None
        assert self.log_temperature is not None
        keys, values = split_heads(keys, self.num_heads), split_heads(values, self.num_heads)  # (B, h, N, d)
        with torch.autocast(keys.device.type, enabled=False):
            temperature = at_least_fp32(self.log_temperature).exp().clamp(min=MIN_TEMPERATURE)[:, None, None]
            gather, distribute = (
                (F.normalize(at_least_fp32(anchors), dim=-1) / temperature).to(values.dtype)  # (h, M, d)
                for anchors in (self.gather_anchors, self.anchors)
            )
            keys = F.normalize(at_least_fp32(keys), dim=-1).to(values.dtype)
        gather, distribute = (anchors.expand(keys.shape[0], -1, -1, -1) for anchors in (gather, distribute))
        contexts = F.scaled_dot_product_attention(gather, keys, values, attn_mask=visible(padding_mask), scale=1.0)
        return merge_heads(F.scaled_dot_product_attention(keys, distribute, contexts, scale=1.0))
