"""From a command line to a config: options, roots, and which checkpoint a resumed run takes."""

import os
import textwrap

import pytest
import torch
from cases import ROOT
from mmengine.config import Config

from effvit_mm.engine.config_check import check_config
from effvit_mm.engine.last_checkpoint import last_checkpoint_of, last_whole_checkpoint
from effvit_mm.engine.run import (
    enable_amp,
    enable_auto_scale_lr,
    enable_resume,
    load_config,
    require_accelerator,
)
from effvit_mm.errors import BadInputError

MASKRCNN = ROOT / "configs/coco/maskrcnn_anchorformer.py"


def test_options_win_over_the_file():
    cfg = load_config(MASKRCNN, options={"model.backbone.variant": "t", "train_cfg.max_epochs": 3})
    assert cfg.model.backbone.variant == "t"
    assert cfg.train_cfg.max_epochs == 3


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("param_scheduler.7.begin", 1, "param_scheduler has 2 entries, expected a position from 0 to 1"),
        ("train_cfg.max_epochs.first", 1, "train_cfg.max_epochs is 12, no dict with a value 'first'"),
        ("train_cfg.max_epochs.first", 1, "maskrcnn_mine.py:\n  _base_ = ['maskrcnn_anchorformer.py']\n"),
        (
            "train_cfg.max_epochs.first.odd",
            "a",
            "train_cfg = dict(max_epochs=dict(first=dict(odd='a'), _delete_=True))",
        ),
        ("model.neck.in_channels.type", "a", "model = dict(neck=dict(in_channels=dict(type='a', _delete_=True)))"),
        ("param_scheduler.0.begin.odd", 1, "param_scheduler.0.begin is 0, no dict with a value 'odd'"),
        ("param_scheduler.0.begin.odd", 1, "with the whole list that it is in"),
    ],
)
def test_an_option_that_leads_nowhere_is_answered_with_what_is_there(option, value, said):
    with pytest.raises(BadInputError) as caught:
        load_config(MASKRCNN, options={option: value})
    assert said in str(caught.value)


@pytest.mark.parametrize("path", ["model.neck.in_channels.type", "train_cfg.max_epochs.first.type"])
def test_the_lines_that_are_shown_for_a_dict_are_a_config_that_holds_it(tmp_path, path):
    with pytest.raises(BadInputError) as caught:
        load_config(MASKRCNN, options={path: "agent"})
    lines = textwrap.dedent(str(caught.value).partition("\n")[2]).replace(MASKRCNN.name, str(MASKRCNN))
    (tmp_path / "maskrcnn_mine.py").write_text(lines)
    mine = Config.fromfile(tmp_path / "maskrcnn_mine.py")
    for name in path.split("."):
        mine = mine[name]
    assert mine == "agent"


def test_the_work_dir_is_named_after_the_config_unless_given(tmp_path):
    assert load_config(MASKRCNN).work_dir == "work_dirs/maskrcnn_anchorformer"
    assert load_config(MASKRCNN, work_dir=tmp_path).work_dir == str(tmp_path)


def test_a_data_root_reaches_the_data_sets_inside_wrappers(tmp_path):
    file = tmp_path / "maskrcnn_twice.py"
    inner = "dict(type='CocoDataset', data_root='data/coco/', ann_file='a.json')"
    wrapped = f"train_dataloader = dict(dataset=dict(_delete_=True, type='RepeatDataset', times=2, dataset={inner}))"
    file.write_text(f"_base_ = {str(MASKRCNN)!r}\n{wrapped}\n")
    cfg = load_config(file, data_root=tmp_path)
    assert cfg.train_dataloader.dataset.dataset.data_root == f"{tmp_path}/"


def test_a_data_root_reaches_every_data_set_and_evaluator(tmp_path):
    cfg = load_config(MASKRCNN, data_root=tmp_path)
    for split in ("train", "val", "test"):
        assert cfg[f"{split}_dataloader"].dataset.data_root == f"{tmp_path}/"
    for split in ("val", "test"):
        assert cfg[f"{split}_evaluator"].ann_file == f"{tmp_path}/annotations/instances_val2017.json"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("model = dict(", "cannot be read: SyntaxError"),
        ("_base_ = 'mmdet::nowhere.py'", "cannot be read"),
        ("lr = 1", "has no 'model'"),
    ],
)
def test_a_file_that_is_no_config_is_named(tmp_path, text, message):
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(BadInputError, match=message) as caught:
        load_config(file)
    assert "mine.py" in str(caught.value)


def test_a_misspelt_config_gets_the_names_of_its_neighbours(tmp_path):
    (tmp_path / "maskrcnn_lit.py").touch()
    with pytest.raises(BadInputError, match=r"maskrcn_lit\.py does not exist; did you mean .maskrcnn_lit\.py.\?"):
        load_config(tmp_path / "maskrcn_lit.py")


def test_amp_without_an_accelerator_says_so(monkeypatch):
    monkeypatch.setattr("effvit_mm.engine.run.has_accelerator", lambda: False)
    with pytest.raises(BadInputError, match="--amp needs an accelerator"):
        require_accelerator()


@pytest.mark.parametrize("options", [None, {"optim_wrapper.dtype": "bfloat16"}])
def test_amp_takes_mmengines_wrapper_and_what_that_alone_takes(options):
    cfg = load_config(MASKRCNN, options=enable_amp(options))
    assert cfg.optim_wrapper.type == "AmpOptimWrapper"
    assert cfg.optim_wrapper.optimizer.type == "AdamW"
    check_config(cfg, ("train",))


