"""Deformable merging against its equations and torchvision's kernel, and the laws of its offsets."""

import pytest
import torch
from reference import deformable as reference
from torch import nn
from torchvision.ops import deform_conv2d

from effvit_mm.analysis import count
from effvit_mm.layers import deformable_merging
from effvit_mm.layers.deformable_merging import DeformableMerging, deform_conv, sampling_positions
from effvit_mm.layers.grid import map_to_tokens, tokens_to_map

B, H, W, C_IN, C = 2, 6, 10, 5, 7


def built(stride=2, spread=0.0):
    """A merging in float64 whose offsets are about ``spread`` places long."""
    torch.manual_seed(0)
    merging = DeformableMerging(C_IN, C, stride=stride).double().eval()
    nn.init.normal_(merging.offset.weight, std=spread / (stride * C_IN**0.5))
    nn.init.normal_(merging.offset.bias, std=spread)
    nn.init.normal_(merging.norm.running_mean)
    nn.init.uniform_(merging.norm.running_var, 0.5, 2)
    return merging


def map_of(height=H, width=W, batch=B):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, C_IN, height, width, dtype=torch.float64, generator=generator)


def operands(height=H, width=W, stride=2, spread=3.0):
    """fmap, offsets, weight and bias of the operator, all with gradients."""
    torch.manual_seed(2)
    offsets = torch.randn(B, stride**2, 2, height // stride, width // stride, dtype=torch.float64) * spread
    weight = torch.randn(C, C_IN, stride, stride, dtype=torch.float64)
    bias = torch.randn(C, dtype=torch.float64)
    return [tensor.requires_grad_() for tensor in (map_of(height, width), offsets, weight, bias)]


def by_torchvision(fmap, offsets, weight, bias, stride=2):
    return deform_conv2d(fmap, offsets.flatten(1, 2), weight, bias, stride=stride)


@pytest.mark.parametrize(("size", "stride"), [((4, 6), 2), ((5, 7), 2), ((4, 5), 3), ((2, 3), 1)])
def test_merging_equals_its_equations(size, stride):
    merging, fmap = built(stride, spread=1.5), map_of(*size)
    expected = reference.deformable_merging(
        fmap,
        merging.offset.weight,
        merging.offset.bias,
        merging.conv.weight,
        merging.conv.bias,
        merging.norm.running_mean,
        merging.norm.running_var,
        stride=stride,
    )
    merged, grid = merging(fmap)
    assert grid == expected.shape[1:3]
    torch.testing.assert_close(merged, expected.flatten(1, 2))


@pytest.mark.parametrize(("size", "stride"), [((H, W), 2), ((7, 9), 2), ((7, 11), 3), ((3, 4), 1), ((2, 2), 2)])
def test_operator_and_its_gradients_equal_torchvisions(size, stride):
    given = operands(*size, stride)
    ours, theirs = deform_conv(*given, stride=stride), by_torchvision(*given, stride)
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)
    gradient = torch.randn_like(theirs)
    own = torch.autograd.grad(ours, given, gradient)
    torch.testing.assert_close(own, torch.autograd.grad(theirs, given, gradient), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("far", [-1.0, 1.0, 3.5, -3.5, 1e3, -1e3, 1e12, -1e30, float("inf"), -float("inf")])
@pytest.mark.parametrize("axis", [0, 1])
def test_offsets_across_the_border_and_far_beyond_equal_torchvisions(far, axis):
    fmap, offsets, weight, bias = (tensor.detach() for tensor in operands())
    offsets.zero_()[:, :, axis] = far
    ours = deform_conv(fmap, offsets, weight, bias, stride=2)
    torch.testing.assert_close(ours, by_torchvision(fmap, offsets, weight, bias))


def test_operator_passes_gradcheck():
    given = operands(5, 4, spread=1.0)
    assert torch.autograd.gradcheck(lambda *tensors: deform_conv(*tensors, stride=2), given)


def test_form_for_gpus_equals_the_form_for_cpus():
    given = operands()
    theirs = deformable_merging._deform_conv_of_torchvision(*given, 2)
    torch.testing.assert_close(theirs, deform_conv(*given, stride=2))


def test_form_for_export_and_its_gradients_equal_the_eager_form(monkeypatch):
    given = operands()
    eager = deform_conv(*given, stride=2)
    monkeypatch.setattr(deformable_merging, "is_exporting", lambda: True)
    exported = deform_conv(*given, stride=2)
    torch.testing.assert_close(exported, eager)
    torch.testing.assert_close(torch.autograd.grad(exported.sum(), given), torch.autograd.grad(eager.sum(), given))


def test_operator_needs_no_bias():
    fmap, offsets, weight, _ = operands()
    ours = deform_conv(fmap, offsets, weight, None, stride=2)
    torch.testing.assert_close(ours, by_torchvision(fmap, offsets, weight, None))


def test_untrained_merging_is_a_strided_convolution_a_norm_and_gelu():
    merging, fmap = DeformableMerging(C_IN, C, stride=2).double().train(), map_of()
    expected = nn.functional.gelu(merging.norm(merging.conv(fmap)))
    torch.testing.assert_close(merging(fmap)[0], map_to_tokens(expected))


@pytest.mark.parametrize(("dy", "dx"), [(1, 0), (0, 1), (-2, 3)])
def test_a_constant_offset_of_whole_places_shifts_the_map(dy, dx):
    fmap, offsets, weight, bias = operands()
    offsets = torch.tensor([dy, dx], dtype=torch.float64)[:, None, None].expand_as(offsets)
    shifted = nn.functional.pad(fmap, (3, 3, 3, 3))[:, :, 3 + dy : 3 + dy + H, 3 + dx : 3 + dx + W]
    expected = nn.functional.conv2d(shifted, weight, bias, stride=2)
    torch.testing.assert_close(deform_conv(fmap, offsets, weight, bias, stride=2), expected)


def test_one_offset_moves_one_tap_of_one_place():
    fmap, offsets, weight, bias = (tensor.detach() for tensor in operands(spread=0.0))
    offsets[1, 2, 0, 1, 3] = 1.0  # picture 1, tap (1, 0), down, place (1, 3)
    change = deform_conv(fmap, offsets, weight, bias, stride=2) - nn.functional.conv2d(fmap, weight, bias, stride=2)
    moved = weight[:, :, 1, 0] @ (fmap[1, :, 4, 6] - fmap[1, :, 3, 6])
    torch.testing.assert_close(change[1, :, 1, 3], moved)
    change[1, :, 1, 3] = 0
    torch.testing.assert_close(change, torch.zeros_like(change))


def test_positions_are_the_taps_and_their_offsets():
    offsets = torch.zeros(B, 9, 2, 2, 4)
    offsets[1, 5, :, 1, 2] = torch.tensor([0.25, -0.5])
    positions = sampling_positions(offsets, 3)
    assert positions[0, 5, :, 1, 2].tolist() == [3 + 1, 6 + 2]
    assert positions[1, 5, :, 1, 2].tolist() == [4.25, 7.5]


def test_positions_of_half_precision_offsets_are_in_fp32():
    positions = sampling_positions(torch.full((1, 4, 2, 200, 1), 0.5, dtype=torch.bfloat16), 2)
    assert positions.dtype == torch.float32
    assert positions[0, 3, 0, 199, 0] == 399.5


def test_offsets_to_be_drawn_are_those_the_forward_uses():
    merging, fmap = built(spread=2.0), map_of(7, 9)
    padded = nn.functional.pad(fmap, (0, 1, 0, 1))
    offsets = merging.offsets(fmap)
    assert offsets.shape == (B, 4, 2, 4, 5)
    merged = by_torchvision(padded, offsets, merging.conv.weight, merging.conv.bias)
    torch.testing.assert_close(merging(fmap)[0], map_to_tokens(nn.functional.gelu(merging.norm(merged))))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(1, 1), (5, 8), (7, 3)])
