"""LIT's recipes: which parameter learns at which rate and decays, as the released code trains."""

import pytest
from cases import ROOT, SMALL, needs_mmpretrain
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from effvit_mm.backbones import LIT, Classifier
from effvit_mm.engine.run import load_config

CONFIGS = ROOT / "configs"
NO_DECAY_IN_DETECTION = ("norm", "bias_table")


def groups(model, optim_wrapper):
    """Return learning rate and weight decay by the name of the parameter."""
    wrapper = build_optim_wrapper(model, optim_wrapper)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in wrapper.optimizer.param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize(("leaf", "rate"), [("maskrcnn_lit", 2e-4), ("retinanet_lit", 1e-4)])
def test_detection_decays_everything_but_norms_and_bias_tables(leaf, rate):
    model = LIT(variant="s", **SMALL)
    for name, (lr, decay) in groups(model, load_config(CONFIGS / f"coco/{leaf}.py").optim_wrapper).items():
        assert lr == rate, name
        assert decay == (0 if any(part in name for part in NO_DECAY_IN_DETECTION) else 1e-4), name


@pytest.mark.parametrize("leaf", ["coco/maskrcnn_lit_ti", "ade20k/semfpn_lit_ti", "ade20k/semfpn_lit"])
def test_the_small_one_and_segmentation_decay_every_parameter(leaf):
    model = LIT(variant="ti" if leaf.endswith("ti") else "s", **SMALL)
    wrapper = load_config(CONFIGS / f"{leaf}.py").optim_wrapper
    assert {decay for _, decay in groups(model, wrapper).values()} == {1e-4}


def test_pre_training_slows_the_offsets_weights_and_spares_what_has_one_dimension():
    model = Classifier(LIT(variant="s", **SMALL, out_indices=(3,)), num_classes=5)
    recipe = Config.fromfile(CONFIGS / "_base_/schedules/imagenet_300e_lit.py")
    found, shapes = groups(model, recipe.optim_wrapper), {name: p.ndim for name, p in model.named_parameters()}
    assert sum("offset.weight" in name for name in found) == 3
    for name, (lr, decay) in found.items():
        assert lr == pytest.approx(1e-5 if name.endswith("offset.weight") else 1e-3), name
        assert decay == (0 if shapes[name] == 1 or name.endswith("bias_table") else 0.05), name


@needs_mmpretrain
def test_pre_training_of_the_small_one_decays_tables_and_spares_the_class_token():
    model = Classifier(LIT(variant="ti", **SMALL, **LIT.classifier_options("ti")), num_classes=5)
    recipe = load_config(CONFIGS / "imagenet/cls_lit_ti.py")
    shapes = {name: p.ndim for name, p in model.named_parameters()}
    found = groups(model, recipe.optim_wrapper)
    assert sum(name.endswith("positions.table") for name in found) == 4
    for name, (_, decay) in found.items():
        assert decay == (0 if shapes[name] == 1 or name.endswith("prefix.tokens") else 0.05), name


@needs_mmpretrain
def test_pre_training_of_the_small_one_warms_up_shorter_and_clips_nothing():
    recipe = load_config(CONFIGS / "imagenet/cls_lit_ti.py")
    warm_up, cosine = recipe.param_scheduler
    assert (warm_up.end, cosine.begin, cosine.T_max, recipe.train_cfg.max_epochs) == (5, 5, 295, 300)
    assert recipe.optim_wrapper.clip_grad is None
    assert load_config(CONFIGS / "imagenet/cls_lit.py").optim_wrapper.clip_grad == dict(max_norm=5.0)
    assert recipe.train_dataloader.sampler.type == "RepeatAugSampler"
