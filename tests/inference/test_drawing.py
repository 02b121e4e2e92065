"""Drawings: what is found lies where it is in the picture, whatever the picture's size."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData

from effvit_mm.inference.drawing import Drawer

META = dict(classes=("box", "sphere"), palette=[(255, 0, 0), (0, 0, 255)])


@pytest.mark.parametrize("size", [(120, 160), (1500, 2000)])
def test_an_object_is_drawn_where_it_is_in_pictures_small_and_huge(size):
    from mmdet.structures import DetDataSample

    height, width = size
    mask = torch.zeros(2, height, width, dtype=torch.bool)
    mask[0, height // 4 : height // 2, width // 2 :] = True
    boxes = torch.tensor([[width / 2, height / 4, width + 0.7, height / 2], [0, 0, width / 4, height]])
    sample = DetDataSample(metainfo=dict(ori_shape=size))
    sample.pred_instances = InstanceData(
        bboxes=boxes, labels=torch.tensor([1, 0]), scores=torch.tensor([0.9, 0.2]), masks=mask
    )
    draw = Drawer("detection", Config(dict(model=dict(), default_scope="mmdet")), META)
    picture = np.full((*size, 3), (60, 90, 140), np.uint8)
    drawn = draw(picture, sample, score_threshold=0.3, same_size=False)
    assert drawn.shape == ((360, 480, 3) if height < 480 else (1200, 1600, 3))
    rows, columns = (np.array(drawn.shape[:2])[:, None] * [0.35, 0.75]).astype(int)
    # Blue where the mask is, the picture elsewhere: below it, and where the doubtful object is.
    assert drawn[rows[0], columns[1], 0] > 1.1 * drawn[rows[0], columns[1], 2]
    assert drawn[rows[1], columns[1]].tolist() == [60, 90, 140]
    assert drawn[rows[1], columns[0] // 3].tolist() == [60, 90, 140]


def test_segmented_frames_have_one_size_however_many_classes_they_show():
    from mmseg.structures import SegDataSample

    classes = [f"a class of a long name {i}" for i in range(40)]
    draw = Drawer("segmentation", Config(dict(model=dict())), dict(classes=classes))
    few, many = torch.zeros(1, 60, 80, dtype=torch.int64), torch.arange(4800).reshape(1, 60, 80) % 40
    picture = np.zeros((60, 80, 3), np.uint8)
    sizes = {
        draw(picture, SegDataSample(pred_sem_seg=PixelData(data=labels)), score_threshold=0, same_size=True).shape
        for labels in (few, many)
    }
    assert len(sizes) == 1


def test_depth_of_frames_is_coloured_on_one_scale():
    from mmseg.structures import SegDataSample

    cfg = Config(dict(model=dict(decode_head=dict(max_depth=10.0))))
    draw, picture = Drawer("depth", cfg, {}), np.zeros((480, 500, 3), np.uint8)
    depth = torch.full((1, 480, 500), 2.0)
    depth[:, 240:] = 4.0
    other = depth.clone()
    other[:, :240] = 9.0
    lower = [
        draw(picture, SegDataSample(pred_depth_map=PixelData(data=values)), score_threshold=0, same_size=same)[-50, 700]
        for values, same in ((depth, True), (other, True), (depth, False))
    ]
    assert lower[0].tolist() == lower[1].tolist()
    assert lower[0].tolist() != lower[2].tolist()
