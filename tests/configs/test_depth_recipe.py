"""NYU's recipe does what the code it names does: every picture is rotated, and depth is learned beyond 0.1 m."""

import numpy as np
import pytest
import torch
from cases import ROOT

import effvit_mm.depth  # noqa: F401
from effvit_mm.engine.run import load_config
from effvit_mm.registry import MODELS

CONFIG = ROOT / "configs/nyu/depth_pyramid.py"


def test_every_training_picture_is_rotated():
    from mmseg.datasets.transforms import RandomRotate

    rotations = [step for step in load_config(CONFIG).train_dataloader.dataset.pipeline if step.type == "RandomRotate"]
    (options,) = rotations
    rotate = RandomRotate(**{key: value for key, value in options.items() if key != "type"})
    np.random.seed(0)
    img = np.random.randint(0, 256, (61, 83, 3), np.uint8)
    for _ in range(20):
        turned = rotate(
            dict(img=img.copy(), gt_depth_map=np.full((61, 83), 2.0, np.float32), seg_fields=["gt_depth_map"])
        )
        assert (turned["img"] != img).any()
        assert set(np.unique(turned["gt_depth_map"])) <= {0.0, 2.0}


@pytest.mark.parametrize(("truth", "costs"), [(0.09, False), (0.11, True)])
def test_depth_is_learned_beyond_a_tenth_of_a_metre(truth, costs):
    (options,) = load_config(CONFIG).model.decode_head.loss_decode
    loss = MODELS.build(options)(torch.full((1, 1, 2, 2), 5.0), torch.full((1, 1, 2, 2), truth))
    assert (loss.item() > 0) is costs
