"""How deep a parameter lies: every one has a depth, and depths rise in the order in which a picture meets them."""

import pytest
import torch
from cases import BACKBONES
from timm.optim import create_optimizer_v2

import effvit_mm
from effvit_mm.backbones import LIT, Plain
from effvit_mm.backbones.timm_entry import TimmClassifier

backbones = pytest.mark.parametrize("name", BACKBONES)


def depths(backbone):
    return {name: backbone.get_layer_depth(name) for name, _ in backbone.named_parameters()}


@backbones
def test_every_depth_from_the_stem_to_the_outputs_has_parameters(name):
    found = depths(BACKBONES[name]())
    (num_depths,) = {total for _, total in found.values()}
    # One without output norms leaves the last to the head.
    assert {depth for depth, _ in found.values()} | {num_depths - 1} == set(range(num_depths))


@backbones
def test_depth_never_falls_on_the_way_of_a_picture(name):
    backbone = BACKBONES[name](drop_path_rate=0.0).train()
    met, names = [], {module: path for path, module in backbone.named_modules()}

    def record(module, *_):
        own = [f"{names[module]}.{parameter}".lstrip(".") for parameter, _ in module.named_parameters(recurse=False)]
        met.extend(backbone.get_layer_depth(parameter)[0] for parameter in own)

    for module in backbone.modules():
        module.register_forward_pre_hook(record)
    backbone(torch.randn(1, 3, 64, 96))
    last = backbone.get_layer_depth("norms")[0]
    # Outputs leave on the way: what reads a shallow stage's map comes before deeper stages.
    inner = [depth for depth in met if depth < last]
    assert inner == sorted(inner)
    assert met[0] == 0


@backbones
def test_a_block_has_one_depth_and_the_next_block_the_next(name):
    backbone = BACKBONES[name]()
    of_block = {}
    for parameter, (depth, _) in depths(backbone).items():
        block, found, _ = parameter.partition("blocks.")
        if found:
            of_block.setdefault(f"{block}{parameter.split('blocks.')[1].split('.')[0]}", set()).add(depth)
    assert sorted(map(sorted, of_block.values())) == [[i + 1] for i in range(backbone.num_blocks())]


def test_merging_counts_with_the_first_block_behind_it():
    backbone = LIT(variant="ti", channels=(8, 12, 20, 24), depths=(1, 2, 3, 1), num_heads=(1, 2, 5, 4))
    merging = [backbone.get_layer_depth(f"stages.{i}.merger.offset.weight") for i in range(4)]
    assert merging == [(0, 9), (2, 9), (4, 9), (7, 9)]
    assert backbone.get_layer_depth("stages.2.positions.table") == (4, 9)
    assert backbone.get_layer_depth("stages.0.positions.table") == (0, 9)


def test_prefix_tells_the_backbone_from_what_stands_behind_it():
    backbone = Plain(variant="t", depth=2, dim=24, num_heads=3)
    assert backbone.get_layer_depth("backbone.blocks.1.mlp.fc1.weight", "backbone.") == (2, 4)
    assert backbone.get_layer_depth("head.blocks.1.weight", "backbone.") == (3, 4)
    assert backbone.get_layer_depth("backbone.pyramid.0.norm.weight", "backbone.") == (3, 4)


def test_selectors_learn_at_the_full_rate():
    backbone = BACKBONES["tosa_deit"]()
    selectors = [name for name, _ in backbone.named_parameters() if name.startswith("selections")]
    assert selectors
    assert {backbone.get_layer_depth(name) for name in selectors} == {(5, 6)}


@pytest.mark.parametrize("name", ["lit_s", "deit_t"])
def test_timms_layer_decay_groups_by_the_same_depths(name):
    small = dict(depths=(1, 1, 2, 1)) if name == "lit_s" else dict(depth=3)
    network = TimmClassifier(effvit_mm.create_classifier(name, 0, **small).backbone, 5)
    optimizer = create_optimizer_v2(network, opt="adamw", lr=1.0, weight_decay=0.1, layer_decay=0.5)
    scales = {id(p): group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    for parameter, value in network.named_parameters():
        depth, num_depths = network.backbone.get_layer_depth(parameter, "backbone.")
        assert scales[id(value)] == 0.5 ** (num_depths - 1 - depth), parameter
