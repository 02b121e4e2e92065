"""The yardstick attention, the MLPs, the merging and the block against what they are by definition."""

import pytest
import torch
from reference import attention as reference
from timm.models import pvt_v2
from torch import nn

from effvit_mm.layers import Block, MixMlp, Mlp, OverlappingMerging, SelfAttention, map_to_tokens, tokens_to_map

B, H, W, C, HEADS = 2, 4, 7, 24, 3
GRID = (H, W)


def tokens(n=H * W):
    return torch.randn(B, n, C, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_self_attention_equals_its_equation():
    layer = SelfAttention(C, HEADS).double()
    expected = reference.self_attention(
        tokens(), layer.qkv.weight, layer.qkv.bias, layer.proj.weight, layer.proj.bias, num_heads=HEADS
    )
    torch.testing.assert_close(layer(tokens(), GRID), expected)


def test_self_attention_equals_torch_multihead_attention():
    ours, torchs = SelfAttention(C, HEADS).double(), nn.MultiheadAttention(C, HEADS, batch_first=True).double()
    torchs.in_proj_weight.data, torchs.in_proj_bias.data = ours.qkv.weight.data, ours.qkv.bias.data
    torchs.out_proj.load_state_dict(ours.proj.state_dict())
    torch.testing.assert_close(ours(tokens(), GRID), torchs(tokens(), tokens(), tokens(), need_weights=False)[0])


def test_self_attention_refuses_heads_that_do_not_divide_the_channels():
    with pytest.raises(ValueError, match="num_heads=5 must divide dim=24"):
        SelfAttention(24, 5)


def test_plain_mlp_equals_timms():
    from timm.layers import Mlp as TimmMlp

    ours, timms = Mlp(C, 36).double(), TimmMlp(C, 36).double()
    timms.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(tokens(), GRID), timms(tokens()))


def test_mix_mlp_with_a_centre_only_kernel_is_the_plain_mlp():
    plain, mix = Mlp(C, 36).double(), MixMlp(C, 36).double()
    mix.load_state_dict(plain.state_dict(), strict=False)
    mix.dwconv.weight.data.zero_()
    mix.dwconv.weight.data[:, :, 1, 1] = 1.0
    mix.dwconv.bias.data.zero_()
    torch.testing.assert_close(mix(tokens(3 + H * W), GRID, num_prefix=3), plain(tokens(3 + H * W), GRID))


def test_mix_mlp_looks_at_rows_and_columns_the_right_way_round():
    mix = MixMlp(C, 36).double()
    shift = torch.zeros(3, 3, dtype=torch.float64)
    shift[0, 1] = 1.0  # each place takes the value of the place above it
    mix.dwconv.weight.data.copy_(shift.expand(36, 1, 3, 3))
    mix.dwconv.bias.data.zero_()
    hidden = mix.fc1(tokens()).unflatten(1, GRID)
    above = torch.cat([torch.zeros_like(hidden[:, :1]), hidden[:, :-1]], dim=1).flatten(1, 2)
    torch.testing.assert_close(mix(tokens(), GRID), mix.fc2(mix.act(above)))


@pytest.mark.parametrize("kind", [Mlp, MixMlp])
def test_recomputing_the_activation_changes_no_gradient_and_keeps_less(kind):
    kept, gradients = [], []
    for recompute in (False, True):
        torch.manual_seed(0)
        mlp = kind(C, 36, recompute_act=recompute).double()
        tokens, storages = torch.randn(B, H * W, C, dtype=torch.float64, requires_grad=True), {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, seen=storages: seen.setdefault(t.untyped_storage().data_ptr(), t) is None or t, lambda t: t
        ):
            mlp(tokens, (H, W)).square().sum().backward()
        kept.append(sum(t.untyped_storage().nbytes() for t in storages.values()))
        gradients.append([tokens.grad, *(p.grad for p in mlp.parameters())])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert kept[0] - kept[1] >= 0.9 * B * H * W * 36 * 8


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("size", [(5, 8), (9, 12), (4, 7)])
def test_merging_gives_one_token_for_each_started_stride(stride, size):
    merging = OverlappingMerging(3, C, stride=stride)
    merged, grid = merging(torch.randn(B, 3, *size))
    assert grid == tuple(-(-side // stride) for side in size)
    assert merged.shape == (B, grid[0] * grid[1], C)


def test_merging_is_a_convolution_and_a_norm_in_raster_order():
    merging = OverlappingMerging(3, C, stride=2).double()
    fmap = torch.randn(B, 3, 5, 8, dtype=torch.float64)
    merged, (height, width) = merging(fmap)
    row, column = 1, 2
    window = nn.functional.pad(fmap, (1, 1, 1, 1))[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
    expected = merging.norm(torch.einsum("bikl,oikl->bo", window, merging.proj.weight) + merging.proj.bias)
    torch.testing.assert_close(merged[:, row * width + column], expected)
    assert height == 3


def test_tokens_and_map_are_two_views_of_one_tensor():
    x = tokens()
    fmap = tokens_to_map(x, GRID)
    assert fmap.shape == (B, C, H, W)
    assert fmap.data_ptr() == x.data_ptr()
    torch.testing.assert_close(fmap[:, :, 2, 3], x[:, 2 * W + 3])
    assert map_to_tokens(fmap).data_ptr() == x.data_ptr()


def test_tokens_that_do_not_fill_the_grid_are_refused():
    with pytest.raises(ValueError, match=r"grid=\(4, 7\) holds 28 tokens, but tokens has 29"):
        tokens_to_map(tokens(29), GRID)


def test_block_adds_both_branches_to_the_residual():
    block = Block(C, SelfAttention(C, HEADS), Mlp(C, 36)).double().eval()
    x = tokens()
    middle = x + block.mixer(block.norm1(x), GRID)
    torch.testing.assert_close(block(x, GRID), middle + block.mlp(block.norm2(middle), GRID))


def test_block_without_a_mixer_has_one_norm_and_leaves_tokens_apart():
    block = Block(C, None, Mlp(C, 36)).double().eval()
    assert not hasattr(block, "norm1")
    x = tokens()
    changed = x.clone()
    changed[:, 5] = 0
    same = block(x, GRID).eq(block(changed, GRID)).all(-1)
    assert same.sum() == B * (H * W - 1)


def test_drop_path_skips_branches_of_whole_pictures():
    torch.manual_seed(0)
    block = Block(C, None, Mlp(C, 36), drop_path=0.5).double().train()
    x = tokens().repeat(20, 1, 1)
    kept_as_is = block(x, GRID).eq(x).flatten(1).all(1)
    assert 5 < kept_as_is.sum() < 35


def test_overlapping_merging_equals_timms():
    ours = OverlappingMerging(3, C, stride=4).double().eval()
    theirs = pvt_v2.OverlapPatchEmbed(7, 4, 3, C).double().eval()
    theirs.load_state_dict(ours.state_dict())
    theirs.norm.eps = ours.norm.eps
    fmap = torch.randn(2, 3, 24, 40, dtype=torch.float64)
    merged, grid = ours(fmap)
    # Theirs returns a map, channels last.
    torch.testing.assert_close(merged.unflatten(1, grid), theirs(fmap))
