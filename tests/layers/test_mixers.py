"""The surveyed mixers against loops over their equations, timm's modules with the same weights, and their laws."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import mixers as reference
from timm.models import davit, efficientvit_mit, focalnet, metaformer, pvt_v2, swin_transformer, xcit

from effvit_mm import layers
from effvit_mm.backbones.taxonomy import MIXERS as TAXONOMY
from effvit_mm.layers import heads
from effvit_mm.registry import TOKEN_MIXERS

B, H, W, C, HEADS = 2, 6, 8, 24, 3
GRID = (H, W)


def built(kind, *args, **options):
    """A layer in float64 whose every number counts: no bias is 0, no norm the identity."""
    torch.manual_seed(0)
    layer = kind(*args, **options).double().eval()
    for value in (*layer.parameters(), *layer.buffers()):
        if value.is_floating_point():
            value.data.uniform_(0.5, 1.5) if value.ndim < 2 else value.data.normal_(std=0.4)
    return layer


def tokens(n=H * W, batch=B):
    return torch.randn(batch, n, C, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def fmap():
    return tokens().transpose(1, 2).unflatten(-1, GRID)


def as_tokens(x):
    return x.flatten(2).transpose(1, 2)


def with_weights(theirs, ours, **names):
    """Give their module our numbers; ``names`` maps the first parts of their names to ours."""
    state = {}
    for name, value in theirs.state_dict().items():
        for their, our in names.items():
            their = their.replace("__", ".")
            if name == their or name.startswith(f"{their}."):
                state[name] = ours.state_dict()[our + name.removeprefix(their)].reshape(value.shape)
                break
        else:
            state[name] = ours.state_dict()[name].reshape(value.shape)
    theirs.double().eval().load_state_dict(state, strict=True)
    return theirs


LOOPS = {
    "efficient": (
        lambda: built(layers.EfficientAttention, C, HEADS),
        lambda x, weights: reference.efficient_attention(x, weights, HEADS),
    ),
    "transpose": (
        lambda: built(layers.CrossCovarianceAttention, C, HEADS, local=False),
        lambda x, weights: reference.transpose_attention(x, weights, HEADS),
    ),
    "dual": (
        lambda: built(layers.DualAttention, C, HEADS, spatial_heads=2),
        lambda x, weights: reference.dual_attention(x, weights, HEADS, 2),
    ),
    "agent": (
        lambda: built(layers.AgentAttention, C, HEADS, agent_grid=(4, 3)),
        lambda x, weights: reference.agent_attention(x, weights, GRID, (4, 3), HEADS),
    ),
    "convolutional projection": (
        lambda: built(layers.ConvolutionalProjectionAttention, C, HEADS),
        lambda x, weights: reference.convolutional_projection(x, weights, GRID, HEADS, 2),
    ),
    "deformable": (
        lambda: built(layers.DeformableAttention, C, 6, stride=3, num_groups=2),
        lambda x, weights: reference.deformable_attention(
            x, weights, GRID, 6, stride=3, num_groups=2, offset_range=2.0
        ),
    ),
    "deformable with a bias": (
        lambda: built(layers.DeformableAttention, C, 6, stride=3, num_groups=2, bias="log_position"),
        lambda x, weights: reference.deformable_attention(
            x, weights, GRID, 6, stride=3, num_groups=2, offset_range=2.0, log_position=True
        ),
    ),
    "enhanced mix mlp": (
        lambda: built(layers.EnhancedMixMlp, C, 36),
        lambda x, weights: reference.enhanced_mix_mlp(x, weights, GRID),
    ),
}


@pytest.mark.parametrize("name", LOOPS)
def test_the_result_is_that_of_the_loops_over_the_equations(name):
    build, loop = LOOPS[name]
    layer = build()
    expected = torch.stack([loop(picture, layer.state_dict()) for picture in tokens()])
    torch.testing.assert_close(layer(tokens(), GRID), expected)


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_window_attention_equals_timms_on_whole_windows(shift):
    ours = built(layers.WindowAttention, C, HEADS, window_size=(size := 4), shift=shift)
    theirs = swin_transformer.SwinTransformerBlock(C, (8, 12), HEADS, window_size=size, shift_size=shift)
    attention = theirs.attn.double().eval()
    state = {name: value for name, value in ours.state_dict().items() if name != "bias_table"}
    state["relative_position_bias_table"] = ours.bias_table.detach().flatten(1).T
    attention.load_state_dict(state)
    x = tokens(8 * 12)
    theirs = theirs.double().eval()
    torch.testing.assert_close(ours(x, (8, 12)), theirs._attn(x.unflatten(1, (8, 12))).flatten(1, 2))


def test_an_axis_that_one_window_covers_is_not_shifted():
    shifted, plain = (built(layers.WindowAttention, C, HEADS, window_size=9, shift=shift) for shift in (4, 0))
    torch.testing.assert_close(shifted(tokens(), GRID), plain(tokens(), GRID))


def test_a_window_over_the_whole_grid_without_bias_is_self_attention():
    window, whole = built(layers.WindowAttention, C, HEADS, window_size=8), built(layers.SelfAttention, C, HEADS)
    whole.load_state_dict({name: value for name, value in window.state_dict().items() if name != "bias_table"})
    window.bias_table.data.zero_()
    x = tokens(2 + H * W)
    torch.testing.assert_close(window(x, GRID, num_prefix=2), whole(x, GRID))


@pytest.mark.parametrize("ratio", [1, 2])
def test_spatial_reduction_equals_timms_on_whole_strides(ratio):
    ours = built(layers.SpatialReductionAttention, C, HEADS, reduction_ratio=ratio)
    theirs = with_weights(pvt_v2.Attention(C, HEADS, sr_ratio=ratio), ours, q="query", kv="key_value", sr="reduction")
    torch.testing.assert_close(ours(tokens(), GRID), theirs(tokens(), GRID))


def test_spatial_reduction_equals_mmsegs_on_whole_strides():
    mit = pytest.importorskip("mmseg.models.backbones.mit")
    ours = built(layers.SpatialReductionAttention, C, HEADS, reduction_ratio=2, qkv_bias=True)
    theirs = mit.EfficientMultiheadAttention(C, HEADS, qkv_bias=True, sr_ratio=2).double().eval()
    state, names = ours.state_dict(), {"sr": "reduction", "norm": "norm", "attn.out_proj": "proj"}
    found = {f"{their}.{end}": state[f"{our}.{end}"] for their, our in names.items() for end in ("weight", "bias")}
    for end in ("weight", "bias"):
        found[f"attn.in_proj_{end}"] = torch.cat([state[f"query.{end}"], state[f"key_value.{end}"]])
    theirs.load_state_dict({name.replace("in_proj.", "in_proj_"): value for name, value in found.items()})
    # Theirs adds its input, as a block does around ours.
    torch.testing.assert_close(tokens() + ours(tokens(), GRID), theirs(tokens(), GRID))


def test_the_mlp_with_a_convolution_equals_timms():
    ours = built(layers.MixMlp, C, 2 * C)
    theirs = with_weights(pvt_v2.MlpWithDepthwiseConv(C, 2 * C), ours)
    torch.testing.assert_close(ours(tokens(), GRID), theirs(tokens(), GRID))


def test_linear_spatial_reduction_equals_timms():
    ours = built(layers.LinearSpatialReductionAttention, C, HEADS)
    theirs = with_weights(pvt_v2.Attention(C, HEADS, linear_attn=True), ours, q="query", kv="key_value", sr="reduction")
    torch.testing.assert_close(ours(tokens(), GRID), theirs(tokens(), GRID))


def test_cross_covariance_equals_timms():
    ours = built(layers.CrossCovarianceAttention, C, HEADS, local=False)
    theirs = with_weights(xcit.XCA(C, HEADS, qkv_bias=True), ours)
    torch.testing.assert_close(ours(tokens(), GRID), theirs(tokens()))


def test_the_local_patch_interaction_equals_timms():
    ours = built(layers.cross_covariance.LocalPatchInteraction, C)
    theirs = with_weights(xcit.LPI(C), ours)
    torch.testing.assert_close(ours(tokens(), GRID), theirs(tokens(), H, W))


def test_the_local_patch_interaction_reads_the_normed_sum_of_tokens_and_attention():
    ours = built(layers.CrossCovarianceAttention, C, HEADS)
    plain = built(layers.CrossCovarianceAttention, C, HEADS, local=False)
    plain.load_state_dict({name: ours.state_dict()[name] for name in plain.state_dict()})
    mixed = plain(tokens(), GRID)
    expected = mixed + ours.local(ours.local.norm(tokens() + mixed), GRID)
    torch.testing.assert_close(ours(tokens(), GRID), expected)


@pytest.mark.parametrize("scale", ["tokens", "channels"])
def test_channel_groups_equal_timms(scale):
    ours = built(layers.ChannelGroupAttention, C, HEADS, scale=scale)
    theirs = with_weights(davit.ChannelAttentionV2(C, HEADS, dynamic_scale=scale == "tokens"), ours)
    torch.testing.assert_close(ours(tokens(), GRID), theirs(tokens()))


def test_channel_groups_equal_the_first_release_with_its_roles_permuted():
    ours = built(layers.ChannelGroupAttention, C, HEADS, scale="channels", qkv_bias=False)
    theirs = with_weights(davit.ChannelAttention(C, HEADS), ours)
    query, key, value = ours.qkv.weight.chunk(3)
    theirs.qkv.weight.data = torch.cat([value, query, key]).detach()
    torch.testing.assert_close(ours(tokens(), GRID), theirs(tokens()))


def test_pooling_equals_timms():
    expected = metaformer.Pooling(5)(fmap())
    torch.testing.assert_close(layers.Pooling(C, pool_size=5)(tokens(), GRID), as_tokens(expected))


def test_relu_linear_attention_equals_timms_without_its_norm():
    ours = built(layers.ReluLinearAttention, C, HEADS, kernel_sizes=(3, 5))
    theirs = efficientvit_mit.LiteMLA(
        C, C, dim=C // HEADS, scales=(3, 5), use_bias=(False, True), norm_layer=(None, None)
    )
    theirs = with_weights(theirs, ours, qkv__conv="qkv", aggreg="scales", proj__conv="proj")
    # Theirs sums in fp32 whatever it is given.
    torch.testing.assert_close(ours(tokens(), GRID), as_tokens(theirs(fmap())), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("normalize", [False, True])
def test_focal_modulation_equals_timms(normalize):
    ours = built(layers.FocalModulation, C, num_levels=3, normalize=normalize)
    theirs = focalnet.FocalModulation(C, focal_window=3, focal_level=3, normalize_modulator=normalize)
    names = {f"focal_layers__{i}__0": f"levels.{i}" for i in range(3)}
    theirs = with_weights(theirs, ours, f="query_context_gates", h="modulator", **names)
    torch.testing.assert_close(ours(tokens(), GRID), as_tokens(theirs(fmap())))


def test_relu_weights_sum_to_one_for_a_query_that_sees_a_key():
    layer = built(layers.ReluLinearAttention, C, HEADS, kernel_sizes=())
    query, key, value = (torch.rand(B, HEADS, n, 8, dtype=torch.float64) for n in (5, 9, 9))
    weights = query @ key.transpose(-2, -1)
    expected = weights / weights.sum(-1, keepdim=True) @ value
    torch.testing.assert_close(layer._attend(query, key, value), expected, rtol=1e-5, atol=1e-5)


def test_offsets_of_zero_read_the_lattice_of_cell_middles():
    layer = built(layers.DeformableAttention, C, HEADS, stride=2)
    layer.offset_proj.weight.data.zero_()
    points = layer.points(fmap())[0]
    expected = torch.stack(torch.meshgrid(torch.arange(3) * 2 + 0.5, torch.arange(4) * 2 + 0.5, indexing="ij"), -1)
    torch.testing.assert_close(points, expected.double())


@settings(deadline=None, max_examples=20)
@given(height=st.integers(1, 7), width=st.integers(1, 7), spread=st.floats(0.1, 100), bounded=st.booleans())
def test_points_never_leave_the_picture(height, width, spread, bounded):
    layer = built(layers.DeformableAttention, C, HEADS, stride=3, offset_range=2.0 if bounded else None)
    layer.offset_proj.weight.data *= spread
    points = layer.points(tokens(height * width).transpose(1, 2).unflatten(-1, (height, width)))
    assert points.min() >= 0
    assert (points.amax((0, 1, 2)) <= torch.tensor([height - 1, width - 1])).all()


@settings(deadline=None, max_examples=20)
@given(height=st.integers(1, 9), width=st.integers(1, 9), rows=st.integers(1, 5), columns=st.integers(1, 5))
def test_pooling_inside_the_padding_is_adaptive_pooling_of_the_picture(height, width, rows, columns):
    picture = torch.randn(B, C, height, width, dtype=torch.float64)
    padding = torch.ones(B, height + 2, width + 3, dtype=torch.bool)
    padding[:, :height, :width] = False
    padded = torch.nn.functional.pad(picture, (0, 3, 0, 2))
    expected = torch.nn.functional.adaptive_avg_pool2d(picture, (rows, columns))
    torch.testing.assert_close(heads.pool_to(padded, (rows, columns), padding), expected)


# Options without which a mixer does not see beyond one token of this grid, or is not built.
OPTIONS = {"relative": {"table_grid": (3, 4)}}


@pytest.mark.parametrize("name", sorted(TAXONOMY))
def test_a_mixer_permutes_with_its_tokens_exactly_where_the_taxonomy_says_it_needs_no_grid(name):
    torch.manual_seed(0)
    mixer = TOKEN_MIXERS.get(name)(C, HEADS, **OPTIONS.get(name, {})).double().eval()
    for parameter in mixer.parameters():
        if not parameter.any() or name == "relative":
            torch.nn.init.normal_(parameter)
    order = torch.randperm(H * W, generator=torch.Generator().manual_seed(2))
    permutes = torch.allclose(mixer(tokens()[:, order], GRID), mixer(tokens(), GRID)[:, order])
    assert permutes != TAXONOMY[name].needs_grid


@pytest.mark.parametrize("name", sorted(TAXONOMY))
def test_a_mixer_has_a_table_of_places_exactly_where_the_taxonomy_says_it_serves_one_size(name):
    small, large = (
        TOKEN_MIXERS.get(name)(C, HEADS, **({"table_grid": grid} if name in OPTIONS else {}))
        for grid in ((3, 4), (5, 6))
    )
    shapes = [[value.shape for value in mixer.state_dict().values()] for mixer in (small, large)]
    assert (shapes[0] == shapes[1]) == TAXONOMY[name].any_size
    assert hasattr(small, "table_grid") != TAXONOMY[name].any_size


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        (layers.WindowAttention, {"window_size": 0}, "window_size=0"),
        (layers.WindowAttention, {"window_size": 4, "shift": 4}, "shift=4"),
        (layers.SpatialReductionAttention, {"reduction_ratio": 0}, "reduction_ratio=0"),
        (layers.LinearSpatialReductionAttention, {"pool_size": 0}, "pool_size=0"),
        (layers.ChannelGroupAttention, {"scale": "places"}, "scale='places'"),
        (layers.DualAttention, {"spatial_heads": 5}, "spatial_heads=5"),
        (layers.Pooling, {"pool_size": 4}, "pool_size=4"),
        (layers.ReluLinearAttention, {"kernel_sizes": (5, 2)}, r"kernel_sizes=\(5, 2\)"),
        (layers.ConvolutionalProjectionAttention, {"key_stride": 0}, "key_stride=0"),
        (layers.FocalModulation, {"num_levels": 0}, "num_levels=0"),
        (layers.FocalModulation, {"window_size": 2}, "window_size=2"),
        (layers.DeformableAttention, {"num_groups": 2}, "num_groups=2"),
        (layers.DeformableAttention, {"stride": 0}, "stride=0"),
        (layers.DeformableAttention, {"kernel_size": 4}, "kernel_size=4"),
        (layers.DeformableAttention, {"offset_range": 0.0}, "offset_range=0.0"),
        (layers.DeformableAttention, {"bias": "table"}, "bias='table'"),
        (layers.AgentAttention, {"agent_grid": (0, 7)}, r"agent_grid=\(0, 7\)"),
        (layers.EfficientAttention, {"num_heads": 5}, "num_heads=5 must divide dim=24"),
    ],
)
def test_a_bad_option_is_named(kind, options, named):
    with pytest.raises(ValueError, match=named):
        kind(C, **{"num_heads": HEADS, **options})
