"""The names under which configs choose a mechanism: one line each."""

from effvit_mm import layers
from effvit_mm.registry import MLPS, TOKEN_MERGERS, TOKEN_MIXERS, TOKEN_REDUCERS

TOKEN_MIXERS.register_module("self", module=layers.SelfAttention)
TOKEN_MIXERS.register_module("relative", module=layers.RelativePositionAttention)
TOKEN_MIXERS.register_module("anchor", module=layers.AnchorAttention)
TOKEN_MIXERS.register_module("window", module=layers.WindowAttention)
TOKEN_MIXERS.register_module("shifted_window", module=layers.ShiftedWindowAttention)
TOKEN_MIXERS.register_module("spatial_reduction", module=layers.SpatialReductionAttention)
TOKEN_MIXERS.register_module("linear_spatial_reduction", module=layers.LinearSpatialReductionAttention)
TOKEN_MIXERS.register_module("efficient", module=layers.EfficientAttention)
TOKEN_MIXERS.register_module("cross_covariance", module=layers.CrossCovarianceAttention)
TOKEN_MIXERS.register_module("channel_group", module=layers.ChannelGroupAttention)
TOKEN_MIXERS.register_module("dual", module=layers.DualAttention)
TOKEN_MIXERS.register_module("pooling", module=layers.Pooling)
TOKEN_MIXERS.register_module("relu_linear", module=layers.ReluLinearAttention)
TOKEN_MIXERS.register_module("convolutional_projection", module=layers.ConvolutionalProjectionAttention)
TOKEN_MIXERS.register_module("focal", module=layers.FocalModulation)
TOKEN_MIXERS.register_module("deformable", module=layers.DeformableAttention)
TOKEN_MIXERS.register_module("agent", module=layers.AgentAttention)
TOKEN_MIXERS.register_module("library", module=layers.LibraryMixer)

MLPS.register_module("plain", module=layers.Mlp)
MLPS.register_module("mix", module=layers.MixMlp)
MLPS.register_module("enhanced_mix", module=layers.EnhancedMixMlp)

TOKEN_MERGERS.register_module("overlapping", module=layers.OverlappingMerging)
TOKEN_MERGERS.register_module("patch", module=layers.PatchMerging)
TOKEN_MERGERS.register_module("deformable", module=layers.DeformableMerging)
TOKEN_MERGERS.register_module("tokens_to_token", module=layers.TokensToToken)

TOKEN_REDUCERS.register_module("token_learner", module=layers.TokenLearner)
TOKEN_REDUCERS.register_module("predicted", module=layers.PredictedSelection)
TOKEN_REDUCERS.register_module("class_attention", module=layers.ClassAttentionSelection)
