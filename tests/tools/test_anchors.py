"""The tools about anchors: found from pictures for DeiT's weights, then shown on one."""

import json
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from cases import ROOT
from PIL import Image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("anchors")
    torch.manual_seed(0)
    torch.save({"model": timm.create_model("deit_tiny_patch16_224").state_dict()}, folder / "deit_tiny.pth")
    (folder / "photos").mkdir()
    generator = np.random.default_rng(0)
    for i in range(2):
        patches = Image.fromarray(generator.integers(0, 256, (8, 9, 3), dtype=np.uint8))
        patches.resize((180, 160), Image.Resampling.BICUBIC).save(folder / "photos" / f"{i}.jpg")
    return folder


def run(tool, folder, *arguments):
    command = [sys.executable, ROOT / "tools" / tool, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def test_deits_weights_become_anchors_which_are_then_drawn(folder):
    done = run(
        "convert.py", folder, "deit_tiny.pth", "anchor.pth", "--to", "anchor_deit_t", "--images", "photos",
        "--key-bias", "keep", "--num-anchors", "9",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "effective anchors" in done.stdout
    assert "a copy of cls_token" in done.stdout
    assert json.loads((folder / "anchor.json").read_text())["overrides"] == {"num_anchors": 9, "qkv_bias": True}
    model = "anchor_deit_t(num_anchors=9, qkv_bias=True)"
    done = run("anchors.py", folder, model, "photos/0.jpg", "anchors.png", "--checkpoint", "anchor.pth", "--size", "96")
    assert done.returncode == 0, done.stderr
    assert "blocks.11.mixer" in done.stdout
    assert (folder / "anchors.png").is_file()


def test_without_pictures_nothing_is_written_and_the_error_says_what_to_give(folder):
    done = run("convert.py", folder, "deit_tiny.pth", "none.pth", "--to", "anchor_deit_t")
    assert done.returncode == 1
    assert "give --images DIR" in done.stderr
    assert not (folder / "none.pth").exists()


def test_a_torn_picture_is_named_and_nothing_written(folder):
    (folder / "torn").mkdir()
    (folder / "torn/torn.jpg").write_bytes((folder / "photos/0.jpg").read_bytes()[:900])
    done = run("convert.py", folder, "deit_tiny.pth", "none.pth", "--to", "anchor_deit_t", "--images", "torn")
    assert done.returncode == 1
    assert "picture torn/torn.jpg is torn or no picture" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "none.pth").exists()
