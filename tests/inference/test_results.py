"""The files of a task in the cases that tiny models do not meet."""

import json

import cv2
import numpy as np
import torch
from mmengine.structures import InstanceData, PixelData

from effvit_mm.depth import read_depth
from effvit_mm.inference import Picture
from effvit_mm.inference.results import DepthResults, DetectionResults, SegmentationResults

PICTURE = Picture("street/a.jpg", "street/a", np.zeros((6, 8, 3), np.uint8))


def test_depth_beyond_65_metres_is_stored_in_units_that_hold_it(tmp_path):
    from mmseg.structures import SegDataSample

    sample = SegDataSample(pred_depth_map=PixelData(data=torch.full((1, 6, 8), 79.5)))
    with DepthResults(tmp_path, (), {}, max_depth=80.0) as results:
        results.add(PICTURE, sample)
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["scale"] == 256
    assert content["pictures"][0]["median"] == 79.5
    assert (read_depth(tmp_path / content["pictures"][0]["depth"], content["scale"]) == 79.5).all()


def detected(label):
    from mmdet.structures import DetDataSample

    sample = DetDataSample(metainfo=dict(ori_shape=(6, 8)))
    found = dict(bboxes=torch.tensor([[1.0, 2.0, 5.0, 4.0]]), scores=torch.tensor([0.5]), labels=torch.tensor([label]))
    sample.pred_instances = InstanceData(**found)
    return sample


def test_cocos_classes_have_cocos_ids(tmp_path):
    from mmdet.datasets import CocoDataset

    with DetectionResults(tmp_path, CocoDataset.METAINFO["classes"], {}) as results:
        results.add(PICTURE, detected(79))
    (row,) = json.loads((tmp_path / "results.json").read_text())
    assert (row["category_id"], row["category"]) == (90, "toothbrush")
    assert row["bbox"] == [1.0, 2.0, 4.0, 2.0]
    categories = {
        entry["name"]: entry["id"] for entry in json.loads((tmp_path / "images.json").read_text())["categories"]
    }
    assert (categories["person"], categories["stop sign"], categories["dining table"]) == (1, 13, 67)


def test_a_class_without_a_name_has_its_number(tmp_path):
    with DetectionResults(tmp_path, ("one",), {}) as results:
        results.add(PICTURE, detected(4))
    (row,) = json.loads((tmp_path / "results.json").read_text())
    assert (row["category_id"], row["category"]) == (5, "class 4")


def test_masks_of_many_classes_have_16_bits(tmp_path):
    from mmseg.structures import SegDataSample

    sample = SegDataSample(pred_sem_seg=PixelData(data=torch.full((1, 6, 8), 299)))
    with SegmentationResults(tmp_path, [f"c{i}" for i in range(300)], {}) as results:
        results.add(PICTURE, sample)
    mask = cv2.imread(str(tmp_path / "masks/street/a.png"), cv2.IMREAD_UNCHANGED)
    assert mask.dtype == np.uint16
    assert (mask == 299).all()
