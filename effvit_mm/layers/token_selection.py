"""Token selective attention: a pair of layers of which the second works on the tokens that matter.

Singh et al., "ToSA: Token Selective Attention for Efficient Vision Transformers", arXiv 2406.08816.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effvit_mm.layers.block import Block
from effvit_mm.layers.grid import Grid
from effvit_mm.layers.heads import at_least_fp32, without_padding
from effvit_mm.layers.kept_tokens import flat_places, gather_tokens, probe_rows, scatter_tokens
from effvit_mm.layers.token_choice import Kept, Select, choose_tokens
from effvit_mm.layers.token_scorer import TokenScorer, leaning
from effvit_mm.layers.token_selector import Axis, SelectorInput, TokenSelector

Importance = Literal["predicted", "scored", "own", "class_token", "random"]
HeadReduce = Literal["mean", "sum", "per_head"]
SelectorLoss = Literal["kl", "mse"]
Bypass = Literal["layer", "attn_only"]


class PairOutput(NamedTuple):
    """What a pair of layers gives.

    Attributes:
        first: Tokens ``(B, N, C)`` behind the standard layer.
        tokens: Tokens ``(B, N, C)`` behind the selective one, in raster order.
        kept: The choice, None where all tokens took part.
        loss: The selector's loss, a scalar, where one was asked for.
    """

    first: Tensor
    tokens: Tensor
    kept: Kept | None
    loss: Tensor | None


class TokenSelection(nn.Module):
    """Run a standard layer, choose tokens by what its attention predicts for the next, run the next on them alone.

    Tokens that are not chosen bypass the second layer untouched and take no part in it as keys either. Chosen ones are
    gathered, pass the whole layer, and return to their places. The two layers are arguments, not parts, so that a
    network keeps its layers under the names they always had.

    Which tokens matter is the mean over query rows of the predicted map, and a mean can be estimated from a sample:
    ``num_probes`` rows, evenly spaced over the picture, are multiplied with all keys and shown to the selector, and the
    layers' own attention stays fused.

    Args:
        num_heads: Heads h of both layers.
        num_probes: Query rows that are looked at, or None for all of them.
        importance: ``'predicted'``: by the selector; ``'scored'``: by a scorer that reads the tokens behind the
            standard layer and learns from the task; or a baseline that learns nothing: ``'own'``, the columns of the
            standard layer's map; ``'class_token'``, the first prefix token's row of it; ``'random'``, from torch's
            generator.
        select: ``'topk'``: the ratio ``keep`` of the tokens, as many in every picture; ``'threshold'``: the fewest
            tokens that together have the share ``keep`` of the importance, in each picture its own number.
        head_reduce: ``'mean'`` or ``'sum'`` over the heads, which rank alike; ``'per_head'``: each head chooses for
            itself, and the MLP, which has no heads, works on all tokens.
        bypass: ``'layer'``: what is not chosen skips the layer; ``'attn_only'``: its attention only.
        loss: ``'kl'`` or ``'mse'`` between the predicted and the true map.
        keep_prefix: Whether prefix tokens always take part, beside the ratio; else they compete with the others.
        dim: Channels C of a token, which the scorer needs.
        kernel_size: Of the selector.
        hidden: Of the selector.
        axis: Of the selector.
        selector_input: Of the selector.

    Shape:
        tokens ``(B, N, C)`` on a grid ``(H, W)`` with ``num_prefix + H * W == N``.

    Cost:
        Beside the standard layer: ``P N C`` multiply-adds for the probes and ``2 k h R P N`` for the selector, kernel
        size k, R hidden channels; two copies of the kept tokens and one of all; then the second layer on
        ``K = num_prefix + ceil(keep (N - num_prefix))`` tokens, ``12 K C^2 + 2 K^2 C`` with an MLP of 4 C. The loss, in
        training, takes ``N C^2 + P C^2 + P N C`` for the true map. Memory ``O(R P N)``. With ``keep=1`` a forward
        that teaches nothing costs what two standard layers do. The scorer takes ``N C^2 / 4`` in the place of probes
        and selector, and no loss; in training, what the second layer does to the kept tokens is held once more.

    Raises:
        ValueError: If a number or a name is not allowed.

    Reference:
        arXiv 2406.08816, method and figure 2.

    Differs from the paper:
        ``num_probes=None`` with the defaults follows what is published, and needs the whole ``h N^2`` scores; the
        probes, every size of the selector, the loss (its log-softmax suggests KL) and the number of kept tokens are
        ours. Probes leave out the rows of the prefix tokens. Scored tokens are ours, too.
    """

    def __init__(
        self,
        num_heads: int,
        *,
        num_probes: int | None = 64,
        importance: Importance = "predicted",
        select: Select = "topk",
        head_reduce: HeadReduce = "mean",
        bypass: Bypass = "layer",
        loss: SelectorLoss = "kl",
        keep_prefix: bool = True,
        dim: int | None = None,
        kernel_size: int = 3,
        hidden: int | None = None,
        axis: Axis = "key",
        selector_input: SelectorInput = "scaled",
    ) -> None:
        super().__init__()
        chosen = dict(importance=importance, select=select, head_reduce=head_reduce, bypass=bypass, loss=loss)
        for (name, value), known in zip(
            chosen.items(), (Importance, Select, HeadReduce, Bypass, SelectorLoss), strict=True
        ):
            if value not in get_args(known):
                raise ValueError(f"{name}={value!r} must be one of {get_args(known)}")
        if num_probes is not None and num_probes < 1:
            raise ValueError(f"num_probes={num_probes} must be at least 1 query row, or None for all of them")
        if importance == "scored" and dim is None:
            raise ValueError("importance='scored' needs dim, the channels of a token, not None")
        if importance == "scored" and head_reduce == "per_head":
            raise ValueError("head_reduce='per_head' has no meaning for scored tokens; it must be 'mean' or 'sum'")
        self.num_probes = num_probes
        self.importance, self.select, self.head_reduce = importance, select, head_reduce
        self.bypass, self.loss, self.keep_prefix = bypass, loss, keep_prefix
        self.selector = (
            TokenSelector(num_heads, hidden=hidden, kernel_size=kernel_size, axis=axis, selector_input=selector_input)
            if importance == "predicted"
            else None
        )
        self.scorer = TokenScorer(dim) if importance == "scored" and dim is not None else None

    def forward(
        self,
        first: Block,
        second: Block,
        tokens: Tensor,
        grid: Grid,
        *,
        keep: float,
        num_prefix: int = 0,
        padding_mask: Tensor | None = None,
        with_loss: bool = False,
        true_map: Tensor | None = None,
        try_all: bool = False,
        apply: Callable[..., Any] | None = None,
    ) -> PairOutput:
        """Run the pair on tokens ``(B, N, C)``.

        Args:
            first: The standard layer.
            second: The selective layer.
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens behind the prefix.
            keep: Share of the tokens that pass the second layer, above 0 and at most 1; at 1 nothing is selected.
            num_prefix: Tokens in front that lie on no grid.
            padding_mask: ``(B, N)``, True where a token is padding: it is never chosen while others are left. Rows of
                padding among the probes count like the others.
            with_loss: Whether the choice is to learn: from the true map, with which the prediction is compared; scored,
                from the gradient of whatever becomes of the tokens.
            true_map: The map ``(B, h, P, N)`` to learn from; None for the second layer's own.
            try_all: Where scored tokens learn, whether the layer is run for those that are not chosen as well, so that
                they have a gradient, too; nothing comes of it otherwise. It costs what the dense layer does.
            apply: How a block is called, such as a call that recomputes it in the backward pass.
        """
        options: dict[str, Any] = dict(num_prefix=num_prefix, padding_mask=padding_mask)
        run = apply or (lambda block, *args, **kwargs: block(*args, **kwargs))
        with_loss = with_loss and self.importance in ("predicted", "scored")
        if keep == 1 and not with_loss:
            tokens = run(first, tokens, grid, **options)
            return PairOutput(tokens, run(second, tokens, grid, **options), None, None)
        if self.scorer is not None:
            tokens = run(first, tokens, grid, **options)
            log_shares = self.scorer(tokens, padding_mask)
            kept = self.choose(log_shares[:, None, None], keep, num_prefix, padding_mask)
            lean = leaning(log_shares, kept, num_prefix if self.keep_prefix else 0) if with_loss else None
            mixed = self.pass_by(second, tokens, kept, grid, num_prefix, run, lean=lean, try_all=try_all)
            return PairOutput(tokens, mixed, kept if keep < 1 else None, None)
        probes = self.probes(grid, num_prefix, tokens.device)
        tokens, scores = run(first, tokens, grid, probes=probes, **options)
        if padding_mask is not None:
            scores = without_padding(scores, padding_mask[:, None, None])
        log_map = self.predict(scores, tokens.shape[-1] // scores.shape[1])
        loss = None
        if with_loss:
            target = self.true_map(second, tokens, probes, padding_mask) if true_map is None else true_map
            loss = self.compare(log_map, target)
        if keep == 1:
            return PairOutput(tokens, run(second, tokens, grid, **options), None, loss)
        kept = self.choose(log_map, keep, num_prefix, padding_mask)
        return PairOutput(tokens, self.pass_by(second, tokens, kept, grid, num_prefix, run), kept, loss)

    def probes(self, grid: Grid, num_prefix: int, device: torch.device) -> Tensor:
        """Return the query rows ``(P,)`` that importance is read off."""
        if self.importance == "class_token":
            if not num_prefix:
                raise ValueError("importance='class_token' needs a class token; num_prefix must be at least 1")
            return torch.zeros(1, dtype=torch.long, device=device)
        # A random choice looks at no row; one is shown to it, for the shape.
        num_probes = 1 if self.importance == "random" else self.num_probes
        return probe_rows(grid, num_probes, num_prefix=num_prefix, device=device)

    def predict(self, scores: Tensor, head_dim: int) -> Tensor:
        """Return the log of the map ``(B, h, P, N)`` that tokens are ranked by, from scaled scores."""
        if self.selector is not None:
            return self.selector(scores, head_dim)
        scores = at_least_fp32(scores.detach())
        return (torch.rand_like(scores) if self.importance == "random" else scores).log_softmax(dim=-1)

    @torch.no_grad()
    def true_map(self, second: Block, tokens: Tensor, probes: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Return the map ``(B, h, P, N)`` that the second layer has if all tokens take part."""
        mixer: Any = second.mixer
        device = tokens.device.type
        # Autocast would keep the casts of weights made here, which know of no gradient, for the layer's own call, and
        # that would then teach the weights nothing (torch before 2.10).
        with torch.autocast(device, enabled=torch.is_autocast_enabled(device), cache_enabled=False):
            query, key, _ = mixer.project(second.norm1(tokens))
            scores = mixer.scores(query, key, probes)
        if padding_mask is not None:
            scores = without_padding(scores, padding_mask[:, None, None])
        return at_least_fp32(scores).softmax(dim=-1)

    def compare(self, log_map: Tensor, true_map: Tensor) -> Tensor:
        """Return the mean over pictures, heads and rows of the distance of the predicted from the true map."""
        if self.loss == "mse":
            return (log_map.exp() - true_map).square().sum(dim=-1).mean()
        return F.kl_div(log_map, true_map, reduction="none").sum(dim=-1).mean()

    @torch.no_grad()
    def choose(self, log_map: Tensor, keep: float, num_prefix: int, padding_mask: Tensor | None = None) -> Kept:
        """Choose tokens by the columns of a map ``(B, h, P, N)``, given by its log; each picture for itself."""
        # Probabilities are summed, not their logs, which the smallest entries would rule.
        importance = log_map.exp().sum(dim=2)  # (B, h, N)
        if self.head_reduce != "per_head":
            importance = importance.mean(dim=1) if self.head_reduce == "mean" else importance.sum(dim=1)
        elif padding_mask is not None:
            padding_mask = padding_mask[:, None]
        always = num_prefix if self.keep_prefix else 0
        return choose_tokens(importance, keep, select=self.select, always=always, padding=padding_mask)

    def pass_by(
        self,
        second: Block,
        tokens: Tensor,
        kept: Kept,
        grid: Grid,
        num_prefix: int,
        apply: Callable[..., Any],
        *,
        lean: Tensor | None = None,
        try_all: bool = False,
    ) -> Tensor:
        """Run the second layer on the kept tokens of ``(B, N, C)`` and put what it gives in their places.

        Zeros ``(B, N)`` to ``lean`` on let the gradient of a choice through, with ``try_all`` for every token.
        """
        if kept.places.ndim == 3:
            return second.mix_channels(_mix_heads(second, tokens, kept), grid, num_prefix=num_prefix)
        layer = second.mix_tokens if self.bypass == "attn_only" else second
        if lean is not None and try_all:
            chosen = kept.as_mask(tokens.shape[1])
            tried = apply(layer, tokens, grid, num_prefix=num_prefix, padding_mask=~chosen)
            tokens = _leaned(torch.where(chosen[..., None], tried, tokens), tried - tokens, lean)
        else:
            places = flat_places(kept.places, tokens.shape[1])
            gathered = gather_tokens(tokens, places)
            left_out = None if kept.valid is None else ~kept.valid
            mixed = apply(layer, gathered, grid, num_prefix=num_prefix, padding_mask=left_out)
            if kept.valid is not None:
                mixed = torch.where(kept.valid[..., None], mixed, gathered)
            if lean is not None:
                mixed = _leaned(mixed, mixed - gathered, lean.gather(1, kept.places))
            tokens = scatter_tokens(tokens, places, mixed)
        return second.mix_channels(tokens, grid, num_prefix=num_prefix) if self.bypass == "attn_only" else tokens


def _leaned(mixed: Tensor, change: Tensor, lean: Tensor) -> Tensor:
    """Return ``mixed`` as it is, with the gradient that more or less of a change ``(B, K, C)`` has."""
    return mixed + change.detach() * lean[..., None].to(mixed.dtype)


def _mix_heads(block: Block, tokens: Tensor, kept: Kept) -> Tensor:
    """Let each head attend among tokens of its own choice; to others it adds nothing."""
    mixer: Any = block.mixer
    heads = mixer.project(block.norm1(tokens))  # (B, h, N, d) each
    index = kept.places[..., None].expand(-1, -1, -1, heads[0].shape[-1])
    attend_to = None if kept.valid is None else kept.valid[:, :, None]
    query, key, value = (part.gather(2, index) for part in heads)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=attend_to)
    if kept.valid is not None:
        mixed = mixed.masked_fill(~kept.valid[..., None], 0.0)
    placed = torch.zeros_like(heads[0]).scatter(2, index, mixed)
    return tokens + block.drop_path(mixer.merge(placed))
