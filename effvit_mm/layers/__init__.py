"""Mechanisms in pure torch, one a file: what is computed."""

from effvit_mm.layers.anchor_attention import AnchorAttention
from effvit_mm.layers.block import Block
from effvit_mm.layers.grid import Grid, map_to_tokens, tokens_to_map
from effvit_mm.layers.mlp import MixMlp, Mlp
from effvit_mm.layers.self_attention import SelfAttention
from effvit_mm.layers.token_merging import OverlappingMerging

__all__ = [
    "AnchorAttention",
    "Block",
    "Grid",
    "MixMlp",
    "Mlp",
    "OverlappingMerging",
    "SelfAttention",
    "map_to_tokens",
    "tokens_to_map",
]
