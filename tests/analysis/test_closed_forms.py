"""The cost that each docstring states, the papers' budgets, and the figures timm publishes."""

import pytest
import torch
from torch import nn

import effvit_mm
from effvit_mm.analysis import count
from effvit_mm.analysis.cost import cost_of
from effvit_mm.layers import (
    AbsolutePositions,
    AgentAttention,
    AnchorAttention,
    ChannelGroupAttention,
    ClassAttentionSelection,
    ContextBridgeLayer,
    ConvolutionalProjectionAttention,
    CrossCovarianceAttention,
    DeformableAttention,
    DeformableMerging,
    DualAttention,
    EfficientAttention,
    EnhancedMixMlp,
    FocalModulation,
    LinearSpatialReductionAttention,
    MixMlp,
    Mlp,
    OverlappingMerging,
    PatchMerging,
    Pooling,
    PredictedSelection,
    QueryFusion,
    RelativePositionAttention,
    ReluLinearAttention,
    SelfAttention,
    SpatialReductionAttention,
    TokenFuser,
    TokenLearner,
    TokensToToken,
    WindowAttention,
)

GRID, C, HEADS, M, R = (6, 10), 24, 3, 5, 2
N, D = 60, C // HEADS

TOKEN_LAYERS = {
    "self attention": (lambda: SelfAttention(C, HEADS), 4 * N * C**2 + 2 * N**2 * C),
    "relative positions": (
        lambda: RelativePositionAttention(C, HEADS, table_grid=(6, 10)),
        4 * N * C**2 + 2 * N**2 * C,
    ),
    "anchor attention": (lambda: AnchorAttention(C, HEADS, num_anchors=M), 3 * N * C**2 + 4 * N * M * C),
    "anchors as in the paper": (
        lambda: AnchorAttention(C, HEADS, num_anchors=M, mode="paper"),
        3 * N * C**2 + 3 * N * M * C,
    ),
    "anchors for each head": (
        lambda: AnchorAttention(C, HEADS, num_anchors=M, mode="cosine", shared_anchors=False),
        3 * N * C**2 + 3 * N * M * C,
    ),
    "anchors with a local branch": (
        lambda: AnchorAttention(C, HEADS, num_anchors=M, local="dwconv"),
        3 * N * C**2 + 4 * N * M * C + 9 * N * C,
    ),
    # 6x10 tokens in windows of 4: 8x12 with padding.
    "windows": (lambda: WindowAttention(C, HEADS, window_size=4, shift=2), 4 * N * C**2 + 2 * 8 * 12 * 4**2 * C),
    # 6x10 tokens over 4: 2x3 keys.
    "spatial reduction": (
        lambda: SpatialReductionAttention(C, HEADS, reduction_ratio=4),
        2 * N * C**2 + 2 * 6 * C**2 + 4**2 * 6 * C**2 + 2 * N * 6 * C,
    ),
    "linear spatial reduction": (
        lambda: LinearSpatialReductionAttention(C, HEADS, pool_size=5),
        2 * N * C**2 + 3 * 25 * C**2 + 2 * N * 25 * C,
    ),
    "efficient attention": (lambda: EfficientAttention(C, HEADS), 4 * N * C**2 + 2 * N * C * D),
    "cross-covariance": (lambda: CrossCovarianceAttention(C, HEADS), 4 * N * C**2 + 2 * N * C * D + 18 * N * C),
    "channel groups": (lambda: ChannelGroupAttention(C, HEADS), 4 * N * C**2 + 2 * N * C * D),
    "dual attention": (lambda: DualAttention(C, HEADS, spatial_heads=2), 8 * N * C**2 + 2 * N * C * (D + C // 2)),
    "pooling": (lambda: Pooling(C), 0),
    "relu linear attention": (
        lambda: ReluLinearAttention(C, HEADS, kernel_sizes=(3, 5)),
        3 * N * C**2 + 3 * (N * C**2 + 2 * N * C * (D + 1)) + 3 * N * C * (3**2 + 5**2 + 2 * D),
    ),
    # 6x10 tokens over 2: 3x5 keys.
    "convolutional projection": (
        lambda: ConvolutionalProjectionAttention(C, HEADS),
        2 * N * C**2 + 2 * 15 * C**2 + 2 * N * 15 * C + 9 * (N + 2 * 15) * C,
    ),
    "focal modulation": (
        lambda: FocalModulation(C, num_levels=3),
        4 * N * C**2 + N * C * 4 + N * C * (3**2 + 5**2 + 7**2),
    ),
    "deformable attention": (
        lambda: DeformableAttention(C, HEADS, stride=2, num_groups=3),
        2 * N * C**2 + 2 * 15 * C**2 + 2 * N * 15 * C + 9 * N * C + 15 * C * (5**2 + 2),
    ),
    "deformable attention with a bias": (
        lambda: DeformableAttention(C, HEADS, stride=2, num_groups=3, bias="log_position"),
        2 * N * C**2 + 2 * 15 * C**2 + 2 * N * 15 * C + 15 * C * (5**2 + 2) + N * 15 * 32 * (2 * 3 + HEADS),
    ),
    "token learner": (
        lambda: TokenLearner(C, num_tokens=M, bottleneck=7),
        N * 7 * (C + M) + N * M * C,
    ),
    "predicted selection": (
        lambda: PredictedSelection(C).eval(),
        N * (C**2 + C**2 // 2 + C**2 // 8 + C // 2),
    ),
    "agent attention": (
        lambda: AgentAttention(C, HEADS, agent_grid=(2, 3)),
        4 * N * C**2 + 4 * N * 6 * C + 9 * N * C,
    ),
    "mlp with a convolution and a norm": (lambda: EnhancedMixMlp(C, R * C), 2 * R * N * C**2 + 9 * R * N * C),
    "mlp": (lambda: Mlp(C, R * C), 2 * R * N * C**2),
    "mlp with a convolution": (lambda: MixMlp(C, R * C), 2 * R * N * C**2 + 9 * R * N * C),
    "positions": (lambda: AbsolutePositions(C, GRID), 0),
}

MERGERS = {
    "overlapping, 4": (lambda: OverlappingMerging(3, C, stride=4), 7**2 * 3 * C, 4),
    "overlapping, 2": (lambda: OverlappingMerging(8, C, stride=2), 3**2 * 8 * C, 2),
    "patches": (lambda: PatchMerging(3, C, stride=4), 4**2 * 3 * C, 4),
    "deformable": (lambda: DeformableMerging(8, C, stride=2), 2**2 * 8 * C + 2 * 2**4 * 8, 2),
}

# Channels of a scale and of the one it asks, and the tokens of that.
_RING = ((C, 16, 7), (16, C, N))

# Millions of multiply-adds of the backbone alone at 224x224; LIT: Pan et al., AAAI 2022, table 1.
BUDGETS = {
    "anchorformer_t": 0.71,
    "anchorformer_s": 2.68,
    "anchorformer_b": 9.22,
    "lit_ti": 3.60,
    "lit_s": 4.08,
    "lit_m": 8.59,
    "lit_b": 15.03,
}

# `infer_gmacs` of results/benchmark-infer-fp32-nchw-pt240-cpu-i7_12700h-dynamo.csv in timm's repository.
PUBLISHED = {
    "deit_small_patch16_224": 4.61,
    "swin_tiny_patch4_window7_224": 4.51,
    "pvt_v2_b2": 4.05,
    "pvt_v2_b2_li": 3.91,
    "convnext_tiny": 4.47,
    "resnet50": 4.11,
}


@pytest.mark.parametrize("name", sorted(TOKEN_LAYERS))
def test_a_token_layer_costs_what_its_docstring_says(name):
    build, macs = TOKEN_LAYERS[name]
    assert count(build(), torch.randn(2, N, C), GRID).macs == 2 * macs


def test_the_class_tokens_selection_costs_its_fused_token():
    scores = torch.randn(2, HEADS, 1, 1 + N)
    ledger = count(ClassAttentionSelection(C), torch.randn(2, 1 + N, C), GRID, num_prefix=1, scores=scores)
    assert ledger.macs == 2 * N * C


def test_a_token_fuser_costs_what_its_docstring_says():
    ledger = count(TokenFuser(C, M, bottleneck=7), torch.randn(2, M, C), torch.randn(2, N, C))
    assert ledger.macs == 2 * (M**2 * C + N * 7 * (C + M) + N * M * C)


@pytest.mark.parametrize(("attention", "pairs"), [("efficient", 2 * N * 4 * 8**2), ("softmax", 2 * (4 * N) ** 2 * 8)])
def test_tokens_to_token_costs_what_its_docstring_says(attention, pairs):
    merger = TokensToToken(3, C, stride=4, token_dim=8, attention=attention)
    layer = 4 * N * (3 * 27 * 8 + 3 * 8**2) + pairs
    fmap = torch.randn(2, 3, GRID[0] * 4, GRID[1] * 4)
    assert count(merger, fmap).macs == 2 * (layer + N * 9 * 8 * C)


def test_a_context_bridge_layer_costs_what_its_docstring_says():
    grids, multiples, ratios = [(6, 10), (3, 5)], (1, 2), (2, 1)
    scales = [torch.randn(2, h * w * m, C) for (h, w), m in zip(grids, multiples, strict=True)]
    tokens, keys = 60 + 15 * 2, 15 + 15 * 2
    attention = 2 * tokens * C**2 + 2 * keys * C**2 + 2 * tokens * keys * C + 15 * C**2 * 2**2
    mlps = 60 * (2 * 3 * C**2 + 9 * 3 * C) + 15 * (2 * 3 * (2 * C) ** 2 + 9 * 3 * 2 * C)
    ledger = count(ContextBridgeLayer(C, multiples, ratios, mlp_ratio=3), scales, grids)
    assert ledger.macs == 2 * (attention + mlps)


def test_query_fusion_costs_what_its_docstring_says():
    ledger = count(QueryFusion((C, 16)), [torch.randn(2, 1 + N, C), torch.randn(2, 1 + 7, 16)])
    asks = [2 * own * other + 4 * other**2 + 2 * n * other**2 + 2 * (1 + n) * other for own, other, n in _RING]
    assert ledger.macs == 2 * sum(asks)


@pytest.mark.parametrize("name", sorted(MERGERS))
def test_a_merger_costs_what_its_docstring_says(name):
    build, macs_a_token, stride = MERGERS[name]
    merger = build()
    in_dim = next(layer.in_channels for layer in merger.modules() if isinstance(layer, nn.Conv2d))
    fmap = torch.randn(2, in_dim, GRID[0] * stride, GRID[1] * stride)
    assert count(merger, fmap).macs == 2 * N * macs_a_token


def test_deformable_merging_samples_four_corners_of_four_places_beside_its_total():
    merger = DeformableMerging(8, C, stride=2)
    # Without offsets it is a plain convolution and samples nothing.
    nn.init.normal_(merger.offset.weight)
    ledger = count(merger, torch.randn(2, 8, 12, 20))
    assert ledger.by_line()["embedding-bag sampling"].macs == 2 * N * 4 * 4 * 8


@pytest.mark.parametrize("name", sorted(BUDGETS))
def test_a_backbone_meets_its_papers_budget(name):
    ledger = count(effvit_mm.create_backbone(name), torch.zeros(1, 3, 224, 224))
    assert round(ledger.macs / 1e9, 2) == pytest.approx(BUDGETS[name], abs=0.011)
    assert not ledger.unknown()


@pytest.mark.parametrize(("name", "giga_macs"), [("anchorformer_s", 54.62), ("lit_s", 156.2), ("lit_ti", 134.9)])
def test_a_backbone_costs_what_is_known_of_it_on_a_detectors_pictures(name, giga_macs):
    ledger = count(effvit_mm.create_backbone(name), torch.zeros(1, 3, 800, 1280))
    assert ledger.macs / 1e9 == pytest.approx(giga_macs, rel=0.001)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_timms_published_figures_are_met_within_one_percent(name):
    timm = pytest.importorskip("timm")
    ledger = count(timm.create_model(name), torch.zeros(1, 3, 224, 224))
    assert ledger.macs / 1e9 == pytest.approx(PUBLISHED[name], rel=0.01)
    assert not ledger.unknown()


def test_a_detector_around_lit_costs_what_is_known_of_it():
    lit = {"model.backbone.type": "LIT", "model.neck.in_channels": [192, 384, 768]}
    ledger, _ = cost_of("configs/coco/retinanet_anchorformer.py", (800, 1280), options=lit)
    assert ledger.macs / 1e9 == pytest.approx(308, rel=0.01)
