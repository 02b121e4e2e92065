"""After an evaluation there is a picture of what was kept, made of the pictures as the network saw them."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from cases import SMALL_PLAIN
from mmengine.model import BaseModel, ImgDataPreprocessor
from mmengine.structures import BaseDataElement

from effvit_mm.backbones import ToSADeiT
from effvit_mm.engine import KeptTokensHook
from effvit_mm.registry import HOOKS

PREPARATION = dict(mean=[10, 20, 30], std=[5, 6, 7], pad_size_divisor=32)


class Model(BaseModel):
    def __init__(self, *, bgr_to_rgb, **options):
        super().__init__(ImgDataPreprocessor(**PREPARATION, bgr_to_rgb=bgr_to_rgb))
        self.backbone = ToSADeiT(**{**SMALL_PLAIN, "keep": 0.5, **options})

    def forward(self, inputs, data_samples=None, mode="tensor"):
        return self.backbone(inputs)


def batch(count=2):
    picture = torch.empty(3, 48, 80, dtype=torch.uint8)
    picture[:] = torch.tensor([10, 90, 200]).reshape(3, 1, 1)  # BGR
    samples = [BaseDataElement(metainfo=dict(img_shape=(48, 80))) for _ in range(count)]
    return dict(inputs=[picture] * count, data_samples=samples)


def run(folder, *, batches=2, num_pictures=3, bgr_to_rgb=True, **options):
    torch.manual_seed(0)
    runner = SimpleNamespace(model=Model(bgr_to_rgb=bgr_to_rgb, **options).eval(), work_dir=folder / "run")
    hook = KeptTokensHook(num_pictures=num_pictures)
    for _ in range(2):
        for i in range(batches):
            hook.after_val_iter(runner, i, batch())
        hook.after_val_epoch(runner)
    return folder / "run/kept_tokens.png"


@pytest.mark.parametrize("bgr_to_rgb", [True, False])
def test_pictures_are_drawn_in_their_own_colors_without_padding_the_first_ones_alone(tmp_path, bgr_to_rgb):
    drawn = cv2.imread(str(run(tmp_path, bgr_to_rgb=bgr_to_rgb)))
    assert drawn.shape == (24 + 3 * (3 * 48 + 6), 3 * (240 + 6), 3)
    for row in range(3):
        top = 24 + row * (3 * 48 + 6)
        assert (drawn[top : top + 3 * 48, : 3 * 80] == np.array([10, 90, 200])).all()


def test_half_of_every_panel_is_dimmed(tmp_path):
    drawn = cv2.imread(str(run(tmp_path)))
    panel = drawn[24 : 24 + 144, 246 : 246 + 240]
    bright = (panel == np.array([10, 90, 200])).all(-1)
    # Of 3 x 5 places, and of those that padding adds: 24 in all.
    assert 0 < bright.mean() < 1
    assert ((panel == 25) | bright[..., None]).all()


def test_the_selector_stage_shows_what_it_would_choose_and_the_dense_one_nothing(tmp_path):
    assert run(tmp_path / "selector", stage="selector").is_file()
    assert not run(tmp_path / "dense", stage="dense").is_file()


def test_the_hook_is_known_by_name():
    assert HOOKS.get("KeptTokensHook") is KeptTokensHook
