"""Learning rates fall from the heads towards the input, in any model; exemptions from weight decay stay."""

import pytest
from cases import BACKBONES, ROOT, needs_mmpretrain
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import CosineAnnealingLR, build_optim_wrapper
from torch import nn

from effvit_mm.backbones import LIT
from effvit_mm.engine.config_check import check_config
from effvit_mm.engine.group_rates import PerGroupOneCycleLR
from effvit_mm.engine.layer_decay import LayerDecayOptimWrapperConstructor, check_layer_decay
from effvit_mm.engine.run import load_config
from effvit_mm.errors import BadInputError

NAME = LayerDecayOptimWrapperConstructor.__name__
SWITCH = {"optim_wrapper.constructor": NAME, "optim_wrapper.paramwise_cfg.layer_decay_rate": 0.75}
LEAVES = ("coco/maskrcnn_anchorformer", "ade20k/upernet_lit", "nyu/depth_anchorformer", "imagenet/cls_tosa")
# Their released recipes end at one rate for every parameter: what is to be given instead.
FLOORS = {
    "ade20k/semfpn_lit": {"param_scheduler.0.eta_min": 0},
    "imagenet/cls_lit_ti": {"param_scheduler.1.eta_min": None, "param_scheduler.1.eta_min_ratio": 0.01},
}


