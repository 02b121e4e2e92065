"""One row per mixer, backbone and family of configs: what the contract tests run over."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from effvit_mm.backbones import LIT, AnchorDeiT, AnchorFormer, DeiT, Hybrid, Plain, Pyramid, ReducedDeiT, ToSADeiT
from effvit_mm.layers import (
    AgentAttention,
    AnchorAttention,
    ChannelGroupAttention,
    ClassAttentionSelection,
    ConvolutionalProjectionAttention,
    CrossCovarianceAttention,
    DeformableAttention,
    DualAttention,
    EfficientAttention,
    FocalModulation,
    LibraryMixer,
    LinearSpatialReductionAttention,
    Pooling,
    PredictedSelection,
    RelativePositionAttention,
    ReluLinearAttention,
    SelfAttention,
    ShiftedWindowAttention,
    SpatialReductionAttention,
    TokenLearner,
    WindowAttention,
)

ROOT = Path(__file__).parents[1]

# (dim, num_heads) -> mixer
MIXERS = {
    "self": lambda dim, heads: SelfAttention(dim, heads),
    "relative": lambda dim, heads: RelativePositionAttention(dim, heads, table_grid=(3, 4)),
    "anchor_cosine": lambda dim, heads: AnchorAttention(dim, heads, num_anchors=5, mode="cosine"),
    "anchor_paper": lambda dim, heads: AnchorAttention(dim, heads, num_anchors=5, mode="paper"),
    "anchor_apart": lambda dim, heads: AnchorAttention(dim, heads, num_anchors=5, mode="apart"),
    "anchor_local": lambda dim, heads: AnchorAttention(dim, heads, num_anchors=5, local="dwconv", shared_anchors=False),
    "window": lambda dim, heads: WindowAttention(dim, heads, window_size=4),
    "window_moved": lambda dim, heads: WindowAttention(dim, heads, window_size=3, shift=2),
    "shifted_window": lambda dim, heads: ShiftedWindowAttention(dim, heads, window_size=3),
    "spatial_reduction": lambda dim, heads: SpatialReductionAttention(dim, heads, reduction_ratio=4),
    "unreduced": lambda dim, heads: SpatialReductionAttention(dim, heads, reduction_ratio=1),
    "linear_spatial_reduction": lambda dim, heads: LinearSpatialReductionAttention(dim, heads, pool_size=3),
    "efficient": lambda dim, heads: EfficientAttention(dim, heads),
    "cross_covariance": lambda dim, heads: CrossCovarianceAttention(dim, heads),
    "channel_group": lambda dim, heads: ChannelGroupAttention(dim, heads),
    "channel_group_paper": lambda dim, heads: ChannelGroupAttention(dim, heads, scale="channels"),
    "dual": lambda dim, heads: DualAttention(dim, heads),
    "pooling": lambda dim, heads: Pooling(dim, heads),
    "relu_linear": lambda dim, heads: ReluLinearAttention(dim, heads, kernel_sizes=(3, 5), qkv_bias=True),
    "convolutional_projection": lambda dim, heads: ConvolutionalProjectionAttention(dim, heads),
    "focal": lambda dim, heads: FocalModulation(dim, heads, num_levels=3),
    "deformable": lambda dim, heads: DeformableAttention(dim, heads, stride=2, num_groups=3),
    "deformable_unbounded": lambda dim, heads: DeformableAttention(dim, heads, stride=3, offset_range=None),
    "deformable_biased": lambda dim, heads: DeformableAttention(
        dim, heads, stride=2, num_groups=3, bias="log_position"
    ),
    "agent": lambda dim, heads: AgentAttention(dim, heads, agent_grid=(2, 3)),
    "library_tokens": lambda dim, heads: LibraryMixer(dim, heads, module="timm.models.xcit.XCA", qkv_bias=True),
    "library_map": lambda dim, heads: LibraryMixer(
        dim, heads, module="timm.models.focalnet.FocalModulation", layout="map", focal_window=3, focal_level=2
    ),
    "library_windows": lambda dim, heads: LibraryMixer(
        dim, heads, module="timm.models.twins.LocallyGroupedAttn", layout="tokens_and_grid", ws=3
    ),
}

# (dim, num_heads) -> reducer
REDUCERS = {
    "token_learner": lambda dim, heads: TokenLearner(dim, num_tokens=5, bottleneck=7),
    "predicted": lambda dim, heads: PredictedSelection(dim, keep=0.6),
    "class_attention": lambda dim, heads: ClassAttentionSelection(dim, keep=0.6),
    "class_attention_alone": lambda dim, heads: ClassAttentionSelection(dim, keep=0.3, fuse=False),
}

# Small enough for float64 on a laptop, every number a different one.
SMALL = dict(channels=(8, 12, 20, 24), depths=(1, 2, 1, 1), num_heads=(1, 2, 5, 4), mlp_ratios=(4, 3, 2, 1))

SMALL_PLAIN = dict(dim=24, depth=4, num_heads=3, mlp_ratio=2, pretrain_img_size=80)

# (**options) -> backbone
BACKBONES = {
    "pyramid": lambda **options: Pyramid(**{**SMALL, **options}),
    "pyramid_mixed": lambda **options: Pyramid(**{**SMALL, "mixers": (None, None, "self", "anchor"), **options}),
    "pyramid_surveyed": lambda **options: Pyramid(
        **{**SMALL, "mixers": ("cross_covariance", ("window", "shifted_window"), "dual", "deformable"), **options}
    ),
    "anchorformer": lambda **options: AnchorFormer(**{**SMALL, "num_anchors": 7, **options}),
    "hybrid": lambda **options: Hybrid(**{**SMALL, **options}),
    "lit": lambda **options: LIT(**{**SMALL, "pretrain_img_size": 96, **options}),
    "lit_ti": lambda **options: LIT(**{**SMALL, "variant": "ti", "pretrain_img_size": 96, **options}),
    "plain": lambda **options: Plain(**{**SMALL_PLAIN, "out_channels": 20, **options}),
    "plain_taps": lambda **options: Plain(**{**SMALL_PLAIN, "taps": (0, 1, 2, 3), "mixers": "anchor", **options}),
    "deit": lambda **options: DeiT(**{**SMALL_PLAIN, **options}),
    "tosa_deit": lambda **options: ToSADeiT(**{**SMALL_PLAIN, "num_probes": 5, **options}),
    "tosa_deit_scored": lambda **options: ToSADeiT(**{**SMALL_PLAIN, "importance": "scored", **options}),
    "predicted_deit": lambda **options: ReducedDeiT(**{**SMALL_PLAIN, **options}),
    "evit_deit": lambda **options: ReducedDeiT(**{**SMALL_PLAIN, "reducers": "class_attention", **options}),
    "learned_deit": lambda **options: ReducedDeiT(
        **{**SMALL_PLAIN, "reducers": {"type": "token_learner", "bottleneck": 7}, "stem": "tokens_to_token", **options}
    ),
    "anchor_deit": lambda **options: AnchorDeiT(**{**SMALL_PLAIN, "num_anchors": 7, **options}),
}

# mmpretrain is an extra, and upstream's own does not install beside a torch of today.
CLASSIFIES = find_spec("mmpretrain") is not None
needs_mmpretrain = pytest.mark.skipif(not CLASSIFIES, reason="mmpretrain is not installed")
LEAVES = sorted(
    path
    for path in (ROOT / "configs").glob("*/*.py")
    if not path.parent.name.startswith("_") and (CLASSIFIES or not {path.parent.name, path.stem} & {"imagenet", "cls"})
)
