"""The stand-in operations that pool and sample maps against the naive ones, through mmcv's own functions."""

import importlib
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

import pytest
import torch
from reference import sampling_ops as naive
from torch import Tensor

from effvit_mm.compat.mmcv_ext import build_stand_in

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
NARROW = [torch.bfloat16, torch.float16]
USERS = ("roi_pool", "roi_align", "deform_conv", "modulated_deform_conv", "multi_scale_deform_attn", "carafe")


@pytest.fixture
def ops(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``mmcv.ops`` on the stand-in, also where the compiled extension is installed."""
    mmcv_ops = importlib.import_module("mmcv.ops")
    for name in (*USERS, "masked_conv"):
        monkeypatch.setattr(sys.modules[f"mmcv.ops.{name}"], "ext_module", build_stand_in("Blocked by a test."))
    return mmcv_ops


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def assert_same_values_and_gradients(
    function: Callable[..., Tensor], exact_function: Callable[..., Tensor], values: Sequence[Tensor], dtype: torch.dtype
) -> None:
    """Compare with the naive function in float64, of the same rounded values; both results are then summed unevenly."""
    leaves = [value.to(dtype, copy=True).requires_grad_() for value in values]
    exact_leaves = [leaf.detach().to(torch.float64, copy=True).requires_grad_() for leaf in leaves]
    result, exact = function(*leaves), exact_function(*exact_leaves)
    slope = torch.linspace(-1, 1, exact.numel()).reshape(exact.shape).to(dtype)
    result.backward(slope)
    exact.backward(slope.double())
    # A few roundings of the output's type; in float64, of the naive loops.
    eps = max(torch.finfo(dtype).eps, 1e-12)
    pairs = [(result, exact), *((leaf.grad, twin.grad) for leaf, twin in zip(leaves, exact_leaves, strict=True))]
    for narrow, wide in pairs:
        assert narrow.dtype == dtype
        largest = max(1.0, wide.abs().max().item())
        torch.testing.assert_close(narrow.double(), wide, rtol=4 * eps, atol=4 * eps * largest)


ROIS = torch.tensor(
    [
        [1, 3.5, 2.25, 21.0, 17.5],
        [0, 0.0, 0.0, 39.5, 23.75],  # the whole picture
        [1, -6.0, -5.0, 9.0, 4.0],  # beyond the left and upper border
        [0, 30.0, 15.0, 52.0, 34.0],  # beyond the right and lower border
        [1, 8.0, 8.0, 8.5, 8.25],  # a fraction of a pixel of the map
    ]
)


def feature_map(generator: torch.Generator) -> Tensor:
    """Values that all differ in every tested type, so that each maximum has one place."""
    return (torch.randperm(2 * 3 * 6 * 10, generator=generator).double().reshape(2, 3, 6, 10) - 180) / 64


@pytest.mark.parametrize("dtype", DTYPES)
def test_roi_pool_takes_the_maximum_over_the_pixels_of_each_bin(ops, generator, dtype):
    rois = torch.cat([ROIS, torch.tensor([[0, 9.0, 9.0, 2.0, 12.0]])]).to(dtype)  # one without extent
    layer = ops.RoIPool(output_size=(3, 4), spatial_scale=0.25)
    assert_same_values_and_gradients(
        lambda fmap: layer(fmap, rois),
        lambda fmap: naive.roi_pool(fmap, rois.double(), (3, 4), 0.25),
        [feature_map(generator)],
        dtype,
    )


def test_roi_pool_passes_gradcheck(ops, generator):
    fmap = feature_map(generator).requires_grad_()
    assert torch.autograd.gradcheck(lambda leaf: ops.roi_pool(leaf, ROIS.double(), (2, 3), 0.25), fmap)


@pytest.mark.parametrize("pool", ["roi_pool", "roi_align"])
def test_pooling_no_regions_is_empty_and_has_a_zero_gradient(ops, pool):
    fmap = torch.randn(2, 5, 6, 10, requires_grad=True)
    rest = (0.25,) if pool == "roi_pool" else (0.25, 0, "max", True)
    bins = getattr(ops, pool)(fmap, torch.zeros(0, 5), (3, 4), *rest)
    assert bins.shape == (0, 5, 3, 4)
    bins.sum().backward()
    assert fmap.grad.count_nonzero() == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
def test_roi_align_by_the_maximum_takes_that_of_the_definitions_samples(ops, generator, aligned, sampling_ratio, dtype):
    # The layer works in float32 and gives back the type; a place of a maximum, in a narrow type, would be rounded.
    layer = ops.RoIAlign((3, 4), 0.25, sampling_ratio, "max", aligned)
    rois = ROIS.to(dtype)
    assert_same_values_and_gradients(
        lambda fmap: layer(fmap, rois),
        lambda fmap: naive.roi_align_max(fmap, rois.double(), (3, 4), 0.25, sampling_ratio, aligned),
        [torch.randn(2, 3, 6, 10, generator=generator, dtype=torch.float64)],
        dtype,
    )


def test_roi_align_by_the_maximum_passes_gradcheck(ops, generator):
    fmap = torch.randn(2, 3, 6, 10, generator=generator, dtype=torch.float64, requires_grad=True)
    layer = ops.RoIAlign((2, 3), 0.25, 2, "max")
    assert torch.autograd.gradcheck(lambda leaf: layer(leaf, ROIS.double()), fmap)


# Every number a different one, so that no two can be confused: kernel 3 x 2, maps 5 x 7.
GEOMETRY = dict(stride=(2, 1), padding=(1, 2), dilation=(1, 3))
GROUPS = [(1, 1), (2, 1), (1, 2), (2, 4)]
OUTPUT_SIZE = (3, 8)


def odd_fractions(shape: Sequence[int], limit: int, denominator: int, generator: torch.Generator) -> Tensor:
    """Odd numbers over a power of two: every tested type holds them, and no place comes to lie on a pixel's centre.

    There the slope jumps, and which side an operation takes is no matter of correctness.
    """
    return (2 * torch.randint(-limit, limit, shape, generator=generator).double() + 1) / denominator


def convolution_inputs(generator: torch.Generator, groups: int, deform_groups: int) -> dict[str, Tensor]:
    shapes = dict(
        fmap=(2, 4, 5, 7),
        offset=(2, deform_groups * 3 * 2 * 2, *OUTPUT_SIZE),
        mask=(2, deform_groups * 3 * 2, *OUTPUT_SIZE),
        weight=(6, 4 // groups, 3, 2),
        bias=(6,),
    )
    inputs = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
    return {**inputs, "offset": odd_fractions(shapes["offset"], 24, 16, generator)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("groups", "deform_groups"), GROUPS)
def test_deform_conv_is_that_of_the_definition(ops, generator, groups, deform_groups, dtype):
    inputs = convolution_inputs(generator, groups, deform_groups)
    count = dict(groups=groups, deform_groups=deform_groups)
    # One picture at a time, so that the step of mmcv's unfolding differs from the batch.
    positions = (*GEOMETRY.values(), groups, deform_groups, False, 1)
    assert_same_values_and_gradients(
        lambda *leaves: ops.deform_conv2d(*leaves, *positions),
        lambda *leaves: naive.deform_conv2d(*leaves, **GEOMETRY, **count),
        [inputs[name] for name in ("fmap", "offset", "weight")],
        dtype,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize(("groups", "deform_groups"), GROUPS)
def test_modulated_deform_conv_is_that_of_the_paper(ops, generator, groups, deform_groups, with_bias, dtype):
    inputs = convolution_inputs(generator, groups, deform_groups)
    count = dict(groups=groups, deform_groups=deform_groups)
    names = ("fmap", "offset", "mask", "weight", *(["bias"] if with_bias else []))

    def stand_in(fmap, offset, mask, weight, bias=None):
        return ops.modulated_deform_conv2d(fmap, offset, mask, weight, bias, *GEOMETRY.values(), groups, deform_groups)

    def exact(fmap, offset, mask, weight, bias=None):
        return naive.deform_conv2d(fmap, offset, weight, mask, bias, **GEOMETRY, **count)

    assert_same_values_and_gradients(stand_in, exact, [inputs[name] for name in names], dtype)


def test_deformable_convolutions_pass_gradcheck(ops, generator):
    inputs = convolution_inputs(generator, 2, 2)
    weight, bias = (inputs[name].detach().requires_grad_() for name in ("weight", "bias"))
    fmap, offset, mask = (inputs[name][:1].detach().requires_grad_() for name in ("fmap", "offset", "mask"))
    how = (*GEOMETRY.values(), 2, 2)
    assert torch.autograd.gradcheck(lambda *leaves: ops.deform_conv2d(*leaves, *how), (fmap, offset, weight))
    leaves = (fmap, offset, mask, weight, bias)
    assert torch.autograd.gradcheck(lambda *leaves: ops.modulated_deform_conv2d(*leaves, *how), leaves)


def test_the_kernels_gradient_is_scaled_and_added_to_what_is_there(generator):
    fmap, slope = (torch.randn(1, 2, 4, 5, generator=generator) for _ in range(2))
    offset, empty, weight = fmap.new_zeros(1, 2, 4, 5), fmap.new_zeros(0), torch.ones(2, 2, 1, 1)
    geometry = dict(kW=1, kH=1, dW=1, dH=1, padW=0, padH=0, dilationW=1, dilationH=1, group=1, deformable_group=1)
    build_stand_in("").deform_conv_backward_parameters(
        fmap, offset, slope, weight, empty, empty, **geometry, scale=3.0, im2col_step=1
    )
    exact = 1 + 3 * torch.einsum("bohw,bihw->oi", slope, fmap)
    torch.testing.assert_close(weight[..., 0, 0], exact)


def test_zero_offsets_equal_a_convolution(ops, generator):
    fmap = torch.randn(2, 4, 5, 7, generator=generator)
    layer = ops.DeformConv2d(4, 6, (3, 2), groups=2, **GEOMETRY)
    convolved = torch.nn.functional.conv2d(fmap, layer.weight, groups=2, **GEOMETRY)
    torch.testing.assert_close(layer(fmap, fmap.new_zeros(2, 12, *OUTPUT_SIZE)), convolved)


def test_a_map_smaller_than_the_kernel_is_padded_by_mmcv_and_convolved(ops, generator):
    layer = ops.DeformConv2d(4, 6, 3, padding=1)
    fmap = torch.randn(2, 4, 2, 1, generator=generator)
    convolved = torch.nn.functional.conv2d(fmap, layer.weight, padding=1)
    torch.testing.assert_close(layer(fmap, fmap.new_zeros(2, 18, 2, 1)), convolved)


def test_offsets_of_a_larger_map_are_read_in_memory_order_as_mmcvs_kernels_do(ops, generator):
    """DyHead hands them over; the naive convolution gets what the kernels read, written out."""
    fmap, weight = (torch.randn(shape, generator=generator).double() for shape in [(2, 4, 3, 5), (6, 4, 3, 3)])
    offset, mask = odd_fractions((2, 18, 6, 10), 24, 16, generator), torch.rand(2, 9, 6, 10).double()
    how = dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1))

    def exact(fmap, offset, mask, weight):
        offset = torch.stack([plane.reshape(-1)[: 18 * 15].reshape(18, 3, 5) for plane in offset])
        mask = torch.stack([plane.reshape(-1)[: 9 * 15].reshape(9, 3, 5) for plane in mask])
        return naive.deform_conv2d(fmap, offset, weight, mask, **how, groups=1, deform_groups=1)

    def stand_in(*leaves):
        return ops.modulated_deform_conv2d(*leaves, None, *how.values())

    assert_same_values_and_gradients(stand_in, exact, [fmap, offset, mask, weight], torch.float64)


def test_offsets_of_a_smaller_map_are_refused_by_name(ops):
    fmap, weight = torch.zeros(2, 4, 6, 10), torch.zeros(6, 4, 3, 3)
    with pytest.raises(ValueError, match=r"offsets of \(3, 5\) are too few for an output of \(6, 10\)"):
        ops.modulated_deform_conv2d(fmap, torch.zeros(2, 18, 3, 5), torch.zeros(2, 9, 6, 10), weight, None, 1, 1)


@pytest.mark.parametrize("pack", ["DeformConv2dPack", "ModulatedDeformConv2dPack"])
def test_packs_as_built_equal_a_convolution_and_train_under_autocast(ops, generator, pack):
    layer = getattr(ops, pack)(4, 6, 3, padding=1, deform_groups=2)
    fmap = torch.randn(2, 4, 5, 7, generator=generator)
    convolved = torch.nn.functional.conv2d(fmap, layer.weight, padding=1)
    # Their offsets start at zero, and the masks of the modulated one at a half.
    torch.testing.assert_close(layer(fmap), convolved / (2 if pack.startswith("Modulated") else 1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(fmap)
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.dtype == torch.float32


SHAPES = [(4, 6), (2, 3), (1, 2)]
STARTS = [0, 24, 30]


def attention_inputs(generator: torch.Generator) -> list[Tensor]:
    """Tokens, places (some outside the picture) and factors: 2 pictures, 5 queries, 3 heads of 4, 2 samples a level."""
    value = torch.randn(2, 32, 3, 4, generator=generator, dtype=torch.float64)
    locations = 0.5 + odd_fractions((2, 5, 3, 3, 2, 2), 22, 64, generator)
    weights = torch.randn(2, 5, 3, 3, 2, generator=generator, dtype=torch.float64)
    return [value, locations, weights]


def attend(ops: ModuleType) -> Callable[..., Tensor]:
    function = sys.modules["mmcv.ops.multi_scale_deform_attn"].MultiScaleDeformableAttnFunction
    return lambda value, locations, weights: function.apply(
        value, torch.tensor(SHAPES), torch.tensor(STARTS), locations, weights, 64
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_deformable_attention_is_that_of_the_paper(ops, generator, dtype):
    assert_same_values_and_gradients(
        attend(ops),
        lambda *leaves: naive.multi_scale_deform_attn(leaves[0], SHAPES, *leaves[1:]),
        attention_inputs(generator),
        dtype,
    )


def test_deformable_attention_passes_gradcheck(ops, generator):
    leaves = [value.requires_grad_() for value in attention_inputs(generator)]
    assert torch.autograd.gradcheck(attend(ops), leaves)


@pytest.mark.parametrize("dtype", NARROW)
def test_deformable_attention_of_narrow_tokens_is_rounded_once_also_under_autocast(ops, generator, dtype):
    value, locations, weights = (tensor.to(dtype) for tensor in attention_inputs(generator))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = attend(ops)(value, locations, weights)
    exact = attend(ops)(value.float(), locations.float(), weights.float())
    assert torch.equal(narrow, exact.to(dtype))


def test_the_layer_takes_the_compiled_path_and_its_own_to_the_same_end(ops, generator, monkeypatch):
    layer = ops.MultiScaleDeformableAttention(16, num_heads=4, num_levels=3, num_points=2, dropout=0.0)
    arguments = dict(
        query=torch.randn(5, 2, 16, generator=generator),
        value=torch.randn(32, 2, 16, generator=generator),
        reference_points=torch.rand(2, 5, 3, 2, generator=generator),
        spatial_shapes=torch.tensor(SHAPES),
        level_start_index=torch.tensor(STARTS),
    )
    python_path = layer(**arguments)
    module = sys.modules["mmcv.ops.multi_scale_deform_attn"]

    def compiled_path(value, shapes, locations, weights):
        return module.MultiScaleDeformableAttnFunction.apply(
            value, shapes, torch.tensor(STARTS), locations, weights, 64
        )

    # The layer asks the tensor whether it is on a CUDA device.
    monkeypatch.setattr(module, "multi_scale_deformable_attn_pytorch", compiled_path)
    torch.testing.assert_close(layer(**arguments), python_path)


def carafe_inputs(generator: torch.Generator) -> list[Tensor]:
    """Kernel 3, two groups of two channels, twice the size."""
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in [(2, 4, 3, 5), (2, 18, 6, 10)]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_carafe_reassembles_as_the_paper_does(ops, generator, dtype):
    assert_same_values_and_gradients(
        lambda *leaves: ops.carafe(*leaves, 3, 2, 2),
        lambda *leaves: naive.carafe(*leaves, 3, 2, 2),
        carafe_inputs(generator),
        dtype,
    )


def test_carafe_passes_gradcheck(ops, generator):
    leaves = [value[:1].clone().requires_grad_() for value in carafe_inputs(generator)]
    assert torch.autograd.gradcheck(lambda *leaves: ops.carafe(*leaves, 3, 2, 2), leaves)


def test_both_names_of_carafe_are_one_operation(ops, generator):
    features, masks = carafe_inputs(generator)
    torch.testing.assert_close(ops.carafe_naive(features, masks, 3, 2, 2), ops.carafe(features, masks, 3, 2, 2))
    # mmcv's wrapper of the naive one refuses to go backwards on a CPU.
    stand_in, slope = build_stand_in(""), torch.randn(2, 4, 6, 10, generator=generator, dtype=torch.float64)
    naive_slopes = [torch.zeros_like(features), torch.zeros_like(masks)]
    stand_in.carafe_naive_backward(slope, features, masks, *naive_slopes, kernel_size=3, group_size=2, scale_factor=2)
    leaves = [features.requires_grad_(), masks.requires_grad_()]
    slopes = torch.autograd.grad(ops.carafe(*leaves, 3, 2, 2), leaves, slope)
    for naive_slope, slope in zip(naive_slopes, slopes, strict=True):
        torch.testing.assert_close(naive_slope, slope)


def test_the_carafe_layer_trains_under_autocast(ops, generator):
    layer = ops.CARAFEPack(channels=4, scale_factor=2, up_kernel=3, compressed_channels=6)
    fmap = torch.randn(2, 4, 3, 5, generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(fmap)
    assert out.shape == (2, 4, 6, 10)
    out.square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in layer.parameters())


@pytest.mark.filterwarnings("ignore:This overload of addmm is deprecated:UserWarning")  # mmcv calls it the old way
def test_masked_conv_equals_the_convolution_where_the_mask_is_and_zero_elsewhere(ops, generator):
    layer = ops.MaskedConv2d(4, 6, (3, 5), padding=(1, 2))
    fmap = torch.randn(1, 4, 6, 7, generator=generator)
    mask = torch.rand(1, 6, 7, generator=generator) > 0.6
    with torch.no_grad():
        torch.testing.assert_close(layer(fmap, mask), layer(fmap) * mask)
        assert layer(fmap, torch.zeros_like(mask)).count_nonzero() == 0
