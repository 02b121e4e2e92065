"""A config that a checkpoint would overrule is refused or told, and the folder stays as it was."""

import math

import pytest
import torch
from kill_run import config

from effvit_mm.checkpoint import load_safely, make_loading_safe
from effvit_mm.engine.run import enable_resume
from effvit_mm.engine.runner import ExactRunner
from effvit_mm.errors import BadInputError

COSINE = [dict(type="CosineAnnealingLR", by_epoch=False)]


def run(work_dir, loop, num, *, resume=False, config_name="first", **changes):
    make_loading_safe()
    cfg = config(work_dir, loop, 0)
    cfg.train_cfg.update({"max_epochs" if loop == "epoch" else "max_iters": num})
    cfg.param_scheduler = changes.pop("param_scheduler", cfg.param_scheduler)
    cfg.merge_from_dict(changes)
    cfg.experiment_name = f"{work_dir.name}_{config_name}"
    if resume:
        enable_resume(cfg)
    runner = ExactRunner.from_cfg(cfg)
    runner.train()
    return runner


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folders of runs of four steps, with a cosine that ends with the run, by loop."""
    folders = {loop: tmp_path_factory.mktemp(loop) for loop in ("iter", "epoch")}
    run(folders["iter"], "iter", 4, param_scheduler=COSINE)
    run(folders["epoch"], "epoch", 1)
    return folders


LONGER = r"param_scheduler\.0\.T_max: 4 in the checkpoint, 8 in the config"
TWICE = [dict(type="LinearLR", start_factor=0.1, end=2, by_epoch=False), *COSINE]


@pytest.mark.parametrize(
    ("num", "changes", "said"),
    [
        (8, {}, LONGER),
        (8, {}, r"param_scheduler\.0\.end: 4 in the checkpoint, 8 in the config"),
        (4, {"optim_wrapper.optimizer.lr": 0.02}, r"optimizer\.lr: 0\.01 in the checkpoint, 0\.02 in the config"),
        (
            4,
            {"optim_wrapper.optimizer.weight_decay": 0.3},
            r"optimizer\.weight_decay: 0\.01 in the checkpoint, 0\.3 in",
        ),
        (
            4,
            {"optim_wrapper.optimizer.betas": (0.8, 0.9)},
            r"optimizer\.betas: \[0\.9, 0\.999\] in the checkpoint, \[0",
        ),
        (4, {"optim_wrapper.optimizer.type": "SGD"}, r"one with .*betas.* in the checkpoint, one with .*momentum"),
        (
            4,
            {"optim_wrapper.paramwise_cfg": dict(custom_keys=dict(bias=dict(lr_mult=0.5)))},
            r"optim_wrapper: 1 groups of \d+ parameters",
        ),
        (4, {"param_scheduler": [dict(COSINE[0], eta_min=1e-3)]}, r"0\.eta_min: 0\.0 in the checkpoint, 0\.001 in the"),
        (4, {"param_scheduler": TWICE}, "param_scheduler: 1 schedulers in the checkpoint, 2 in the config"),
        (4, {"param_scheduler": dict(type="PolyLR", by_epoch=False)}, "the checkpoint's has no power"),
        (4, {"param_scheduler": None}, "param_scheduler: 1 schedulers in the checkpoint, 0 in the config"),
        (4, {"custom_hooks": [dict(type="Diary")]}, "EMAHook: its average lies in the checkpoint"),
    ],
)
def test_what_a_checkpoint_would_overrule_is_refused_with_both_values(trained, num, changes, said):
    folder = trained["iter"]
    before = {file.name: file.read_bytes() for file in folder.glob("*.*") if file.is_file()}
    with pytest.raises(BadInputError, match=said) as refusal:
        run(folder, "iter", num, resume=True, config_name=said, **{"param_scheduler": COSINE, **changes})
    assert f"load_from='{folder}/iter_4.pth'" in str(refusal.value)
    assert {file.name: file.read_bytes() for file in folder.glob("*.*") if file.is_file()} == before


def test_the_values_of_the_checkpoint_named_in_the_config_go_on(trained):
    named = [dict(COSINE[0], T_max=4, end=4)]
    runner = run(trained["iter"], "iter", 5, resume=True, config_name="named", param_scheduler=named)
    assert runner.iter == 5
    assert runner.optim_wrapper.param_groups[0]["lr"] == pytest.approx(0.01 * (1 + math.cos(math.pi * 3 / 4)) / 2)


@pytest.mark.parametrize(
    "schedule",
    [
        dict(type="OneCycleLR", eta_max=0.02, total_steps=8, by_epoch=False),
        dict(type="MultiStepLR", milestones=[4, 6], by_epoch=False),
        dict(type="CosineAnnealingLR", T_max=8, by_epoch=False),
    ],
)
@pytest.mark.parametrize("stop", [3, 4])
def test_a_longer_run_of_the_same_schedule_is_the_run_that_was_left_alone(tmp_path, schedule, stop):
    steps = dict(param_scheduler=[schedule], config_name=str(schedule))
    whole = run(tmp_path / "whole", "iter", 8, **steps)
    run(tmp_path / "parts", "iter", stop, **steps)
    parts = run(tmp_path / "parts", "iter", 8, resume=True, **{**steps, "config_name": f"longer {schedule}"})
    assert parts.optim_wrapper.param_groups[0]["lr"] == whole.optim_wrapper.param_groups[0]["lr"]
    ours, theirs = parts.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_groups_of_single_parameters_go_on_and_other_multipliers_are_refused(tmp_path):
    slowed = {"optim_wrapper.paramwise_cfg": dict(custom_keys=dict(bias=dict(lr_mult=0.5)))}
    run(tmp_path, "iter", 3, param_scheduler=None, **slowed)
    resumed = run(tmp_path, "iter", 4, resume=True, config_name="more", param_scheduler=None, **slowed)
    assert resumed.iter == 4
    other = {"optim_wrapper.paramwise_cfg": dict(custom_keys=dict(bias=dict(lr_mult=0.1)))}
    with pytest.raises(BadInputError, match=r"optimizer\.lr: 0\.005 in the checkpoint, 0\.001 in the config"):
        run(tmp_path, "iter", 5, resume=True, config_name="other", param_scheduler=None, **other)


def test_another_seed_other_epochs_and_another_best_figure_are_told(trained, capsys):
    folder = trained["epoch"]
    saved = load_safely(folder / "epoch_1.pth")
    saved["message_hub"]["runtime_info"].update(best_ckpt=f"{folder}/best_other_epoch_1.pth", best_score=1e9)
    torch.save(saved, folder / "epoch_1.pth")
    changes = {"randomness.seed": 8, "train_dataloader.batch_size": 4}
    runner = run(folder, "epoch", 2, resume=True, config_name="told", **changes)
    said = capsys.readouterr()
    assert "the seed stays 7, as epoch_1.pth has it, and not randomness.seed=8" in said.out
    log = "".join(file.read_text() for file in folder.glob("*/*.log"))
    assert "steps in 1 epochs, and an epoch has" in log
    assert "best_other_epoch_1.pth is the best by another figure than save_best='mean'" in log
    assert runner.message_hub.get_info("best_score") < 1e9
