"""DeiT's weights for ToSA, which has none of its own: every layer keeps its name, and the selectors start fresh."""

from collections.abc import Mapping

from torch import Tensor

from effvit_mm.backbones import ToSADeiT
from effvit_mm.checkpoint.deit_keys import DEIT_BLOCK_PARTS, rename_plain
from effvit_mm.checkpoint.key_map import Renamed


def rename_tosa_deit(weights: Mapping[str, Tensor], variant: str, task: str) -> Renamed:
    """Rename DeiT's weights to those of :class:`~effvit_mm.backbones.ToSADeiT`, or of a classifier over it."""
    return rename_plain(weights, ToSADeiT, variant, task, DEIT_BLOCK_PARTS)
