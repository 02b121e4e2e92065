"""DeiT's weights for networks on fewer tokens: every layer keeps its name, and the reducers start fresh."""

from collections.abc import Mapping

from torch import Tensor

from effvit_mm.backbones import ReducedDeiT
from effvit_mm.checkpoint.deit_keys import DEIT_BLOCK_PARTS, rename_plain
from effvit_mm.checkpoint.key_map import Renamed


def rename_reduced_deit(weights: Mapping[str, Tensor], variant: str, task: str) -> Renamed:
    """Rename DeiT's weights to those of :class:`~effvit_mm.backbones.ReducedDeiT`, or of a classifier over it."""
    return rename_plain(weights, ReducedDeiT, variant, task, DEIT_BLOCK_PARTS)