def test_the_learning_rate_is_scaled_only_where_its_batch_is_known():
    cfg = load_config(MASKRCNN)
    enable_auto_scale_lr(cfg)
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=16)
    with pytest.raises(BadInputError, match="base_batch_size"):
        enable_auto_scale_lr(Config(dict(model=dict())))


def checkpoints(folder, *names):
    for name in names:
        meta = {"seed": 3, "epoch": 1, "iter": 10}
        parts = {"optimizer": {"state": {}}, "message_hub": {"log_scalars": {}}}
        torch.save({"weight": torch.zeros(1000), "meta": meta, **parts}, folder / name)


def test_resuming_takes_the_highest_whole_checkpoint_and_passes_over_a_torn_one(tmp_path):
    checkpoints(tmp_path, "epoch_2.pth", "epoch_9.pth", "epoch_10.pth", "best_bbox_mAP_epoch_3.pth")
    assert last_whole_checkpoint(tmp_path).name == "epoch_10.pth"
    newest = tmp_path / "epoch_10.pth"
    newest.write_bytes(newest.read_bytes()[:-50])
    assert last_whole_checkpoint(tmp_path).name == "epoch_9.pth"
    cfg = Config(dict(work_dir=str(tmp_path)))
    assert enable_resume(cfg).name == "epoch_9.pth"
    assert cfg.resume
    assert cfg.randomness.seed == 3
    assert cfg.load_from == str(tmp_path / "epoch_9.pth")


def test_a_run_in_the_folder_of_one_that_came_further_is_resumed_from_its_own_checkpoint(tmp_path):
    checkpoints(tmp_path, "epoch_6.pth", "epoch_12.pth")
    for age, name in enumerate(("epoch_12.pth", "epoch_6.pth")):
        os.utime(tmp_path / name, ns=(10**9, 10**9 * (2 - age)))
    checkpoints(tmp_path, "epoch_3.pth", "epoch_4.pth")
    os.utime(tmp_path / "epoch_3.pth", ns=(10**9, 10**9 * 5))
    # As where a folder was moved since.
    (tmp_path / "last_checkpoint").write_text("/elsewhere/epoch_3.pth")
    assert last_whole_checkpoint(tmp_path).name == "epoch_4.pth"
    (tmp_path / "epoch_4.pth").write_bytes(b"torn")
    assert last_whole_checkpoint(tmp_path).name == "epoch_3.pth"
    (tmp_path / "epoch_3.pth").write_bytes(b"torn")
    os.utime(tmp_path / "epoch_3.pth", ns=(10**9, 10**9 * 5))
    assert last_whole_checkpoint(tmp_path).name == "epoch_12.pth"


@pytest.mark.parametrize("template", ["ckpt_{}.pth", "mine-{:03d}.ckpt", "all.pth"])
@pytest.mark.parametrize("out_dir", [None, "kept"])
def test_checkpoints_under_names_and_in_a_folder_of_ones_own_are_resumed(tmp_path, template, out_dir):
    hook = dict(type="CheckpointHook", filename_tmpl=template, out_dir=out_dir and str(tmp_path / out_dir))
    cfg = Config(dict(work_dir=str(tmp_path / "run"), default_hooks=dict(checkpoint=hook)))
    folder = tmp_path / "kept/run" if out_dir else tmp_path / "run"
    for made in (folder, tmp_path / "run"):
        made.mkdir(parents=True, exist_ok=True)
    checkpoints(folder, *{template.format(step) for step in (2, 10)})
    # As where the folder was moved since.
    (tmp_path / "run/last_checkpoint").write_text(f"/elsewhere/{template.format(10)}")
    assert enable_resume(cfg) == folder / template.format(10)


def test_a_checkpoint_that_last_checkpoint_names_is_resumed_whatever_the_config_calls_them(tmp_path):
    checkpoints(tmp_path, "ckpt_2.pth")
    (tmp_path / "last_checkpoint").write_text("/elsewhere/ckpt_2.pth")
    assert enable_resume(Config(dict(work_dir=str(tmp_path)))).name == "ckpt_2.pth"


def test_checkpoints_that_lie_in_no_folder_are_not_looked_for(tmp_path):
    hook = dict(type="CheckpointHook", out_dir="s3://bucket")
    cfg = Config(dict(work_dir=str(tmp_path), default_hooks=dict(checkpoint=hook)))
    assert last_checkpoint_of(cfg) is None
    with pytest.raises(BadInputError, match=r"out_dir is none; .*load_from"):
        enable_resume(cfg)


def test_a_checkpoint_that_is_named_and_gone_is_refused(tmp_path):
    (tmp_path / "last_checkpoint").write_text("/elsewhere/epoch_2.pth")
    with pytest.raises(BadInputError, match=r"last_checkpoint names /elsewhere/epoch_2\.pth.*start anew"):
        enable_resume(Config(dict(work_dir=str(tmp_path))))


def test_resuming_without_a_checkpoint_starts_anew_and_keeps_the_weights_to_start_from(tmp_path):
    cfg = Config(dict(work_dir=str(tmp_path), load_from="pretrained.pth"))
    assert enable_resume(cfg) is None
    assert not cfg.resume
    assert cfg.load_from == "pretrained.pth"


def test_a_stock_checkpoint_hook_is_replaced_by_the_one_that_keeps_the_last(tmp_path):
    assert load_config(MASKRCNN).default_hooks.checkpoint.type == "KeepingCheckpointHook"
    other = load_config(MASKRCNN, options={"default_hooks.checkpoint.type": "MyHook"})
    assert other.default_hooks.checkpoint.type == "MyHook"
