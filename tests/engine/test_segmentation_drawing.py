"""A segmentation is drawn as picture, truth and prediction in the colours that its legend names."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData

from effvit_mm.engine.segmentation_drawing import draw_segmentation, paint, without_scores

PALETTE = [(200, 0, 0), (0, 180, 0), (0, 0, 160)]
META = dict(classes=("floor", "wall ", "box"), palette=PALETTE)


@pytest.fixture
def sample(tmp_path):
    """A picture of 30 x 40 pixels: floor on the left, wall on the right, one row ignored, all predicted as box."""
    from mmseg.structures import SegDataSample

    cv2.imwrite(str(tmp_path / "room.png"), np.full((30, 40, 3), (10, 20, 30), np.uint8))
    truth = torch.zeros(1, 30, 40, dtype=torch.int64)
    truth[:, :, 20:] = 1
    truth[:, :3] = 255
    sample = SegDataSample(metainfo=dict(img_path=str(tmp_path / "room.png")))
    sample.gt_sem_seg = PixelData(data=truth)
    sample.pred_sem_seg = PixelData(data=torch.full((1, 30, 40), 2))
    sample.seg_logits = PixelData(data=torch.zeros(3, 30, 40))
    return sample


def load(file):
    return cv2.imread(str(file))[..., ::-1]


def test_class_numbers_become_colours_and_the_ignored_is_black():
    painted = paint(np.array([[0, 2], [1, 255]]), PALETTE)
    assert painted.tolist() == [[[200, 0, 0], [0, 0, 160]], [[0, 180, 0], [0, 0, 0]]]


def test_panels_stand_side_by_side_enlarged(sample, tmp_path):
    draw_segmentation(META, sample, tmp_path / "drawn.png")
    drawn = load(tmp_path / "drawn.png")
    # Nine times as large, each panel behind a margin of 8 and below a title of 23 pixels.
    middle = 23 + 135
    assert drawn.shape[1] == 3 * (360 + 8) + 8
    assert drawn[middle, 8 + 180].tolist() == [30, 20, 10]
    assert drawn[middle, 376 + 90].tolist() == [200, 0, 0]
    assert drawn[middle, 376 + 270].tolist() == [0, 180, 0]
    assert drawn[23 + 10, 376 + 90].tolist() == [0, 0, 0]
    assert drawn[middle, 744 + 180].tolist() == [0, 0, 160]


def legend_colours(file):
    drawn = load(file)[23 + 270 + 8 :]
    return {tuple(colour) for colour in drawn.reshape(-1, 3).tolist()} & {*PALETTE, (0, 0, 0)}


def test_the_legend_names_what_occurs_in_truth_or_prediction(sample, tmp_path):
    sample.pred_sem_seg.data[:] = 0
    draw_segmentation(META, sample, tmp_path / "drawn.png")
    assert legend_colours(tmp_path / "drawn.png") == {PALETTE[0], PALETTE[1], (0, 0, 0)}


def test_a_long_legend_wraps(sample, tmp_path):
    long = dict(classes=[f"{name} of a rather long name" * 2 for name in META["classes"]], palette=PALETTE)
    sample.gt_sem_seg.data[:, :3] = 0
    heights = []
    for meta in (META, long):
        draw_segmentation(meta, sample, tmp_path / "drawn.png")
        heights.append(len(load(tmp_path / "drawn.png")))
    assert heights[1] > heights[0]
    assert legend_colours(tmp_path / "drawn.png") >= set(PALETTE)


def test_a_picture_without_truth_is_drawn_with_its_prediction(sample, tmp_path):
    del sample.gt_sem_seg
    draw_segmentation(META, sample, tmp_path / "drawn.png")
    assert load(tmp_path / "drawn.png").shape[1] == 2 * (360 + 8) + 8


def test_samples_are_kept_without_scores_and_as_they_were(sample):
    kept = without_scores(sample)
    assert "seg_logits" not in kept
    assert "seg_logits" in sample
    assert kept.img_path == sample.img_path
    assert torch.equal(kept.pred_sem_seg.data, sample.pred_sem_seg.data)
