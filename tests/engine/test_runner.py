"""Checkpoints are whole or absent, and a full disk says so and leaves the older ones."""

import errno

import pytest
import torch
from cases import SMALL_PLAIN
from kill_run import config
from mmengine.runner import Runner
from torch import nn

from effvit_mm.backbones import ToSADeiT
from effvit_mm.engine.checkpoint_hook import _drop_functions
from effvit_mm.engine.runner import ExactRunner
from effvit_mm.errors import NotSavedError


@pytest.fixture
def runner(tmp_path):
    cfg = config(tmp_path, "epoch", 0)
    cfg.experiment_name = tmp_path.name
    cfg.default_hooks.checkpoint.max_keep_ckpts = 1
    cfg.train_cfg.max_epochs = 2
    return ExactRunner.from_cfg(cfg)


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_keeps_the_last_checkpoint_and_says_so(runner, tmp_path, monkeypatch):
    saves = []
    save = Runner.save_checkpoint

    def save_once(self, out_dir, filename, *args, **kwargs):
        saves.append(filename)
        if len(saves) > 1:
            (tmp_path / filename).write_bytes(b"half a checkpoint")
            full_disk()
        save(self, out_dir, filename, *args, **kwargs)

    monkeypatch.setattr(Runner, "save_checkpoint", save_once)
    with pytest.raises(NotSavedError, match=r"epoch_2.pth was not saved: the disk is full.*--resume"):
        runner.train()
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == ["epoch_1.pth"]
    assert not list(tmp_path.glob(".*.partial"))
    torch.load(tmp_path / "epoch_1.pth", weights_only=False)


def test_one_kept_checkpoint_is_removed_only_after_the_next_is_written(runner, tmp_path, monkeypatch):
    seen = []
    save = ExactRunner.save_checkpoint

    def watch(self, *args, **kwargs):
        seen.append(sorted(path.name for path in tmp_path.glob("epoch_*.pth")))
        save(self, *args, **kwargs)

    monkeypatch.setattr(ExactRunner, "save_checkpoint", watch)
    runner.train()
    assert seen[:2] == [[], ["epoch_1.pth"]]
    assert [path.name for path in tmp_path.glob("epoch_*.pth")] == ["epoch_2.pth"]


def test_nothing_but_plain_values_is_left_in_the_states_of_schedulers():
    states = [dict(last_step=3, anneal_func=len), [dict(anneal_func=len, rate=0.1)]]
    _drop_functions(states)
    assert states == [dict(last_step=3), [dict(rate=0.1)]]
    nested = dict(generator=[dict(anneal_func=len)])
    _drop_functions(nested)
    assert nested == dict(generator=[{}])


def test_what_lies_around_a_selector_stage_is_frozen_before_the_model_is_wrapped(runner):
    network = nn.ModuleDict(dict(backbone=ToSADeiT(**SMALL_PLAIN, stage="selector"), head=nn.Linear(3, 5)))
    wrapped = runner.wrap_model(None, network)
    learning = {name.split(".")[1] for name, parameter in wrapped.named_parameters() if parameter.requires_grad}
    assert learning == {"selections"}


def test_the_console_is_spared_a_line_for_each_frozen_weight_and_the_file_is_not(capsys, runner, tmp_path):
    # capsys comes first: the runner's logger keeps the stream that is there when it is made.
    runner.logger.warning("backbone.norm.weight is skipped since its requires_grad=False")
    runner.logger.warning("something to read")
    said = capsys.readouterr()
    assert "is skipped" not in said.out + said.err
    assert "something to read" in said.out + said.err
    assert any("is skipped" in file.read_text() for file in tmp_path.rglob("*.log"))
