"""What multiplies the rate of single groups is not undone by a schedule with one value for all."""

import pytest
import torch
from cases import ROOT
from mmengine.config import Config
from mmengine.optim import OneCycleLR
from mmengine.registry import PARAM_SCHEDULERS

from effvit_mm.engine.config_check import check_config
from effvit_mm.engine.group_rates import PerGroupOneCycleLR, check_group_rates, describe_floors
from effvit_mm.engine.run import enable_auto_scale_lr, load_config
from effvit_mm.errors import BadInputError

MASKRCNN = ROOT / "configs/coco/maskrcnn_anchorformer.py"
ONE_CYCLE = dict(type="OneCycleLR", eta_max=0.1, total_steps=100, by_epoch=False)


def config_of(scheduler, paramwise=None, lr=0.1, weight_decay=0.05):
    optimizer = dict(type="AdamW", lr=lr, weight_decay=weight_decay)
    wrapper = dict(optimizer=optimizer, paramwise_cfg=paramwise or dict(custom_keys=dict(backbone=dict(lr_mult=0.0))))
    return Config(dict(optim_wrapper=wrapper, param_scheduler=scheduler))


def slowed(factor):
    return dict(custom_keys=dict(backbone=dict(lr_mult=factor), neck=dict(decay_mult=0.0)))


def rates(scheduler, factor, steps=60):
    """Return the rates that a scheduler gives two groups, one of them with a multiplier, step by step."""
    model = torch.nn.ModuleDict(dict(backbone=torch.nn.Linear(2, 2), neck=torch.nn.Linear(2, 2)))
    groups = [
        dict(params=list(model["backbone"].parameters()), lr=0.1 * factor),
        dict(params=list(model["neck"].parameters())),
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.1)
    schedule = PARAM_SCHEDULERS.build(dict(scheduler, optimizer=optimizer))
    found = []
    for _ in range(steps):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return found


FLOORS = {
    "param_scheduler.0.eta_min=None param_scheduler.0.eta_min_ratio=0.1": [
        dict(type="CosineAnnealingLR", eta_min=0.01, T_max=60, by_epoch=False),
        dict(type="CosineRestartLR", periods=[30, 30], restart_weights=[1, 1], eta_min=0.01, by_epoch=False),
    ],
    "param_scheduler.0.eta_min=0": [dict(type="PolyLR", eta_min=0.01, end=60, by_epoch=False)],
}


@pytest.mark.parametrize("factor", [0.0, 0.05])
@pytest.mark.parametrize(("remedy", "scheduler"), [(key, one) for key, several in FLOORS.items() for one in several])
def test_a_floor_that_lifts_a_group_is_refused_with_one_that_does_not(factor, remedy, scheduler):
    found = rates(scheduler, factor)
    assert max(slow for slow, _ in found) > found[0][0]
    with pytest.raises(BadInputError, match=r"custom_keys\['backbone'\]\.lr_mult=0") as refusal:
        check_group_rates(config_of([scheduler], slowed(factor)))
    assert remedy in str(refusal.value)
    assert ("frozen_stages" in str(refusal.value)) == (factor == 0)
    options = dict(part.split(".0.")[1].split("=") for part in remedy.split())
    values = {key: None if value == "None" else float(value) for key, value in options.items()}
    mended = {key: value for key, value in {**scheduler, **values}.items() if value is not None}
    check_group_rates(config_of([mended], slowed(factor)))
    assert all(slow == pytest.approx(factor * full, rel=1e-9) for slow, full in rates(mended, factor))


@pytest.mark.parametrize("name", ["ReduceOnPlateauLR", "mmengine.ReduceOnPlateauLR"])
def test_a_plateaus_lowest_value_counts_as_a_floor(name):
    with pytest.raises(BadInputError, match=r"--cfg-options param_scheduler\.min_value=0; to freeze"):
        check_group_rates(config_of(dict(type=name, min_value=1e-4)))


