"""Checkpoints that make room: none too few after a mishap, none too many."""

import logging
from pathlib import Path

import kill_run
import pytest
import torch
from mmengine.config import Config

import effvit_mm.depth  # noqa: F401  (registers its metric)
from effvit_mm.checkpoint import load_safely
from effvit_mm.engine.checkpoint_hook import KeepingCheckpointHook
from effvit_mm.errors import BadInputError


def test_a_run_killed_before_it_removes_an_old_checkpoint_removes_it_when_resumed(tmp_path, monkeypatch):
    class KilledError(Exception):
        pass

    unlink = Path.unlink

    def die(path, missing_ok=False):
        if path.name.startswith("epoch_"):
            raise KilledError
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", die)
        with pytest.raises(KilledError):
            kill_run.train(tmp_path, "epoch", 0, resume=False)
    assert {path.name for path in tmp_path.glob("epoch_*.pth")} == {f"epoch_{i}.pth" for i in (1, 2, 3)}
    kill_run.train(tmp_path, "epoch", 0, resume=True)
    assert {path.name for path in tmp_path.glob("epoch_*.pth")} == {"epoch_3.pth", "epoch_4.pth"}


def test_a_checkpoint_without_the_state_of_the_schedule_is_not_resumed(tmp_path):
    kill_run.train(tmp_path, "iter", 0, resume=False)
    latest = tmp_path / "iter_16.pth"
    content = load_safely(latest)
    torch.save({**content, "param_schedulers": {}}, latest)
    with pytest.raises(BadInputError, match=r"iter_16.pth cannot be resumed: it lacks param_schedulers"):
        kill_run.train(tmp_path, "iter", 0, resume=True)


class Journal:
    """What a hook asks of a runner that saves nothing."""

    cfg = Config(dict(val_evaluator=[dict(type="MonoDepthMetric"), dict(type="NoMetric")]))
    logger = logging.getLogger("journal")
    epoch = iter = 1


def test_a_figure_that_no_validation_gives_is_named_with_those_there_are():
    hook = KeepingCheckpointHook(save_best="mine/score", rule="less")
    with pytest.raises(BadInputError, match=r"save_best has 'mine/score', .* figures .* are mine/scores; did you mean"):
        hook.after_val_epoch(Journal, {"mine/scores": 0.5})
    hook = KeepingCheckpointHook(save_best="auto")
    with pytest.raises(BadInputError, match=r"takes the first of mine/scores, .*rule='less' and go on with --resume"):
        hook.after_val_epoch(Journal, {"mine/scores": 0.5})


def test_a_figure_that_one_validation_lacks_ends_no_run(caplog):
    hook = KeepingCheckpointHook(save_best="depth/rmse", rule="less")
    hook.after_val_epoch(Journal, {"other": 0.5})
    assert "this validation gives no depth/rmse: the best checkpoint stays" in caplog.text
