"""The stand-in operations against the naive ones, through mmcv's own functions."""

import importlib
import sys
from types import ModuleType

import pytest
import torch
from reference import ops as naive
from torch import Tensor

from effvit_mm.compat.mmcv_ext import build_stand_in

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def tolerance(dtype: torch.dtype) -> dict[str, float]:
    """A few roundings of the output's type; in float64, of the naive loops."""
    eps = max(torch.finfo(dtype).eps, 1e-12)
    return {"rtol": 4 * eps, "atol": 4 * eps}


@pytest.fixture
def ops(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``mmcv.ops`` on the stand-in, also where the compiled extension is installed."""
    mmcv_ops = importlib.import_module("mmcv.ops")
    stand_in = build_stand_in("Blocked by a test.")
    for name in ("nms", "roi_align", "focal_loss", "info"):
        monkeypatch.setattr(sys.modules[f"mmcv.ops.{name}"], "ext_module", stand_in)
    return mmcv_ops


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def leaves(values: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The values in ``dtype``, and the same rounded values in float64; two leaves, also where the types agree."""
    rounded = values.to(dtype)
    return rounded.clone().requires_grad_(), rounded.to(torch.float64, copy=True).requires_grad_()


def random_boxes(num_boxes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Boxes on a grid of half pixels, which every tested type holds exactly, and scores that all differ."""
    corner = torch.randint(0, 40, (num_boxes, 2), generator=generator) / 2
    size = torch.randint(2, 30, (num_boxes, 2), generator=generator) / 2
    scores = torch.randperm(num_boxes, generator=generator) / 128
    return torch.cat([corner, corner + size], dim=1).double(), scores.double()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0, 1])
def test_nms_keeps_what_the_definition_keeps(ops, generator, dtype, offset):
    boxes, scores = random_boxes(37, generator)
    expected = naive.nms(boxes, scores, 0.35, offset)
    dets, kept = ops.nms(boxes.to(dtype), scores.to(dtype), 0.35, offset=offset)
    assert kept.tolist() == expected
    assert dets.dtype == dtype


def test_nms_with_offset_one_drops_a_box_that_offset_zero_keeps(ops):
    # Sides 1 and 2 apart by one: 1 / 2 without the offset, (2 * 2) / (2 * 3) with it.
    boxes, scores = torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 2]]), torch.tensor([0.9, 0.8])
    assert ops.nms(boxes, scores, 0.6, offset=0)[1].tolist() == [0, 1]
    assert ops.nms(boxes, scores, 0.6, offset=1)[1].tolist() == [0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_nms_of_no_boxes_keeps_none(ops, dtype):
    dets, kept = ops.nms(torch.zeros(0, 4, dtype=dtype), torch.zeros(0, dtype=dtype), 0.5)
    assert dets.shape == (0, 5)
    assert kept.dtype == torch.int64


def test_nms_refuses_an_offset_that_is_neither_zero_nor_one():
    with pytest.raises(ValueError, match="offset must be 0 or 1, got 2"):
        build_stand_in("").nms(torch.zeros(1, 4), torch.zeros(1), iou_threshold=0.5, offset=2)


def test_batched_nms_never_lets_one_class_drop_a_box_of_another(ops, generator):
    boxes, scores = random_boxes(37, generator)
    classes = torch.arange(37) % 3
    dets, kept = ops.batched_nms(boxes, scores, classes, {"type": "nms", "iou_threshold": 0.35})
    expected = []
    for label in range(3):
        members = (classes == label).nonzero().flatten()
        expected += members[naive.nms(boxes[members], scores[members], 0.35, 0)].tolist()
    assert kept.tolist() == sorted(expected, key=lambda index: -scores[index])
    torch.testing.assert_close(dets[:, :4], boxes[kept])


ROIS = torch.tensor(
    [
        [1, 3.5, 2.25, 21.0, 17.5],
        [0, 0.0, 0.0, 39.5, 23.75],  # the whole picture
        [1, -6.0, -5.0, 9.0, 4.0],  # beyond the left and upper border
        [0, 30.0, 15.0, 52.0, 34.0],  # beyond the right and lower border
        [1, 8.0, 8.0, 8.5, 8.25],  # a fraction of a pixel of the map
    ]
)


def aligned_both_ways(ops, fmap, aligned, sampling_ratio, dtype):
    """The stand-in's bins in ``dtype`` and the naive ones in float64, of the same rounded map, each with its leaf."""
    leaf, exact_leaf = leaves(fmap, dtype)
    bins = ops.roi_align(leaf, ROIS.to(dtype), (3, 4), 0.25, sampling_ratio, "avg", aligned)
    exact = naive.roi_align(exact_leaf, ROIS.to(dtype).double(), (3, 4), 0.25, sampling_ratio, aligned)
    return (leaf, bins), (exact_leaf, exact)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
def test_roi_align_averages_the_samples_of_the_definition(ops, generator, aligned, sampling_ratio, dtype):
    fmap = torch.randn(2, 5, 6, 10, generator=generator, dtype=torch.float64)
    (_, bins), (_, exact) = aligned_both_ways(ops, fmap, aligned, sampling_ratio, dtype)
    assert bins.dtype == dtype
    torch.testing.assert_close(bins.double(), exact, **tolerance(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
def test_roi_align_has_the_gradient_of_the_definition(ops, generator, aligned, sampling_ratio, dtype):
    fmap = torch.randn(2, 5, 6, 10, generator=generator, dtype=torch.float64)
    (leaf, bins), (exact_leaf, exact) = aligned_both_ways(ops, fmap, aligned, sampling_ratio, dtype)
    slope = torch.randn(exact.shape, generator=generator, dtype=torch.float64).to(dtype)
    bins.backward(slope)
    exact.backward(slope.double())
    assert leaf.grad.dtype == dtype
    torch.testing.assert_close(leaf.grad.double(), exact_leaf.grad, **tolerance(dtype))


def test_roi_align_passes_gradcheck(ops, generator):
    fmap = torch.randn(2, 3, 6, 10, generator=generator, dtype=torch.float64, requires_grad=True)
    layer = ops.RoIAlign(output_size=(2, 3), spatial_scale=0.25, sampling_ratio=2)
    assert torch.autograd.gradcheck(lambda leaf: layer(leaf, ROIS.double()), fmap)


def test_roi_align_of_no_regions_is_empty_and_has_a_zero_gradient(ops):
    fmap = torch.randn(2, 5, 6, 10, requires_grad=True)
    bins = ops.roi_align(fmap, torch.zeros(0, 5), (3, 4), 0.25, 0, "avg", True)
    assert bins.shape == (0, 5, 3, 4)
    bins.sum().backward()
    assert fmap.grad.count_nonzero() == 0


def test_roi_align_runs_forward_and_backward_under_autocast(ops):
    fmap = torch.randn(2, 5, 6, 10, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ops.roi_align(fmap, ROIS, (3, 4), 0.25, 0, "avg", True).sum().backward()
    assert fmap.grad.dtype == torch.bfloat16


# Three classes: two of them, background (3) and a negative label.
TARGET = torch.tensor([0, 2, 3, -1, 1, 0, 2])
CLASS_WEIGHT = torch.tensor([0.5, 2.0, 1.25], dtype=torch.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight", [None, CLASS_WEIGHT], ids=["unweighted", "weighted"])
def test_sigmoid_focal_loss_is_the_papers(ops, generator, dtype, weight):
    logits = 3 * torch.randn(7, 3, generator=generator, dtype=torch.float64)
    leaf, exact_leaf = leaves(logits, dtype)
    slope = torch.randn(7, 3, generator=generator, dtype=torch.float64).to(dtype)
    loss = ops.sigmoid_focal_loss(leaf, TARGET, 1.5, 0.3, None if weight is None else weight.to(dtype), "none")
    loss.backward(slope)
    exact = naive.sigmoid_focal_loss(exact_leaf, TARGET, 1.5, 0.3, weight)
    exact.backward(slope.double())
    assert loss.dtype == leaf.grad.dtype == dtype
    torch.testing.assert_close(loss.double(), exact, **tolerance(dtype))
    torch.testing.assert_close(leaf.grad.double(), exact_leaf.grad, **tolerance(dtype))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_sigmoid_focal_loss_passes_gradcheck(ops, generator, reduction):
    logits = torch.randn(7, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    layer = ops.SigmoidFocalLoss(gamma=2.0, alpha=0.25, weight=CLASS_WEIGHT, reduction=reduction)
    assert torch.autograd.gradcheck(lambda leaf: layer(leaf, TARGET), logits)


def test_sigmoid_focal_loss_of_a_saturated_logit_is_the_logit(ops):
    logits = torch.tensor([[20.0, -20.0, 0.0]], requires_grad=True)
    loss = ops.sigmoid_focal_loss(logits, torch.tensor([1]), 2.0, 0.25, None, "none")
    loss.sum().backward()
    torch.testing.assert_close(loss[0, :2], torch.tensor([0.75 * 20, 0.25 * 20]))
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("weight", [None, CLASS_WEIGHT], ids=["unweighted", "weighted"])
def test_softmax_focal_loss_is_the_papers(ops, generator, dtype, weight):
    target = TARGET.where(TARGET < 3, -1)
    logits = 3 * torch.randn(7, 3, generator=generator, dtype=torch.float64)
    leaf, exact_leaf = leaves(logits, dtype)
    loss = ops.softmax_focal_loss(leaf, target, 1.5, 0.3, None if weight is None else weight.to(dtype), "sum")
    loss.backward()
    exact = naive.softmax_focal_loss(exact_leaf, target, 1.5, 0.3, weight).sum()
    exact.backward()
    torch.testing.assert_close(loss.double(), exact, **tolerance(dtype))
    torch.testing.assert_close(leaf.grad.double(), exact_leaf.grad, **tolerance(dtype))


def sigmoid_loss_and_slope(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    stand_in, loss, slope = build_stand_in(""), torch.zeros_like(logits), torch.zeros_like(logits)
    stand_in.sigmoid_focal_loss_forward(logits, target, logits.new_zeros(0), loss, gamma=2.0, alpha=0.25)
    stand_in.sigmoid_focal_loss_backward(logits, target, logits.new_zeros(0), slope, gamma=2.0, alpha=0.25)
    return loss, slope


def softmax_loss_slope_and_buffer(probabilities: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    stand_in, loss, slope = build_stand_in(""), probabilities.new_zeros(7), torch.zeros_like(probabilities)
    weight, buffer = probabilities.new_zeros(0), probabilities.new_zeros(7)
    stand_in.softmax_focal_loss_forward(probabilities, target, weight, loss, gamma=2.0, alpha=0.25)
    stand_in.softmax_focal_loss_backward(probabilities, target, weight, buffer, slope, gamma=2.0, alpha=0.25)
    return loss, slope, buffer


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("evaluate", [sigmoid_loss_and_slope, softmax_loss_slope_and_buffer])
def test_focal_losses_of_narrow_types_are_rounded_once_at_the_end(generator, evaluate, dtype):
    probabilities = torch.randn(7, 3, generator=generator).softmax(dim=1).to(dtype)
    target = TARGET.where(TARGET < 3, -1)
    for narrow, wide in zip(evaluate(probabilities, target), evaluate(probabilities.float(), target), strict=True):
        assert torch.equal(narrow, wide.to(dtype))


def test_softmax_focal_loss_leaves_the_common_factor_of_the_slope_in_the_buffer(generator):
    probabilities = torch.randn(7, 3, generator=generator).softmax(dim=1)
    target = torch.tensor([0, 2, 1, 1, 0, 2, 0])
    _, slope, buffer = softmax_loss_slope_and_buffer(probabilities, target)
    one_hot = torch.nn.functional.one_hot(target, num_classes=3)
    torch.testing.assert_close(slope, buffer[:, None] * (one_hot - probabilities))
    assert buffer.count_nonzero() == 7


def test_softmax_focal_loss_passes_gradcheck(ops, generator):
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    layer = ops.SoftmaxFocalLoss(gamma=2.0, alpha=0.25, weight=CLASS_WEIGHT)
    assert torch.autograd.gradcheck(lambda leaf: layer(leaf, torch.tensor([2, 0, 1, 2])), logits)


def test_compiler_versions_say_that_there_is_none(ops):
    assert "torchvision" in ops.get_compiler_version()
    assert ops.get_compiling_cuda_version() == "not available"
