"""Overlays put a config in another setting; a few pictures of its own data train and validate it."""

import json

import pytest
from cases import ROOT
from tiny_coco import CLASSES, write_annotations, write_coco

from effvit_mm.engine.run import load_config
from effvit_mm.errors import BadInputError

MASKRCNN = ROOT / "configs/coco/maskrcnn_anchorformer.py"
BASES = ROOT / "configs/_base_"
FILES = {
    f"{split}_dataloader.dataset.{key}": value
    for split in ("train", "val", "test")
    for key, value in {
        "ann_file": "boxes.json",
        "data_prefix.img": "pictures/",
        "metainfo": {"classes": CLASSES},
    }.items()
}


def overfit(root, num_pictures):
    return load_config(
        MASKRCNN,
        overlays=BASES / "overfit",
        num_pictures=num_pictures,
        data_root=root,
        options=FILES,
        work_dir=root / "run",
    )


def test_few_pictures_train_and_validate_themselves(tmp_path):
    content = write_coco(tmp_path, num_pictures=5)
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != 2]
    write_annotations(tmp_path, content)
    cfg = overfit(tmp_path, 3)
    files = {cfg[f"{split}_dataloader"].dataset.ann_file for split in ("train", "val", "test")}
    files |= {cfg[f"{split}_evaluator"].ann_file for split in ("val", "test")}
    (file,) = files
    kept = json.loads((tmp_path / file).read_text())
    assert [image["id"] for image in kept["images"]] == [1, 3, 4]
    assert [entry["image_id"] for entry in kept["annotations"]] == [1, 3, 4]
    assert kept["categories"] == content["categories"]
    assert cfg.val_dataloader.dataset.data_prefix == cfg.train_dataloader.dataset.data_prefix


def test_more_pictures_than_there_are_is_refused(tmp_path):
    write_coco(tmp_path, num_pictures=2)
    with pytest.raises(BadInputError, match="--overfit 3: give a number from 1 to 2"):
        overfit(tmp_path, 3)
    assert not (tmp_path / "run").exists()


def test_no_picture_is_refused(tmp_path):
    write_coco(tmp_path)
    with pytest.raises(BadInputError, match="--overfit 0"):
        overfit(tmp_path, 0)


@pytest.mark.parametrize("setting", ["toy", "overfit"])
def test_a_method_without_an_overlay_is_told_which_have_one(tmp_path, setting):
    file = tmp_path / "yolo_mine.py"
    file.write_text("model = dict(type='YOLO')")
    with pytest.raises(
        BadInputError, match=f"--{setting} has no overlay for yolo_mine.py(.|\n)*maskrcnn, retinanet\\."
    ):
        load_config(file, overlays=BASES / setting)


def test_impossible_toy_scenes_are_refused_by_the_name_of_the_argument():
    with pytest.raises(BadInputError, match="toy_scenes: num_train=0"):
        load_config(MASKRCNN, overlays=BASES / "toy", options={"toy_scenes.num_train": 0})
