"""The conversion tool: what it writes, what it says, and that a refusal writes nothing."""

import json
import subprocess
import sys

import pytest
import torch
from cases import ROOT
from reference.lit import SwinLike
from safetensors.torch import load_file

from effvit_mm.backbones import LIT


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Write a file as LIT-S is released for detection: larger tables, no norm on the first output."""
    torch.manual_seed(0)
    sizes = ((96, 192, 384, 768), (2, 2, 6, 2), (3, 6, 12, 24), (4, 4, 4, 4))
    network = SwinLike(*sizes, img_size=256, dense_norms=(1, 2, 3))
    file = tmp_path_factory.mktemp("released") / "mask_rcnn_lit_s.pth"
    torch.save({"state_dict": {f"backbone.{key}": value for key, value in network.state_dict().items()}}, file)
    return file


def convert(*arguments):
    command = [sys.executable, ROOT / "tools/convert.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_it_writes_weights_and_the_arguments_they_need(released, tmp_path):
    destination = tmp_path / "new" / "lit_s.safetensors"
    done = convert(released, destination, "--to", "lit_s", "--task", "backbone")
    assert done.returncode == 0, done.stderr
    needs = json.loads(destination.with_suffix(".json").read_text())
    assert needs == {
        "name": "lit_s",
        "task": "backbone",
        "overrides": {"output_norms": [1, 2, 3], "pretrain_img_size": 256},
    }
    LIT(variant="s", **needs["overrides"]).load_state_dict(load_file(destination), strict=True)
    assert "matched" in done.stdout
    assert str(destination) in done.stdout
    assert {path.name for path in destination.parent.iterdir()} == {"lit_s.safetensors", "lit_s.json"}


def test_what_it_refuses_leaves_no_file(released, tmp_path):
    done = convert(released, tmp_path / "lit_m.pth", "--to", "lit_m", "--task", "backbone")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "these are no weights of the backbone lit_m" in done.stderr
    assert "missing" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_it_replaces_a_file_only_when_told_to(released, tmp_path):
    destination = tmp_path / "lit_s.pth"
    destination.write_text("mine")
    arguments = (released, destination, "--to", "lit_s", "--task", "backbone")
    refused = convert(*arguments)
    assert refused.returncode == 1
    assert "exists already" in refused.stderr
    assert destination.read_text() == "mine"
    assert convert(*arguments, "--overwrite").returncode == 0
    assert "stages.0.merger.proj.weight" in torch.load(destination, weights_only=True)


def test_another_suffix_is_refused(released, tmp_path):
    done = convert(released, tmp_path / "lit_s.txt", "--to", "lit_s", "--task", "backbone")
    assert done.returncode == 1
    assert "must end in .pth or .safetensors" in done.stderr