@pytest.mark.parametrize("paramwise", [slowed(0.0), slowed(0.1), slowed(10.0), dict(bias_lr_mult=2.0)])
def test_one_peak_for_all_groups_is_refused_and_one_for_each_keeps_their_ratio(paramwise):
    with pytest.raises(BadInputError, match=r"param_scheduler\.0\.type=PerGroupOneCycleLR"):
        check_group_rates(config_of([ONE_CYCLE], paramwise))
    check_group_rates(config_of([{**ONE_CYCLE, "type": "PerGroupOneCycleLR"}], paramwise))
    check_group_rates(config_of([{**ONE_CYCLE, "eta_max": [0.1, 0.01]}], paramwise))


@pytest.mark.parametrize("factor", [0.0, 0.1, 10.0])
def test_the_peak_of_a_group_is_in_proportion_to_its_rate(factor):
    found = rates({**ONE_CYCLE, "type": "PerGroupOneCycleLR"}, factor)
    assert all(slow == pytest.approx(factor * full, rel=1e-9) for slow, full in found)
    assert [full for _, full in found] == [full for _, full in rates(ONE_CYCLE, factor)]


def test_groups_of_one_rate_learn_as_under_the_stock_cycle_bit_for_bit():
    assert rates({**ONE_CYCLE, "type": "PerGroupOneCycleLR"}, 1.0) == rates(ONE_CYCLE, 1.0)
    assert issubclass(PerGroupOneCycleLR, OneCycleLR)


def test_a_rate_that_is_scaled_to_the_batch_is_not_taken_back_by_a_stock_cycle():
    cfg = load_config(MASKRCNN, options={"param_scheduler": [ONE_CYCLE]})
    check_config(cfg, ("train",))
    enable_auto_scale_lr(cfg)
    with pytest.raises(BadInputError, match="undoes --auto-scale-lr"):
        check_config(cfg, ("train",))


def test_exemptions_from_weight_decay_are_kept_from_a_schedule_of_it():
    schedule = dict(type="CosineAnnealingParamScheduler", param_name="weight_decay", eta_min=0.01)
    with pytest.raises(BadInputError, match="decay_mult=0; expected a floor"):
        check_group_rates(config_of([schedule], dict(norm_decay_mult=0.0)))
    check_group_rates(config_of([{**schedule, "eta_min": 0}], dict(norm_decay_mult=0.0)))
    check_group_rates(config_of([schedule], slowed(0.0) | dict(custom_keys={})))
    check_group_rates(config_of([dict(type="CosineAnnealingMomentum", eta_min=0.9)], dict(norm_decay_mult=0.0)))


def test_a_floor_below_every_group_is_told():
    poly = dict(type="PolyLR", eta_min=1e-4)
    cfg = config_of(dict(one=[poly], two=poly), slowed(0.1))
    check_group_rates(cfg)
    assert [note.split(" ")[0] for note in describe_floors(cfg)] == ["param_scheduler.one.0", "param_scheduler.two"]
    assert "eta_min=0.0001, so optim_wrapper.paramwise_cfg.custom_keys['backbone'].lr_mult=0.1" in next(
        describe_floors(cfg)
    )
    assert not list(describe_floors(config_of([poly], slowed(1.0))))
    assert not list(describe_floors(config_of([dict(type="MultiStepLR", milestones=[3])], slowed(0.1))))


@pytest.mark.parametrize("name", ["camvid/semfpn_lit_ti", "imagenet/cls_lit", "ade20k/semfpn_lit"])
def test_recipes_with_multipliers_or_floors_are_usable_as_they_are_and_in_their_overlays(name):
    cfg = load_config(ROOT / f"configs/{name}.py", splits=())
    check_group_rates(cfg)
    for setting in ("toy", "overfit"):
        overlay = ROOT / f"configs/_base_/{setting}/{name.split('/')[1].split('_')[0]}.py"
        if overlay.is_file():
            cfg.merge_from_dict(dict(param_scheduler=Config.fromfile(overlay).param_scheduler))
            check_group_rates(cfg)
