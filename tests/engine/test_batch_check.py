"""A batch of two sizes, which mmseg's models cannot measure, is told before the run that would validate on it."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from tiny_masks import CLASSES, mask_path, picture_path, write_masks

import effvit_mm.datasets.index_mask_folder  # noqa: F401  (registers it)
from effvit_mm.engine.batch_check import check_batches
from effvit_mm.errors import BadInputError


def config(root, batch_size=2, steps=(), **loader):
    dataset = dict(
        type="IndexMaskFolder",
        data_root=str(root),
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        metainfo=dict(classes=CLASSES),
        pipeline=[dict(type="LoadImageFromFile"), *steps, dict(type="LoadAnnotations"), dict(type="PackSegInputs")],
    )
    loader = dict(batch_size=batch_size, sampler=dict(type="DefaultSampler", shuffle=False), dataset=dataset, **loader)
    model = dict(type="EncoderDecoder", data_preprocessor=dict(type="SegDataPreProcessor"))
    return Config(dict(default_scope="mmseg", model=model, val_dataloader=loader, test_dataloader=loader))


def resize(root, number, size):
    for file in (picture_path(root, number, "validation"), mask_path(root, number, "validation")):
        cv2.imwrite(str(file), np.zeros((*size, 3) if file.suffix == ".jpg" else size, np.uint8))


def test_a_batch_of_two_sizes_is_told_with_both(tmp_path):
    write_masks(tmp_path, num_pictures=4)
    check_batches(config(tmp_path), ("train", "val"))
    resize(tmp_path, 4, (50, 40))
    said = (
        r"val_dataloader.batch_size=2 .*street_3.jpg is 40 x 50 .*street_4.jpg 50 x 40; set val_dataloader.batch_size=1"
    )
    with pytest.raises(BadInputError, match=said):
        check_batches(config(tmp_path), ("train", "val"))
    with pytest.raises(BadInputError, match=r"test_dataloader\.batch_size=2"):
        check_batches(config(tmp_path), ("test",))


def test_what_measures_well_passes(tmp_path, monkeypatch):
    write_masks(tmp_path, num_pictures=4)
    for number in (3, 4):
        resize(tmp_path, number, (50, 40))
    check_batches(config(tmp_path), ("val",))
    check_batches(config(tmp_path, batch_size=1), ("val",))
    for steps in ([dict(type="Resize", scale=(32, 32))], [dict(type="Pad", size=(64, 64))]):
        check_batches(config(tmp_path, batch_size=4, steps=steps), ("val",))
    with pytest.raises(BadInputError, match=r"street_2.jpg is 40 x 50 .*street_4.jpg 50 x 40"):
        check_batches(config(tmp_path, batch_size=4), ("val",))
    other = config(tmp_path, batch_size=4)
    other.model.data_preprocessor.type = "DetDataPreprocessor"
    check_batches(other, ("val",))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadInputError, match=r"street_1.jpg is 40 x 50 .*street_3.jpg 50 x 40"):
        check_batches(config(tmp_path), ("val",))
