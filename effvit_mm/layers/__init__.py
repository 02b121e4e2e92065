"""Mechanisms in pure torch, one a file: what is computed."""

from effvit_mm.layers.absolute_position import AbsolutePositions
from effvit_mm.layers.anchor_attention import AnchorAttention
from effvit_mm.layers.bicubic_position import BicubicPositions
from effvit_mm.layers.block import Block
from effvit_mm.layers.deformable_merging import DeformableMerging
from effvit_mm.layers.grid import Grid, map_to_tokens, pad_to_multiple, tokens_to_map
from effvit_mm.layers.mlp import MixMlp, Mlp
from effvit_mm.layers.prefix_tokens import PrefixTokens
from effvit_mm.layers.relative_position import RelativePositionAttention
from effvit_mm.layers.self_attention import SelfAttention
from effvit_mm.layers.simple_pyramid import SimplePyramidLevel
from effvit_mm.layers.token_merging import OverlappingMerging, PatchMerging
from effvit_mm.layers.token_selection import TokenSelection
from effvit_mm.layers.token_selector import TokenSelector

__all__ = [
    "AbsolutePositions",
    "AnchorAttention",
    "BicubicPositions",
    "Block",
    "DeformableMerging",
    "Grid",
    "MixMlp",
    "Mlp",
    "OverlappingMerging",
    "PatchMerging",
    "PrefixTokens",
    "RelativePositionAttention",
    "SelfAttention",
    "SimplePyramidLevel",
    "TokenSelection",
    "TokenSelector",
    "map_to_tokens",
    "pad_to_multiple",
    "tokens_to_map",
]