def test_merging_gives_one_token_for_each_started_stride(stride, size):
    merged, grid = built(stride, spread=1.0)(map_of(*size))
    assert grid == tuple(-(-side // stride) for side in size)
    assert merged.shape == (B, grid[0] * grid[1], C)


def test_channels_last_and_contiguous_maps_give_the_same_tokens():
    merging, fmap = built(spread=2.0), map_of()
    last = tokens_to_map(map_to_tokens(fmap).contiguous(), (H, W))
    torch.testing.assert_close(merging(last)[0], merging(fmap)[0])


def test_pictures_do_not_see_each_other():
    merging, fmap = built(spread=2.0), map_of(batch=3)
    apart = torch.cat([merging(picture)[0] for picture in fmap.split(1)])
    torch.testing.assert_close(merging(fmap)[0], apart)


def test_every_parameter_learns_from_the_first_step():
    # In training the norm undoes the bias of the convolution: with its statistics frozen, all parameters count.
    merging = DeformableMerging(C_IN, C, stride=2).double().eval()
    merging(map_of())[0].square().sum().backward()
    for name, parameter in merging.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_stays_near_fp32_and_gives_its_own_dtype(dtype):
    merging, fmap = built(spread=2.0).float(), map_of(60, 300).float()
    expected = merging(fmap)[0]
    with torch.autocast("cpu", dtype=dtype):
        merged = merging(fmap)[0]
    assert merged.dtype == dtype
    torch.testing.assert_close(merged.float(), expected, rtol=0.03, atol=0.03)


def test_offsets_are_predicted_in_fp32_under_autocast():
    merging, fmap = built(spread=2.0).float(), map_of().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        offsets = merging.offsets(fmap)
    torch.testing.assert_close(offsets, merging.offsets(fmap), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_network_in_half_precision_stays_in_it(dtype):
    merged, _ = built(spread=2.0).to(dtype)(map_of().to(dtype))
    assert merged.dtype == dtype
    assert merged.isfinite().all()


def test_gradients_under_autocast_are_finite():
    merging, fmap = built(spread=2.0).float().train(), map_of().float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = merging(fmap)[0].square().sum()
    loss.backward()
    assert fmap.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in merging.parameters())


def test_offsets_that_are_not_a_number_give_tokens_that_are_not():
    fmap, offsets, weight, bias = (tensor.detach() for tensor in operands())
    offsets[0, 0, 0, 1, 2] = float("nan")
    merged = deform_conv(fmap, offsets, weight, bias, stride=2)
    assert merged[0, :, 1, 2].isnan().all()
    assert merged.isnan().sum() == C


def test_reset_leaves_nothing_untouched_and_starts_without_offsets():
    merging = DeformableMerging(C_IN, C, stride=2)
    for tensor in (*merging.parameters(), merging.norm.running_mean, merging.norm.running_var):
        tensor.data.fill_(float("nan"))
    torch.manual_seed(3)
    merging.reset_parameters()
    torch.manual_seed(3)
    torchs = nn.Conv2d(C_IN, C, 2, stride=2)
    assert all(tensor.isfinite().all() for tensor in merging.state_dict().values())
    assert not merging.offset.weight.any()
    assert not merging.offset.bias.any()
    assert merging.conv.weight.equal(torchs.weight)
    assert merging.conv.bias.equal(torchs.bias)


@pytest.mark.parametrize("stride", [2, 3])
def test_parameters_and_multiply_adds_are_those_of_the_closed_form(stride):
    merging, taps = DeformableMerging(C_IN, C, stride=stride), stride**2
    assert sum(p.numel() for p in merging.parameters()) == taps * C_IN * C + 3 * C + 2 * taps**2 * C_IN + 2 * taps
    # Six tokens; the bilinear sampling stands beside the total.
    macs = count(merging, torch.randn(1, C_IN, 2 * stride, 3 * stride)).macs
    assert macs == 6 * (taps * C_IN * C + 2 * taps**2 * C_IN)


@pytest.mark.parametrize("strict", [False, True])
def test_exported_merging_gives_the_same_tokens(strict):
    merging, fmap = built(spread=2.0), map_of(7, 10)
    exported = torch.export.export(merging, (fmap,), strict=strict)
    torch.testing.assert_close(exported.module()(fmap)[0], merging(fmap)[0])


def test_exported_merging_takes_maps_of_other_sizes_even_and_odd():
    if not hasattr(torch.export.Dim, "AUTO"):
        pytest.skip("this torch cannot infer the ranges of sizes")
    merging, auto = built(spread=2.0), torch.export.Dim.AUTO
    exported = torch.export.export(merging, (map_of(7, 10),), dynamic_shapes=({2: auto, 3: auto},), strict=False)
    for size in ((6, 8), (9, 13), (12, 5)):
        torch.testing.assert_close(exported.module()(map_of(*size))[0], merging(map_of(*size))[0])


def test_exported_graph_reads_the_map_by_plain_indexing():
    exported = torch.export.export(built(), (map_of(),), strict=False)
    assert not [node.name for node in exported.graph.nodes if "bag" in str(node.target)]


def test_compiled_merging_gives_the_same_tokens_and_gradients():
    merging, fmap = built(spread=2.0), map_of(7, 10).requires_grad_()
    compiled = torch.compile(merging, backend="aot_eager", fullgraph=True)
    expected, merged = merging(fmap)[0], compiled(fmap)[0]
    torch.testing.assert_close(merged, expected)
    gradients = [torch.autograd.grad(tokens.square().sum(), fmap)[0] for tokens in (merged, expected)]
    torch.testing.assert_close(*gradients)


def test_a_stride_below_one_is_refused():
    with pytest.raises(ValueError, match="stride=0 must be at least 1"):
        DeformableMerging(C_IN, C, stride=0)


def test_offsets_of_another_grid_are_refused():
    fmap, offsets, weight, bias = operands()
    with pytest.raises(ValueError, match=r"offsets has shape \(2, 4, 2, 3, 4\).* needs \(B, 4, 2, 3, 5\)"):
        deform_conv(fmap, offsets[..., :4], weight, bias, stride=2)
