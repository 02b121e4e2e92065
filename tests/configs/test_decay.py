"""Which parameters of columnar networks and of LIT decay, where a recipe is DeiT's, Swin's or AdaBins'."""

import pytest
from cases import BACKBONES, ROOT, needs_mmpretrain
from mmengine.optim import build_optim_wrapper

from effvit_mm.engine.run import load_config

SPARED = ("bias_table", "positions.table", "prefix.tokens", "anchors", "temperature")


def decays(network, leaf):
    """Return the weight decay and the number of dimensions by the name of a parameter."""
    model = BACKBONES[network](**({"num_prefix": 1} if "deit" in network else {}))
    wrapper = build_optim_wrapper(model, load_config(ROOT / f"configs/{leaf}.py").optim_wrapper)
    decay = {id(p): group["weight_decay"] for group in wrapper.optimizer.param_groups for p in group["params"]}
    return {name: (decay[id(parameter)], parameter.ndim) for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(
    ("network", "leaf", "rate"),
    [
        pytest.param("tosa_deit", "imagenet/cls_tosa", 0.05, marks=needs_mmpretrain),
        pytest.param("anchorformer", "imagenet/cls_anchorformer", 0.05, marks=needs_mmpretrain),
        ("tosa_deit", "coco/maskrcnn_tosa", 0.05),
        ("pyramid", "coco/maskrcnn_pyramid", 0.05),
        ("tosa_deit", "nyu/depth_tosa", 0.1),
        ("anchorformer", "nyu/depth_anchorformer", 0.1),
    ],
)
def test_recipes_of_deit_swin_and_adabins_spare_vectors_tables_and_tokens(network, leaf, rate):
    found = decays(network, leaf)
    assert ("tosa" in network) == ("prefix.tokens" in found)
    for name, (decay, ndim) in found.items():
        assert decay == (0 if ndim == 1 or name.endswith(SPARED) else rate), name


@pytest.mark.parametrize(("network", "leaf"), [("tosa_deit", "upernet_tosa"), ("lit_ti", "upernet_lit_ti")])
def test_swins_segmenter_spares_norms_tables_and_tokens_and_not_biases(network, leaf):
    found = decays(network, f"ade20k/{leaf}")
    assert any(name.endswith("positions.table") for name in found)
    for name, (decay, _) in found.items():
        assert decay == (0 if "norm" in name or name.endswith(SPARED) else 0.01), name


@pytest.mark.parametrize("network", ["tosa_deit", "lit_ti"])
def test_semantic_fpn_decays_everything(network):
    assert {decay for decay, _ in decays(network, "ade20k/semfpn_tosa").values()} == {1e-4}