class Detector(BaseModel):
    """A backbone and something behind it."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.neck = nn.Linear(3, 4)

    def forward(self, inputs, mode="tensor"):
        return self.backbone(inputs)


def wrapper_of(rate=0.5, **paramwise):
    return dict(
        optimizer=dict(type="AdamW", lr=1.0, weight_decay=0.1),
        constructor=NAME,
        paramwise_cfg=dict(layer_decay_rate=rate, **paramwise),
    )


def groups_by_name(model, optim_wrapper):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = build_optim_wrapper(model, optim_wrapper).optimizer.param_groups
    return [(names[id(p)], group) for group in groups for p in group["params"]]


@pytest.mark.parametrize("name", BACKBONES)
def test_every_parameter_is_there_once_at_the_rate_of_its_depth(name):
    model = Detector(BACKBONES[name]())
    groups = groups_by_name(model, wrapper_of())
    assert sorted(name for name, _ in groups) == sorted(name for name, _ in model.named_parameters())
    for parameter, group in groups:
        depth, num_depths = model.backbone.get_layer_depth(parameter, "backbone.")
        assert group["lr"] == 0.5 ** (num_depths - 1 - depth), parameter


def test_what_stands_behind_the_backbone_learns_at_the_full_rate():
    groups = dict(groups_by_name(Detector(BACKBONES["pyramid"]()), wrapper_of()))
    assert groups["neck.weight"]["lr"] == groups["backbone.norms.3.weight"]["lr"] == 1.0
    assert groups["backbone.stages.0.merger.norm.weight"]["lr"] == 0.5**6


def test_multipliers_of_the_rate_multiply_and_frozen_stages_are_left_out():
    model = Detector(LIT(variant="ti", depths=(1, 1, 1, 1), frozen_stages=1))
    keys = {"offset.weight": dict(lr_mult=0.01), "offset.bias": dict(lr_mult=1.0)}
    groups = dict(groups_by_name(model, wrapper_of(custom_keys=keys)))
    assert groups["backbone.stages.1.merger.offset.weight"]["lr"] == pytest.approx(0.01 * 0.5**3)
    assert groups["backbone.stages.1.merger.offset.bias"]["lr"] == 0.5**3
    assert not [name for name in groups if name.startswith("backbone.stages.0.")]


@pytest.mark.parametrize("leaf", [*LEAVES, *FLOORS])
def test_weight_decay_is_what_the_config_had_without_the_switch(leaf):
    model = Detector(BACKBONES["anchorformer" if "anchor" in leaf else "lit_ti"]())
    switches = {**SWITCH, **FLOORS.get(leaf, {})}
    plain, decayed = (load_config(ROOT / f"configs/{leaf}.py", options=options) for options in ({}, switches))
    before = {name: group["weight_decay"] for name, group in groups_by_name(model, plain.optim_wrapper)}
    after = {name: group["weight_decay"] for name, group in groups_by_name(model, decayed.optim_wrapper)}
    assert after == before
    check_layer_decay(decayed)


@pytest.mark.parametrize("leaf", FLOORS)
def test_a_floor_that_every_layer_would_end_at_is_refused_with_the_options_that_lift_it(leaf):
    with pytest.raises(BadInputError, match="which undoes") as refusal:
        check_config(load_config(ROOT / f"configs/{leaf}.py", options=SWITCH), ("train",))
    assert str(refusal.value).endswith(" ".join(f"{key}={value}" for key, value in FLOORS[leaf].items()))
    check_config(load_config(ROOT / f"configs/{leaf}.py", options={**SWITCH, **FLOORS[leaf]}), ("train",))


@needs_mmpretrain
@pytest.mark.parametrize("switch", [{}, SWITCH], ids=["alone", "layer decay"])
def test_the_classifiers_rates_end_at_a_hundredth_of_each_layers_own(switch):
    cfg = load_config(ROOT / "configs/imagenet/cls_pyramid.py", options=switch)
    model = Detector(BACKBONES["pyramid"]())
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    starts = [group["lr"] for group in wrapper.optimizer.param_groups]
    assert len(set(starts)) == (7 if switch else 1)
    _, cosine = (dict(scheduler) for scheduler in cfg.param_scheduler)
    assert cosine.pop("type") == "CosineAnnealingLR"
    schedule = CosineAnnealingLR(wrapper.optimizer, end=cfg.train_cfg.max_epochs, **cosine)
    for _ in range(cfg.train_cfg.max_epochs):
        wrapper.optimizer.step()
        schedule.step()
    ends = [group["lr"] for group in wrapper.optimizer.param_groups]
    assert ends == pytest.approx([0.01 * start for start in starts], rel=0.01)
    # As in the recipe it mirrors.
    assert max(ends) == pytest.approx(1e-5, rel=0.01)


def test_mmpretrains_constructor_gives_a_classifier_the_same_rates():
    from mmengine.registry import MODELS, DefaultScope

    cfg = load_config(ROOT / "configs/survey/cls.py", options={**SWITCH, "model.train_cfg": None})
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(cfg.model)
        rates = []
        for constructor in (NAME, "LearningRateDecayOptimWrapperConstructor"):
            groups = groups_by_name(model, {**cfg.optim_wrapper, "constructor": constructor})
            rates.append({name: group["lr"] for name, group in groups})
    assert len(set(rates[0].values())) == 13
    assert rates[0] == pytest.approx(rates[1], rel=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optim_wrapper.constructor": None}, rf"layer_decay_rate is read by no constructor but {NAME}"),
        ({"optim_wrapper.paramwise_cfg.layer_decay_rate": 1.5}, "layer_decay_rate is 1.5, expected a number above 0"),
        ({"optim_wrapper.paramwise_cfg.layer_decay_rate": None}, "layer_decay_rate is None, expected a number above 0"),
        ({"param_scheduler": [dict(type="OneCycleLR", eta_max=1.0, total_steps=3)]}, "same eta_max and so undoes"),
    ],
)
def test_a_switch_that_would_do_nothing_is_refused_before_the_run(options, message):
    leaf = ROOT / "configs/coco/maskrcnn_anchorformer.py"
    cfg = load_config(leaf, options={**SWITCH, **options})
    with pytest.raises(BadInputError, match=message):
        check_config(cfg, ("train",))


@pytest.mark.parametrize("overlay", ["toy/maskrcnn", "toy/depth", "toy/upernet", "overfit/retinanet", "overfit/semfpn"])
def test_the_overlays_cycle_keeps_the_ratio_of_the_layers_rates(overlay):
    cfg = load_config(ROOT / "configs/coco/maskrcnn_anchorformer.py", options=SWITCH)
    cycle = Config.fromfile(ROOT / f"configs/_base_/{overlay}.py").param_scheduler
    cfg.merge_from_dict(dict(param_scheduler=cycle))
    check_config(cfg, ("train",))
    optimizer = build_optim_wrapper(Detector(BACKBONES["pyramid"]()), wrapper_of()).optimizer
    starts = [group["lr"] for group in optimizer.param_groups]
    schedule = PerGroupOneCycleLR(optimizer, **{k: v for k, v in cycle[0].items() if k != "type"})
    for _ in range(schedule.total_steps // 3):
        optimizer.step()
        schedule.step()
    rates = [group["lr"] for group in optimizer.param_groups]
    assert len(set(starts)) == 7
    assert rates == pytest.approx([rates[starts.index(1.0)] * start for start in starts], rel=1e-9)


def test_a_model_without_depths_is_told():
    with pytest.raises(BadInputError, match="Detector has the backbone Conv2d without it; take a backbone"):
        groups_by_name(Detector(nn.Conv2d(3, 4, 1)), wrapper_of())
    with pytest.raises(BadInputError, match="Linear has no backbone"):
        groups_by_name(nn.Linear(3, 4), wrapper_of())
