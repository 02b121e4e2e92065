"""DeiT on fewer and fewer tokens: a reducer of any kind between its blocks, and all tokens where a map is read.

The networks of DynamicViT (Rao et al., arXiv 2106.02034), EViT (Liang et al., arXiv 2202.07800) and TokenLearner (Ryoo
et al., arXiv 2106.11297), each with a way back to a token for every place.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from effvit_mm.backbones.choices import Spec
from effvit_mm.backbones.initialization import initialize_weights
from effvit_mm.backbones.plain import WITH_384, Plain, PlainOptions, PlainSizes
from effvit_mm.backbones.plain_options import refuse_convolutions
from effvit_mm.layers import Block, Grid, Reduced, TokenReducer
from effvit_mm.layers.class_attention_selection import mix_and_score
from effvit_mm.layers.predicted_selection import keep_ratio_loss, mix_with_policy
from effvit_mm.registry import TOKEN_REDUCERS, build_mechanism, register_backbone

KEEP_RATIO_WEIGHT = 2.0


@register_backbone("reduced_deit")
class ReducedDeiT(Plain):
    """DeiT with token reducers in or before some of its blocks; blocks behind one work on what it leaves.

    Where a block is tapped, its tokens are restored, the last reduction first: every map has a token for each place.

    Args:
        variant: ``'t'``, ``'s'``, ``'b'``, or ``'b_384'`` for pictures of 384 pixels. At 224x224, a classifier over
            ``'s'`` takes 3.00 G multiply-adds with ``'predicted'``, 3.03 with ``'class_attention'`` and 2.43 with
            ``'token_learner'``, against 4.60 of DeiT.
        reducers: A name of ``TOKEN_REDUCERS`` or a dict of ``type`` and options, one for all places or one for each:
            ``'predicted'`` (default) is DynamicViT's, ``'class_attention'`` EViT's, ``'token_learner'`` TokenLearner's.
        reduce_at: The blocks, counted from 0: before them, and of reducers that read attention, inside them. None for
            the authors' of the first reducer: (3, 6, 9) of 12 blocks, and (6,) for ``'token_learner'``.
        **plain: Everything else that :class:`Plain` takes, except ``mixers``. The MLP must be ``'plain'``: others look
            at the neighbours of a token, which fewer tokens do not have.

    Shape:
        As :class:`Plain`.

    Cost:
        The sum over the blocks of ``12 K C^2 + 2 K^2 C`` multiply-adds with the K tokens that reach them, the
        reducers', and what restoring takes, at every tap behind them. Training with ``'predicted'`` runs all blocks on
        all tokens, in ``O(h N^2)`` memory.

    Raises:
        ValueError: If a name or a number is not allowed.

    Reference:
        arXiv 2106.02034, 2202.07800, 2106.11297.

    Differs from the paper:
        See the reducers. The last three are classifiers; the way back of the first two, by which tokens return as they
        left, is ours. DynamicViT's distillation from a dense network is not part of this.
    """

    variants: ClassVar[Mapping[str, PlainSizes]] = WITH_384
    default_num_prefix: ClassVar[int] = 1

    def __init__(
        self,
        *,
        variant: str = "s",
        reducers: Spec | Sequence[Spec] = "predicted",
        reduce_at: Sequence[int] | None = None,
        **plain: Unpack[PlainOptions],
    ) -> None:
        refuse_convolutions(plain, "fewer tokens have no neighbours")
        super().__init__(variant=variant, mixers="self", **plain)
        first = cast(Block, self.blocks[0])
        dim, num_heads = first.norm2.normalized_shape[0], cast(Any, first.mixer).num_heads
        self.reduce_at, specs = self._check_places(reducers, reduce_at, dim, num_heads)
        self.reducers = nn.ModuleDict(
            {
                str(place): build_mechanism(TOKEN_REDUCERS, spec, dim, num_heads)
                for place, spec in zip(self.reduce_at, specs, strict=True)
                if place < len(self.blocks)
            }
        )
        for reducer in self._all_reducers():
            if reducer.reads_attention and not self.num_prefix:
                raise ValueError(f"{type(reducer).__name__} needs a class token; num_prefix must be at least 1, not 0")
            if self.num_class_tokens:
                reducer.without_restore()
        if len({reducer.decides for reducer in self._all_reducers()}) > 1:
            raise ValueError(
                f"reducers={reducers!r} mixes one that decides by a policy in training, such as 'predicted', which "
                f"leaves no token out there, with another kind; take one kind"
            )
        self._losses: list[Tensor] = []
        initialize_weights(self.reducers)
        self.freeze()

    def run(self, tokens: Tensor, grid: Grid) -> Iterator[Tensor]:
        """Yield tokens behind each block, in raster order and none left out where a tap reads them as a map."""
        self._losses = []
        reduced: list[Reduced] = []
        share = 1.0
        for i, block in enumerate(self.blocks):
            if str(i) not in self.reducers:
                tokens = self._mix(block, tokens, grid, reduced)
            else:
                reducer = cast(TokenReducer, self.reducers[str(i)])
                if reducer.reads_attention:
                    tokens = self._reduce_inside(block, reducer, tokens, grid, reduced)
                else:
                    tokens = self._reduce(reducer, tokens, grid, reduced)
                    tokens = self._mix(block, tokens, grid, reduced)
                # Behind a reducer that leaves tokens out, a policy counts those that are left.
                share = 1.0 if reduced[-1].policy is None else share * cast(Any, reducer).keep
                self._note_loss(reduced[-1].policy, share)
            yield tokens if self.num_class_tokens or str(i) not in self.norms else _restored(tokens, reduced)

    def auxiliary_losses(self) -> dict[str, Tensor]:
        """Return, and forget, what the last training forward adds to the task's losses: ``loss_keep_ratio``, a scalar.

        The mean over the reducers, times 2; empty where no reducer decides in training, and behind a forward in
        evaluation or without gradients.
        """
        losses, self._losses = self._losses, []
        return {"loss_keep_ratio": KEEP_RATIO_WEIGHT * torch.stack(losses).mean()} if losses else {}

    def frozen_modules(self) -> list[nn.Module]:
        """Return what ``frozen_stages`` freezes; a reducer is frozen with its block."""
        if not hasattr(self, "reducers"):  # the assembly's constructor asks before there are any
            return []
        num_blocks = math.ceil(self.depth * max(self.frozen_stages, 0) / self.num_stages)
        frozen = [reducer for place, reducer in self.reducers.items() if int(place) < num_blocks]
        return [*super().frozen_modules(), *frozen]

    def _mix(self, block: Any, tokens: Tensor, grid: Grid, reduced: Sequence[Reduced]) -> Tensor:
        """Run a block on what the last reduction left."""
        policy = reduced[-1].policy if reduced else None
        if policy is None:
            return self.apply_block(block, tokens, grid)
        mix: Callable[..., Tensor] = functools.partial(mix_with_policy, block)
        return self.apply_block(cast(Any, mix), tokens, grid, policy=policy)

    def _reduce(self, reducer: TokenReducer, tokens: Tensor, grid: Grid, reduced: list[Reduced], **read: Any) -> Tensor:
        policy = reduced[-1].policy if reduced else None
        if policy is not None:
            read["policy"] = policy
        reduced.append(reducer(tokens, grid, num_prefix=self.num_prefix, **read))
        return reduced[-1].tokens

    def _reduce_inside(
        self, block: Any, reducer: TokenReducer, tokens: Tensor, grid: Grid, reduced: list[Reduced]
    ) -> Tensor:
        """Run a block with a reducer between its attention, the class token's row of which it reads, and its MLP."""
        mix: Callable[..., Any] = functools.partial(mix_and_score, block)
        class_row = torch.zeros(1, dtype=torch.long, device=tokens.device)
        tokens, scores = self.apply_block(cast(Any, mix), tokens, grid, probes=class_row)
        tokens = self._reduce(reducer, tokens, grid, reduced, scores=scores)
        return self.apply_block(block.mix_channels, tokens, grid)

    def _note_loss(self, policy: Tensor | None, share: float) -> None:
        if policy is not None and policy.requires_grad:
            self._losses.append(keep_ratio_loss(policy, share, self.num_prefix))

    def _all_reducers(self) -> list[TokenReducer]:
        return [cast(TokenReducer, reducer) for reducer in self.reducers.values()]

    def _check_places(
        self, reducers: Spec | Sequence[Spec], reduce_at: Sequence[int] | None, dim: int, num_heads: int
    ) -> tuple[tuple[int, ...], list[Spec]]:
        """Return the blocks that reduce, and a reducer for each."""
        given = [reducers] if isinstance(reducers, str | Mapping) else list(reducers)
        if not given:
            raise ValueError(f"reducers={reducers!r} must be one, or one for each block that reduces")
        if reduce_at is None:
            reducer = cast(TokenReducer, build_mechanism(TOKEN_REDUCERS, given[0], dim, num_heads))
            reduce_at = sorted({int(share * self.depth) for share in reducer.depths})
        places = tuple(reduce_at)
        if not places or list(places) != sorted({*places} & {*range(self.depth)}):
            raise ValueError(
                f"reduce_at={reduce_at!r} must be blocks of 0 to {self.depth - 1}, in rising order, such as (3, 6, 9)"
            )
        if len(given) not in (1, len(places)):
            raise ValueError(f"reducers={reducers!r} must be one, or one for each of the {len(places)} blocks {places}")
        return places, given * len(places) if len(given) == 1 else given


def _restored(tokens: Tensor, reduced: Sequence[Reduced]) -> Tensor:
    for reduction in reversed(reduced):
        tokens = reduction.restore(tokens)
    return tokens
