"""Coordinates far from the origin survive narrow feature types."""

import importlib
from types import ModuleType

import pytest
import torch
from mmengine.registry import MODELS
from torch import Tensor

from effvit_mm.compat import coordinates

NARROW = [torch.bfloat16, torch.float16]
# Corners near x = 1330 pixels, where bfloat16 counts in steps of 8; a small and a large box, for two levels.
ROIS = torch.tensor([[0, 1330.0, 21.3, 1391.7, 83.1], [0, 1113.3, 5.2, 1371.9, 119.7]])


@pytest.fixture(scope="module")
def roi_extractors() -> ModuleType:
    return importlib.import_module("mmdet.models.roi_heads.roi_extractors")


@pytest.fixture
def levels() -> tuple[Tensor, Tensor]:
    """Maps of a picture of 128 x 1408 pixels at strides 8 and 16."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 5, 16, 176, generator=generator), torch.randn(1, 5, 8, 88, generator=generator)


def extractor_config(kind: str) -> dict:
    roi_layer = {"type": "RoIAlign", "output_size": 7, "sampling_ratio": 0}
    return {"type": kind, "roi_layer": roi_layer, "out_channels": 5, "featmap_strides": [8, 16]}


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("kind", ["mmdet.SingleRoIExtractor", "mmdet.GenericRoIExtractor"])
def test_a_far_box_gives_the_same_bins_from_narrow_features_as_from_float32(roi_extractors, levels, kind, dtype):
    extractor = MODELS.build(extractor_config(kind))
    narrow_levels = tuple(level.to(dtype) for level in levels)
    narrow = extractor(narrow_levels, ROIS)
    exact = extractor(tuple(level.float() for level in narrow_levels), ROIS)
    assert narrow.dtype == dtype
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(narrow.float(), exact, rtol=2 * eps, atol=2 * eps)


def test_the_gradient_of_narrow_features_is_narrow_and_that_of_float32(roi_extractors, levels):
    extractor = MODELS.build(extractor_config("mmdet.SingleRoIExtractor"))
    narrow_levels = tuple(level.bfloat16().requires_grad_() for level in levels)
    wide_levels = tuple(level.detach().float().requires_grad_() for level in narrow_levels)
    extractor(narrow_levels, ROIS).float().sum().backward()
    extractor(wide_levels, ROIS).sum().backward()
    for narrow, wide in zip(narrow_levels, wide_levels, strict=True):
        assert narrow.grad.dtype == torch.bfloat16
        torch.testing.assert_close(narrow.grad.float(), wide.grad, rtol=2**-7, atol=2**-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_float32_and_float64_features_take_the_stock_path(roi_extractors, levels, dtype):
    extractor = MODELS.build(extractor_config("mmdet.SingleRoIExtractor"))
    stock = roi_extractors.SingleRoIExtractor.forward.__wrapped__
    wide_levels = tuple(level.to(dtype) for level in levels)
    assert torch.equal(extractor(wide_levels, ROIS), stock(extractor, wide_levels, ROIS))


@pytest.mark.parametrize("dtype", NARROW)
def test_anchors_asked_for_in_a_narrow_type_are_float32(dtype):
    prior_generators = importlib.import_module("mmdet.models.task_modules.prior_generators")
    generator = prior_generators.AnchorGenerator(strides=[16], ratios=[1.0], scales=[8])
    (narrow,) = generator.grid_priors([(3, 88)], dtype=dtype, device="cpu")
    (exact,) = generator.grid_priors([(3, 88)], device="cpu")
    assert narrow.dtype == torch.float32
    assert torch.equal(narrow, exact)


@pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning")  # mmdet calls it without indexing
@pytest.mark.parametrize("dtype", NARROW)
def test_points_asked_for_in_a_narrow_type_are_float32(dtype):
    prior_generators = importlib.import_module("mmdet.models.task_modules.prior_generators")
    generator = prior_generators.MlvlPointGenerator([16], offset=0.3)
    (narrow,) = generator.grid_priors([(3, 88)], dtype=dtype, device="cpu", with_stride=True)
    (exact,) = generator.grid_priors([(3, 88)], device="cpu", with_stride=True)
    assert torch.equal(narrow, exact)


def test_a_library_without_the_expected_class_is_warned_of_and_reported(monkeypatch):
    monkeypatch.setattr(coordinates, "_not_found", set())
    with pytest.warns(UserWarning, match="has no RoIAlign.forward"):
        coordinates._cure(ModuleType("mmcv.ops.roi_align"))
    assert not coordinates.status().active
    assert "mmcv.ops.roi_align.RoIAlign.forward" in coordinates.status().why
