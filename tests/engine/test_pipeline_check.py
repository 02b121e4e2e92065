"""Steps that leave masks behind are named before a run, and not an image after it began."""

import copy

import numpy as np
import pytest
import torch
from mmdet.datasets import transforms
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config

from effvit_mm.engine.pipeline_check import LEFT_BEHIND, MASKS, check_steps
from effvit_mm.errors import BadInputError

H, W = 64, 80
ARGUMENTS = dict(
    Mosaic=dict(img_scale=(64, 64)),
    MixUp=dict(img_scale=(64, 64)),
    CachedMosaic=dict(img_scale=(64, 64)),
    CachedMixUp=dict(img_scale=(64, 64)),
    RandomCenterCropPad=dict(
        crop_size=(40, 40), ratios=(1.0,), mean=[0, 0, 0], std=[1, 1, 1], to_rgb=True, test_pad_mode=None
    ),
    RandomShift=dict(prob=1.0, max_shift_px=20),
    CopyPaste={},
)


def sample():
    """Three boxes, each with the mask that fills it."""
    boxes = np.array([[10 + 15 * i, 10 + 10 * i, 40 + 15 * i, 30 + 10 * i] for i in range(3)], np.float32)
    masks = np.zeros((3, H, W), np.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.astype(int), strict=True):
        mask[top:bottom, left:right] = 1
    return dict(
        img=np.zeros((H, W, 3), np.float32),
        img_path="a.jpg",
        img_shape=(H, W),
        gt_bboxes=HorizontalBoxes(torch.from_numpy(boxes)),
        gt_bboxes_labels=np.arange(3),
        gt_ignore_flags=np.zeros(3, bool),
        gt_masks=BitmapMasks(masks, H, W),
    )


def keeps_masks(step):
    """Whether boxes and masks still belong together behind a step, whatever it draws."""
    for seed in range(6):
        np.random.seed(seed)
        results = sample()
        results["mix_results"] = [sample() for _ in range(3 if "Mosaic" in type(step).__name__ else 1)]
        try:
            results = step(results)
        except NotImplementedError:
            return False
        masks = results["gt_masks"].masks
        if len(masks) != len(results["gt_bboxes"]) or masks.shape[1:] != results["img"].shape[:2]:
            return False
        for mask, corners in zip(masks, results["gt_bboxes"].tensor.numpy(), strict=True):
            rows, columns = np.nonzero(mask)
            if len(rows) and np.abs([columns.min(), rows.min()] - corners[:2]).max() > 20:
                return False
    return True


@pytest.mark.parametrize(
    "name", ["Mosaic", "MixUp", "RandomAffine", "RandomCenterCropPad", "CachedMosaic", "CopyPaste"]
)
def test_the_steps_that_are_named_lose_masks_and_the_others_do_not(name):
    step = getattr(transforms, name)(**ARGUMENTS.get(name, {}))
    assert keeps_masks(step) is (MASKS not in LEFT_BEHIND.get(name, ("", ()))[1])


def test_a_shift_moves_boxes_and_leaves_masks():
    np.random.seed(0)
    before, after = sample(), transforms.RandomShift(prob=1.0, max_shift_px=20)(sample())
    assert not torch.equal(after["gt_bboxes"].tensor, before["gt_bboxes"].tensor)
    assert (after["gt_masks"].masks == before["gt_masks"].masks).all()


def config(outer, load):
    leaf = dict(type="CocoDataset", pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", **load)])
    wrapped = dict(type="MultiImageMixDataset", dataset=dict(type="RepeatDataset", times=2, dataset=leaf))
    return Config(dict(train_dataloader=dict(dataset=dict(**wrapped, pipeline=[*outer, dict(type="PackDetInputs")]))))


MOSAIC = dict(type="Mosaic", img_scale=(64, 64))


@pytest.mark.parametrize(
    ("step", "load", "message"),
    [
        (MOSAIC, dict(with_bbox=True, with_mask=True), "dataset.pipeline.0: Mosaic mixes pictures without their masks"),
        (dict(type="mmdet.MixUp"), dict(with_mask=True), "pipeline.0: MixUp mixes pictures without their masks"),
        (
            dict(type="RandomApply", transforms=[dict(type="RandomShift")]),
            dict(with_mask=True),
            "pipeline.0.transforms.0: RandomShift shifts pictures without their masks",
        ),
        (dict(type="CachedMosaic", img_scale=(64, 64)), dict(with_seg=True), "without their segmentation maps"),
        (
            dict(type="CachedMosaic", img_scale=(80, 64)),
            dict(with_mask=True),
            r"img_scale is \(80, 64\).*img_scale=\(80, 80\)",
        ),
    ],
)
def test_a_step_that_leaves_masks_behind_is_named_through_wrappers(step, load, message):
    with pytest.raises(BadInputError, match=message):
        check_steps(config([step], load), ("train",))
    check_steps(config([step], dict(with_bbox=True)), ("train",))


def test_what_carries_masks_passes():
    steps = [dict(type="CopyPaste"), dict(type="CachedMosaic", img_scale=(64, 64)), dict(type="CachedMixUp")]
    check_steps(config(steps, dict(with_bbox=True, with_mask=True)), ("train", "val"))


def test_a_mosaic_of_another_library_is_left_to_it():
    class Mosaic:
        pass

    step = copy.deepcopy(MOSAIC)
    step["type"] = Mosaic
    check_steps(config([step], dict(with_mask=True)), ("train",))
