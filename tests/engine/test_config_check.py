"""A config that lacks a section, or has a value there that cannot be one, is told before anything is built."""

import math
import os

import pytest
from mmengine.config import Config

from effvit_mm.config_options import set_options
from effvit_mm.engine.config_check import check_config, check_shapes, check_work_dir
from effvit_mm.errors import BadInputError


def run_config(**sections):
    loader = dict(batch_size=2, num_workers=0, sampler=dict(type="DefaultSampler"), dataset=dict(type="CocoDataset"))
    whole = dict(
        model=dict(type="MaskRCNN"),
        train_dataloader=loader,
        train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=2),
        optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=0.1)),
    )
    return Config({**whole, **sections})


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("train_cfg", None, "needs train_cfg to train"),
        ("model", "MaskRCNN", "model is 'MaskRCNN', expected dict"),
        ("val_dataloader", dict(batch_size=1), "needs val_cfg to val|val_dataloader.dataset"),
        ("train_dataloader.batch_size", 0, "train_dataloader.batch_size is 0, expected a whole number of at least 1"),
        ("train_dataloader.num_workers", True, "num_workers is True, expected a whole number"),
        ("train_dataloader.persistent_workers", True, "needs num_workers of at least 1"),
        (
            "train_dataloader.dataset",
            dict(type="RepeatDataset", times=2, dataset=dict(type="CocoDataset", pipeline=[7])),
            "pipeline is .*expected a list of transforms",
        ),
        ("train_dataloader.dataset.pipeline", [7], "pipeline is .*expected a list of transforms"),
        ("train_dataloader.sampler", None, "sampler is None, expected dict"),
        ("train_cfg.max_epochs", 1.5, "max_epochs is 1.5, expected a whole number"),
        ("optim_wrapper.optimizer.lr", -1, "lr is -1, expected a number above 0"),
        ("optim_wrapper.optimizer.lr", "2e-4", "lr is '2e-4'|write 2e-4 without quotes"),
        ("model.test_cfg", dict(score_thr="0.5"), "model.test_cfg.score_thr is the text '0.5'"),
        ("model.test_cfg", dict(score_thr=math.nan), "model.test_cfg.score_thr is not a number"),
    ],
)
def test_a_section_or_number_that_cannot_be_one_is_named(path, value, message):
    check_config(run_config(), ("train", "val"))
    cfg = run_config()
    cfg.merge_from_dict({path: value})
    with pytest.raises(BadInputError, match=message):
        check_config(cfg, ("train", "val"))


def test_class_names_may_be_numbers():
    cfg = run_config()
    cfg.train_dataloader.dataset.metainfo = dict(classes=("1", "2"))
    check_config(cfg, ("train",))


def test_an_option_of_no_section_gets_near_names():
    set_options(run_config(), {"model.neck.out_channels": 3, "load_from": "a.pth"})
    with pytest.raises(BadInputError, match=r"--cfg-options modle.type: .*did you mean 'model'"):
        set_options(run_config(), {"modle.type": "a"})


@pytest.mark.parametrize(
    ("section", "value"),
    [("default_hooks", dict(checkpoint=7)), ("env_cfg", 7), ("default_scope", "mmdett"), ("randomness", [1])],
)
def test_sections_of_another_shape_are_named(section, value):
    with pytest.raises(BadInputError, match=f"{section}.*expected"):
        check_shapes(run_config(**{section: value}))


def test_a_work_dir_below_a_file_is_refused(tmp_path):
    check_work_dir(tmp_path / "new/newer")
    (tmp_path / "file").touch()
    with pytest.raises(BadInputError, match="file is a file; give another --work-dir"):
        check_work_dir(tmp_path / "file/below")


def test_a_work_dir_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    # Who runs tests as root may write everywhere.
    monkeypatch.setattr(os, "access", lambda place, mode: place != tmp_path)
    with pytest.raises(BadInputError, match=f"nothing can be written into {tmp_path}, where the folder .*new/run is"):
        check_work_dir(tmp_path / "new/run")
