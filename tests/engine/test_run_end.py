"""What is said of a run that is over, and when a resumed run has nothing left to do."""

import json
import os

import pytest
import torch
from mmengine.config import Config

from effvit_mm.engine.run_end import show_complete, show_end, steps_done


@pytest.fixture
def work_dir(tmp_path):
    """The folder of a complete run of three epochs."""
    folder = tmp_path / "my run"
    (folder / "predictions").mkdir(parents=True)
    for seconds, name in enumerate(("epoch_3.pth", "mine.py", "metrics.json")):
        (folder / name).write_text(json.dumps({"coco/bbox_mAP": 0.125}))
        os.utime(folder / name, (seconds, seconds))
    return folder


def run_config(work_dir, **train_cfg):
    cfg = Config(dict(work_dir=str(work_dir), train_cfg=dict(**{"max_epochs": 3, **train_cfg}), val_cfg=dict()))
    object.__setattr__(cfg, "_filename", "configs/mine.py")
    return cfg


def test_a_run_is_complete_when_its_last_checkpoint_and_the_figures_after_it_are_there(work_dir):
    assert steps_done(run_config(work_dir), work_dir / "epoch_3.pth") == "3 of 3 epochs"
    cfg = run_config(work_dir, max_iters=20)
    assert steps_done(cfg, work_dir / "iter_10.pth") is None
    (work_dir / "iter_20.pth").touch()
    os.utime(work_dir / "iter_20.pth", (1, 1))
    assert steps_done(cfg, work_dir / "iter_20.pth") == "20 of 20 iterations"


def test_a_run_with_epochs_left_is_not_complete(work_dir):
    assert steps_done(run_config(work_dir, max_epochs=4), work_dir / "epoch_3.pth") is None


def test_checkpoints_with_names_of_ones_own_are_asked_how_far_they_are(work_dir):
    cfg = run_config(work_dir)
    cfg.val_cfg = None
    cfg.default_hooks = dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, filename_tmpl="epoch_{}.pth"))
    for epoch, said in ((2, None), (3, "3 of 3 epochs")):
        torch.save({"meta": {"epoch": epoch, "iter": 200}}, work_dir / "epoch_200.pth")
        assert steps_done(cfg, work_dir / "epoch_200.pth") == said


def test_a_run_killed_in_its_last_validation_is_not_complete(work_dir):
    os.utime(work_dir / "epoch_3.pth", (9, 9))
    assert steps_done(run_config(work_dir), work_dir / "epoch_3.pth") is None
    (work_dir / "metrics.json").unlink()
    assert steps_done(run_config(work_dir), work_dir / "epoch_3.pth") is None
    cfg = run_config(work_dir)
    cfg.val_cfg = None
    assert steps_done(cfg, work_dir / "epoch_3.pth") == "3 of 3 epochs"


def test_a_complete_run_is_shown_with_its_figures_and_how_to_evaluate_it(work_dir, capsys):
    show_complete(run_config(work_dir), work_dir / "epoch_3.pth", "3 of 3 epochs")
    shown = capsys.readouterr().out
    assert "is already complete (3 of 3 epochs): nothing to do" in shown
    assert "0.1250" in shown
    assert f"python tools/test.py '{work_dir}/mine.py' '{work_dir}/epoch_3.pth'" in shown
    assert f"pictures     {work_dir}/predictions" in shown


def test_torn_figures_are_left_out(work_dir, capsys):
    (work_dir / "metrics.json").write_text("{")
    show_complete(run_config(work_dir), work_dir / "epoch_3.pth", "3 of 3 epochs")
    assert "nothing to do" in capsys.readouterr().out


def test_a_run_that_has_just_ended_leaves_its_pictures_to_the_report(work_dir, capsys):
    show_end(run_config(work_dir), work_dir / "epoch_3.pth")
    shown = capsys.readouterr().out
    assert f"checkpoint   {work_dir}/epoch_3.pth\n" in shown
    assert "predictions" not in shown


def test_a_run_without_checkpoint_names_none(work_dir, capsys):
    show_end(run_config(work_dir), None)
    assert "python" not in capsys.readouterr().out
