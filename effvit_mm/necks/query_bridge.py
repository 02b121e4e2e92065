"""CrossViT's one-query fusion as a neck, over maps that have no class token.

Chen et al., "CrossViT: Cross-Attention Multi-Scale Vision Transformer for Image Classification", ICCV 2021, arXiv
2103.14899.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, cat, nn

from effvit_mm.backbones.initialization import initialize_weights
from effvit_mm.layers import QueryFusion, map_to_tokens
from effvit_mm.necks.across_scales import AcrossScales
from effvit_mm.registry import MODELS


@MODELS.register_module()
class QueryBridge(AcrossScales):
    """Ask the next scale once for each scale, and add what was found to all its places.

    The query is the mean of a map. It is projected to the next map's channels, attends to all its places, comes back,
    and is added everywhere: a global exchange, without detail.

    Args:
        in_channels: Channels of the maps, finest first.
        num_heads: Heads of the attention among each map's places, one number for all or one for each map.
        init_cfg: MMEngine's initialisation, applied after our own.

    Shape:
        maps ``(B, in_channels[s], H_s, W_s)`` of any sizes; returns a tuple of the same shapes.

    Cost:
        That of :class:`~effvit_mm.layers.QueryFusion`: linear in the pixels.

    Raises:
        ValueError: If a number is out of range, or maps have other channels than the neck was built for.

    Reference:
        arXiv 2103.14899, section 3.3.

    Differs from the paper:
        There the query is a class token that a classifier reads, and other tokens hear of it in the blocks that follow.
        Here there is no such token and no block, so the map's mean asks and its places get the answer.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        num_heads: int | Sequence[int] = 1,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(in_channels, init_cfg)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for channels in self.in_channels)
        self.fusion = QueryFusion(self.in_channels, num_heads)
        initialize_weights(self)

    def exchange(self, fmaps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Bridge maps ``(B, in_channels[s], H_s, W_s)``."""
        scales = []
        for norm, fmap in zip(self.norms, fmaps, strict=True):
            tokens = norm(map_to_tokens(fmap))
            scales.append(cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1))
        fused = self.fusion(scales)
        return tuple(fmap + tokens[:, 0, :, None, None] for fmap, tokens in zip(fmaps, fused, strict=True))
