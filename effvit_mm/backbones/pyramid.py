"""The contract of a backbone and the one assembly of a four-stage pyramid.

A pyramid differs from another in the token mixer of each stage, its token merging and its MLP: every one of them is a
table of choices over :class:`Pyramid`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, TypedDict, cast

import torch
from torch import Tensor, nn

from effvit_mm.backbones import mechanisms  # noqa: F401  (registers the names that the choices below are made by)
from effvit_mm.backbones.choices import Spec, check_drop_path_rate, one_for_each
from effvit_mm.backbones.dense_backbone import STRIDES, DenseBackbone
from effvit_mm.backbones.stage import Stage
from effvit_mm.layers import AbsolutePositions, Block, Grid, PrefixTokens, tokens_to_map
from effvit_mm.registry import MLPS, TOKEN_MERGERS, TOKEN_MIXERS, build_mechanism, register_backbone

STAGE_STRIDES = (4, 2, 2, 2)


class PyramidSizes(TypedDict):
    """One row of a table of variants."""

    channels: tuple[int, ...]
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    mlp_ratios: tuple[int, ...]
    drop_path_rate: float


class PyramidOptions(TypedDict, total=False):
    """What every family of pyramids takes beside its own arguments; :class:`Pyramid` documents them."""

    channels: Sequence[int]
    depths: Sequence[int]
    num_heads: Sequence[int]
    mlp_ratios: Sequence[int]
    drop_path_rate: float
    mlps: Spec | Sequence[Spec]
    mergers: Spec | Sequence[Spec]
    positions: Sequence[Grid | None] | None
    class_token: bool
    norm_eps: float
    out_indices: Sequence[int]
    output_norms: Sequence[int] | None
    frozen_stages: int
    norm_eval: bool
    with_cp: bool
    init_cfg: dict | list[dict] | None


@register_backbone("pyramid")
class Pyramid(DenseBackbone):
    """A four-stage pyramid with any token mixer; with its defaults, the dense yardstick (softmax attention everywhere).

    Sizes come from the table ``variants``; each can be overridden. Values for each stage are sequences of four.

    Args:
        variant: Row of ``variants``.
        channels: Channels of the stages.
        depths: Blocks of the stages.
        num_heads: Heads of the stages' mixers.
        mlp_ratios: Hidden channels of the MLPs over the stages' channels.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0 at the first.
        mixers: Token mixer, one for all stages or one for each: a name of ``TOKEN_MIXERS``, a dict of ``type`` and
            options, or None for blocks that are an MLP only. A stage with a sequence of these gives them to its blocks
            in turn: ``('window', 'shifted_window')``.
        mlps: Channel mixer, by a name of ``MLPS``.
        mergers: Token merging in front of a stage (the first is the stem), by a name of ``TOKEN_MERGERS``.
        positions: Grid of a learned table of absolute positions for each stage (resized to any other grid), or None.
        class_token: For classification: a learned token joins the last stage, and what is returned in place of its map
            is that token, ``(B, C)``; needs ``out_indices=(3,)``.
        norm_eps: Epsilon of the LayerNorms of blocks and outputs.
        out_indices: Stages whose maps are returned. No stage behind the last of them is built.
        output_norms: Stages whose returned map passes a LayerNorm; None for every one that is returned.
        frozen_stages: How many stages are frozen, their mergers and output norms included; 0 freezes the stem's merger
            alone, -1 nothing.
        norm_eval: Keep BatchNorms, where a mechanism has some, in evaluation mode during training.
        with_cp: Recompute each block in the backward pass instead of keeping its activations (non-reentrant). A batch
            norm inside a mixer counts the pictures of a step twice then; maps and gradients are the same.
        init_cfg: MMEngine's initialisation, applied after our own; ``dict(type='Pretrained', checkpoint=...)`` loads.

    Shape:
        x ``(B, 3, H, W)`` with H and W at least the largest stride; returns a tuple of
        ``(B, channels[i], ceil(H / strides[i]), ceil(W / strides[i]))``.

    Cost:
        The sum over its mixers, MLPs and mergers.

    Attributes:
        channels: Channels of the returned maps, aligned with ``out_indices``.
        strides: Their strides in pixels.

    Raises:
        ValueError: If a name is unknown, a sequence has not four values, a number is out of range, or pictures are not
            ``(B, 3, H, W)`` of the least size.

    Reference:
        Wang et al., "PVT v2", 2022, for the assembly; the variants have the sizes of ``anchorformer_t`` and ``_s``, so
        that the two differ in the token mixer alone.

    Differs from the paper:
        The next stage reads a stage's tokens before its output norm, so that a norm exists only where a map is emitted.
    """

    variants: ClassVar[Mapping[str, PyramidSizes]] = {
        "t": dict(
            channels=(32, 64, 160, 256),
            depths=(2, 2, 4, 3),
            num_heads=(1, 2, 5, 8),
            mlp_ratios=(8, 8, 4, 4),
            drop_path_rate=0.1,
        ),
        "s": dict(
            channels=(64, 128, 320, 512),
            depths=(2, 2, 6, 3),
            num_heads=(2, 4, 10, 16),
            mlp_ratios=(4, 4, 4, 4),
            drop_path_rate=0.2,
        ),
    }

    def __init__(
        self,
        *,
        variant: str = "s",
        channels: Sequence[int] | None = None,
        depths: Sequence[int] | None = None,
        num_heads: Sequence[int] | None = None,
        mlp_ratios: Sequence[int] | None = None,
        drop_path_rate: float | None = None,
        mixers: Spec | Sequence[Spec | Sequence[Spec | None] | None] | None = "self",
        mlps: Spec | Sequence[Spec] = "mix",
        mergers: Spec | Sequence[Spec] = "overlapping",
        positions: Sequence[Grid | None] | None = None,
        class_token: bool = False,
        norm_eps: float = 1e-6,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        output_norms: Sequence[int] | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(out_indices=out_indices, frozen_stages=frozen_stages, norm_eval=norm_eval, init_cfg=init_cfg)
        sizes = self.sizes(variant)
        per_stage = partial(one_for_each, count=self.num_stages, places="stages")
        channels = per_stage("channels", channels or sizes["channels"])
        depths = per_stage("depths", depths or sizes["depths"])
        num_heads = per_stage("num_heads", num_heads or sizes["num_heads"])
        mlp_ratios = per_stage("mlp_ratios", mlp_ratios or sizes["mlp_ratios"])
        mixers, mlps, mergers = per_stage("mixers", mixers), per_stage("mlps", mlps), per_stage("mergers", mergers)
        grids = per_stage("positions", positions)
        drop_path_rate = sizes["drop_path_rate"] if drop_path_rate is None else drop_path_rate
        check_drop_path_rate(drop_path_rate)
        if class_token and self.out_indices != (3,):
            raise ValueError(
                f"class_token=True returns the last stage's token only; out_indices={out_indices} must be (3,)"
            )

        self.channels = tuple(channels[i] for i in self.out_indices)
        self.strides = tuple(STRIDES[i] for i in self.out_indices)
        self.min_size = STRIDES[self.out_indices[-1]]
        self.class_token = class_token

        drop_paths = iter(torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist())
        self.stages = nn.ModuleList()
        for i in range(self.out_indices[-1] + 1):
            in_dim, dim = (3, *channels)[i], channels[i]
            prefix = PrefixTokens(dim) if class_token and i == 3 else None
            blocks = [
                Block(
                    dim,
                    None if spec is None else build_mechanism(TOKEN_MIXERS, spec, dim, num_heads[i]),
                    build_mechanism(MLPS, mlps[i], dim, mlp_ratios[i] * dim),
                    drop_path=next(drop_paths),
                    norm_eps=norm_eps,
                )
                for spec in _in_turn(mixers[i], depths[i])
            ]
            self.stages.append(
                Stage(
                    build_mechanism(TOKEN_MERGERS, mergers[i], in_dim, dim, stride=STAGE_STRIDES[i]),
                    blocks,
                    prefix=prefix,
                    positions=grids[i] and AbsolutePositions(dim, grids[i], num_prefix=1 if prefix else 0),
                    with_cp=with_cp,
                )
            )
        normed = self.out_indices if output_norms is None else self._levels("output_norms", output_norms)
        self.norms = nn.ModuleDict(
            {str(i): nn.LayerNorm(channels[i], eps=norm_eps) for i in self.out_indices if i in normed}
        )
        self.draw_weights()
        self.freeze()

    @classmethod
    def classifier_options(cls, variant: str) -> dict[str, Any]:
        """Return the arguments with which a variant feeds a classifier: its last map alone, normed."""
        return dict(out_indices=(3,))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the pyramid of maps of pictures ``(B, 3, H, W)``; with ``class_token``, that token ``(B, C)``."""
        self.check_pictures(x)
        outputs = []
        for i, stage in enumerate(self.stages):
            tokens, grid = stage(x)
            if i in self.out_indices:
                outputs.append(self._output(i, tokens, grid))
            if i + 1 < len(self.stages):
                x = tokens_to_map(tokens, grid)
        return tuple(outputs)

    def stem(self) -> nn.Module:
        """Return the merger of the first stage."""
        return cast(Stage, self.stages[0]).merger

    def frozen_modules(self) -> list[nn.Module]:
        """Return what ``frozen_stages`` freezes: the stem's merger (0), or stages with their output norms."""
        if self.frozen_stages == 0:
            return [self.stem()]
        frozen = max(self.frozen_stages, 0)
        return [*self.stages[:frozen], *(norm for i, norm in self.norms.items() if int(i) < frozen)]

    def num_blocks(self) -> int:
        """Return how many blocks the stages that are built have together."""
        return sum(len(cast(Stage, stage).blocks) for stage in self.stages)

    def block_depth(self, names: Sequence[str]) -> int | None:
        """Return the depth of a parameter; None for an output norm."""
        if names[0] != "stages":
            return None
        stage = int(names[1])
        before = sum(len(cast(Stage, self.stages[i]).blocks) for i in range(stage))
        if names[2] == "blocks":
            return before + int(names[3]) + 1
        return before + 1 if stage else 0

    def _output(self, level: int, tokens: Tensor, grid: Grid) -> Tensor:
        if str(level) in self.norms:
            tokens = self.norms[str(level)](tokens)
        return tokens[:, 0] if self.class_token else tokens_to_map(tokens, grid)


def _in_turn(specs: Spec | Sequence[Spec | None] | None, depth: int) -> list[Spec | None]:
    """Return the mechanism of each block of a stage; several take turns."""
    if specs is None or isinstance(specs, str | Mapping):
        return [specs] * depth
    if not specs:
        raise ValueError("mixers has an empty sequence for a stage; give a name, a dict, None, or several to alternate")
    return [specs[i % len(specs)] for i in range(depth)]
