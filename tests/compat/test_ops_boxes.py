"""The stand-in operations on boxes against the naive ones, through mmcv's own functions."""

import importlib
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from reference import ops as naive_ops
from reference import sampling_ops as naive
from torch import Tensor

from effvit_mm.compat.mmcv_ext import build_stand_in

METHODS = ["naive", "linear", "gaussian"]


@pytest.fixture
def ops(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``mmcv.ops`` on the stand-in, also where the compiled extension is installed."""
    mmcv_ops = importlib.import_module("mmcv.ops")
    for name in ("nms", "bbox"):
        monkeypatch.setattr(sys.modules[f"mmcv.ops.{name}"], "ext_module", build_stand_in("Blocked by a test."))
    return mmcv_ops


def random_boxes(num_boxes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Boxes on a grid of half pixels, which every tested type holds exactly, and scores that all differ."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 40, (num_boxes, 2), generator=generator) / 2
    size = torch.randint(2, 30, (num_boxes, 2), generator=generator) / 2
    scores = (1 + torch.randperm(num_boxes, generator=generator)) / 64
    return torch.cat([corner, corner + size], dim=1).double(), scores.double()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("offset", [0, 1])
def test_soft_nms_keeps_and_lowers_as_the_paper_does(ops, method, offset):
    boxes, scores = random_boxes(37)
    expected = naive.soft_nms(boxes, scores, 0.3, 0.5, 0.02, method, offset)
    dets, kept = ops.soft_nms(boxes, scores, 0.3, 0.5, 0.02, method, offset)
    assert kept.tolist() == [index for index, _ in expected]
    assert 5 < len(expected) < 37
    torch.testing.assert_close(dets[:, 4], torch.tensor([score for _, score in expected], dtype=torch.float64))
    assert torch.equal(dets[:, :4], boxes[kept])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", METHODS)
def test_soft_nms_of_a_narrow_type_keeps_the_same_boxes_and_rounds_once(ops, method, dtype):
    boxes, scores = random_boxes(37)
    exact, expected = ops.soft_nms(boxes, scores, 0.3, 0.5, 0.02, method)
    dets, kept = ops.soft_nms(boxes.to(dtype), scores.to(dtype), 0.3, 0.5, 0.02, method)
    assert torch.equal(kept, expected)
    assert dets.dtype == dtype
    torch.testing.assert_close(dets, exact.to(dtype), rtol=4 * torch.finfo(dtype).eps, atol=0)


def test_soft_nms_that_lowers_to_zero_is_nms(ops):
    boxes, scores = random_boxes(37)
    # Hard suppression drops what overlaps by more than the threshold, the soft one also what meets it.
    expected = naive_ops.nms(boxes, scores, 0.3001, 0)
    assert ops.soft_nms(boxes, scores, 0.3001, method="naive")[1].tolist() == expected


def test_soft_nms_takes_arrays_and_boxes_without_an_area(ops):
    boxes = np.array([[4, 3, 5, 3], [4, 3, 5, 4], [3, 1, 3, 1], [3, 1, 3, 1]], dtype=np.float32)
    scores = np.array([0.9, 0.8, 0.5, 0.4], dtype=np.float32)
    for method in METHODS:
        dets, kept = ops.soft_nms(boxes, scores, 0.6, method=method)
        assert kept.tolist() == [0, 1, 2, 3]
        np.testing.assert_array_equal(dets[:, 4], scores)


# The second has half the area of the first, and lies in it: both thresholds are met exactly.
HALF = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 1]])


def test_soft_nms_lowers_at_the_threshold_and_keeps_a_score_that_is_the_least_allowed(ops):
    dets, kept = ops.soft_nms(HALF, torch.tensor([0.75, 0.5]), iou_threshold=0.5, min_score=0.25)
    assert kept.tolist() == [0, 1]
    assert dets[:, 4].tolist() == [0.75, 0.25]


def test_soft_nms_drops_a_score_that_is_no_number(ops):
    assert ops.soft_nms(HALF, torch.tensor([torch.nan, 0.5]))[1].tolist() == [1]


def test_nms_match_takes_a_box_that_meets_the_threshold_into_the_group(ops):
    dets = torch.cat([HALF, torch.tensor([[0.75], [0.5]])], dim=1)
    assert [group.tolist() for group in ops.nms_match(dets, 0.5)] == [[0, 1]]


def test_soft_nms_of_no_boxes_keeps_none(ops):
    dets, kept = ops.soft_nms(torch.zeros(0, 4), torch.zeros(0))
    assert dets.shape == (0, 5)
    assert kept.dtype == torch.int64


def test_soft_nms_refuses_a_method_it_does_not_know():
    with pytest.raises(ValueError, match=r"method must be 0 .*, got 3"):
        build_stand_in("").softnms(torch.zeros(1, 4), torch.zeros(1), torch.zeros(1, 5), 0.3, 0.5, 0.1, 3, 0)


def test_batched_soft_nms_never_lets_one_class_lower_a_box_of_another(ops):
    boxes, scores = random_boxes(31)
    classes = torch.arange(31) % 3
    config = {"type": "soft_nms", "iou_threshold": 0.3, "min_score": 0.02}
    dets, kept = ops.batched_nms(boxes, scores, classes, config)
    expected = {}
    for label in range(3):
        members = (classes == label).nonzero().flatten()
        for index, score in naive.soft_nms(boxes[members], scores[members], 0.3, 0.5, 0.02, "linear", 0):
            expected[int(members[index])] = score
    assert set(kept.tolist()) == set(expected)
    torch.testing.assert_close(dets[:, 4], torch.tensor([expected[index] for index in kept.tolist()]).double())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_nms_match_groups_each_box_with_those_it_drops(ops, dtype):
    boxes, scores = random_boxes(37)
    groups = ops.nms_match(torch.cat([boxes, scores[:, None]], dim=1).to(dtype), 0.25)
    expected = naive.nms_match(boxes, scores, 0.25)
    assert [group.tolist() for group in groups] == expected
    assert 1 < len(expected) < 37
    assert all(group.dtype == torch.int64 for group in groups)


def test_nms_match_of_arrays_gives_arrays_and_of_nothing_gives_no_group(ops):
    dets = np.array([[0, 0, 2, 2, 0.5], [0, 0, 2, 2, 0.9], [5, 5, 6, 6, 0.1]], dtype=np.float32)
    groups = ops.nms_match(dets, 0.5)
    assert [group.tolist() for group in groups] == [[1, 0], [2]]
    assert isinstance(groups[0], np.ndarray)
    assert ops.nms_match(np.zeros((0, 5), dtype=np.float32), 0.5) == []


@pytest.mark.parametrize("offset", [0, 1])
def test_overlaps_of_all_pairs_are_those_of_the_definition(offset):
    first, second = random_boxes(5)[0], random_boxes(7, seed=1)[0]
    overlaps = first.new_zeros(5, 7)
    build_stand_in("").bbox_overlaps(first, second, overlaps, mode=0, aligned=False, offset=offset)
    exact = [[naive_ops.intersection_over_union(one, other, offset) for other in second] for one in first]
    torch.testing.assert_close(overlaps, torch.tensor(exact, dtype=torch.float64))


@pytest.mark.parametrize("mode", ["iou", "iof"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_overlaps_agree_with_mmcvs_path_for_the_cpu(ops, mode, aligned, dtype):
    first, second = (random_boxes(6, seed)[0].float() for seed in (2, 3))
    exact = ops.bbox_overlaps(first, second, mode=mode, aligned=aligned)
    overlaps = torch.zeros(exact.shape, dtype=dtype)
    number = {"iou": 0, "iof": 1}[mode]
    build_stand_in("").bbox_overlaps(first.to(dtype), second.to(dtype), overlaps, number, aligned, 0)
    torch.testing.assert_close(overlaps, exact.to(dtype), rtol=1e-6, atol=1e-6)


def test_overlaps_refuse_a_mode_they_do_not_know():
    with pytest.raises(ValueError, match=r"mode must be 0 .*, got 2"):
        build_stand_in("").bbox_overlaps(torch.zeros(1, 4), torch.zeros(1, 4), torch.zeros(1, 1), 2, False, 0)
