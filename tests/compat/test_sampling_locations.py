"""The places at which deformable attention samples stay float32 whatever the type of the values."""

import importlib
from types import ModuleType

import pytest
import torch
from torch import Tensor

from effvit_mm.compat import sampling_locations
from effvit_mm.compat.mmcv_ext import build_stand_in

NARROW = [torch.bfloat16, torch.float16]
# Two levels of a wide picture: near its right border neighbouring bfloat16 places are 2.6 columns of the first apart.
SHAPES = torch.tensor([[4, 668], [2, 334]])
STARTS = torch.tensor([0, 4 * 668])
HEADS, HEAD_DIM, QUERIES, POINTS = 2, 4, 5, 3


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """mmcv's deformable attention on the stand-in, which serves CPU tensors, as the compiled operation does not."""
    attention = importlib.import_module("mmcv.ops.multi_scale_deform_attn")
    monkeypatch.setattr(attention, "ext_module", build_stand_in("Blocked by a test."))
    return attention


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Float32 values, places near the far border, and weights that sum to one."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(1, int(SHAPES.prod(1).sum()), HEADS, HEAD_DIM, generator=generator)
    places = 0.9 + 0.1 * torch.rand(1, QUERIES, HEADS, len(SHAPES), POINTS, 2, generator=generator)
    weights = torch.rand(1, QUERIES, HEADS, len(SHAPES), POINTS, generator=generator)
    return values, places, weights / weights.sum((-2, -1), keepdim=True)


def attend(module: ModuleType, path: str, values: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    if path == "function":
        return module.MultiScaleDeformableAttnFunction.apply(values, SHAPES, STARTS, places, weights, 64)
    return module.multi_scale_deformable_attn_pytorch(values, SHAPES, places, weights)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("path", ["function", "python"])
def test_narrow_values_are_sampled_at_the_float32_places(module, inputs, path, dtype):
    values, places, weights = inputs
    narrow = attend(module, path, values.to(dtype), places, weights)
    exact = attend(module, path, values.to(dtype).float(), places, weights)
    assert narrow.dtype == dtype
    # One rounding, of the sum.
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(narrow.float(), exact, rtol=eps, atol=eps**2)
    rounded = attend(module, path, values.to(dtype).float(), places.to(dtype).float(), weights)
    assert (rounded - exact).abs().max() > 10 * eps


@pytest.mark.parametrize("path", ["function", "python"])
def test_gradients_are_those_of_float32_and_come_in_the_types_of_their_tensors(module, inputs, path):
    values, places, weights = inputs
    leaves = [values.bfloat16().requires_grad_(), places.clone().requires_grad_(), weights.clone().requires_grad_()]
    twins = [leaf.detach().float().requires_grad_() for leaf in leaves]
    attend(module, path, *leaves).float().sum().backward()
    attend(module, path, *twins).sum().backward()
    for leaf, twin in zip(leaves, twins, strict=True):
        assert leaf.grad.dtype == leaf.dtype
        torch.testing.assert_close(leaf.grad.float(), twin.grad, rtol=2**-7, atol=2**-7)


@pytest.mark.parametrize("path", ["function", "python"])
def test_float32_values_take_the_stock_path(module, inputs, path):
    values, places, weights = inputs
    if path == "function":
        stock = module.MultiScaleDeformableAttnFunction.apply.__wrapped__(values, SHAPES, STARTS, places, weights, 64)
    else:
        stock = module.multi_scale_deformable_attn_pytorch.__wrapped__(values, SHAPES, places, weights)
    assert torch.equal(attend(module, path, values, places, weights), stock)


def test_the_operation_sees_the_places_of_narrow_values_in_float32(module, inputs, monkeypatch):
    seen = []
    forward = module.ext_module.ms_deform_attn_forward

    def watch(values, shapes, starts, places, weights, im2col_step):
        seen.append(places)
        return forward(values, shapes, starts, places, weights, im2col_step)

    monkeypatch.setattr(module.ext_module, "ms_deform_attn_forward", watch)
    values, places, weights = inputs
    attend(module, "function", values.half(), places, weights)
    assert torch.equal(seen[0], places)


@pytest.mark.parametrize("way", ["converted", "autocast"])
def test_a_bfloat16_module_samples_at_float32_places(module, monkeypatch, way):
    torch.manual_seed(0)
    attention = module.MultiScaleDeformableAttention(HEADS * HEAD_DIM, HEADS, len(SHAPES), POINTS, batch_first=True)
    attention = attention.eval().bfloat16() if way == "converted" else attention.eval()
    seen = []
    sample = module.F.grid_sample

    def watch(fmap, places, **options):
        seen.append(places)
        return sample(fmap, places, **options)

    monkeypatch.setattr(module.F, "grid_sample", watch)
    tokens = torch.randn(1, int(SHAPES.prod(1).sum()), HEADS * HEAD_DIM).bfloat16()
    points = torch.full((1, QUERIES, len(SHAPES), 2), 1299 / 1333)
    with torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast"):
        out = attention(
            tokens[:, :QUERIES], value=tokens, reference_points=points, spatial_shapes=SHAPES, level_start_index=STARTS
        )
    assert out.dtype == torch.bfloat16
    assert [places.dtype for places in seen] == [torch.float32] * len(SHAPES)
    # Two heads begin by looking to either side: each place keeps the row of its point, to float32.
    for places in seen:
        torch.testing.assert_close(places[..., 1], torch.full_like(places[..., 1], 2 * 1299 / 1333 - 1))


def test_an_mmcv_without_the_function_is_warned_of_and_reported(monkeypatch):
    monkeypatch.setattr(sampling_locations, "_not_found", set())
    with pytest.warns(UserWarning, match="has no MultiScaleDeformableAttnFunction"):
        sampling_locations._cure(ModuleType("mmcv.ops.multi_scale_deform_attn"))
    assert not sampling_locations.status().active
    assert "MultiScaleDeformableAttnFunction" in sampling_locations.status().why
