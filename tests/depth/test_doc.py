"""The worked example of docs/depth.md, on files of the layout it shows."""

import re

import cv2
import numpy as np
import pytest
from cases import ROOT
from mmengine.registry import DATASETS, DefaultScope

from effvit_mm.depth import write_depth
from effvit_mm.engine.model_check import check_model
from effvit_mm.engine.run import load_config

DOC = (ROOT / "docs/depth.md").read_text()


@pytest.fixture
def example(tmp_path, monkeypatch):
    (snippet,) = re.findall(r"```python\n(_base_.*?)```", DOC, flags=re.S)
    file = tmp_path / "depth_warehouse.py"
    file.write_text(snippet.replace("../_base_", f"{ROOT}/configs/_base_"))
    monkeypatch.chdir(tmp_path)
    for split in ("train/aisle_1", "val/aisle_9"):
        picture = tmp_path / "data/warehouse/images" / split / "0001.jpg"
        picture.parent.mkdir(parents=True)
        cv2.imwrite(str(picture), np.zeros((720, 1280, 3), np.uint8))
        write_depth(tmp_path / "data/warehouse/depth" / split / "0001.png", np.full((720, 1280), 13.5), 256.0)
    return load_config(file)


def test_the_example_fits_together(example):
    check_model(example)
    assert example.model.decode_head.max_depth == example.val_evaluator.max_depth == 20


@pytest.mark.parametrize(
    ("split", "picture", "depth"), [("train", (320, 544), (320, 544)), ("val", (360, 640), (720, 1280))]
)
def test_the_example_reads_its_data_in_metres(example, split, picture, depth):
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope(example.default_scope):
        sample = DATASETS.build(example[f"{split}_dataloader"].dataset)[0]
    assert sample["inputs"].shape == (3, *picture)
    truth = sample["data_samples"].gt_depth_map.data
    assert truth.shape == (1, *depth)
    assert set(truth.unique().tolist()) <= {0.0, 13.5}
