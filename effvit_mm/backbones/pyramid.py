"""The contract of a backbone and the one assembly of a four-stage pyramid.

A pyramid differs from another in the token mixer of each stage, its token merging and its MLP: every one of them is a
table of choices over :class:`Pyramid`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypedDict, cast

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from effvit_mm.backbones import mechanisms  # noqa: F401  (registers the names that the choices below are made by)
from effvit_mm.backbones.initialization import initialize_weights
from effvit_mm.layers import Block, tokens_to_map
from effvit_mm.registry import MLPS, TOKEN_MERGERS, TOKEN_MIXERS, build_mechanism, near_names, register_backbone

Spec = str | Mapping[str, Any]
"""A mechanism: its name, or a dict of ``type`` and options."""

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
    out_indices: Sequence[int]
    frozen_stages: int
    norm_eval: bool
    with_cp: bool
    init_cfg: dict | list[dict] | None


class Stage(nn.Module):
    """Merge the places of a map into tokens, then mix them block by block."""

    def __init__(self, merger: nn.Module, blocks: Sequence[nn.Module], *, with_cp: bool) -> None:
        super().__init__()
        self.merger = merger
        self.blocks = nn.ModuleList(blocks)
        self.with_cp = with_cp

    def forward(self, fmap: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Turn a map ``(B, C_in, H, W)`` into tokens ``(B, N, C)`` and their grid."""
        tokens, grid = self.merger(fmap)
        for block in self.blocks:
            if self.with_cp and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, grid, use_reentrant=False)
            else:
                tokens = block(tokens, grid)
        return tokens, grid


@register_backbone("pyramid")
class Pyramid(BaseModule):
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
            options, or None for blocks that are an MLP only.
        mlps: Channel mixer, by a name of ``MLPS``.
        mergers: Token merging in front of a stage (the first is the stem), by a name of ``TOKEN_MERGERS``.
        out_indices: Stages whose maps are returned. Only these have an output norm, and no stage behind the last of
            them is built.
        frozen_stages: How many stages are frozen, their mergers and output norms included; 0 freezes the stem's merger
            alone, -1 nothing.
        norm_eval: Keep BatchNorms, where a mechanism has some, in evaluation mode during training.
        with_cp: Recompute each block in the backward pass instead of keeping its activations (non-reentrant).
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
        ValueError: If a name is unknown, a sequence has not four values, or a number is out of range.

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
        mixers: Spec | Sequence[Spec | None] | None = "self",
        mlps: Spec | Sequence[Spec] = "mix",
        mergers: Spec | Sequence[Spec] = "overlapping",
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if variant not in self.variants:
            raise ValueError(
                f"unknown variant {variant!r} of {type(self).__name__}; {near_names(variant, self.variants)}"
            )
        sizes = self.variants[variant]
        channels = _per_stage("channels", channels or sizes["channels"])
        depths = _per_stage("depths", depths or sizes["depths"])
        num_heads = _per_stage("num_heads", num_heads or sizes["num_heads"])
        mlp_ratios = _per_stage("mlp_ratios", mlp_ratios or sizes["mlp_ratios"])
        mixers, mlps, mergers = _per_stage("mixers", mixers), _per_stage("mlps", mlps), _per_stage("mergers", mergers)
        drop_path_rate = sizes["drop_path_rate"] if drop_path_rate is None else drop_path_rate
        self.out_indices = _checked_out_indices(out_indices)
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f"drop_path_rate={drop_path_rate} must be at least 0 and below 1")
        if not -1 <= frozen_stages <= 4:
            raise ValueError(f"frozen_stages={frozen_stages} must be -1 (none), 0 (the stem) or 1 to 4 stages")

        all_strides = (4, 8, 16, 32)
        self.channels = tuple(channels[i] for i in self.out_indices)
        self.strides = tuple(all_strides[i] for i in self.out_indices)
        self.min_size = all_strides[self.out_indices[-1]]
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval

        drop_paths = iter(torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist())
        self.stages = nn.ModuleList()
        for i in range(self.out_indices[-1] + 1):
            in_dim, dim = (3, *channels)[i], channels[i]
            merger = build_mechanism(TOKEN_MERGERS, mergers[i], in_dim, dim, stride=STAGE_STRIDES[i])
            blocks = [
                Block(
                    dim,
                    None if mixers[i] is None else build_mechanism(TOKEN_MIXERS, mixers[i], dim, num_heads[i]),
                    build_mechanism(MLPS, mlps[i], dim, mlp_ratios[i] * dim),
                    drop_path=next(drop_paths),
                )
                for _ in range(depths[i])
            ]
            self.stages.append(Stage(merger, blocks, with_cp=with_cp))
        self.norms = nn.ModuleDict({str(i): nn.LayerNorm(channels[i], eps=1e-6) for i in self.out_indices})
        initialize_weights(self)
        self._freeze()

    def init_weights(self) -> None:
        """Draw every weight anew, then apply ``init_cfg`` (MMEngine calls this once before training)."""
        initialize_weights(self)
        super().init_weights()

    def train(self, mode: bool = True) -> "Pyramid":
        """Switch to training or evaluation; frozen stages, and BatchNorms under ``norm_eval``, stay in evaluation."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the pyramid of maps of pictures ``(B, 3, H, W)``."""
        if min(x.shape[-2:]) < self.min_size:
            raise ValueError(
                f"a picture of {x.shape[-2]} x {x.shape[-1]} pixels (H x W) is smaller than the largest stride "
                f"{self.min_size}; resize or pad it to at least {self.min_size} pixels a side, or leave deep stages "
                f"out of out_indices={self.out_indices}"
            )
        maps = []
        for i, stage in enumerate(self.stages):
            tokens, grid = stage(x)
            if i in self.out_indices:
                maps.append(tokens_to_map(self.norms[str(i)](tokens), grid))
            x = tokens_to_map(tokens, grid)
        return tuple(maps)

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages == 0:
            return [cast(Stage, self.stages[0]).merger]
        frozen = max(self.frozen_stages, 0)
        return [*self.stages[:frozen], *(norm for i, norm in self.norms.items() if int(i) < frozen)]

    def _freeze(self) -> None:
        for module in self._frozen_modules():
            module.eval().requires_grad_(False)


def _per_stage(argument: str, value: Any) -> tuple:
    """Return one value for each stage; a single name, dict or None stands for all four."""
    if value is None or isinstance(value, str | Mapping):
        return (value,) * 4
    if len(value) != 4:
        raise ValueError(f"{argument}={value!r} has {len(value)} values; give one for each of the 4 stages")
    return tuple(value)


def _checked_out_indices(out_indices: Sequence[int]) -> tuple[int, ...]:
    indices = tuple(out_indices)
    if not indices or list(indices) != sorted(set(indices)) or not set(indices) <= {0, 1, 2, 3}:
        raise ValueError(f"out_indices={indices} must be stages out of (0, 1, 2, 3), at least one, in rising order")
    return indices
