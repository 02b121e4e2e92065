"""Importing the package is quiet, light, and registers the backbones."""

import subprocess
import sys

SCRIPT = """
import sys
import effvit_mm
from mmengine.registry import MODELS
assert MODELS.get("AnchorFormer") is not None
heavy = {"cv2", "matplotlib.pyplot", "mmcv", "mmdet", "mmseg", "timm", "torchvision"} & set(sys.modules)
assert not heavy, heavy
"""


def test_importing_prints_nothing_warns_of_nothing_and_loads_no_library_it_does_not_need():
    command = [sys.executable, "-W", "error", "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == ""


def test_the_public_names_are_there():
    import effvit_mm

    assert effvit_mm.__version__
    assert "anchorformer_s" in effvit_mm.list_backbones()
    assert effvit_mm.create_backbone("anchorformer_t", out_indices=(3,)).strides == (32,)
