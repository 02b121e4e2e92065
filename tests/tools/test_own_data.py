"""The worked example of docs/own_data.md trains, as it is printed, on data that lie as it says."""

import json
import re

import pytest
from cases import ROOT
from mmengine.config import Config

from effvit_mm.datasets.toy_export import ensure_toy_scenes

TEXT = (ROOT / "docs/own_data.md").read_text()
CONFIG = next(block for block in re.findall(r"```python\n(.*?)```", TEXT, flags=re.S) if "_base_" in block)
NAMES = {"box": "chair", "sphere": "table", "cylinder": "lamp"}
SHORT = (
    "train_cfg.max_epochs=1",
    "train_dataloader.dataset.pipeline.2.scale=(160,128)",
    "val_dataloader.dataset.pipeline.1.scale=(160,128)",
    "model.backbone.variant=t",
    "model.neck.in_channels=32,64,160,256",
)


@pytest.fixture(scope="module")
def rooms(workplace):
    """Lay eight pictures and the config out as the text says."""
    made = ensure_toy_scenes(workplace.folder / "made", num_train=4, num_val=4) / "coco"
    root = workplace.folder / "data/rooms"
    (root / "pictures").mkdir(parents=True)
    for split in ("train", "val"):
        content = json.loads((made / f"annotations/instances_{split}2017.json").read_text())
        for category in content["categories"]:
            category["name"] = NAMES[category["name"]]
        for image in content["images"]:
            named = f"{split}_{image['file_name']}"
            (made / f"{split}2017" / image["file_name"]).rename(root / "pictures" / named)
            image["file_name"] = named
        (root / f"{split}.json").write_text(json.dumps(content))
    (workplace.folder / "my_configs").mkdir()
    (workplace.folder / "my_configs/maskrcnn_rooms.py").write_text(CONFIG)
    return workplace


@pytest.mark.parametrize("overfit", ["", " --overfit 2"])
def test_the_worked_config_trains_and_reports(rooms, overfit):
    said = rooms.succeeds(f"python tools/train.py my_configs/maskrcnn_rooms.py{overfit}", *SHORT)
    if not overfit:
        assert "param_scheduler.0 (Linear) warms up for 500 steps" in said
        assert "the run has 2 steps" in said
    assert "coco/segm_mAP_50" in rooms.metrics("maskrcnn_rooms")


def test_a_missing_comma_is_named_before_training(rooms):
    wrong = CONFIG.replace('("chair", "table", "lamp")', '("chair" "table", "lamp")')
    (rooms.folder / "my_configs/maskrcnn_wrong.py").write_text(wrong)
    done = rooms.run("python tools/train.py my_configs/maskrcnn_wrong.py", *SHORT)
    assert done.returncode == 1
    assert "chairtable" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_other_snippet_names_a_backbone_that_fits(workplace):
    options = re.search(r"`model = (dict\(backbone=.*?\))`", TEXT, flags=re.S)[1]
    backbone = Config.fromstring(f"model = {options}", ".py").model
    assert (backbone.backbone.type, backbone.neck.in_channels) == ("LIT", [64, 128, 320, 512])
