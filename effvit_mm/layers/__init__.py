"""Mechanisms in pure torch, one a file: what is computed."""

from effvit_mm.layers.absolute_position import AbsolutePositions
from effvit_mm.layers.agent_attention import AgentAttention
from effvit_mm.layers.anchor_attention import AnchorAttention
from effvit_mm.layers.bicubic_position import BicubicPositions
from effvit_mm.layers.block import Block
from effvit_mm.layers.channel_group_attention import ChannelGroupAttention
from effvit_mm.layers.class_attention_selection import ClassAttentionSelection
from effvit_mm.layers.context_bridge import ContextBridgeLayer
from effvit_mm.layers.convolutional_projection import ConvolutionalProjectionAttention
from effvit_mm.layers.cross_covariance import CrossCovarianceAttention
from effvit_mm.layers.deformable_attention import DeformableAttention
from effvit_mm.layers.deformable_merging import DeformableMerging
from effvit_mm.layers.dual_attention import DualAttention
from effvit_mm.layers.efficient_attention import EfficientAttention
from effvit_mm.layers.enhanced_mix_mlp import EnhancedMixMlp
from effvit_mm.layers.focal_modulation import FocalModulation
from effvit_mm.layers.grid import Grid, map_to_tokens, pad_to_multiple, tokens_to_map
from effvit_mm.layers.library_mixer import LibraryMixer
from effvit_mm.layers.linear_spatial_reduction import LinearSpatialReductionAttention
from effvit_mm.layers.mlp import MixMlp, Mlp
from effvit_mm.layers.pooling import Pooling
from effvit_mm.layers.predicted_selection import PredictedSelection
from effvit_mm.layers.prefix_tokens import PrefixTokens
from effvit_mm.layers.query_fusion import QueryFusion
from effvit_mm.layers.relative_position import RelativePositionAttention
from effvit_mm.layers.relu_linear_attention import ReluLinearAttention
from effvit_mm.layers.self_attention import SelfAttention
from effvit_mm.layers.simple_pyramid import SimplePyramidLevel
from effvit_mm.layers.spatial_reduction import SpatialReductionAttention
from effvit_mm.layers.token_learner import TokenFuser, TokenLearner
from effvit_mm.layers.token_merging import OverlappingMerging, PatchMerging
from effvit_mm.layers.token_reduction import Reduced, TokenReducer
from effvit_mm.layers.token_scorer import TokenScorer
from effvit_mm.layers.token_selection import TokenSelection
from effvit_mm.layers.token_selector import TokenSelector
from effvit_mm.layers.tokens_to_token import TokensToToken
from effvit_mm.layers.window_attention import ShiftedWindowAttention, WindowAttention

__all__ = [
    "AbsolutePositions",
    "AgentAttention",
    "AnchorAttention",
    "BicubicPositions",
    "Block",
    "ChannelGroupAttention",
    "ClassAttentionSelection",
    "ContextBridgeLayer",
    "ConvolutionalProjectionAttention",
    "CrossCovarianceAttention",
    "DeformableAttention",
    "DeformableMerging",
    "DualAttention",
    "EfficientAttention",
    "EnhancedMixMlp",
    "FocalModulation",
    "Grid",
    "LibraryMixer",
    "LinearSpatialReductionAttention",
    "MixMlp",
    "Mlp",
    "OverlappingMerging",
    "PatchMerging",
    "Pooling",
    "PredictedSelection",
    "PrefixTokens",
    "QueryFusion",
    "Reduced",
    "RelativePositionAttention",
    "ReluLinearAttention",
    "SelfAttention",
    "ShiftedWindowAttention",
    "SimplePyramidLevel",
    "SpatialReductionAttention",
    "TokenFuser",
    "TokenLearner",
    "TokenReducer",
    "TokenScorer",
    "TokenSelection",
    "TokenSelector",
    "TokensToToken",
    "WindowAttention",
    "map_to_tokens",
    "pad_to_multiple",
    "tokens_to_map",
]
