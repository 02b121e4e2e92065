"""A schedule that was meant for a run of another length is told with both numbers, and one that fits is not."""

from contextlib import nullcontext

import pytest
import torch
from cases import ROOT
from mmengine.config import Config
from mmengine.optim import OneCycleLR

from effvit_mm.engine.run import load_config
from effvit_mm.engine.schedule_check import RunLength, schedule_notes
from effvit_mm.errors import BadInputError

EPOCHS = RunLength(steps=84, epochs=12, epoch_length=7)
STEPS = RunLength(steps=80_000, epochs=None, epoch_length=1263)


def notes(*schedules, run=EPOCHS):
    return schedule_notes(Config(dict(param_scheduler=list(schedules))), run)


@pytest.mark.parametrize(
    ("schedule", "run", "said"),
    [
        (
            dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
            EPOCHS,
            ["warms up for 500 steps", "the run has 84 steps", "17% of its way", "param_scheduler.0.end=8"],
        ),
        (
            dict(type="MultiStepLR", milestones=[8, 16, 22]),
            EPOCHS,
            ["milestones=[8, 16, 22]", "12 epochs", "at 16, 22;"],
        ),
        (dict(type="MultiStepLR", milestones=[12]), EPOCHS, ["nothing happens at 12"]),
        (
            dict(type="CosineAnnealingLR", T_max=300),
            EPOCHS,
            ["T_max", "300", "12 epochs", "param_scheduler.0.T_max=12"],
        ),
        (dict(type="CosineAnnealingLR", T_max=6), EPOCHS, ["T_max=6", "12 epochs", "rises again"]),
        (
            dict(type="mmengine.PolyLR", end=160_000, by_epoch=False),
            STEPS,
            ["160000", "80000 steps", "50%", "end=80000"],
        ),
        (dict(type="PolyLR", end=40_000, by_epoch=False), STEPS, ["ends at 40000", "80000 steps", "end=80000"]),
        (dict(type="PolyLR", end=80_000), STEPS, ["never acts", "by_epoch=False"]),
        (
            dict(type="OneCycleLR", eta_max=1, total_steps=1200, by_epoch=False),
            EPOCHS,
            ["1200", "84", "total_steps=84"],
        ),
        (dict(type="StepLR", step_size=30), EPOCHS, ["step_size=30", "12 epochs"]),
        (dict(type="ExponentialLR", gamma=0.9, begin=15), EPOCHS, ["begins at 15", "12 epochs"]),
        (dict(type="CosineRestartLR", periods=[3, 3], restart_weights=[1, 1]), EPOCHS, ["periods=6", "12 epochs"]),
        (dict(type="CosineAnnealingMomentum", T_max=300), EPOCHS, ["T_max", "300"]),
    ],
)
def test_a_schedule_of_another_length_is_told_with_both_numbers(schedule, run, said):
    (note,) = notes(schedule, run=run)
    assert note.startswith("param_scheduler.0 (")
    for text in said:
        assert text in note


def test_a_schedule_that_would_end_the_run_with_an_error_is_refused():
    schedule = dict(type="OneCycleLR", eta_max=1, total_steps=60, by_epoch=False)
    with pytest.raises(BadInputError, match=r"total_steps=60, and the run has 84 steps.*total_steps=84"):
        notes(schedule)
    assert not notes(dict(schedule, total_steps=84))


@pytest.mark.parametrize(
    ("schedules", "run"),
    [
        ([dict(type="LinearLR", by_epoch=False, end=8), dict(type="MultiStepLR", milestones=[8, 11])], EPOCHS),
        ([dict(type="LinearLR", end=2), dict(type="CosineAnnealingLR", begin=2, T_max=10, end=12)], EPOCHS),
        ([dict(type="CosineAnnealingLR", T_max=6, begin=6, end=12, convert_to_iter_based=True)], EPOCHS),
        ([dict(type="CosineAnnealingLR", T_max=11), dict(type="ConstantLR", begin=11, factor=1)], EPOCHS),
        ([dict(type="CosineAnnealingLR", by_epoch=True)], EPOCHS),
        ([dict(type="PolyLR", begin=0, end=6), dict(type="ExponentialLR", gamma=0.9, begin=6)], EPOCHS),
        ([dict(type="PolyLR", begin=1500, end=80_000, by_epoch=False)], STEPS),
        ([dict(type="ReduceOnPlateauLR", monitor="mIoU")], STEPS),
        ([], STEPS),
    ],
)
def test_a_schedule_that_fits_is_not_told(schedules, run):
    assert not notes(*schedules, run=run)


def test_schedules_of_several_optimizers_and_one_alone_are_named_by_their_places():
    late = dict(type="MultiStepLR", milestones=[30])
    cfg = Config(dict(param_scheduler=dict(one=late, two=[dict(type="StepLR", step_size=2), late])))
    assert [note.split()[0] for note in schedule_notes(cfg, EPOCHS)] == ["param_scheduler.one", "param_scheduler.two.1"]
    assert schedule_notes(Config(dict(param_scheduler=late)), EPOCHS)[0].startswith("param_scheduler (MultiStep)")


@pytest.mark.parametrize("steps", [83, 84, 85])
def test_one_cycle_ends_a_run_as_it_is_said_to(steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    schedule = OneCycleLR(optimizer, eta_max=1.0, total_steps=84, by_epoch=False)
    fails = steps > 84
    with pytest.raises(ValueError, match="Tried to step") if fails else nullcontext():
        for _ in range(steps):
            optimizer.step()
            schedule.step()
    spec = dict(type="OneCycleLR", total_steps=84, by_epoch=False)
    with pytest.raises(BadInputError) if fails else nullcontext():
        notes(spec, run=RunLength(steps, None, 1))


RECIPES = ("coco/maskrcnn_lit", "ade20k/semfpn_lit", "ade20k/upernet_lit", "nyu/depth_anchorformer")


@pytest.mark.parametrize("name", [*RECIPES, "camvid/semfpn_lit_ti", "imagenet/cls_lit_ti"])
def test_the_recipes_fit_their_own_length(name):
    cfg = load_config(ROOT / f"configs/{name}.py", splits=())
    epochs = cfg.train_cfg.get("max_epochs")
    steps = epochs * 1000 if epochs else cfg.train_cfg.max_iters
    assert not schedule_notes(cfg, RunLength(steps, epochs, 1000))
