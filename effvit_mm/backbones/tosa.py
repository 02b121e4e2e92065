"""ToSA: DeiT whose every second layer works on the tokens that the layer before it shows to matter.

Singh et al., "ToSA: Token Selective Attention for Efficient Vision Transformers", arXiv 2406.08816.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from effvit_mm.backbones.plain import WITH_384, Plain, PlainOptions, PlainSizes
from effvit_mm.backbones.plain_options import refuse_convolutions
from effvit_mm.layers import Grid, TokenSelection
from effvit_mm.layers.token_choice import Kept, Select
from effvit_mm.layers.token_selection import Bypass, HeadReduce, Importance, PairOutput, SelectorLoss
from effvit_mm.registry import register_backbone

Stage = Literal["dense", "selector", "joint"]
TrueMaps = Callable[[Tensor], Sequence[Tensor]]
"""From pictures ``(B, 3, H, W)`` to the map ``(B, h, P, N)`` of each pair's second layer, dense."""


class DensePass(NamedTuple):
    """What a network gives where every layer works on all tokens.

    Attributes:
        outputs: What its forward returns.
        maps: The map ``(B, h, P, N)`` of each pair's second layer, on the probed rows.
    """

    outputs: tuple[Tensor, ...]
    maps: list[Tensor]


@register_backbone("tosa_deit")
class ToSADeiT(Plain):
    """DeiT in pairs of layers: a standard one, and one that the chosen tokens pass and the others bypass.

    No token is lost, so every tap is a whole map. With ``select='topk'`` as much is chosen in every picture; what is
    chosen is the same in training as in evaluation, but for the baseline that chooses at random.

    Args:
        variant: ``'t'``, ``'s'``, ``'b'``, or ``'b_384'`` for pictures of 384 pixels. At 224x224 and the default
            ``keep``, probes and selectors included: 0.95, 3.49 and 13.32 G multiply-adds, against 1.25, 4.60 and 17.56
            of DeiT.
        keep: Share of the tokens that a selective layer works on, one number for all pairs or one for each, above 0 and
            at most 1. An attribute that can be set at any time; at 1 a network is DeiT, and costs what DeiT does.
        pairs: Neighbouring blocks, counted from 0: the standard and the selective one of each pair. None for all of
            them, (0, 1), (2, 3), ...; blocks outside the pairs are standard ones.
        stage: What is run and trained. ``'dense'``: every layer on all tokens, selectors frozen. ``'selector'``: every
            layer on all tokens, all but the selectors frozen; where tokens are scored, whose scorers learn from the
            task, the selective layers on those they choose, tried on all of them in training. ``'joint'``: the
            selective layers on the tokens they choose, everything learns.
        num_probes: Query rows that a selector looks at, None for all; see :class:`~effvit_mm.layers.TokenSelection`.
        importance: What tokens are chosen by: ``'predicted'``, the selector; ``'scored'``, a scorer of the tokens that
            learns from the task; or a baseline that learns nothing. See :class:`~effvit_mm.layers.TokenSelection`.
        select: A fixed number of tokens, or a share of the importance, which ``torch.compile`` makes no one graph of
            (``compiles_whole`` is False).
        head_reduce: How the heads' importances become one, or ``'per_head'``.
        bypass: Whether what is not chosen skips the layer or its attention only.
        loss: ``'kl'`` or ``'mse'``.
        keep_prefix: Whether the class token always takes part.
        selector: Options of :class:`~effvit_mm.layers.TokenSelector`: ``kernel_size``, ``hidden``, ``axis``,
            ``selector_input``.
        **plain: Everything else that :class:`Plain` takes, except ``mixers``. The MLP must be ``'plain'``: others look
            at the neighbours of a token, which a selection does not have.

    Shape:
        As :class:`Plain`.

    Cost:
        A pair takes ``12 N C^2 + 2 N^2 C`` multiply-adds in its first layer, ``12 K C^2 + 2 K^2 C`` in its second with
        ``K = P + ceil(keep (N - P))`` for P prefix tokens, and ``64 N (C + 6 h * 2 h)`` for 64 probes and the selector:
        linear in the tokens, where the first layer stays quadratic.

    Attributes:
        teacher: A function from pictures to the maps that the selectors learn, such as those of the :meth:`dense_pass`
            of a frozen network; None (default) for the maps of this network's own layers.

    Raises:
        ValueError: If a name or a number is not allowed.

    Reference:
        arXiv 2406.08816. A patent application of matching content is published: US 2025/0322275 A1. Not to be confused
        with "ToSA: Token Merging with Spatial Awareness", arXiv 2506.20066.

    Differs from the paper:
        There is no released code or weight. Which layers are paired, the ratio, the loss and the training are not
        published and are arguments here. Probes are ours: they make the selection cheaper than what it saves. Limits:
        the number of tokens does not follow the picture, half of the layers stay dense, and windowed attention cannot
        take part.
    """

    variants: ClassVar[Mapping[str, PlainSizes]] = WITH_384
    default_num_prefix: ClassVar[int] = 1

    def __init__(
        self,
        *,
        variant: str = "s",
        keep: float | Sequence[float] = 0.5,
        pairs: Sequence[Sequence[int]] | None = None,
        stage: Stage = "joint",
        num_probes: int | None = 64,
        importance: Importance = "predicted",
        select: Select = "topk",
        head_reduce: HeadReduce = "mean",
        bypass: Bypass = "layer",
        loss: SelectorLoss = "kl",
        keep_prefix: bool = True,
        selector: Mapping[str, Any] | None = None,
        **plain: Unpack[PlainOptions],
    ) -> None:
        if stage not in get_args(Stage):
            raise ValueError(f"stage={stage!r} must be one of {get_args(Stage)}")
        refuse_convolutions(plain, "a selection of tokens has no neighbours")
        super().__init__(variant=variant, mixers="self", **plain)
        if importance == "class_token" and not self.num_prefix:
            raise ValueError("importance='class_token' needs a class token; num_prefix must be at least 1, not 0")
        self.stage = stage
        self.importance = importance
        # How many tokens a threshold keeps is known only when it has been computed.
        self.compiles_whole = select != "threshold"
        self.pairs = self._check_pairs(pairs)
        self.keep = keep
        num_heads = cast(Any, self.blocks[0]).mixer.num_heads
        self.selections = nn.ModuleDict(
            {
                str(first): TokenSelection(
                    num_heads,
                    num_probes=num_probes,
                    importance=importance,
                    select=select,
                    head_reduce=head_reduce,
                    bypass=bypass,
                    loss=loss,
                    keep_prefix=keep_prefix,
                    dim=self.dim,
                    **(selector or {}),
                )
                for first, second in self.pairs
                if second < len(self.blocks)
            }
        )
        self.teacher: TrueMaps | None = None
        self._losses: list[Tensor] = []
        self._targets: Sequence[Tensor] | None = None
        self.freeze()

    @property
    def keep(self) -> tuple[float, ...]:
        """The share of tokens that each pair's selective layer works on."""
        return self._keep

    @keep.setter
    def keep(self, value: float | Sequence[float]) -> None:
        shares = tuple(value) if isinstance(value, Sequence) else (value,) * len(self.pairs)
        if len(shares) != len(self.pairs):
            raise ValueError(f"keep={value!r} must be one number, or one for each of the {len(self.pairs)} pairs")
        if not all(isinstance(share, int | float) and 0 < share <= 1 for share in shares):
            raise ValueError(f"keep={value!r} must be above 0 and at most 1; 1 selects nothing")
        self._keep = tuple(float(share) for share in shares)

    def run(self, tokens: Tensor, grid: Grid) -> Iterator[Tensor]:
        """Yield the tokens ``(B, P + N, C)`` behind each block, in raster order and none left out."""
        # The task can teach a choice only where it is made.
        selecting = self.stage == "joint" or (self.stage == "selector" and self.importance == "scored")
        for step in self._steps(tokens, grid, selecting=selecting):
            if isinstance(step, PairOutput):
                yield step.first
                yield step.tokens
            else:
                yield step

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the maps of pictures ``(B, 3, H, W)``; with ``class_token``, that token ``(B, C)``."""
        self._losses = []
        self._targets = None if self.teacher is None or not self._learns() else self.teacher(x)
        try:
            return super().forward(x)
        finally:
            self._targets = None

    def auxiliary_losses(self) -> dict[str, Tensor]:
        """Return, and forget, what the last training forward adds to the task's losses: ``loss_selector``, a scalar.

        The sum over the pairs; empty where no selector learns, and behind a forward in evaluation or without gradients.
        """
        losses, self._losses = self._losses, []
        return {"loss_selector": torch.stack(losses).sum()} if losses else {}

    @torch.no_grad()
    def kept_tokens(self, x: Tensor) -> list[Kept | None]:
        """Return what each pair chooses in pictures ``(B, 3, H, W)``; None for a pair that works on all tokens.

        In the selector stage, what it would choose in the joint one.
        """
        self.check_pictures(x)
        steps = self._steps(*self.embed(x), selecting=self.stage != "dense")
        return [step.kept for step in steps if isinstance(step, PairOutput)]

    @torch.no_grad()
    def dense_pass(self, x: Tensor) -> DensePass:
        """Run every layer on all tokens of pictures ``(B, 3, H, W)``, as a teacher of this network does."""
        self.check_pictures(x)
        tokens, grid = self.embed(x)
        maps: list[Tensor] = []
        outputs = self.emit(self._run_dense(tokens, grid, maps), grid, (x.shape[-2], x.shape[-1]))
        return DensePass(outputs, maps)

    def frozen_modules(self) -> list[nn.Module]:
        """Return what ``frozen_stages`` and ``stage`` freeze; see the class."""
        if not hasattr(self, "selections"):  # the assembly's constructor asks before there are any
            return []
        frozen = super().frozen_modules()
        if self.stage == "dense":
            return [*frozen, self.selections]
        if self.stage == "selector":
            return [*frozen, *(module for module in self.children() if module is not self.selections)]
        return frozen

    def _run_dense(self, tokens: Tensor, grid: Grid, maps: list[Tensor]) -> Iterator[Tensor]:
        """Yield the tokens behind each block, and add the maps that the selective ones have to ``maps``."""
        for i, block in enumerate(self.blocks):
            if str(i - 1) in self.selections:
                pair = cast(TokenSelection, self.selections[str(i - 1)])
                probes = pair.probes(grid, self.num_prefix, tokens.device)
                maps.append(pair.true_map(cast(Any, block), tokens, probes))
            tokens = block(tokens, grid, num_prefix=self.num_prefix)
            yield tokens

    def _steps(self, tokens: Tensor, grid: Grid, *, selecting: bool) -> Iterator[Tensor | PairOutput]:
        """Yield what each pair gives, and the tokens behind each block outside the pairs."""
        shares = {first: share for (first, _), share in zip(self.pairs, self.keep, strict=True)}
        targets = iter(self._targets or ())
        i = 0
        while i < len(self.blocks):
            if str(i) not in self.selections:
                tokens = self.apply_block(self.blocks[i], tokens, grid)
                yield tokens
                i += 1
                continue
            output: PairOutput = self.selections[str(i)](
                *self.blocks[i : i + 2],
                tokens,
                grid,
                keep=shares[i] if selecting else 1.0,
                num_prefix=self.num_prefix,
                with_loss=self._learns(),
                true_map=next(targets, None),
                try_all=self.stage == "selector",
                apply=self.apply_block,
            )
            if output.loss is not None:
                self._losses.append(output.loss)
            tokens = output.tokens
            yield output
            i += 2

    def _learns(self) -> bool:
        """Whether this is a forward that the selectors learn from."""
        learning = any(parameter.requires_grad for parameter in self.selections.parameters())
        return self.training and torch.is_grad_enabled() and learning

    def _check_pairs(self, pairs: Sequence[Sequence[int]] | None) -> tuple[tuple[int, int], ...]:
        if pairs is None:
            return tuple((first, first + 1) for first in range(0, self.depth - 1, 2))
        chosen = tuple((pair[0], pair[1]) for pair in pairs if len(pair) == 2)
        blocks = [block for pair in chosen for block in pair]
        neighbours = all(second == first + 1 for first, second in chosen)
        if len(chosen) != len(pairs) or not neighbours or blocks != sorted({*blocks} & {*range(self.depth)}):
            raise ValueError(
                f"pairs={pairs!r} must be pairs of neighbouring blocks of 0 to {self.depth - 1}, in rising order and "
                f"without a block in two of them, such as ((0, 1), (2, 3))"
            )
        return chosen
