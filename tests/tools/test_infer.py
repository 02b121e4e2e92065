"""Predicting as a user meets it: files and drawings of a folder, what was left out, and bad input in a few words."""

import json

import cv2
import numpy as np
import pytest
import torch
from tiny_models import FEW_SCENES, write_model

SHORT = tuple(f"{name}={value}" for name, value in FEW_SCENES.items())
SMALL = ("model.backbone.variant=t", "model.decode_head.in_channels=32,64,160,256")
INFER = "python tools/infer.py configs/nyu/depth_anchorformer.py made/epoch_1.pth"


@pytest.fixture(scope="module")
def pictures(workplace):
    """A checkpoint of a toy run under ``made``, and a folder of two pictures and a torn one."""
    write_model(workplace.folder / "made", "depth")
    folder = workplace.folder / "pictures"
    folder.mkdir()
    picture = np.random.default_rng(0).integers(0, 255, (70, 90, 3), dtype=np.uint8)
    for name in ("a.jpg", "b.jpg", "torn.jpg"):
        cv2.imwrite(str(folder / name), picture)
    (folder / "torn.jpg").write_bytes((folder / "torn.jpg").read_bytes()[:700])
    return folder


def test_a_folder_is_predicted_and_what_cannot_be_is_listed_with_status_1(workplace, pictures):
    done = workplace.run(f"{INFER} pictures --toy --batch 2 --out predicted", *SHORT, *SMALL)
    assert done.returncode == 1, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert "1 could not be predicted:\n  picture pictures/torn.jpg: torn or no picture" in done.stderr
    assert "depth of 2 pictures" in done.stdout
    out = workplace.folder / "predicted"
    content = json.loads((out / "results.json").read_text())
    assert [row["file_name"] for row in content["pictures"]] == ["a.jpg", "b.jpg"]
    assert sorted(file.name for file in (out / "drawn").iterdir()) == ["a.png", "b.png"]
    # No scenes are rendered for pictures of one's own.
    assert not (workplace.folder / "data").exists()


def test_a_toy_checkpoint_without_the_switch_is_answered_with_it_alone(workplace, pictures):
    content = torch.load(workplace.folder / "made/epoch_1.pth")
    content["meta"]["cfg"] = "toy_scenes = dict(num_train=5)\nmodel = dict(type='MonoDepthEstimator')\n"
    torch.save(content, workplace.folder / "toy.pth")
    done = workplace.run(f"{INFER} pictures --out new".replace("made/epoch_1.pth", "toy.pth"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: checkpoint toy.pth is of a run with --toy")
    assert "add --toy" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    # With the switch it is the rest of the options that are missing.
    done = workplace.run(f"{INFER} pictures --toy --out new".replace("made/epoch_1.pth", "toy.pth"))
    assert "is of another network than the config's" in done.stderr


def test_bad_input_is_answered_in_a_few_lines_and_nothing_is_written(workplace, pictures):
    done = workplace.run(f"{INFER} pictures --out new")
    assert done.returncode == 1
    assert done.stderr.startswith("error: checkpoint made/epoch_1.pth is of another network than the config's")
    assert len(done.stderr.splitlines()) <= 15
    assert not (workplace.folder / "new").exists()
