"""MISSFormer's transformer context bridge as a neck.

Huang et al., "MISSFormer: An Effective Medical Image Segmentation Transformer", 2021, arXiv 2109.07162.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from effvit_mm.backbones.initialization import initialize_weights
from effvit_mm.layers import ContextBridgeLayer, Grid, map_to_tokens, tokens_to_map
from effvit_mm.necks.across_scales import AcrossScales, per_scale
from effvit_mm.registry import MODELS


@MODELS.register_module()
class ContextBridge(AcrossScales):
    """Let every place of every scale attend to reduced places of all scales, some layers deep.

    A map of ``m_s C`` channels gives ``m_s`` tokens a place. Channels that are no multiple of C are projected to the
    next one, and what the bridge changes is projected back and added to the map.

    Args:
        in_channels: Channels of the maps, finest first.
        dim: Channels C of a token; None for those of the finest map.
        num_layers: Layers.
        reduction_ratios: For each map, places on each side that become one for keys and values; None for 2, 4, 8, ...
            from the second coarsest map on, and 1 at the coarsest: (8, 4, 2, 1). Double them to quarter the cost of
            attention.
        num_heads: Heads of the attention.
        mlp_ratio: Hidden channels of the MLPs over a map's.
        with_cp: Recompute each layer in the backward pass instead of keeping its activations (non-reentrant).
        init_cfg: MMEngine's initialisation, applied after our own.

    Shape:
        maps ``(B, in_channels[s], H_s, W_s)`` of any sizes; returns a tuple of the same shapes.

    Cost:
        ``num_layers`` times that of :class:`~effvit_mm.layers.ContextBridgeLayer`, quadratic in the pixels. With four
        layers over channels (64, 128, 320, 512): 4.8 G multiply-adds at 224x224.

    Raises:
        ValueError: If a number is out of range, or maps have other channels than the neck was built for.

    Reference:
        arXiv 2109.07162, section 3.3: channels 64 (1, 2, 5, 8), four layers, one head.

    Differs from the paper:
        Any number of maps, of any size, with any channels; there it joins an encoder to a decoder for 224x224. Stock
        detectors pass no padding mask: what pads a batch takes part, as it does in their convolutions.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        dim: int | None = None,
        num_layers: int = 4,
        reduction_ratios: Sequence[int] | None = None,
        num_heads: int = 1,
        mlp_ratio: int = 4,
        with_cp: bool = False,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(in_channels, init_cfg)
        num_scales = len(self.in_channels)
        dim = self.in_channels[0] if dim is None else dim
        if dim < 1 or num_layers < 1 or mlp_ratio < 1:
            raise ValueError(f"dim={dim}, num_layers={num_layers} and mlp_ratio={mlp_ratio} must be at least 1")
        if reduction_ratios is None:
            reduction_ratios = [2**power for power in reversed(range(num_scales))]
        reduction_ratios = per_scale("reduction_ratios", reduction_ratios, num_scales)
        self.dim, self.with_cp = dim, with_cp
        multiples = [-(-channels // dim) for channels in self.in_channels]
        self.project = nn.ModuleList(
            nn.Identity() if channels == multiple * dim else nn.Linear(channels, multiple * dim)
            for channels, multiple in zip(self.in_channels, multiples, strict=True)
        )
        self.layers = nn.ModuleList(
            ContextBridgeLayer(dim, multiples, reduction_ratios, num_heads=num_heads, mlp_ratio=mlp_ratio)
            for _ in range(num_layers)
        )
        self.project_back = nn.ModuleList(
            nn.Identity() if channels == multiple * dim else nn.Linear(multiple * dim, channels)
            for channels, multiple in zip(self.in_channels, multiples, strict=True)
        )
        initialize_weights(self)

    def exchange(self, fmaps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Bridge maps ``(B, in_channels[s], H_s, W_s)``."""
        grids: list[Grid] = [(fmap.shape[2], fmap.shape[3]) for fmap in fmaps]
        wide = [project(map_to_tokens(fmap)) for project, fmap in zip(self.project, fmaps, strict=True)]
        tokens = tuple(part.reshape(len(part), -1, self.dim) for part in wide)
        for layer in self.layers:
            tokens = self._run(layer, tokens, grids)
        bridged = []
        for fmap, entered, left, back, grid in zip(fmaps, wide, tokens, self.project_back, grids, strict=True):
            change = back(left.reshape(entered.shape) - entered)
            bridged.append(fmap + tokens_to_map(change, grid))
        return tuple(bridged)

    def _run(self, layer: nn.Module, tokens: tuple[Tensor, ...], grids: list[Grid]) -> tuple[Tensor, ...]:
        if self.with_cp and torch.is_grad_enabled():
            return cast(tuple[Tensor, ...], checkpoint(layer, tokens, grids, use_reentrant=False))
        return layer(tokens, grids)
