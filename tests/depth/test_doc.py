"""The worked example of docs/depth.md, on files of the layout it shows."""

import argparse
import re

import cv2
import numpy as np
import pytest
from cases import ROOT
from mmengine.config import DictAction
from mmengine.registry import DATASETS, MODELS, DefaultScope

from effvit_mm.depth import write_depth
from effvit_mm.engine.config_check import check_config
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


def commands():
    """The commands of the page that run a config, and their options."""
    text = "".join(re.findall(r"```bash\n(.*?)```", DOC, flags=re.S)).replace("\\\n", "")
    return re.findall(r"python tools/(?:train|test).py (configs/\S+)(.*)", text)


def test_the_page_has_a_command_for_sliding_and_one_for_the_linear_head():
    assert any("mode=slide" in rest and "crop_size=" in rest for _, rest in commands())
    assert any("linear" in leaf for leaf, _ in commands())


@pytest.mark.parametrize(("leaf", "rest"), commands())
def test_the_options_of_a_command_fit_its_config(leaf, rest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    options = parser.parse_known_args(rest.split())[0].cfg_options
    overlays = ROOT / "configs/_base_/toy" if "--toy" in rest else None
    cfg = load_config(ROOT / leaf, overlays=overlays, options=options, splits=())
    check_config(cfg, ("train", "val", "test"))
    check_model(cfg)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        MODELS.build(cfg.model)
